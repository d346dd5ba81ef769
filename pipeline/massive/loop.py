"""The thread of a stream: one selector over all its sockets, the timers of their connections, and decoding.

One thread and not one a connection, because three readers fight for the GIL: measured with batched reads,
three reading threads reach 0.8-0.9 of the throughput of one, a selector over three sockets 1.0.
"""

import contextlib
import heapq
import itertools
import logging
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final, TypeVar

from reactivex import abc, typing
from reactivex.disposable import BooleanDisposable
from reactivex.scheduler.scheduler import Scheduler

__all__ = ["SocketLoop"]

log = logging.getLogger("tickbraid.massive.loop")

JOIN_TIMEOUT_S: Final = 2.0

_State = TypeVar("_State")
_Job = tuple[abc.ScheduledAction[Any], Any, BooleanDisposable]


class SocketLoop(Scheduler, abc.DisposableBase):
    """Runs reads, writes and timers of many sockets on the thread ``tickbraid-io``, one by one.

    It is a reactivex scheduler, so that a connection's timers run in virtual time in the tests. `schedule`
    and `dispose` may be called from any thread; `watch`, `set_writer` and `unwatch` on the loop's thread.
    The thread starts with the first `schedule` and ends with `dispose`.

    Args:
        monotonic: seconds, for the timers.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._monotonic = monotonic
        self._selector = selectors.DefaultSelector()
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.setblocking(False)
        self._wake_out.setblocking(False)
        self._selector.register(self._wake_out, selectors.EVENT_READ, (self._drain_wakes, None))
        self._lock = threading.Lock()
        self._jobs: deque[_Job] = deque()
        self._timers: list[tuple[float, int, _Job]] = []
        self._order = itertools.count()
        self._thread: threading.Thread | None = None
        self._disposed = False

    def schedule(
        self, action: typing.ScheduledAction[_State], state: _State | None = None
    ) -> BooleanDisposable:
        """Run ``action`` on the loop's thread soon.

        Once the loop is disposed nothing runs any more; what is returned is then disposed already.
        """
        job: _Job = (action, state, BooleanDisposable())
        with self._lock:
            refused = self._disposed
            if not refused:
                self._jobs.append(job)
                self._start()
        if refused:
            job[2].dispose()
        else:
            self._wake()
        return job[2]

    def schedule_relative(
        self,
        duetime: typing.RelativeTime,
        action: typing.ScheduledAction[_State],
        state: _State | None = None,
    ) -> abc.DisposableBase:
        """Run ``action`` on the loop's thread in ``duetime`` seconds (or a timedelta)."""
        job: _Job = (action, state, BooleanDisposable())
        due_s = self._monotonic() + max(0.0, self.to_seconds(duetime))
        with self._lock:
            if self._disposed:
                return job[2]
            heapq.heappush(self._timers, (due_s, next(self._order), job))
            self._start()
        self._wake()
        return job[2]

    def schedule_absolute(
        self,
        duetime: typing.AbsoluteTime,
        action: typing.ScheduledAction[_State],
        state: _State | None = None,
    ) -> abc.DisposableBase:
        """Run ``action`` on the loop's thread at the wall-clock time ``duetime``."""
        return self.schedule_relative(self.to_datetime(duetime) - self.now, action, state)

    def watch(self, sock: socket.socket, on_readable: Callable[[], None]) -> None:
        """Call ``on_readable`` whenever ``sock`` can be read."""
        self._selector.register(sock, selectors.EVENT_READ, (on_readable, None))

    def set_writer(self, sock: socket.socket, on_writable: Callable[[], None] | None) -> None:
        """Call ``on_writable`` when ``sock``, a watched one, can be written; None stops it."""
        on_readable = self._selector.get_key(sock).data[0]
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if on_writable else 0)
        self._selector.modify(sock, events, (on_readable, on_writable))

    def unwatch(self, sock: socket.socket) -> None:
        """Forget ``sock``; call it before closing the socket."""
        self._selector.unregister(sock)

    def beats(self, timeout_s: float) -> bool:
        """Tell whether the thread comes to a new job within so long, or need not; from any other thread."""
        with self._lock:
            if self._thread is None or self._disposed:
                return True
        beat = threading.Event()
        self.schedule(lambda *_: beat.set())
        return beat.wait(timeout_s) or self._disposed

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
        elif thread is not threading.current_thread():
            self._wake()
            thread.join(JOIN_TIMEOUT_S)

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="tickbraid-io", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        try:
            while not self._disposed:
                for key, events in self._selector.select(self._run_jobs()):
                    on_readable, on_writable = key.data
                    # A callback may close another socket that is ready too; its data then says so.
                    if events & selectors.EVENT_READ:
                        self._guard(on_readable)
                    if events & selectors.EVENT_WRITE and on_writable is not None:
                        self._guard(on_writable)
            while self._jobs:
                self._run_job(self._jobs.popleft())
        finally:
            self._close()

    def _run_jobs(self) -> float | None:
        """Run what is due; return for how many seconds to wait, None for ever."""
        for _ in range(len(self._jobs)):  # what these add waits for the next round: sockets get their turn
            self._run_job(self._jobs.popleft())
        while True:
            with self._lock:
                if self._jobs:
                    return 0.0
                if not self._timers:
                    return None
                wait_s = self._timers[0][0] - self._monotonic()
                if wait_s > 0:
                    return wait_s
                job = heapq.heappop(self._timers)[2]
            self._run_job(job)

    def _run_job(self, job: _Job) -> None:
        action, state, cancelled = job
        if not cancelled.is_disposed:
            self._guard(lambda: action(self, state))

    @staticmethod
    def _guard(callback: Callable[[], Any]) -> None:
        """Keep the other connections alive when one has a defect."""
        try:
            callback()
        except Exception:
            log.exception("a callback on the loop's thread raised; this is a defect")

    def _wake(self) -> None:
        if threading.current_thread() is self._thread:
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
