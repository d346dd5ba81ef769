"""What tells two ticks apart, and what one tick makes of an older one: facts of the feed."""

from collections.abc import Callable, Hashable, Iterator
from functools import cache
from itertools import islice
from operator import attrgetter
from typing import Any, Final

import msgspec

from .ticks import Quote, Tick, Trade
from .tracks import Track, Tracks

__all__ = ["Seen", "conflation_key"]

PACE: Final = 4
"""Within a window of ticks, so many times all tickers could forget."""
BESIDE_CONTENT: Final = frozenset({"ticker", "received_ns", "source"})
"""Fields that are no part of what a tick says: where it is remembered, and what we wrote on it."""
STATES: Final[dict[str, tuple[str, ...]]] = {
    **dict.fromkeys(("Q", "A", "AM", "LULD", "FMV", "LV", "V", "CA", "CAS", "XA", "XAS"), ()),
    **dict.fromkeys(("C", "XQ", "XL2"), ("exchange",)),
    "NOI": ("exchange", "auction_type", "auction_time"),
}
"""Event types of which a newer one makes an older one worthless, and what both share besides the ticker."""

_encode: Final = msgspec.msgpack.Encoder().encode


class Seen:
    """Remembers which ticks came, for `dedupe`, and notes of each ticker the last that passed.

    What tells a tick is seen by its shape, not by its connection, which may carry any market:

    - A trade with an id is its ticker, exchange, reporting facility and id, on its trading day. Its sequence
      number is none: it is seen repeated and going backwards.
    - A trade of an option (``O:…``) without an id is its exchange, sequence number, time, price and size; one
      without id and exchange, as futures are, the same without the exchange.
    - A quote with a sequence number is its ticker and that number, on its trading day. Sequence numbers grow
      by ticker, so nearly every quote is known to be new by one comparison, and remembering it is an append;
      only a late one is searched for.
    - Everything else is its whole content, which has its time: the same bar with other numbers is a revision
      and passes.
    - What has no identity always passes: a stock's trade without an id, an option's or future's without a
      sequence number. An empty id and a sequence number of 0 are none.

    The trading day is the date of the event time in New York (`trading_day`): ids and numbers begin anew
    with each, and what happened yesterday may come after midnight. Each ticker changes its day when its first
    tick of another day comes, so that no batch pays for all.

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
        self._turning: Iterator[None] | None = None
        """The steps of a turn that are left."""
        self._steps = 0
        """How many it had."""

    def __call__(self, ticks: list[Any]) -> list[Any]:
        """Return those that have not been seen, in their order; the same list if that is all of them."""
        repeated = self._remember(ticks)
        self._count += len(ticks)
        if self._count >= self._window:
            self._turn(len(ticks))
        if not repeated:
            return ticks
        copies = set(map(id, repeated))  # by identity: two equal trades may stand side by side
        return [tick for tick in ticks if id(tick) not in copies]

    def _remember(self, ticks: list[Any]) -> list[Any]:  # noqa: C901, PLR0912, PLR0915  # the hot loop: calls cost
        """Remember ticks; return those that have been seen."""
        tracks, quote, trade = self._tracks.by_ticker, Quote, Trade
        repeated: list[Any] = []
        for tick in ticks:
            kind = type(tick)
            if kind is quote:
                try:  # as below: where nearly all are of one class Python finds their ticker the faster
                    track = tracks[tick.ticker]
                except KeyError:
                    met = self._meet(tick, repeated)
                    if met is None:
                        continue
                    track = met
                sequence = tick.sequence
                if sequence:
                    if not track.begins_ms <= tick.event_ms < track.ends_ms:
                        track.enter(tick.event_ms)
                    if sequence > track.newest:
                        track.newest = sequence
                        track.sequences.append(sequence)
                    elif not track.add_late(sequence):
                        repeated.append(tick)
                        continue
                elif not track.add_content(_content(tick)):
                    repeated.append(tick)
                    continue
                track.quote = tick
            else:
                try:
                    track = tracks[tick.ticker]
                except KeyError:
                    met = self._meet(tick, repeated)
                    if met is None:
                        continue
                    track = met
                if kind is not trade:
                    if not track.add_content(_content(tick)):
                        repeated.append(tick)
                        continue
                    track.note_other(tick)
                elif trade_id := tick.trade_id:
                    if not track.begins_ms <= tick.event_ms < track.ends_ms:
                        track.enter(tick.event_ms)
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
                elif (its := _trade_without_id(tick)) and not track.add_content(its):
                    repeated.append(tick)
                    continue
                if kind is trade:
                    track.trade = tick
            track.last = tick
        return repeated

    def _meet(self, tick: Tick, repeated: list[Any]) -> Track | None:
        """Return the new track of a ticker that ticked once, with that tick in it.

        None for a first tick, and for a plain copy of it, which is put with those that are repeated.
        """
        first = self._tracks.only_tick_of(tick.ticker)
        if first is not None and _is_plain_copy(tick, first):
            repeated.append(tick)
            return None
        met = self._tracks.meet(tick)
        if met is None:
            return None
        track, first, has_turned = met
        self._remember([first])
        if has_turned:
            track.turn()
        return track

    def _turn(self, count: int) -> None:
        """Let some tickers forget; when all have, within a part of a window, it is counted anew."""
        if self._turning is None:
            self._steps, self._turning = self._tracks.turn()
        quota = 1 + PACE * count * self._steps // self._window
        if len(tuple(islice(self._turning, quota))) < quota:
            self._turning, self._count = None, 0


def _content(tick: Tick) -> bytes:
    """Return all that a tick says. Packed it takes less than half of what its fields do."""
    return _pack((tick.event_type, _fields_of(tick.__class__)(tick)))


def _is_plain_copy(tick: Tick, first: Tick) -> bool:
    """Return whether a tick says all that the other of its ticker said."""
    has_identity = not isinstance(tick, Trade) or tick.trade_id
    return bool(has_identity) and type(tick) is type(first) and _content(tick) == _content(first)


def _trade_without_id(tick: Trade) -> bytes | None:
    """Return what tells a trade of an option or a future; None for a stock's, which nothing tells."""
    is_option = tick.ticker.startswith("O:")
    if not tick.sequence or (tick.exchange is not None and not is_option):
        return None
    exchange = tick.exchange if is_option else None
    return _pack(("T", exchange, tick.sequence, tick.event_ms, tick.price, tick.size))


def _pack(content: tuple[Any, ...]) -> bytes:
    try:
        return _encode(content)
    except (OverflowError, ValueError):  # a number beyond 64 bits, a text that is no Unicode
        return repr(content).encode()


@cache
def _fields_of(kind: type[Any]) -> Callable[[Any], tuple[Any, ...]]:
    return attrgetter(*(name for name in kind.__struct_fields__ if name not in BESIDE_CONTENT))


def conflation_key(tick: Any) -> Hashable | None:
    """Return what a newer tick replaces an older one by; None for what nothing replaces, as any trade.

    A quote, a bar or a value is replaced by the next of its ticker; where each exchange has its own (crypto
    quotes, imbalances before an auction) by the next of that exchange. What is not known to be such a state
    is kept.
    """
    shared = _shared_by(tick.__class__)
    return None if shared is None else (type(tick), shared(tick))


@cache
def _shared_by(kind: type[Any]) -> Callable[[Any], Hashable] | None:
    names = STATES.get(kind.event_type)
    if names is None:
        return None
    return attrgetter("ticker", *(name for name in names if name in kind.__struct_fields__))
