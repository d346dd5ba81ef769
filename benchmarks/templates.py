"""What the blaster sends: ready-made frames in which only a serial number and the time are filled in.

So each tick that goes out has an identity of its own and the time of its sending, and yet the sender has
hardly anything to do but to send.
"""

import itertools
import random
import re
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, TypeVar

import msgspec
import numpy as np

from pipeline.market import SyntheticMarket
from pipeline.massive.simulator.feeds import join
from pipeline.massive.simulator.wire import Opcode, encode_frame

__all__ = ["CHUNK_BYTES", "TICKERS", "Chunk", "Maker", "alpaca", "binance", "bitmex", "massive"]

TICKERS: Final = tuple(f"SIM{number:03d}" for number in range(240))
"""Two channels of each fit in one subscription request."""
SEED: Final = 7
TICKS: Final = 20_000
"""Of one round of chunks: 3 MB, which begins anew with other serial numbers."""
CHUNK_BYTES: Final = 64 * 1024
SERIAL: Final = b"~" * 6
NOW_MS: Final = b"^" * 13
"""Stand in the template where the serial number of the chunk and the time belong, and are as long."""
START_MS: Final = 1_234_567_890_123

_Thing = TypeVar("_Thing")
Maker = Callable[[Sequence[str], int, int], list["Chunk"]]
"""Makes chunks of about so many bytes, of frames of so many events each, of some tickers."""


class Chunk:
    """Holds whole frames that go out in one piece.

    Args:
        frames: with the marks in them.
        ticks: how many they hold.
    """

    def __init__(self, frames: bytes, ticks: int) -> None:
        self.ticks = ticks
        self.trades = frames.count(b'"ev":"T"')
        self.frames = bytearray(frames)
        self._serials = _Marks(self.frames, SERIAL)
        self._times = _Marks(self.frames, NOW_MS)

    def fill(self, serial: int) -> memoryview:
        """Make the frames number ``serial``, happening now; the next fill changes what is returned."""
        self._serials.fill(b"%06d" % serial)
        self._times.fill(b"%013d" % (time.time_ns() // 1_000_000))
        return memoryview(self.frames)


class _Marks:
    """Finds all places of a mark in a buffer and fills them, at 8 ns each; `bytes.replace` takes 60."""

    def __init__(self, buffer: bytearray, mark: bytes) -> None:
        width = len(mark)
        self._windows = np.ndarray((len(buffer) - width + 1,), f"S{width}", buffer, strides=(1,))
        self._places = np.array([found.start() for found in re.finditer(re.escape(mark), buffer)], np.intp)

    def fill(self, text: bytes) -> None:
        self._windows[self._places] = text


@lru_cache
def massive(tickers: Sequence[str], events: int, chunk_bytes: int) -> list[Chunk]:
    """Return frames of a Massive market: four quotes to a trade, the first tickers the most active."""
    market = SyntheticMarket(tickers, seed=SEED, start_ms=START_MS, event_types=("T", "Q"))
    numbers = itertools.count()
    elements = [_numbered(element, next(numbers)) for _, element in market.events(TICKS, START_MS)]
    frames = [encode_frame(join(part)) for part in _parts(elements, events)]
    return _chunks(frames, events, chunk_bytes)


def _numbered(element: bytes, number: int) -> bytes:
    """Give a trade or quote an id and sequence number that no other has."""
    identity = b"%b%05d" % (SERIAL, number)
    element = re.sub(rb'"q":\d+', b'"q":' + identity, element, count=1)
    element = re.sub(rb'"i":"\d+"', b'"i":"' + identity + b'"', element, count=1)
    return element.replace(b"%d" % START_MS, NOW_MS)


def alpaca(tickers: Sequence[str], events: int, chunk_bytes: int) -> list[Chunk]:
    """Return frames of Alpaca's feed, which is MessagePack: the same market, its times those of now."""
    source = random.Random(SEED)
    when = datetime.now(UTC)
    elements = []
    for number in range(TICKS):
        common = {"S": source.choice(tickers), "t": when, "z": "C"}
        if source.random() < 0.2:
            elements.append(
                {"T": "t", **common, "i": number, "x": "V", "p": 187.25, "s": 100, "c": ["@", "I"]}
            )
        else:
            elements.append(
                {"T": "q", **common, "bx": "V", "bp": 187.24, "bs": 2, "ax": "Q", "ap": 187.26, "as": 3}
                | {"c": ["R"]}
            )
    encode = msgspec.msgpack.encode
    frames = [encode_frame(encode(part), Opcode.BINARY) for part in _parts(elements, events)]
    return _chunks(frames, events, chunk_bytes)


def bitmex(_: Sequence[str], events: int, chunk_bytes: int) -> list[Chunk]:
    """Return frames of BitMEX's trades, the feed known to cryptofeed with many events a frame."""
    stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    trade = {"timestamp": stamp, "symbol": "XBTUSD", "side": "Sell", "size": 100, "price": 96210.5}
    rows = [
        trade | {"tickDirection": "ZeroMinusTick", "trdMatchID": f"{number:08d}-0000-0000-0000-000000000000"}
        for number in range(TICKS)
    ]
    frames = [
        encode_frame(msgspec.json.encode({"table": "trade", "action": "insert", "data": part}))
        for part in _parts(rows, events)
    ]
    return _chunks(frames, events, chunk_bytes)


def binance(_: Sequence[str], events: int, chunk_bytes: int) -> list[Chunk]:
    """Return frames of Binance's trades: always one a frame."""
    if events != 1:
        raise ValueError("Binance sends one event a frame")
    frames = [
        encode_frame(
            b'{"stream":"btcusdt@trade","data":{"e":"trade","E":%b,"s":"BTCUSDT","t":%d,"p":"96210.50000000",'
            b'"q":"0.00100000","T":%b,"m":true,"M":true}}' % (NOW_MS, number, NOW_MS)
        )
        for number in range(TICKS)
    ]
    return _chunks(frames, events, chunk_bytes)


def _parts(things: list[_Thing], events: int) -> list[list[_Thing]]:
    return [things[start : start + events] for start in range(0, len(things), events)]


def _chunks(frames: list[bytes], events: int, chunk_bytes: int) -> list[Chunk]:
    """Join frames to chunks of about ``chunk_bytes``, at least one in each."""
    each = max(1, chunk_bytes * len(frames) // sum(map(len, frames)))
    return [Chunk(b"".join(part), len(part) * events) for part in _parts(frames, each)]
