"""Those who take ticks: a callback, one who takes batches, sinks; each may raise, hang or be slow."""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

from operators.runtime import Runtime
from pipeline.ticks import TickBatch
from tests.simulation.market import key_of
from tests.simulation.record import Subscription

__all__ = ["ERRORS", "Callback", "TakesBatches"]


class Refused(BaseException):
    """An error of the user's own that is no `Exception`."""


ERRORS: Final = (ValueError, SystemExit, KeyboardInterrupt, GeneratorExit, Refused)
"""What user code may raise."""


class _User:
    """A subscriber's code.

    Args:
        subscription: where it writes down what came.
        runtime: what it waits on.
        now_ns: true time.
    """

    def __init__(self, subscription: Subscription, runtime: Runtime, now_ns: Callable[[], int]) -> None:
        self.name = subscription.name
        self.subscription = subscription
        self.effects: deque[str] = deque()
        self._now_ns = now_ns
        self._wait = runtime.event().wait
        self._errors: deque[type[BaseException]] = deque()
        self._hang_s = 0.0
        self.hangs = False
        """Whether it does so now."""
        self._slow_calls = 0
        self._slow_s = 0.0

    def fall_out(self, error: type[BaseException], times: int) -> None:
        """Raise from the next calls."""
        self._errors.extend([error] * times)

    def hang(self, seconds: float) -> None:
        """Return from the next call only after so long."""
        self._hang_s = seconds

    def be_slow(self, seconds: float, times: int) -> None:
        """Take so long for each of the next calls."""
        self._slow_s, self._slow_calls = seconds, times

    def _live(self) -> None:
        hang_s, self._hang_s = self._hang_s, 0.0
        if hang_s:
            self.effects.append("hung")
            self.hangs = True
            self._take(hang_s)
            self.hangs = False
        if self._slow_calls:
            self._slow_calls -= 1
            self.effects.append("slow")
            self._take(self._slow_s)
        if self._errors:
            self.effects.append("raised")
            raise self._errors.popleft()("from user code")

    def _take(self, seconds: float) -> None:
        began_ns = self._now_ns()
        self._wait(seconds)
        self.subscription.busy.append((began_ns, self._now_ns()))


class Callback(_User):
    """Is called with each tick."""

    def __call__(self, tick: Any) -> None:
        """Take a tick."""
        key = key_of(tick)
        try:
            self._live()
        except BaseException:
            self.subscription.fail(key, self._now_ns())
            raise
        self.subscription.deliver(key, self._now_ns())


class TakesBatches(_User):
    """Is given batches: a sink, or who subscribes to them."""

    def write(self, batches: Sequence[TickBatch]) -> None:
        """Take batches; all of them have failed where it raises."""
        took = [(batch.connection, key_of(tick)) for batch in batches for tick in batch.ticks]
        try:
            self._live()
        except BaseException:
            for _, key in took:
                self.subscription.fail(key, self._now_ns())
            raise
        for connection, key in took:
            self.subscription.deliver(key, self._now_ns())
            self.subscription.by_connection[connection] += 1

    def __call__(self, batch: TickBatch) -> None:
        """Take a batch."""
        self.write([batch])

    def stop(self) -> None:
        """Go on: nobody can end the call that runs."""

    def close(self) -> None:
        """Do nothing: it has nothing to let go of."""

    def snapshot(self) -> dict[str, Any]:
        """Tell nothing."""
        return {}
