"""Ticks: what the feed sends, typed.

The classes below are decoded in C straight from a frame (`pipeline.massive.decode`): here those of stocks,
options, futures and indices, in `pipeline.currency_ticks` those of forex and crypto. Each answers the whole
attribute interface of `pipeline.tick_data.TickData`; what has no meaning for it is None. Field names and
units on the wire are documented at https://massive.com/docs/websocket; numbers come as int or float and stay
as they came. Fields stand in the order of the wire, in which msgspec finds them a fifth faster; what only
one market has stands last.
"""

from typing import ClassVar, Final

from msgspec import field

from operators.batch import TickBatch

from .currency_ticks import (
    CryptoBook,
    CryptoMinuteAggregate,
    CryptoQuote,
    CryptoSecondAggregate,
    CryptoTrade,
    CurrencyMinuteAggregate,
    CurrencyQuote,
    CurrencySecondAggregate,
)
from .tick import LAST_NS, Aggregate, Codes, Text, Tick, TwoSided
from .tick_data import Number

__all__ = [
    "QUOTES",
    "TICK_KINDS",
    "TRADES",
    "Aggregate",
    "CryptoBook",
    "CryptoMinuteAggregate",
    "CryptoQuote",
    "CryptoSecondAggregate",
    "CryptoTrade",
    "CurrencyMinuteAggregate",
    "CurrencyQuote",
    "CurrencySecondAggregate",
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
    "TwoSided",
]


class Trade(Tick, tag="T", kw_only=True):
    """A trade. ``size`` is 0 or absent for less than one share; ``decimal_size`` then says how much."""

    event_type: ClassVar[str] = "T"

    ticker: Text = field(name="sym")
    exchange: int | None = field(name="x", default=None)
    trade_id: Text | None = field(name="i", default=None)
    tape: int | None = field(name="z", default=None)
    price: Number = field(name="p")
    size: Number | None = field(name="s", default=None)
    decimal_size: Text | None = field(name="ds", default=None)
    conditions: Codes | None = field(name="c", default=None)
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


class Quote(TwoSided, tag="Q", kw_only=True):
    """The best bid and offer. One side may be missing or 0; of futures each has its own time."""

    event_type: ClassVar[str] = "Q"

    ticker: Text = field(name="sym")
    bid_exchange: int | None = field(name="bx", default=None)
    bid: Number | None = field(name="bp", default=None)
    bid_size: Number | None = field(name="bs", default=None)
    ask_exchange: int | None = field(name="ax", default=None)
    ask: Number | None = field(name="ap", default=None)
    ask_size: Number | None = field(name="as", default=None)
    conditions: Codes | int | None = field(name="c", default=None)
    indicators: Codes | None = field(name="i", default=None)
    event_ms: Number = field(name="t")
    participant_ms: Number | None = field(name="pt", default=None)
    sequence: int | None = field(name="q", default=None)
    tape: int | None = field(name="z", default=None)
    bid_ms: Number | None = field(name="bt", default=None)
    ask_ms: Number | None = field(name="at", default=None)


class _SecurityAggregate(Aggregate, kw_only=True):
    """A bar of anything but currencies; an index has no volumes.

    ``decimal_volume`` comes from ``dv``: of stocks a text, the volume with its parts of a share; of futures a
    number, what was traded in US dollars, which is then the ``dollar_volume``, too.
    """

    is_bar: ClassVar[bool] = True

    ticker: Text = field(name="sym")
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
    decimal_volume: Text | int | float | None = field(name="dv", default=None)
    decimal_accumulated_volume: Text | None = field(name="dav", default=None)
    transactions: int | None = field(name="n", default=None)

    @property
    def dollar_volume(self) -> Number | None:
        """What was traded in the window, US dollars; futures only."""
        return None if isinstance(self.decimal_volume, str) else self.decimal_volume


class SecondAggregate(_SecurityAggregate, tag="A"):
    """A bar of one second."""

    event_type: ClassVar[str] = "A"


class MinuteAggregate(_SecurityAggregate, tag="AM"):
    """A bar of one minute."""

    event_type: ClassVar[str] = "AM"


MICROSECONDS_FROM: Final = 1e14
NANOSECONDS_FROM: Final = 1e17
"""Units of a time by its magnitude: as ms these would be the years 5138 and millions."""


class _OddlyTimed(Tick):
    """A tick whose time comes in ms, µs or ns, by the source: the magnitude tells.

    ``event_ns`` is exact, where a float of ms would be some hundred ns off.
    """

    event_ns: int = 0

    def __post_init__(self) -> None:
        moment: Number = self.event_ms
        if moment >= MICROSECONDS_FROM:
            self.event_ns = int(min(moment if moment >= NANOSECONDS_FROM else moment * 1000, LAST_NS))
            self.event_ms: Number = self.event_ns / 1_000_000
        elif not self.event_ns:  # else it is a copy, whose ms are rounded
            self.event_ns = super().event_ns


class LimitUpLimitDown(_OddlyTimed, tag="LULD", kw_only=True):
    """The price band of a stock."""

    event_type: ClassVar[str] = "LULD"

    ticker: Text = field(name="T")
    event_ms: Number = field(name="t")
    high_limit: Number | None = field(name="h", default=None)
    low_limit: Number | None = field(name="l", default=None)
    indicators: Codes | None = field(name="i", default=None)
    tape: int | None = field(name="z", default=None)
    sequence: int | None = field(name="q", default=None)


class NetOrderImbalance(_OddlyTimed, tag="NOI", kw_only=True):
    """An imbalance before an auction; ``price`` is the clearing price."""

    event_type: ClassVar[str] = "NOI"

    ticker: Text = field(name="T")
    event_ms: Number = field(name="t")
    auction_time: Number | None = field(name="at", default=None)
    auction_type: Text | None = field(name="a", default=None)
    symbol_sequence: int | None = field(name="i", default=None)
    exchange: int | None = field(name="x", default=None)
    imbalance: Number | None = field(name="o", default=None)
    paired: Number | None = field(name="p", default=None)
    price: Number | None = field(name="b", default=None)


class FairMarketValue(_OddlyTimed, tag="FMV", kw_only=True):
    """A fair market value, on business plans."""

    event_type: ClassVar[str] = "FMV"

    ticker: Text = field(name="sym")
    event_ms: Number = field(name="t")
    price: Number = field(name="fmv")


class LaunchpadValue(_OddlyTimed, tag="LV", kw_only=True):
    """A value on the launchpad plan."""

    event_type: ClassVar[str] = "LV"

    ticker: Text = field(name="sym")
    event_ms: Number = field(name="t")
    price: Number = field(name="val")


class IndexValue(_OddlyTimed, tag="V", kw_only=True):
    """The value of an index."""

    event_type: ClassVar[str] = "V"

    ticker: Text = field(name="T")
    event_ms: Number = field(name="t")
    price: Number = field(name="val")


TRADES: Final[frozenset[type[Tick]]] = frozenset({Trade, CryptoTrade})
"""The classes of trades: each happened once, and no newer one takes its place."""

QUOTES: Final[frozenset[type[Tick]]] = frozenset({Quote, CurrencyQuote, CryptoQuote})
"""The classes of quotes: under pressure they are given up first, since a newer one says it anew."""

TICK_KINDS: Final[tuple[type[Tick], ...]] = (
    *(Trade, Quote, SecondAggregate, MinuteAggregate, LimitUpLimitDown, NetOrderImbalance),
    *(FairMarketValue, LaunchpadValue, IndexValue),
    *(CurrencyQuote, CurrencyMinuteAggregate, CurrencySecondAggregate),
    *(CryptoTrade, CryptoQuote, CryptoBook, CryptoMinuteAggregate, CryptoSecondAggregate),
)
"""All classes of ticks; the ``event_type`` of each is its ``ev`` on the wire."""
