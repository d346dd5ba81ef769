"""What all status events are."""

from typing import Any

import msgspec

from .shown import shown

__all__ = ["StatusEvent", "counted", "some_of"]


class StatusEvent(msgspec.Struct, frozen=True, kw_only=True, tag=True, tag_field="event"):
    """Is what all status events are: when, and on which connection if it was on one.

    Args:
        connection: the connection's id, None where it is the whole stream's.
        at_ns: wall clock, ns since the epoch.
    """

    connection: str | None = None
    at_ns: int

    def describe(self) -> str:
        """Say it in words, for people, on one line: what a server said in it is made fit to be shown."""
        where = f"{self.connection}: " if self.connection else ""
        return shown(where + self._words())

    def _words(self) -> str:
        return type(self).__name__.lower()

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ``event`` naming the kind, for logs and JSON."""
        values: dict[str, Any] = msgspec.to_builtins(self)
        return values


def some_of(channels: tuple[str, ...]) -> str:
    """Return the first five in words, and how many more there are."""
    shown = ", ".join(channels[:5])
    return shown if len(channels) <= 5 else f"{shown} and {len(channels) - 5} more"


def counted(count: int, noun: str) -> str:
    """Return a number of things in words: ``1 channel``, ``2,000 channels``."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
