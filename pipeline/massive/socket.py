"""A WebSocket to the server: websocket-client opens it, this reads and writes it without ever waiting."""

import contextlib
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable
from typing import Any, Final, Protocol
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import websocket
from reactivex import abc
from websocket import ABNF

from pipeline.errors import ConnectFailed, ConnectionTrouble, PeerClosed, ProtocolViolation

from .framing import CLOSE, MAX_MESSAGE_BYTES, PING, FrameSplitter, parse_close
from .loop import SocketLoop

__all__ = ["Dial", "Opener", "Transport", "WireSocket", "wire_opener"]

log = logging.getLogger("tickbraid.massive.socket")

READ_BYTES: Final = 64 * 1024
"""Stays below 128 KiB, above which every read is a fresh mmap: page faults make it three times slower."""
READS_A_TURN: Final = 4
"""A socket that has more than a read holds is read so often before others have their turn: reading must be
faster than decoding, or the server's buffer fills and it cuts us off."""
TLS_RECORD_BYTES: Final = 16 * 1024
"""The most that TLS gives at once: after a full one there is likely another."""
MAX_UNSENT_BYTES: Final = 4 * 1024 * 1024
CONNECT_TIMEOUT_S: Final = 10.0
CLOSE_WRITE_S: Final = 0.2

OnRead = Callable[[int, list[bytes], int, int], None]
OnTrouble = Callable[[ConnectionTrouble], None]


class Transport(Protocol):
    """Is what a connection needs of its socket; all on the loop's thread."""

    def start(self, on_read: OnRead, on_trouble: OnTrouble) -> None:
        """Begin to read: ``on_read(received_ns, messages, taken, size_bytes)`` for each read with any bytes.

        ``taken`` is how many messages the server sent, some of which may be joined to one.

        ``on_trouble`` is called at most once, and nothing after it.
        """

    def send(self, text: bytes) -> None:
        """Send a text message, later if the peer is slow."""

    def ping(self) -> None:
        """Send a ping."""

    def close(self, code: int = 1000) -> None:
        """Say goodbye and close; nothing is called back any more."""


Opener = Callable[[Callable[[Transport | ConnectFailed], None]], abc.DisposableBase]
"""Opens a transport and delivers it, or why there is none, on the loop's thread; disposing calls it off."""


class WireSocket:
    """Reads all complete messages out of each 64 KiB read, and writes without blocking.

    Args:
        sock: an open WebSocket's socket, plain or TLS.
        loop: whose thread reads.
        clock: wall clock, ns; read once a read.
        max_message_bytes: what is longer ends the connection (1009).
    """

    def __init__(
        self,
        sock: socket.socket,
        loop: SocketLoop,
        *,
        clock: Callable[[], int] = time.time_ns,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
    ) -> None:
        self._sock = sock
        self._loop = loop
        self._clock = clock
        self._splitter = FrameSplitter(max_message_bytes)
        self._decrypted = sock.pending if isinstance(sock, ssl.SSLSocket) else None
        self._unsent = bytearray()
        self._waits_to_write = False
        self._started = False
        self._closed = False
        self._on_read: OnRead
        self._on_trouble: OnTrouble

    def start(self, on_read: OnRead, on_trouble: OnTrouble) -> None:
        """See `Transport`."""
        self._on_read, self._on_trouble = on_read, on_trouble
        self._started = True
        self._sock.setblocking(False)
        self._loop.watch(self._sock, self._readable)
        if self._decrypted is not None and self._decrypted():
            self._readable()  # TLS may have read ahead during the handshake; the selector would not tell

    def send(self, text: bytes) -> None:
        """See `Transport`."""
        self._write(ABNF.create_frame(text, ABNF.OPCODE_TEXT).format())

    def ping(self) -> None:
        """See `Transport`."""
        self._write(ABNF.create_frame(b"", ABNF.OPCODE_PING).format())

    def close(self, code: int = 1000) -> None:
        """See `Transport`. Does not wait for the peer's close frame: it may be what hangs."""
        if self._closed:
            return
        self._closed = True
        if self._started:
            self._loop.unwatch(self._sock)
        frame = ABNF.create_frame(code.to_bytes(2, "big"), ABNF.OPCODE_CLOSE).format()
        with contextlib.suppress(OSError, ValueError):
            self._sock.settimeout(CLOSE_WRITE_S)
            self._sock.sendall(bytes(self._unsent) + frame)
        with contextlib.suppress(OSError, ValueError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()

    def _readable(self) -> bool:
        return all(not self._closed and self._read() for _ in range(READS_A_TURN))

    def _read(self) -> bool:
        """Read once and hand on what it brought; return whether there is likely more."""
        try:
            data = self._sock.recv(READ_BYTES)
            if self._decrypted is not None:
                data = self._recv_more(data, self._decrypted)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return False
        except OSError as error:
            self._fail(PeerClosed(None, str(error)))
            return False
        received_ns = self._clock()
        if not data:
            self._fail(PeerClosed(None, "the end of TCP"))
            return False
        messages = self._splitter.feed(data)
        self._on_read(received_ns, messages, self._splitter.taken, len(data))
        if self._splitter.controls or self._splitter.violation:
            self._attend()
        return len(data) >= READ_BYTES

    def _recv_more(self, data: bytes, decrypted: Callable[[], int]) -> bytes:
        """Take all that TLS has decrypted, to which the selector is blind, and records behind full ones."""
        parts, size = [data], len(data)
        while data and ((waiting := decrypted()) or (len(data) >= TLS_RECORD_BYTES and size < READ_BYTES)):
            try:
                data = self._sock.recv(waiting or READ_BYTES)
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                break
            parts.append(data)
            size += len(data)
        return b"".join(parts)

    def _attend(self) -> None:
        for opcode, payload in self._splitter.controls:
            if self._closed:
                return
            if opcode == PING:
                self._write(ABNF.create_frame(payload, ABNF.OPCODE_PONG).format())
            elif opcode == CLOSE:
                self._fail(PeerClosed(*parse_close(payload)))
        violation = self._splitter.violation
        if violation is not None:
            self._fail(violation)

    def _write(self, frame: bytes) -> None:
        if self._closed:
            return
        waiting = bool(self._unsent)
        self._unsent += frame
        if len(self._unsent) > MAX_UNSENT_BYTES:
            self._fail(PeerClosed(None, "the server does not read what we send"))
        elif not waiting:
            self._flush()

    def _flush(self) -> None:
        if self._closed:
            return
        try:
            sent = self._sock.send(self._unsent)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            sent = 0
        except OSError as error:
            self._fail(PeerClosed(None, str(error)))
            return
        del self._unsent[:sent]
        if bool(self._unsent) is not self._waits_to_write:
            self._waits_to_write = not self._waits_to_write
            self._loop.set_writer(self._sock, self._flush if self._waits_to_write else None)

    def _fail(self, trouble: ConnectionTrouble) -> None:
        if self._closed:
            return
        code = trouble.close_code if isinstance(trouble, ProtocolViolation) else 1000
        self.close(code)
        self._on_trouble(trouble)


class Dial(abc.DisposableBase):
    """Opens one WebSocket on a short-lived thread ``tickbraid-dial-…``; can be called off from any thread.

    Calling off shuts the socket down under the thread's feet, so it ends at once. Two waits cannot be cut
    short and end by themselves, with nothing left open: name resolution, and a proxy (left to
    websocket-client whole, where the environment names one).

    Args:
        url: ws:// or wss://.
        deliver: called once, on the dialling thread, with the open socket or why there is none; never after
            `dispose`.
        ssl_context: for wss://; default: verify the server against the system's authorities.
        timeout_s: for each wait; a server that trickles can take longer, so the caller limits the whole.
    """

    def __init__(
        self,
        url: str,
        deliver: Callable[[socket.socket | ConnectFailed], None],
        *,
        name: str,
        ssl_context: ssl.SSLContext | None = None,
        timeout_s: float = CONNECT_TIMEOUT_S,
    ) -> None:
        self._url = url
        self._deliver = deliver
        self._ssl_context = ssl_context
        self._deadline_s = time.monotonic() + timeout_s
        self._lock = threading.Lock()
        self._sock: socket.socket | None = None
        self._called_off = False
        threading.Thread(target=self._run, name=f"tickbraid-dial-{name}", daemon=True).start()

    def dispose(self) -> None:
        """Call it off."""
        with self._lock:
            self._called_off = True
            sock = self._sock
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)  # wakes a connect, a TLS handshake or a read in the thread

    def _run(self) -> None:
        result: socket.socket | ConnectFailed
        try:
            result = self._open()
        except (OSError, ValueError, websocket.WebSocketException) as error:
            result = ConnectFailed(f"{type(error).__name__}: {error}")
            self._close()
        with self._lock:
            self._sock = None
            # Under the lock, so that nothing is delivered once `dispose` has returned; what is called only
            # puts a job on the loop.
            if not self._called_off:
                self._deliver(result)
                return
        if isinstance(result, socket.socket):
            result.close()

    def _open(self) -> socket.socket:
        parts = urlsplit(self._url)
        host, secure = parts.hostname or "", parts.scheme == "wss"
        port = parts.port or (443 if secure else 80)
        context = (self._ssl_context or ssl.create_default_context()) if secure else None
        web_socket = websocket.WebSocket(enable_multithread=False, sslopt={"context": context})
        # No redirects: the key would follow them.
        options: dict[str, Any] = {"suppress_origin": True, "redirect_limit": 0, "timeout": self._wait_s()}
        if ("https" if secure else "http") in getproxies() and not proxy_bypass(host):
            web_socket.connect(self._url, **options)  # type: ignore[no-untyped-call]  # of websocket-client
        else:
            sock = self._connect(host, port)
            if context is not None:
                sock = context.wrap_socket(sock, server_hostname=host, do_handshake_on_connect=False)
                self._hold(sock).do_handshake()
            web_socket.connect(self._url, socket=sock, **options)  # type: ignore[no-untyped-call]  # as above
        opened: socket.socket = web_socket.sock  # type: ignore[assignment]  # set by connect
        return opened

    def _connect(self, host: str, port: int) -> socket.socket:
        error: OSError | None = None
        for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            sock: socket.socket = self._hold(socket.socket(family, kind, protocol))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.settimeout(self._wait_s())
            try:
                sock.connect(address)
            except OSError as why:
                error = why
                sock.close()
            else:
                return sock
        raise error or OSError(f"no address for {host}")

    def _hold(self, sock: Any) -> Any:
        """Make the socket known to `dispose` before it can block."""
        with self._lock:
            self._sock = sock
            if self._called_off:
                raise OSError("called off")
        return sock

    def _close(self) -> None:
        with self._lock:
            sock = self._sock
        if sock is not None:
            sock.close()

    def _wait_s(self) -> float:
        return max(0.001, self._deadline_s - time.monotonic())


def wire_opener(
    url: str,
    loop: SocketLoop,
    *,
    name: str,
    ssl_context: ssl.SSLContext | None = None,
    clock: Callable[[], int] = time.time_ns,
    max_message_bytes: int = MAX_MESSAGE_BYTES,
) -> Opener:
    """Return what opens real sockets to ``url``, read by ``loop``; the arguments are those of the parts."""

    def open_transport(deliver: Callable[[Transport | ConnectFailed], None]) -> abc.DisposableBase:
        def dialled(result: socket.socket | ConnectFailed) -> None:
            transport = (
                result
                if isinstance(result, ConnectFailed)
                else WireSocket(result, loop, clock=clock, max_message_bytes=max_message_bytes)
            )
            job = loop.schedule(lambda *_: deliver(transport))
            if job.is_disposed and not isinstance(transport, ConnectFailed):
                transport.close()  # the loop has ended meanwhile: nobody else will

        return Dial(url, dialled, name=name, ssl_context=ssl_context)

    return open_transport
