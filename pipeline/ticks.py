"""Ticks: what the feed sends, typed, and `TickData`, what TickStock takes.

The classes below are decoded in C straight from a frame (`pipeline.massive.decode`). Each answers the whole
attribute interface of `TickData`; what has no meaning for it is None. Field names and units on the wire are
documented at https://massive.com/docs/websocket; numbers come as int or float and stay as they came.
"""

import math
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Any, ClassVar, TypeAlias

import msgspec
from msgspec import field

from .errors import TickRejected

__all__ = [
    "IDENTITY",
    "Aggregate",
    "FairMarketValue",
    "IndexValue",
    "LaunchpadValue",
    "LimitUpLimitDown",
    "MinuteAggregate",
    "NetOrderImbalance",
    "Number",
    "Quote",
    "SecondAggregate",
    "Tick",
    "TickBatch",
    "TickData",
    "Trade",
]

Number: TypeAlias = int | float


class Tick(msgspec.Struct, gc=False, kw_only=True, tag_field="ev"):
    """Is what all ticks are.

    Args:
        received_ns: wall clock of the read that brought it, ns since the epoch; set by `latency_stamp`.
        source: "massive", or "synthetic" for what our own generator made.
    """

    event_type: ClassVar[str] = ""

    ticker: str
    received_ns: int = 0
    source: str = "massive"

    @property
    def event_ms(self) -> Number:
        """When it happened by the feed, ms since the epoch."""
        raise NotImplementedError

    @property
    def timestamp(self) -> float:
        """When it happened by the feed, float seconds since the epoch."""
        return self.event_ms / 1000

    @property
    def price(self) -> Number | None:
        """USD, or None where there is none."""
        return None

    @property
    def volume(self) -> Number | None:
        """Shares or contracts."""
        return 0

    @property
    def bid(self) -> Number | None:
        """Best bid, USD."""
        return None

    @property
    def ask(self) -> Number | None:
        """Best ask, USD."""
        return None

    @property
    def market_status(self) -> str | None:
        """Never on this feed."""
        return None

    @property
    def tick_open(self) -> Number | None:
        """Open of the window, USD."""
        return None

    @property
    def tick_high(self) -> Number | None:
        """High of the window, USD."""
        return None

    @property
    def tick_low(self) -> Number | None:
        """Low of the window, USD."""
        return None

    @property
    def tick_close(self) -> Number | None:
        """Close of the window, USD."""
        return None

    @property
    def day_high(self) -> Number | None:
        """Never on this feed."""
        return None

    @property
    def day_low(self) -> Number | None:
        """Never on this feed."""
        return None

    @property
    def open_price(self) -> Number | None:
        """Official opening price of the day, USD."""
        return None

    @property
    def market_open_price(self) -> Number | None:
        """The same as `open_price`, by TickStock's older name."""
        return self.open_price

    @property
    def previous_close(self) -> Number | None:
        """Never on this feed."""
        return None

    @property
    def tick_volume(self) -> Number | None:
        """Volume of the window."""
        return None

    @property
    def tick_trade_size(self) -> Number | None:
        """Mean trade size of the window."""
        return None

    @property
    def accumulated_volume(self) -> Number | None:
        """Volume of the day."""
        return None

    @property
    def tick_vwap(self) -> Number | None:
        """VWAP of the window, USD."""
        return None

    @property
    def vwap(self) -> Number | None:
        """VWAP of the day, USD."""
        return None

    @property
    def tick_start_timestamp(self) -> float | None:
        """Start of the window, float seconds."""
        return None

    @property
    def tick_end_timestamp(self) -> float | None:
        """End of the window, float seconds."""
        return None

    @property
    def processed_at(self) -> float | None:
        """When we received it, float seconds; None before the stamp."""
        return self.received_ns / 1e9 if self.received_ns else None

    @property
    def effective_volume(self) -> Number | None:
        """The window's volume where there is a window, else the tick's."""
        return self.volume

    @property
    def effective_vwap(self) -> Number | None:
        """The window's VWAP where there is one, else the day's."""
        return self.tick_vwap if self.tick_vwap is not None else self.vwap

    def to_tick_data(self) -> "TickData":
        """Return the `TickData` of it.

        Raises:
            TickRejected: it has no positive price, no ticker, or no time; ``reason`` says which.
        """
        price = self.price
        if price is None:
            raise TickRejected("no_price", f"{self.event_type} of {self.ticker!r} has no price")
        try:
            return TickData(**{name: getattr(self, name) for name in _TICK_DATA_FIELDS})
        except ValueError as error:
            raise TickRejected("invalid", str(error)) from None


class Trade(Tick, tag="T"):
    """A trade. ``size`` is 0 or absent for less than one share; ``decimal_size`` then says how much."""

    event_type: ClassVar[str] = "T"

    ticker: str = field(name="sym")
    price: Number = field(name="p")
    event_ms: Number = field(name="t")
    size: Number | None = field(name="s", default=None)
    decimal_size: str | None = field(name="ds", default=None)
    exchange: int | None = field(name="x", default=None)
    trade_id: str | int | None = field(name="i", default=None)
    tape: int | None = field(name="z", default=None)
    conditions: list[int] | int | None = field(name="c", default=None)
    participant_ms: Number | None = field(name="pt", default=None)
    sequence: int | None = field(name="q", default=None)
    trf_id: int | None = field(name="trfi", default=None)
    trf_ms: Number | None = field(name="trft", default=None)

    @property
    def volume(self) -> Number:
        """Shares; a fraction where less than one changed hands."""
        if self.size:
            return self.size
        try:
            return float(self.decimal_size or 0)
        except ValueError:
            return 0


class Quote(Tick, tag="Q"):
    """The best bid and offer. One side may be missing or 0."""

    event_type: ClassVar[str] = "Q"

    ticker: str = field(name="sym")
    event_ms: Number = field(name="t")
    bid: Number | None = field(name="bp", default=None)
    bid_size: Number | None = field(name="bs", default=None)
    bid_exchange: int | None = field(name="bx", default=None)
    ask: Number | None = field(name="ap", default=None)
    ask_size: Number | None = field(name="as", default=None)
    ask_exchange: int | None = field(name="ax", default=None)
    conditions: list[int] | int | None = field(name="c", default=None)
    indicators: list[int] | None = field(name="i", default=None)
    participant_ms: Number | None = field(name="pt", default=None)
    sequence: int | None = field(name="q", default=None)
    tape: int | None = field(name="z", default=None)

    @property
    def price(self) -> Number | None:
        """The midpoint, or the one side that is there, USD."""
        if self.bid and self.ask:
            return (self.bid + self.ask) / 2
        return self.bid or self.ask or None


class Aggregate(Tick):
    """A bar; ``event_ms`` is its end."""

    ticker: str = field(name="sym")
    event_ms: Number = field(name="e")
    tick_close: Number = field(name="c")
    tick_open: Number | None = field(name="o", default=None)
    tick_high: Number | None = field(name="h", default=None)
    tick_low: Number | None = field(name="l", default=None)
    tick_volume: Number | None = field(name="v", default=None)
    accumulated_volume: Number | None = field(name="av", default=None)
    open_price: Number | None = field(name="op", default=None)
    tick_vwap: Number | None = field(name="vw", default=None)
    vwap: Number | None = field(name="a", default=None)
    tick_trade_size: Number | None = field(name="z", default=None)
    start_ms: Number | None = field(name="s", default=None)
    otc: bool | None = None
    decimal_volume: str | None = field(name="dv", default=None)
    decimal_accumulated_volume: str | None = field(name="dav", default=None)

    @property
    def price(self) -> Number:
        """The close, USD."""
        return self.tick_close

    @property
    def volume(self) -> Number | None:
        """Volume of the window."""
        return self.tick_volume or 0

    @property
    def tick_start_timestamp(self) -> float | None:
        """Start of the window, float seconds."""
        return None if self.start_ms is None else self.start_ms / 1000

    @property
    def tick_end_timestamp(self) -> float | None:
        """End of the window, float seconds."""
        return self.event_ms / 1000


class SecondAggregate(Aggregate, tag="A"):
    """A bar of one second."""

    event_type: ClassVar[str] = "A"


class MinuteAggregate(Aggregate, tag="AM"):
    """A bar of one minute."""

    event_type: ClassVar[str] = "AM"


class _OddlyTimed(Tick):
    """Has a time in ms, µs or ns, by the source: the magnitude tells."""

    def __post_init__(self) -> None:
        self.event_ms: Number = _to_ms(self.event_ms)


class LimitUpLimitDown(_OddlyTimed, tag="LULD"):
    """The price band of a stock."""

    event_type: ClassVar[str] = "LULD"

    ticker: str = field(name="T")
    event_ms: Number = field(name="t")
    high_limit: Number | None = field(name="h", default=None)
    low_limit: Number | None = field(name="l", default=None)
    indicators: list[int] | None = field(name="i", default=None)
    tape: int | None = field(name="z", default=None)
    sequence: int | None = field(name="q", default=None)


class NetOrderImbalance(_OddlyTimed, tag="NOI"):
    """An imbalance before an auction; ``price`` is the clearing price."""

    event_type: ClassVar[str] = "NOI"

    ticker: str = field(name="T")
    event_ms: Number = field(name="t")
    auction_time: Number | None = field(name="at", default=None)
    auction_type: str | None = field(name="a", default=None)
    symbol_sequence: int | None = field(name="i", default=None)
    exchange: int | None = field(name="x", default=None)
    imbalance: Number | None = field(name="o", default=None)
    paired: Number | None = field(name="p", default=None)
    price: Number | None = field(name="b", default=None)


class FairMarketValue(_OddlyTimed, tag="FMV"):
    """A fair market value, on business plans."""

    event_type: ClassVar[str] = "FMV"

    ticker: str = field(name="sym")
    event_ms: Number = field(name="t")
    price: Number = field(name="fmv")


class LaunchpadValue(_OddlyTimed, tag="LV"):
    """A value on the launchpad plan."""

    event_type: ClassVar[str] = "LV"

    ticker: str = field(name="sym")
    event_ms: Number = field(name="t")
    price: Number = field(name="val")


class IndexValue(_OddlyTimed, tag="V"):
    """The value of an index."""

    event_type: ClassVar[str] = "V"

    ticker: str = field(name="T")
    event_ms: Number = field(name="t")
    price: Number = field(name="val")


def _to_ms(moment: Number) -> Number:
    if moment >= 1e17:
        return moment / 1e6
    return moment / 1e3 if moment >= 1e14 else moment


_BAR_CONTENT = attrgetter(
    *(name for name in SecondAggregate.__struct_fields__ if name not in {"received_ns", "source"})
)
_TRADE_KEY = attrgetter("ticker", "exchange", "trf_id", "trade_id")
_QUOTE_KEY = attrgetter("ticker", "sequence")


def _trade_identity(tick: Trade) -> Hashable | None:
    return None if tick.trade_id is None else _TRADE_KEY(tick)


def _quote_identity(tick: Quote) -> Hashable | None:
    return None if tick.sequence is None else _QUOTE_KEY(tick)


def _second_identity(tick: SecondAggregate) -> Hashable:
    return _BAR_CONTENT(tick)


def _minute_identity(tick: MinuteAggregate) -> Hashable:
    return ("AM", *_BAR_CONTENT(tick))


IDENTITY: dict[type, Callable[[Any], Hashable | None]] = {
    Trade: _trade_identity,
    Quote: _quote_identity,
    SecondAggregate: _second_identity,
    MinuteAggregate: _minute_identity,
}
"""What tells two ticks of a type apart; None, and every type not named, is never a duplicate.

A sequence number alone is no identity of a trade: it is seen repeated and going backwards. A bar is its
whole content: the same window with other numbers is a revision and passes.
"""


class TickBatch(msgspec.Struct, gc=False, kw_only=True):
    """Holds what one read of one connection brought; see `operators.batch.Batch` for its account."""

    connection: str
    received_ns: int
    ticks: list[Any]
    received: int = 0
    deduplicated: int = 0
    rejected: int = 0
    lost: int = 0

    def with_ticks(self, ticks: Sequence[Any]) -> "TickBatch":
        """Return a batch of the same read with these ticks only, balanced."""
        kept = list(ticks)
        return TickBatch(
            connection=self.connection, received_ns=self.received_ns, ticks=kept, received=len(kept)
        )


@dataclass(slots=True)
class TickData:
    """Is the general tick that TickStock works with.

    Args:
        ticker: not empty.
        price: USD, above 0.
        volume: shares, 0 or more.
        timestamp: float seconds since the epoch, above 0.

    Raises:
        ValueError: one of the four is not as said; the message names it and what came.
    """

    ticker: str
    price: Number
    volume: Number
    timestamp: Number
    source: str | None = None
    event_type: str | None = None
    bid: Number | None = None
    ask: Number | None = None
    market_status: str | None = None
    tick_open: Number | None = None
    tick_high: Number | None = None
    tick_low: Number | None = None
    tick_close: Number | None = None
    day_high: Number | None = None
    day_low: Number | None = None
    open_price: Number | None = None
    market_open_price: Number | None = None
    previous_close: Number | None = None
    tick_volume: Number | None = None
    tick_trade_size: Number | None = None
    accumulated_volume: Number | None = None
    tick_vwap: Number | None = None
    vwap: Number | None = None
    tick_start_timestamp: float | None = None
    tick_end_timestamp: float | None = None
    processed_at: float | None = None
    effective_volume: Number | None = None
    effective_vwap: Number | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.ticker, str) or not self.ticker.strip():
            raise ValueError(f"ticker must be a non-empty string, not {self.ticker!r}")
        _check_number("price", self.price, above_zero=True)
        _check_number("volume", self.volume, above_zero=False)
        _check_number("timestamp", self.timestamp, above_zero=True)
        if self.processed_at is None:
            self.processed_at = time.time()

    def to_dict(self) -> dict[str, Any]:
        """Return all fields by name."""
        return {name: getattr(self, name) for name in _TICK_DATA_FIELDS}


_TICK_DATA_FIELDS = tuple(f.name for f in fields(TickData))


def _check_number(name: str, value: object, *, above_zero: bool) -> None:
    good = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not good or value < 0 or (above_zero and value == 0):  # type: ignore[operator]  # a number by then
        bound = "above 0" if above_zero else "of 0 or more"
        raise ValueError(f"{name} must be a finite number {bound}, not {value!r}")
