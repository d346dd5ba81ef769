"""Symbols of the feed: what can be one, what becomes of a list of them, and what may have been meant.

A symbol goes out as it was written: Massive tells ``BACpL``, the preferred share, from ``BACPL``, which it
does not know, and acknowledges both. So nothing here changes one, beyond the white space around it; where
another spelling may have been meant, that is told.
"""

import re
import reprlib
from collections.abc import Collection, Iterable, Iterator
from difflib import get_close_matches
from itertools import islice
from typing import Final, NamedTuple

import msgspec

__all__ = [
    "SYMBOL_WORDS",
    "WILDCARD",
    "Doubt",
    "OddSymbol",
    "Symbols",
    "doubts_about",
    "named_of",
    "near_symbols",
    "other_spellings",
    "read_symbol",
    "read_symbols",
    "spelling",
    "split_symbols",
]

WILDCARD: Final = "*"
"""Stands for every symbol of a connection's market."""
SYMBOL_MAX_CHARS: Final = 32
SYMBOL_WORDS: Final = (
    f"up to {SYMBOL_MAX_CHARS} letters, digits and . : / - _ + = & # @, a letter or digit first"
)
"""Massive's own are made of letters, digits and ``. : / -``; the others are there for what is to come."""
SHOWN_MAX_CHARS: Final = 40
NEAR_ASKED: Final = 3
"""For so many of what was asked for in vain near names are looked for,"""
NEAR_LOOKED_AT: Final = 2000
"""among so many of those that begin alike,"""
NEAR_COMPARED: Final = 50
"""of which so many are made of much the same letters; it is done on the loop's thread."""
_OF_PAIRS: Final = ("C:", "X:")
_SYMBOL: Final = re.compile(rf"[A-Za-z0-9][A-Za-z0-9.:/_+=&#@-]{{0,{SYMBOL_MAX_CHARS - 1}}}")
_OF_AN_INDEX: Final = re.compile(r"[\^$.]([A-Za-z0-9]+)")
_SPACED: Final = re.compile(r"([A-Za-z0-9]+)\s+([A-Za-z0-9]+)")


class OddSymbol(msgspec.Struct, frozen=True):
    """Something in a list of symbols that can be none.

    Args:
        symbol: as it was written; no text, or a long one, as far as it can be shown.
        reason: why it can be none, and what may have been meant.
    """

    symbol: str
    reason: str

    def __str__(self) -> str:
        return f"{self.symbol!r} ({self.reason})"


class Doubt(msgspec.Struct, frozen=True):
    """A symbol that goes out as it was written, though another may have been meant.

    Args:
        symbol: as it was written.
        meant: the other.
        reason: what speaks for it.
    """

    symbol: str
    meant: str
    reason: str

    def __str__(self) -> str:
        return f"{self.symbol} {self.reason}: did you mean {self.meant}? symbols are case-sensitive"


class Symbols(NamedTuple):
    """What a list of symbols comes to.

    Args:
        good: the symbols, each once, in their order.
        odd: what can be none.
    """

    good: tuple[str, ...]
    odd: tuple[OddSymbol, ...] = ()


def split_symbols(text: str) -> list[str]:
    """Return the parts of a comma list, without those that are empty."""
    return [part for part in text.split(",") if part.strip()]


def read_symbols(raw: Iterable[object] | str) -> Symbols:
    """Return what a list comes to: an odd symbol in it costs itself.

    Args:
        raw: texts and whatever else stands among them, or one text.
    """
    good: dict[str, None] = {}
    odd: dict[OddSymbol, None] = {}
    for item in [raw] if isinstance(raw, str) else raw:
        symbol = item.strip() if isinstance(item, str) else None
        reason = _no_text(item) if symbol is None else _oddity(symbol)
        if reason:
            odd[OddSymbol(_shown(item if symbol is None else symbol), reason)] = None
        elif symbol is not None:
            good[symbol] = None
    return Symbols(tuple(good), tuple(odd))


def read_symbol(raw: object) -> str:
    """Return one symbol.

    Raises:
        ValueError: it cannot be one; says why.
    """
    good, odd = read_symbols([raw])
    if odd:
        raise ValueError(f"ticker must be a symbol, not {odd[0]}")
    return good[0]


def named_of(tickers: Iterable[str]) -> set[str]:
    """Return what is carried by name: all but the wildcard, which is no ticker."""
    return {ticker for ticker in tickers if ticker != WILDCARD}


def doubts_about(symbols: Iterable[str], known: Iterable[str]) -> Iterator[Doubt]:
    """Yield a doubt for each symbol that is another one in another case, or all in lower case, as none is.

    Args:
        symbols: in question; the later of two that differ by case only is the doubtful one.
        known: symbols of which there is no doubt.
    """
    certain = set(known)
    spelt = {symbol.casefold(): symbol for symbol in sorted(certain, reverse=True)}  # capitals win
    for symbol in symbols:
        if symbol in certain:
            continue
        other = spelt.setdefault(symbol.casefold(), symbol)
        if other != symbol and not other.islower():
            yield Doubt(symbol, other, "is known in another case")
        elif symbol.islower():
            yield Doubt(symbol, symbol.upper(), "is in lower case")


def spelling(symbol: str) -> str:
    """Return one spelling for all those of a pair: ``EUR-USD`` for ``C:EUR/USD``, ``EUR/USD``, ``EUR-USD``.

    The feed takes and gives either; which one stands in an acknowledgement and in a tick does not follow from
    which one was asked for. What is no pair stays as it is.
    """
    return (symbol[2:] if symbol[:2] in _OF_PAIRS else symbol).replace("/", "-")


def other_spellings(symbol: str) -> tuple[str, ...]:
    """Return the other names of a pair, by which the feed may call it; none of what is no pair."""
    pair = spelling(symbol)
    if "-" not in pair:
        return ()
    spelt = (pair, pair.replace("-", "/"))
    return tuple(
        name for name in (*spelt, *(m + name for m in _OF_PAIRS for name in spelt)) if name != symbol
    )


def near_symbols(unknown: Iterable[str], known: Collection[str]) -> tuple[str, ...]:
    """Return what is known and written nearly like the first few of the unknown ones; some ms at most."""
    asked = list(islice(unknown, NEAR_ASKED))
    letters = {letter for symbol in asked for letter in (symbol[0].lower(), symbol[0].upper())}
    alike = [other.lower() for other in islice((o for o in known if o[0] in letters), NEAR_LOOKED_AT)]
    near: dict[str, None] = {}
    for symbol in map(str.lower, asked):
        its = set(symbol)
        likely = (
            other for other in alike if other[0] == symbol[0] and len(its.symmetric_difference(other)) <= 2
        )
        near |= dict.fromkeys(get_close_matches(symbol, islice(likely, NEAR_COMPARED), n=1))
    spelt = {other.lower(): other for other in known if other.lower() in near}
    return tuple(spelt[other] for other in near)


def _oddity(symbol: str) -> str:
    """Return why a text can be no symbol, nothing where it can."""
    if symbol == WILDCARD or _SYMBOL.fullmatch(symbol):
        return ""
    if index := _OF_AN_INDEX.fullmatch(symbol):
        reason = f"an index is written I:{index[1].upper()}"
    elif spaced := _SPACED.fullmatch(symbol):
        reason = f"it has a space in it; a class of shares is written {spaced[1]}.{spaced[2]}"
    elif any(mark in symbol for mark in ",;|"):
        reason = "it looks like several: a text separates them by commas, a list has them one by one"
    elif WILDCARD in symbol:
        reason = f"{WILDCARD} stands alone, for all symbols"
    else:
        reason = f"a symbol has {SYMBOL_WORDS}" if symbol else "it is empty"
    return reason


def _no_text(value: object) -> str:
    if isinstance(value, bool):
        return f'it is a boolean; a ticker of that name is written in quotes: "{str(value).upper()}"'
    return "it is no text; write it in quotes"


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    text = value if isinstance(value, str) else "nothing" if value is None else reprlib.repr(value)
    return text if len(text) <= SHOWN_MAX_CHARS else text[: SHOWN_MAX_CHARS - 1] + "…"
