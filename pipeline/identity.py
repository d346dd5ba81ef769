"""What tells two ticks apart, and what one tick makes of an older one: facts of the feed."""

from collections.abc import Hashable, Sequence
from itertools import count
from operator import attrgetter
from typing import Any, Final

from .ticks import Aggregate, Quote, SecondAggregate, Trade

__all__ = ["Identities", "conflation_key"]

SEQUENCES: Final = 0x1_9E37_79B9_7F4A_7C15
"""Distance of the numbers of two tickers: above 2**64, so that they never meet; and odd enough that Python's
hashes of them, remainders by 2**61 - 1, do not crowd: those of multiples of 2**64 would."""
TICKERS_KEPT: Final = 1_000_000

_BAR_CONTENT = attrgetter(
    *(name for name in SecondAggregate.__struct_fields__ if name not in {"received_ns", "source"})
)
_TRADE_KEY = attrgetter("ticker", "exchange", "trf_id", "trade_id")


class Identities:
    """Tells the identities of ticks, for `dedupe`; one for each stream.

    - A trade is its ticker, exchange, reporting facility and id. Its sequence number is none: it is seen
      repeated and going backwards.
    - A quote is its ticker and sequence number, here as one int: cheaper to make, to hash and to keep than a
      tuple.
    - A bar is its whole content: the same window with other numbers is a revision and passes.
    - What lacks its id or sequence number, and every other type, has no identity and always passes.
    """

    def __init__(self) -> None:
        self._starts = _Starts()

    def __call__(self, ticks: Sequence[Any]) -> list[Hashable | None]:
        """Return the identity of each tick."""
        starts = self._starts
        return [
            (None if (sequence := tick.sequence) is None else starts[tick.ticker] + sequence)
            if (kind := type(tick)) is Quote
            else (None if tick.trade_id is None else _TRADE_KEY(tick))
            if kind is Trade
            else ((tick.event_type, *_BAR_CONTENT(tick)) if isinstance(tick, Aggregate) else None)
            for tick in ticks
        ]


class _Starts(dict[str, int]):
    """Gives each ticker a number to count its sequences from.

    Forgotten are all at once, if somebody sends a million tickers; the numbers go on, so that no old
    identity meets a new one.
    """

    def __init__(self) -> None:
        super().__init__()
        self._numbers = count(1)

    def __missing__(self, ticker: str) -> int:
        if len(self) >= TICKERS_KEPT:
            self.clear()
        start = self[ticker] = next(self._numbers) * SEQUENCES
        return start


def conflation_key(tick: Any) -> Hashable | None:
    """Return what a newer tick replaces an older one by: its kind and ticker; None for a trade, for ever."""
    kind = type(tick)
    return None if kind is Trade else (kind, tick.ticker)
