"""When each tick was received, and how late it was by then."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TypeVar

from reactivex import Observable, abc

from .batch import Batch
from .histogram import HistogramSnapshot, LatencyHistogram

__all__ = ["Latencies", "LatenciesSnapshot", "latency_stamp"]

_B = TypeVar("_B", bound=Batch)

SORT_FROM: Final = 6
"""So many ticks are recorded faster all at once than one by one."""
SAMPLE_FROM: Final = 64
SAMPLES: Final = 16
"""Of a batch of 64 ticks or more some 16 are measured, and each stands for those up to the next: they came in
one read, so the figures are the same, and looking at each would be half of what this operator costs."""


class _Histograms(dict[str, LatencyHistogram]):
    """Makes a histogram at the first use of its name."""

    def __missing__(self, name: str) -> LatencyHistogram:
        return self.setdefault(name, LatencyHistogram())

    def snapshots(self) -> dict[str, HistogramSnapshot]:
        return {name: histogram.snapshot() for name, histogram in self.copy().items()}


@dataclass(frozen=True, slots=True)
class LatenciesSnapshot:
    """Holds what `Latencies` held at a moment; the fields are the same."""

    feed: dict[str, HistogramSnapshot]
    decode: dict[str, HistogramSnapshot]
    delivered: dict[str, HistogramSnapshot]
    sink: dict[str, HistogramSnapshot] = field(default_factory=dict)


class Latencies:
    """Hold the latency histograms of a stream, one for each stage and connection or subscriber.

    One thread records in each, any thread takes a `snapshot`. There is one for each name ever used, so names
    are those of the settings. A subscriber records what it got with
    ``latencies.delivered[name].record(clock() - batch.received_ns, len(batch.ticks))``.
    """

    def __init__(self) -> None:
        self.feed = _Histograms()
        """By connection: from the event's time, as the feed says, until it was received."""
        self.decode = _Histograms()
        """By connection: from received until stamped, weighted by ticks."""
        self.delivered = _Histograms()
        """By subscriber: from received until delivered; to a sink with a server, until the sink took it."""
        self.sink = _Histograms()
        """By such a sink: from then until the server acknowledged it, weighted by messages."""

    def snapshot(self) -> LatenciesSnapshot:
        """Return all of them as they are."""
        stages = self.feed, self.decode, self.delivered, self.sink
        return LatenciesSnapshot(*(stage.snapshots() for stage in stages))


def latency_stamp(
    clock: Callable[[], int], latencies: Latencies
) -> Callable[[Observable[_B]], Observable[_B]]:
    """Write on each tick when it was received, and record how late it was.

    ::

        --[1 2]@5----[3]@9--|      @: received
        --[1@5 2@5]--[3@9]--|

    It runs on the source's thread and changes ticks and batch in place, so it belongs before `share`. The
    batch is told when it came by.

    Args:
        clock: wall clock, ns since the epoch; asked once a batch.
        latencies: gets, in ``feed``, event time to received of each tick (of a large batch a sample), and in
            ``decode``, received to now of each batch.
    """

    def operator(source: Observable[_B]) -> Observable[_B]:
        def subscribe(
            observer: abc.ObserverBase[_B], scheduler: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            def on_next(batch: _B) -> None:
                ticks = batch.ticks
                if ticks:
                    received_ns = batch.received_ns
                    for tick in ticks:
                        tick.received_ns = received_ns
                    connection = batch.connection
                    feed = latencies.feed[connection]
                    if len(ticks) < SORT_FROM:
                        for tick in ticks:
                            try:
                                feed.record(received_ns - int(tick.event_ms * 1_000_000))
                            except OverflowError:  # some 1e308 ms, which JSON can say and ns cannot
                                feed.record_since([tick.event_ms], received_ns)
                    else:
                        each = 1 if len(ticks) < SAMPLE_FROM else len(ticks) // SAMPLES
                        feed.record_since([tick.event_ms for tick in ticks[::each]], received_ns, each)
                    batch.decoded_ns = now_ns = clock()
                    latencies.decode[connection].record(now_ns - received_ns, len(ticks))
                observer.on_next(batch)

            return source.subscribe(on_next, observer.on_error, observer.on_completed, scheduler=scheduler)

        return Observable(subscribe)

    return operator
