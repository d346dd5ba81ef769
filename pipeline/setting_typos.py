"""Names in a process's environment that are nearly a key's: a slip there would otherwise be silence."""

import difflib
import re
from collections.abc import Iterator, Mapping
from typing import Final

from .setting_keys import CONNECTION_KEYS, KEYS, RENAMED, split_connection_key

__all__ = ["near_keys"]

NEAR: Final = 0.9
"""Of `difflib`'s ratio: about one letter in ten is another."""
NEAR_OF_OURS: Final = 0.8
"""The same for a name that begins as only ours do."""
LENGTH_MIN: Final = 11
"""Of a key. Shorter ones (REDIS_URL, HTTP_HOST) have neighbours in other programs: REDIS_URI, HTTP_PORTS."""

_OURS: Final = ("MASSIVE_", "WEBSOCKET_CONNECTION", "USE_MASSIVE", "USE_MULTI")
_PREFIXES: Final = re.compile(r"(TICKBRAID|DYNACONF)_")
_NUMBER: Final = re.compile(r"(?<=_)\d+(?=_)")


def near_keys(values: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield (name, key) for each name that is no key, but nearly one that is not set itself.

    Another program's names are passed over; a key in small letters, or with the prefix that dynaconf would
    want, is near.
    """
    for name in values:
        key = _near(name)
        if key is not None and key not in values:
            yield name, key


def _near(name: str) -> str | None:
    if name in _KNOWN or split_connection_key(name):
        return None
    bare = _PREFIXES.sub("", name.upper(), count=1)
    number = _NUMBER.search(bare)
    bare = _NUMBER.sub("n", bare)
    near = [bare] if bare in _KNOWN else difflib.get_close_matches(bare, _LONG, n=1, cutoff=_cutoff(bare))
    if not near:
        return None
    return near[0].replace("_n_", f"_{number[0] if number else 1}_")


def _cutoff(name: str) -> float:
    return NEAR_OF_OURS if name.startswith(_OURS) else NEAR


_KNOWN: Final = frozenset((*KEYS, *RENAMED, *(f"WEBSOCKET_CONNECTION_n_{part}" for part in CONNECTION_KEYS)))
_LONG: Final = tuple(key for key in sorted(_KNOWN) if len(key) >= LENGTH_MIN)
