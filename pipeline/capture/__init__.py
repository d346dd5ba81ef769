"""Record a stream, replay it, ask what was in it; needs the extra ``capture``.

::

    with build_pipeline(config) as stream:
        capture(stream, "captures/today")        # until the stream ends
        ...
    ticks = load_ticks("captures/today", tickers=["AAPL"])
    print(latency_summary(ticks))
    build_pipeline({"REPLAY_PATH": "captures/today", "REPLAY_SPEED": "max"}).subscribe(print)
"""

from typing import Final

try:
    import polars as pl  # noqa: F401  # is only asked for here, so that what is missing is said once
    import pyarrow as pa  # noqa: F401  # as above
except ImportError as error:
    raise ImportError(
        "captures need the libraries pyarrow and polars, which come with: pip install 'tickbraid[capture]'"
    ) from error

from pipeline.errors import CaptureUnusable

from .queries import latency_summary, load_ticks
from .record import capture
from .schema import TICK_SCHEMA

__all__ = ["TICK_COLUMNS", "CaptureUnusable", "capture", "latency_summary", "load_ticks"]

TICK_COLUMNS: Final = tuple(TICK_SCHEMA.names)
"""The columns of a ticks capture; `pipeline.capture.schema` says what they are."""
