"""Hands batches to an observer, as they are or as columns."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from pipeline.callables import refuse_unrun
from pipeline.ticks import TickBatch

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


class BatchSink:
    """Hands on every batch, whatever the observer raises; then the ticks of that batch have failed.

    Args:
        on_next: runs on the thread of the buffer in front of the sink, one call at a time.
        name: in the account and in metrics.
    """

    def __init__(self, on_next: Callable[[Any], object], name: str) -> None:
        self.name = name
        self._on_next = on_next
        self._stopped = False
        self._calls = 0
        self._errors = 0

    def write(self, batches: Sequence[TickBatch]) -> Outcome:
        """Hand on one batch after the other, until `stop` is called."""
        dropped: Counter[str] = Counter()
        failed: Counter[str] = Counter()
        error: BaseException | None = None
        for batch in batches:
            if self._stopped:
                dropped[batch.connection] += len(batch.ticks)
            elif (raised := self._call(batch)) is not None:
                failed[batch.connection] += len(batch.ticks)
                error = raised
        return Outcome(dropped=dropped, failed=failed, error=error) if dropped or failed else DELIVERED

    def stop(self) -> None:
        """Let the call that runs be the last one; nobody can end it but the observer."""
        self._stopped = True

    def close(self) -> None:
        """Do nothing: there is nothing to let go of."""

    def snapshot(self) -> dict[str, Any]:
        """Return the number of calls, and of those that raised."""
        return {"calls": self._calls, "errors": self._errors}

    def _call(self, item: object) -> BaseException | None:
        """Hand on one item; return what was raised."""
        self._calls += 1
        try:
            if (returned := self._on_next(item)) is not None:
                refuse_unrun(returned, self.name)
        except BaseException as error:  # noqa: BLE001  # user code
            self._errors += 1
            return error
        return None


class ColumnSink(BatchSink):
    """Hands on what came together as one Arrow record batch.

    Args:
        on_next: as above; not called where no tick could be put into columns.
        name: as above.
        maker: of the columns.
    """

    def __init__(self, on_next: Callable[[Any], object], name: str, maker: Maker) -> None:
        super().__init__(on_next, name)
        self._maker = maker

    def write(self, batches: Sequence[TickBatch]) -> Outcome:
        """Make columns of all batches and hand them on."""
        columns, rejected = self._maker.make(batches)
        if columns.num_rows and (error := self._call(columns)) is not None:
            ticks = Counter[str]()
            for batch in batches:
                ticks[batch.connection] += len(batch.ticks)
            ticks.subtract(rejected)
            return Outcome(rejected, failed=ticks, error=error)
        return Outcome(rejected) if rejected else DELIVERED

    def snapshot(self) -> dict[str, Any]:
        """Return the number of calls, and of values that their column could not hold: null stands there."""
        return super().snapshot() | {"unfit": dict(self._maker.unfit)}
