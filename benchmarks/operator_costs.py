"""What each operator costs, a batch and a tick, against its peer in reactivex where it has one.

    python -m benchmarks.operator_costs

Ours and the peer take turns, so that whatever else the machine does hits both; shown is the median of the
rounds. Ticks are decoded from JSON right before they are used, as in the pipeline, outside of the measured
time. Single-threaded operators are measured in CPU time of their thread, hand-offs on the wall clock.
"""

import itertools
import random
import statistics
import threading
import time
import timeit
import tracemalloc
from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec
import reactivex
from reactivex import Observable, abc
from reactivex import operators as ops
from reactivex.disposable import Disposable
from reactivex.scheduler import EventLoopScheduler, VirtualTimeScheduler

from operators.buffered import buffered
from operators.dedupe import dedupe
from operators.histogram import LatencyHistogram
from operators.latency_stamp import Latencies, latency_stamp
from operators.merge import merge
from operators.scheduler import BufferingScheduler
from operators.share import share
from pipeline.bars import FirstBars
from pipeline.identity import Seen
from pipeline.ticks import Quote, TickBatch, Trade
from pipeline.tracks import Tracks

ROUNDS: Final = 5
HAND_OVERS: Final = 20
"""How often the same batches are handed over in one round: a thread's first 5 ms are not the rule."""
WINDOW: Final = 65_536
START_NS: Final = 1_700_000_000_000_000_000
Run = Callable[[], float]
"""Does it once and returns the seconds it took."""


def main() -> None:
    """Run all and print the table."""
    print(
        f"an empty call takes {min(timeit.repeat(lambda: None, number=100_000)) * 1e4:.0f} ns here and now\n"
    )
    print(f"{'operator, ticks a batch':44} {'ns/batch':>10} {'ns/tick':>9}   peer")
    for size in (1, 10, 100, 500):
        frames = make_frames(max(100_000 // size // (10 if size == 1 else 1), 100), size)
        count = len(frames)
        row("source alone", count, size, chain(frames))
        row("dedupe", count, size, chain(frames, dedupe(lambda: Seen(WINDOW, Tracks()))))
        row(
            "latency_stamp", count, size, chain(frames, latency_stamp(time.time_ns, Latencies(), FirstBars()))
        )
        row("merge", count, size, chain(frames, merge), "reactivex.merge", chain(frames, reactivex.merge))
        row(
            "share, 3 subscribers",
            count,
            size,
            chain(frames, share(), subscribers=3),
            "ops.share",
            chain(frames, ops.share(), subscribers=3),
        )
        few = frames[: max(20_000 // size, 1)]
        row(
            "buffered",
            len(few),
            size,
            hand_over(few, lambda _: buffered(10_000)),
            "observe_on(EventLoopScheduler)",
            hand_over(few, ops.observe_on),
        )
        row("buffered, conflate, full", len(few), size, conflated(few))
    small = make_frames(30, 100)
    row(
        "dedupe of 3,000 ticks",
        30,
        100,
        chain(small, dedupe(lambda: Seen(WINDOW, Tracks()))),
        "ops.distinct, tick by tick",
        chain(
            small,
            ops.flat_map(lambda batch: reactivex.from_iterable(batch.ticks)),
            ops.distinct(lambda tick: (tick.ticker, tick.sequence)),
        ),
    )
    print()
    schedulers()
    histograms()
    memory()


def row(name: str, batches: int, size: int, ours: Run, peer_name: str = "", peer: Run | None = None) -> None:  # noqa: PLR0917 - a row of a table
    """Measure ours and its peer in turns and print a line."""
    rounds = [(ours(), peer() if peer else 0.0) for _ in range(ROUNDS)]
    ns = statistics.median(mine for mine, _ in rounds) / batches * 1e9
    line = f"{name + ', ' + str(size):44} {ns:10,.0f} {ns / size:9,.0f}"
    if peer:
        peer_ns = statistics.median(theirs for _, theirs in rounds) / batches * 1e9
        line += f"   {peer_name} {peer_ns:,.0f} ns/batch: {peer_ns / ns:.1f} times ours"
    print(line, flush=True)


def make_frames(count: int, size: int) -> list[bytes]:
    """Return frames of a burst: 300 tickers, a trade in five events, ten events a ms, 2 % repeated."""
    source = random.Random(7)
    tickers = [f"TK{number}" for number in range(300)]
    frames: list[bytes] = []
    for number in range(count):
        ticks: list[Trade | Quote] = []
        for index in range(number * size, (number + 1) * size):
            ticker, event_ms = source.choice(tickers), START_NS // 10**6 + index // 10
            if source.random() < 0.2:
                ticks.append(
                    Trade(ticker=ticker, price=9.5, event_ms=event_ms, exchange=4, trade_id=str(index))
                )
            else:
                ticks.append(Quote(ticker=ticker, event_ms=event_ms, bid=9.4, ask=9.6, sequence=index))
        if frames and source.random() < 0.02:
            frames.append(frames[-1])
            continue
        frames.append(msgspec.json.encode(ticks))
    return frames


DECODER: Final = msgspec.json.Decoder(list[Trade | Quote])


def decoded(frames: Iterable[bytes]) -> Iterable[TickBatch]:
    """Decode frames, one at a time."""
    for number, frame in enumerate(frames):
        ticks = DECODER.decode(frame)
        yield TickBatch(
            connection="primary", received_ns=START_NS + number * 10**6, ticks=ticks, received=len(ticks)
        )


class Source(Observable[Any]):
    """Emits when told to, with nothing between it and its observer."""

    def __init__(self) -> None:
        super().__init__(self._attach)
        self.emit: Callable[[Any], None] = print
        self.complete: Callable[[], None] = print

    def _attach(self, observer: abc.ObserverBase[Any], _: abc.SchedulerBase | None = None) -> Disposable:
        self.emit, self.complete = observer.on_next, observer.on_completed
        return Disposable()


def chain(frames: list[bytes], *operators: Callable[[Any], Any], subscribers: int = 1) -> Run:
    """Send all batches through operators on this thread; the CPU time of the operators alone."""

    def run() -> float:
        source = Source()
        stream = source.pipe(*operators)
        subscriptions = [stream.subscribe(lambda _: None) for _ in range(subscribers)]
        emit, clock, spent_ns = source.emit, time.thread_time_ns, 0
        for batch in list(decoded(frames)) if len(frames[0]) < 500 else decoded(frames):
            start_ns = clock()
            emit(batch)
            spent_ns += clock() - start_ns
        for subscription in subscriptions:
            subscription.dispose()
        return spent_ns / 1e9

    return run


def hand_over(frames: list[bytes], make: Callable[[EventLoopScheduler], Callable[[Any], Any]]) -> Run:
    """Send all batches to another thread; the wall time until the last was delivered."""

    def run() -> float:
        source, done, loop = Source(), threading.Event(), EventLoopScheduler()
        subscription = source.pipe(make(loop)).subscribe(lambda _: None, on_completed=done.set)
        batches = list(decoded(frames))
        start_s = time.perf_counter()
        for batch in itertools.chain.from_iterable(itertools.repeat(batches, HAND_OVERS)):
            source.emit(batch)
        source.complete()
        done.wait()
        took_s = (time.perf_counter() - start_s) / HAND_OVERS
        subscription.dispose()
        loop.dispose()
        return took_s

    return run


def conflated(frames: list[bytes]) -> Run:
    """Offer batches to a full queue that conflates quotes and that nobody takes from."""

    def key(tick: Any) -> Any:
        return tick.ticker if type(tick) is Quote else None

    return chain(frames, buffered(1000, "conflate", scheduler=VirtualTimeScheduler(), conflate_key=key))


def schedulers() -> None:
    """Print what an action costs, and how long a hand-off to an idle thread takes."""
    ours, peer = BufferingScheduler("benchmark", 100_000), EventLoopScheduler()
    for name, scheduler in (("BufferingScheduler", ours), ("EventLoopScheduler", peer)):
        burst_s, ping_s = [], []
        for _ in range(ROUNDS):
            done = threading.Event()
            start_s = time.perf_counter()
            for _ in range(20_000):
                scheduler.schedule(lambda *_: None)
            scheduler.schedule(lambda *_, done=done: done.set())
            done.wait()
            burst_s.append((time.perf_counter() - start_s) / 20_000)
            for _ in range(200):
                done = threading.Event()
                start_s = time.perf_counter()
                scheduler.schedule(lambda *_, done=done: done.set())
                done.wait()
                ping_s.append(time.perf_counter() - start_s)
        burst, ping = statistics.median(burst_s), statistics.median(ping_s)
        print(f"{name}: {burst * 1e6:.1f} µs an action in a burst, {ping * 1e6:.0f} µs to a thread and back")
        scheduler.dispose()


def histograms() -> None:
    """Print what recording and reading cost."""
    histogram = LatencyHistogram()
    moments: list[float] = [START_NS // 10**6 + index // 10 for index in range(500)]

    def each(action: Callable[[], object], repeats: int) -> float:
        def once() -> float:
            start_ns = time.thread_time_ns()
            for _ in range(repeats):
                action()
            return (time.thread_time_ns() - start_ns) / repeats

        return statistics.median(once() for _ in range(ROUNDS))

    record = each(lambda: histogram.record(123_456_789), 20_000)
    since = each(lambda: histogram.record_since(moments.copy(), START_NS + 80_000_000), 400) / 500
    snapshot = histogram.snapshot()
    print(
        f"histogram: record {record:.0f} ns, record_since {since:.0f} ns a moment of 500, "
        f"snapshot {each(histogram.snapshot, 1000) / 1000:.1f} µs, "
        f"percentile {each(lambda: snapshot.percentile(99), 200) / 1000:.0f} µs"
    )


def memory() -> None:
    """Print what a full memory of identities weighs."""
    frames = make_frames(2 * WINDOW // 100 + 10, 100)
    tracemalloc.start()
    source = Source()
    source.pipe(dedupe(lambda: Seen(WINDOW, Tracks()))).subscribe(lambda _: None)
    peak = 0
    for batch in decoded(frames):
        source.emit(batch)
        peak = max(peak, tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    print(f"dedupe: {peak / 1e6:.0f} MB at most for a window of {WINDOW:,} identities (two generations)")


if __name__ == "__main__":
    main()
