"""The loop of a stream: one selector over all its sockets, the timers of their connections, and decoding.

One thread at a time and not one a connection, because three readers fight for the GIL: measured with batched
reads, three reading threads reach 0.8-0.9 of the throughput of one, a selector over three sockets 1.0.

Which thread may change: a subscriber's thread that has nothing to do leads the loop itself, so that a tick
goes from the socket to the callback without waking another thread, and warm in the cache. (Leaders and
followers: Schmidt and others, Pattern-Oriented Software Architecture 2.) The loop's own thread leads while no
subscriber does, and stands by otherwise: see `Deputy` for how long one may keep the sockets waiting.
"""

import contextlib
import heapq
import itertools
import logging
import selectors
import socket
from collections import deque
from collections.abc import Callable
from datetime import datetime
from queue import Empty
from typing import Any, Final, TypeVar

from reactivex import abc, typing
from reactivex.scheduler.scheduler import Scheduler

from operators.runtime import SYSTEM, Runtime, Worker

__all__ = ["SocketLoop"]

log = logging.getLogger("tickbraid.massive.loop")

JOIN_TIMEOUT_S: Final = 2.0
LOOK_S: Final = 0.02
"""So often the thread that stands by looks whether anybody leads, while the leaders come and go."""
TURNS_A_LOOK: Final = 4
"""While jobs wait, sockets are looked at every fourth turn, a few ms, so that what is read then is worth it;
but every turn where one of them had more than it gave."""
STILL_LOOKS: Final = 2
"""When so often nothing has happened it looks no more. To be woken costs whoever does it some 10 µs, so this
must be rare while ticks come."""
SURE_S: Final = 0.005
"""So long nobody must lead before it does: a leader may be between two turns."""

_State = TypeVar("_State")


class _Job(abc.DisposableBase):
    """An action that waits; disposing it calls it off."""

    __slots__ = ("action", "is_disposed", "state")

    def __init__(self, action: abc.ScheduledAction[Any], state: Any) -> None:
        self.action = action
        self.state = state
        self.is_disposed = False

    def dispose(self) -> None:
        self.is_disposed = True


class _Watched:
    """What is called when a socket can be read or written, and whether its reads may be held back."""

    __slots__ = ("may_be_held", "on_readable", "on_writable")

    def __init__(self, on_readable: Callable[[], bool | None]) -> None:
        self.on_readable = on_readable
        self.on_writable: Callable[[], None] | None = None
        self.may_be_held = False

    def events(self, *, held: bool) -> int:
        """Return what the selector is to look for; 0 for nothing."""
        readable = 0 if held and self.may_be_held else selectors.EVENT_READ
        return readable | (selectors.EVENT_WRITE if self.on_writable else 0)


class SocketLoop(Scheduler, abc.DisposableBase):
    """Runs reads, writes and timers of many sockets one by one, on the thread that leads.

    That is ``tickbraid-io``, which starts with `start` or the first `schedule` and ends with `dispose`, or
    one that called `lead`. It is a reactivex scheduler, so that a connection's timers run in virtual time in
    the tests. `schedule` and `dispose` may be called from any thread; `watch`, `set_writer` and `unwatch` on
    the one that leads.

    Args:
        runtime: its thread, what that waits on, and the clocks.
    """

    def __init__(self, runtime: Runtime = SYSTEM) -> None:
        super().__init__()
        self._now = runtime.now
        self._monotonic = runtime.monotonic
        self._ident = runtime.ident
        self._spawn = runtime.spawn
        self._event = runtime.event
        self._selector = runtime.selector()
        self._wake_in, self._wake_out = runtime.socketpair()
        self._wake_in.setblocking(False)
        self._wake_out.setblocking(False)
        self._selector.register(self._wake_out, selectors.EVENT_READ, _Watched(self._drain_wakes))
        self._watched: dict[socket.socket, _Watched] = {}
        self._held_since_s: float | None = None
        self._held_before_s = 0.0
        self._lock = runtime.lock()
        self._jobs: deque[_Job] = deque()
        self._timers: list[tuple[float, int, _Job]] = []
        self._order = itertools.count()
        self._thread: Worker | None = None
        self._disposed = False
        self._lead = runtime.lock()
        """Held by who leads; no user code runs under it."""
        self._leader: int | None = None
        self._turns = 0
        self._behind = False
        self._volunteer: Callable[[], bool] | None = None
        self._summons = runtime.queue()
        """Wakes who stands by: True, to lead now; False, to look."""
        self._asleep = False
        """Whoever stands by looks no more until it is told to."""

    @property
    def now(self) -> datetime:
        """The wall clock, as reactivex wants it."""
        return self._now()

    def start(self) -> None:
        """Start the thread, if it does not run yet; from any thread.

        Raises:
            RuntimeError: it cannot be.
        """
        with self._lock:
            if self._thread is None and not self._disposed:
                self._start()

    def schedule(self, action: typing.ScheduledAction[_State], state: _State | None = None) -> _Job:
        """Run ``action`` on the loop's thread soon.

        Once the loop is disposed nothing runs any more; what is returned is then disposed already.

        Raises:
            RuntimeError: the loop's thread, which the first action starts, cannot be; nothing was taken.
        """
        job = _Job(action, state)
        with self._lock:
            if self._disposed:
                job.is_disposed = True
                return job
            if self._thread is None:
                self._start()
            self._jobs.append(job)
        self._wake()
        return job

    def schedule_relative(
        self,
        duetime: typing.RelativeTime,
        action: typing.ScheduledAction[_State],
        state: _State | None = None,
    ) -> abc.DisposableBase:
        """Run ``action`` on the loop's thread in ``duetime`` seconds (or a timedelta)."""
        job = _Job(action, state)
        due_s = self._monotonic() + max(0.0, self.to_seconds(duetime))
        with self._lock:
            if self._disposed:
                return job
            if self._thread is None:
                self._start()
            heapq.heappush(self._timers, (due_s, next(self._order), job))
        self._wake()
        return job

    def schedule_absolute(
        self,
        duetime: typing.AbsoluteTime,
        action: typing.ScheduledAction[_State],
        state: _State | None = None,
    ) -> abc.DisposableBase:
        """Run ``action`` on the loop's thread at the wall-clock time ``duetime``."""
        return self.schedule_relative(self.to_datetime(duetime) - self.now, action, state)

    def watch(self, sock: socket.socket, on_readable: Callable[[], bool | None]) -> None:
        """Call ``on_readable`` whenever ``sock`` can be read; it returns whether it left anything there."""
        self._watched[sock] = _Watched(on_readable)
        self._select(sock)

    def set_writer(self, sock: socket.socket, on_writable: Callable[[], None] | None) -> None:
        """Call ``on_writable`` when ``sock``, a watched one, can be written; None stops it."""
        self._watched[sock].on_writable = on_writable
        self._select(sock)

    def let_hold(self, sock: socket.socket) -> None:
        """Let `hold_reads` be for ``sock``, a watched one, too: until now it is read in any case."""
        self._watched[sock].may_be_held = True
        self._select(sock)

    def unwatch(self, sock: socket.socket) -> None:
        """Forget ``sock``; call it before closing the socket."""
        del self._watched[sock]
        self._select(sock)

    def hold_reads(self, *, hold: bool) -> None:
        """Leave what comes in the kernel's buffers, and then in the server's, or read again. Idempotent."""
        if hold is (self._held_since_s is not None):
            return
        if self._held_since_s is None:
            self._held_since_s = self._monotonic()
        else:
            self._held_before_s += self._monotonic() - self._held_since_s
            self._held_since_s = None
        for sock in self._watched:
            self._select(sock)

    def listening_s(self) -> float:
        """Return the monotonic time without that in which reads were held back, s. From any thread.

        By this clock a connection is silent for as long as nothing came although somebody listened.
        """
        since_s = self._held_since_s
        return (self._monotonic() if since_s is None else since_s) - self._held_before_s

    def _select(self, sock: socket.socket) -> None:
        """Let the selector look for what is wanted of a socket now."""
        watched, before = self._watched.get(sock), self._selector.get_map().get(sock)
        events = watched.events(held=self._held_since_s is not None) if watched else 0
        if not events:
            if before is not None:
                self._selector.unregister(sock)
        elif before is None:
            self._selector.register(sock, events, watched)
        elif (before.events, before.data) != (events, watched):
            self._selector.modify(sock, events, watched)

    def beats(self, timeout_s: float) -> bool:
        """Tell whether the thread comes to a new job within so long, or need not; from any other thread."""
        with self._lock:
            if self._thread is None or self._disposed:
                return True
        beat = self._event()
        self.schedule(lambda *_: beat.set())
        return beat.wait(timeout_s) or self._disposed

    def lead(self, until: Callable[[], bool]) -> None:
        """Run the loop on the calling thread until something else waits for it; ``until`` is asked each turn.

        Where another thread leads it returns at once. If that is the loop's own, it steps back as soon as
        ``until`` says that the caller has something to do: whoever does it will call again.

        Nobody leads a loop that has no thread of its own: `dispose` would close what the leader waits on.
        """
        if self._thread is None:
            return
        if self._lead.acquire(blocking=False):
            try:
                self._take_turns(until)
            finally:
                self._lead.release()
                if self._asleep:  # after there is a leader no more: see `_may_sleep`
                    self._asleep = False
                    self._summons.put(False)
        else:
            self._volunteer = until

    def recall(self) -> None:
        """Let the leader ask its ``until`` soon. From any thread."""
        self._wake()

    def step_in(self) -> None:
        """Let the loop's own thread lead now, if nobody does. From any thread."""
        self._summons.put(True)

    def dispose(self) -> None:
        """End the thread, from any thread, within 2 s.

        What was scheduled to run at once still runs, so that connections told to close do; timers do not.
        """
        with self._lock:
            first, self._disposed = not self._disposed, True
            thread = self._thread
        if thread is None:
            if first:
                self._close()
            return
        self._summons.put(True)
        if self._leader != self._ident():
            self._wake()
            thread.join(JOIN_TIMEOUT_S)

    def _start(self) -> None:
        # Where there are no threads the next action tries again.
        self._thread = self._spawn(self._run, "tickbraid-io")

    def _run(self) -> None:
        while not self._disposed:
            try:
                with self._lead:
                    self._take_turns(self._is_relieved)
                self._stand_by()
            except BaseException:  # thrown in from outside, as gevent's and eventlet's time-outs are
                log.exception("the loop's thread was interrupted; it goes on")
        with self._lead:
            self._leader = self._ident()
            try:
                while self._jobs:
                    self._run_job(self._jobs.popleft())
            finally:
                self._close()

    def _take_turns(self, until: Callable[[], bool]) -> None:
        self._leader = self._ident()
        try:
            while not (self._disposed or until()):
                self._turns += 1
                self._take_turn()
        finally:
            self._leader = None

    def _is_relieved(self) -> bool:
        """Tell whether a thread that leads when it has nothing to do was just given something to do."""
        volunteer = self._volunteer
        if volunteer is None or not volunteer():
            return False
        self._volunteer = None
        return True

    def _stand_by(self) -> None:
        """Wait until nobody has led for as long as a callback may keep sockets waiting.

        While a leader waits for something to happen there is nothing to look at: it wakes us when it leaves.
        """
        pause_s: float | None = LOOK_S
        turns, still = self._turns, 0
        while not self._disposed:
            try:
                if self._summons.get(timeout=pause_s):
                    return
            except Empty:
                still = still + 1 if self._turns == turns else 0
                idle = still and self._leader is None
                if idle and pause_s == SURE_S:
                    return
                pause_s = SURE_S if idle else LOOK_S
                if not idle and still >= STILL_LOOKS and self._may_sleep():
                    pause_s = None
            else:
                pause_s, still = LOOK_S, 0
            turns = self._turns

    def _may_sleep(self) -> bool:
        """Have whoever leads wake us when it leaves; return whether somebody does."""
        self._asleep = True  # before the look, as who leaves looks in the other order
        if self._leader is None:
            self._asleep = False
        return self._asleep

    def _take_turn(self) -> None:
        if self._behind or not self._jobs or self._turns % TURNS_A_LOOK == 0:
            self._behind = self._serve_sockets()
        for _ in range(len(self._jobs)):  # what these add waits for the next turn
            self._run_job(self._jobs.popleft())
        while (job := self._due()) is not None:
            self._run_job(job)

    def _serve_sockets(self) -> bool:
        """Read and write what can be; return whether there is more to read than was taken."""
        more = False
        for key, events in self._selector.select(self._wait_s()):
            watched: _Watched = key.data
            try:
                # A callback may close another socket that is ready too; its data then says so.
                if events & selectors.EVENT_READ:
                    more = watched.on_readable() or more
                if events & selectors.EVENT_WRITE and watched.on_writable is not None:
                    watched.on_writable()
            except BaseException:
                log.exception("a socket's callback raised; this is a defect")
        return more

    def _wait_s(self) -> float | None:
        """Return for how many seconds sockets may be waited for, None for ever."""
        if self._jobs:
            return 0.0
        timers = self._timers  # whoever adds one wakes the selector
        return max(0.0, timers[0][0] - self._monotonic()) if timers else None

    def _due(self) -> _Job | None:
        if not self._timers or self._timers[0][0] > self._monotonic():
            return None
        with self._lock:  # only this thread takes any away
            if not self._timers or self._timers[0][0] > self._monotonic():
                return None
            return heapq.heappop(self._timers)[2]

    def _run_job(self, job: _Job) -> None:
        if job.is_disposed:
            return
        try:
            job.action(self, job.state)
        except BaseException:  # the other connections live on
            log.exception("an action on the loop's thread raised; this is a defect")

    def _wake(self) -> None:
        if self._leader == self._ident():
            return
        # Full: the loop is awake anyway. Closed: it is ending.
        with contextlib.suppress(OSError):
            self._wake_in.send(b"\0")

    def _drain_wakes(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._wake_out.recv(4096)  # what is left wakes the next round

    def _close(self) -> None:
        self._selector.close()
        self._wake_in.close()
        self._wake_out.close()
