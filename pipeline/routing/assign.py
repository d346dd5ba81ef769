"""Assign tickers to connections: a pure function of what is wanted, what is up, and what is known.

Tickers are put on lines (connections, as routing sees them) within the lines' caps; a ticker that is already
somewhere stays there unless the strategy's promise demands a move; what fits nowhere is reported as overflow.
The same input gives the same output, in this process and in any other.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from math import isfinite
from types import MappingProxyType
from typing import Final

from pipeline.symbols import WILDCARD

from .board import COPIES_OF_REDUNDANT, Board, Line
from .wildcard import place_wildcard

__all__ = ["STRATEGIES", "Assignment", "Line", "assign"]

TOLERANCE: Final = 0.1
"""Lines that carry up to this part more than the mean are left alone: measured rates always wander."""
NAMED_IN_WARNINGS_MAX: Final = 5
_MASK: Final = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Assignment:
    """Says which tickers each connection carries.

    Args:
        tickers: connection id to its tickers, in the order in which they were wanted; () for one without.
        overflow: tickers that fit nowhere.
        warnings: what the user should know, in words.
    """

    tickers: Mapping[str, tuple[str, ...]]
    overflow: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def assign(
    tickers: Iterable[str],
    connections: Sequence[Line],
    strategy: str,
    loads: Mapping[str, float] | None = None,
    current: Mapping[str, Collection[str]] | None = None,
    *,
    redundant: Collection[str] = (),
    pinned: Mapping[str, str] | None = None,
) -> Assignment:
    """Decide which connection carries which ticker.

    ``manual``: each connection carries what it names; the rest goes to the least loaded. ``round-robin``:
    even by count. ``load-balanced``: even by measured ticks/s, by count until there are rates. ``hash``: by
    rendezvous hashing. ``priority``: the first connection carries nothing but what it names, the others are
    even; where room is scarce, what an earlier connection names comes first.

    The wildcard is placed before all tickers, and they are placed around it; see `place_wildcard`.

    Args:
        tickers: what is wanted; repetitions are ignored.
        connections: in the order of their numbers; those that are not alive get nothing.
        strategy: one of `STRATEGIES`.
        loads: measured ticks/s of a ticker; a ticker that is not in it has no rate yet.
        current: connection id to the tickers on it now, as in `Assignment.tickers`.
        redundant: tickers to carry on two connections at once.
        pinned: ticker to the id of the connection that is to carry it while it is alive and has room,
            whatever the strategy.

    Raises:
        ValueError: an unknown strategy, an id that occurs twice, a rate that is no number of 0 or more.
    """
    if strategy not in _STRATEGIES:
        raise ValueError(f"strategy must be one of {', '.join(STRATEGIES)}, not {strategy!r}")
    if len({line.id for line in connections}) != len(connections):
        raise ValueError("connections must have different ids")
    rates = loads or {}
    for ticker, rate in rates.items():
        if not isfinite(rate) or rate < 0:
            raise ValueError(f"loads[{ticker!r}] must be a number of 0 or more, not {rate!r}")
    wanted = tuple(dict.fromkeys(tickers))
    held, chosen = current or {}, pinned or {}
    board = Board([t for t in wanted if t != WILDCARD], connections, rates, held, redundant, pinned=chosen)
    homes = place_wildcard(
        connections,
        held,
        rate=rates.get(WILDCARD, 0),
        copies=COPIES_OF_REDUNDANT if WILDCARD in redundant else 1,
        pinned=chosen.get(WILDCARD),
        spare_first=strategy == "priority" and any(line.tickers for line in connections[:1]),
    )
    homes = homes if WILDCARD in wanted else []
    if board.alive:
        if strategy in _BY_RATE:
            board.weigh_by_rate()
        board.burden(homes)
        board.place_pinned()
        _STRATEGIES[strategy](board)
        board.squeeze()
    carried: dict[str, list[str]] = {line.id: [] for line in connections}
    on = {t: homes if t == WILDCARD else [board.alive[place].id for place in board.on[t]] for t in wanted}
    for ticker in wanted:
        for id_ in on[ticker]:
            carried[id_].append(ticker)
    return Assignment(
        tickers=MappingProxyType({id_: tuple(on_line) for id_, on_line in carried.items()}),
        overflow=tuple(ticker for ticker in wanted if not on[ticker]),
        warnings=tuple(_warnings(board, on, strategy, frozenset(redundant))),
    )


def _manual(board: Board) -> None:
    homes: dict[str, list[int]] = {}
    for place, line in enumerate(board.alive):
        for ticker in line.tickers:
            homes.setdefault(ticker, []).append(place)
    for ticker in board.wanted:
        board.try_lines(ticker, homes.get(ticker, ()))
    board.settle()


def _round_robin(board: Board) -> None:
    board.settle()
    board.level(board.lines, 0)


def _load_balanced(board: Board) -> None:
    board.settle()
    board.level(board.lines, TOLERANCE)


def _priority(board: Board) -> None:
    ranks: dict[str, int] = {}
    for rank, line in enumerate(board.connections):
        for ticker in line.tickers:
            ranks.setdefault(ticker, rank)
    board.ranks = ranks
    first_tier = [ticker for ticker in board.wanted if ranks.get(ticker) == 0]
    if first_tier and board.connections[0].alive:
        board.reserve_first(frozenset(first_tier))
        for ticker in first_tier:
            board.try_lines(ticker, (0,))
        board.settle()
        board.level(board.lines[1:], TOLERANCE)
    else:
        _load_balanced(board)


def _hash(board: Board) -> None:
    """Put each ticker on the line where it scores highest and which has room.

    What is on a line gives way only to a better line of its own. Each move is to a better line and makes
    nobody's worse, so the loop ends, and then nothing is left that would move if it were asked again.
    """
    seeds = [_seed(line.id) | 1 for line in board.alive]  # odd: each makes a permutation
    best_first = {ticker: _by_score(_seed(ticker), seeds) for ticker in board.wanted}
    for ticker in board.wanted:
        board.keep(ticker)
    while sum(_improve(board, ticker, best_first[ticker]) for ticker in board.wanted):
        pass  # a ticker may have made room for another that was asked before it
    for ticker in board.wanted:
        board.try_lines(ticker, best_first[ticker])


def _improve(board: Board, ticker: str, best_first: Sequence[int]) -> bool:
    held = board.on[ticker]
    if ticker in board.pinned or held == best_first[: len(held)]:
        return False
    for better, line in enumerate(best_first):
        worst = max(map(best_first.index, held))
        if better >= worst:
            return False
        if line not in held and board.has_room(line, ticker):
            board.take(ticker, best_first[worst])
            board.put(ticker, line)
            return True
    return False


def _by_score(ticker_seed: int, line_seeds: Sequence[int]) -> list[int]:
    """Return the lines' places, the highest score first; a score is the product of both seeds, modulo 2⁶⁴."""
    scores = [ticker_seed * line_seed & _MASK for line_seed in line_seeds]
    return sorted(range(len(scores)), key=scores.__getitem__, reverse=True)


def _seed(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")


def _warnings(
    board: Board, on: Mapping[str, Sequence[str]], strategy: str, redundant: Collection[str]
) -> Iterator[str]:
    if strategy == "manual":
        named = Counter(
            (ticker, line.feed if ticker == WILDCARD else "")
            for line in board.connections
            for ticker in dict.fromkeys(line.tickers)
        )
        often = {ticker for (ticker, _), times in named.items() if times > 1}
        twice = [t for t in on if t in often and t not in redundant]
        if twice:
            yield f"named by several connections, carried by the first: {_some(twice)}"
    elsewhere = [t for t, line in board.pinned.items() if line not in board.on[t]]
    if elsewhere:
        yield f"not on the connection that was chosen by hand, which has no room: {_some(elsewhere)}"
    once = [t for t in on if t in redundant and len(on[t]) == 1]
    if once:
        reason = "only one connection is up" if len(board.alive) == 1 else "no second connection has room"
        yield f"redundant, but carried once since {reason}: {_some(once)}"
    homeless = [t for t in on if not on[t]]
    if homeless:
        reason = "no connection has room" if board.alive else "no connection is up"
        yield f"not carried since {reason}: {_some(homeless)}"


def _some(tickers: Sequence[str]) -> str:
    shown = ", ".join(tickers[:NAMED_IN_WARNINGS_MAX])
    rest = len(tickers) - NAMED_IN_WARNINGS_MAX
    return f"{shown} and {rest} more" if rest > 0 else shown


_STRATEGIES: Final[Mapping[str, Callable[[Board], None]]] = MappingProxyType(
    {
        "manual": _manual,
        "round-robin": _round_robin,
        "load-balanced": _load_balanced,
        "hash": _hash,
        "priority": _priority,
    }
)
_BY_RATE: Final = frozenset({"manual", "load-balanced", "priority"})
STRATEGIES: Final = tuple(_STRATEGIES)
"""The words for WEBSOCKET_ROUTING_STRATEGY."""
