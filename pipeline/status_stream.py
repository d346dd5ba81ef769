"""The status stream: events from any thread, to its subscribers on one thread of their own."""

import logging
import os
from collections import deque
from collections.abc import Callable
from typing import Final, Generic, NamedTuple, TypeVar

from reactivex import abc
from reactivex.disposable import Disposable

from operators.runtime import SYSTEM, Runtime

from . import status
from .callables import refuse_unrun
from .errors import words_of
from .observing import Observed
from .ownership import Owner
from .subscriber_log import subscriber_log

__all__ = ["FailureReporter", "LossReporter", "StatusStream", "is_warning"]

log = logging.getLogger("tickbraid.status")

_K = TypeVar("_K")
_V = TypeVar("_V")

CAPACITY_EVENTS: Final = 10_000
LOSS_WINDOW_S: Final = 1.0
LINGER_S: Final = 0.5
"""Long enough that a flood starts no thread an event, short enough that none is left that nobody needs."""
END_S: Final = 0.5
"""So long the end waits for the last event to be told."""

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
    status.SubscriberFailed,
    status.TickersDoubtful,
    status.TickersNotCarried,
    status.TickersRefused,
    status.Unanswered,
    status.Unplaced,
)


def is_warning(event: status.StatusEvent) -> bool:
    """Tell whether somebody should look at it."""
    return isinstance(event, _WARNINGS)


class StatusStream(Observed[status.StatusEvent]):
    """Delivers what was emitted, in order, on the thread ``tickbraid-status``.

    The thread lives while there is something to deliver and lingers a little for more, for to start one costs
    more than to deliver; so there is none to stop. Where none can be started, what was emitted waits until
    one can. A subscriber that raises, whatever it is, is logged and
    keeps its subscription; one that is slow delays the other status subscribers and nobody else. Of more than
    10,000 waiting events the oldest are dropped and their number is logged. Every event is also logged under
    ``tickbraid.status``.

    Args:
        linger_s: how long the thread waits for more before it ends, s; the end of the stream ends it at once.
        runtime: the thread and what it waits on.
    """

    def __init__(self, *, linger_s: float = LINGER_S, runtime: Runtime = SYSTEM) -> None:
        super().__init__(self._add)
        self.owner = Owner()
        """The process that runs the stream."""
        self._linger_s = linger_s
        self._spawn = runtime.spawn
        self._ident = runtime.ident
        self._state_lock = runtime.lock()
        self._more = runtime.condition(self._state_lock)
        """There is an event, or the end."""
        self._observers: tuple[abc.ObserverBase[status.StatusEvent], ...] = ()
        self._waiting: deque[status.StatusEvent] = deque(maxlen=CAPACITY_EVENTS)
        self._overhearers: tuple[Callable[[status.StatusEvent], object], ...] = ()
        self._dropped = 0
        self._deliverer: int | None = None
        """The process whose thread delivers: a fork has none."""
        self._completed = False
        self._told_end = runtime.event()
        self._teller: int | None = None
        """The thread that delivers."""

    def emit(self, event: status.StatusEvent) -> None:
        """Deliver ``event`` soon, from any thread; never blocks nor raises. After `complete`, do nothing."""
        with self._state_lock:
            if self._completed:
                return
            if len(self._waiting) == CAPACITY_EVENTS:
                self._dropped += 1
            self._waiting.append(event)
            self._more.notify_all()
        for overhear in self._overhearers:
            try:
                overhear(event)
            except BaseException:  # whoever emits is about to do something that must be done
                log.exception("who overhears the status stream raised; this is a defect")
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
        """End the stream once all that was emitted is delivered; on this thread, if there is no other.

        Wait for that, but no longer than half a second for a subscriber that hangs.
        """
        with self._state_lock:
            again, self._completed = self._completed, True
            self._more.notify_all()
        if not self._start():
            self._deliver()
        elif not again and self._teller != self._ident():
            self._told_end.wait(END_S)

    def go_on(self) -> None:
        """Deliver what waits because no thread could be started; from any thread."""
        if self._waiting and not self._delivering:
            self._start()

    @property
    def _delivering(self) -> bool:
        return self._deliverer == os.getpid()

    def _add(
        self, observer: abc.ObserverBase[status.StatusEvent], _scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        self.owner.check()
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

    def _start(self) -> bool:
        """Return whether somebody delivers."""
        with self._state_lock:
            if self._delivering:
                return True
            self._deliverer = os.getpid()
        try:
            self._spawn(self._deliver, "tickbraid-status")
        except RuntimeError:  # no thread is to be had
            with self._state_lock:
                self._deliverer = None
            return False
        return True

    def _deliver(self) -> None:
        self._teller = self._ident()
        try:
            while self._deliver_one():
                pass
        except BaseException:  # thrown into the thread from outside: a time-out of gevent's or eventlet's
            with self._state_lock:
                self._deliverer = None
            log.exception("the thread of the status stream was interrupted; it goes on with the next event")
            if self._waiting or self._completed:
                self._start()

    def _deliver_one(self) -> bool:
        """Deliver an event, or the end, waiting a little for it; return whether there may be more."""
        with self._more:
            self._more.wait_for(lambda: self._waiting or self._completed, self._linger_s)
            observers, dropped = self._observers, self._dropped
            self._dropped = 0
            event = self._waiting.popleft() if self._waiting else None
            if event is None:
                self._deliverer = None
                if not self._completed:
                    return False
                self._observers = ()
        if dropped:
            log.error("%d status events were dropped: a subscriber of the status stream is slow", dropped)
        if event is not None:
            log.log(logging.WARNING if is_warning(event) else logging.INFO, event.describe())
        for observer in observers:
            try:
                _tell(observer, event)
            except BaseException:  # noqa: BLE001  # user code
                what = "its end" if event is None else type(event).__name__
                subscriber_log.exception("a subscriber of the status stream raised on %s", what)
        if event is None:
            self._told_end.set()
        return event is not None


def _tell(observer: abc.ObserverBase[status.StatusEvent], event: status.StatusEvent | None) -> None:
    """Give an event to a subscriber, or the end.

    Raises:
        TypeError: it made a coroutine of it, which nobody runs.
    """
    if event is None:
        observer.on_completed()
    elif not getattr(observer, "is_stopped", False):
        # Not its own on_next, which drops what the user's function returns.
        returned = getattr(observer, "_on_next", observer.on_next)(event)
        if returned is not None:
            refuse_unrun(returned, "a subscriber of the status stream")


class _Key(NamedTuple):
    where: str
    connection: str | None
    reason: str


class _Window:
    """Calls ``flush`` a second after it was opened, once for all who opened it meanwhile."""

    def __init__(self, scheduler: abc.SchedulerBase, flush: Callable[[], None], runtime: Runtime) -> None:
        self._scheduler = scheduler
        self._flush = flush
        self._lock = runtime.lock()
        self._is_open = False

    def open(self) -> None:
        with self._lock:
            first, self._is_open = not self._is_open, True
        if first:
            try:
                self._scheduler.schedule_relative(LOSS_WINDOW_S, self._close)
            except BaseException:
                self._is_open = False  # so that the next tries again
                raise

    def _close(self, *_: object) -> None:
        self._is_open = False  # first: what is reported from now on has a window of its own
        self._flush()


class _Reporter(Generic[_K, _V]):
    """Gathers by kind what is reported, and announces it once a second; any thread.

    Args:
        emit: takes the events.
        scheduler: for the second's end.
        runtime: its wall clock and locks.
    """

    def __init__(
        self,
        emit: Callable[[status.StatusEvent], None],
        scheduler: abc.SchedulerBase,
        runtime: Runtime = SYSTEM,
    ) -> None:
        self._emit = emit
        self._clock = runtime.clock
        self._lock = runtime.lock()
        self._window = _Window(scheduler, self.flush, runtime)
        self._open: dict[_K, _V] = {}

    def flush(self) -> None:
        """Announce now what was reported."""
        raise NotImplementedError


class LossReporter(_Reporter[_Key, tuple[int, int, int]]):
    """Turns drops, of which there may be thousands a second, into at most one `Loss` a second and kind.

    The first drop of a kind is announced within a second, together with those that follow in that time; the
    counts add up to all that was dropped. `report` and `flush` may be called from any thread.
    """

    def report(  # noqa: PLR0917  # the fields of a Loss, in their order
        self, where: str, connection: str | None, reason: str, count: int, from_ns: int, to_ns: int
    ) -> None:
        """Add ``count`` elements received between ``from_ns`` and ``to_ns``."""
        key = _Key(where, connection, reason)
        with self._lock:
            before, since_ns, until_ns = self._open.get(key, (0, from_ns, to_ns))
            self._open[key] = (before + count, min(since_ns, from_ns), max(until_ns, to_ns))
        self._window.open()

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


class FailureReporter(_Reporter[str, tuple[int, str]]):
    """Turns failures, of which there may be one a tick, into a `SubscriberFailed` a second and subscriber.

    `report` and `flush` may be called from any thread.
    """

    def report(self, subscriber: str, count: int, error: BaseException) -> None:
        """Add ``count`` ticks on which a subscriber failed."""
        words = words_of(error)
        with self._lock:
            before, _ = self._open.get(subscriber, (0, ""))
            self._open[subscriber] = before + count, words
        self._window.open()

    def flush(self) -> None:
        """Announce now what was reported."""
        with self._lock:
            failures, self._open = self._open, {}
        for subscriber, (count, words) in failures.items():
            self._emit(
                status.SubscriberFailed(at_ns=self._clock(), subscriber=subscriber, count=count, error=words)
            )
