"""The kinds of values that settings have: how each is read, and what it expects, in words.

A value may come typed (YAML, a mapping) or as text (``.env``, the environment, a mapping that was filled from
either): a text is read by the kind of its key. Nothing is guessed beyond that, so that a ticker which a file
format took for something else (``TRUE``, ``1E5``, ``007``) is noticed instead of subscribed to.
"""

import difflib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import inf
from typing import Any, Final
from urllib.parse import urlsplit

from .markets import EVENT_TYPES as FEED_TYPES
from .redis_address import fault_of
from .secret import Secret, mask_url
from .symbols import OddSymbol, read_symbols

__all__ = [
    "CALLBACK",
    "CAPTURE_KINDS",
    "CHANNEL",
    "CONNECTIONS",
    "EVENT_TYPES",
    "FLAG",
    "HOST",
    "MOMENT",
    "REDIS_ADDRESS",
    "SECRET",
    "SPEED",
    "SYMBOLS",
    "SYMBOLS_OR_UNIVERSES",
    "TEXT",
    "UNIVERSE",
    "WEBSOCKET_ADDRESS",
    "Kind",
    "Misfit",
    "OddSymbols",
    "is_universe_key",
    "nearest",
    "real",
    "shown",
    "whole",
    "word",
]

RECORDED: Final = ("frames", "ticks")
SHOWN_MAX_CHARS: Final = 60
SPEED_MIN: Final = 0.001
SPEED_MAX: Final = 1_000_000.0
EPOCH: Final = datetime.fromtimestamp(0, UTC)
_TRUE = frozenset({"true", "yes", "on", "1"})
_FALSE = frozenset({"false", "no", "off", "0"})
_UNIVERSE = re.compile(r"[a-z][a-z0-9_-]+:[^\s,]+")


class Misfit(ValueError):
    """Says that a value is not of its kind.

    Args:
        got: what came, fit to be shown.
        expected: what the kind expects; None where the kind's own words say it all.
    """

    def __init__(self, got: str, expected: str | None = None) -> None:
        self.got = got
        self.expected = expected
        super().__init__(got)


class OddSymbols(Misfit):
    """Says that some of a list can be no symbols; what is left of it is good, unless that is nothing.

    Args:
        odd: what can be none.
        rest: the others.
    """

    def __init__(self, odd: tuple[OddSymbol, ...], rest: tuple[str, ...]) -> None:
        super().__init__(", ".join(map(str, odd)))
        self.odd = odd
        self.rest = rest


@dataclass(frozen=True, slots=True)
class Kind:
    """Is one kind of value.

    Args:
        expected: what it expects, in words that follow "expected".
        read: takes what came, returns the typed value, raises `Misfit`.
        blank_is_unset: an empty text means "not set" rather than "empty".
    """

    expected: str
    read: Callable[[Any], Any]
    blank_is_unset: bool = True


def shown(value: object) -> str:
    """Return the value as a problem text shows it: YAML's words for booleans and nothing, never long."""
    if isinstance(value, bool):
        return "true" if value else "false"
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= SHOWN_MAX_CHARS else text[: SHOWN_MAX_CHARS - 1] + "…"


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``; did you mean X?`` for the nearest known name, or nothing if none is near."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def moment_words(at_ns: Any) -> str:
    """Return a moment as it may be written in the settings, in UTC; nothing for 0, which is none."""
    return (EPOCH + timedelta(microseconds=at_ns // 1000)).isoformat() if at_ns else ""


def is_universe_key(text: str) -> bool:
    """Tell a universe key (``etf:sector_spdrs``) from a symbol, prefixed by one letter (``X:BTC-USD``)."""
    return _UNIVERSE.fullmatch(text.strip()) is not None


def whole(low: int, high: int) -> Kind:
    """Make the kind of whole numbers from ``low`` to ``high``, both allowed."""
    return Kind(f"a whole number from {low} to {high}", lambda value: _number(value, low, high, int))


def real(low: float, high: float, unit: str) -> Kind:
    """Make the kind of numbers from ``low`` to ``high``, both allowed."""
    return Kind(
        f"a number of {unit} from {low:g} to {high:g}", lambda value: _number(value, low, high, float)
    )


def word(*choices: str) -> Kind:
    """Make the kind that is one of a few words, in any case."""

    def read(value: object) -> str:
        name = value.strip().lower().replace("_", "-") if isinstance(value, str) else None
        for choice in choices:
            if choice.replace("_", "-") == name:
                return choice
        raise Misfit(shown(value), expected + nearest(str(value).lower(), choices))

    expected = "one of " + ", ".join(choices)
    return Kind(expected, read)


def _number(value: object, low: float, high: float, number_type: type[int] | type[float]) -> float:
    number = value
    if isinstance(value, str):
        try:
            number = float(value) if not value.strip().lstrip("+-").isdecimal() else int(value)
        except ValueError:
            raise Misfit(shown(value)) from None
    if isinstance(number, bool) or not isinstance(number, int | float) or not low <= number <= high:
        raise Misfit(shown(value))
    if number_type is int and number != int(number):
        raise Misfit(shown(value))
    return int(number) if number_type is int else number


def _flag(value: object) -> bool:
    name = str(value).strip().lower() if isinstance(value, str | bool | int) else ""
    if name in _TRUE:
        return True
    if name in _FALSE:
        return False
    raise Misfit(shown(value))


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise Misfit(_unquoted(value))
    return value.strip()


def _secret(value: object) -> Secret:
    if isinstance(value, Secret):
        return value
    if not isinstance(value, str):
        raise Misfit(f"something that is no text ({type(value).__name__})")
    return Secret(value.strip())


def _channel(value: object) -> str:
    channel = _text(value)
    if any(letter.isspace() or not letter.isprintable() for letter in channel):
        raise Misfit(shown(value))
    return channel


def _callback(value: object) -> str:
    path = _text(value)
    module, _, names = path.partition(":")
    if path and not all(name.isidentifier() for name in (*module.split("."), *names.split("."))):
        raise Misfit(shown(path))
    return path


def _host(value: object) -> str:
    host = _text(value)
    if host and not re.fullmatch(r"[A-Za-z0-9._-]+|[0-9A-Fa-f]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f.]*", host):
        raise Misfit("an address with a password or a path in it" if set("@/") & set(host) else shown(host))
    return host


def _universe(value: object) -> str:
    text = _text(value)
    if text and not all(part.strip() for part in text.split("+")):
        raise Misfit(shown(text))
    return text


def _websocket_address(value: object) -> str:
    url = _text(value)
    try:
        parts = urlsplit(url)
        good = parts.scheme in {"ws", "wss"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise Misfit(shown(mask_url(url) if "://" in url or "@" in url else url))
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise Misfit(
            shown(mask_url(url)), "no user, query or fragment in it, since addresses are shown in logs"
        )
    return url


def _redis_address(value: object) -> Secret:
    secret = _secret(value)
    if secret and (fault := fault_of(secret.reveal())):
        raise Misfit(*fault)
    return secret


def _listed(value: object) -> list[object]:
    if isinstance(value, str):
        return [part for part in value.split(",") if part.strip()]
    if isinstance(value, list | tuple):
        return list(value)
    return [value]


def _symbols(value: object) -> tuple[str, ...]:
    good, odd = read_symbols(_listed(value))
    if odd:
        raise OddSymbols(odd, good)
    return good


def _symbols_or_universes(value: object) -> tuple[str, ...]:
    entries: dict[str, None] = {}
    odd: list[OddSymbol] = []
    for item in _listed(value):
        if isinstance(item, str) and all(map(is_universe_key, item.split("+"))):
            entries[item.strip()] = None
        else:
            symbols = read_symbols([item])
            entries.update(dict.fromkeys(symbols.good))
            odd += symbols.odd
    if odd:
        raise OddSymbols(tuple(odd), tuple(entries))
    return tuple(entries)


def _event_types(value: object) -> tuple[str, ...]:
    types: dict[str, None] = {}
    for item in _listed(value):
        name = item.strip().upper() if isinstance(item, str) else ""
        if name in FEED_TYPES:
            types[name] = None
        elif item != "":
            raise Misfit(shown(item), f"{_EVENT_WORDS}{nearest(str(item).upper(), FEED_TYPES)}")
    if not types:
        raise Misfit("none")
    return tuple(types)


def _capture_kinds(value: object) -> tuple[str, ...]:
    kinds = {item.strip().lower() if isinstance(item, str) else item: None for item in _listed(value)}
    if not kinds or not set(kinds) <= set(RECORDED):
        raise Misfit(shown(value))
    return tuple(kind for kind in RECORDED if kind in kinds)


def _connections(value: object) -> tuple[str, ...]:
    names = [str(item).strip() for item in _listed(value) if not isinstance(item, bool | dict)]
    return tuple(f"connection_{name}" if name.isdecimal() else name for name in names if name)


def _speed(value: object) -> float:
    if isinstance(value, str) and value.strip().lower() == "max":
        return inf
    return _number(value, SPEED_MIN, SPEED_MAX, float)


def _moment(value: object) -> int:
    """Return ns since the epoch, 0 for an empty text."""
    moment = value
    if isinstance(value, str):
        if not value.strip():
            return 0
        try:
            moment = datetime.fromisoformat(value.strip())
        except ValueError:
            raise Misfit(shown(value)) from None
    if not isinstance(moment, datetime):
        raise Misfit(shown(value))
    if moment.tzinfo is None:
        raise Misfit(f"{shown(str(value))} without its offset from UTC")
    return (moment - EPOCH) // timedelta(microseconds=1) * 1000


def _unquoted(value: object) -> str:
    if isinstance(value, bool):
        name = shown(value)
        return f'the boolean {name} (a ticker of that name is written in quotes: "{name.upper()}")'
    if isinstance(value, list | tuple | dict):
        return shown(value)
    return f"{shown(value)}, which is no text (write it in quotes)"


_EVENT_WORDS = "event types out of " + ", ".join(FEED_TYPES)

FLAG = Kind("true or false (yes, no, on, off, 1, 0)", _flag)
TEXT = Kind("text", _text, blank_is_unset=False)
SECRET = Kind("text", _secret, blank_is_unset=False)
CALLBACK = Kind("MODULE:FUNCTION, or nothing", _callback, blank_is_unset=False)
CHANNEL = Kind("a channel name without spaces, or nothing to turn it off", _channel, blank_is_unset=False)
UNIVERSE = Kind("a universe key, or several joined with +", _universe, blank_is_unset=False)
HOST = Kind("a host name or address without its port", _host, blank_is_unset=False)
WEBSOCKET_ADDRESS = Kind("an address like wss://HOST/MARKET", _websocket_address)
REDIS_ADDRESS = Kind("redis://, rediss:// or unix://", _redis_address, blank_is_unset=False)
SYMBOLS = Kind("symbols, as a comma list or a YAML list of texts", _symbols, blank_is_unset=False)
SYMBOLS_OR_UNIVERSES = Kind(
    "symbols or universe keys, as a comma list or a YAML list", _symbols_or_universes, blank_is_unset=False
)
CAPTURE_KINDS = Kind("frames, ticks or both, as a comma list or a YAML list", _capture_kinds)
CONNECTIONS = Kind(
    "numbers or ids of connections, as a comma list or a YAML list", _connections, blank_is_unset=False
)
SPEED = Kind(f"a number from {SPEED_MIN:g} to {SPEED_MAX:g}, or max", _speed)
MOMENT = Kind("a time like 2026-11-23T09:30:00-05:00, or nothing", _moment, blank_is_unset=False)
EVENT_TYPES = Kind(_EVENT_WORDS, _event_types)
