"""The stream of the parent: everything but the ticks, which stay where they are decoded."""

import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NoReturn

from reactivex import Observable, abc
from reactivex.disposable import Disposable

from operators.account import Account
from operators.backpressure import Overflow
from operators.latency_stamp import Latencies, LatenciesSnapshot
from pipeline import status
from pipeline.errors import Closed, NoTicksHere
from pipeline.health.figures import Figures, SubscriberFigures
from pipeline.health.snapshot import stream_health
from pipeline.outlet import numbered
from pipeline.settings import Settings
from pipeline.sinks.batches import column_maker
from pipeline.sinks.sink import Sink
from pipeline.sources import Carriage
from pipeline.status_stream import StatusStream
from pipeline.stream import DRAIN_TIMEOUT_S, TickStream

from .fleet import Fleet
from .handover import all_carried_on, policy

if TYPE_CHECKING:
    from .column_feed import ColumnFeed

__all__ = ["ProcessStream"]

log = logging.getLogger("tickbraid.processes")

ENDED_FEEDS_KEPT: Final = 16
REFUSAL: Final = (
    "with WEBSOCKET_EXECUTION: processes the ticks stay in the connections' processes: name your function in "
    "TICK_CALLBACK (MODULE:FUNCTION), let Redis have them, or take stream.columns, and begin with "
    "stream.start(); or set WEBSOCKET_EXECUTION: threads"
)


class ProcessStream(TickStream):
    """Is the stream where each connection has a process of its own; `start` begins it.

    The ticks go to TICK_CALLBACK and to Redis, in the process that decoded them; here they are to be had as
    columns. Status, health, accounts,
    latencies and whatever decides on tickers are here, as with any other stream; figures are gathered from
    the processes when they are asked for, and what a process that died had counted is kept.
    """

    def __init__(self, settings: Settings, *, clock: Callable[[], int] = time.time_ns) -> None:
        super().__init__(
            settings,
            _refuse,
            status=StatusStream(),
            latencies=_Gathered(self.figures),
            sinks=tuple,
            clock=clock,
        )
        self._fleet: Fleet | None = None
        self._feeds: list[ColumnFeed] = []
        """The subscribers of columns, and of those that have ended some."""
        self._over = False
        """No process is left, and none will be."""

    def start(
        self,
        on_error: Callable[[Exception], None] | None = None,
        on_completed: Callable[[], None] | None = None,
    ) -> abc.DisposableBase:
        """Start the processes; returns at once. From any thread, once.

        Args:
            on_error: never called; what becomes of a process is told on ``status``.
            on_completed: called when there is no process, and none will be.

        Raises:
            Closed: the stream was started before, or closed.
        """
        del on_error
        if not (self.settings.tick_callback or self.settings.redis_enabled or self._feeds):
            log.warning("neither TICK_CALLBACK nor Redis is configured: nobody gets the ticks")
        with self._state_lock:
            if self._closed or self._fleet is not None:
                raise Closed("a stream in processes is started once")
            on_over = partial(self._none_left, on_completed or _nothing)
            self._fleet = Fleet(self.settings, self.status, self._clock, on_over)
            feeds = [feed for feed in self._feeds if not feed.ended.is_set()]
        for feed in feeds:
            self._fleet.feed(feed)
        self._fleet.start()
        return Disposable(self.close)

    def _none_left(self, on_completed: Callable[[], None]) -> None:
        self._over = True
        for feed in tuple(self._feeds):
            feed.finish()
        on_completed()

    def attach(
        self,
        sink: Sink,  # noqa: ARG002  # as a stream has it
        *,
        capacity: int | None = None,  # noqa: ARG002  # as above
        overflow: Overflow | None = None,  # noqa: ARG002  # as above
        on_error: Callable[[Exception], None] | None = None,  # noqa: ARG002  # as above
    ) -> NoReturn:
        """Refuse: no ticks come here.

        Raises:
            NoTicksHere: always; says what to do.
        """
        raise NoTicksHere(REFUSAL)

    def _subscribe_ticks(self, *_: Any) -> NoReturn:
        raise NoTicksHere(REFUSAL)

    def _observable(self, *_: Any) -> Observable[Any]:
        """Be what a subscriber of batches finds."""
        return Observable(_refuse)

    def columns_of(self, *names: str) -> Observable[Any]:
        """Return the ticks of all processes as Arrow record batches, each of one connection.

        Each subscriber is called on a thread ``tickbraid-columns…`` of its own, from `start` on. What it has
        no time for waits in SUBSCRIBER_BUFFER_TICKS of each process, where SUBSCRIBER_OVERFLOW decides; but
        ``block`` is ``drop_oldest`` here, since nobody in another process may stop a callback or Redis.

        Raises:
            ImportError: the extra ``columns`` is not installed.
            ValueError: there is no such column, or one is named twice.
        """
        column_maker(names)  # for what it raises

        def subscribe(
            observer: abc.ObserverBase[Any], _scheduler: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            return self._enter_feed(names, observer)

        return Observable(subscribe)

    def _enter_feed(self, columns: Sequence[str], observer: abc.ObserverBase[Any]) -> abc.DisposableBase:
        from .column_feed import ColumnFeed  # noqa: PLC0415  # pyarrow: only who wants columns pays for it

        name = self._reserve(numbered("columns"))
        feed = ColumnFeed(
            name, columns, observer, emit=self.status.emit, on_end=self._leave_feed, clock=self._clock
        )
        with self._state_lock:
            ended = [old for old in self._feeds if old.ended.is_set() and old.name != name]
            present = [old for old in self._feeds if not old.ended.is_set()]
            self._feeds = [*ended[-ENDED_FEEDS_KEPT:], *present, feed]
            fleet = self._fleet
        if fleet is not None:
            fleet.feed(feed)
        if self._over or self._closed:
            feed.finish()
        return feed

    def _leave_feed(self, feed: "ColumnFeed") -> None:
        if self._fleet is not None:
            self._fleet.starve(feed)
        with self._state_lock:
            self._names.discard(feed.name)

    def rebalance(self) -> tuple[status.Moved, ...]:
        """Spread the tickers by what is measured now; return what moved, as the status stream tells it too.

        From any thread. What moves leaves its process before it comes to the other; what that misses is told.

        Raises:
            Closed: the stream does not run.
        """
        if self._fleet is not None:
            self._fleet.figures(rates=True)
        return super().rebalance()

    def tickers(self) -> dict[str, tuple[str, ...]]:
        """Return connection id to the tickers it is to carry; empty before the start."""
        return {} if self._fleet is None else self._fleet.pool.tickers()

    def _carriage(self) -> Carriage:
        if self._fleet is None or self._closed:
            raise Closed("the stream is not running: start it first")
        return self._fleet.pool

    def pids(self) -> dict[str, int]:
        """Return connection id to the id of its process, of those that live."""
        connections = () if self._fleet is None else self._fleet.connections
        return {each.id: pid for each in connections if (pid := each.pid) is not None}

    def close(self, timeout_s: float = DRAIN_TIMEOUT_S) -> None:
        """Close the sockets, let the callbacks and sinks have what is queued, and end the processes.

        From any thread. What is not delivered after ``timeout_s`` is dropped and counted. Idempotent.
        """
        with self._state_lock:
            if self._closed:
                return
            self._closed = True
        deadline_s = time.monotonic() + timeout_s
        for feed in self._feeds:
            if feed.is_here():  # the subscriber closes, so nobody waits for what it could still take
                feed.dispose()
        if self._fleet is not None:
            self._fleet.close(timeout_s)
        for feed in tuple(self._feeds):
            feed.finish()
            feed.wait(max(0.0, deadline_s - time.monotonic()))
            feed.dispose()
        self.status.complete()

    def beats(self, timeout_s: float) -> bool:
        """Tell whether the parent's thread ``tickbraid-io`` turns, or need not; waits so long at most."""
        return self._fleet is None or self._fleet.loop.beats(timeout_s)

    def figures(self) -> Figures:
        """Return all that was counted by all processes, asking those that live; from any thread."""
        # Read before the children are asked: what is taken then was handed over when they answer.
        feeds = [(feed, feed.ended.is_set(), feed.taken(), feed.latency.snapshot()) for feed in self._feeds]
        figures = Figures() if self._fleet is None else self._fleet.figures()
        for feed, over, taken, latency in feeds:
            parts = () if self._fleet is None else self._fleet.parts(feed.name, taken)
            accounts, dropped = all_carried_on(parts, over=over)
            figures.latencies.delivered[feed.name] = latency
            figures.subscribers[feed.name] = SubscriberFigures(
                policy(self.settings.subscriber_overflow),
                over,
                accounts,
                dropped,
                feed.errors,
                {"calls": feed.calls},
            )
        return figures

    def accounts(self) -> dict[str, dict[str, Account]]:
        """Return, by subscriber and connection, where every received element is; from any thread."""
        return self.figures().accounts

    def health(self) -> dict[str, Any]:
        """Return how everything is doing, in plain values that JSON can take; from any thread."""
        state = "closed" if self._closed else "idle" if self._fleet is None else "running"
        return stream_health(state, self.figures(), self.tickers(), running=self._fleet is not None)


class _Gathered(Latencies):
    """Is what the processes measured."""

    def __init__(self, figures: Callable[[], Figures]) -> None:
        super().__init__()
        self._figures = figures

    def snapshot(self) -> LatenciesSnapshot:
        return self._figures().latencies


def _nothing() -> None:
    pass


def _refuse(*_: Any) -> NoReturn:
    raise NoTicksHere(REFUSAL)
