"""Which connections carry the wildcard, which stands for all symbols of a market: a pure function.

It is no ticker. What it brings depends on the connection's address and event types, so a connection of
another kind cannot take it over, and two of different kinds carry two different things under the one name.
Nor is it moved to even out anything: it brings the same wherever it is.
"""

from collections.abc import Collection, Mapping, Sequence

from pipeline.symbols import WILDCARD

from .board import Line

__all__ = ["place_wildcard"]


def place_wildcard(
    lines: Sequence[Line],
    current: Mapping[str, Collection[str]],
    *,
    rate: float = 0,
    copies: int = 1,
    pinned: str | None = None,
    spare_first: bool = False,
) -> list[str]:
    """Return the ids of the lines that carry the wildcard.

    Of each kind of line that somebody chose it for or that names it, or else that has it, there is one, or as
    many as there are to be copies: that which was chosen by hand, those that name it, those that have it,
    then those with the fewest tickers. Where all of the kind are dead it stays with one of them, since it is
    to be had nowhere else.

    Args:
        lines: in the order of their numbers.
        current: line id to what is on it now.
        rate: measured ticks/s of it; a line that allows less cannot take it.
        copies: how many of a kind are to carry it.
        pinned: the line that somebody chose for it.
        spare_first: the first line carries nothing but what it names.
    """
    naming = [line for line in lines if WILDCARD in line.tickers]
    holding = [line for line in lines if WILDCARD in current.get(line.id, ())]
    chosen = [line for line in lines if line.id == pinned]

    def lightness(line: Line) -> tuple[bool, int]:
        return spare_first and line is lines[0], len(current.get(line.id, line.tickers))

    others = sorted(lines, key=lightness)
    in_order = list({line.id: line for line in (*chosen, *naming, *holding, *others)}.values())
    fit = [line for line in in_order if line.alive and rate <= (line.max_ticks_per_s or rate)]
    bound = (*chosen, *naming) or holding
    placed = []
    for feed in dict.fromkeys(line.feed for line in bound or fit[:1]):
        alive = any(line.alive for line in lines if line.feed == feed)
        placed += [line.id for line in (fit if alive else bound) if line.feed == feed][
            : copies if alive else 1
        ]
    return placed
