"""What tells two ticks apart, and what one tick makes of an older one: facts of the feed."""

from bisect import bisect_left
from collections.abc import Hashable
from itertools import islice
from operator import attrgetter
from typing import Any, Final

from .ticks import Aggregate, Quote, SecondAggregate, Trade

__all__ = ["Seen", "conflation_key"]

_BAR_CONTENT: Final = attrgetter(
    *(name for name in SecondAggregate.__struct_fields__ if name not in {"received_ns", "source"})
)


class Seen:
    """Remembers which ticks came, for `dedupe`; one for each stream.

    - A trade is its ticker, exchange, reporting facility and id. Its sequence number is none: it is seen
      repeated and going backwards.
    - A quote is its ticker and sequence number. Sequence numbers grow by ticker, so nearly every quote is
      known to be new by one comparison, and remembering it is an append; only a late one is searched for.
    - A bar is its whole content: the same window with other numbers is a revision and passes.
    - What lacks its id or sequence number, and every other type, has no identity and always passes.

    All is kept by ticker: measured, what is looked up then stays in the cache, which big sets of all
    identities do not. At least the last ``window`` ticks are remembered and about twice as many at most: each
    time so many have come, what was there already the time before is forgotten.

    Args:
        window: ticks to remember.

    Raises:
        ValueError: ``window`` is below 1.
    """

    def __init__(self, window: int) -> None:
        if window < 1:
            raise ValueError(f"window must be 1 or more ticks, not {window!r}")
        self._window = window
        self._count = 0
        self._quotes = _Sequences()
        self._trades = _Ids()
        self._others = _Generations()
        """Bars, and quotes that came late."""

    def __call__(self, ticks: list[Any]) -> list[Any]:  # noqa: C901, PLR0912  # the hot loop: calls cost
        """Return those that have not been seen, in their order; the same list if that is all of them."""
        quotes, trades, others = self._quotes, self._trades, self._others
        repeated: list[Any] = []
        for tick in ticks:
            kind = type(tick)
            if kind is Quote:
                sequence = tick.sequence
                if sequence is None:
                    continue
                sequences = quotes[tick.ticker]
                if sequence > sequences[-1]:
                    sequences.append(sequence)
                elif quotes.has(tick.ticker, sequence) or not others.add((tick.ticker, sequence)):
                    repeated.append(tick)
            elif kind is Trade:
                trade_id = tick.trade_id
                if trade_id is None:
                    continue
                facility = tick.trf_id
                venue = (tick.exchange, facility) if facility else tick.exchange
                ids = trades[tick.ticker]
                if trade_id not in ids:
                    ids[trade_id] = venue
                elif ids[trade_id] == venue or (trade_id, venue) in ids:
                    repeated.append(tick)
                else:
                    ids[trade_id, venue] = venue
            elif isinstance(tick, Aggregate) and not others.add((tick.event_type, *_BAR_CONTENT(tick))):
                repeated.append(tick)
        self._count += len(ticks)
        if self._count >= self._window:
            self._count = 0
            for memory in (quotes, trades, others):
                memory.turn()
        if not repeated:
            return ticks
        copies = set(map(id, repeated))  # by identity: two equal trades may stand side by side
        return [tick for tick in ticks if id(tick) not in copies]


class _Sequences(dict[str, list[int]]):
    """Holds, by ticker, the sequence numbers that came, each above the one before it."""

    def __init__(self) -> None:
        super().__init__()
        self._marks: dict[str, int] = {}
        self._late: set[str] = set()
        """Tickers of which something came late since the last turn."""

    def __missing__(self, ticker: str) -> list[int]:
        sequences = self[ticker] = [_LOWEST]
        return sequences

    def has(self, ticker: str, sequence: int) -> bool:
        """Tell whether a number that is not above the ticker's last is among its numbers."""
        sequences = self[ticker]
        self._late.add(ticker)
        return sequences[bisect_left(sequences, sequence)] == sequence

    def turn(self) -> None:
        """Forget what was there at the turn before, but of a ticker that ticked since its last one."""
        for ticker, sequences in tuple(self.items()):
            mark = self._marks.get(ticker, 0)
            if mark < len(sequences) or ticker in self._late:
                del sequences[: max(mark - 1, 0)]
            else:
                del self[ticker]
        self._marks = {ticker: len(sequences) for ticker, sequences in self.items()}
        self._late.clear()


class _Ids(dict[str, dict[Hashable, Hashable]]):
    """Holds, by ticker, the ids of trades that came, and where each was made."""

    def __init__(self) -> None:
        super().__init__()
        self._marks: dict[str, int] = {}

    def __missing__(self, ticker: str) -> dict[Hashable, Hashable]:
        ids: dict[Hashable, Hashable] = {}
        self[ticker] = ids
        return ids

    def turn(self) -> None:
        """Forget what was there at the turn before; a dict holds its keys in the order of their coming."""
        for ticker, ids in tuple(self.items()):
            young = dict(islice(ids.items(), self._marks.get(ticker, 0), None))
            if young:
                self[ticker] = young
            else:
                del self[ticker]
        self._marks = {ticker: len(ids) for ticker, ids in self.items()}


class _Generations:
    """Holds identities in two generations; one that comes again is young again."""

    def __init__(self) -> None:
        self._younger: set[Hashable] = set()
        self._older: set[Hashable] = set()

    def add(self, identity: Hashable) -> bool:
        """Remember an identity; return whether it was not known."""
        known = identity in self._younger or identity in self._older
        self._younger.add(identity)
        return not known

    def turn(self) -> None:
        """Forget the older generation."""
        self._younger, self._older = set(), self._younger


_LOWEST: Final = -(2**63) - 1
"""Below every sequence number."""


def conflation_key(tick: Any) -> Hashable | None:
    """Return what a newer tick replaces an older one by: its kind and ticker; None for a trade, for ever."""
    kind = type(tick)
    return None if kind is Trade else (kind, tick.ticker)
