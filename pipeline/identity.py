"""What tells two ticks apart, and what one tick makes of an older one: facts of the feed."""

from collections.abc import Callable, Hashable
from operator import attrgetter
from typing import Any, Final

from .ticks import MinuteAggregate, Quote, SecondAggregate, Trade

__all__ = ["IDENTITY", "conflation_key"]

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


IDENTITY: Final[dict[type, Callable[[Any], Hashable | None]]] = {
    Trade: _trade_identity,
    Quote: _quote_identity,
    SecondAggregate: _second_identity,
    MinuteAggregate: _minute_identity,
}
"""What tells two ticks of a type apart; None, and every type not named, is never a duplicate.

A sequence number alone is no identity of a trade: it is seen repeated and going backwards. A bar is its
whole content: the same window with other numbers is a revision and passes.
"""


def conflation_key(tick: Any) -> Hashable | None:
    """Return what a newer tick replaces an older one by: its kind and ticker; None for a trade, for ever."""
    kind = type(tick)
    return None if kind is Trade else (kind, tick.ticker)
