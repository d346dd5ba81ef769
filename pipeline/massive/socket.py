"""A WebSocket to the server: read and written without ever waiting."""

import contextlib
import socket
import ssl
from collections.abc import Callable
from typing import Final, Protocol

from reactivex import abc
from websocket import ABNF

from operators.runtime import SYSTEM, Runtime
from pipeline.errors import ConnectFailed, ConnectionTrouble, PeerClosed, ProtocolViolation

from .dial import Dial
from .dial_words import broken
from .framing import CLOSE, PING, PONG, FrameSplitter, parse_close
from .loop import SocketLoop

__all__ = ["Opener", "Transport", "WireSocket", "wire_opener"]

READ_BYTES: Final = 64 * 1024
"""Stays below 128 KiB, above which every read is a fresh mmap: page faults make it three times slower."""
READS_A_TURN: Final = 4
"""A socket that has more than a read holds is read so often before others have their turn: reading must be
faster than decoding, or the server's buffer fills and it cuts us off."""
TLS_RECORD_BYTES: Final = 16 * 1024
"""The most that TLS gives at once: after a full one there is likely another."""
MAX_UNSENT_BYTES: Final = 4 * 1024 * 1024
CLOSE_WRITE_S: Final = 0.2

OnRead = Callable[[int, list[bytes], int, int], None]
OnTrouble = Callable[[ConnectionTrouble], None]
OnPong = Callable[[bytes], None]


class Transport(Protocol):
    """Is what a connection needs of its socket; all on the loop's thread."""

    def start(self, on_read: OnRead, on_trouble: OnTrouble, on_pong: OnPong) -> None:
        """Begin to read: ``on_read(received_ns, messages, taken, size_bytes)`` for each read with any bytes.

        ``taken`` is how many messages the server sent, some of which may be joined to one.

        ``on_trouble`` is called at most once, and nothing after it. ``on_pong`` is given what comes back of
        pings, after the messages of its read.
        """

    def approve(self) -> None:
        """Note that the server is good for something: of its addresses this one is dialled first again."""

    @property
    def unfinished_bytes(self) -> int:
        """How much has come of a message that is not whole; 0 between two messages."""

    def let_hold(self) -> None:
        """From now on reads may be held back when more comes than can be handled."""

    def send(self, text: bytes) -> None:
        """Send a text message, later if the peer is slow."""

    def ping(self, payload: bytes = b"") -> None:
        """Send a ping, of at most 125 bytes."""

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
        on_approval: called when the server has taken the key.
    """

    def __init__(
        self,
        sock: socket.socket,
        loop: SocketLoop,
        *,
        clock: Callable[[], int],
        on_approval: Callable[[], None] = lambda: None,
    ) -> None:
        self._sock = sock
        self._on_approval = on_approval
        self._loop = loop
        self._clock = clock
        self._splitter = FrameSplitter()
        self._decrypted = sock.pending if isinstance(sock, ssl.SSLSocket) else None
        self._unsent = bytearray()
        self._waits_to_write = False
        self._started = False
        self._closed = False
        self._on_read: OnRead
        self._on_trouble: OnTrouble
        self._on_pong: OnPong

    def start(self, on_read: OnRead, on_trouble: OnTrouble, on_pong: OnPong) -> None:
        """See `Transport`."""
        self._on_read, self._on_trouble, self._on_pong = on_read, on_trouble, on_pong
        self._started = True
        self._sock.setblocking(False)
        self._loop.watch(self._sock, self._readable)
        if self._decrypted is not None and self._decrypted():
            self._readable()  # TLS may have read ahead during the handshake; the selector would not tell

    def approve(self) -> None:
        """See `Transport`."""
        self._on_approval()

    @property
    def unfinished_bytes(self) -> int:
        """See `Transport`."""
        return self._splitter.unfinished_bytes

    def let_hold(self) -> None:
        """See `Transport`."""
        if not self._closed:
            self._loop.let_hold(self._sock)

    def send(self, text: bytes) -> None:
        """See `Transport`."""
        self._write(ABNF.create_frame(text, ABNF.OPCODE_TEXT).format())

    def ping(self, payload: bytes = b"") -> None:
        """See `Transport`."""
        self._write(ABNF.create_frame(payload, ABNF.OPCODE_PING).format())

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
            self._fail(PeerClosed(None, broken(error)))
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
            elif opcode == PONG:
                self._on_pong(payload)
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
            self._fail(PeerClosed(None, broken(error)))
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


def wire_opener(
    url: str,
    loop: SocketLoop,
    *,
    name: str,
    ssl_context: ssl.SSLContext | None = None,
    runtime: Runtime = SYSTEM,
) -> Opener:
    """Return what opens real sockets to ``url``, read by ``loop``; the arguments are those of the parts."""
    avoided: list[str] = []

    def open_transport(deliver: Callable[[Transport | ConnectFailed], None]) -> abc.DisposableBase:
        def dialled(result: socket.socket | ConnectFailed) -> None:
            transport: Transport | ConnectFailed
            if isinstance(result, ConnectFailed):
                transport = result
            else:
                doubted = avoided[-1:]

                def approve() -> None:
                    avoided[:] = [address for address in avoided if address not in doubted]

                transport = WireSocket(
                    result,
                    loop,
                    clock=runtime.clock,
                    on_approval=approve,
                )
            job = loop.schedule(lambda *_: deliver(transport))
            if job.is_disposed and not isinstance(transport, ConnectFailed):
                transport.close()  # the loop has ended meanwhile: nobody else will

        return Dial(url, dialled, name=name, ssl_context=ssl_context, avoided=avoided, runtime=runtime)

    return open_transport
