"""Where the time goes: ns a tick for each stage of the pipeline, by events a frame.

    python -m benchmarks.stages

The stages are the pipeline's own objects, put together on one thread as `pipeline.build` does, with a look at
the clock between them once a read; shown is the median of the reads. What hands over to another thread is
measured by itself, in CPU time of the process, so it is what both threads pay.
"""

import itertools
import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from reactivex import Observable, abc
from reactivex.disposable import Disposable
from reactivex.scheduler import ImmediateScheduler

from benchmarks.table import print_table
from benchmarks.templates import CHUNK_BYTES, TICKERS, massive
from operators.buffered import buffered
from operators.dedupe import dedupe
from operators.latency_stamp import Latencies, latency_stamp
from pipeline.activity import Activity
from pipeline.bars import FirstBars
from pipeline.gaps import Gaps
from pipeline.identity import Seen
from pipeline.massive.decode import decode
from pipeline.massive.frames import Frames
from pipeline.massive.framing import FrameSplitter
from pipeline.massive.ingest import Ingest
from pipeline.massive.loop import SocketLoop
from pipeline.sinks.callback import CallbackSink
from pipeline.ticks import TickBatch
from pipeline.tracks import Tracks

__all__ = ["lines"]

SIZES: Final = (1, 10, 100)
READS: Final = 1_000
WINDOW: Final = 65_536
UNBOUNDED: Final = 2**40
CONNECTION: Final = "primary"
STAGES: Final = ("receive", "split", "decode", "dedupe", "stamp", "activity", "callback")
HAND_OFFS: Final = ("ingest", "hand-off to the subscriber")


class Source(Observable[Any]):
    """Emits when told to, with nothing between it and its observer."""

    def __init__(self) -> None:
        super().__init__(self._attach)
        self.observer: abc.ObserverBase[Any]

    def _attach(self, observer: abc.ObserverBase[Any], _: abc.SchedulerBase | None = None) -> Disposable:
        self.observer = observer
        return Disposable()


class Stages:
    """Is the pipeline on one thread, with a look at the clock before and after each stage."""

    def __init__(self) -> None:
        self._clock = time.perf_counter_ns
        self._looks_ns: list[int] = []
        self._source = Source()
        self._splitter = FrameSplitter()
        self._out, self._in = _tcp_pair()
        self._loop = SocketLoop()
        tracks = Tracks()
        bars = FirstBars()
        gaps = Gaps(tracks, lambda _: None, self._loop, lambda _: None, time.time_ns)
        operators = (
            decode(),
            dedupe(lambda: Seen(WINDOW, tracks)),
            latency_stamp(time.time_ns, Latencies(), bars),
            Activity(gaps, tracks, bars),
        )
        stream: Observable[Any] = self._source
        for operator in operators:
            stream = operator(stream).pipe(self._look)
        self.count = 0
        self._sink = CallbackSink(self._on_tick)
        stream.subscribe(self._deliver)

    def read(self, data: memoryview) -> list[int]:
        """Take a chunk the whole way; return the ns that each stage took."""
        self._out.sendall(data)
        looks_ns = self._looks_ns = [self._clock()]
        received = self._in.recv(len(data), socket.MSG_WAITALL)
        looks_ns.append(self._clock())
        messages = self._splitter.feed(received)
        frames = Frames(CONNECTION, time.time_ns(), messages, len(received))
        looks_ns.append(self._clock())
        self._source.observer.on_next(frames)
        looks_ns.append(self._clock())
        return [after - before for before, after in itertools.pairwise(looks_ns)]

    def close(self) -> None:
        """Free what the parts hold."""
        self._out.close()
        self._in.close()
        self._loop.dispose()

    def _look(self, source: Observable[Any]) -> Observable[Any]:
        def subscribe(
            observer: abc.ObserverBase[Any], scheduler: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            def on_next(batch: Any) -> None:
                self._looks_ns.append(self._clock())
                observer.on_next(batch)

            return source.subscribe(on_next, observer.on_error, observer.on_completed, scheduler=scheduler)

        return Observable(subscribe)

    def _deliver(self, batch: TickBatch) -> None:
        self._sink.write([batch])

    def _on_tick(self, _: Any) -> None:
        self.count += 1


def lines() -> Iterator[str]:
    """Measure and tell, a Markdown line at a time."""
    columns = [{**_stages(events), **_hand_offs(events)} for events in SIZES]
    yield f"| ns a tick at events a frame | {' | '.join(map(str, SIZES))} |"
    yield "|---|--:|--:|--:|"
    for name in (*STAGES[:2], HAND_OFFS[0], *STAGES[2:-1], HAND_OFFS[1], STAGES[-1]):
        yield f"| {name} | {' | '.join(f'{column[name]:,.0f}' for column in columns)} |"
    totals = [sum(column.values()) for column in columns]
    yield f"| sum | {' | '.join(f'{total:,.0f}' for total in totals)} |"
    yield f"| so ticks/s on one core at most | {' | '.join(f'{1e9 / total:,.0f}' for total in totals)} |"


def _stages(events: int) -> dict[str, float]:
    """Return ns a tick of what runs on one thread."""
    chunks = massive(TICKERS, events, CHUNK_BYTES)
    stages, serials = Stages(), itertools.count(100_000)
    looks = []
    try:
        for chunk in itertools.islice(itertools.cycle(chunks), READS):
            took_ns = stages.read(chunk.fill(next(serials)))
            looks.append([ns / chunk.ticks for ns in took_ns])
    finally:
        stages.close()
    return dict(zip(STAGES, map(statistics.median, zip(*looks, strict=True)), strict=True))


def _hand_offs(events: int) -> dict[str, float]:
    """Return ns a tick of the buffers: of the one to another thread, both threads' time together."""
    chunks = massive(TICKERS, events, CHUNK_BYTES)
    splitter = FrameSplitter()
    split = [splitter.feed(bytes(chunk.fill(100_000))) for chunk in chunks]
    frames = [Frames(CONNECTION, 1, messages, sum(map(len, messages))) for messages in split]
    batches: list[TickBatch] = []
    source = Source()
    decode()(source).subscribe(batches.append)
    for each in frames:
        source.observer.on_next(each)
    ticks = sum(len(batch.ticks) for batch in batches)
    ingest = _cpu_ns(frames, Ingest(UNBOUNDED, ImmediateScheduler(), lambda *_: None)) / ticks
    to_subscriber = _cpu_ns(batches, buffered(UNBOUNDED, "block", name="stages", gather=2000)) / ticks
    return dict(zip(HAND_OFFS, (ingest, to_subscriber), strict=True))


def _cpu_ns(items: Sequence[Any], operator: Callable[[Observable[Any]], Observable[Any]]) -> float:
    """Send items through an operator again and again; return the CPU time of one time through."""
    source, done = Source(), threading.Event()
    subscription = source.pipe(operator).subscribe(lambda _: None, on_completed=done.set)
    rounds = max(1, READS // len(items))
    begun_ns = time.process_time_ns()
    for item in itertools.chain.from_iterable(itertools.repeat(items, rounds)):
        source.observer.on_next(item)
    source.observer.on_completed()
    done.wait()
    took_ns = time.process_time_ns() - begun_ns
    subscription.dispose()
    return took_ns / rounds


def _tcp_pair() -> tuple[socket.socket, socket.socket]:
    """Return two ends on loopback, whose buffers hold a chunk."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sender = socket.create_connection(listener.getsockname())
        reader, _ = listener.accept()
    sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * CHUNK_BYTES)
    return sender, reader


def main() -> None:
    """Print the table."""
    print_table(__doc__, lines())


if __name__ == "__main__":
    main()
