"""What is remembered of each ticker: its last tick, and what copies are told by."""

from bisect import bisect_left
from collections.abc import Hashable, Iterator
from itertools import islice
from typing import Any, Final

from .tick_data import Number
from .ticks import Quote, Tick, TickBatch, Trade
from .trading_day import trading_day

__all__ = ["LOWEST", "TICKERS_KEPT", "Track", "Tracks", "TradingDay", "forget_oldest"]

LOWEST: Final = float("-inf")
"""Below every sequence number."""
TICKERS_KEPT: Final = 65_536
"""Of more that have nothing but a last tick, those are forgotten that came first: growing, a dict reads all
its keys, and of 100,000 that took 10 ms."""
TRACKS_KEPT: Final = 16_384
"""Of more tracks, those that are empty give way to their last tick: the garbage collector looks at each."""
STRAYS: Final = 16
"""So many numbers too high go out of the way of those that come next; more are forgotten within two turns."""
DAYS_KEPT: Final = 16
"""Of a ticker's other days; more than one or two come from a feed whose clock has gone mad."""
NO_DAYS: Final[dict[Number, "TradingDay"]] = {}
"""What nearly all tickers have besides today; never changed."""
FORGOTTEN_AT_ONCE: Final = 1024
"""All at once would stop the stream for 50 ms, one by one would look each time for where the first is."""


class TradingDay:
    """The quotes and trades of one ticker on one day: sequence numbers and ids begin anew with each.

    Attributes:
        begins_ms: when the day begins.
        ends_ms: when it ends.
        newest: the highest sequence number of all that are remembered.
        sequences: of its quotes, each above the one before. What is first may be long forgotten: it only
            bounds the search.
        aside: sequence numbers that had no place there, in the order of their coming.
        trades: ids of trades, and where each was made.
    """

    __slots__ = (
        "_aside_mark",
        "_quotes_mark",
        "_trades_mark",
        "aside",
        "begins_ms",
        "ends_ms",
        "newest",
        "sequences",
        "trades",
    )

    def __init__(self) -> None:
        self.begins_ms: Number = 0
        self.ends_ms: Number = 0
        self.newest: float = LOWEST
        self.sequences: list[float] = [LOWEST]
        self.aside: dict[float, None] | None = None
        self.trades: dict[Hashable, Hashable] = {}
        self._quotes_mark = 0
        self._aside_mark = 0
        self._trades_mark = 0

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing in it that a copy could be told by."""
        return self.newest == LOWEST and not self.trades

    def add_late(self, sequence: int) -> bool:
        """Remember a number that is not above the newest; return whether it was not known.

        If only a few numbers are in its way they go aside, so that a number gone mad does not make all those
        late that come after it.
        """
        sequences, aside = self.sequences, self.aside
        if aside is not None and sequence in aside:
            return False
        if sequence > sequences[-1]:
            sequences.append(sequence)
            return True
        position = bisect_left(sequences, sequence)
        if sequences[position] == sequence:
            return False
        if aside is None:
            aside = self.aside = {}
        if len(sequences) - position > STRAYS:
            aside[sequence] = None
        else:
            aside.update(dict.fromkeys(sequences[position:]))
            sequences[position:] = [sequence]
            self._quotes_mark = min(self._quotes_mark, position)
        return True

    def trade_elsewhere(self, trade_id: Hashable, venue: Hashable) -> None:
        """Remember an id at one more venue; the id alone stays the youngest, for it is looked for first."""
        trades = self.trades
        older = trades.pop(trade_id)
        trades[trade_id, older] = older
        trades[trade_id] = venue
        self._trades_mark = max(self._trades_mark - 1, 0)  # it may have been among those

    def turn(self) -> None:
        """Forget what was there at the turn before; without any quote since, all its quotes."""
        sequences = self.sequences
        if self._quotes_mark < len(sequences):
            del sequences[: max(self._quotes_mark - 1, 0)]
        else:
            sequences = self.sequences = [LOWEST]
        if self.aside:
            self.aside = dict.fromkeys(islice(self.aside, self._aside_mark, None)) or None
        if self._trades_mark or self.trades:
            self.trades = dict(islice(self.trades.items(), self._trades_mark, None))
        self.newest = max(sequences[-1], *self.aside) if self.aside else sequences[-1]
        self._quotes_mark = len(sequences)
        self._aside_mark = len(self.aside or ())
        self._trades_mark = len(self.trades)


class Track(TradingDay):
    """What is remembered of one ticker; what it inherits is of the day that its last quote or trade was on.

    Attributes:
        last: the last tick that passed; None before the first.
        quote: the last quote of them, ``trade`` the last trade, and ``others`` the last of each other kind.
        contents: of those ticks that are told apart by their content.
        days: its other days, by when they begin.
    """

    __slots__ = ("_contents_mark", "contents", "days", "last", "others", "quote", "trade")

    def __init__(self) -> None:
        super().__init__()
        self.last: Tick | None = None
        self.quote: Tick | None = None
        self.trade: Tick | None = None
        self.others: dict[type[Tick], Tick] | None = None
        self.contents: dict[bytes, None] | None = None
        self.days: dict[Number, TradingDay] = NO_DAYS
        self._contents_mark = 0

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing in it that a copy could be told by."""
        return super().is_empty and not self.contents and not self.days

    def enter(self, event_ms: Number) -> None:
        """Change to the day of a time: the day that was is put by, and taken up again if it comes back."""
        begins_ms, ends_ms = trading_day(event_ms)
        if begins_ms == self.begins_ms:  # there are times that are within no bounds
            return
        if self.days or not super().is_empty:
            self._put_by(begins_ms)
        self.begins_ms, self.ends_ms = begins_ms, ends_ms

    def _put_by(self, instead_of_it_ms: Number) -> None:
        if not self.days:
            self.days = {}
        days = self.days
        if not super().is_empty:
            days[self.begins_ms] = TradingDay()
            _move(self, days[self.begins_ms])
        _move(days.pop(instead_of_it_ms) if instead_of_it_ms in days else TradingDay(), self)
        if len(days) > DAYS_KEPT:
            del days[next(iter(days))]  # dicts hold their keys in the order of their coming

    def last_of_kind(self, kind: type[Tick]) -> Tick | None:
        """Return the last tick of a class."""
        if kind is Quote:
            return self.quote
        if kind is Trade:
            return self.trade
        return self.others.get(kind) if self.others else None

    def note_other(self, tick: Tick) -> None:
        """Note a tick that is neither quote nor trade."""
        if self.others is None:
            self.others = {}
        self.others[type(tick)] = tick

    def add_content(self, content: bytes) -> bool:
        """Remember what a tick says; return whether it was not known."""
        if self.contents is None:
            self.contents = {}
        elif content in self.contents:
            return False
        self.contents[content] = None
        return True

    def turn(self) -> None:
        """Forget what was there at the turn before, in all its days; a day without anything is forgotten."""
        super().turn()
        if self.contents:
            self.contents = dict.fromkeys(islice(self.contents, self._contents_mark, None)) or None
            self._contents_mark = len(self.contents or ())
        if self.days:
            for day in self.days.values():
                day.turn()
            self.days = {begins: day for begins, day in self.days.items() if not day.is_empty} or NO_DAYS


def _move(source: TradingDay, target: TradingDay) -> None:
    for name in TradingDay.__slots__:
        setattr(target, name, getattr(source, name))


class Tracks:
    """Holds what is known of each ticker: a track from its second tick on, until then the one tick.

    A track is two or three objects for Python's garbage collector to look at, a tick none, and a dict with
    nothing but ticks none either. In a flood of new tickers the collector stopped the stream for 200 ms.

    Attributes:
        by_ticker: the tracks; a bare dict, which Python looks things up in a third faster than in a class of
            its own. Whoever finds a ticker missing has it `meet` its tick.
    """

    def __init__(self) -> None:
        self.by_ticker: dict[str, Track] = {}
        self._once: tuple[dict[str, Tick], ...] = ({}, {}, {})
        """Of tickers that ticked once, those since the last turn, since the one before, and those that are
        being forgotten: to these nothing is added or taken away, since they are walked through meanwhile."""
        self._silent: dict[str, Tick] = {}
        """The last ticks of those of which nothing else is known any more."""
        self._noted: dict[type[Tick], dict[str, Tick]] = {}
        """The last ticks by class, of a stream that lets copies pass."""
        self.arrivals: dict[str, TickBatch] = {}
        """The last batch with ticks of each connection."""

    def __len__(self) -> int:
        """Return how many tickers are held, counting those twice that are just coming back."""
        return len(self.by_ticker) + sum(map(len, self._once)) + len(self._silent)

    def only_tick_of(self, ticker: str) -> Tick | None:
        """Return the tick of a ticker that ticked once, while it is remembered."""
        young, old, _ = self._once
        return young.get(ticker) or old.get(ticker)

    def meet(self, tick: Tick) -> tuple[Track, Tick, bool] | None:
        """Take in a tick of a ticker without a track.

        Returns:
            None for its first; else its new track, the tick that came before, which is to be put there, and
            whether there has been a turn since.
        """
        ticker = tick.ticker
        young, old, _ = self._once
        for its in (young, old):
            if ticker in its:
                track = self.by_ticker[ticker] = Track()
                track.last = first = its[ticker]
                del its[ticker]
                return track, first, its is old
        young[ticker] = tick
        self._silent.pop(ticker, None)
        return None

    def last(self) -> dict[str, Tick]:
        """Return the last tick of each ticker; from any thread."""
        # Copied in C, which the GIL does not interrupt. A ticker may move on meanwhile, from each to the
        # next, and from the last to the first.
        copies = [each.copy() for each in (self._silent, *reversed(self._once))]
        tracks, silent = self.by_ticker.copy(), self._silent.copy()
        last = silent
        for copy in copies:
            last |= copy
        return last | {ticker: track.last for ticker, track in tracks.items() if track.last is not None}

    def last_of(self, ticker: str) -> Tick | None:
        """Return the last tick of a ticker, if it is known. On the thread that keeps them."""
        track = self.by_ticker.get(ticker)
        if track is not None:
            return track.last
        return next((each[ticker] for each in (*self._once, self._silent) if ticker in each), None)

    def last_of_kind(self, ticker: str, kind: type[Tick]) -> Tick | None:
        """Return the last tick of a class of a ticker, if it is known. On the thread that keeps them."""
        track = self.by_ticker.get(ticker)
        if track is not None:
            return track.last_of_kind(kind)
        its = (*self._once, self._noted.get(kind, self._silent), self._silent)
        tick = next((each[ticker] for each in its if ticker in each), None)
        return tick if type(tick) is kind else None

    def tickers(self) -> Iterator[str]:
        """Give all tickers, those of each kind as they are when it is their turn."""
        yield from tuple(self.by_ticker)
        for number in range(len(self._once)):
            yield from tuple(self._once[number])
        yield from tuple(self._silent)

    def turn(self) -> tuple[int, Iterator[None]]:
        """Begin to let all forget what was there at the turn before.

        Returns:
            How many steps there are, and the steps; the next turn may begin when they have come to an end.
        """
        young, old, _ = self._once
        self._once = ({}, young, old)
        return len(self.by_ticker) + len(old), self._turn(old)

    def _turn(self, leaving: dict[str, Tick]) -> Iterator[None]:
        tracks, silent = self.by_ticker, self._silent
        young, old, _ = self._once
        for ticker in tuple(tracks):
            track = tracks[ticker]
            track.turn()
            if len(tracks) > TRACKS_KEPT and track.last is not None and track.is_empty:
                silent[ticker] = track.last
                forget_oldest(silent)
                del tracks[ticker]
            yield
        for ticker, tick in leaving.items():
            if ticker not in tracks and ticker not in young:
                silent[ticker] = tick
                forget_oldest(silent)
            yield
        self._once = (young, old, {})

    def note(self, ticks: list[Any]) -> list[Any]:
        """Note the last ticks and return all: for a stream that lets copies pass."""
        last, noted = self._silent, self._noted
        for tick in ticks:
            last[tick.ticker] = tick
            kind = type(tick)
            if kind not in noted:
                noted[kind] = {}
            noted[kind][tick.ticker] = tick
        for its in (last, *noted.values()):
            forget_oldest(its)
        return ticks


def forget_oldest(by_ticker: dict[str, Any]) -> None:
    """Forget those that came first, where there are too many: no more at once than 1,024 and a batch."""
    too_many = len(by_ticker) - TICKERS_KEPT
    if too_many >= FORGOTTEN_AT_ONCE:
        for ticker in tuple(islice(by_ticker, too_many)):
            del by_ticker[ticker]
