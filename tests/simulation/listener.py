"""A port at which a simulated server listens, but for a while now and then."""

from collections.abc import Callable
from typing import Any

__all__ = ["Listener"]


class Listener:
    """Accepts connections to a port; those that are there stay, whatever becomes of it.

    Args:
        kernel: time.
        network: where it listens, from now on.
        port: its number.
        on_accept: given the server's end of each connection.
    """

    def __init__(self, kernel: Any, network: Any, port: int, on_accept: Callable[[Any], None]) -> None:
        self._kernel = kernel
        self._network = network
        self._port = port
        self._on_accept = on_accept
        self._returns: list[Any] = []
        """Of the timers after which it listens again, those that have not come."""
        self.open()

    def open(self) -> None:
        """Accept connections, however long they were to be refused."""
        for timer in self._returns:
            self._kernel.cancel(timer)
        self._returns.clear()
        self._network.listen(self._port, self._on_accept)

    def close_for(self, seconds: float) -> None:
        """Refuse connections for a while, and longer where somebody wants it longer."""
        self._network.unlisten(self._port)

        def come_back() -> None:
            self._returns.remove(timer)
            if not self._returns:
                self.open()

        timer = self._kernel.at(seconds, come_back)
        self._returns.append(timer)

    @property
    def refusals(self) -> int:
        """How many connections were refused."""
        return self._network.refusals[self._port]
