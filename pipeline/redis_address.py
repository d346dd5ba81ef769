"""What is wrong with the address of a Redis, in words that show nothing of it that may be secret."""

import re
from typing import Any, Final, NamedTuple
from urllib.parse import SplitResult, parse_qsl, quote, urlsplit

__all__ = ["Fault", "fault_of"]

SCHEMES: Final = ("redis", "rediss", "unix")
_OPTION = re.compile(r"[A-Za-z_]\w*")
_DATABASE = re.compile(r"/?|/\d+")


class Fault(NamedTuple):
    """Says what came and what was expected, each fit to be shown."""

    got: str
    expected: str


def fault_of(url: str) -> Fault | None:
    """Return why redis-py would not connect to what was meant, None if it would.

    In a password ``#``, ``?``, ``/`` and brackets end the part of the address that they stand in, so what is
    left is another address. redis-py takes some of those, and calls another host, or leaves out what it
    does not understand.
    """
    scheme, found, rest = url.partition("://")
    if not found or scheme not in SCHEMES:
        got = f"an address that begins with {scheme[:20] + found!r}" if found else "no address"
        return Fault(got, "redis://, rediss:// or unix://")
    if odd := next((letter for letter in url if not letter.isprintable()), None):
        return Fault(f"an address with the control character {odd!r}", _quoted(odd))
    if (reserved := _unquoted(scheme, rest)) is not None:
        return Fault(f"an address with {reserved} in its user or password", _quoted(reserved))
    try:
        parts = urlsplit(url)
        good_port = parts.port != 0
    except ValueError:
        good_port = False
    if not good_port:
        return Fault("an address whose port is none", "a number from 1 to 65535 behind its host")
    if scheme != "unix" and not _DATABASE.fullmatch(parts.path):
        return Fault(
            "an address with a path that is no number", "the number of a database, as redis://HOST:6379/0"
        )
    return _option_fault(url, parts) if parts.query else None


def _unquoted(scheme: str, rest: str) -> str | None:
    """Return the character that stands unquoted before the last @, and may not."""
    if "#" in rest:  # no address of a Redis has a fragment
        return "#"
    place, _, query = rest.partition("?")
    host, slash, path = place.partition("/")
    if scheme == "unix" or "@" not in rest:
        return None
    if bracket := re.search(r"[\[\]]", host.rpartition("@")[0]):
        return bracket[0]
    if "@" in path:
        return slash
    # An option may have an @ in its value, a host has no user behind the ?.
    pairs = [pair.partition("=") for pair in query.split("&")]
    is_option = all(found and _OPTION.fullmatch(name) for name, found, _ in pairs)
    return "?" if "@" in query and not is_option else None


def _option_fault(url: str, parts: SplitResult) -> Fault | None:
    """Return which option behind the ``?`` redis-py does not take."""
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    if not pairs:
        return Fault("an address with a ? and no options behind it", "NAME=VALUE there, or no ?")
    base = url.partition("?")[0]
    may_be_password = "@" in parts.query and "@" not in parts.netloc
    for name, value in pairs:
        if not _is_taken(f"{base}?{quote(name)}={quote(value)}"):
            which = (
                "an option" if may_be_password or not _OPTION.fullmatch(name) else f"the option {name[:40]}"
            )
            return Fault(
                f"{which} in the address that redis-py does not take", "its options and their values"
            )
    return None if _is_taken(url) else Fault("options that redis-py does not take together", "others")


def _is_taken(url: str) -> bool:
    """Tell whether redis-py makes a connection of it; nothing is opened."""
    from redis import ConnectionPool, RedisError  # noqa: PLC0415  # takes 0.1 s, for an address with options

    try:
        pool: Any = ConnectionPool.from_url(url)
        pool.connection_class(**pool.connection_kwargs)
    except (TypeError, ValueError, AttributeError, RedisError):
        return False
    return True


def _quoted(letter: str) -> str:
    return f"{quote(letter, safe='')} in its place"
