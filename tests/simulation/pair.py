"""Two simulated sockets that are connected to each other, as `socket.socketpair` makes them."""

import errno
import socket
from typing import Any, Final

from tests.simulation.kernel import Kernel
from tests.simulation.sockets import Descriptors, Socket

__all__ = ["socketpair"]

PAIR_BYTES: Final = 65_536
"""What fits into one direction."""


class _Opposite:
    """The other socket of a pair, as the peer of the first."""

    def __init__(self, sock: Socket, opposite: Socket) -> None:
        self._sock = sock
        self._opposite = opposite

    def room(self) -> int:
        return PAIR_BYTES - self._opposite.inbox_bytes

    def take(self, data: bytes) -> None:
        self._opposite.arrive(data)

    def was_read(self, count: int) -> None:
        self._opposite.changed()

    def finish(self) -> None:
        self._opposite.end()

    def leave(self, *, abruptly: bool) -> None:
        if abruptly:
            self._opposite.fail(errno.ECONNRESET)
        else:
            self._opposite.end()


def socketpair(kernel: Kernel, descriptors: Descriptors) -> tuple[Socket, Socket]:
    """Return two sockets that are connected to each other, without any delay."""

    def refuse(sock: Socket, _address: Any) -> None:
        sock.fail(errno.EISCONN)

    one, other = (Socket(kernel, descriptors, refuse, socket.AF_UNIX) for _ in range(2))
    one.connected(_Opposite(one, other))
    other.connected(_Opposite(other, one))
    return one, other
