"""Sockets in virtual time, as those of the standard library on Linux."""

import errno
import os
import selectors
import socket
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any, Final, Protocol, Self

from greenlet import getcurrent

from tests.simulation.kernel import Kernel, Strand

__all__ = ["Descriptors", "Peer", "Socket", "failure"]

FIRST_DESCRIPTOR: Final = 1000
"""What the system's own are below."""
READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


def failure(number: int) -> OSError:
    """Return an error of the system, of the class that Python gives it."""
    return OSError(number, os.strerror(number))


class Descriptors:
    """Numbers of what is open: the lowest that is free is given away first, as the system does."""

    def __init__(self) -> None:
        self.open: dict[int, Socket] = {}
        self._free: list[int] = []
        self._next = FIRST_DESCRIPTOR

    def take(self, sock: "Socket") -> int:
        """Return a number for a socket."""
        if self._free:
            number = heappop(self._free)
        else:
            number, self._next = self._next, self._next + 1
        self.open[number] = sock
        return number

    def give_back(self, number: int) -> None:
        """Let others have it."""
        del self.open[number]
        heappush(self._free, number)


class Peer(Protocol):
    """What is at the other end of a socket's connection."""

    def room(self) -> int:
        """Return how many bytes can be sent."""

    def take(self, data: bytes) -> None:
        """Be sent bytes, for which there is room."""

    def was_read(self, count: int) -> None:
        """Take note that the socket's owner read so many more bytes."""

    def finish(self) -> None:
        """Be told that nothing more will be sent."""

    def leave(self, *, abruptly: bool) -> None:
        """Be told that the socket is closed; abruptly where something was not read."""


class Watcher(Protocol):
    """What looks for what a socket is ready for."""

    def look(self, sock: "Socket") -> None:
        """Be told that this may have changed."""

    def lose(self, sock: "Socket") -> None:
        """Be told that it was closed."""


class Socket(socket.socket):
    """A TCP socket of the simulated system.

    Args:
        kernel: time.
        descriptors: its number comes from there.
        connect: begins to connect it to an address, and calls `connected` or `fail` once that is decided.
        family: of its address.

    Attributes:
        number: while it is open, no other has it.
        readers: the threads that wait for it.
        selectors: that look for what it is ready for.
    """

    def __init__(
        self,
        kernel: Kernel,
        descriptors: Descriptors,
        connect: "Callable[[Socket, Any], None]",
        family: int = socket.AF_INET,
    ) -> None:
        # `socket.socket` is not asked for a descriptor: this one has none of the system's.
        self._kernel = kernel
        self._descriptors = descriptors
        self._begin = connect
        self._family = family
        self.number = descriptors.take(self)
        self._timeout: float | None = None
        self._inbox = bytearray()
        self._error = 0
        self._is_closed = False
        self._is_connecting = False
        self._has_ended = False  # nothing more is to be read behind what has come
        self._peer_has_ended = False
        self._has_finished = False  # nothing more can be sent
        self._was_reset = False
        self._peer: Peer | None = None
        self._address: Any = None
        self.readers: list[Strand] = []
        self.selectors: list[Watcher] = []

    def __repr__(self) -> str:
        return f"<Socket {self.number} to {self._address}>"

    # --- what the network does

    @property
    def is_closed(self) -> bool:
        """Whether its owner closed it."""
        return self._is_closed

    @property
    def inbox_bytes(self) -> int:
        """How much has come and was not read."""
        return len(self._inbox)

    def connected(self, peer: Peer) -> None:
        """Be connected from now on."""
        self._peer = peer
        self._is_connecting = False
        self.changed()

    def fail(self, number: int) -> None:
        """Not be connected, or no longer."""
        self._error = number
        if self._is_connecting:
            self._is_connecting = False
            self._address = None
        else:
            if self._peer_has_ended and number == errno.ECONNRESET:
                self._error = errno.EPIPE
            self._has_ended = self._has_finished = self._was_reset = True
        self.changed()

    def arrive(self, data: bytes) -> None:
        """Be given bytes."""
        if not self._is_closed:
            self._inbox += data
            self.changed()

    def end(self) -> None:
        """Be told that nothing more comes."""
        self._has_ended = self._peer_has_ended = True
        self.changed()

    def changed(self) -> None:
        """Let whoever waits for it look again."""
        for selector in self.selectors:
            selector.look(self)
        if self.readers:
            readers, self.readers = self.readers, []
            for strand in readers:
                self._kernel.wake(strand)

    def events(self) -> int:
        """Return what it is ready for."""
        if self._is_connecting:
            return 0
        if self._error or self._was_reset:
            return READ | WRITE
        peer = self._peer
        if peer is None:
            return 0
        ready = READ if self._inbox or self._has_ended else 0
        if self._has_finished or peer.room() > 0:
            ready |= WRITE
        return ready

    # --- what its owner does

    @property
    def family(self) -> int:
        """Of its address."""
        return self._family

    @property
    def type(self) -> int:
        """What kind of socket it is."""
        return socket.SOCK_STREAM

    @property
    def proto(self) -> int:
        """The protocol."""
        return socket.IPPROTO_TCP

    @property
    def timeout(self) -> float | None:
        """How long a call may wait, s."""
        return self._timeout

    def fileno(self) -> int:
        """Return its number, -1 once it is closed."""
        return -1 if self._is_closed else self.number

    def setblocking(self, flag: bool) -> None:
        """Let calls wait, or not."""
        self._check_open()
        self._timeout = None if flag else 0.0

    def settimeout(self, value: float | None) -> None:
        """Let calls wait so long."""
        if value is not None and value < 0:
            raise ValueError("Timeout value out of range")
        self._check_open()
        self._timeout = value

    def gettimeout(self) -> float | None:
        """Return how long calls wait."""
        return self._timeout

    def getblocking(self) -> bool:
        """Tell whether calls wait."""
        return self._timeout != 0.0

    def setsockopt(self, *_: Any) -> None:
        """Take any option, and do nothing."""
        self._check_open()

    def getsockopt(self, level: int, option: int, *_: Any) -> int:
        """Return what went wrong and nobody was told of yet; 0 for any other option."""
        self._check_open()
        if (level, option) != (socket.SOL_SOCKET, socket.SO_ERROR):
            return 0
        number, self._error = self._error, 0
        return number

    def getpeername(self) -> Any:
        """Return where it is connected to."""
        self._check_open()
        if self._peer is None or self._was_reset:
            raise failure(errno.ENOTCONN)
        return self._address

    def getsockname(self) -> Any:
        """Return its own address."""
        self._check_open()
        return ("127.0.0.1", 30_000 + self.number)

    def connect(self, address: Any) -> None:
        """Connect, and wait for it if that may be."""
        number = self.connect_ex(address)
        if number == errno.EAGAIN:  # as `socket.socket` has it
            raise TimeoutError("timed out")
        if number:
            raise failure(number)

    def connect_ex(self, address: Any) -> int:
        """Connect; return why that was not possible, 0 where it was."""
        if self._is_closed:
            return errno.EBADF
        if self._peer is not None:
            return errno.EISCONN
        if self._is_connecting:
            return errno.EALREADY
        self._is_connecting, self._address, self._error = True, address, 0
        self._begin(self, address)
        if self._is_connecting and self._timeout == 0.0:
            return errno.EINPROGRESS
        if not self._wait(lambda: not self._is_connecting, self._deadline_s()):
            return errno.EAGAIN
        return self.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)

    def recv(self, bufsize: int, flags: int = 0) -> bytes:
        """Return bytes that came; none at the end."""
        self._check_open()
        if not bufsize:
            return b""
        inbox = self._inbox
        if not inbox:
            self._await_data(flags)
        elif (self._timeout == 0.0 or flags & socket.MSG_DONTWAIT) and self._kernel.strikes("eagain"):
            raise failure(errno.EAGAIN)
        bufsize = min(bufsize, len(inbox))
        if bufsize > 1 and self._kernel.strikes("short_read"):
            bufsize = 1 + self._kernel.choose(bufsize - 1)
        data = bytes(inbox[:bufsize])
        if data and not flags & socket.MSG_PEEK:
            del inbox[:bufsize]
            if self._peer is not None:
                self._peer.was_read(bufsize)
        return data

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        """Write bytes that came into a buffer; return how many."""
        view = memoryview(buffer).cast("B")
        data = self.recv(nbytes or len(view), flags)
        view[: len(data)] = data
        return len(data)

    def send(self, data: Any, flags: int = 0) -> int:
        """Send what there is room for; return how much that was."""
        return self._send(bytes(data), self._deadline_s())

    def sendall(self, data: Any, flags: int = 0) -> None:
        """Send all."""
        data = bytes(data)
        deadline_s = self._deadline_s()
        while data:
            data = data[self._send(data, deadline_s) :]

    def shutdown(self, how: int) -> None:
        """Send or receive nothing any more."""
        self._check_open()
        peer = self._peer
        if peer is None or self._was_reset or (self._peer_has_ended and self._has_finished):
            raise failure(errno.ENOTCONN)
        if how in {socket.SHUT_WR, socket.SHUT_RDWR} and not self._has_finished:
            self._has_finished = True
            peer.finish()
        if how in {socket.SHUT_RD, socket.SHUT_RDWR}:
            self._has_ended = True
        self.changed()

    def close(self) -> None:
        """Close it; whoever waits for it goes on waiting, as with the system's."""
        if self._is_closed:
            return
        self._is_closed = True
        for selector in tuple(self.selectors):
            selector.lose(self)
        self._descriptors.give_back(self.number)
        if self._peer is not None and not self._was_reset:
            self._peer.leave(abruptly=bool(self._inbox))

    def detach(self) -> int:
        """Refuse: there is no descriptor to be had."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- within

    def _check_open(self) -> None:
        if self._is_closed:
            raise failure(errno.EBADF)

    def _deadline_s(self) -> float | None:
        timeout_s = self._timeout
        return None if timeout_s is None else self._kernel.monotonic() + timeout_s

    def _await_data(self, flags: int) -> None:
        """Return once there is data or the end; raise what went wrong."""
        may_wait = self._timeout != 0.0 and not flags & socket.MSG_DONTWAIT
        if self._peer is None and not self._error:
            raise failure(errno.ENOTCONN)
        while not self._inbox:
            if self._error and not (self._has_ended and self._error == errno.EPIPE):
                number, self._error = self._error, 0
                raise failure(number)
            if self._has_ended:
                return
            if not may_wait:
                raise failure(errno.EAGAIN)
            if not self._wait(lambda: self.events() & READ, self._deadline_s()):
                raise TimeoutError("timed out")

    def _send(self, data: bytes, deadline_s: float | None) -> int:
        self._check_open()
        peer = self._peer
        if self._error:
            number, self._error = self._error, 0
            raise failure(number)
        if peer is None or self._has_finished:
            raise failure(errno.EPIPE)
        room = peer.room()
        if room <= 0:
            if self._timeout == 0.0:
                raise failure(errno.EAGAIN)
            if not self._wait(lambda: self.events() & WRITE, deadline_s):
                raise TimeoutError("timed out")
            return self._send(data, deadline_s)
        count = min(len(data), room)
        if count > 1 and self._kernel.strikes("short_write"):
            count = 1 + self._kernel.choose(count - 1)
        peer.take(data[:count])
        return count

    def _wait(self, condition: Callable[[], object], deadline_s: float | None) -> bool:
        """Wait until something is true; return whether that came in time."""
        kernel = self._kernel
        while not condition():
            left_s = None if deadline_s is None else deadline_s - kernel.monotonic()
            if left_s is not None and left_s <= 0:
                return False
            strand = getcurrent()
            self.readers.append(strand)
            kernel.wait("a socket", left_s)
            if strand in self.readers:
                self.readers.remove(strand)
        return True
