"""Ticks: what the feed sends, typed.

The classes below are decoded in C straight from a frame (`pipeline.massive.decode`). Each answers the whole
attribute interface of `pipeline.tick_data.TickData`; what has no meaning for it is None. Field names and
units on the wire are documented at https://massive.com/docs/websocket; numbers come as int or float and stay
as they came. Fields stand in the order of the wire, in which msgspec finds them a fifth faster.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec
from msgspec import field

from .errors import TickRejected
from .tick_data import TICK_DATA_FIELDS, Number, TickData

__all__ = [
    "Aggregate",
    "FairMarketValue",
    "IndexValue",
    "LaunchpadValue",
    "LimitUpLimitDown",
    "MinuteAggregate",
    "NetOrderImbalance",
    "Quote",
    "SecondAggregate",
    "Tick",
    "TickBatch",
    "Trade",
]


class Tick(msgspec.Struct, gc=False, kw_only=True, tag_field="ev"):
    """Is what all ticks are.

    Args:
        received_ns: wall clock of the read that brought it, ns since the epoch; set by `latency_stamp`.
        source: "massive", or "synthetic" for what our own generator made.
    """

    event_type: ClassVar[str] = ""
    is_bar: ClassVar[bool] = False
    """Whether it sums up a window of time, so that its time is the window's end."""

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

    def to_tick_data(self) -> TickData:
        """Return the `TickData` of it.

        Raises:
            TickRejected: it has no positive price, no ticker, or no time; ``reason`` says which.
        """
        price = self.price
        if price is None:
            raise TickRejected("no_price", f"{self.event_type} of {self.ticker!r} has no price")
        try:
            return TickData(**{name: getattr(self, name) for name in TICK_DATA_FIELDS})
        except ValueError as error:
            raise TickRejected("invalid", str(error)) from None


class Trade(Tick, tag="T", kw_only=True):
    """A trade. ``size`` is 0 or absent for less than one share; ``decimal_size`` then says how much."""

    event_type: ClassVar[str] = "T"

    ticker: str = field(name="sym")
    exchange: int | None = field(name="x", default=None)
    trade_id: str | int | None = field(name="i", default=None)
    tape: int | None = field(name="z", default=None)
    price: Number = field(name="p")
    size: Number | None = field(name="s", default=None)
    decimal_size: str | None = field(name="ds", default=None)
    conditions: list[int] | int | None = field(name="c", default=None)
    event_ms: Number = field(name="t")
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


class Quote(Tick, tag="Q", kw_only=True):
    """The best bid and offer. One side may be missing or 0."""

    event_type: ClassVar[str] = "Q"

    ticker: str = field(name="sym")
    bid_exchange: int | None = field(name="bx", default=None)
    bid: Number | None = field(name="bp", default=None)
    bid_size: Number | None = field(name="bs", default=None)
    ask_exchange: int | None = field(name="ax", default=None)
    ask: Number | None = field(name="ap", default=None)
    ask_size: Number | None = field(name="as", default=None)
    conditions: list[int] | int | None = field(name="c", default=None)
    indicators: list[int] | None = field(name="i", default=None)
    event_ms: Number = field(name="t")
    participant_ms: Number | None = field(name="pt", default=None)
    sequence: int | None = field(name="q", default=None)
    tape: int | None = field(name="z", default=None)

    @property
    def price(self) -> Number | None:
        """The midpoint, or the one side that is there, USD."""
        if self.bid and self.ask:
            return (self.bid + self.ask) / 2
        return self.bid or self.ask or None


class Aggregate(Tick, kw_only=True):
    """A bar; ``event_ms`` is its end."""

    is_bar: ClassVar[bool] = True

    ticker: str = field(name="sym")
    tick_volume: Number | None = field(name="v", default=None)
    accumulated_volume: Number | None = field(name="av", default=None)
    open_price: Number | None = field(name="op", default=None)
    tick_vwap: Number | None = field(name="vw", default=None)
    tick_open: Number | None = field(name="o", default=None)
    tick_close: Number = field(name="c")
    tick_high: Number | None = field(name="h", default=None)
    tick_low: Number | None = field(name="l", default=None)
    vwap: Number | None = field(name="a", default=None)
    tick_trade_size: Number | None = field(name="z", default=None)
    start_ms: Number | None = field(name="s", default=None)
    event_ms: Number = field(name="e")
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


class TickBatch(msgspec.Struct, gc=False, kw_only=True):
    """Holds what one read of one connection brought; see `operators.batch.Batch` for its account."""

    connection: str
    received_ns: int
    ticks: list[Any]
    received: int = 0
    deduplicated: int = 0
    rejected: int = 0
    lost: int = 0
    decoded_ns: int = 0

    def with_ticks(self, ticks: Sequence[Any]) -> "TickBatch":
        """Return a batch of the same read with these ticks only, balanced."""
        kept = list(ticks)
        return TickBatch(
            connection=self.connection,
            received_ns=self.received_ns,
            decoded_ns=self.decoded_ns,
            ticks=kept,
            received=len(kept),
        )
