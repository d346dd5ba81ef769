"""One simulated TCP connection: what each side sent, and when which of it arrives."""

import errno
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from tests.simulation.kernel import Kernel
from tests.simulation.sockets import Socket

__all__ = ["Link", "ServerEnd"]

SECOND: Final = 1_000_000_000
HOLD_S: Final = 0.05
"""A rough link holds back what it cuts or joins for so long at most."""
LONG_HOLD_S: Final = 1.0
"""Now and then it does for so long at most, so that very much is joined."""
HEADER_BYTES: Final = 10
"""A cut is often within the first bytes, where headers are."""
GIVE_UP_S: Final = 924.0
"""The system sends again for so long what nobody confirms."""


@dataclass(frozen=True, slots=True)
class Link:
    """What a connection is like.

    Args:
        latency_s: each way, at least.
        jitter_s: more than that, at most.
        rough: chance that what is sent at once is cut, or joined with what comes after.
        bytes_per_s: how fast it is; 0 for any speed.
        receive_bytes: what may wait at the client until it reads.
        send_bytes: what may wait at the client until the server has it.
    """

    latency_s: float = 0.002
    jitter_s: float = 0.0
    rough: float = 0.0
    bytes_per_s: float = 0.0
    receive_bytes: int = 262_144
    send_bytes: int = 262_144


class Flow:
    """One direction of a connection: bytes arrive in order, late, cut or joined.

    Args:
        kernel: time.
        link: what it is like.
        chance: of this flow alone, in [0, 1).
        arrive: is given what arrives; None is the end.
    """

    def __init__(
        self,
        kernel: Kernel,
        link: Link,
        chance: Callable[[], float],
        arrive: Callable[[bytes | None], None],
    ) -> None:
        self.link = link
        self.is_cut = False
        """Nothing arrives any more."""
        self._kernel = kernel
        self._chance = chance
        self._arrive = arrive
        self._last_ns = 0
        self._free_ns = 0

    def wait_until(self, at_ns: int) -> None:
        """Let nothing arrive before."""
        self._last_ns = max(self._last_ns, at_ns)

    def send(self, data: bytes | None) -> None:
        """Send bytes, or the end."""
        link, chance, kernel = self.link, self._chance, self._kernel
        at_ns = kernel.now_ns + int(link.latency_s * SECOND)
        if link.jitter_s:
            at_ns += int(chance() * link.jitter_s * SECOND)
        if link.bytes_per_s and data:
            self._free_ns = max(self._free_ns, kernel.now_ns) + int(len(data) / link.bytes_per_s * SECOND)
            at_ns += self._free_ns - kernel.now_ns
        if link.rough and data and chance() < link.rough:
            at_ns, data = self._roughen(at_ns, data)
        self._schedule(at_ns, data)

    def _roughen(self, at_ns: int, data: bytes) -> tuple[int, bytes]:
        """Cut something, or hold it until more has come, however much is held already."""
        chance = self._chance
        kind = chance()
        if kind < 0.1:
            return at_ns + int(chance() * LONG_HOLD_S * SECOND), data
        if kind < 0.4 or len(data) < 2:
            return at_ns + int(chance() * HOLD_S * SECOND), data
        longest = min(len(data), HEADER_BYTES) if kind < 0.6 else len(data)
        cut = 1 + int(chance() * (longest - 1))
        self._schedule(at_ns, data[:cut])
        return at_ns + 1 + int(chance() * HOLD_S * SECOND), data[cut:]

    def _schedule(self, at_ns: int, data: bytes | None) -> None:
        """Let something arrive, no earlier than what was sent before."""
        self._last_ns = max(self._last_ns, at_ns)
        self._kernel.at_ns(self._last_ns, self._land, data)

    def _land(self, data: bytes | None) -> None:
        if not self.is_cut:
            self._arrive(data)


def _ignore(*_: Any) -> None:
    pass


class ServerEnd:
    """The server's end of a connection; it is the peer of the client's socket, too.

    Args:
        kernel: time.
        sock: the client's.
        link: what the connection is like.
        number: of the connection, from 1 on.
        port: that was dialled.
        dialled_by: the thread that dialled.

    Attributes:
        on_data: is given what the client sent.
        on_end: is called once, when the client has ended it.
        on_read: is given the offset up to which the client has read, each time it does.
        sent_bytes: offset of the next byte that is sent.
        read_bytes: offset up to which the client has read off its socket.
        address: the client's.
    """

    def __init__(
        self, kernel: Kernel, sock: Socket, link: Link, *, number: int, port: int, dialled_by: str
    ) -> None:
        self.number = number
        self.port = port
        self.dialled_by = dialled_by
        self.address = sock.getsockname()
        self.on_data: Callable[[bytes], None] = _ignore
        self.on_end: Callable[[], None] = _ignore
        self.on_read: Callable[[int], None] = _ignore
        self.sent_bytes = 0
        self.read_bytes = 0
        self.is_half_open = False
        self._kernel = kernel
        self._sock = sock
        self._down = Flow(kernel, link, kernel.random(f"down {number}").random, self._arrive)
        self._up = Flow(kernel, link, kernel.random(f"up {number}").random, self._hear)
        self._stalled: deque[bytes | None] = deque()
        """What finds no room at the client."""
        self._resumes = False
        self._unconfirmed_bytes = 0
        self._is_reading = True
        self._unheard: list[bytes | None] = []
        self._is_closed = False
        self._is_over = False
        connected_ns = kernel.now_ns + int(link.latency_s * SECOND)
        kernel.at_ns(connected_ns, self._connect)
        self._down.wait_until(connected_ns)

    # --- what the server does

    @property
    def unread_bytes(self) -> int:
        """How much of what was sent the client has not read."""
        return self.sent_bytes - self.read_bytes

    @property
    def link(self) -> Link:
        """What the connection is like; may be set at any time."""
        return self._down.link

    @link.setter
    def link(self, link: Link) -> None:
        self._down.link = self._up.link = link

    def send(self, data: bytes) -> None:
        """Send after all that was sent before; nothing once it is over."""
        if data and not (self._is_closed or self._is_over):
            self.sent_bytes += len(data)
            self._kernel.note("sent", self.number, len(data))
            self._down.send(data)

    def close(self) -> None:
        """End it behind what was sent."""
        if not (self._is_closed or self._is_over):
            self._is_closed = True
            self._kernel.note("closed", self.number)
            self._down.send(None)

    def abort(self) -> None:
        """Reset it: what is on its way is lost. `on_end` is not called."""
        if not self._is_over:
            self._is_over = self._is_closed = True
            self._kernel.note("aborted", self.number)
            self._up.is_cut = True
            self._kernel.at(self._down.link.latency_s, self._reset)

    def half_open(self) -> None:
        """From now on nothing goes either way, and nobody is told."""
        self._kernel.note("half-open", self.number)
        self.is_half_open = True
        self._down.is_cut = self._up.is_cut = True
        self._stalled.clear()
        if self._unconfirmed_bytes:
            self._kernel.at(GIVE_UP_S, self._give_up)

    def mute(self) -> None:
        """From now on nothing that the server sends arrives, though it hears the client."""
        self._kernel.note("mute", self.number)
        self._down.is_cut = True
        self._stalled.clear()

    def hold_reads(self, *, hold: bool) -> None:
        """Leave what the client sends where it is, or read it again."""
        self._is_reading = not hold
        if not hold:
            unheard, self._unheard = self._unheard, []
            for data in unheard:
                self._hear(data)

    # --- what happens to the client

    def _connect(self) -> None:
        if not self._sock.is_closed:
            self._sock.connected(self)
        elif not self._up.is_cut:
            self._up.send(None)

    def _arrive(self, data: bytes | None) -> None:
        if self._stalled:
            self._stalled.append(data)
        else:
            self._pour(data)

    def _pour(self, data: bytes | None) -> None:
        """Give the client what there is room for, and put the rest aside."""
        if data is None:
            self._sock.end()
            return
        room = self._down.link.receive_bytes - self._sock.inbox_bytes
        if room < len(data):
            self._stalled.appendleft(data[max(0, room) :])
            data = data[: max(0, room)]
        if data:
            self._sock.arrive(data)

    def _resume(self) -> None:
        self._resumes = False
        stalled = self._stalled
        while stalled and (stalled[0] is None or self._sock.inbox_bytes < self._down.link.receive_bytes):
            self._pour(stalled.popleft())

    def _reset(self) -> None:
        self._down.is_cut = True
        self._stalled.clear()
        if not self._sock.is_closed:
            self._sock.fail(errno.ECONNRESET)

    def _give_up(self) -> None:
        if not self._sock.is_closed:
            self._sock.fail(errno.ETIMEDOUT)

    # --- what the client does

    def room(self) -> int:
        """See `Peer`."""
        return self._up.link.send_bytes - self._unconfirmed_bytes

    def take(self, data: bytes) -> None:
        """See `Peer`."""
        if self.is_half_open and not self._unconfirmed_bytes:
            self._kernel.at(GIVE_UP_S, self._give_up)
        self._unconfirmed_bytes += len(data)
        self._kernel.note("said", self.number, len(data))
        self._up.send(data)

    def was_read(self, count: int) -> None:
        """See `Peer`."""
        self.read_bytes += count
        self._kernel.note("read", self.number, count)
        self.on_read(self.read_bytes)
        if self._stalled and not self._resumes:
            self._resumes = True
            self._kernel.at(self._down.link.latency_s, self._resume)

    def finish(self) -> None:
        """See `Peer`."""
        self._up.send(None)

    def leave(self, *, abruptly: bool) -> None:
        """See `Peer`."""
        self._down.is_cut = True
        self._stalled.clear()
        if abruptly:
            self._up.is_cut = self.is_half_open
            self._kernel.at(self._up.link.latency_s, self._be_left)
        else:
            self._up.send(None)

    def _be_left(self) -> None:
        if not (self._is_over or self.is_half_open):
            self._up.is_cut = True
            self._end()

    def _hear(self, data: bytes | None) -> None:
        if self._is_over:
            return
        if not self._is_reading:
            self._unheard.append(data)
            return
        if data is None:
            self._end()
            return
        had_room = self.room() > 0
        self._unconfirmed_bytes -= len(data)
        if not had_room:
            self._sock.changed()
        if self._is_closed:
            self.abort()  # nobody is there to read it
            self.on_end()
        else:
            self.on_data(data)

    def _end(self) -> None:
        if not self._is_over:
            self._is_over = self._is_closed = True
            self._kernel.note("left", self.number)
            self.on_end()
