"""Where frames come from: connections to Massive, each with its tickers, or the synthetic market."""

import logging
from collections.abc import Callable, Iterable
from typing import Protocol

from reactivex import Observable, Subject, operators

from . import status
from .activity import Activity
from .gaps import Gaps
from .massive.connection import Connection
from .massive.frames import Frames
from .massive.loop import SocketLoop
from .massive.persistence import Persistence
from .massive.snapshot import ConnectionSnapshot, Phase
from .massive.socket import wire_opener
from .pool import Pool, PoolPolicy
from .routing.route import plan
from .routing.universe import universes_of
from .session_hours import session_hours
from .settings import ConnectionSettings, Settings
from .status_stream import StatusStream
from .synthetic import SyntheticSource

__all__ = ["Carriage", "Source", "make_sources"]

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
        """Carry these no more."""
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


def make_sources(  # noqa: PLR0917  # the parts of an engine
    settings: Settings,
    loop: SocketLoop,
    status_stream: StatusStream,
    clock: Callable[[], int],
    gaps: Gaps,
    activity: Activity,
) -> tuple[list[Source], Carriage]:
    """Make what the settings ask for, not yet opened.

    A connection without tickers is skipped with a word, unless they may come at run time.

    Args:
        settings: as loaded; the providers of its universes are asked, on the caller's thread.
        loop: reads the sockets and runs the timers.
        status_stream: where the connections' events go.
        clock: wall clock, ns.
        gaps: is told what a lost connection carried.
        activity: says how busy each ticker is.
    """
    lines, redundant, assignment = plan(settings, universes_of(settings))
    for warning in assignment.warnings:
        log.warning("%s", warning)
    if not settings.use_massive_api or settings.use_synthetic_data:
        carried = dict.fromkeys(ticker for tickers in assignment.tickers.values() for ticker in tickers)
        market = _Synthetic(settings, tuple(carried), clock)
        return [market], market

    def hear(event: status.StatusEvent) -> None:
        status_stream.emit(event)
        pool.hear(event)

    connections = []
    for connection in settings.connections:
        if not connection.enabled:
            continue
        if settings.websocket_start_empty or assignment.tickers.get(connection.id):
            connections.append(_connect(settings, connection, loop, hear, clock))
        else:
            status_stream.emit(
                status.Skipped(connection=connection.id, at_ns=clock(), reason="it has no tickers")
            )
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
        scheduler=loop,
        emit=status_stream.emit,
        gaps=gaps,
        measure=activity.measure,
        market_open=session_hours(settings.market_calendar),
        clock=clock,
    )
    return list[Source](connections), pool


def _connect(
    settings: Settings,
    connection: ConnectionSettings,
    loop: SocketLoop,
    on_status: Callable[[status.StatusEvent], None],
    clock: Callable[[], int],
) -> Connection:
    return Connection(
        connection.id,
        name=connection.name,
        url=connection.url,
        key=settings.massive_api_key,
        opener=wire_opener(connection.url, loop, name=connection.id, clock=clock),
        scheduler=loop,
        on_status=on_status,
        persistence=_persistence(settings),
        clock=clock,
    )


def _persistence(settings: Settings) -> Persistence:
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

    def __init__(self, settings: Settings, tickers: tuple[str, ...], clock: Callable[[], int]) -> None:
        types = dict.fromkeys(t for c in settings.connections if c.enabled for t in c.event_types)
        self._types = len(types)
        self._market = SyntheticSource(
            self.id,
            tickers,
            event_types=types,
            interval_s=settings.synthetic_update_interval,
            seed=settings.synthetic_seed,
            clock_ns=clock,
        )
        self._closed = Subject[bool]()
        self._phase = Phase.LIVE
        self._messages = 0
        self._bytes = 0
        self.frames = self._market.frames.pipe(
            operators.do_action(self._count), operators.take_until(self._closed)
        )

    def add_tickers(self, tickers: Iterable[str]) -> None:
        self._market.add_tickers(tickers)

    def remove_tickers(self, tickers: Iterable[str]) -> None:
        self._market.remove_tickers(tickers)

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
