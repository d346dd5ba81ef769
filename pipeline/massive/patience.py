"""How much of a feed has not been read yet, and when the server will stand no more of it: pure.

What we do not read waits in the kernels' buffers, and then at the server, which cuts off who is too far
behind. Nobody tells us how much that is. But ticks carry the time at which they happened: what has waited is
later than what has not, and at the rate at which the feed makes ticks that is so many bytes.
"""

import re
from math import inf
from typing import Final

from .frames import Frames

__all__ = ["DEFAULT_PATIENCE_BYTES", "Patience"]

DEFAULT_PATIENCE_BYTES: Final = 8 * 1024 * 1024
"""What the kernels' buffers hold of a connection by themselves, half of it on the server's side (Linux): safe
with any server. With less, a sender that only fills them would be read for nothing."""
CALM: Final = 0.5
"""Once there was too much, reading may wait again when it is less than this part."""
DRIFT: Final = 20e-6
"""So many seconds a second may the server's clock and ours part: it is not taken for waiting."""
RATE_MS: Final = 50
"""Over so much of the feed's time, or more, its rate is measured."""
CALM_LOOK_S: Final = 0.1
"""While all is calm the time of one read in so long is looked at: each look takes 1 µs."""
LOOK_S: Final = 0.001
"""While much waits, of one in so long."""
TAIL_BYTES: Final = 1024
"""So much of the end of a read is looked at, some eight ticks: one of them may be a late print."""
_EVENT_MS: Final = re.compile(rb'"[te]":(\d{13})(?!\d)')
"""When a tick happened, or a bar ended; nanoseconds have more digits, and few ticks have them."""


class _Line:
    """What is known of one connection; times in ms.

    How late a tick was is by the monotonic clock, which has another beginning than the feed's, so that only
    differences mean anything; by the wall clock, once it is set, all would look late for ever.
    """

    __slots__ = ("all_bytes", "late_ms", "least_at_ms", "least_late_ms", "looked_s", "mark", "rate")

    def __init__(self) -> None:
        self.all_bytes = 0
        self.looked_s = -inf
        self.late_ms = 0.0
        self.least_late_ms: float | None = None
        self.least_at_ms = 0.0
        self.mark: tuple[int, int] | None = None
        """Time of the feed at which so many bytes had come."""
        self.rate = 0.0
        """Bytes that the feed makes in a ms of its own time."""

    @property
    def waiting_bytes(self) -> float:
        return max(0.0, self.late_ms - (self.least_late_ms or 0.0)) * self.rate

    def look(self, frames: Frames, at_s: float) -> None:
        """Take the time of the newest tick in the end of a read, if it shows one."""
        if not frames.messages or not (found := _EVENT_MS.findall(frames.messages[-1][-TAIL_BYTES:])):
            return
        newest_ms, read_ms = max(map(int, found)), at_s * 1e3
        self.late_ms = read_ms - newest_ms
        least_ms = self.least_late_ms
        if least_ms is None or self.late_ms < least_ms + DRIFT * (read_ms - self.least_at_ms):
            self.least_late_ms, self.least_at_ms = self.late_ms, read_ms
        if self.mark is None or newest_ms < self.mark[0] - RATE_MS:
            self.mark = newest_ms, self.all_bytes
        since_ms, before_bytes = self.mark
        rate = (self.all_bytes - before_bytes) / max(newest_ms - since_ms, RATE_MS)
        if newest_ms - since_ms >= RATE_MS:
            self.rate, self.mark = rate, (newest_ms, self.all_bytes)
        elif rate > self.rate:  # a burst shows before its time is over
            self.rate = rate


class Patience:
    """The server's patience with a slow reader, and how much of it is spent.

    Not thread-safe: it belongs to the thread that reads.

    Args:
        patience_bytes: what may wait of one connection, in the kernels' buffers and at the server.
    """

    def __init__(self, patience_bytes: int = DEFAULT_PATIENCE_BYTES) -> None:
        self._patience_bytes = patience_bytes
        self._lines: dict[str, _Line] = {}
        self._spent: set[str] = set()

    @property
    def is_spent(self) -> bool:
        """Whether more of a connection waits than its server may stand."""
        return bool(self._spent)

    def waiting_bytes(self, connection: str) -> float:
        """Return how much of a connection waits to be read, as of its last read."""
        line = self._lines.get(connection)
        return line.waiting_bytes if line else 0.0

    def read(self, frames: Frames, at_s: float, *, closely: bool) -> None:
        """Note what a read brought.

        Args:
            frames: of the read.
            at_s: when it was, monotonic.
            closely: look at the times often, since much waits.
        """
        line = self._lines.get(frames.connection)
        if line is None:
            line = self._lines[frames.connection] = _Line()
        line.all_bytes += frames.size_bytes
        if at_s < line.looked_s + (LOOK_S if closely else CALM_LOOK_S):
            return
        line.looked_s = at_s
        line.look(frames, at_s)
        limit_bytes = self._patience_bytes * (CALM if frames.connection in self._spent else 1.0)
        if line.waiting_bytes > limit_bytes:
            self._spent.add(frames.connection)
        else:
            self._spent.discard(frames.connection)
