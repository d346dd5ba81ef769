"""What goes to Redis: TickStock's messages, packed into PUBLISH commands a batch at a time. Pure.

The JSON is the compact form in UTF-8, with the keys in the order in which TickStock's ``json.dumps`` writes
them: ``json.loads`` gives the same values, an int as int and a float as float. (Compact because it is a
tenth shorter, written by msgspec because that takes a tenth of the time.) Where ``json.dumps`` would write
NaN, which is no JSON, stands null.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import msgspec

from pipeline.ticks import Quote, Trade

__all__ = ["Channels", "Packer", "Parcel"]

CACHED_LENGTHS: Final = 4096
"""Messages shorter than this, bytes, find their header ready-made."""

_NO_BAR: Final = (None,) * 6
_encode: Final = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True, kw_only=True)
class Channels:
    """Names the channels; an empty name switches one off.

    Args:
        raw: for TickStock's pipeline: every field it takes.
        market: for TickStock's front end: the few fields it takes.
        per_ticker: what stands before the ticker: ``tickstock.ticks.`` gives ``tickstock.ticks.AAPL``.
        all_ticks: the messages of `per_ticker`, of all tickers.

    Raises:
        ValueError: all are switched off.
    """

    raw: str = "tickstock.data.raw"
    market: str = "tickstock:market:ticks"
    per_ticker: str = ""
    all_ticks: str = ""

    def __post_init__(self) -> None:
        if not self.names:
            raise ValueError("channels must have one name at least, or there is nothing to publish")

    @property
    def names(self) -> tuple[str, ...]:
        """Return the channels that are on, in the order in which a tick goes to them."""
        per_ticker = self.per_ticker and f"{self.per_ticker}*"
        return tuple(name for name in (self.raw, self.market, per_ticker, self.all_ticks) if name)


class Parcel(msgspec.Struct, gc=False):
    """Holds messages of ticks of one connection as commands, to be sent, and to be sent again.

    Args:
        connection: the id of the connection that brought the ticks.
        numbers: one for each message, counted by the packer: with n channels on, the messages of a tick are
            n·i … n·i + n - 1, in the order of `Channels.names`.
        parts: two for each message: the command up to the message, and the message, without the CRLF between.
        doubtful: how many of the first messages went out before, and nobody knows whether they arrived.
    """

    connection: str
    numbers: Sequence[int]
    parts: list[bytes]
    doubtful: int = 0

    def pack(self) -> bytes:
        """Return the commands as they go over the wire: https://valkey.io/topics/protocol."""
        return b"\r\n".join([*self.parts, b""])

    def split(self, at: int) -> tuple[Self, Self]:
        """Return the first ``at`` messages and the others."""
        head = type(self)(self.connection, self.numbers[:at], self.parts[: 2 * at], min(at, self.doubtful))
        tail = type(self)(
            self.connection, self.numbers[at:], self.parts[2 * at :], max(0, self.doubtful - at)
        )
        return head, tail

    def pick(self, places: Sequence[int]) -> Self:
        """Return the messages at these places."""
        parts = [part for place in places for part in self.parts[2 * place : 2 * place + 2]]
        return type(self)(self.connection, [self.numbers[place] for place in places], parts)

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
        self.per_tick: Final = len(channels.names)
        self._raw = _Heads(channels.raw)
        self._market = _Heads(channels.market)
        self._per_ticker = channels.per_ticker
        self._all_ticks = _Heads(channels.all_ticks)
        self._next_number = 0

    def pack(self, connection: str, ticks: Sequence[Any]) -> tuple[Parcel, Mapping[str, int]]:
        """Return the ticks as a parcel, and how many are not in it by reason.

        A tick is left out whole: ``no_price`` (a quote without a side, a price band), or ``unwritable`` (what
        a caller made with values that are no JSON). Runs on the sink's thread, for 2 µs a tick.
        """
        raw, market, per_ticker, all_ticks = self._raw, self._market, self._per_ticker, self._all_ticks
        rejected: Counter[str] = Counter()
        parts: list[bytes] = []
        for tick in ticks:
            complete = len(parts)
            try:
                price = tick.price
                if price is None:
                    rejected["no_price"] += 1
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
                del parts[complete:]
        first = self._next_number
        self._next_number += len(parts) // 2
        return Parcel(connection, range(first, self._next_number), parts), rejected


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
        return _Raw(ticker, price, volume, timestamp, "Q", source, *_NO_BAR, tick.bid, tick.ask)
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
