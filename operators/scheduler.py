"""One thread with a bounded queue, as a reactivex scheduler."""

import heapq
import itertools
import logging
from collections import deque
from collections.abc import Callable
from datetime import datetime
from queue import Empty
from typing import Any, Final, Protocol, TypeVar

from reactivex import abc, typing
from reactivex.internal.exceptions import DisposedException
from reactivex.scheduler.periodicscheduler import PeriodicScheduler

from .errors import BufferOverflow
from .runtime import SYSTEM, Runtime, Worker
from .throttled_log import ThrottledLog

__all__ = ["BufferingScheduler", "Pastime"]

_State = TypeVar("_State")
_LOG: Final = logging.getLogger("tickbraid.operators")
JOIN_S: Final = 2.0
"""How long `dispose` waits for an action that is still running."""
WAIT_S: Final = 86_400.0
"""A delayed action is waited for in steps of a day: no platform can wait for any length of time."""


class Pastime(Protocol):
    """Is what a thread does while it has nothing to do."""

    def lend(self, until: Callable[[], bool]) -> None:
        """Do something on the calling thread until ``until`` says yes, or less."""
        ...

    def begin(self) -> None:
        """Be told that there is something to do now; on the same thread."""
        ...

    def recall(self) -> None:
        """Make `lend` ask ``until`` soon; from any thread, at times when it does not run, too."""
        ...


class BufferingScheduler(PeriodicScheduler, abc.DisposableBase):
    """Run actions one after another on one thread of its own, from a queue with a limit.

    The thread is a daemon named ``tickbraid-{name}``. It starts with `start` or the first action and belongs
    to whoever made the scheduler: `dispose` ends it, and nothing else does, whatever an action raises.
    Methods may be called from any thread. reactivex's own ``EventLoopScheduler`` has no limit and wakes its
    thread through a Condition; here a C-level `queue.SimpleQueue` does, which costs the caller a put.

    Args:
        name: of the thread.
        capacity: actions that may wait, delayed ones included; the one that is running does not count.
        pastime: what the thread does while nothing waits, delayed actions neither.
        runtime: the thread, what it waits on, and the clocks.

    Raises:
        ValueError: ``capacity`` is below 1 or ``name`` is empty.
    """

    def __init__(
        self,
        name: str,
        capacity: int = 1024,
        pastime: Pastime | None = None,
        runtime: Runtime = SYSTEM,
    ) -> None:
        if not name:
            raise ValueError("name must not be empty")
        if capacity < 1:
            raise ValueError(f"capacity must be 1 or more, not {capacity!r}")
        self._name = name
        self._capacity = capacity
        self._now = runtime.now
        self._monotonic = runtime.monotonic
        self._ident = runtime.ident
        self._spawn = runtime.spawn
        self._lock = runtime.lock()
        self._ready: deque[_Scheduled] = deque()
        self._wake = runtime.queue()  # one for each time there is more to do
        self._delayed: list[tuple[float, int, _Scheduled]] = []
        self._order = itertools.count()
        self._thread: Worker | None = None
        self._disposed = False
        self._pastime = pastime
        self._lent = False
        self._log = ThrottledLog(f"the thread tickbraid-{name} was interrupted; it goes on", runtime=runtime)

    @property
    def now(self) -> datetime:
        """The wall clock, as reactivex wants it."""
        return self._now()

    def schedule(
        self, action: abc.ScheduledAction[_State], state: _State | None = None
    ) -> abc.DisposableBase:
        """Run an action after those already waiting.

        Raises:
            BufferOverflow: ``capacity`` actions are waiting.
            DisposedException: after `dispose`.
            RuntimeError: its thread cannot be started; the action was not taken.
        """
        scheduled = _Scheduled(action, state)
        with self._lock:
            self._admit()
            self._ready.append(scheduled)
            self._wake.put(None)
        self._recall()
        return scheduled

    def schedule_relative(
        self, duetime: typing.RelativeTime, action: abc.ScheduledAction[_State], state: _State | None = None
    ) -> abc.DisposableBase:
        """Run an action when ``duetime`` has passed on the monotonic clock; see `schedule`."""
        delay_s = self.to_seconds(duetime)
        if delay_s <= 0:
            return self.schedule(action, state)
        scheduled = _Scheduled(action, state)
        with self._lock:
            self._admit()
            entry = (self._monotonic() + delay_s, next(self._order), scheduled)
            heapq.heappush(self._delayed, entry)
            if self._delayed[0] is entry:
                self._wake.put(None)  # the thread sleeps until a later time than this one
        self._recall()
        return scheduled

    def schedule_absolute(
        self, duetime: typing.AbsoluteTime, action: abc.ScheduledAction[_State], state: _State | None = None
    ) -> abc.DisposableBase:
        """Run an action at a wall-clock time, as it stands now: a clock set later changes nothing."""
        at: datetime = self.to_datetime(duetime)
        return self.schedule_relative(at - self.now, action, state)

    def start(self) -> None:
        """Start the thread now and not with the first action.

        Raises:
            DisposedException: after `dispose`.
            RuntimeError: it cannot be started.
        """
        with self._lock:
            self._admit()

    def dispose(self) -> None:
        """Drop what waits and end the thread; wait for it up to 2 s, except on the thread itself."""
        with self._lock:
            self._disposed = True
            self._ready.clear()
            self._delayed.clear()
            self._wake.put(None)
            thread = self._thread
        self._recall()
        if thread is None or thread.ident == self._ident():
            return
        thread.join(JOIN_S)
        if thread.is_alive():
            _LOG.warning("%s still runs an action %.0f s after it was told to end", thread.name, JOIN_S)

    def _admit(self) -> None:
        """Make room for one more action, under the lock."""
        if self._disposed:
            raise DisposedException
        if len(self._ready) + len(self._delayed) >= self._capacity:
            # Time-outs are mostly cancelled long before they are due; they must not fill the queue.
            self._delayed = [entry for entry in self._delayed if not entry[2].is_disposed]
            heapq.heapify(self._delayed)
            if len(self._ready) + len(self._delayed) >= self._capacity:
                raise BufferOverflow(f"{self._capacity} actions wait for the thread tickbraid-{self._name}")
        if self._thread is None:
            # Where there are no threads the next action tries again.
            self._thread = self._spawn(self._run, f"tickbraid-{self._name}")

    def _run(self) -> None:
        while not self._disposed:
            try:
                self._take_turn()
            except BaseException as error:  # noqa: BLE001 - thrown in from outside, as gevent's time-outs are
                self._log(error)
                self._wake.put(None)  # in the place of one that may have been taken

    def _take_turn(self) -> None:
        scheduled, wait_s = self._next_delayed() if self._delayed else (None, None)
        if scheduled is None:
            try:
                self._await(wait_s)
                scheduled = self._ready.popleft()
            except (Empty, IndexError):
                return  # a delayed action is due or new, or this is the end
        if not scheduled.is_disposed:
            scheduled.run(self)

    def _await(self, wait_s: float | None) -> None:
        pastime = self._pastime
        if pastime is None:
            self._wake.get(timeout=wait_s)
            return
        if not self._is_wanted():
            self._lent = True
            try:
                pastime.lend(self._is_wanted)
            except BaseException as error:  # noqa: BLE001 - the actions are not the pastime's to lose
                self._log(error)
            finally:
                self._lent = False
        self._wake.get(timeout=wait_s)
        pastime.begin()

    def _is_wanted(self) -> bool:
        return bool(self._ready or self._delayed or self._disposed)

    def _recall(self) -> None:
        if self._lent and self._pastime is not None:
            self._pastime.recall()

    def _next_delayed(self) -> "tuple[_Scheduled | None, float | None]":
        """Return a delayed action that is due, else how long to wait for the first."""
        with self._lock:
            if not self._delayed:
                return None, None
            wait_s = self._delayed[0][0] - self._monotonic()
            if wait_s > 0:
                return None, min(wait_s, WAIT_S)
            return heapq.heappop(self._delayed)[2], None


class _Scheduled(abc.DisposableBase):
    """An action that waits; disposing it cancels it, or disposes what it returned."""

    __slots__ = ("_action", "_returned", "_state", "is_disposed")

    def __init__(self, action: abc.ScheduledAction[Any], state: Any) -> None:
        self._action = action
        self._state = state
        self._returned: abc.DisposableBase | None = None
        self.is_disposed = False

    def run(self, scheduler: abc.SchedulerBase) -> None:
        try:
            self._returned = self._action(scheduler, self._state)
        except BaseException:  # noqa: BLE001 - the thread serves the actions after it as well
            _LOG.exception("an action of a scheduler raised")
        # Whichever of `run` and `dispose` comes second sees what the other wrote, so it is never missed.
        if self.is_disposed:
            self.dispose()

    def dispose(self) -> None:
        self.is_disposed = True
        if self._returned is not None:
            self._returned.dispose()
