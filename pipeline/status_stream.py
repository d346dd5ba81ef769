"""The status stream: events from any thread, to its subscribers on one thread of their own."""

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

from reactivex import abc
from reactivex.disposable import Disposable

from . import status
from .piped import Piped

__all__ = ["LossReporter", "StatusStream", "is_warning"]

log = logging.getLogger("tickbraid.status")

CAPACITY_EVENTS: Final = 10_000
LOSS_WINDOW_S: Final = 1.0

_WARNINGS: Final = (
    status.ChannelRefused,
    status.Crowded,
    status.Disconnected,
    status.Evicted,
    status.Failed,
    status.FallingBehind,
    status.Late,
    status.Loss,
    status.Refused,
    status.ServerMessage,
    status.SinkDown,
    status.Skipped,
    status.TickersDoubtful,
    status.TickersNotCarried,
    status.TickersRefused,
    status.Unanswered,
    status.Unplaced,
)


def is_warning(event: status.StatusEvent) -> bool:
    """Tell whether somebody should look at it."""
    return isinstance(event, _WARNINGS)


class StatusStream(Piped[status.StatusEvent]):
    """Delivers what was emitted, in order, on the thread ``tickbraid-status``.

    The thread lives only while there is something to deliver, so there is none to stop. A subscriber that
    raises is logged and keeps its subscription; one that is slow delays the other status subscribers and
    nobody else. Of more than 10,000 waiting events the oldest are dropped and their number is logged. Every
    event is also logged under ``tickbraid.status``.
    """

    def __init__(self) -> None:
        super().__init__(self._add)
        self._state_lock = threading.Lock()
        self._observers: tuple[abc.ObserverBase[status.StatusEvent], ...] = ()
        self._waiting: deque[status.StatusEvent] = deque(maxlen=CAPACITY_EVENTS)
        self._overhearers: tuple[Callable[[status.StatusEvent], object], ...] = ()
        self._dropped = 0
        self._delivering = False
        self._completed = False

    def emit(self, event: status.StatusEvent) -> None:
        """Deliver ``event`` soon. From any thread; never blocks. Nothing is taken after `complete`."""
        with self._state_lock:
            if self._completed:
                return
            if len(self._waiting) == CAPACITY_EVENTS:
                self._dropped += 1
            self._waiting.append(event)
        for overhear in self._overhearers:
            overhear(event)
        self._start()

    def overhear(self, hear: Callable[[status.StatusEvent], object]) -> abc.DisposableBase:
        """Call ``hear`` with each event where and when it is emitted; it must neither block nor raise."""
        with self._state_lock:
            self._overhearers = (*self._overhearers, hear)

        def leave() -> None:
            with self._state_lock:
                self._overhearers = tuple(other for other in self._overhearers if other is not hear)

        return Disposable(leave)

    def complete(self) -> None:
        """End the stream once all that was emitted is delivered. From any thread."""
        with self._state_lock:
            self._completed = True
        self._start()

    def _add(
        self, observer: abc.ObserverBase[status.StatusEvent], _scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        with self._state_lock:
            over = self._completed and not self._delivering
            if not over:
                self._observers = (*self._observers, observer)
        if over:
            observer.on_completed()

        def remove() -> None:
            with self._state_lock:
                self._observers = tuple(other for other in self._observers if other is not observer)

        return Disposable(remove)

    def _start(self) -> None:
        with self._state_lock:
            if self._delivering:
                return
            self._delivering = True
        threading.Thread(target=self._deliver, name="tickbraid-status", daemon=True).start()

    def _deliver(self) -> None:
        while True:
            with self._state_lock:
                observers, dropped = self._observers, self._dropped
                self._dropped = 0
                event = self._waiting.popleft() if self._waiting else None
                if event is None:
                    self._delivering = False
                    completed = self._completed
                    if completed:
                        self._observers = ()
                    break
            if dropped:
                log.error("%d status events were dropped: a subscriber of the status stream is slow", dropped)
            log.log(logging.WARNING if is_warning(event) else logging.INFO, event.describe())
            for observer in observers:
                try:
                    observer.on_next(event)
                except Exception:
                    log.exception("a subscriber of the status stream raised on %s", type(event).__name__)
        if completed:
            for observer in observers:
                observer.on_completed()


class _Key(NamedTuple):
    where: str
    connection: str | None
    reason: str


class LossReporter:
    """Turns drops, of which there may be thousands a second, into at most one `Loss` a second and kind.

    The first drop of a kind is announced within a second, together with those that follow in that time; the
    counts add up to all that was dropped. `report` and `flush` may be called from any thread.

    Args:
        emit: takes the `Loss` events.
        scheduler: for the second's end.
        clock: wall clock, ns.
    """

    def __init__(
        self,
        emit: Callable[[status.StatusEvent], None],
        scheduler: abc.SchedulerBase,
        clock: Callable[[], int],
    ) -> None:
        self._emit = emit
        self._scheduler = scheduler
        self._clock = clock
        self._lock = threading.Lock()
        self._open: dict[_Key, tuple[int, int, int]] = {}

    def report(  # noqa: PLR0917  # the fields of a Loss, in their order
        self, where: str, connection: str | None, reason: str, count: int, from_ns: int, to_ns: int
    ) -> None:
        """Add ``count`` elements received between ``from_ns`` and ``to_ns``."""
        key = _Key(where, connection, reason)
        with self._lock:
            first = not self._open
            before, since_ns, until_ns = self._open.get(key, (0, from_ns, to_ns))
            self._open[key] = (before + count, min(since_ns, from_ns), max(until_ns, to_ns))
        if first:
            self._scheduler.schedule_relative(LOSS_WINDOW_S, lambda *_: self.flush())

    def flush(self) -> None:
        """Announce now what was reported."""
        with self._lock:
            losses, self._open = self._open, {}
        for key, (count, from_ns, to_ns) in losses.items():
            self._emit(
                status.Loss(
                    connection=key.connection,
                    at_ns=self._clock(),
                    where=key.where,
                    reason=key.reason,
                    count=count,
                    from_ns=from_ns,
                    to_ns=to_ns,
                )
            )
