"""What a sink is: the last station of a tick, where it leaves us.

In front of every sink stands `operators.buffered`, which holds the backlog, calls `write` on a thread of its
own, and counts what a `write` did not deliver. A sink holds only what is in its hand.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NamedTuple, Protocol, runtime_checkable

from operators._buffer.buffer import Overflow
from operators.histogram import LatencyHistogram
from pipeline.callables import check_callable
from pipeline.ticks import TickBatch

__all__ = ["CAPTURE", "DELIVERED", "Acknowledged", "Configured", "Outcome", "Sink", "check_sink"]

CAPTURE: Final = "capture"
"""The name of the sink that records."""
_NONE: Final[Mapping[str, int]] = MappingProxyType({})


class Outcome(NamedTuple):
    """Tells what became of the ticks of one write; what is in none of the counts was delivered.

    Args:
        rejected: ticks by connection id that cannot be written: a quote without a side has no price.
        dropped: ticks by connection id that were given up because the sink was told to stop.
        failed: ticks by connection id on which the user's function raised, or that the server refused.
        error: why they failed, or the last of them.
    """

    rejected: Mapping[str, int] = _NONE
    dropped: Mapping[str, int] = _NONE
    failed: Mapping[str, int] = _NONE
    error: BaseException | None = None


DELIVERED: Final = Outcome()
"""All of them."""


class Configured(NamedTuple):
    """Is a sink that the settings ask for, and the buffer in front of it.

    Args:
        capacity: ticks that may wait for it.
        overflow: what happens to more.
        max_age_ms: what waited longer is dropped; 0 for any age.
    """

    sink: "Sink"
    capacity: int
    overflow: Overflow
    max_age_ms: float = 0


class Sink(Protocol):
    """Takes ticks out of the pipeline; `write` should not raise for what a server or a tick may do."""

    name: str

    def write(self, batches: Sequence[TickBatch]) -> Outcome | None:
        """Deliver the ticks, in order; on the sink's own thread, one call at a time.

        Blocks, and tries again, until all are delivered or `stop` was called. None says that all were. Where
        it raises, all of them have failed, and the next come all the same.
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


def check_sink(sink: object) -> None:
    """Refuse what is no sink, before anything starts.

    Raises:
        TypeError: something of a `Sink` is missing, or cannot be called; names it.
    """
    if isinstance(sink, type):
        raise TypeError(f"sink must be an object, not the class {sink.__name__} itself: {sink.__name__}(…)")
    wrong = [f"{name}()" for name in ("write", "stop", "close", "snapshot") if not _has(sink, name)]
    name = getattr(sink, "name", None)
    if not isinstance(name, str) or not name:
        wrong.insert(0, "name, a text")
    if wrong:
        raise TypeError(f"sink must have {', '.join(wrong)}, which {type(sink).__name__} has not")
    for method in ("write", "stop", "close", "snapshot"):
        check_callable(getattr(sink, method), f"{method} of the sink {name}")


def _has(sink: object, method: str) -> bool:
    return callable(getattr(sink, method, None))
