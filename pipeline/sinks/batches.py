"""Hands batches to an observer, as they are or as columns."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Protocol

from pipeline.ticks import TickBatch

from .callback import CallbackSink
from .sink import DELIVERED, Outcome

__all__ = ["BatchSink", "ColumnSink", "Maker", "column_maker"]


class Maker(Protocol):
    """Is what `pipeline.columns.ColumnMaker` is, which only who has the extra can import."""

    unfit: Counter[str]

    def make(self, batches: Sequence[TickBatch]) -> tuple[Any, Mapping[str, int]]:
        """Return the ticks as columns, and how many are not in them, by connection."""
        ...


def column_maker(names: Sequence[str]) -> Maker:
    """Return what makes these columns; without names, of `pipeline.columns.DEFAULT_COLUMNS`.

    Raises:
        ImportError: the extra ``columns`` is not installed.
        ValueError: there is no such column, or one is named twice.
    """
    try:
        from pipeline.columns import (  # noqa: PLC0415  # pyarrow: only who wants columns pays for it
            ColumnMaker,
        )
    except ImportError as error:
        raise ImportError(
            "columns need the library pyarrow, which comes with: pip install 'tickbraid[columns]'"
        ) from error
    return ColumnMaker(names)


class BatchSink(CallbackSink):
    """Hands on every batch, whatever the observer raises; then the ticks of that batch have failed."""

    whole: ClassVar = True


class ColumnSink(BatchSink):
    """Hands on what came together as one Arrow record batch.

    Args:
        on_next: as a `CallbackSink`'s; not called where no tick could be put into columns.
        name: likewise.
        maker: of the columns.
    """

    def __init__(self, on_next: Callable[[Any], object], name: str, maker: Maker) -> None:
        super().__init__(on_next, name)
        self._maker = maker

    def write(self, batches: Sequence[TickBatch]) -> Outcome:
        """Make columns of all batches and hand them on."""
        columns, rejected = self._maker.make(batches)
        before = self._errors
        dropped = columns.num_rows and self._call((columns,))
        failed = self._errors > before
        if not (dropped or failed):
            return Outcome(rejected) if rejected else DELIVERED
        ticks = Counter[str]()
        for batch in batches:
            ticks[batch.connection] += len(batch.ticks)
        ticks.subtract(rejected)
        error, self._error = self._error, None
        return Outcome(rejected, failed=ticks, error=error) if failed else Outcome(rejected, dropped=ticks)

    def snapshot(self) -> dict[str, Any]:
        """Return the number of calls, and of values that their column could not hold: null stands there."""
        return super().snapshot() | {"unfit": dict(self._maker.unfit)}
