"""What runs while anybody is subscribed: the sources, and the thread that reads and decodes."""

from collections.abc import Callable

from reactivex import Observable, abc
from reactivex.disposable import SerialDisposable

from operators.latency_stamp import Latencies
from operators.runtime import SYSTEM, Runtime

from .activity import Activity
from .bars import FirstBars
from .gaps import Gaps
from .health.attribution import Attribution, Sample, Sightings
from .massive.connection import Connection
from .massive.decode import RejectLog
from .massive.ingest import Ingest
from .massive.loop import SocketLoop
from .massive.patience import DEFAULT_PATIENCE_BYTES, Patience
from .massive.protocol import ServerStatus
from .settings import Settings
from .sources import Carriage, MakeSources, Source
from .status_stream import FailureReporter, LossReporter, StatusStream
from .symbols import other_spellings
from .ticks import TickBatch
from .tracks import Tracks

__all__ = ["Braid", "Engine"]


class Engine(abc.DisposableBase):
    """Owns the thread ``tickbraid-io`` and the sources, from start to dispose.

    Args:
        settings: as loaded.
        status: where events go.
        output: is given the batches.
        ready: tells whether the output can take any.
        blocks: tells whether a subscriber is there for whom nothing may be given up.
        max_age_ns: returns how old a tick may be before nobody wants it any more, None for any age.
        sources: makes what the ticks come from.
        latencies: of the ticks, as they are measured.
        runtime: what all of it runs on.
    """

    def __init__(
        self,
        settings: Settings,
        status: StatusStream,
        output: abc.ObserverBase[TickBatch],
        *,
        ready: Callable[[], bool],
        blocks: Callable[[], bool],
        max_age_ns: Callable[[], int | None],
        sources: MakeSources,
        latencies: Latencies,
        runtime: Runtime = SYSTEM,
    ) -> None:
        self.settings = settings
        self.status = status
        self.runtime = runtime
        self.loop = SocketLoop(runtime)
        self.losses = LossReporter(status.emit, self.loop, runtime)
        self.failures = FailureReporter(status.emit, self.loop, runtime)
        self.ingest = Ingest(
            settings.ingest_buffer_bytes,
            self.loop,
            self._lose,
            ready,
            blocks=blocks,
            max_age_ns=max_age_ns,
            patience=Patience(settings.massive_server_buffer_bytes or DEFAULT_PATIENCE_BYTES),
            hold=lambda hold: self.loop.hold_reads(hold=hold),
            runtime=runtime,
        )
        self.rejects = RejectLog(runtime)
        self.tracks = Tracks()
        self.bars = FirstBars()
        self.gaps = Gaps(self.tracks, status.emit, self.loop, self.ingest.afterwards, runtime)
        self.activity = Activity(self.gaps, self.tracks, self.bars, runtime)
        self.attribution = Attribution(
            self._sample,
            emit=status.emit,
            scheduler=self.loop,
            ingest_bytes=settings.ingest_buffer_bytes,
            server_bytes=settings.massive_server_buffer_bytes or None,
            sightings=Sightings(self.tracks, runtime.clock),
            homes=self._homes,
            clock=runtime.clock,
            monotonic=runtime.monotonic,
        )
        self.sources: list[Source] = []
        self.carriage: Carriage | None = None
        self._subscription = SerialDisposable()
        self._output = output
        self._make_sources = sources
        self._latencies = latencies
        self._lock = runtime.lock()
        self._started = False
        self._disposed = False

    def start(self, braid: "Braid") -> None:
        """Open the sources and let their ticks flow to the output, on ``tickbraid-io``. Once.

        Raises:
            RuntimeError: there is no thread for it. So is whatever else makes it impossible.
        """
        with self._lock:
            if self._started or self._disposed:
                return
            self.loop.start()
            self.sources, self.carriage = self._make_sources(
                self.settings, self.loop, self.status, self.runtime, self.gaps, self.activity
            )
            self._started = True
        try:
            self._flow(braid)
        except BaseException:
            self._started = False  # the next subscriber tries again
            self.close_sources()
            raise
        self.attribution.start()

    def _flow(self, braid: "Braid") -> None:
        refused: list[Exception] = []
        ident = self.runtime.ident
        caller: int | None = ident()

        def on_error(error: Exception) -> None:
            if ident() == caller:
                refused.append(error)
            else:
                self._output.on_error(error)

        self._subscription.disposable = braid(self).subscribe(
            self._output.on_next, on_error, self._output.on_completed
        )
        caller = None
        if refused:
            raise refused[0]

    def return_statuses(self, connection: str, read: int, statuses: list[ServerStatus]) -> None:
        """Hand back to a connection what the decoder found of its server's words."""
        for source in self.sources:
            if source.id == connection and isinstance(source, Connection):
                source.take_statuses(read, statuses)

    def close_sources(self) -> None:
        """End the sources; what they brought still flows, and then the stream completes."""
        if self.carriage is not None:
            self.carriage.dispose()
        self.ingest.hurry()
        for source in self.sources:
            source.close()

    def dispose(self) -> None:
        """Stop everything, from any thread, within 2 s; idempotent, and over when it returns.

        On ``tickbraid-io``, where the stream ends by itself, it is over as soon as that thread comes to it.
        """
        with self._lock:
            first, self._disposed = not self._disposed, True
        if first:
            if self.carriage is not None:
                self.carriage.dispose()
            self._subscription.dispose()
        self.loop.dispose()
        if first:
            self.gaps.flush()
            self.losses.flush()
            self.failures.flush()

    def tell_what_came_late(self) -> None:
        """Announce what was reported since it was disposed, as by an operator that ended the subscription."""
        if self._disposed:
            self.losses.flush()
            self.failures.flush()

    def _sample(self) -> Sample:
        self.status.go_on()
        connections = [source.snapshot() for source in self.sources]
        queues: dict[str | None, int] = {None: self.ingest.queued_bytes}
        held = self._latencies
        return Sample(connections, held.feed.snapshots(), queues, held.bars.snapshots())

    def _homes(self) -> dict[str, str]:
        carried = {} if self.carriage is None else self.carriage.tickers()
        homes = {ticker: connection for connection, tickers in carried.items() for ticker in tickers}
        pairs = [ticker for ticker in homes if "-" in ticker or "/" in ticker]
        return {other: homes[pair] for pair in pairs for other in other_spellings(pair)} | homes

    def _lose(self, connection: str, reason: str, count: int, from_ns: int, to_ns: int) -> None:
        self.losses.report("ingest", connection, reason, count, from_ns, to_ns)


Braid = Callable[[Engine], Observable[TickBatch]]
"""Makes the stream of an engine's sources."""
