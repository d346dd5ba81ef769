"""What goes to Redis: TickStock's messages, packed into PUBLISH commands a batch at a time. Pure.

The JSON is the compact form in UTF-8, with the keys in the order in which TickStock's ``json.dumps`` writes
them: ``json.loads`` gives the same values, an int as int and a float as float. (Compact because it is a
tenth shorter, written by msgspec because that takes a tenth of the time.) Where ``json.dumps`` would write
NaN, which is no JSON, stands null.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import msgspec

from pipeline.ticks import Quote, Trade

__all__ = ["Channels", "Packer", "Parcel"]

BATCH_TICKS: Final = 1000
BATCH_BYTES: Final = 524_288
"""A message of `Channels.raw_batch` holds no more, unless a single tick is longer."""
CACHED_LENGTHS: Final = 4096
"""Messages shorter than this, bytes, find their header ready-made."""

_encode: Final = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True, kw_only=True)
class Channels:
    """Names the channels; an empty name switches one off.

    Args:
        raw: for TickStock's pipeline: every field it takes.
        market: for TickStock's front end: the few fields it takes.
        per_ticker: what stands before the ticker: ``tickstock.ticks.`` gives ``tickstock.ticks.AAPL``.
        all_ticks: the messages of `per_ticker`, of all tickers.
        raw_batch: JSON arrays of the messages of `raw`, one for the ticks of one read: a tenth of the work.

    Raises:
        ValueError: all are switched off.
    """

    raw: str = "tickstock.data.raw"
    market: str = "tickstock:market:ticks"
    per_ticker: str = ""
    all_ticks: str = ""
    raw_batch: str = ""

    def __post_init__(self) -> None:
        if not self.names:
            raise ValueError("channels must have one name at least, or there is nothing to publish")

    @property
    def names(self) -> tuple[str, ...]:
        """Return the channels that are on, in the order in which a tick goes to them."""
        per_ticker = self.per_ticker and f"{self.per_ticker}*"
        names = self.raw, self.market, per_ticker, self.all_ticks, self.raw_batch
        return tuple(name for name in names if name)


class Parcel(msgspec.Struct, gc=False):
    """Holds messages of ticks of one connection as commands, to be sent, and to be sent again.

    Args:
        connection: the id of the connection that brought the ticks.
        numbers: one for each message, counted by the packer: with n channels of single ticks on, the messages
            of tick i are n·i … n·i + n - 1, in the order of `Channels.names`. Of a message of many, its first
            tick's i.
        parts: two for each message: the command up to the message, and the message, without the CRLF between.
        doubtful: how many of the first messages went out before, and nobody knows whether they arrived.
        many: how many ticks a message holds, for `Channels.raw_batch`; 0 where each holds one.
    """

    connection: str
    numbers: Sequence[int]
    parts: list[bytes]
    doubtful: int = 0
    many: int = 0

    @property
    def load(self) -> int:
        """How many messages of one tick its messages weigh."""
        return len(self.numbers) * (self.many or 1)

    def ticks(self, per_tick: int) -> set[int]:
        """Return the numbers of the ticks in it."""
        if self.many:
            return {number + place for number in self.numbers for place in range(self.many)}
        return {number // per_tick for number in self.numbers}

    def pack(self) -> bytes:
        """Return the commands as they go over the wire: https://valkey.io/topics/protocol."""
        return b"\r\n".join([*self.parts, b""])

    def split(self, at: int) -> tuple[Self, Self]:
        """Return the first ``at`` messages and the others."""
        numbers, parts, doubtful = self.numbers, self.parts, self.doubtful
        return (
            type(self)(self.connection, numbers[:at], parts[: 2 * at], min(at, doubtful), self.many),
            type(self)(self.connection, numbers[at:], parts[2 * at :], max(0, doubtful - at), self.many),
        )

    def pick(self, places: Sequence[int]) -> Self:
        """Return the messages at these places."""
        parts = [part for place in places for part in self.parts[2 * place : 2 * place + 2]]
        numbers = [self.numbers[place] for place in places]
        return type(self)(self.connection, numbers, parts, many=self.many)

    def count_behind(self, size_bytes: int) -> int:
        """Return how many messages have a byte in the last ``size_bytes`` of `pack`."""
        count = 0
        for head, body in zip(self.parts[-2::-2], self.parts[-1::-2], strict=True):
            if size_bytes <= 0:
                break
            size_bytes -= len(head) + len(body) + 4
            count += 1
        return count


class Packer:
    """Makes parcels out of ticks.

    Args:
        channels: where the messages go.
    """

    def __init__(self, channels: Channels) -> None:
        self.per_tick: Final = len(channels.names) - bool(channels.raw_batch)
        """Messages of a tick of its own."""
        self._raw = _Heads(channels.raw)
        self._market = _Heads(channels.market)
        self._per_ticker = channels.per_ticker
        self._all_ticks = _Heads(channels.all_ticks)
        self._raw_batch = channels.raw_batch
        self._gathered: list[Any] = []
        self._next_tick = 0

    def pack(self, connection: str, ticks: Sequence[Any]) -> tuple[Parcel, Counter[str]]:
        """Return the ticks as a parcel, and how many are not in it by reason.

        A tick is left out whole: ``no_price`` (a quote without a side, a price band), or ``unwritable`` (what
        a caller made with values that are no JSON). Where there are only messages of many, that is left to
        `pack_gathered`. Runs on the sink's thread, for 2 µs a tick.
        """
        first = self.per_tick * self._next_tick
        if not self.per_tick:
            self._gather(ticks)
            return Parcel(connection, range(0), []), Counter()
        raw, market, per_ticker, all_ticks = self._raw, self._market, self._per_ticker, self._all_ticks
        rejected: Counter[str] = Counter()
        parts: list[bytes] = []
        left_out: list[int] = []
        for place, tick in enumerate(ticks):
            complete = len(parts)
            try:
                price = tick.price
                if price is None:
                    rejected["no_price"] += 1
                    left_out.append(place)
                    continue
                ticker, volume, timestamp, source = tick.ticker, tick.volume, tick.timestamp, tick.source
                if raw.channel:
                    body = _encode(_raw_of(tick, price, volume, timestamp))
                    parts += raw[len(body)], body
                if market.channel:
                    body = _encode(_Market(ticker, ticker, price, volume, timestamp, source))
                    parts += market[len(body)], body
                if per_ticker or all_ticks.channel:
                    body = _encode(_TickData(ticker, price, volume, timestamp, source, tick.market_status))
                    if per_ticker:
                        parts += _head(per_ticker + ticker, len(body)), body
                    if all_ticks.channel:
                        parts += all_ticks[len(body)], body
            except Exception:  # noqa: BLE001  # whatever a caller's tick does, its neighbours go on
                rejected["unwritable"] += 1
                left_out.append(place)
                del parts[complete:]
        self._gather(
            [tick for place, tick in enumerate(ticks) if place not in left_out] if left_out else ticks
        )
        return Parcel(connection, range(first, first + len(parts) // 2), parts), rejected

    def pack_gathered(self, connection: str) -> tuple[list[Parcel], Counter[str]]:
        """Return the ticks packed since the last call as messages of many, and how many are in none.

        Nothing where there is no channel for them. Takes half the time of `pack` on one channel.
        """
        ticks, self._gathered = self._gathered, []
        first = self._next_tick - len(ticks)
        parcels: list[Parcel] = []
        rejected: Counter[str] = Counter()
        for start in range(0, len(ticks), BATCH_TICKS):
            self._pack_many(connection, first + start, ticks[start : start + BATCH_TICKS], parcels, rejected)
        return parcels, rejected

    def _gather(self, ticks: Sequence[Any]) -> None:
        self._next_tick += len(ticks)
        if self._raw_batch:
            self._gathered += ticks

    def _pack_many(
        self, connection: str, first: int, ticks: list[Any], parcels: list[Parcel], rejected: Counter[str]
    ) -> None:
        """Write all as one array; where that fails, or it is too long, each half by itself."""
        try:
            messages = [
                _raw_of(tick, price, tick.volume, tick.timestamp)
                for tick in ticks
                if (price := tick.price) is not None
            ]
            body = _encode(messages)
        except Exception:  # noqa: BLE001  # as above
            if len(ticks) == 1:
                rejected["unwritable"] += 1
                return
            body = None
        if body is None or (len(body) > BATCH_BYTES and len(ticks) > 1):
            middle = len(ticks) // 2
            self._pack_many(connection, first, ticks[:middle], parcels, rejected)
            self._pack_many(connection, first + middle, ticks[middle:], parcels, rejected)
            return
        if len(messages) < len(ticks):
            rejected["no_price"] += len(ticks) - len(messages)
        if messages:
            parts = [_head(self._raw_batch, len(body)), body]
            parcels.append(Parcel(connection, [first], parts, many=len(messages)))


class _Raw(msgspec.Struct, gc=False):
    """The message of `Channels.raw`."""

    ticker: Any
    price: Any
    volume: Any
    timestamp: Any
    event_type: Any
    source: Any
    tick_open: Any = None
    tick_high: Any = None
    tick_low: Any = None
    tick_close: Any = None
    tick_volume: Any = None
    tick_vwap: Any = None
    bid: Any = None
    ask: Any = None


class _Market(msgspec.Struct, gc=False, tag="market_tick", tag_field="type"):
    """The message of `Channels.market`."""

    symbol: Any
    ticker: Any
    price: Any
    volume: Any
    timestamp: Any
    source: Any


class _TickData(msgspec.Struct, gc=False, tag="tick_data", tag_field="event_type"):
    """The message of `Channels.per_ticker` and `Channels.all_ticks`."""

    ticker: Any
    price: Any
    volume: Any
    timestamp: Any
    source: Any
    market_status: Any


def _raw_of(tick: Any, price: Any, volume: Any, timestamp: Any) -> _Raw:
    ticker, source = tick.ticker, tick.source
    # Most ticks are quotes and trades: to ask a quote for what it never has takes a fifth of the packing.
    if type(tick) is Quote:
        no = None  # not ``*_NO_BAR``: a call with a star takes half as long again
        return _Raw(ticker, price, volume, timestamp, "Q", source, no, no, no, no, no, no, tick.bid, tick.ask)
    if type(tick) is Trade:
        return _Raw(ticker, price, volume, timestamp, "T", source)
    return _Raw(
        ticker,
        price,
        volume,
        timestamp,
        tick.event_type,
        source,
        tick.tick_open,
        tick.tick_high,
        tick.tick_low,
        tick.tick_close,
        tick.tick_volume,
        tick.tick_vwap,
        tick.bid,
        tick.ask,
    )


class _Heads(dict[int, bytes]):
    """Gives a command up to its message, by the message's length in bytes."""

    def __init__(self, channel: str) -> None:
        self.channel = channel

    def __missing__(self, size_bytes: int) -> bytes:
        head = _head(self.channel, size_bytes)
        if size_bytes < CACHED_LENGTHS:
            self[size_bytes] = head
        return head


def _head(channel: str, size_bytes: int) -> bytes:
    name = channel.encode()
    return b"*3\r\n$7\r\nPUBLISH\r\n$%d\r\n%b\r\n$%d" % (len(name), name, size_bytes)
