"""A conversation's line on asyncio: one TCP connection on the server's loop."""

import asyncio
import socket
from collections.abc import Callable
from typing import Final, cast

from .conversation import Conversation, Host

__all__ = ["Client"]

FLOW_CONTROL_BYTES: Final = 256 * 1024
"""A patient feed waits while more than this is unsent."""


class Client(asyncio.Protocol):
    """The TCP connection of one conversation, on the server's loop.

    Args:
        host: the server.
        clients: where it is, as long as it is connected.
    """

    def __init__(self, host: Host, clients: "set[Client]") -> None:
        self._host = host
        self._clients = clients
        self._loop = asyncio.get_running_loop()
        self.writable = asyncio.Event()
        self.writable.set()

    # --- what asyncio tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin the conversation."""
        self._transport = cast("asyncio.Transport", transport)
        sock: socket.socket = transport.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if (size_bytes := self._host.options.kernel_buffer_bytes) is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size_bytes)
        self._transport.set_write_buffer_limits(high=FLOW_CONTROL_BYTES)
        self.conversation = Conversation(self._host, self)
        self._clients.add(self)

    def data_received(self, data: bytes) -> None:
        """Hand on what came."""
        self.conversation.receive(data)

    def pause_writing(self) -> None:
        """Let patient feeds wait."""
        self.writable.clear()

    def resume_writing(self) -> None:
        """Let patient feeds go on."""
        self.writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """End the conversation."""
        self._clients.discard(self)
        self.writable.set()
        self.conversation.lost(str(exc) if exc else "the client left")

    # --- what the conversation does

    @property
    def unsent_bytes(self) -> int:
        """How much asyncio keeps because the system takes no more."""
        return self._transport.get_write_buffer_size()

    def send(self, data: bytes) -> None:
        """Write after all that was written before."""
        self._transport.write(data)

    def close(self) -> None:
        """Cut TCP when all is written."""
        self._transport.close()

    def abort(self) -> None:
        """Cut TCP at once."""
        self._transport.abort()

    def later(self, delay_s: float, action: Callable[[], None]) -> None:
        """Call back once, on the loop."""
        self._loop.call_later(delay_s, action)
