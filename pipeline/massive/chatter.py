"""What a server says besides ticks, in bounds: it may say a thousand things a second."""

from collections import Counter
from collections.abc import Callable
from typing import Any, Final

from reactivex import abc
from reactivex.disposable import Disposable, SerialDisposable

from pipeline import status

__all__ = ["Chatter"]

BURST: Final = 10
"""So many of a kind are told one by one in a second; the others together at its end."""
WINDOW_S: Final = 1.0

_Kind = Callable[..., status.StatusEvent]


class Chatter:
    """Tells the first few of a kind in a second at once; of the others the last, with their number.

    Everything runs on the scheduler's thread.

    Args:
        tell: takes a kind of event that has a field ``held``, and its values.
        scheduler: for the second's end.
    """

    def __init__(self, tell: Callable[..., None], scheduler: abc.SchedulerBase) -> None:
        self._tell = tell
        self._scheduler = scheduler
        self._timer = SerialDisposable()
        self._said: Counter[_Kind] = Counter()
        self._last: dict[_Kind, dict[str, Any]] = {}
        """What was held back last, by kind."""

    def say(self, kind: _Kind, **values: Any) -> None:
        """Tell it, or hold it back until the second is over."""
        if not self._said:
            self._timer.disposable = self._scheduler.schedule_relative(WINDOW_S, lambda *_: self.flush())
        self._said[kind] += 1
        if self._said[kind] <= BURST:
            self._tell(kind, **values)
        else:
            self._last[kind] = values

    def flush(self) -> None:
        """Tell now what was held back: the second is over, or the session."""
        self._timer.disposable = Disposable()
        (said, self._said), (held, self._last) = (self._said, Counter()), (self._last, {})
        for kind, values in held.items():
            self._tell(kind, held=said[kind] - BURST - 1, **values)
