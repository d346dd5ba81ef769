"""Ticks as the rows of a capture."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import pyarrow as pa

from pipeline.columns import COLUMNS, ColumnMaker
from pipeline.ticks import TickBatch

from .schema import TICK_SCHEMA

__all__ = ["TickColumns"]

_DELIVERED: Final = TICK_SCHEMA.get_field_index("delivered_ns")


class TickColumns:
    """Makes record batches of `TICK_SCHEMA`.

    Args:
        clock: wall clock, ns; tells when ticks are delivered.
    """

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._maker = ColumnMaker([name for name in TICK_SCHEMA.names if name in COLUMNS])

    @property
    def unfit(self) -> Mapping[str, int]:
        """Values that their column could not hold, by column."""
        return self._maker.unfit

    def make(self, batches: Sequence[TickBatch]) -> tuple[Any, Mapping[str, int]]:
        """Return the ticks as rows, and how many are not in them, by connection; on the sink's thread."""
        delivered_ns = self._clock()
        made, rejected = self._maker.make(batches)
        delivered = pa.repeat(pa.scalar(delivered_ns, pa.int64()), made.num_rows)
        return made.add_column(_DELIVERED, TICK_SCHEMA.field(_DELIVERED), delivered), rejected

    @staticmethod
    def join(rows: Sequence[Any]) -> Any:
        """Return record batches as one."""
        return rows[0] if len(rows) == 1 else pa.concat_batches(rows)
