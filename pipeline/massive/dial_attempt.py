"""One attempt to open a WebSocket: how long it may take, what it waits for, and how it is called off."""

import contextlib
import socket
from collections.abc import Callable
from typing import Final, TypeVar

from operators.runtime import SYSTEM, Runtime

__all__ = ["LOOK_S", "Attempt", "CalledOff"]

LOOK_S: Final = 0.25
"""A wait that no socket's end cuts short looks up so often whether it was called off."""

MAX_AVOIDED: Final = 32

_Socket = TypeVar("_Socket", bound=socket.socket)


class CalledOff(Exception):
    """Nobody wants the WebSocket any more."""


class Attempt:
    """The deadline of one dial, the socket it uses, and what it waits for, in words.

    Args:
        timeout_s: for all of it together.
        avoided: addresses of which nothing came, the latest last; kept from one attempt to the next.
        runtime: the clocks, sockets and look-ups of the dial.
    """

    def __init__(self, timeout_s: float, avoided: list[str] | None = None, runtime: Runtime = SYSTEM) -> None:
        self.timeout_s = timeout_s
        self.runtime = runtime
        self.avoided = [] if avoided is None else avoided
        self.address = ""
        """What TCP is connected to."""
        self.awaits = "nothing was tried"
        """What has not happened yet; completes the sentence "not open after 10 s: …"."""
        self._deadline_s = runtime.monotonic() + timeout_s
        self._lock = runtime.lock()
        self._sock: socket.socket | None = None
        self._called_off = False

    def left_s(self) -> float:
        """Return how much time is left.

        Raises:
            CalledOff: nobody wants the result.
            TimeoutError: none is left.
        """
        if self._called_off:
            raise CalledOff
        left_s = self._deadline_s - self.runtime.monotonic()
        if left_s <= 0:
            raise TimeoutError
        return left_s

    def doubt(self) -> None:
        """Have the address tried last from now on, unless something comes of it."""
        if self.address and not self._called_off:
            with contextlib.suppress(ValueError):
                self.avoided.remove(self.address)
            self.avoided.append(self.address)
            del self.avoided[:-MAX_AVOIDED]

    def hold(self, sock: _Socket) -> _Socket:
        """Make a socket known to `call_off` before something blocks on it, in the place of the last one.

        Raises:
            CalledOff: it is too late for that; the socket is closed.
        """
        with self._lock:
            if not self._called_off:
                self._sock = sock
                return sock
        sock.close()
        raise CalledOff

    def call_off(self) -> None:
        """End every wait of it, from any thread: a read or a handshake at once, all else within `LOOK_S`."""
        with self._lock:
            self._called_off = True
            if self._sock is not None:
                with contextlib.suppress(OSError):
                    self._sock.shutdown(socket.SHUT_RDWR)  # wakes whoever blocks on it

    def close(self) -> None:
        """Close the socket that is held."""
        with self._lock:
            sock, self._sock = self._sock, None
            if sock is not None:
                sock.close()

    def conclude(self, action: Callable[[], None]) -> bool:
        """Do what ends it, and let go of the socket, unless it was called off; return whether that was done.

        Under the lock, so that nothing is done once `call_off` has returned: ``action`` must not block.
        """
        with self._lock:
            if not self._called_off:
                self._sock = None
                action()
            return not self._called_off
