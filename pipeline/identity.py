"""What tells two ticks apart, and what one tick makes of an older one: facts of the feed."""

from collections.abc import Hashable, Iterator
from itertools import islice
from operator import attrgetter
from typing import Any, Final

from .ticks import TICK_KINDS, TRADES, Aggregate, Quote, Trade
from .tracks import Track, Tracks

__all__ = ["Seen", "conflation_key"]

_BAR_CONTENT: Final = {
    kind: attrgetter(*(name for name in kind.__struct_fields__ if name not in {"received_ns", "source"}))
    for kind in TICK_KINDS
    if issubclass(kind, Aggregate)
}

PACE: Final = 4
"""Within a window of ticks, so many times all tickers could forget."""


class Seen:
    """Remembers which ticks came, for `dedupe`, and notes of each ticker the last that passed.

    - A trade is its ticker, exchange, reporting facility and id. Its sequence number is none: it is seen
      repeated and going backwards.
    - A quote is its ticker and sequence number. Sequence numbers grow by ticker, so nearly every quote is
      known to be new by one comparison, and remembering it is an append; only a late one is searched for.
    - A bar is its whole content: the same window with other numbers is a revision and passes.
    - What lacks its id or sequence number, and every other type, has no identity and always passes.

    All is kept by ticker: measured, what is looked up then stays in the cache, which big sets of all
    identities do not. At least the last ``window`` ticks are remembered, and two or three times as many at
    most: each time so many have come, what was there already the time before is forgotten, a few tickers with
    each batch. All at once would stop the stream for 10 ms.

    Args:
        window: ticks to remember.
        tracks: where what is known of each ticker is kept.

    Raises:
        ValueError: ``window`` is below 1.
    """

    def __init__(self, window: int, tracks: Tracks) -> None:
        if window < 1:
            raise ValueError(f"window must be 1 or more ticks, not {window!r}")
        self._window = window
        self._count = 0
        self._tracks = tracks
        self._turning: Iterator[Track] | None = None
        """Those that have yet to forget."""
        self._others = _Generations()
        """Bars, and quotes that came late."""

    def __call__(self, ticks: list[Any]) -> list[Any]:  # noqa: C901, PLR0912  # the hot loop: calls cost
        """Return those that have not been seen, in their order; the same list if that is all of them."""
        tracks, others, quote, trade = self._tracks.by_ticker, self._others, Quote, Trade
        repeated: list[Any] = []
        for tick in ticks:
            kind = type(tick)
            if kind is quote:
                try:  # as below: where nearly all are of one class Python finds their ticker the faster
                    track = tracks[tick.ticker]
                except KeyError:
                    track = tracks[tick.ticker] = Track()
                sequence = tick.sequence
                if sequence is not None:
                    if sequence > track.newest:
                        track.newest = sequence
                        track.sequences.append(sequence)
                    elif track.has_quote(sequence) or not others.add((tick.ticker, sequence)):
                        repeated.append(tick)
                        continue
            else:
                try:
                    track = tracks[tick.ticker]
                except KeyError:
                    track = tracks[tick.ticker] = Track()
                if kind is trade:
                    trade_id = tick.trade_id
                    if trade_id is not None:
                        facility = tick.trf_id
                        venue = (tick.exchange, facility) if facility else tick.exchange
                        trades = track.trades
                        if trade_id not in trades:
                            trades[trade_id] = venue
                        elif trades[trade_id] == venue or (trade_id, venue) in trades:
                            repeated.append(tick)
                            continue
                        else:
                            track.trade_elsewhere(trade_id, venue)
                elif isinstance(tick, Aggregate) and not others.add(
                    (tick.event_type, *_BAR_CONTENT[kind](tick))
                ):
                    repeated.append(tick)
                    continue
            track.last = tick
        self._count += len(ticks)
        if self._count >= self._window:
            self._turn(len(ticks))
        if not repeated:
            return ticks
        copies = set(map(id, repeated))  # by identity: two equal trades may stand side by side
        return [tick for tick in ticks if id(tick) not in copies]

    def _turn(self, count: int) -> None:
        """Let some tickers forget; when all have, within a part of a window, it is counted anew."""
        tracks = self._tracks.by_ticker
        if self._turning is None:
            self._turning = iter(tuple(tracks.values()))
            self._others.turn()
        quota = 1 + PACE * count * len(tracks) // self._window
        turning = tuple(islice(self._turning, quota))
        for track in turning:
            track.turn()
        if len(turning) < quota:
            self._turning, self._count = None, 0
            self._tracks.forget_silent()


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


def conflation_key(tick: Any) -> Hashable | None:
    """Return what a newer tick replaces an older one by: its kind and ticker; None for a trade, for ever."""
    kind = type(tick)
    return None if kind in TRADES else (kind, tick.ticker)
