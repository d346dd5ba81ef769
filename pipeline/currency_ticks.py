"""Ticks of forex and crypto: each is of a pair, which is its ``ticker`` as it is written on the wire."""

from typing import Annotated, ClassVar, Final

from msgspec import Meta, field

from .tick import Aggregate, Codes, Text, Tick, TwoSided
from .tick_data import Number

__all__ = [
    "CryptoBook",
    "CryptoMinuteAggregate",
    "CryptoQuote",
    "CryptoSecondAggregate",
    "CryptoTrade",
    "CurrencyMinuteAggregate",
    "CurrencyQuote",
    "CurrencySecondAggregate",
]

SECOND_MS: Final = 1000
MINUTE_MS: Final = 60_000
Levels = Annotated[list[tuple[Number, Number]], Meta(max_length=1000)]
"""Prices with what is bid or offered there."""


class CurrencyQuote(TwoSided, tag="C", kw_only=True):
    """A quote of a currency pair. The exchange comes as a number or as its text."""

    event_type: ClassVar[str] = "C"

    ticker: Text = field(name="p")
    exchange: int | Text | None = field(name="x", default=None)
    ask: Number | None = field(name="a", default=None)
    bid: Number | None = field(name="b", default=None)
    event_ms: Number = field(name="t")

    def __post_init__(self) -> None:
        exchange = self.exchange
        if type(exchange) is str and exchange.isascii() and exchange.isdecimal() and len(exchange) < 19:
            self.exchange = int(exchange)


class _CurrencyAggregate(Aggregate, kw_only=True):
    """A bar of a pair. Where it does not say when its window ends, its kind says how long that is."""

    window_ms: ClassVar[int]

    ticker: Text = field(name="pair")
    tick_volume: Number | None = field(name="v", default=None)
    tick_vwap: Number | None = field(name="vw", default=None)
    tick_trade_size: Number | None = field(name="z", default=None)
    tick_open: Number | None = field(name="o", default=None)
    tick_close: Number = field(name="c")
    tick_high: Number | None = field(name="h", default=None)
    tick_low: Number | None = field(name="l", default=None)
    start_ms: Number = field(name="s")
    end_ms: Number | None = field(name="e", default=None)

    @property
    def event_ms(self) -> Number:
        """The end of the window, ms since the epoch."""
        return self.start_ms + self.window_ms if self.end_ms is None else self.end_ms


class CurrencyMinuteAggregate(_CurrencyAggregate, tag="CA"):
    """A bar of one minute of a currency pair; what it adds up are quotes."""

    event_type: ClassVar[str] = "CA"
    window_ms: ClassVar[int] = MINUTE_MS


class CurrencySecondAggregate(_CurrencyAggregate, tag="CAS"):
    """A bar of one second of a currency pair; what it adds up are quotes."""

    event_type: ClassVar[str] = "CAS"
    window_ms: ClassVar[int] = SECOND_MS


class CryptoTrade(Tick, tag="XT", kw_only=True):
    """A trade of a crypto pair; ``feed_received_ms`` is when Massive had it.

    Its id, where it has one, comes as a number or as a text, and is a text, as that of any trade.
    """

    event_type: ClassVar[str] = "XT"

    ticker: Text = field(name="pair")
    price: Number = field(name="p")
    event_ms: Number = field(name="t")
    size: Number | None = field(name="s", default=None)
    conditions: Codes | None = field(name="c", default=None)
    trade_id: Text | int | None = field(name="i", default=None)
    exchange: int | None = field(name="x", default=None)
    feed_received_ms: Number | None = field(name="r", default=None)

    def __post_init__(self) -> None:
        if type(self.trade_id) is int:
            self.trade_id = str(self.trade_id)

    @property
    def volume(self) -> Number:
        """Of the pair's first currency."""
        return self.size or 0


class CryptoQuote(TwoSided, tag="XQ", kw_only=True):
    """A quote of a crypto pair at one exchange; ``feed_received_ms`` is when Massive had it."""

    event_type: ClassVar[str] = "XQ"

    ticker: Text = field(name="pair")
    bid: Number | None = field(name="bp", default=None)
    bid_size: Number | None = field(name="bs", default=None)
    ask: Number | None = field(name="ap", default=None)
    ask_size: Number | None = field(name="as", default=None)
    event_ms: Number = field(name="t")
    exchange: int | None = field(name="x", default=None)
    feed_received_ms: Number | None = field(name="r", default=None)


class CryptoBook(TwoSided, tag="XL2", kw_only=True):
    """The order book of a crypto pair at one exchange, best prices first: (price, size) each.

    Massive ended it in 2024; recordings have it.
    """

    event_type: ClassVar[str] = "XL2"

    ticker: Text = field(name="pair")
    event_ms: Number = field(name="t")
    feed_received_ms: Number | None = field(name="r", default=None)
    exchange: int | None = field(name="x", default=None)
    bids: Levels | None = field(name="b", default=None)
    asks: Levels | None = field(name="a", default=None)

    @property
    def bid(self) -> Number | None:
        """Best bid."""
        return self.bids[0][0] if self.bids else None

    @property
    def ask(self) -> Number | None:
        """Best ask."""
        return self.asks[0][0] if self.asks else None


class CryptoMinuteAggregate(_CurrencyAggregate, tag="XA"):
    """A bar of one minute of a crypto pair."""

    event_type: ClassVar[str] = "XA"
    window_ms: ClassVar[int] = MINUTE_MS


class CryptoSecondAggregate(_CurrencyAggregate, tag="XAS"):
    """A bar of one second of a crypto pair."""

    event_type: ClassVar[str] = "XAS"
    window_ms: ClassVar[int] = SECOND_MS
