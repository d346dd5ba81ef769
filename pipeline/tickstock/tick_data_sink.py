"""Hands every tick to TickStock's callback as the `TickData` it knows."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from pipeline.errors import TickRejected
from pipeline.sinks.callback import CallbackSink
from pipeline.sinks.sink import Outcome
from pipeline.tick_data import TickData
from pipeline.ticks import TickBatch

__all__ = ["TickDataSink"]


class TickDataSink:
    """Is a `CallbackSink` whose ticks are `TickData`; what cannot become one is rejected and counted.

    Args:
        callback: is given one `TickData` after the other, on the thread ``tickbraid-NAME``.
        name: in the account and the log.
    """

    def __init__(self, callback: Callable[[TickData], object], name: str) -> None:
        self.name = name
        self._calls = CallbackSink(callback, name)
        self._reasons: Counter[str] = Counter()

    def write(self, batches: Sequence[TickBatch]) -> Outcome:
        """Convert and call, until `stop` is called."""
        rejected: Counter[str] = Counter()
        converted = []
        for batch in batches:
            ticks = []
            for tick in batch.ticks:
                try:
                    ticks.append(tick.to_tick_data())
                except TickRejected as rejection:
                    self._reasons[rejection.reason] += 1
                    rejected[batch.connection] += 1
            converted.append(batch.with_ticks(ticks))
        return self._calls.write(converted)._replace(rejected=rejected)

    def stop(self) -> None:
        """Let the call that runs be the last one."""
        self._calls.stop()

    def close(self) -> None:
        """Let go of nothing: there is nothing."""
        self._calls.close()

    def snapshot(self) -> dict[str, Any]:
        """Return calls, errors and the last one, and rejected ticks by reason."""
        return self._calls.snapshot() | {"rejected": dict(self._reasons)}
