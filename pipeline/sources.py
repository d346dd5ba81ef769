"""Where frames come from: connections to Massive, each with its tickers, or the synthetic market."""

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol, TypeVar

from reactivex import Observable, Subject, abc
from reactivex import operators as ops

from operators.runtime import Runtime

from . import status
from .activity import Activity
from .gaps import Gaps
from .massive.connection import Connection
from .massive.frames import Frames
from .massive.loop import SocketLoop
from .massive.persistence import Persistence
from .massive.snapshot import ConnectionSnapshot, Phase
from .massive.socket import wire_opener
from .pool import Carrier, Pool, PoolPolicy
from .routing.route import Plan, plan
from .routing.universe import universes_of
from .session_hours import session_hours, week_before
from .settings import ConnectionSettings, Settings
from .status_stream import StatusStream
from .symbols import near_symbols
from .synthetic import SyntheticSource

__all__ = [
    "Carriage",
    "MakeSources",
    "Source",
    "connect",
    "is_generated",
    "make_pool",
    "make_sources",
    "persistence",
]

log = logging.getLogger("tickbraid.sources")


class Source(Protocol):
    """Is what frames come from: a connection, or the synthetic market."""

    id: str
    frames: Observable[Frames]

    def close(self) -> None:
        """End, and complete ``frames``; from any thread."""
        ...

    def snapshot(self) -> ConnectionSnapshot:
        """Say how it is doing; from any thread."""
        ...


class Carriage(Protocol):
    """Is what carries tickers: the pool of connections, or the synthetic market. From any thread."""

    def add_tickers(self, tickers: Iterable[str]) -> None:
        """Carry these too."""
        ...

    def remove_tickers(self, tickers: Iterable[str]) -> None:
        """Carry these no more, and tell what is not carried."""
        ...

    def move_ticker(self, ticker: str, connection: str) -> None:
        """Carry this on that connection whenever it is up."""
        ...

    def rebalance(self, tell: Callable[[tuple[status.Moved, ...]], None]) -> None:
        """Spread the tickers anew, and tell what moved, on whatever thread."""
        ...

    def reconnect(self, connection: str) -> None:
        """End a connection's session and begin another."""
        ...

    def wait_connected(self, timeout_s: float) -> tuple[str, ...]:
        """Wait until each source is up or will not be; return the ids of those that are up."""
        ...

    def tickers(self) -> dict[str, tuple[str, ...]]:
        """Return source id to what it carries."""
        ...

    def dispose(self) -> None:
        """Move nothing any more."""
        ...


MakeSources = Callable[
    [Settings, SocketLoop, StatusStream, Runtime, Gaps, Activity],
    tuple[list[Source], Carriage | None],
]
"""Makes the sources of an engine, and what decides on their tickers, if anything here does."""


def make_sources(  # noqa: PLR0917  # the parts of an engine
    settings: Settings,
    loop: SocketLoop,
    status_stream: StatusStream,
    runtime: Runtime,
    gaps: Gaps,
    activity: Activity,
) -> tuple[list[Source], Carriage]:
    """Make what the settings ask for, not yet opened.

    Args:
        settings: as loaded; the providers of its universes are asked, on the caller's thread.
        loop: reads the sockets and runs the timers.
        status_stream: where the connections' events go.
        runtime: what all of it runs on.
        gaps: is told what a lost connection carried.
        activity: says how busy each ticker is.
    """
    if is_generated(settings):
        assignment = _plan(settings, status_stream.emit, runtime.clock).assignment
        carried = dict.fromkeys(ticker for tickers in assignment.tickers.values() for ticker in tickers)
        market = _Synthetic(settings, tuple(carried), status_stream.emit, runtime)
        return [market], market
    connections, pool = make_pool(
        settings,
        lambda connection, hear: connect(settings, connection, loop, hear, runtime),
        scheduler=loop,
        emit=status_stream.emit,
        gaps=gaps,
        measure=activity.measure,
        runtime=runtime,
    )
    return list[Source](connections), pool


def is_generated(settings: Settings) -> bool:
    """Tell whether ticks are made here and not at Massive."""
    return not settings.use_massive_api or settings.use_synthetic_data


_C = TypeVar("_C", bound=Carrier)


def make_pool(
    settings: Settings,
    connect: Callable[[ConnectionSettings, Callable[[status.StatusEvent], None]], _C],
    *,
    scheduler: abc.SchedulerBase,
    emit: Callable[[status.StatusEvent], None],
    gaps: Gaps,
    measure: Callable[[], Mapping[str, float]],
    runtime: Runtime,
) -> tuple[list[_C], Pool]:
    """Make a pool and its connections, not yet opened.

    A connection without tickers is skipped with a word, unless they may come at run time.

    Args:
        settings: as loaded; the providers of its universes are asked, on the caller's thread.
        connect: makes a connection, which hands its status events to what it is given, on the scheduler.
        scheduler: the loop.
        emit: where events go.
        gaps: is told what a lost connection carried.
        measure: returns ticks/s by ticker.
        runtime: what it runs on.
    """
    lines, redundant, assignment, _ = _plan(settings, emit, runtime.clock)

    def hear(event: status.StatusEvent) -> None:
        emit(event)
        pool.hear(event)

    connections = []
    for connection in settings.connections:
        if not connection.enabled:
            continue
        if settings.websocket_start_empty or assignment.tickers.get(connection.id):
            connections.append(connect(connection, hear))
        else:
            emit(status.Skipped(connection=connection.id, at_ns=runtime.clock(), reason="it has no tickers"))
    pool = Pool(
        connections,
        lines={line.id: line for line in lines},
        event_types={connection.id: connection.event_types for connection in settings.connections},
        assignment=assignment,
        policy=PoolPolicy(
            strategy=settings.websocket_routing_strategy,
            redundant=redundant,
            failover=settings.websocket_failover_enabled,
            failover_after_s=settings.websocket_failover_after,
            auto_rebalance=settings.websocket_auto_rebalance,
            check_every_s=settings.websocket_health_check_interval,
        ),
        scheduler=scheduler,
        emit=emit,
        gaps=gaps,
        measure=measure,
        market_open=session_hours(settings.market_calendar, week_before(runtime.clock())),
        runtime=runtime,
    )
    return connections, pool


def _plan(settings: Settings, emit: Callable[[status.StatusEvent], None], clock: Callable[[], int]) -> Plan:
    """Plan, and tell what is odd about it; once, though a universe may be asked for several times."""
    odd = dict.fromkeys(settings.odd_symbols.items())
    result = plan(settings, universes_of(settings, lambda *found: odd.setdefault(found)))
    for where, symbols in odd:
        emit(status.TickersRefused(at_ns=clock(), where=where, symbols=symbols))
    if result.doubts:
        emit(status.TickersDoubtful(at_ns=clock(), doubts=result.doubts))
    for warning in result.assignment.warnings:
        log.warning("%s", warning)
    return result


def connect(
    settings: Settings,
    connection: ConnectionSettings,
    loop: SocketLoop,
    on_status: Callable[[status.StatusEvent], None],
    runtime: Runtime,
) -> Connection:
    """Make a connection to Massive, not yet opened."""
    return Connection(
        connection.id,
        name=connection.name,
        url=connection.url,
        key=settings.massive_api_key,
        opener=wire_opener(connection.url, loop, name=connection.id, runtime=runtime),
        scheduler=loop,
        on_status=on_status,
        persistence=persistence(settings),
        clock=runtime.clock,
        monotonic=loop.listening_s,
        uniform=runtime.uniform,
    )


def persistence(settings: Settings) -> Persistence:
    """Return how patient the settings want a connection to be."""
    return Persistence(
        base_delay_s=settings.massive_websocket_reconnect_delay,
        max_delay_s=settings.massive_websocket_reconnect_max_delay,
        max_retries=settings.massive_websocket_max_retries,
        ping_interval_s=settings.massive_ping_interval,
        ping_timeout_s=settings.massive_ping_timeout,
    )


class _Synthetic:
    """Makes the synthetic market a source."""

    id = "synthetic"

    def __init__(
        self,
        settings: Settings,
        tickers: tuple[str, ...],
        emit: Callable[[status.StatusEvent], None],
        runtime: Runtime,
    ) -> None:
        types = dict.fromkeys(t for c in settings.connections if c.enabled for t in c.event_types)
        self._types = len(types)
        self._emit = emit
        self._clock = runtime.clock
        self._market = SyntheticSource(
            self.id,
            tickers,
            event_types=types,
            interval_s=settings.synthetic_update_interval,
            seed=settings.synthetic_seed,
            runtime=runtime,
        )
        self._closed = Subject[bool]()
        self._phase = Phase.LIVE
        self._messages = 0
        self._bytes = 0
        self.frames = self._market.frames.pipe(ops.do_action(self._count), ops.take_until(self._closed))

    def add_tickers(self, tickers: Iterable[str]) -> None:
        self._market.add_tickers(tickers)

    def remove_tickers(self, tickers: Iterable[str]) -> None:
        gone = tuple(tickers)
        carried = set(self._market.tickers)
        if unknown := tuple(ticker for ticker in gone if ticker not in carried):
            near = near_symbols(unknown, carried)
            self._emit(status.TickersNotCarried(at_ns=self._clock(), tickers=unknown, near=near))
        self._market.remove_tickers(gone)

    def move_ticker(self, ticker: str, connection: str) -> None:
        self._check(connection)
        self._market.add_tickers([ticker])

    def rebalance(self, tell: Callable[[tuple[status.Moved, ...]], None]) -> None:
        tell(())

    def reconnect(self, connection: str) -> None:
        self._check(connection)

    def wait_connected(self, timeout_s: float) -> tuple[str, ...]:
        del timeout_s  # it is always up
        return (self.id,)

    def tickers(self) -> dict[str, tuple[str, ...]]:
        return {self.id: self._market.tickers}

    def dispose(self) -> None:
        pass

    def close(self) -> None:
        self._phase = Phase.CLOSED
        self._closed.on_next(True)

    def snapshot(self) -> ConnectionSnapshot:
        return ConnectionSnapshot(
            id=self.id,
            name=self.id,
            url="",
            phase=self._phase,
            confirmed=self._types * len(self._market.tickers),
            messages=self._messages,
            received_bytes=self._bytes,
        )

    def _check(self, connection: str) -> None:
        if connection != self.id:
            raise ValueError(f"connection must be {self.id}, not {connection!r}")

    def _count(self, frames: Frames) -> None:
        self._messages += len(frames.messages)
        self._bytes += frames.size_bytes
