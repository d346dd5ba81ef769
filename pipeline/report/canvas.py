"""What all figures share: size, colours that the colour-blind tell apart, axes of latency and time."""

import math
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from pipeline.shown import shown

__all__ = [
    "BLUE",
    "COLOURS",
    "GREY",
    "RED",
    "STYLES",
    "TimeAxis",
    "blank",
    "legend",
    "legend_below",
    "ms_axis",
    "ms_words",
    "number",
    "plain",
    "time_axis",
]

WIDTH_IN: Final = 8.0
HEIGHT_IN: Final = 4.2
COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Those of Okabe and Ito (jfly.uni-koeln.de/color), which differ in lightness, too."""
BLUE, RED, *_ = COLOURS
GREY: Final = "#767676"
STYLES: Final = ("-", "--", "-.", ":")
"""Of lines, so that no curve is told by its colour alone; with seven colours they repeat after 28 curves."""
FEW_DECADES: Final = 300
"""An axis of latencies that reaches less far has marks at 2 and 5, too."""
LINEAR_BELOW_MS: Final = 1.0
"""Where latencies are not all above zero (clocks disagree), the axis is linear up to here."""
LABEL_CHARACTERS: Final = 40
BINS_S: Final = (0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 86_400)


class TimeAxis(NamedTuple):
    """Is how the time of a figure is shown and cut into bins.

    Args:
        origin_ns: where it begins, ns since the epoch.
        unit_s: what one on the axis is, s.
        bin_s: the width of a bin, s.
        bins: how many there are.
        label: of the axis.
        bin_words: the width of a bin in words.
    """

    origin_ns: int
    unit_s: float
    bin_s: float
    bins: int
    label: str
    bin_words: str


def time_axis(first_ns: int, last_ns: int, most_bins: int = 1, *, least_bin_s: float = 0.0) -> TimeAxis:
    """Choose the unit of time, and the smallest bin of which no more than so many are needed.

    Args:
        first_ns: ns since the epoch.
        last_ns: likewise.
        most_bins: how many at most.
        least_bin_s: how wide a bin is at least, s.
    """
    span_s = (last_ns - first_ns) / 1e9
    unit_s, unit = next(
        (each for each in ((1.0, "s"), (60.0, "min")) if span_s < 200 * each[0]), (3600.0, "h")
    )
    bin_s = next(
        (bin_s for bin_s in BINS_S if span_s / bin_s < most_bins and bin_s >= least_bin_s), BINS_S[-1]
    )
    size, its_unit = (
        (bin_s, "s") if bin_s < 60 else (bin_s / 60, "min") if bin_s < 3600 else (bin_s / 3600, "h")
    )
    begin = datetime.fromtimestamp(first_ns / 1e9, UTC)
    return TimeAxis(
        first_ns,
        unit_s,
        bin_s,
        int(span_s / bin_s) + 1,
        f"Time since {begin:%Y-%m-%d %H:%M:%S} UTC ({unit})",
        f"{size:g} {its_unit}",
    )


def blank(
    title: str,
    x: str,
    y: str,
    *,
    height_in: float = HEIGHT_IN,
    ratios: Sequence[float] = (1,),
) -> tuple[Figure, list[Axes]]:
    """Return a figure without content: none of pyplot's, so no state is shared and any thread may draw.

    Args:
        title: one line.
        x: what the last row's axis shows, with its unit.
        y: what the first row's axis shows, with its unit.
        height_in: of all, in.
        ratios: of the heights of the rows, which share their x.
    """
    figure = Figure(figsize=(WIDTH_IN, height_in), layout="constrained", facecolor="white")
    grid = figure.subplots(
        len(ratios), 1, sharex=True, squeeze=False, gridspec_kw={"height_ratios": list(ratios)}
    )
    axes: list[Axes] = list(grid[:, 0])
    axes[0].set_title(title, loc="left", fontsize=11, fontweight="bold")
    axes[0].set_ylabel(y)
    axes[-1].set_xlabel(x)
    for each in axes:
        each.spines[["top", "right"]].set_visible(False)
        each.grid(visible=True, color="#dddddd", linewidth=0.6)
        each.set_axisbelow(True)
    return figure, axes


def plain(name: str) -> str:
    """Return a name as matplotlib is to write it: as it is shown, no formula, and not hidden from legends."""
    words = shown(name, LABEL_CHARACTERS).replace("$", r"\$")
    return f" {words}" if words.startswith("_") else words


def legend(axes: Axes, title: str = "") -> None:
    """Name what is drawn, where it hides least."""
    axes.legend(title=title, frameon=False, fontsize=8.5, title_fontsize=8.5)


def legend_below(figure: Figure, axes: Axes, columns: int, *, scale: float = 1.0) -> None:
    """Name what is drawn, below the axes, where marks or bars may be anywhere within.

    Args:
        figure: whose.
        axes: what is drawn is on these.
        columns: of the legend.
        scale: of the marks, against those in the figure.
    """
    figure.legend(
        *axes.get_legend_handles_labels(),
        loc="outside lower left",
        frameon=False,
        fontsize=8.5,
        ncols=columns,
        markerscale=scale,
    )


def ms_axis(axes: Axes, which: str, samples: Iterable[pl.Series]) -> None:
    """Make an axis logarithmic, in plain ms; linear around zero where a latency is not above it.

    Args:
        axes: whose.
        which: ``x`` or ``y``.
        samples: what is shown on it, ms.
    """
    ends = [
        end for series in samples for end in (number(series.min()), number(series.max())) if end is not None
    ]
    least, most = min(ends, default=1.0), max(ends, default=1.0)
    set_scale, axis = (axes.set_xscale, axes.xaxis) if which == "x" else (axes.set_yscale, axes.yaxis)
    if least > 0:
        set_scale("log")
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if most / least < FEW_DECADES else (1,)))
    else:
        set_scale("symlog", linthresh=LINEAR_BELOW_MS)
    axis.set_major_formatter(FuncFormatter(lambda value, _: ms_words(value)))
    axis.set_minor_formatter(NullFormatter())


def ms_words(ms: float | None) -> str:
    """Return milliseconds with the digits that count: 0.042, 1.25, 17, 4,096; a dash where there is none."""
    if ms is None or not math.isfinite(ms):
        return "-"
    return f"{ms:,.0f}" if abs(ms) >= 100 else f"{ms:.3g}"


def number(value: object) -> float | None:
    """Return what polars computed as a number, None where there was nothing to compute it of."""
    return float(value) if isinstance(value, int | float) else None
