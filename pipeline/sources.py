"""Where frames come from: connections to Massive, each with its tickers, or the synthetic market."""

import logging
from collections.abc import Callable
from typing import Protocol

from reactivex import Observable, Subject, operators

from . import status
from .massive.connection import Connection
from .massive.frames import Frames
from .massive.loop import SocketLoop
from .massive.persistence import Persistence
from .massive.protocol import channels_for
from .massive.snapshot import ConnectionSnapshot, Phase
from .massive.socket import wire_opener
from .routing.route import route
from .routing.universe import universes_of
from .settings import ConnectionSettings, Settings
from .status_stream import StatusStream
from .synthetic import SyntheticSource

__all__ = ["Source", "make_sources"]

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


def make_sources(
    settings: Settings, loop: SocketLoop, status_stream: StatusStream, clock: Callable[[], int]
) -> list[Source]:
    """Make what the settings ask for, not yet opened; a connection without tickers is skipped with a word.

    Args:
        settings: as loaded; the providers of its universes are asked, on the caller's thread.
        loop: reads the sockets and runs the timers.
        status_stream: where the connections' events go.
        clock: wall clock, ns.
    """
    assignment = route(settings, universes_of(settings))
    for warning in assignment.warnings:
        log.warning("%s", warning)
    if not settings.use_massive_api or settings.use_synthetic_data:
        carried = dict.fromkeys(ticker for tickers in assignment.tickers.values() for ticker in tickers)
        return [_Synthetic(settings, tuple(carried), clock)]
    sources: list[Source] = []
    for connection in settings.connections:
        if not connection.enabled:
            continue
        tickers = assignment.tickers.get(connection.id, ())
        if tickers:
            source = _connect(settings, connection, loop, status_stream, clock)
            source.want(channels_for(tickers, connection.event_types))
            sources.append(source)
        else:
            status_stream.emit(
                status.Skipped(connection=connection.id, at_ns=clock(), reason="it has no tickers")
            )
    return sources


def _connect(
    settings: Settings,
    connection: ConnectionSettings,
    loop: SocketLoop,
    status_stream: StatusStream,
    clock: Callable[[], int],
) -> Connection:
    return Connection(
        connection.id,
        name=connection.name,
        url=connection.url,
        key=settings.massive_api_key,
        opener=wire_opener(connection.url, loop, name=connection.id, clock=clock),
        scheduler=loop,
        on_status=status_stream.emit,
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
        market = SyntheticSource(
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
        self._channels = len(tickers) * len(types)
        self.frames = market.frames.pipe(operators.do_action(self._count), operators.take_until(self._closed))

    def close(self) -> None:
        self._phase = Phase.CLOSED
        self._closed.on_next(True)

    def snapshot(self) -> ConnectionSnapshot:
        return ConnectionSnapshot(
            id=self.id,
            name=self.id,
            url="",
            phase=self._phase,
            confirmed=self._channels,
            messages=self._messages,
            received_bytes=self._bytes,
        )

    def _count(self, frames: Frames) -> None:
        self._messages += len(frames.messages)
        self._bytes += frames.size_bytes
