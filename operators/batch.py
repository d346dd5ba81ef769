"""What flows through the operators: batches of ticks, and the account each batch carries."""

from collections.abc import Sequence
from typing import Any, Protocol

__all__ = ["Batch"]


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
