"""A value that is used but never shown."""

import hmac
from typing import NoReturn

__all__ = ["MASK", "Secret", "mask_url"]

MASK = "***"
"""Stands wherever a secret would."""


class Secret:
    """Holds a text that prints as ``***``: in a repr, an f-string, a log line, a traceback.

    It is truthy when it holds something, equal to a secret with the same text, and cannot be pickled, so
    that it reaches no file and no other process unless somebody asks for it by name.

    Args:
        text: what is secret; may be empty.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str = "") -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text; the only way to it."""
        return self._text

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._text.encode(), other._text.encode())

    def __hash__(self) -> int:
        return hash((Secret, self._text))

    def __repr__(self) -> str:
        return MASK

    def __format__(self, format_spec: str) -> str:
        return format(MASK, format_spec)

    def __copy__(self) -> "Secret":
        return self

    def __deepcopy__(self, memo: object) -> "Secret":
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not pickled: reveal() it where it has to travel")


def mask_url(url: str) -> str:
    """Return the URL without user, password, query and fragment, for people to see; ``***`` if it is none."""
    scheme, found, rest = url.partition("://")
    if not found:
        return MASK
    # Up to the last @, whatever stands before it: a password may hold any character, quoted or not.
    secret, at, place = rest.rpartition("@")
    place = place.partition("?")[0].partition("#")[0]
    return f"{scheme}://{MASK + at if secret else ''}{place}"
