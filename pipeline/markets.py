"""Which event types each market of Massive has, and what it allows on one connection: facts of the feed.

See https://massive.com/docs/websocket; the market is what the path of a connection's address says.
"""

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Final
from urllib.parse import urlsplit

__all__ = [
    "EVENT_TYPES",
    "MARKETS",
    "OPTION_CONTRACTS_MAX",
    "contracts_max",
    "is_massive",
    "market_of",
    "not_in_market",
    "words_of",
]

OPTION_CONTRACTS_MAX: Final = 1000
"""Contracts whose quotes or fair market values one connection may ask for."""
COUNTED_CONTRACTS: Final = frozenset({"Q", "FMV"})

_BESIDE: Final = ("AM", "LV", "FMV")
"""Of every market but futures and indices, on launchpad and business plans."""
_ON_MOST_PLANS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "stocks": ("T", "Q", "A", "AM", "LULD", "NOI"),
        "options": ("T", "Q", "A", "AM"),
        "indices": ("V", "A", "AM"),
        "futures": ("T", "Q", "A", "AM"),
        "forex": ("C", "CA", "CAS"),
        "crypto": ("XT", "XQ", "XA", "XAS"),
    }
)
MARKETS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        market: types if market in {"indices", "futures"} else tuple(dict.fromkeys((*types, *_BESIDE)))
        for market, types in _ON_MOST_PLANS.items()
    }
)
"""Market to its event types."""
EVENT_TYPES: Final = tuple(
    dict.fromkeys(
        (
            *("T", "Q", "A", "AM", "LULD", "NOI", "FMV", "LV", "V"),
            *(kind for types in MARKETS.values() for kind in types),
        )
    )
)
"""All event types."""


def market_of(url: str) -> str | None:
    """Return the market of an address; None where its path names none, as that of a test server."""
    segments = urlsplit(url).path.lower().split("/")
    return next((segment for segment in segments if segment in MARKETS), None)


def is_massive(url: str) -> bool:
    """Tell whether an address is one of Massive's own, under its present name or the former."""
    return f".{urlsplit(url).hostname or ''}".endswith((".massive.com", ".polygon.io"))


def not_in_market(url: str, event_types: Collection[str]) -> tuple[str, ...]:
    """Return those of the event types that the market of an address does not have."""
    market = market_of(url)
    return () if market is None else tuple(kind for kind in event_types if kind not in MARKETS[market])


def words_of(market: str) -> str:
    """Return the event types of a market as a problem text names them."""
    beside = [kind for kind in MARKETS[market] if kind not in _ON_MOST_PLANS[market]]
    words = ", ".join(_ON_MOST_PLANS[market])
    return f"{words} ({', '.join(beside)} on launchpad and business plans)" if beside else words


def contracts_max(url: str, event_types: Collection[str]) -> int:
    """Return how many tickers a connection may have by the feed's rules; 0 where these set no limit."""
    counted = market_of(url) == "options" and not COUNTED_CONTRACTS.isdisjoint(event_types)
    return OPTION_CONTRACTS_MAX if counted else 0
