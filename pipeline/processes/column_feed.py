"""The parent's end of columns: one subscriber, and a thread that merges what all children hand over."""

import contextlib
import logging
import selectors
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from reactivex import abc

from operators.histogram import LatencyHistogram
from operators.throttled_log import ThrottledLog
from pipeline import status

from .column_wire import Arrived, Lane

__all__ = ["ColumnFeed", "Taken"]

log = logging.getLogger("tickbraid.processes")

JOIN_S: Final = 2.0

Taken = dict[str, tuple[int, int]]
"""Connection to the rows that the subscriber was given: of the processes before, and of the last one."""


class ColumnFeed(abc.DisposableBase):
    """Gives one subscriber what the children hand over, one record batch at a time, on ``tickbraid-NAME``.

    There is no queue here: what the subscriber has no time for stays in the sockets, 208 KiB a connection on
    Linux, then in the children's buffers, whose policy decides. So a slow one costs the parent no memory, and
    nothing is dropped here but what is in the sockets when the subscriber leaves.

    Args:
        name: of the subscriber.
        columns: names of those it asked for; none for the default ones.
        observer: gets them.
        emit: takes the `Loss` events; must not block.
        on_end: called when nothing more comes to the subscriber, on the thread.
        clock: wall clock, ns.
    """

    def __init__(
        self,
        name: str,
        columns: Sequence[str],
        observer: abc.ObserverBase[object],
        *,
        emit: Callable[[status.StatusEvent], None],
        on_end: Callable[["ColumnFeed"], object],
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self.name = name
        self.columns = tuple(columns)
        self.ended = threading.Event()
        """Set when nothing more comes to the subscriber."""
        self.latency = LatencyHistogram()
        """From received, the oldest tick of a record batch, until the subscriber had it; weighted by rows."""
        self.calls = 0
        self.errors = 0
        """Exceptions that came out of the subscriber."""
        self._observer = observer
        self._emit = emit
        self._on_end = on_end
        self._clock = clock
        self._lock = threading.Lock()
        self._new: deque[Lane] = deque()
        """Which the thread does not watch yet."""
        self._last: dict[str, Lane] = {}
        """By connection, that of the last process."""
        self._past: Counter[str] = Counter()
        """Rows by connection of the processes before."""
        self._end: Callable[[], None] | None = None
        self._disposed = False
        self._selector = selectors.DefaultSelector()
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.setblocking(False)
        self._wake_out.setblocking(False)
        self._selector.register(self._wake_out, selectors.EVENT_READ)
        self._log = ThrottledLog(f"the subscriber behind {name!r} raised; it gets the next record batch")
        self._thread = threading.Thread(target=self._run, name=f"tickbraid-{name}", daemon=True)
        self._thread.start()

    # -- from any thread ------------------------------------------------------------------------------------

    def open(self, connection: str) -> socket.socket | None:
        """Return the end of a new socket on which a process hands columns over; None if it is too late."""
        ours, its = socket.socketpair()
        with self._lock:
            if self._end is None and not self._disposed:
                if connection in self._last:
                    self._past[connection] += self._last[connection].rows
                self._last[connection] = lane = Lane(connection, ours)
                self._new.append(lane)
                self._wake()
                return its
        ours.close()
        its.close()
        return None

    def finish(self) -> None:
        """Complete after what is in the sockets: no process is left."""
        self._finish(self._observer.on_completed)

    def fail(self, error: Exception) -> None:
        """End with an error after what is in the sockets."""
        with self._lock:
            self._hang_up()
        self._finish(partial(self._observer.on_error, error))

    def dispose(self) -> None:
        """Stop now; wait for it up to 2 s, except on the thread itself. Idempotent."""
        with self._lock:
            self._disposed = True
            self._hang_up()
            self._wake()
        if not self.is_here():
            self._thread.join(JOIN_S)

    def is_here(self) -> bool:
        """Tell whether the calling thread is its own: then it is the subscriber who calls."""
        return self._thread is threading.current_thread()

    def wait(self, timeout_s: float) -> None:
        """Wait until it has ended, but not on its own thread."""
        if not self.is_here():
            self.ended.wait(timeout_s)

    def taken(self) -> Taken:
        """Return how many rows the subscriber was given; that in its hand does not count yet."""
        with self._lock:
            return {name: (self._past[name], lane.rows) for name, lane in self._last.items()}

    def _finish(self, end: Callable[[], None]) -> None:
        with self._lock:
            self._end = self._end or end
            self._wake()

    def _hang_up(self) -> None:
        for lane in self._last.values():
            lane.hang_up()

    def _wake(self) -> None:
        with contextlib.suppress(OSError):  # full: it is awake anyway; closed: it has ended
            self._wake_in.send(b"\0")

    # -- on the thread --------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while self._end is None and not self._disposed:
                self._turn(None)
            while self._turn(0) and not self._disposed:
                pass  # what is still in the sockets
            if self._end is not None and not self._disposed:
                self._end()
        except Exception as error:  # noqa: BLE001  # of the subscriber's last call; nobody else would see it
            self._raised(error)
        finally:
            self._close()
            self._on_end(self)

    def _turn(self, timeout_s: float | None) -> bool:
        """Serve what there is, of each socket a record batch at most; tell whether there was anything."""
        while self._new:
            lane = self._new.popleft()
            self._selector.register(lane.sock, selectors.EVENT_READ, lane)
        busy = False
        for key, _ in self._selector.select(timeout_s):
            if self._disposed:
                break
            if key.data is None:
                self._wake_out.recv(4096)
            else:
                busy = True
                self._serve(key.data)
        return busy

    def _serve(self, lane: Lane) -> None:
        try:
            arrived = lane.read()
        except EOFError:
            self._forsake(lane)
        except Exception:  # the other processes go on
            log.exception("columns of %s could not be read; this is a defect", lane.connection)
            self._forsake(lane)
        else:
            if arrived is not None:
                self._give(lane, arrived)

    def _forsake(self, lane: Lane) -> None:
        self._selector.unregister(lane.sock)
        lane.close()

    def _give(self, lane: Lane, arrived: Arrived) -> None:
        rows = arrived.columns.num_rows
        self.calls += 1
        try:
            self._observer.on_next(arrived.columns)
        except Exception as error:  # noqa: BLE001  # the next record batch still comes
            self._raised(error)
        with self._lock:
            if self._last[lane.connection] is lane:
                lane.rows += rows
            else:
                self._past[lane.connection] += rows
        self.latency.record(self._clock() - arrived.received_ns, rows)

    def _raised(self, error: Exception) -> None:
        self.errors += 1
        self._log(error)

    def _close(self) -> None:
        """Let go of all sockets, and tell what was in them."""
        with self._lock:
            self._disposed = True
            lanes = [key.data for key in self._selector.get_map().values() if key.data] + list(self._new)
        self._selector.close()
        self._wake_in.close()
        self._wake_out.close()
        for lane in lanes:
            unread = lane.close()
            if unread:
                self._emit(
                    status.Loss(
                        connection=lane.connection,
                        at_ns=self._clock(),
                        where=self.name,
                        reason="closed",
                        count=sum(rows for _, rows in unread),
                        from_ns=unread[0][0],
                        to_ns=unread[-1][0],
                    )
                )
        self.ended.set()
