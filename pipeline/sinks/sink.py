"""What a sink is: the last station of a tick, where it leaves us.

In front of every sink stands `operators.buffered`, which holds the backlog, calls `write` on a thread of its
own, and counts what a `write` did not deliver. A sink holds only what is in its hand.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NamedTuple, Protocol, runtime_checkable

from operators.buffer import Overflow
from operators.histogram import LatencyHistogram
from pipeline.ticks import TickBatch

__all__ = ["CAPTURE", "DELIVERED", "Acknowledged", "Configured", "Outcome", "Sink"]

CAPTURE: Final = "capture"
"""The name of the sink that records."""
_NONE: Final[Mapping[str, int]] = MappingProxyType({})


class Outcome(NamedTuple):
    """Tells what became of the ticks of one write; what is in neither count was delivered.

    Args:
        rejected: ticks by connection id that cannot be written: a quote without a side has no price.
        dropped: ticks by connection id that were given up because the sink was told to stop.
    """

    rejected: Mapping[str, int] = _NONE
    dropped: Mapping[str, int] = _NONE


DELIVERED: Final = Outcome()
"""All of them."""


class Configured(NamedTuple):
    """Is a sink that the settings ask for, and the buffer in front of it.

    Args:
        capacity: ticks that may wait for it.
        overflow: what happens to more.
    """

    sink: "Sink"
    capacity: int
    overflow: Overflow


class Sink(Protocol):
    """Takes ticks out of the pipeline; `write` never raises for what a server or a tick may do."""

    name: str

    def write(self, batches: Sequence[TickBatch]) -> Outcome:
        """Deliver the ticks, in order; on the sink's own thread, one call at a time.

        Blocks, and tries again, until all are delivered or `stop` was called.
        """
        ...

    def stop(self) -> None:
        """Make a blocked `write` give up within 0.5 s, and later ones at once; from any thread."""
        ...

    def close(self) -> None:
        """Let go of sockets; after the last `write`, idempotent."""
        ...

    def snapshot(self) -> dict[str, Any]:
        """Return the sink's state in plain values; from any thread."""
        ...


@runtime_checkable
class Acknowledged(Protocol):
    """Is a sink whose server says what it has."""

    acknowledged: LatencyHistogram
    """Is recorded into on the sink's thread: from taken until acknowledged, weighted by messages."""
    taken_ns: int
    """When the last `Sink.write` began, wall clock."""
