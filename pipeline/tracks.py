"""What is remembered of each ticker: its last tick, and what tells a copy of an older one."""

from bisect import bisect_left
from collections.abc import Hashable
from itertools import islice
from typing import Any, Final

from .ticks import Tick

__all__ = ["LOWEST", "TICKERS_KEPT", "Track", "Tracks"]

LOWEST: Final = -(2**63) - 1
"""Below every sequence number."""
TICKERS_KEPT: Final = 250_000
"""Of more, those that were silent are forgotten: a track takes about 250 bytes."""


class Track:
    """Is what is remembered of one ticker.

    Attributes:
        last: the last tick that passed; None before the first.
        newest: the highest sequence number of its quotes, which is the last of ``sequences``.
        sequences: of its quotes, each above the one before.
        trades: ids of trades, and where each was made.
    """

    __slots__ = ("_late", "_quotes_mark", "_trades_mark", "last", "newest", "sequences", "trades")

    def __init__(self) -> None:
        self.last: Tick | None = None
        self.newest = LOWEST
        self.sequences: list[int] = [LOWEST]
        self.trades: dict[Hashable, Hashable] = {}
        self._quotes_mark = 0
        self._trades_mark = 0
        self._late = False

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing in it that a copy could be told by."""
        return self.newest == LOWEST and not self.trades

    def has_quote(self, sequence: int) -> bool:
        """Tell whether a number that is not above the last is among them."""
        self._late = True
        return self.sequences[bisect_left(self.sequences, sequence)] == sequence

    def trade_elsewhere(self, trade_id: str, venue: Hashable) -> None:
        """Remember an id at one more venue; the id alone stays the youngest, for it is looked for first."""
        trades = self.trades
        older = trades.pop(trade_id)
        trades[trade_id, older] = older
        trades[trade_id] = venue
        self._trades_mark = max(self._trades_mark - 1, 0)  # it may have been among those

    def turn(self) -> None:
        """Forget what was there at the turn before; without any quote since, all its quotes."""
        if self._quotes_mark < len(self.sequences) or self._late:
            del self.sequences[: max(self._quotes_mark - 1, 0)]
        else:
            self.newest, self.sequences = LOWEST, [LOWEST]
        if self._trades_mark or self.trades:  # a dict holds its keys in the order of their coming
            self.trades = dict(islice(self.trades.items(), self._trades_mark, None))
        self._quotes_mark, self._trades_mark, self._late = len(self.sequences), len(self.trades), False


class Tracks:
    """Holds the tracks by ticker.

    Attributes:
        by_ticker: a bare dict, which Python looks things up in a third faster than in a class of its own;
            whoever finds a ticker missing adds its track.
    """

    def __init__(self) -> None:
        self.by_ticker: dict[str, Track] = {}

    def last(self) -> dict[str, Tick]:
        """Return the last tick of each ticker; from any thread."""
        tracks = self.by_ticker.copy()  # in C, which the GIL does not interrupt
        return {ticker: track.last for ticker, track in tracks.items() if track.last is not None}

    def forget_silent(self) -> None:
        """Forget the tracks that are empty, if there are too many."""
        tracks = self.by_ticker
        if len(tracks) > TICKERS_KEPT:
            for ticker in [ticker for ticker, track in tracks.items() if track.is_empty]:
                del tracks[ticker]

    def note(self, ticks: list[Any]) -> list[Any]:
        """Note the last ticks and return all: for a stream that lets copies pass."""
        tracks = self.by_ticker
        if len(tracks) > TICKERS_KEPT:
            tracks.clear()
        for tick in ticks:
            try:
                track = tracks[tick.ticker]
            except KeyError:
                track = tracks[tick.ticker] = Track()
            track.last = tick
        return ticks
