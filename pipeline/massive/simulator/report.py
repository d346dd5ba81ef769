"""What a simulated server sent and saw, counted exactly, so that a test can hold a client against it."""

from collections import Counter
from dataclasses import dataclass, field, fields

__all__ = ["Attempt", "ClientReport", "Report", "Tally"]


@dataclass(slots=True)
class Tally:
    """Counts what went out; only elements handed to the socket count."""

    channels: Counter[str] = field(default_factory=Counter)
    """Good elements by channel, each counted when it went out first."""
    frames: int = 0
    """Data frames (messages), repeated and truncated ones included; status frames are not."""
    repeated_frames: int = 0
    repeated_elements: int = 0
    """Good elements that went out again."""
    malformed: Counter[str] = field(default_factory=Counter)
    """Malformed elements by what is wrong, those of repeated frames included."""
    truncated_frames: int = 0
    truncated_marks: int = 0
    """``"ev"`` marks within truncated frames: what a client counts that does not decode."""
    pings: int = 0
    largest_request: int = 0
    """Channels of the largest subscription request."""
    slow_kills: int = 0
    evictions: int = 0

    @property
    def types(self) -> Counter[str]:
        """Good elements by event type."""
        by_type: Counter[str] = Counter()
        for channel, count in self.channels.items():
            by_type[channel.partition(".")[0]] += count
        return by_type

    @property
    def elements(self) -> int:
        """Good elements, each counted once."""
        return self.channels.total()

    def copy(self) -> "Tally":
        """Return the counts as they are now."""
        copied = Tally()
        copied.add(self)
        return copied

    def add(self, other: "Tally") -> None:
        """Add another's counts to these."""
        self.channels.update(other.channels)
        self.malformed.update(other.malformed)
        self.largest_request = max(self.largest_request, other.largest_request)
        for name in _SUMMED:
            setattr(self, name, getattr(self, name) + getattr(other, name))


_SUMMED = tuple(f.name for f in fields(Tally) if f.type is int and f.name != "largest_request")


@dataclass(frozen=True)
class Attempt:
    """Is one TCP connection that came, and when (monotonic, s)."""

    client: int
    at_s: float


@dataclass(frozen=True)
class ClientReport:
    """Says what one client is and what it was sent.

    Args:
        client: its number, from 1 in the order of arrival.
        path: the path it asked for, ``/stocks``.
        key: what it authenticated with, None before.
        channels: what it holds, sorted.
        sent: its counts.
        ended: why it is gone, None while it is here.
    """

    client: int
    path: str
    key: str | None
    channels: tuple[str, ...]
    sent: Tally
    ended: str | None


@dataclass(frozen=True)
class Report:
    """Is a snapshot of the whole server.

    Args:
        sent: the counts of all clients together, gone ones included.
        clients: those that are here, in the order of arrival.
        gone: the last ones that left.
        attempts: how many TCP connections came in all.
        last_attempts: the last of them.
        feed_errors: why feeds broke off.
    """

    sent: Tally
    clients: tuple[ClientReport, ...]
    gone: tuple[ClientReport, ...]
    attempts: int
    last_attempts: tuple[Attempt, ...]
    feed_errors: tuple[str, ...]

    @property
    def held(self) -> int:
        """Channels that the present clients hold together."""
        return sum(len(client.channels) for client in self.clients)
