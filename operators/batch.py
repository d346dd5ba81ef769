"""What flows through the operators: batches of ticks, and the account each batch carries."""

from collections.abc import Sequence
from typing import Any, Final, Protocol

import msgspec

from .errors import NotABatch

__all__ = ["Batch", "TickBatch", "refuse"]


class Batch(Protocol):
    """A batch of ticks and what became of the elements that are not in it.

    ``received = len(ticks) + deduplicated + rejected + lost`` holds for every batch that flows, and an
    operator that takes ticks out of a batch adds to the matching count. So whoever counts the batches it
    was given has the whole account, exact at any moment, without asking another thread. A batch without
    ticks still flows if it carries counts. A batch is shared by all subscribers: after `share` nobody
    changes it.
    """

    connection: str
    """The id of the connection that brought it."""
    received_ns: int
    """Wall clock of the read that brought it, ns since the epoch."""
    decoded_ns: int
    """Wall clock when it was decoded and stamped, ns since the epoch; 0 before `latency_stamp`."""
    ticks: list[Any]
    """The ticks, in the order of the wire."""
    received: int
    """Elements that the feed sent: these ticks and those counted below."""
    deduplicated: int
    """Ticks taken out as duplicates."""
    rejected: int
    """Elements that are no tick we know: malformed, or of an unknown type."""
    lost: int
    """Elements dropped before they were decoded, since the batch before."""

    def with_ticks(self, ticks: Sequence[Any]) -> "Batch":
        """Return a batch like this one with other ticks and all its counts zero but ``received``."""
        ...


class TickBatch(msgspec.Struct, gc=False, kw_only=True):
    """The ticks of one read of one connection; `Batch` says what the account in it is."""

    connection: str = ""
    received_ns: int = 0
    ticks: list[Any]
    received: int = 0
    deduplicated: int = 0
    rejected: int = 0
    lost: int = 0
    decoded_ns: int = 0

    @classmethod
    def of(cls, ticks: Sequence[Any], connection: str = "", received_ns: int = 0) -> "TickBatch":
        """Return a balanced batch of these ticks.

        Args:
            ticks: in their order; a list of its own is made of them.
            connection: the account goes by it.
            received_ns: when they came, wall clock, ns since the epoch.
        """
        kept = list(ticks)
        return cls(connection=connection, received_ns=received_ns, ticks=kept, received=len(kept))

    def with_ticks(self, ticks: Sequence[Any]) -> "TickBatch":
        """Return a batch of the same read with these ticks only, balanced."""
        batch = TickBatch.of(ticks, self.connection, self.received_ns)
        batch.decoded_ns = self.decoded_ns
        return batch


_PARTS: Final = (
    "connection",
    "received_ns",
    "ticks",
    "received",
    "deduplicated",
    "rejected",
    "lost",
    "with_ticks",
)


def refuse(item: object, operator: str, error: Exception) -> Exception:
    """Return the error of an operator that could not take an item, which says so where it is no batch.

    Args:
        item: what came.
        operator: its name.
        error: what was raised.
    """
    missing = [part for part in _PARTS if not hasattr(item, part)]
    if not missing:
        return error
    return NotABatch(
        f"{operator} takes batches, such as TickBatch.of([tick]), and {type(item).__name__} is none: "
        f"it has no {', '.join(missing)}"
    )
