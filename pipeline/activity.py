"""How much comes: ticks by ticker and by connection, counted where the stream is one."""

from collections import Counter, deque
from typing import Final

from reactivex import Observable, abc

from operators.runtime import SYSTEM, Runtime

from .bars import FirstBars
from .gaps import Gaps
from .ticks import Tick, TickBatch
from .tracks import Tracks, forget_oldest

__all__ = ["Activity"]

WINDOW_S: Final = 5
"""Full seconds over which a connection's ticks/s are taken."""
MEASURE_AT_LEAST_S: Final = 1.0
SAMPLE_S: Final = 1.0
"""So often each connection's ticks tell what time it is at the feed."""
SAMPLE_FROM: Final = 64
SAMPLE: Final = 8
"""Of a connection's batches of 64 ticks or more every eighth is counted by ticker, eight times: counting all
would cost as much as the rest of this, and the rates of the tickers come out the same; to count an eighth of
each batch would cost no less."""


class _Flow:
    """Counts the ticks of one connection; one thread adds, any reads.

    Args:
        second: of the monotonic clock, in which its first batch came.
    """

    def __init__(self, second: int) -> None:
        self.total = 0
        self._since = second
        self.large_batches = 0
        self.sample_s = 0.0
        self._marks: deque[tuple[int, int]] = deque(maxlen=WINDOW_S + 1)
        """Seconds in which something came, and the total before each; they reach back over the window."""

    def add(self, count: int, second: int) -> None:
        if not self._marks or self._marks[-1][0] != second:
            self._marks.append((second, self.total))
        self.total += count

    def per_s(self, second: int) -> float:
        """Return the ticks/s of the full seconds before this one: five, or as many as there were."""
        begin = max(second - WINDOW_S, self._since)
        marks, total = tuple(self._marks), self.total  # a tuple of a deque is made without giving up the GIL

        def before(moment: int) -> int:
            return next((mark for at, mark in marks if at >= moment), total)

        return (before(second) - before(begin)) / max(second - begin, 1)


class Activity:
    """Counts the ticks that pass.

    Its place is behind `dedupe`, so that a copy of a tick counts for nothing, and before `share`. The
    loop's thread counts, and any other may read: a copy of a dict with str keys is one call in C, which the
    GIL does not interrupt. Only `measure` takes a lock, against its like.

    Args:
        gaps: is shown the batches of connections that it watches.
        tracks: keeps the last ticks; it is given the last batch of each connection.
        bars: knows the newest bars.
        runtime: its monotonic clock and lock.
    """

    def __init__(self, gaps: Gaps, tracks: Tracks, bars: FirstBars, runtime: Runtime = SYSTEM) -> None:
        self._gaps = gaps
        self._tracks = tracks
        self._bars = bars
        self._monotonic = runtime.monotonic
        self._counts: dict[str, int] = {}
        """A bare dict: to set an item of a Counter takes five times as long."""
        self._flows: dict[str, _Flow] = {}
        self._began_s: float | None = None
        self._lock = runtime.lock()
        self._measured_s: float | None = None
        self._measured: dict[str, int] = {}
        self._rates: dict[str, float] = {}

    def __call__(self, source: Observable[TickBatch]) -> Observable[TickBatch]:
        """Be the operator: pass every batch through as it is, on the source's thread. One subscriber."""

        def subscribe(
            observer: abc.ObserverBase[TickBatch], scheduler: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            def on_next(batch: TickBatch) -> None:
                self._count(batch)
                observer.on_next(batch)

            return source.subscribe(on_next, observer.on_error, observer.on_completed, scheduler=scheduler)

        return Observable(subscribe)

    def _count(self, batch: TickBatch) -> None:
        ticks = batch.ticks
        now_s = self._monotonic()
        if batch.connection in self._gaps.watched:
            self._gaps.see(batch, now_s)
        if not ticks:
            return
        if self._began_s is None:
            self._began_s = now_s
        flow = self._flows.get(batch.connection)
        if flow is None:
            flow = self._flows[batch.connection] = _Flow(int(now_s))
        flow.add(len(ticks), int(now_s))
        self._tracks.arrivals[batch.connection] = batch
        if now_s >= flow.sample_s:
            flow.sample_s = now_s + SAMPLE_S
            self._gaps.sample(batch, now_s)
        counts = self._counts
        if len(ticks) < SAMPLE_FROM:
            for tick in ticks:
                ticker = tick.ticker
                counts[ticker] = counts.get(ticker, 0) + 1
        else:
            if flow.large_batches % SAMPLE == 0:
                for ticker, count in Counter([tick.ticker for tick in ticks]).items():
                    counts[ticker] = counts.get(ticker, 0) + SAMPLE * count
            flow.large_batches += 1
        forget_oldest(counts)

    # -- from any thread ------------------------------------------------------------------------------------

    def measure(self) -> dict[str, float]:
        """Return the ticks/s of each ticker since the last measurement, or since the first tick.

        A ticker that was silent meanwhile has 0.0, one that never ticked is not in it. Within a second of the
        last measurement its figures are returned again.
        """
        with self._lock:
            now_s = self._monotonic()
            since_s = self._began_s if self._measured_s is None else self._measured_s
            if since_s is not None and now_s - since_s >= MEASURE_AT_LEAST_S:
                counts, before, elapsed_s = dict(self._counts), self._measured.get, now_s - since_s
                # A count below the one before began anew in between.
                self._rates = {
                    ticker: (count - (was if (was := before(ticker, 0)) <= count else 0)) / elapsed_s
                    for ticker, count in counts.items()
                }
                self._measured_s, self._measured = now_s, counts
            return self._rates

    def counts(self) -> dict[str, int]:
        """Return how many ticks each ticker brought, as far as that is counted."""
        return dict(self._counts)

    def last_ticks(self) -> dict[str, Tick]:
        """Return the newest tick of each ticker."""
        return self._tracks.last()

    def newest_bars(self) -> list[Tick]:
        """Return the newest bar of each ticker and type, as it came for the first time."""
        return self._bars.newest()

    def ticks(self) -> dict[str, int]:
        """Return how many ticks each connection brought."""
        return {connection: flow.total for connection, flow in self._flows.copy().items()}

    def ticks_per_s(self) -> dict[str, float]:
        """Return the ticks/s of each connection over the last five full seconds."""
        second = int(self._monotonic())
        return {connection: flow.per_s(second) for connection, flow in self._flows.copy().items()}
