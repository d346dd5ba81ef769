"""A selector in virtual time."""

import math
import selectors
from typing import Any, Final

from greenlet import getcurrent

from tests.simulation.kernel import Kernel
from tests.simulation.sockets import Socket
from tests.simulation.strand import Strand

__all__ = ["Selector"]

SPURIOUS_S: Final = 0.1
"""One that wakes without a reason does so within so long."""


class Selector(selectors._BaseSelectorImpl):
    """A selector over simulated sockets, as `selectors.EpollSelector`.

    Args:
        kernel: time.
    """

    def __init__(self, kernel: Kernel) -> None:
        super().__init__()
        self._kernel = kernel
        self._strand: Strand | None = None
        self._candidates: dict[Socket, None] = {}
        """What may be ready: it was when it was looked at last, or has changed since."""
        self._is_open = True

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """Look for something of a socket."""
        key = super().register(fileobj, events, data)
        fileobj.selectors.append(self)
        self.look(fileobj)
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        """Look no more."""
        key = super().unregister(fileobj)
        if self in key.fileobj.selectors:
            self.lose(key.fileobj)
        return key

    def lose(self, sock: Socket) -> None:
        """Take note that a socket was closed: nothing will be seen of it, though it is still registered."""
        sock.selectors.remove(self)
        self._candidates.pop(sock, None)

    def look(self, sock: Socket) -> None:
        """Wake whoever waits, if a socket is ready."""
        self._candidates[sock] = None
        if self._strand is not None and self._events_of(sock):
            self._kernel.wake(self._strand)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait until a socket is ready; return those that are."""
        if not self._is_open:
            raise ValueError("I/O operation on closed epoll object")
        ready = self._ready()
        if ready or (timeout is not None and timeout <= 0):
            return ready
        kernel = self._kernel
        spurious = None
        if kernel.strikes("spurious_wake", at_once=False):
            spurious = kernel.at(SPURIOUS_S * kernel.fraction(), kernel.wake_for_nothing, getcurrent())
        if timeout is not None:
            timeout = math.ceil(timeout * 1e3) * 1e-3  # the system counts in ms
        self._strand = getcurrent()
        try:
            kernel.wait("select", timeout)
        finally:
            self._strand = None
        if spurious is not None:
            kernel.cancel(spurious)
        return self._ready()

    def close(self) -> None:
        """Look for nothing any more."""
        if self._is_open:
            self._is_open = False
            for key in self._fd_to_key.values():
                if self in key.fileobj.selectors:
                    key.fileobj.selectors.remove(self)
            super().close()

    def _events_of(self, sock: Socket) -> int:
        """Return what a socket is ready for, of what is looked for."""
        events: int = self._fd_to_key[sock.number].events & sock.events()
        return events

    def _ready(self) -> list[tuple[selectors.SelectorKey, int]]:
        ready, candidates = [], self._candidates
        for sock in tuple(candidates):
            if events := self._events_of(sock):
                ready.append((self._fd_to_key[sock.number], events))
            else:
                del candidates[sock]
        if len(ready) > 1:
            chosen = self._kernel.choose(len(ready))
            ready[0], ready[chosen] = ready[chosen], ready[0]
        return ready
