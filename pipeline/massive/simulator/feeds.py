"""Where a simulated server's data comes from: a synthetic market, or recorded frames.

A feed is pulled: it is told how much time has passed and gives what is due. So it has neither thread nor
clock, and a test moves its time by hand.
"""

import gzip
import math
import time
from codecs import BOM_UTF8
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, Final, Protocol, runtime_checkable

import msgspec

from pipeline.market import Element, SyntheticMarket
from pipeline.pace import Pace
from pipeline.status_event import some_of
from pipeline.symbols import WILDCARD, other_spellings

from .wire import encode_frame

__all__ = [
    "Bursts",
    "Feed",
    "Listed",
    "Packet",
    "ReplayFeed",
    "SyntheticFeed",
    "packets_of",
    "read_recording",
]

FRAME_ELEMENTS: Final = 100
"""Elements a synthetic frame holds at most."""
PACKETS_A_TAKE: Final = 64
"""Packets a feed gives at once, so that one feed does not keep the loop for itself."""
TIME_FIELDS: Final = {
    "T": ("t", "pt", "trft"),
    "Q": ("t", "pt", "bt", "at"),
    **dict.fromkeys(("XT", "XQ", "XL2"), ("t", "r")),
    **dict.fromkeys(("A", "AM", "CA", "CAS", "XA", "XAS"), ("s", "e")),
}
"""Which fields are times in ms, by type; ``s`` is a size in a trade."""


class Packet:
    """Holds what goes out at one moment: elements, and the channel of each."""

    def __init__(self, elements: Iterable[Element], at_us: int = 0) -> None:
        pairs = tuple(elements)
        self.at_us = at_us
        self.channels = tuple(channel for channel, _ in pairs)
        self.elements = tuple(element for _, element in pairs)

    @cached_property
    def frame(self) -> bytes:
        """The whole packet as one frame, encoded once for all clients that hold all its channels."""
        return encode_frame(join(self.elements))

    @cached_property
    def counts(self) -> Counter[str]:
        """How many elements go to each channel."""
        return Counter(self.channels)


def join(elements: Iterable[bytes]) -> bytes:
    """Return elements as the JSON array that is one message."""
    return b"[" + b",".join(elements) + b"]"


class Feed(Protocol):
    """Gives packets as time goes by; the server pulls it on its own thread."""

    @property
    def patient(self) -> bool:
        """Whether it waits for slow readers (full speed) rather than keeping to the clock."""
        ...

    @property
    def finite(self) -> bool:
        """Whether it ends."""
        ...

    def take(self, elapsed_s: float) -> Iterable[Packet]:
        """Give what is due so long after the start, at most `PACKETS_A_TAKE` packets."""
        ...

    def wait_s(self, elapsed_s: float) -> float | None:
        """Return how long from now nothing will be due, None when it is over."""
        ...


@runtime_checkable
class Listed(Protocol):
    """Is a feed that knows beforehand what it serves."""

    @property
    def words(self) -> str:
        """What it serves, for people."""
        ...

    def unserved(self, channels: Iterable[str]) -> set[str]:
        """Return those of the channels that it will never serve."""
        ...


@dataclass(frozen=True, kw_only=True)
class Bursts:
    """Makes a market open again and again: the rate jumps to ``factor`` times and calms down.

    Raises:
        ValueError: a value is out of its range.
    """

    factor: float = 10.0
    every_s: float = 60.0
    decay_s: float = 5.0

    def __post_init__(self) -> None:
        if self.factor < 1 or self.every_s <= 0 or self.decay_s <= 0:
            raise ValueError("factor must be at least 1, every_s and decay_s above 0")

    def stretch(self, elapsed_s: float) -> float:
        """Return how long a calm market takes for what happened since the opening, in s."""
        opens, into_s = divmod(elapsed_s, self.every_s)
        extra = (self.factor - 1) * self.decay_s
        whole = opens * (1 - math.exp(-self.every_s / self.decay_s))
        return elapsed_s + extra * (whole + 1 - math.exp(-into_s / self.decay_s))


class SyntheticFeed:
    """Sends a `SyntheticMarket`, its events happening at the moment they are sent.

    Args:
        tickers: the first is the most active.
        rate: ticks a second of the calm market, bars not counted; inf for as fast as readers take them.
        event_types: what is sent.
        seed: of the market.
        count: ends after exactly so many elements; None never does.
        bursts: open-bell bursts.
        slot_s: what happens within so long goes out in one frame.
        clock_ns: wall clock, ns since the epoch.

    Raises:
        ValueError: an argument is out of its range; the message names it.
    """

    def __init__(
        self,
        tickers: Iterable[str],
        *,
        rate: float = 1000.0,
        event_types: Iterable[str] = ("T", "Q", "A", "AM"),
        seed: int = 0,
        count: int | None = None,
        bursts: Bursts | None = None,
        slot_s: float = 0.005,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        if not rate > 0:
            raise ValueError(f"rate must be above 0, not {rate!r}")
        if count is not None and count < 0:
            raise ValueError(f"count must not be negative, not {count!r}")
        if slot_s <= 0:
            raise ValueError(f"slot_s must be above 0, not {slot_s!r}")
        self.patient = math.isinf(rate)
        self.finite = count is not None
        self._rate = rate
        self._left = math.inf if count is None else count
        self._stretch = bursts.stretch if bursts else float
        self._slot_s = slot_s
        self._clock_ns = clock_ns
        self._happened = 0
        self._types = tuple(event_types)
        self._market = SyntheticMarket(
            tickers, seed=seed, start_ms=clock_ns() // 1_000_000, event_types=self._types
        )

    @property
    def words(self) -> str:
        """Its event types and tickers."""
        return f"{', '.join(self._types)} of {some_of(self._market.tickers)}"

    def unserved(self, channels: Iterable[str]) -> set[str]:
        """Return those of the channels whose type or ticker this market has not."""
        tickers = {WILDCARD, *self._market.tickers}
        tickers.update(*map(other_spellings, self._market.tickers))
        parted = ((channel, *channel.partition(".")) for channel in channels)
        return {
            channel for channel, kind, _, symbol in parted if kind not in self._types or symbol not in tickers
        }

    def take(self, elapsed_s: float) -> Sequence[Packet]:
        """Let happen what is due, now."""
        most = PACKETS_A_TAKE * FRAME_ELEMENTS
        due = most if self.patient else int(self._rate * self._stretch(elapsed_s)) - self._happened
        due = min(max(due, 0), most)
        self._happened += due
        elements = self._market.events(due, self._clock_ns() // 1_000_000)
        if len(elements) > self._left:
            del elements[int(self._left) :]
        self._left -= len(elements)
        return [
            Packet(elements[start : start + FRAME_ELEMENTS])
            for start in range(0, len(elements), FRAME_ELEMENTS)
        ]

    def wait_s(self, elapsed_s: float) -> float | None:
        """Return a slot, nothing at full speed or where it is behind, None after the last element."""
        if self._left <= 0:
            return None
        behind = self.patient or self._rate * self._stretch(elapsed_s) - self._happened >= FRAME_ELEMENTS
        return 0.0 if behind else self._slot_s


class ReplayFeed:
    """Sends packets at the distances they were recorded with, but that no silence is longer than a minute.

    Args:
        packets: in order of their ``at_us``; taken one at a time.
        speed: 1 as recorded, N that many times faster, inf as fast as readers take them.
        rebase: shift event times so that a packet happens when it is sent.
        clock_ns: wall clock, ns since the epoch, for rebasing.

    Raises:
        ValueError: ``speed`` is not above 0.
    """

    finite = True

    def __init__(
        self,
        packets: Iterable[Packet],
        *,
        speed: float = 1.0,
        rebase: bool = False,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        if not speed > 0:
            raise ValueError(f"speed must be above 0, not {speed!r}")
        self.patient = math.isinf(speed)
        self._speed = speed
        self._clock_ns = clock_ns if rebase else None
        self._packets = iter(packets)
        self._next: Packet | None = None
        self._pace = Pace()
        self._due_s = 0.0
        """When the next one is due, after the start."""

    def take(self, elapsed_s: float) -> Iterator[Packet]:
        """Yield the packets that are due, one by one: those before a bad line still go out."""
        for _ in range(PACKETS_A_TAKE):
            packet = self._peek()
            if packet is None or self._due_s > elapsed_s:
                return
            self._next = None
            yield self._rebased(packet, self._clock_ns()) if self._clock_ns else packet

    def wait_s(self, elapsed_s: float) -> float | None:
        """Return the time to the next packet, None after the last."""
        packet = self._peek()
        return None if packet is None else max(0.0, self._due_s - elapsed_s)

    def _peek(self) -> Packet | None:
        if self._next is None:
            self._next = next(self._packets, None)
            if self._next is not None:
                self._due_s = self._pace.advance(self._next.at_us * 1000) / 1e9 / self._speed
        return self._next

    @staticmethod
    def _rebased(packet: Packet, now_ns: int) -> Packet:
        shift_ms = now_ns // 1_000_000 - packet.at_us // 1000
        pairs = zip(packet.channels, packet.elements, strict=True)
        return Packet(((channel, _shift(element, shift_ms)) for channel, element in pairs), packet.at_us)


def read_recording(path: Path | str) -> Iterator[Packet]:
    """Yield the packets of a file of recorded frames, a line at a time.

    Lines are ``{"at_us": …, "frame": [ … ]}``; the file may be gzipped. Status elements are left out: a
    simulated server speaks for itself.

    Raises:
        ValueError: a line is no such thing; the message names it.
    """
    with Path(path).open("rb") as file, _unzipped(file) as lines:
        for number, line in enumerate(lines, start=1):
            try:
                recorded = _decode_line(line.removeprefix(BOM_UTF8))
                packet = _packet(recorded.frame, recorded.at_us)
            except msgspec.MsgspecError as error:
                raise ValueError(f"{path}, line {number}: {error}") from None
            yield packet


def packets_of(messages: Iterable[tuple[int, bytes]]) -> Iterator[Packet]:
    """Yield a packet for each recorded message, given when it was received (µs) and what came.

    Status elements are left out, and a message that is no array of elements with a symbol each.
    """
    for at_us, message in messages:
        try:
            packet = _packet(_decode_message(message), at_us)
        except msgspec.MsgspecError:
            continue
        if packet.elements:
            yield packet


def _packet(frame: Iterable[msgspec.Raw], at_us: int) -> Packet:
    pairs = [(_channel(raw), bytes(raw)) for raw in frame]
    return Packet(((channel, raw) for channel, raw in pairs if channel), at_us)


def _unzipped(file: BinaryIO) -> AbstractContextManager[Iterable[bytes]]:
    return gzip.open(file) if file.name.endswith(".gz") else nullcontext(file)


class _Line(msgspec.Struct):
    at_us: int
    frame: list[msgspec.Raw]


class _Head(msgspec.Struct):
    ev: str
    sym: str | None = None
    T: str | None = None
    pair: str | None = None
    p: Any = None
    """Of a currency quote the pair, of anything else a price."""


_decode_line = msgspec.json.Decoder(_Line).decode
_decode_message = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_head = msgspec.json.Decoder(_Head).decode


def _channel(element: msgspec.Raw) -> str | None:
    head = _decode_head(element)
    symbol = head.p if head.ev == "C" else head.sym or head.T or head.pair
    if head.ev == "status":
        return None
    if not isinstance(symbol, str):
        raise msgspec.ValidationError("an element without a symbol")
    return f"{head.ev}.{symbol}"


def _shift(element: bytes, shift_ms: int) -> bytes:
    fields: dict[str, Any] = msgspec.json.decode(element)
    for name in TIME_FIELDS.get(fields["ev"], ("t",)):
        moment = fields.get(name)
        if isinstance(moment, int | float):
            # Some types come in µs or ns, by the source: the magnitude tells.
            unit = 1_000_000 if moment >= 1e17 else 1000 if moment >= 1e14 else 1
            fields[name] = moment + shift_ms * unit
    return msgspec.json.encode(fields)
