"""What all ticks share: the attribute interface of `pipeline.tick_data.TickData`."""

from typing import Annotated, ClassVar, Final

import msgspec

from .errors import TickRejected
from .tick_data import TICK_DATA_FIELDS, Number, TickData

__all__ = ["LAST_NS", "TEXT_MOST", "Aggregate", "Codes", "Text", "Tick", "TwoSided"]

LAST_NS: Final = 2**63 - 1
"""The last time that columns can hold."""


TEXT_MOST: Final = 64
"""Characters of a ticker, an id, a decimal number: the longest that is known, of an option, has 23."""
Text = Annotated[str, msgspec.Meta(max_length=TEXT_MOST)]
"""What a server writes has an end: the last tick of each ticker is kept, and each id for a while."""
Codes = Annotated[list[int], msgspec.Meta(max_length=64)]


class Tick(msgspec.Struct, gc=False, kw_only=True, tag_field="ev"):
    """The interface that all ticks share.

    Args:
        received_ns: wall clock of the read that brought it, ns since the epoch; set by `latency_stamp`.
        source: "massive", or "synthetic" for what our own generator made.
    """

    event_type: ClassVar[str] = ""
    is_bar: ClassVar[bool] = False
    """Whether it sums up a window of time, so that its time is the window's end."""

    ticker: Text
    received_ns: int = 0
    source: Text = "massive"

    @property
    def event_ms(self) -> Number:
        """When it happened by the feed, ms since the epoch."""
        raise NotImplementedError

    @property
    def event_ns(self) -> int:
        """When it happened by the feed, ns since the epoch, exact, within 63 bits: JSON can say 1e308 ms."""
        exact = self.event_ms * 1_000_000
        return max(0, min(exact, LAST_NS)) if type(exact) is int else round(max(0, min(exact, LAST_NS)))

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


class TwoSided(Tick):
    """The interface that all quotes share: a bid and an ask, of which one may be missing or 0."""

    @property
    def price(self) -> Number | None:
        """The midpoint, or the one side that is there."""
        if self.bid and self.ask:
            return (self.bid + self.ask) / 2
        return self.bid or self.ask or None


class Aggregate(Tick):
    """The interface that all bars share: what was traded in a window of time; ``event_ms`` is its end."""

    is_bar: ClassVar[bool] = True

    @property
    def start_ms(self) -> Number | None:
        """Start of the window, ms since the epoch."""
        return None

    @property
    def price(self) -> Number | None:
        """The close."""
        return self.tick_close

    @property
    def volume(self) -> Number:
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
