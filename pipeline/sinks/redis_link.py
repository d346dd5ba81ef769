"""One connection to Redis: redis-py opens it, then the bytes on its socket are ours.

redis-py knows the URL, TLS, AUTH and SELECT; its own packing and reading take ten times as long as ours, and
its retries would repeat what timed out. Our replies are parsed by hiredis, as redis-py's are.
"""

import contextlib
import selectors
import socket
import ssl
from typing import Any, Final

import hiredis
from redis import ConnectionPool, RedisError
from redis.connection import AbstractConnection, Connection, SSLConnection
from redis.exceptions import ConnectionError as RedisConnectionError

from operators.runtime import SYSTEM, Runtime
from pipeline.secret import mask_url

__all__ = ["RedisLink"]

READ_SIZE_BYTES: Final = 65_536
SEND_SIZE_BYTES: Final = 262_144
TLS_SEND_SIZE_BYTES: Final = 16_384
"""One TLS record: Python's SSL sockets say of more only that all or nothing was sent."""
_WOULD_BLOCK: Final = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
_NOTHING: Final = object()


class _Connection(Connection):
    """A connection of redis-py over TCP whose addresses and sockets are the runtime's."""

    def __init__(self, *, runtime: Runtime, **options: Any) -> None:
        super().__init__(**options)  # type: ignore[no-untyped-call]  # redis-py
        self._runtime = runtime

    def _connect(self) -> socket.socket:
        """Connect to the first address that answers; the time-out is for each.

        Raises:
            OSError: none does; of the last one.
        """
        trouble = OSError(f"no address is known for {self.host}")
        for family, kind, protocol, _, address in self._runtime.addresses(
            self.host, self.port, self.socket_type, socket.SOCK_STREAM
        ):
            try:
                sock = self._runtime.open_socket(family, kind, protocol)
            except OSError as error:
                trouble = error
                continue
            try:
                self._set_up(sock)
                sock.connect(address)
            except OSError as error:
                trouble = error
                sock.close()
            else:
                sock.settimeout(self.socket_timeout)
                return sock
        raise trouble

    def _set_up(self, sock: socket.socket) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.socket_keepalive:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for option, value in self.socket_keepalive_options.items():
                sock.setsockopt(socket.IPPROTO_TCP, option, value)
        sock.settimeout(self.socket_connect_timeout)


class _TlsConnection(SSLConnection, _Connection):
    """The same under TLS, which redis-py makes of the socket."""


_OURS: Final[dict[type[AbstractConnection], type[_Connection]]] = {
    Connection: _Connection,
    SSLConnection: _TlsConnection,
}
"""By redis-py's own class; a Unix socket is redis-py's to open."""


class RedisLink:
    """Sends commands and collects replies without ever blocking longer than it is told to.

    All methods but `abort` run on one thread.

    Args:
        url: ``redis://``, ``rediss://`` or ``unix://``, as redis-py takes it.
        timeout_s: for each address of the host, and for each answer of the handshake.
        runtime: its look-ups, sockets and selector.

    Raises:
        ValueError: the URL is none; the message shows no password.
    """

    def __init__(self, url: str, timeout_s: float, runtime: Runtime = SYSTEM) -> None:
        try:
            pool = ConnectionPool.from_url(url)
            # What a URL asks for must not undo what the sink relies on: one attempt, RESP2 (no pushes
            # between the replies), no commands of redis-py's own.
            pool.connection_kwargs.update(
                socket_timeout=timeout_s,
                socket_connect_timeout=timeout_s,
                retry=None,
                retry_on_timeout=False,
                retry_on_error=[],
                protocol=2,
                driver_info=None,
                redis_connect_func=self._greet,
            )
            kind, options = pool.connection_class, pool.connection_kwargs
            if kind in _OURS:
                kind, options = _OURS[kind], options | {"runtime": runtime}
            self._connection: AbstractConnection = kind(**options)
        except (ValueError, TypeError, RedisError):
            raise ValueError(
                f"url must be a Redis address, redis://host:port/db, not {mask_url(url)!r}"
            ) from None
        self._make_selector = runtime.selector
        self._selector: selectors.BaseSelector | None = None
        self._socket: socket.socket | None = None
        self._reader = hiredis.Reader(notEnoughData=_NOTHING)
        self._unsent = bytearray()
        self._send_size_bytes = SEND_SIZE_BYTES
        self._broken = ""
        self._aborted = False
        self.moved_bytes = 0
        """Bytes sent and received over this connection: as long as it grows, the server lives."""

    @property
    def is_open(self) -> bool:
        """Tell whether there is a connection, as far as anybody noticed."""
        return self._socket is not None

    @property
    def unsent_bytes(self) -> int:
        """How much of what was put has not left."""
        return len(self._unsent)

    def open(self) -> None:
        """Connect and greet.

        Raises:
            ConnectionError: it did not work, with the server's or the system's words.
        """
        self.close()
        try:
            self._connection.connect()  # type: ignore[no-untyped-call]  # redis-py
        except (RedisError, OSError, ValueError) as error:  # ValueError: a host name that is none
            raise ConnectionError(str(error)) from error
        opened = _socket_of(self._connection)
        if opened is None:
            raise ConnectionError("closed while it was opened")
        opened.setblocking(False)
        self._selector = self._make_selector()
        self._selector.register(opened, selectors.EVENT_READ)
        self._socket = opened
        self._send_size_bytes = TLS_SEND_SIZE_BYTES if isinstance(opened, ssl.SSLSocket) else SEND_SIZE_BYTES
        self._reader = hiredis.Reader(notEnoughData=_NOTHING)
        self._unsent.clear()
        self._broken = ""
        self.moved_bytes = 0

    def close(self) -> None:
        """Close the socket; idempotent."""
        self._socket = None
        if self._selector is not None:
            self._selector.close()
            self._selector = None
        self._connection.disconnect()  # type: ignore[no-untyped-call]  # redis-py

    def abort(self) -> None:
        """End a handshake that is going on, and all later ones; from any thread."""
        self._aborted = True
        if self._socket is None and (handshaking := _socket_of(self._connection)) is not None:
            with contextlib.suppress(OSError):
                handshaking.shutdown(socket.SHUT_RDWR)

    def is_stale(self) -> bool:
        """Tell whether the server hung up, or said something unasked, while nothing was outstanding."""
        self._receive()
        return bool(self._broken) or self._reader.has_data()

    def put(self, commands: bytes) -> None:
        """Take commands to be sent by the next `exchange`."""
        self._unsent += commands

    def exchange(self, timeout_s: float) -> list[Any]:
        """Send what can be sent, wait for replies for at most ``timeout_s``, and return those that came.

        An error reply is a value in the list. Of a connection that broke, the replies are returned first.

        Raises:
            ConnectionError: the connection broke, or what came is no answer of a Redis server.
        """
        self._send()
        if not self._broken:
            self._wait(timeout_s)
            self._receive()
        try:
            replies = list(iter(self._reader.gets, _NOTHING))
        except hiredis.ProtocolError as error:
            raise ConnectionError(f"no Redis server: {error}") from error
        if self._broken and not replies:
            raise ConnectionError(self._broken)
        return replies

    def _send(self) -> None:
        while self._unsent and not self._broken:
            try:
                with memoryview(self._unsent) as view, view[: self._send_size_bytes] as head:
                    count = self._open_socket.send(head)
            except _WOULD_BLOCK:
                return
            except OSError as error:
                self._broken = str(error)
                self._receive()  # what the server said before it hung up
                return
            self.moved_bytes += count
            del self._unsent[:count]

    def _wait(self, timeout_s: float) -> None:
        selector = self._selector
        if selector is None:
            raise ConnectionError("not connected")
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._unsent else 0)
        if selector.get_key(self._open_socket).events != events:
            selector.modify(self._open_socket, events)
        selector.select(timeout_s)

    def _receive(self) -> None:
        while True:
            try:
                data = self._open_socket.recv(READ_SIZE_BYTES)
            except _WOULD_BLOCK:
                return
            except OSError as error:
                self._broken = self._broken or str(error)
                return
            if not data:
                self._broken = self._broken or "the server closed the connection"
                return
            self.moved_bytes += len(data)
            self._reader.feed(data)

    @property
    def _open_socket(self) -> socket.socket:
        if self._socket is None:
            raise ConnectionError("not connected")
        return self._socket

    def _greet(self, connection: AbstractConnection) -> None:
        if self._aborted:
            raise RedisConnectionError("told to stop")
        connection.on_connect()  # type: ignore[no-untyped-call]  # redis-py


def _socket_of(connection: AbstractConnection) -> socket.socket | None:
    """Return what redis-py 8.1 keeps to itself; a test fails when it no longer does."""
    found: socket.socket | None = connection._get_socket()  # noqa: SLF001  # there is no public way
    return found
