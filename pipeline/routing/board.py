"""The board on which an assignment is made: which ticker is on which line, and what fits."""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Final

from pipeline.symbols import WILDCARD

__all__ = ["COPIES_OF_REDUNDANT", "Board", "Line"]

COPIES_OF_REDUNDANT: Final = 2
FLOOR: Final = 0.1
"""A silent ticker weighs this part of the mean: a hundred of them are not nothing, and they may wake."""


@dataclass(frozen=True, slots=True)
class Line:
    """Is a connection, as routing sees it.

    Args:
        id: the connection's id.
        tickers: what it names as its own: its share under ``manual``, its tier under ``priority``.
        max_tickers: most tickers on it; 0: no limit.
        max_ticks_per_s: most measured ticks/s on it; 0: no limit. Tickers without a rate count as 0.
        alive: it can carry something.
        feed: its address and event types: what a wildcard brings there.
    """

    id: str
    tickers: tuple[str, ...] = ()
    max_tickers: int = 0
    max_ticks_per_s: float = 0
    alive: bool = True
    feed: str = ""


class Board:
    """Holds the state of one assignment while it is made; lines are known by their place in ``alive``.

    Args:
        wanted: tickers, each once.
        connections: all, in the order of their numbers.
        rates: measured ticks/s of a ticker; those not in it have none yet.
        current: connection id to the tickers on it now.
        redundant: tickers of which two lines are to carry a copy.
        pinned: ticker to the id of the line that somebody chose for it.
    """

    def __init__(
        self,
        wanted: Sequence[str],
        connections: Sequence[Line],
        rates: Mapping[str, float],
        current: Mapping[str, Collection[str]],
        redundant: Collection[str],
        *,
        pinned: Mapping[str, str],
    ) -> None:
        self.wanted = wanted
        self.connections = connections
        self.alive = [line for line in connections if line.alive]
        self.lines: Sequence[int] = range(len(self.alive))
        self.on: dict[str, list[int]] = {ticker: [] for ticker in wanted}
        self.copies = dict.fromkeys(wanted, 1)
        for ticker in filter(self.on.__contains__, redundant):
            self.copies[ticker] = min(COPIES_OF_REDUNDANT, len(self.alive))
        self.weights = dict.fromkeys(wanted, 1.0)
        self._weight_of_wildcard = 1.0
        self.weight_on = [0.0 for _ in self.lines]
        self.ranks: Mapping[str, int] = {}
        places = {line.id: place for place, line in enumerate(self.alive)}
        self.pinned = {t: places[id_] for t, id_ in pinned.items() if t in self.on and id_ in places}
        """Ticker to the living line that was chosen for it."""
        self._reserved: Collection[str] | None = None
        self._rates = rates
        self._current: dict[str, list[int]] = {}
        for place, line in enumerate(self.alive):
            for ticker in current.get(line.id, ()):
                self._current.setdefault(ticker, []).append(place)
        self._room = [line.max_tickers or inf for line in self.alive]
        self._rate_room = [line.max_ticks_per_s or inf for line in self.alive]

    def weigh_by_rate(self) -> None:
        """Let tickers weigh what they bring, those without a rate the mean; without any rates, one each."""
        known = [self._rates[ticker] for ticker in self.wanted if ticker in self._rates]
        mean = sum(known) / len(known) if known else 0.0
        if mean:
            self.weights = {t: max(self._rates.get(t, mean), FLOOR * mean) for t in self.wanted}
            self._weight_of_wildcard = max(self._rates.get(WILDCARD, mean), FLOOR * mean)

    def burden(self, ids: Collection[str]) -> None:
        """Count a wildcard on those of these lines that are alive; it stays, and tickers go around it."""
        for place, line in enumerate(self.alive):
            if line.id in ids:
                self._room[place] -= 1
                self._rate_room[place] -= self._rates.get(WILDCARD, 0)
                self.weight_on[place] += self._weight_of_wildcard

    def place_pinned(self) -> None:
        """Put what was pinned on its line, where that has room; it stays there."""
        for ticker, line in self.pinned.items():
            self.try_lines(ticker, (line,))

    def reserve_first(self, tickers: Collection[str]) -> None:
        """Keep the first line for these tickers; only a second copy without another line may join them."""
        self._reserved = tickers

    def allowed(self, ticker: str) -> Sequence[int]:
        """Return the lines that may carry a ticker."""
        if self._reserved is None or ticker in self._reserved or self.copies[ticker] == len(self.alive):
            return self.lines
        return self.lines[1:]

    def has_room(self, line: int, ticker: str) -> bool:
        """Tell whether a ticker fits on a line, within its caps."""
        return self._room[line] >= 1 and self._rates.get(ticker, 0) <= self._rate_room[line]

    def put(self, ticker: str, line: int) -> None:
        """Put a copy of a ticker on a line."""
        self._count(ticker, line, 1)
        self.on[ticker].append(line)

    def take(self, ticker: str, line: int) -> None:
        """Take a copy of a ticker from a line."""
        self._count(ticker, line, -1)
        self.on[ticker].remove(line)

    def is_short(self, ticker: str) -> bool:
        """Tell whether there are fewer copies of a ticker on the board than there should be."""
        return len(self.on[ticker]) < self.copies[ticker]

    def try_lines(self, ticker: str, lines: Iterable[int]) -> None:
        """Put a ticker on the first of these lines that have room, as often as it is short."""
        held = self.on[ticker]
        missing = self.copies[ticker] - len(held)
        for line in lines:
            if missing <= 0:
                return
            if line not in held and self.has_room(line, ticker):
                self.put(ticker, line)
                missing -= 1

    def settle(self) -> None:
        """Leave what is on a line there; put the rest on the lightest lines, the heaviest first."""
        by_rank = sorted(self.wanted, key=self._rank)
        for ticker in by_rank:
            self.keep(ticker)
        for ticker in sorted(by_rank, key=lambda t: (-self.copies[t], -self.weights[t])):
            if self.is_short(ticker):
                self.try_lines(ticker, sorted(self.allowed(ticker), key=self.weight_on.__getitem__))

    def keep(self, ticker: str) -> None:
        """Leave a ticker where it is now."""
        if held := self._current.get(ticker):
            allowed = self.allowed(ticker)
            self.try_lines(ticker, [line for line in held if line in allowed])

    def level(self, lines: Collection[int], tolerance: float) -> None:
        """Move tickers from heavy lines to light ones until none is over the mean by more than the tolerance.

        Each move makes the two lines more alike, so it ends; the bound is there for rates that differ by
        less than a float can tell.
        """
        shelves: dict[int, list[tuple[float, str]]] = {line: [] for line in lines}
        for ticker, holders in self.on.items():
            for line in holders:
                if line in shelves and line != self.pinned.get(ticker):
                    shelves[line].append((self.weights[ticker], ticker))
        for shelf in shelves.values():
            shelf.sort()
        limit = (1 + tolerance) * sum(self.weight_on[line] for line in lines) / max(len(lines), 1)
        for _ in range(2 * len(self.wanted)):
            move = self._find_move(shelves, limit)
            if move is None:
                return
            heavy, light, place = move
            item = shelves[heavy].pop(place)
            insort(shelves[light], item)
            self.take(item[1], heavy)
            self.put(item[1], light)

    def squeeze(self) -> None:
        """Give a place to tickers without: second copies yield theirs, then tickers of a later rank."""
        homeless = sorted((t for t in self.wanted if not self.on[t]), key=self._rank)
        if not homeless:
            return
        carried = sorted((t for t in self.wanted if self.on[t]), key=self._rank, reverse=True)
        twice = [ticker for ticker in carried if len(self.on[ticker]) > 1]
        victims = iter([*twice, *carried])
        for ticker in homeless:
            for victim in victims:
                if len(self.on[victim]) == 1 and self._rank(victim) <= self._rank(ticker):
                    return
                if self._replace(victim, ticker):
                    break

    def _rank(self, ticker: str) -> int:
        return self.ranks.get(ticker, len(self.connections))

    def _replace(self, victim: str, ticker: str) -> bool:
        for line in reversed(self.on[victim]):
            if line == self.pinned.get(victim):
                continue
            self.take(victim, line)
            if line in self.allowed(ticker) and self.has_room(line, ticker):
                self.put(ticker, line)
                return True
            self.put(victim, line)
        return False

    def _count(self, ticker: str, line: int, sign: int) -> None:
        self._room[line] -= sign
        self._rate_room[line] -= sign * self._rates.get(ticker, 0)
        self.weight_on[line] += sign * self.weights[ticker]

    def _find_move(
        self, shelves: Mapping[int, list[tuple[float, str]]], limit: float
    ) -> tuple[int, int, int] | None:
        ascending = sorted(shelves, key=self.weight_on.__getitem__)
        for heavy in reversed(ascending):
            if self.weight_on[heavy] <= limit:
                return None
            for light in ascending:
                gap = self.weight_on[heavy] - self.weight_on[light]
                for place in _best_first(shelves[heavy], gap):
                    ticker = shelves[heavy][place][1]
                    if light not in self.on[ticker] and self.has_room(light, ticker):
                        return heavy, light, place
        return None


def _best_first(shelf: list[tuple[float, str]], gap: float) -> Iterator[int]:
    """Yield places of what is lighter than the gap, what halves it best first."""
    if gap <= 0:
        return
    half = bisect_right(shelf, (gap / 2, "\U0010ffff"))
    yield from range(half - 1, -1, -1)
    yield from range(half, bisect_left(shelf, (gap, "")))
