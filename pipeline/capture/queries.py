"""What a ticks capture says, as data frames."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import polars as pl

from pipeline.bars import bar_types
from pipeline.errors import CaptureUnusable

from .layout import HOUR_NS, TICKS, parts
from .schema import TICK_SCHEMA

__all__ = ["STAGES", "latency_summary", "load_ticks", "scan", "stage_ms"]

STAGES: Final = {
    "feed": ("event_ns", "received_ns"),
    "bars": ("event_ns", "received_ns"),
    "pipeline": ("received_ns", "decoded_ns"),
    "sink": ("decoded_ns", "delivered_ns"),
    "total": ("event_ns", "delivered_ns"),
}
"""What there is between which two times of a tick. Of bars there is no ``feed`` and no ``total``: they are
sent some time after their end by design, which is measured in ``bars``, of each when it first came."""
_OF_EVENTS: Final = frozenset({"feed", "total"})
PERCENTILES: Final = {"p50_ms": 0.5, "p90_ms": 0.9, "p99_ms": 0.99, "p99_9_ms": 0.999}
_EPOCH: Final = datetime.fromtimestamp(0, UTC)


def scan(files: Iterable[Path], schema: pl.Schema | None = None) -> pl.LazyFrame:
    """Read files of one kind as one table; captures of older versions have fewer columns.

    Args:
        files: one at least.
        schema: what the table is to have; by default what the first file has.
    """
    return pl.scan_parquet(
        list(files),
        hive_partitioning=False,
        schema=schema,
        missing_columns="insert",
        extra_columns="ignore",
    )


def load_ticks(
    path: Path | str,
    *,
    tickers: Iterable[str] | str | None = None,
    start: datetime | None = None,
    end: datetime | None = None,
    columns: Sequence[str] | None = None,
) -> pl.DataFrame:
    """Return the ticks of a capture, in the order in which they were delivered.

    Only the files of the hours in question are opened, and of those only the row groups and columns.

    Args:
        path: the capture's directory.
        tickers: which; all by default.
        start: of receipt, with its offset from UTC; from the beginning by default.
        end: likewise; what was received at it is not there any more.
        columns: which, of `pipeline.capture.TICK_COLUMNS`; all by default.

    Raises:
        CaptureUnusable: there are no ticks in ``path``.
        ValueError: there is no such column, or a time does not tell its offset from UTC.
    """
    names = TICK_SCHEMA.names if columns is None else list(columns)
    if unknown := [name for name in names if name not in TICK_SCHEMA.names]:
        raise ValueError(f"columns must be of {', '.join(TICK_SCHEMA.names)}, not {', '.join(unknown)}")
    start_ns, end_ns = _ns("start", start), _ns("end", end)
    all_parts = parts(path, TICKS)
    if not all_parts:
        raise CaptureUnusable(
            f"there are no ticks in {path}: nothing was recorded, or no file is finished yet"
        )
    files = [
        part.path
        for part in all_parts
        if (start_ns is None or part.hour_ns + HOUR_NS > start_ns)
        and (end_ns is None or part.hour_ns < end_ns)
    ]
    if not files:
        return _EMPTY.select(names)
    ticks = scan(files, _EMPTY.schema)
    if tickers is not None:
        ticks = ticks.filter(pl.col("ticker").is_in([tickers] if isinstance(tickers, str) else list(tickers)))
    if start_ns is not None:
        ticks = ticks.filter(pl.col("received_ns") >= start_ns)
    if end_ns is not None:
        ticks = ticks.filter(pl.col("received_ns") < end_ns)
    return ticks.select(names).collect()


def latency_summary(
    ticks: pl.DataFrame, by: Sequence[str] = ("connection",), stages: Sequence[str] = tuple(STAGES)
) -> pl.DataFrame:
    """Return how long ticks took, in ms: a row for each group and stage, in the order of the groups.

    The stages are ``feed`` (from the event's time to receipt), ``bars`` (from a bar's end to its first
    receipt), ``pipeline`` (to decoded), ``sink`` (to the capture) and ``total``; those of which there are no
    ticks are left out. A percentile is one of the values, the next above where it falls between two. Clocks
    that disagree make latencies negative; those count like any other.

    Args:
        ticks: as `load_ticks` returns them.
        by: columns whose values make the groups; none for one group.
        stages: which.

    Raises:
        ValueError: there is no such column or stage.
    """
    if unknown := [name for name in by if name not in ticks.columns]:
        raise ValueError(
            f"by must be columns of the ticks ({', '.join(ticks.columns)}), not {', '.join(unknown)}"
        )
    if unknown := [stage for stage in stages if stage not in STAGES]:
        raise ValueError(f"stages must be of {', '.join(STAGES)}, not {', '.join(unknown)}")
    needed = dict.fromkeys(name for stage in stages for name in STAGES[stage])
    if missing := [name for name in needed if name not in ticks.columns]:
        raise ValueError(f"ticks must have the columns {', '.join(missing)}, of which the latencies are made")
    groups = list(by)
    latencies = [stage_ms(ticks, stage).alias(stage) for stage in stages]
    return (
        ticks.lazy()
        .select(*groups, *latencies)
        .unpivot(on=list(stages), index=groups, variable_name="stage", value_name="ms")
        .drop_nulls("ms")
        .group_by(*groups, "stage", maintain_order=True)
        .agg(
            pl.len().alias("count"),
            *(pl.col("ms").quantile(q, "higher").alias(name) for name, q in PERCENTILES.items()),
            pl.col("ms").max().alias("max_ms"),
        )
        .sort(
            *groups,
            pl.col("stage").replace_strict({s: i for i, s in enumerate(stages)}, return_dtype=pl.Int8),
        )
        .collect()
    )


def stage_ms(ticks: pl.DataFrame, stage: str) -> pl.Expr:
    """Return how long a stage took of each tick, ms; null where it is no stage of that tick's.

    Args:
        ticks: in the order of the stream; without the column ``event_type`` none of them counts as a bar.
        stage: one of `STAGES`.
    """
    begin, end = STAGES[stage]
    took = (pl.col(end) - pl.col(begin)).truediv(1e6)
    if stage != "bars" and stage not in _OF_EVENTS:
        return took
    if "event_type" not in ticks.columns:
        return took if stage in _OF_EVENTS else pl.lit(None, pl.Float64)
    is_bar = pl.col("event_type").is_in(sorted(bar_types()))
    if stage in _OF_EVENTS:
        return pl.when(~is_bar).then(took)
    # A revision ends no later than what came before; the first of a ticker may be one.
    before = pl.col("event_ns").cum_max().shift(1).over("ticker", "event_type")
    return pl.when(is_bar & (pl.col("event_ns") > before)).then(took)


def _ns(name: str, moment: datetime | None) -> int | None:
    if moment is None:
        return None
    if moment.tzinfo is None:
        raise ValueError(f"{name} must tell its offset from UTC, as datetime(..., tzinfo=UTC), not {moment}")
    return (moment - _EPOCH) // timedelta(microseconds=1) * 1000


_EMPTY: Final = pl.DataFrame(TICK_SCHEMA.empty_table())
