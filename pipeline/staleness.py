"""Which connections have gone stale: pure. What is done about it is `pipeline.massive.watch`."""

from collections.abc import Sequence
from typing import Final, Protocol

__all__ = ["Listened", "judge"]

NEWS: Final = 0.5
"""A witness was silent for less than this part of the silence in question; what begins together is longer."""
SLOWER: Final = 10.0
"""A connection whose limit is more than so many times the other's may just have had nothing to say."""


class Listened(Protocol):
    """Is what is judged of a connection: a `ConnectionSnapshot`, or whatever else has these."""

    @property
    def id(self) -> str:
        """The connection's name."""
        ...

    @property
    def confirmed(self) -> int:
        """Channels that the server says it sends."""
        ...

    @property
    def silent_for_s(self) -> float | None:
        """The age of its last ticks; None where it is not live, or none came in this session."""
        ...

    @property
    def limit_s(self) -> float | None:
        """From when on that is far too long for it; None where nobody can tell yet."""
        ...


def judge(connections: Sequence[Listened], *, market_open: bool) -> list[str]:
    """Return the ids of those that are silent far longer than they ever are, while others have news.

    What all connections do together is the market's doing, not a connection's. One that has nobody to be
    compared with is judged by its own rhythm alone: connecting anew in a quiet market costs nothing, a
    stream that stopped costs the day. Only arrivals count, so a feed that is 15 minutes late is as good as
    any.

    Args:
        connections: all of the stream's.
        market_open: the exchange is in session; True where nobody knows.
    """
    if not market_open:
        return []
    heard = [
        (connection.id, connection.silent_for_s, connection.limit_s)
        for connection in connections
        if connection.confirmed and connection.silent_for_s is not None and connection.limit_s is not None
    ]
    stale = []
    for name, silent_for_s, limit_s in heard:
        witnesses = [s for other, s, limit in heard if other != name and limit <= SLOWER * limit_s]
        alone_or_late = not witnesses or min(witnesses) < NEWS * silent_for_s
        if silent_for_s > limit_s and alone_or_late:
            stale.append(name)
    return stale
