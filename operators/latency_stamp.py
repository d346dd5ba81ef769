"""When each tick was received, and how late it was by then."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from reactivex import Observable, abc

from .batch import Batch, refuse
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
    bars: dict[str, HistogramSnapshot] = field(default_factory=dict)


class Latencies:
    """Hold the latency histograms of a stream, one for each stage and connection or subscriber.

    One thread records in each, any thread takes a `snapshot`. There is one for each name ever used, so names
    are those of the settings. A subscriber records what it got with
    ``latencies.delivered[name].record(clock() - batch.received_ns, len(batch.ticks))``.
    """

    def __init__(self) -> None:
        self.feed = _Histograms()
        """By connection: from the event's time, as the feed says, until it was received; without bars."""
        self.decode = _Histograms()
        """By connection: from received until stamped, weighted by ticks."""
        self.delivered = _Histograms()
        """By subscriber: from received until delivered; to a sink with a server, until the sink took it."""
        self.sink = _Histograms()
        """By such a sink: from then until the server acknowledged it, weighted by messages."""
        self.bars = _Histograms()
        """By connection: from the end of a bar's window until the bar came for the first time."""

    def snapshot(self) -> LatenciesSnapshot:
        """Return all of them as they are."""
        stages = self.feed, self.decode, self.delivered, self.sink, self.bars
        return LatenciesSnapshot(*(stage.snapshots() for stage in stages))


def latency_stamp(
    clock: Callable[[], int],
    latencies: Latencies,
    first_bars: Callable[[list[Any]], list[Any]] = list,
) -> Callable[[Observable[_B]], Observable[_B]]:
    """Write on each tick when it was received, and record how late it was.

    ::

        --[1 2]@5----[3]@9--|      @: received
        --[1@5 2@5]--[3@9]--|

    It runs on the source's thread and changes ticks and batch in place, so it belongs before `share`. The
    batch is told when it came by. Bars (``tick.is_bar``) are measured apart: a feed sends them some time
    after their end by design, which is no event's lateness.

    Args:
        clock: wall clock, ns since the epoch; asked once a batch.
        latencies: gets, in ``feed``, event time to received of each tick but bars (of a large batch a
            sample), in ``bars`` the same of bars, and in ``decode``, received to now of each batch.
        first_bars: is given the bars of each batch, and returns those to be measured: a revision is not late.
    """

    def operator(source: Observable[_B]) -> Observable[_B]:
        def subscribe(
            observer: abc.ObserverBase[_B], scheduler: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            bars_come = False
            """Until the first is seen, of a large batch no more is looked at than is measured."""

            def on_next(batch: _B) -> None:
                nonlocal bars_come
                try:
                    ticks = batch.ticks
                except AttributeError as error:
                    observer.on_error(refuse(batch, "latency_stamp", error))
                    return
                if ticks:
                    received_ns = batch.received_ns
                    for tick in ticks:
                        tick.received_ns = received_ns
                    sample, each = (ticks, 1) if len(ticks) < SAMPLE_FROM else _sample(ticks)
                    for tick in ticks if bars_come else sample:
                        if tick.is_bar:
                            bars_come = True
                            sample, each = _sample(_measure_bars(batch, latencies, first_bars))
                            break
                    if sample:
                        _record(latencies.feed[batch.connection], sample, received_ns, each)
                    batch.decoded_ns = now_ns = clock()
                    latencies.decode[batch.connection].record(now_ns - received_ns, len(ticks))
                observer.on_next(batch)

            return source.subscribe(on_next, observer.on_error, observer.on_completed, scheduler=scheduler)

        return Observable(subscribe)

    return operator


def _measure_bars(
    batch: Batch, latencies: Latencies, first_bars: Callable[[list[Any]], list[Any]]
) -> list[Any]:
    """Record how late a batch's bars were, and return what else is in it."""
    bars = first_bars([tick for tick in batch.ticks if tick.is_bar])
    if bars:
        _record(latencies.bars[batch.connection], bars, batch.received_ns, 1)
    return [tick for tick in batch.ticks if not tick.is_bar]


def _sample(ticks: list[Any]) -> tuple[list[Any], int]:
    """Return those that are measured, and for how many each stands."""
    each = 1 if len(ticks) < SAMPLE_FROM else len(ticks) // SAMPLES
    return ticks[::each], each


def _record(histogram: LatencyHistogram, ticks: list[Any], received_ns: int, each: int) -> None:
    """Record how late these were, each standing for so many."""
    if len(ticks) < SORT_FROM:
        for tick in ticks:
            try:
                histogram.record(received_ns - int(tick.event_ms * 1_000_000), each)
            except OverflowError:  # some 1e308 ms, which JSON can say and ns cannot
                histogram.record_since([tick.event_ms], received_ns, each)
    else:
        histogram.record_since([tick.event_ms for tick in ticks], received_ns, each)
