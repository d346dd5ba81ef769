"""The tick stream: a reactivex Observable that many may subscribe to, with its account and its health."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Final, Self

from reactivex import Observable, abc
from reactivex.disposable import Disposable
from reactivex.observer import Observer

from operators.account import Account
from operators.buffered import Dropped, Overflow
from operators.latency_stamp import Latencies
from operators.runtime import SYSTEM, Runtime
from operators.share import share

from .activity import Activity
from .callables import check_callable
from .callback import load_callback
from .engine import Braid, Engine
from .errors import Closed, UnknownSubscriber
from .health.figures import Figures
from .health.snapshot import stream_figures, stream_health
from .massive.deputy import Deputy
from .massive.loop import SocketLoop
from .observing import Observed, bare
from .outlet import Outlet, Outlets, Reading, dispose_all, numbered
from .settings import Settings
from .sinks.batches import BatchSink, ColumnSink, column_maker
from .sinks.callback import CallbackSink
from .sinks.sink import CAPTURE, Configured, Sink, check_sink
from .sources import Carriage, MakeSources, make_sources
from .status_stream import StatusStream
from .steered import Steered
from .tap import Tap
from .ticks import Tick, TickBatch

__all__ = ["TickStream"]

DRAIN_TIMEOUT_S: Final = 5.0
LOOK_AT_BYTES: Final = 64 * 1024
REDIS: Final = "redis"
"""The name of the configured sink; nobody else may have it."""


class TickStream(Observed[Tick], Steered):
    """Is an Observable of ticks, hot and shared: the first subscriber connects, the last to leave closes.

    Each subscriber has a bounded buffer and a thread ``tickbraid-NAME`` of its own, on which it is called: a
    slow or raising one delays or breaks nobody else. The configured sinks run whenever anyone is subscribed.
    The stream completes when it is closed, or when nothing can ever come again; trouble on a connection is
    an event on `status`.
    """

    def __init__(
        self,
        settings: Settings,
        braid: Braid,
        *,
        status: StatusStream,
        latencies: Latencies,
        tap: Tap | None = None,
        sinks: Callable[[], Sequence[Configured]],
        sources: MakeSources = make_sources,
        runtime: Runtime = SYSTEM,
    ) -> None:
        super().__init__(self._subscribe_ticks)
        self.settings = settings
        self.status = status
        """An Observable of status events; see `pipeline.status`."""
        self.tap = tap or Tap()
        self.latencies = latencies
        """Histograms: event to receipt by connection, receipt to delivery by subscriber."""
        self.batches: Observed[TickBatch] = self._observable("batches", BatchSink)
        """The same ticks, a `TickBatch` at a time; a batch is shared, so it must not be changed."""
        self._owner = status.owner
        self._braid = braid
        self._make_sinks = sinks
        self._runtime = runtime
        self._sources = sources
        self._shared: Observable[TickBatch] = Observable(self._open).pipe(share(runtime))
        self._state_lock = runtime.lock()
        self._engine: Engine | None = None
        self._outlets = Outlets()
        self._users: set[Outlet] = set()
        self._names = {REDIS, CAPTURE} if settings.capture_path else {REDIS}
        self._sink_outlets: list[Outlet] = []
        self._closed = False

    # -- subscribing ----------------------------------------------------------------------------------------

    def start(
        self,
        on_error: Callable[[Exception], None] | None = None,
        on_completed: Callable[[], None] | None = None,
    ) -> abc.DisposableBase:
        """Run for TICK_CALLBACK and the configured sinks, without a subscriber of the caller's.

        From any thread; returns at once. It runs until it is disposed or the stream is closed.

        Args:
            on_error: told what ended the callback's subscription.
            on_completed: called when the stream ends.

        Raises:
            Closed: the stream was closed.
            ValueError: TICK_CALLBACK cannot be loaded; says why.
        """
        path = self.settings.tick_callback
        if path:
            return self.subscribe(load_callback(path), on_error, on_completed)
        return self.batches.subscribe(on_error=on_error, on_completed=on_completed)

    def attach(
        self,
        sink: Sink,
        *,
        capacity: int | None = None,
        overflow: Overflow | None = None,
        max_age_ms: float | None = None,
        on_error: Callable[[Exception], None] | None = None,
    ) -> abc.DisposableBase:
        """Subscribe a sink; disposing stops and closes it.

        Args:
            sink: called on a thread of its own.
            capacity: ticks that may wait for it; default SUBSCRIBER_BUFFER_TICKS.
            overflow: what happens to more; default SUBSCRIBER_OVERFLOW.
            max_age_ms: what was received longer ago is dropped; default SUBSCRIBER_MAX_AGE_MS, or 0 with
                ``block``.
            on_error: told what ended it; nobody is by default.

        Raises:
            Closed: the stream was closed.
            TypeError: it is no sink; names what it has not.
            ValueError: a present subscriber has the sink's name, or an argument is out of its range.
        """
        check_sink(sink)
        check_callable(on_error, "on_error")
        outlet = self._outlet(sink, capacity, overflow, max_age_ms)
        self._reserve([sink.name])
        return self._enter(outlet, None if on_error is None else Observer(on_error=on_error))

    @property
    def columns(self) -> Observable[Any]:
        """The same ticks as Arrow record batches; see `columns_of`."""
        return self.columns_of()

    def columns_of(self, *names: str) -> Observable[Any]:
        """Return the same ticks as Arrow record batches of these columns, or of the default ones.

        A record batch has whatever waits for its subscriber, in order: some 2,000 ticks of any connections at
        most, or what a single read brought. `pipeline.columns.COLUMNS` names what there is.

        Raises:
            ImportError: the extra ``columns`` is not installed.
            ValueError: there is no such column, or one is named twice.
        """
        return self._observable("columns", partial(ColumnSink, maker=column_maker(names)))

    def _subscribe_ticks(
        self, observer: abc.ObserverBase[Tick], _scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        sink = CallbackSink(bare(observer), self._reserve(numbered("callback")))
        return self._enter(self._outlet(sink, deputy=self._deputy()), observer)

    def _observable(
        self, kind: str, make_sink: Callable[[Callable[[Any], object], str], Sink]
    ) -> Observed[Any]:
        def subscribe(
            observer: abc.ObserverBase[Any], _scheduler: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            sink = make_sink(bare(observer), self._reserve(numbered(kind)))
            return self._enter(self._outlet(sink, deputy=self._deputy()), observer)

        return Observed(subscribe)

    def _reserve(self, names: Iterable[str]) -> str:
        """Take the first of these names that no present subscriber has: the account goes by names."""
        self._owner.claim()
        with self._state_lock:
            if self._closed:
                raise Closed("the stream was closed")
            for name in names:
                if name not in self._names:
                    self._names.add(name)
                    return name
        raise ValueError(f"a subscriber has the name already: {names}")

    def _outlet(
        self,
        sink: Sink,
        capacity: int | None = None,
        overflow: Overflow | None = None,
        max_age_ms: float | None = None,
        deputy: Deputy | None = None,
    ) -> Outlet:
        if overflow is None:
            overflow = self.settings.subscriber_overflow
        if max_age_ms is None:
            max_age_ms = 0 if overflow == "block" else self.settings.subscriber_max_age_ms
        return Outlet(
            sink,
            capacity=self.settings.subscriber_buffer_ticks if capacity is None else capacity,
            overflow=overflow,
            max_age_ms=max_age_ms,
            on_drop=self._report_drop,
            on_failure=self._report_failure,
            on_room=self._resume,
            latencies=self.latencies,
            part=self._part,
            pastime=deputy,
            runtime=self._runtime,
        )

    def _deputy(self) -> Deputy:
        return Deputy(self._loop, self._runtime.monotonic)

    def _loop(self) -> SocketLoop | None:
        return None if self._engine is None else self._engine.loop

    def _enter(self, outlet: Outlet, observer: abc.ObserverBase[Any] | None) -> abc.DisposableBase:
        with self._state_lock:
            first = not self._users
            self._users.add(outlet)
            self._outlets = self._outlets.with_new(outlet)
        if first:
            try:
                self._connect_sinks()
            except BaseException:
                self._leave(outlet)
                raise
        try:
            outlet.connect(
                self._shared,
                None if observer is None else observer.on_error,
                None if observer is None else observer.on_completed,
            )
            # Only now that all are listening, so that the first tick reaches each of them.
            if self._engine is not None:
                self._engine.start(self._braid)
        except BaseException:
            self._leave(outlet)
            raise
        return Disposable(lambda: self._leave(outlet))

    def _leave(self, outlet: Outlet) -> None:
        with self._state_lock:
            self._users.discard(outlet)
            self._names.discard(outlet.name)
            sinks: list[Outlet] = []
            # Where the stream has ended the sinks still have what is queued, and then end by themselves.
            if not self._users and not outlet.completed:
                sinks, self._sink_outlets = self._sink_outlets, []
        dispose_all(outlet, *sinks)

    def _connect_sinks(self) -> None:
        outlets: list[Outlet] = []
        try:
            outlets.extend(self._outlet(*configured) for configured in self._make_sinks())
        except BaseException:
            dispose_all(*outlets)
            raise
        with self._state_lock:
            self._sink_outlets = outlets
            for outlet in outlets:
                self._outlets = self._outlets.with_new(outlet)
        for outlet in outlets:
            outlet.connect(self._shared, on_completed=outlet.dispose)

    def _open(
        self, observer: abc.ObserverBase[TickBatch], _scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        self._engine = Engine(
            self.settings,
            self.status,
            observer,
            ready=self._has_room,
            blocks=self._spares,
            max_age_ns=self._max_age_ns,
            sources=self._sources,
            latencies=self.latencies,
            runtime=self._runtime,
        )
        return self._engine

    def _has_room(self) -> bool:
        return not any(outlet.full for outlet in self._outlets.known)

    def _spares(self) -> bool:
        return any(outlet.blocks and not outlet.ended.is_set() for outlet in self._outlets.known)

    def _max_age_ns(self) -> int | None:
        """Return the age from which on nobody wants a tick any more, None where somebody wants any."""
        ages_ms = [outlet.max_age_ms for outlet in self._outlets.known if not outlet.ended.is_set()]
        return round(max(ages_ms) * 1e6) if ages_ms and all(ages_ms) else None

    def _resume(self) -> None:
        if self._engine is not None:
            self._engine.ingest.resume()

    def _report_drop(self, name: str, dropped: Dropped) -> None:
        if self._engine is not None:
            self._engine.losses.report(
                name, dropped.connection, dropped.reason, dropped.count, dropped.from_ns, dropped.to_ns
            )
            self._engine.tell_what_came_late()

    def _report_failure(self, name: str, count: int, error: BaseException) -> None:
        if self._engine is not None:
            self._engine.failures.report(name, count, error)
            self._engine.tell_what_came_late()

    # -- steering -------------------------------------------------------------------------------------------

    def tickers(self) -> dict[str, tuple[str, ...]]:
        """Return source id to the tickers it is to carry; empty while nobody is subscribed."""
        self._owner.check()
        engine = self._engine
        return {} if engine is None or engine.carriage is None else engine.carriage.tickers()

    def _carriage(self) -> Carriage:
        self._owner.check()
        engine = self._engine
        if engine is None or engine.carriage is None or not self._users:
            raise Closed("the stream is not running: subscribe first")
        return engine.carriage

    # -- ending ---------------------------------------------------------------------------------------------

    def close(self, timeout_s: float = DRAIN_TIMEOUT_S) -> None:
        """Close the sockets, let subscribers and sinks have what is queued, and end everything.

        From any thread. What is not delivered after ``timeout_s`` is dropped and counted. Idempotent. In a
        fork of the process that runs it there is nothing to close, and nothing is done.
        """
        if self._owner.is_elsewhere:
            return
        with self._state_lock:
            if self._closed:
                return
            self._closed = True
            outlets = self._outlets.known  # those that have ended, too: a sink may have files to finish
            engine = self._engine
        try:
            if engine is not None:
                _drain(engine, outlets, timeout_s)
        finally:
            self.status.complete()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- telling --------------------------------------------------------------------------------------------

    def accounts(self) -> dict[str, dict[str, Account]]:
        """Return, by subscriber and connection, where every received element is; from any thread.

        Each balances to zero at any moment. What waits undecoded counts as received and queued.
        """
        waiting, readings, _ = self._look()
        return {reading.outlet.name: reading.accounts(waiting) for reading in readings}

    def account(self, subscriber: str | None = None) -> Account:
        """Return the account of a subscriber over all connections, of all that there ever were by default.

        Raises:
            UnknownSubscriber: there is none of that name, a `KeyError`; says which there are.
        """
        waiting, readings, forgotten = self._look()
        if subscriber is None:
            every = (each for reading in readings for each in reading.accounts(waiting).values())
            return sum(every, forgotten)
        by_name = {reading.outlet.name: reading for reading in readings}
        if subscriber not in by_name:
            there = ", ".join(by_name) or "none"
            raise UnknownSubscriber(f"there is no subscriber {subscriber!r}; there are: {there}")
        return sum(by_name[subscriber].accounts(waiting).values(), Account())

    def figures(self) -> Figures:
        """Return all that was counted, as values that add up with another stream's; from any thread.

        What waits undecoded is estimated where it is much: this costs no more when there is more to do.
        """
        waiting, readings, _ = self._look(LOOK_AT_BYTES)
        return stream_figures(self._engine, readings, waiting, self.latencies.snapshot())

    def health(self) -> dict[str, Any]:
        """Return how everything is doing, in plain values that JSON can take; from any thread."""
        state = "closed" if self._closed else "running" if self._users else "idle"
        return stream_health(state, self.figures(), self.tickers(), running=self._engine is not None)

    def beats(self, timeout_s: float) -> bool:
        """Tell whether the thread ``tickbraid-io`` turns, or need not; waits so long at most."""
        self._owner.check()
        return self._engine is None or self._engine.loop.beats(timeout_s)

    @property
    def activity(self) -> Activity | None:
        """What counts by ticker; None before the first subscriber."""
        return None if self._engine is None else self._engine.activity

    def _look(self, look_at_bytes: float = math.inf) -> tuple[Counter[str], list[Reading], Account]:
        """Return what waits undecoded, by connection, and the accounts at the same moment."""
        self._owner.check()  # before any lock
        engine, readings, outlets = self._engine, list[Reading](), Outlets()

        def read() -> None:
            nonlocal outlets
            outlets = self._outlets
            readings.extend(outlet.read() for outlet in outlets.known)

        waiting = Counter[str]()
        if engine is None:
            read()
        else:
            waiting = engine.ingest.waiting(look_at_bytes, read)
        return waiting, readings, outlets.forgotten

    def _part(self, leave: Callable[[Sequence[Dropped]], None]) -> None:
        if self._engine is None:
            leave(())
        else:
            self._engine.ingest.part(leave)


def _drain(engine: Engine, outlets: Sequence[Outlet], timeout_s: float) -> None:
    """Close the sources, wait for what they brought to be taken, and stop everything."""
    monotonic = engine.runtime.monotonic
    deadline_s = monotonic() + timeout_s
    engine.close_sources()
    for outlet in outlets:
        outlet.wait(max(0.0, deadline_s - monotonic()))
    try:
        dispose_all(*outlets)
    finally:
        engine.dispose()
