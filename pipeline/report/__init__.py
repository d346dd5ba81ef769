"""What a capture shows, as figures: in notebooks, on a page, in a PDF; needs the extra ``notebook``.

::

    findings = examine("captures/today")
    write_page(findings, plates_of(findings), Path("report.html"))
    figures.percentile_plot(figures.by_group(findings.ticks, "connection", "feed"), "Feed latency")
"""

try:
    import matplotlib as mpl  # noqa: F401  # is only asked for here, so that what is missing is said once
except ImportError as error:
    raise ImportError(
        "reports need the library matplotlib, which comes with: pip install 'tickbraid[notebook]'"
    ) from error

from . import figures
from .findings import Findings, examine
from .page import front, write_page
from .plates import Plate, plates_of, write_pdf, write_pngs

__all__ = [
    "Findings",
    "Plate",
    "examine",
    "figures",
    "front",
    "plates_of",
    "write_page",
    "write_pdf",
    "write_pngs",
]
