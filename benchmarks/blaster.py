"""The sender: speaks just enough of a feed's protocol, and then sends as fast as the reader takes it.

With ``--buffer-bytes`` it is a feed that never holds back: ticks are made when they are due, read or not,
wait in a buffer of each connection, and one whose buffer is full is cut off, as Massive does it.

Started by `benchmarks.turns` in a process and on a core of its own; ``python -m benchmarks.throughput`` shows
in its first line what a reader gets that only reads, so that nobody suspects the sender.
"""

import argparse
import contextlib
import itertools
import json
import os
import selectors
import socket
import struct
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple, Protocol

import msgspec

from benchmarks import templates
from benchmarks.templates import CHUNK_BYTES, TICKERS, Chunk
from benchmarks.turns import SENDER_CORE, open_shared, pin
from pipeline.massive.simulator.options import Options
from pipeline.massive.simulator.session import Outcome, Session, status
from pipeline.massive.simulator.wire import FrameReader, Opcode, answer_upgrade, encode_frame

PAUSE_S: Final = 0.0001
"""How long to wait where the reader may have no more at the moment."""
PIECES_A_TURN: Final = 4
"""So many are made for a connection before what can be sent is sent."""
SERIALS: Final = range(100_000, 1_000_000)


Make = Callable[[Sequence[str]], list[Chunk]]


class Dialect(Protocol):
    """Is what a feed says before its ticks."""

    def greeting(self) -> list[bytes]:
        """Return the frames that go out at once."""

    def answer(self, message: bytes) -> tuple[list[bytes], Sequence[str] | None]:
        """Return the frames that answer a message, and the tickers to send from now on, if any."""


class Massive:
    """Speaks Massive's protocol by means of the simulator's session."""

    def __init__(self) -> None:
        self._session = Session(Options())

    def greeting(self) -> list[bytes]:
        """See `Dialect`."""
        return [encode_frame(b"[" + status("connected", "Connected Successfully") + b"]")]

    def answer(self, message: bytes) -> tuple[list[bytes], Sequence[str] | None]:
        """See `Dialect`."""
        reply = self._session.receive(message)
        frames = [encode_frame(b"[" + b",".join(reply.statuses) + b"]")] if reply.statuses else []
        if reply.outcome is not Outcome.CHANNELS:
            return frames, None
        held = {channel.partition(".")[2] for channel in self._session.held}
        return frames, TICKERS if "*" in held else tuple(sorted(held))


class Alpaca:
    """Speaks Alpaca's protocol: MessagePack, a list a message."""

    def greeting(self) -> list[bytes]:
        """See `Dialect`."""
        return [self._say({"T": "success", "msg": "connected"})]

    def answer(self, message: bytes) -> tuple[list[bytes], Sequence[str] | None]:
        """See `Dialect`."""
        request = msgspec.msgpack.decode(message)
        if request["action"] == "auth":
            return [self._say({"T": "success", "msg": "authenticated"})], None
        return [self._say({"T": "subscription", "trades": ["*"], "quotes": ["*"]})], TICKERS

    @staticmethod
    def _say(element: dict[str, Any]) -> bytes:
        return encode_frame(msgspec.msgpack.encode([element]), Opcode.BINARY)


class BitMex:
    """Speaks what cryptofeed needs of BitMEX."""

    def greeting(self) -> list[bytes]:
        """See `Dialect`."""
        return []

    def answer(self, message: bytes) -> tuple[list[bytes], Sequence[str] | None]:
        """See `Dialect`."""
        subscribed = {"success": True, "subscribe": msgspec.json.decode(message)["args"][0]}
        return [encode_frame(msgspec.json.encode(subscribed))], TICKERS


class Binance:
    """Speaks Binance's protocol."""

    def greeting(self) -> list[bytes]:
        """See `Dialect`."""
        return []

    def answer(self, message: bytes) -> tuple[list[bytes], Sequence[str] | None]:
        """See `Dialect`."""
        number = msgspec.json.decode(message)["id"]
        return [encode_frame(msgspec.json.encode({"result": None, "id": number}))], TICKERS


DIALECTS: Final[dict[str, tuple[Callable[[], Dialect], templates.Maker]]] = {
    "massive": (Massive, templates.massive),
    "alpaca": (Alpaca, templates.alpaca),
    "bitmex": (BitMex, templates.bitmex),
    "binance": (Binance, templates.binance),
}


class Phase(NamedTuple):
    """Says how many ticks/s to send for how long."""

    time_s: float
    ticks_per_s: float


class Flow:
    """Counts what all connections were sent together, and says when there is to be more.

    Args:
        shared: see `turns.open_shared`.
        window: ticks that may be in flight.
        phases: one after the other, then nothing more; without any, as fast as the reader takes it.
    """

    def __init__(self, shared: memoryview, window: int, phases: Sequence[Phase]) -> None:
        self._shared = shared
        self._window = window
        self._phases = phases
        self._serials = itertools.cycle(SERIALS)
        self.begin()

    def begin(self) -> None:
        """Begin at nothing, for a new client."""
        self._sent = 0
        self._shared[1:5] = memoryview(bytes(4 * 8)).cast("Q")
        self._due = 0.0
        self._left = list(self._phases)
        self._phase_s: float | None = None

    def may_send(self) -> bool:
        """Tell whether the reader may have more now."""
        if self._phases and self._sent >= self._due:
            self._let_time_pass()
            if self._sent >= self._due:
                return False
        return self._sent - self._shared[0] < self._window

    def next(self, chunk: Chunk) -> memoryview:
        """Return a chunk as it goes out."""
        self._sent += chunk.ticks
        self._shared[1] = self._sent
        self._shared[2] += chunk.trades
        return chunk.fill(next(self._serials))

    def cut_off(self) -> None:
        """Count a connection that was cut off."""
        self._shared[4] += 1

    def _let_time_pass(self) -> None:
        """Add what is due; a phase ends when all its ticks are sent, and the next then begins."""
        now_s = time.perf_counter()
        if self._phase_s is None:
            self._phase_s, self._base = now_s, 0.0
        if not self._left:
            return
        time_s, ticks_per_s = self._left[0]
        self._due = self._base + min(now_s - self._phase_s, time_s) * ticks_per_s
        if now_s - self._phase_s >= time_s and self._sent >= self._due:
            self._left.pop(0)
            self._phase_s, self._base = now_s, float(self._sent)
            self._shared[3] = time.time_ns()


class Reader:
    """Is one connection of a client.

    Args:
        sock: its socket.
        dialect: what is said before the ticks.
        make: makes what is sent.
        flow: says when.
        buffer_bytes: what may wait for it before it is cut off; None: nothing is made before it can be sent.
    """

    def __init__(
        self, sock: socket.socket, dialect: Dialect, make: Make, flow: Flow, buffer_bytes: int | None = None
    ) -> None:
        self._buffer_bytes = buffer_bytes
        self._buffer: deque[bytes] = deque()
        self._buffered_bytes = 0
        self._sock = sock
        self._dialect = dialect
        self._make = make
        self._flow = flow
        self._frames = FrameReader()
        self._rest = memoryview(b"")
        self.chunks: Iterator[Chunk] | None = None
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        request = b""
        while not request.endswith(b"\r\n\r\n"):
            request += sock.recv(4096)
        sock.sendall(answer_upgrade(request)[0] + b"".join(dialect.greeting()))
        sock.setblocking(False)

    def listen(self) -> bool:
        """Take what it says; return whether it is still there."""
        try:
            data = self._sock.recv(65536)
        except OSError:
            return False
        for opcode, payload in self._frames.feed(data):
            if opcode == Opcode.PING:
                self._say(encode_frame(payload, Opcode.PONG))
            elif opcode == Opcode.CLOSE:
                return False
            elif opcode in {Opcode.TEXT, Opcode.BINARY}:
                answers, tickers = self._dialect.answer(payload)
                if tickers and self.chunks is None:
                    self.chunks = itertools.cycle(self._make(tickers))
                self._say(b"".join(answers))
        return bool(data)

    def make(self) -> bool:
        """Make the next piece, whether it can be sent or not; return whether the connection may stay."""
        if self.chunks is not None:
            piece = bytes(self._flow.next(next(self.chunks)))
            self._buffer.append(piece)
            self._buffered_bytes += len(piece)
        return self._buffer_bytes is None or self._buffered_bytes <= self._buffer_bytes

    def send(self) -> bool:
        """Send a piece; return whether it is still there."""
        if not self._rest:
            if self._buffer:
                self._rest = memoryview(self._buffer.popleft())
                self._buffered_bytes -= len(self._rest)
            elif self._buffer_bytes is not None or self.chunks is None or not self._flow.may_send():
                time.sleep(PAUSE_S)
                return True
            else:
                self._rest = self._flow.next(next(self.chunks))
        try:
            self._rest = self._rest[self._sock.send(self._rest) :]
        except BlockingIOError:
            pass
        except OSError:
            return False
        return True

    def _say(self, frames: bytes) -> None:
        """Put frames behind what is being sent."""
        self._rest = memoryview(bytes(self._rest) + frames)
        if self.chunks is None:
            self._sock.sendall(self._rest)
            self._rest = memoryview(b"")


class Server:
    """Serves one client after the other, each with any number of connections.

    Args:
        dialect: makes what a connection is told before its ticks.
        make: makes what it is sent.
        flow: says when.
        buffer_bytes: see `Reader`.
    """

    def __init__(
        self, dialect: Callable[[], Dialect], make: Make, flow: Flow, buffer_bytes: int | None = None
    ) -> None:
        self._reader = lambda sock: Reader(sock, dialect(), make, flow, buffer_bytes)
        self._flow = flow
        self._holds_back = buffer_bytes is None
        self._selector = selectors.DefaultSelector()
        self._readers: dict[socket.socket, Reader] = {}
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=16)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self.port = self._listener.getsockname()[1]

    def serve(self) -> None:
        """Serve for ever."""
        while True:
            for key, ready in self._selector.select(None if self._holds_back else PAUSE_S):
                if key.fileobj is self._listener:
                    self._accept()
                else:
                    self._attend(key, ready)
            if not self._holds_back:
                self._make()

    def _accept(self) -> None:
        sock = self._listener.accept()[0]
        with contextlib.suppress(OSError):
            self._readers[sock] = self._reader(sock)
            self._selector.register(sock, selectors.EVENT_READ)

    def _attend(self, key: selectors.SelectorKey, ready: int) -> None:
        sock: Any = key.fileobj
        reader = self._readers[sock]
        here = not ready & selectors.EVENT_READ or reader.listen()
        if here and ready & selectors.EVENT_WRITE:
            here = reader.send()
        elif here and reader.chunks is not None and key.events == selectors.EVENT_READ:
            self._selector.modify(sock, selectors.EVENT_READ | selectors.EVENT_WRITE, reader)
        if not here:
            self._end(sock)

    def _make(self) -> None:
        """Make what is due, a piece for each connection that has asked for any, and come back for more."""
        asked = [sock for sock, reader in self._readers.items() if reader.chunks is not None]
        for _ in range(PIECES_A_TURN):
            if not (asked and self._flow.may_send()):
                return
            for sock in tuple(asked):
                if not self._readers[sock].make():
                    self._flow.cut_off()
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset
                    self._end(sock)
                    asked.remove(sock)

    def _end(self, sock: socket.socket) -> None:
        self._selector.unregister(sock)
        del self._readers[sock]
        sock.close()
        if not self._readers and self._holds_back:
            self._flow.begin()


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dialect", choices=DIALECTS, default="massive")
    parser.add_argument("--events", type=int, default=1, help="of a frame")
    parser.add_argument("--chunk-bytes", type=int, default=CHUNK_BYTES, help="of what goes out in one piece")
    parser.add_argument("--window", type=int, help="ticks that may be in flight")
    parser.add_argument("--shared", help="file with the counts")
    parser.add_argument("--phases", default="", help="SECONDS:TICKS_PER_S,…, then nothing")
    parser.add_argument("--buffer-bytes", type=int, help="what may wait for a connection; then it is cut off")
    arguments = parser.parse_args()
    pin(SENDER_CORE)
    threading.Thread(target=end_with_parent, daemon=True).start()
    phases = [Phase(*map(float, phase.split(":"))) for phase in arguments.phases.split(",") if phase]
    with open_shared(arguments.shared) as shared:
        dialect, maker = DIALECTS[arguments.dialect]
        flow = Flow(shared, arguments.window, phases)

        def make(tickers: Sequence[str]) -> list[Chunk]:
            return maker(tickers, arguments.events, arguments.chunk_bytes)

        chunks = make(TICKERS)
        bytes_a_tick = sum(len(chunk.frames) for chunk in chunks) / sum(chunk.ticks for chunk in chunks)
        server = Server(dialect, make, flow, arguments.buffer_bytes)
        print(json.dumps({"port": server.port, "bytes_a_tick": bytes_a_tick}), flush=True)
        server.serve()


def end_with_parent() -> None:
    """End this process when whoever started it is gone, however that came."""
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main()
