"""Ticks as the rows of a capture."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from pipeline.columns import ColumnMaker
from pipeline.ticks import MinuteAggregate, SecondAggregate, TickBatch

from .schema import BAR_COLUMNS, STREAM_COLUMNS, TICK_SCHEMA

__all__ = ["TickColumns"]

_BARS = {SecondAggregate, MinuteAggregate}


class TickColumns:
    """Makes record batches of `TICK_SCHEMA`.

    Args:
        clock: wall clock, ns; tells when ticks are delivered.
    """

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._every = ColumnMaker((*STREAM_COLUMNS, *BAR_COLUMNS))
        self._no_bars = ColumnMaker(STREAM_COLUMNS)

    def make(self, batches: Sequence[TickBatch]) -> tuple[Any, Mapping[str, int]]:
        """Return the ticks as rows, and how many are not in them, by connection; on the sink's thread."""
        delivered_ns = self._clock()
        bars = any(not _BARS.isdisjoint(map(type, batch.ticks)) for batch in batches)
        made, rejected = (self._every if bars else self._no_bars).make(batches)
        # Most ticks are no bars: without their seven columns it takes two thirds of the time.
        columns = dict(zip(made.schema.names, made.columns, strict=True))
        columns["delivered_ns"] = pa.repeat(pa.scalar(delivered_ns, pa.int64()), made.num_rows)
        rows = [
            columns[field.name] if field.name in columns else pa.nulls(made.num_rows, field.type)
            for field in TICK_SCHEMA
        ]
        return pa.RecordBatch.from_arrays(rows, schema=TICK_SCHEMA), rejected

    @staticmethod
    def join(rows: Sequence[Any]) -> Any:
        """Return record batches as one."""
        return rows[0] if len(rows) == 1 else pa.concat_batches(rows)
