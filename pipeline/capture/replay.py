"""A capture in the place of the feed: a stream whose sources are what was recorded."""

import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from math import isinf
from typing import Any, Final, NamedTuple, NoReturn

from reactivex import Observable, abc
from reactivex.disposable import Disposable, SerialDisposable

from operators.runtime import SYSTEM, Runtime
from pipeline import status
from pipeline.activity import Activity
from pipeline.build import braid_stream
from pipeline.errors import CaptureUnusable
from pipeline.gaps import Gaps
from pipeline.massive.frames import Frames
from pipeline.massive.loop import SocketLoop
from pipeline.massive.snapshot import ConnectionSnapshot, Phase
from pipeline.pace import Pace
from pipeline.settings import Settings
from pipeline.sources import Carriage, Source
from pipeline.status_stream import StatusStream
from pipeline.stream import TickStream

from .ahead import Ahead
from .playback import Contents, Item, Selection

__all__ = ["Progress", "Replay", "ReplayClock", "selection_of"]

BITE_BYTES: Final = 1024 * 1024
"""About so much waits undecoded; a read is decoded at a time, as it was then."""


_OF_PROGRAM: Final = (
    *(status.ChannelRefused, status.SinkDown, status.SinkUp),
    *(status.Late, status.OnTime, status.FallingBehind, status.CaughtUp),
)


class Progress(NamedTuple):
    """Says how far a replay is, by the time of receipt; both from 0, in ns."""

    done_ns: int
    total_ns: int


class ReplayClock:
    """Tells the time of the recording: that of the read that was released last, and what passed since.

    So a tick is as late at receipt as it was then, and what comes after is as late as it is now.

    Args:
        monotonic_ns: ns.
    """

    def __init__(self, monotonic_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._monotonic_ns = monotonic_ns
        self._now = (0, 0)

    def release(self, at_ns: int) -> None:
        """Set it to a moment of the recording."""
        self._now = (at_ns, self._monotonic_ns())

    def __call__(self) -> int:
        """Return ns since the epoch; from any thread."""
        at_ns, since_ns = self._now
        return at_ns + self._monotonic_ns() - since_ns


class Replay:
    """Makes the stream of a capture; see REPLAY_PATH and the keys beside it.

    All that comes behind a feed's connections is as with a feed, but that it waits: a subscriber and Redis
    have all ticks, however fast the replay goes, unless the settings name another policy.

    Args:
        settings: with REPLAY_PATH.
        monotonic: seconds, for the pace.

    Raises:
        CaptureUnusable: there is nothing to replay.

    Attributes:
        contents: what is replayed.
        stream: begins with its first subscriber, and completes at the end of the capture.
    """

    def __init__(self, settings: Settings, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._selection = selection_of(settings)
        self.contents: Contents = self._selection.contents
        self._monotonic = monotonic
        self._clock = ReplayClock()
        self._clock.release(self.contents.first_ns)
        self._player: _Player | None = None
        self.stream: TickStream = braid_stream(
            _waiting(settings), replace(SYSTEM, clock=self._clock), self._make_sources
        )

    def progress(self) -> Progress:
        """Return how far it is; from any thread."""
        contents = self.contents
        at_ns = contents.first_ns if self._player is None else self._player.at_ns
        total_ns = contents.last_ns - contents.first_ns
        return Progress(min(max(at_ns - contents.first_ns, 0), total_ns), total_ns)

    def _make_sources(  # as MakeSources has them
        self,
        settings: Settings,
        loop: SocketLoop,
        status_stream: StatusStream,
        _runtime: Runtime,
        gaps: Gaps,
        _activity: Activity,
    ) -> tuple[list[Source], Carriage]:
        names = {connection.id: connection.name for connection in settings.connections}
        self._player = player = _Player(
            Ahead(self._selection.chunks()),
            [_ReplaySource(name, names.get(name, name)) for name in self.contents.connections],
            speed=settings.replay_speed,
            first_ns=self.contents.first_ns,
            loop=loop,
            emit=status_stream.emit,
            afterwards=gaps.afterwards,
            clock=self._clock,
            monotonic=self._monotonic,
        )
        return list[Source](player.sources), player


def selection_of(settings: Settings) -> Selection:
    """Return what the settings want replayed.

    Raises:
        CaptureUnusable: there is nothing to replay.
    """
    return Selection(
        settings.replay_path,
        from_ns=settings.replay_from,
        to_ns=settings.replay_to,
        connections=settings.replay_connections,
    )


class _ReplaySource:
    """Is one recorded connection."""

    def __init__(self, connection: str, name: str) -> None:
        self.id = connection
        self.frames: Observable[Frames] = Observable(self._subscribe)
        self.on_subscribed: Callable[[], None]
        self.on_close: Callable[[], None]
        self.observer: abc.ObserverBase[Frames] | None = None
        self._name = name
        self._phase = Phase.IDLE
        self._messages = 0
        self._bytes = 0

    def bring(self, frames: Frames) -> None:
        self._messages += len(frames.messages)
        self._bytes += frames.size_bytes
        if self.observer is not None:
            self.observer.on_next(frames)

    def complete(self) -> None:
        self._phase = Phase.CLOSED
        observer, self.observer = self.observer, None
        if observer is not None:
            observer.on_completed()

    def fail(self, error: Exception) -> None:
        self._phase = Phase.FAILED
        observer, self.observer = self.observer, None
        if observer is not None:
            observer.on_error(error)

    def close(self) -> None:
        self.on_close()

    def snapshot(self) -> ConnectionSnapshot:
        return ConnectionSnapshot(
            id=self.id,
            name=self._name,
            url="",
            phase=self._phase,
            messages=self._messages,
            received_bytes=self._bytes,
        )

    def _subscribe(
        self, observer: abc.ObserverBase[Frames], _scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        self.observer = observer
        self._phase = Phase.LIVE
        self.on_subscribed()

        def dispose() -> None:
            self.observer = None

        return Disposable(dispose)


class _Player:
    """Releases what was recorded, a bite at a time, when it is due and the bite before has gone on.

    Runs on the loop's thread, and may wait there for the disk: a replay has no sockets.
    """

    def __init__(
        self,
        items: Ahead[Item],
        sources: list[_ReplaySource],
        *,
        speed: float,
        first_ns: int,
        loop: SocketLoop,
        emit: Callable[[status.StatusEvent], None],
        afterwards: Callable[[Callable[[], object]], None],
        clock: ReplayClock,
        monotonic: Callable[[], float],
    ) -> None:
        self.sources = sources
        self.at_ns = first_ns
        self._by_id = {source.id: source for source in sources}
        self._items = items
        self._item: Item | None = None
        self._speed = speed
        self._pace = Pace()
        self._elapsed_ns = 0
        """How long after the first the next one is due at speed 1."""
        self._loop = loop
        self._emit = emit
        self._afterwards = afterwards
        self._clock = clock
        self._monotonic = monotonic
        self._began_s = 0.0
        self._timer = SerialDisposable()
        self._awaited = len(sources)
        self._stopped = False
        """Nothing more is released."""
        for source in sources:
            source.on_subscribed = self._subscribed
            source.on_close = self._close

    def _subscribed(self) -> None:
        self._awaited -= 1
        if not self._awaited:  # now that all listen, so that nothing is missed
            self._loop.schedule(self._begin)

    def _begin(self, *_: object) -> None:
        self._began_s = self._monotonic()
        self._advance()
        self._turn()

    def _advance(self) -> None:
        """Take the next one, None after the last; where the rest cannot be read, end the stream."""
        try:
            self._item = next(self._items, None)
            if self._item is not None:
                self._elapsed_ns = self._pace.advance(_at_ns(self._item))
        except CaptureUnusable as error:
            self._item, self._stopped = None, True
            self._afterwards(partial(self._fail, error))  # what came before it still goes on

    def _turn(self, *_: object) -> None:
        """Release what is due, about a bite of it, and come back when it has gone on."""
        now_s = self._monotonic()
        size_bytes = 0
        while not self._stopped and size_bytes < BITE_BYTES:
            item = self._item
            if item is None:
                self._end()
                return
            if self._due_s() > now_s:
                break
            size_bytes += self._release(item)
            self._advance()
        if not self._stopped:
            self._afterwards(self._go_on)

    def _fail(self, error: Exception) -> None:
        for source in self.sources:
            source.fail(error)

    def _go_on(self) -> None:
        item = self._item
        wait_s = 0.0 if item is None else self._due_s() - self._monotonic()
        # Not at once: what is released now has not gone on yet when the next of these actions runs.
        self._timer.disposable = (
            self._loop.schedule_relative(wait_s, self._turn)
            if wait_s > 0
            else self._loop.schedule(self._turn)
        )

    def _due_s(self) -> float:
        """Return when the next one is due, by the monotonic clock."""
        return 0.0 if isinf(self._speed) else self._began_s + self._elapsed_ns / 1e9 / self._speed

    def _release(self, item: Item) -> int:
        self.at_ns = _at_ns(item)
        self._clock.release(self.at_ns)
        if isinstance(item, Frames):
            self._by_id[item.connection].bring(item)
            return item.size_bytes
        if _is_of_feed(item):
            self._emit(item)
        return 0

    def _close(self) -> None:
        """End before the end; from any thread."""
        self._loop.schedule(lambda *_: self._end())

    def _end(self) -> None:
        self._stopped = True
        self._items.close()
        for source in self.sources:
            source.complete()

    # -- as a carriage --------------------------------------------------------------------------------------

    def add_tickers(self, tickers: Iterable[str]) -> NoReturn:
        self._refuse(tickers)

    def remove_tickers(self, tickers: Iterable[str]) -> NoReturn:
        self._refuse(tickers)

    def move_ticker(self, ticker: str, connection: str) -> NoReturn:
        self._refuse(ticker, connection)

    def rebalance(self, tell: Callable[[tuple[status.Moved, ...]], None]) -> None:
        tell(())

    def reconnect(self, connection: str) -> NoReturn:
        self._refuse(connection)

    def wait_connected(self, timeout_s: float) -> tuple[str, ...]:
        del timeout_s  # it is always up
        return tuple(self._by_id)

    def tickers(self) -> dict[str, tuple[str, ...]]:
        return {}

    def dispose(self) -> None:
        self._stopped = True
        self._timer.dispose()
        self._items.close()

    @staticmethod
    def _refuse(*_: object) -> NoReturn:
        raise CaptureUnusable("a replay brings what was recorded: nothing of that can be changed")


def _at_ns(item: Item) -> int:
    return item.received_ns if isinstance(item, Frames) else item.at_ns


def _is_of_feed(event: status.StatusEvent) -> bool:
    """Tell what happened to the feed from what the program that recorded it did, or concluded."""
    if isinstance(event, status.Loss):
        return event.where == "feed"
    return not isinstance(event, _OF_PROGRAM)


def _waiting(settings: Settings) -> Settings:
    """Let those wait for their subscribers who are not told otherwise; then no tick is too old."""
    unsaid: dict[str, Any] = {}
    for name in ("subscriber", "redis"):
        if settings.provenance.get(f"{name}_OVERFLOW".upper(), "default") == "default":
            unsaid |= {f"{name}_overflow": "block", f"{name}_max_age_ms": 0}
    return replace(settings, **unsaid)
