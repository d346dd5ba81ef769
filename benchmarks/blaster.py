"""The sender: speaks just enough of a feed's protocol, and then sends as fast as the reader takes it.

Started by `benchmarks.turns` in a process and on a core of its own; ``python -m benchmarks.throughput`` shows
in its first line what a reader gets that only reads, so that nobody suspects the sender.
"""

import argparse
import contextlib
import itertools
import json
import mmap
import selectors
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec

from benchmarks import templates
from benchmarks.templates import TICKERS, Chunk
from benchmarks.turns import SENDER_CORE, pin
from pipeline.massive.simulator.options import Options
from pipeline.massive.simulator.session import Outcome, Session, status
from pipeline.massive.simulator.wire import FrameReader, Opcode, answer_upgrade, encode_frame

FULL_PAUSE_S: Final = 0.0001
"""How long to wait where the reader has been sent all that it may have in flight."""
SERIALS: Final = range(100_000, 1_000_000)


class Dialect(Protocol):
    """Is what a feed says before its ticks."""

    def greeting(self) -> list[bytes]:
        """Return the frames that go out at once."""

    def answer(self, message: bytes) -> tuple[list[bytes], Sequence[str] | None]:
        """Return the frames that answer a message, and the tickers to send from now on, if any."""


class Massive:
    """Speaks Massive's protocol by means of the simulator's session."""

    make = staticmethod(templates.massive)

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

    make = staticmethod(templates.alpaca)

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

    make = staticmethod(templates.bitmex)

    def greeting(self) -> list[bytes]:
        """See `Dialect`."""
        return []

    def answer(self, message: bytes) -> tuple[list[bytes], Sequence[str] | None]:
        """See `Dialect`."""
        subscribed = {"success": True, "subscribe": msgspec.json.decode(message)["args"][0]}
        return [encode_frame(msgspec.json.encode(subscribed))], TICKERS


class Binance:
    """Speaks Binance's protocol."""

    make = staticmethod(templates.binance)

    def greeting(self) -> list[bytes]:
        """See `Dialect`."""
        return []

    def answer(self, message: bytes) -> tuple[list[bytes], Sequence[str] | None]:
        """See `Dialect`."""
        number = msgspec.json.decode(message)["id"]
        return [encode_frame(msgspec.json.encode({"result": None, "id": number}))], TICKERS


DIALECTS: Final = {"massive": Massive, "alpaca": Alpaca, "bitmex": BitMex, "binance": Binance}


class Flow:
    """Counts what all connections were sent together, and holds them to what may be in flight."""

    def __init__(self, delivered: mmap.mmap, window: int) -> None:
        self._delivered = memoryview(delivered).cast("Q")
        self._window = window
        self._serials = itertools.cycle(SERIALS)
        self.sent = 0

    @property
    def full(self) -> bool:
        """Whether the reader has as much in flight as it may."""
        return self.sent - self._delivered[0] >= self._window

    def next(self, chunk: Chunk) -> memoryview:
        """Return a chunk as it goes out."""
        self.sent += chunk.ticks
        return chunk.fill(next(self._serials))


class Reader:
    """Is one connection of a client."""

    def __init__(self, sock: socket.socket, dialect: Dialect, events: int, flow: Flow) -> None:
        self._sock = sock
        self._dialect = dialect
        self._events = events
        self._flow = flow
        self._frames = FrameReader()
        self._rest = memoryview(b"")
        self.chunks: itertools.cycle[Chunk] | None = None
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
                    self.chunks = itertools.cycle(self._dialect.make(tickers, self._events))
                self._say(b"".join(answers))
        return bool(data)

    def send(self) -> bool:
        """Send a piece; return whether it is still there."""
        if not self._rest:
            if self._flow.full:
                time.sleep(FULL_PAUSE_S)
                return True
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


def serve(dialect: type[Dialect], events: int, flow: Flow) -> None:
    """Say where it listens, and serve one client after the other, each with any number of connections."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=16)
    chunks = dialect.make(TICKERS, events)
    bytes_a_tick = sum(len(chunk.frames) for chunk in chunks) / sum(chunk.ticks for chunk in chunks)
    print(json.dumps({"port": listener.getsockname()[1], "bytes_a_tick": bytes_a_tick}), flush=True)
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ)
    while True:
        for key, ready in selector.select():
            sock: Any = key.fileobj
            if key.data is None:
                sock = listener.accept()[0]
                with contextlib.suppress(OSError):
                    selector.register(sock, selectors.EVENT_READ, Reader(sock, dialect(), events, flow))
                continue
            reader = key.data
            here = not ready & selectors.EVENT_READ or reader.listen()
            if here and ready & selectors.EVENT_WRITE:
                here = reader.send()
            elif here and reader.chunks is not None and key.events == selectors.EVENT_READ:
                selector.modify(sock, selectors.EVENT_READ | selectors.EVENT_WRITE, reader)
            if not here:
                selector.unregister(sock)
                sock.close()
                if len(selector.get_map()) == 1:
                    flow.sent = 0  # the next client begins at nothing, too


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dialect", choices=DIALECTS, default="massive")
    parser.add_argument("--events", type=int, default=1, help="of a frame")
    parser.add_argument("--window", type=int, help="ticks that may be in flight")
    parser.add_argument("--shared", type=Path, help="file with the reader's count")
    arguments = parser.parse_args()
    pin(SENDER_CORE)
    with arguments.shared.open("r+b") as file, mmap.mmap(file.fileno(), 8) as delivered:
        flow = Flow(delivered, arguments.window)
        serve(DIALECTS[arguments.dialect], arguments.events, flow)


if __name__ == "__main__":
    main()
