"""The conservation law: whatever was received is delivered, or counted where it went."""

from dataclasses import dataclass, fields

__all__ = ["Account"]


@dataclass(frozen=True, slots=True)
class Account:
    """Counts where every received element is, for one connection, one subscriber or a whole stream.

    All are counts of elements (ticks, and what the feed sent in the place of ticks).
    """

    received: int = 0
    """Elements that the feed sent, status messages not counted."""
    delivered: int = 0
    """Ticks that the subscriber took: its function, or the `write` of its sink, returned."""
    deduplicated: int = 0
    """Ticks that had come before."""
    dropped: int = 0
    """Ticks given up because a buffer was full or its subscriber left."""
    failed: int = 0
    """Ticks on which the subscriber raised, or that its server refused."""
    rejected: int = 0
    """Elements that are no tick: malformed, of an unknown type, or without what the subscriber needs."""
    queued: int = 0
    """Ticks that wait in a buffer or are in the subscriber's hand."""

    @property
    def imbalance(self) -> int:
        """Elements that are nowhere: zero, or there is a defect."""
        return self.received - (
            self.delivered + self.deduplicated + self.dropped + self.failed + self.rejected + self.queued
        )

    def to_dict(self) -> dict[str, int]:
        """Return all counts by name, and the imbalance."""
        return {f.name: getattr(self, f.name) for f in fields(self)} | {"imbalance": self.imbalance}

    def __add__(self, other: "Account") -> "Account":
        return Account(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def __str__(self) -> str:
        return (
            f"received {self.received:,} = delivered {self.delivered:,} + deduplicated {self.deduplicated:,}"
            f" + dropped {self.dropped:,} + failed {self.failed:,} + rejected {self.rejected:,}"
            f" + queued {self.queued:,}"
        )
