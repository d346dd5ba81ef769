"""The last five minutes of a stream, for those who look at it: the page, ``tickbraid top``."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

from reactivex.disposable import SerialDisposable

from pipeline.massive.snapshot import Phase
from pipeline.status import StatusEvent
from pipeline.status_stream import is_warning
from pipeline.stream import TickStream

from .leaders import Leaders
from .meter import ConnectionLine, Meter, SubscriberLine

__all__ = [
    "ConnectionPoint",
    "EventLine",
    "Events",
    "History",
    "HistoryAnswer",
    "Point",
    "SubscriberPoint",
]

log = logging.getLogger("tickbraid.history")

EVERY_S: Final = 1.0
POINTS: Final = 300
"""Five minutes."""
EVENTS: Final = 200
SOONEST_S: Final = 0.2
"""So long after a sample at the earliest an event makes another: a storm of them must not."""
CLOSE_WITHIN_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class ConnectionPoint(ConnectionLine):
    """Says how a connection does; counts are since the start, rates and latencies of the last 3 s.

    Args:
        since_ns: when it was seen to have become live, or to be so no more; ns since the epoch.
        tickers: it is to carry by name.
        last_message_age_s: None where none came.
        reconnects: sockets opened after the first.
        queued: elements that wait undecoded.
        concern: what is wrong with it though it is live: ``stale``, ``falling behind`` or ``late``; else "".
        trouble: why its last session ended, None where none did.
        all_symbols: it carries ``*``.
    """

    since_ns: int
    tickers: int
    last_message_age_s: float | None
    reconnects: int
    queued: int
    concern: str
    trouble: str | None
    all_symbols: bool


@dataclass(frozen=True, slots=True)
class SubscriberPoint(SubscriberLine):
    """Says how a subscriber does, and where every element of it is.

    Args:
        account: received, delivered, deduplicated, dropped, failed, rejected, queued, and the imbalance, 0.
    """

    account: dict[str, int]


@dataclass(frozen=True, slots=True)
class Point:
    """Is how a stream did at a moment.

    Args:
        at_ns: wall clock, ns since the epoch.
        state: of the stream: idle, running or closed.
        feed_p50_ms: from the event's time until received; None where nothing came but bars.
        feed_p99_ms: as above.
        bars_p50_ms: from the end of a bar until it came for the first time: Massive sends a second bar 2 s
            after its second on purpose, so it has a floor that is nobody's fault. None where none came.
        bars_p99_ms: as above.
        ingest_bytes: that wait undecoded.
        ingest_grows: and they will soon be too many.
        late_tickers: how many come later than the others of their connection.
        clock_at_most_ms: our clock is ahead of the feed's by no more, as the last minute says; None where it
            says nothing.
        clock_negative: ticks of the last minute that came before they happened, as our clock has it.
        clock_by_bars: they were bars only, which are sent so late that our clock may be seconds less ahead.
    """

    at_ns: int
    state: str
    ticks_per_s: float
    feed_p50_ms: float | None
    feed_p99_ms: float | None
    bars_p50_ms: float | None
    bars_p99_ms: float | None
    ingest_bytes: int
    ingest_grows: bool
    late_tickers: int
    clock_at_most_ms: float | None
    clock_negative: int
    clock_by_bars: bool
    connections: tuple[ConnectionPoint, ...]
    subscribers: tuple[SubscriberPoint, ...]


@dataclass(frozen=True, slots=True)
class HistoryAnswer:
    """Is what ``/api/history`` says.

    Args:
        now: the newest point, at most a second old; None before the first.
        at_ns: wall clock of each point of the series, a second apart, the newest last.
        connections: by id and figure, a value for each time; None where there was none.
        subscribers: likewise, by name.
        newest_event: the number of the newest of ``/api/events``; 0 where there are none.
    """

    now: Point | None
    at_ns: list[int]
    connections: dict[str, dict[str, list[float | None]]]
    subscribers: dict[str, dict[str, list[float | None]]]
    newest_event: int


@dataclass(frozen=True, slots=True)
class EventLine:
    """Is a status event in words.

    Args:
        number: counts up from 1, in the order of the events.
        at_ns: wall clock, ns since the epoch.
        connection: its id, None where it is the whole stream's.
        event: its kind, ``Disconnected``.
        warning: somebody should look at it.
    """

    number: int
    at_ns: int
    connection: str | None
    event: str
    words: str
    warning: bool


@dataclass(frozen=True, slots=True)
class Events:
    """Is what ``/api/events`` says: the newest status events, the newest last."""

    events: list[EventLine]


_CONNECTION_SERIES: Final = (
    "ticks_per_s",
    "p50_ms",
    "p99_ms",
    "bars_p50_ms",
    "bars_p99_ms",
    "last_message_age_s",
    "dropped",
    "reconnects",
    "queued",
)
_SUBSCRIBER_SERIES: Final = (
    "delivered_per_s",
    "queued",
    "p50_ms",
    "p99_ms",
    "sink_p50_ms",
    "sink_p99_ms",
    "dropped",
)


class History:
    """Reads a stream once a second, and at once when something happens, from `start` to `close`.

    It runs on a thread of its own, ``tickbraid-history``; `answer`, `events` and `leaders` are for any
    thread and cost the stream nothing. What is kept is bounded: 300 points and 200 events.

    Args:
        stream: any.
        clock: wall clock, ns since the epoch.
        monotonic: seconds.
    """

    def __init__(
        self,
        stream: TickStream,
        *,
        clock: Callable[[], int] = time.time_ns,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.leaders = Leaders(stream, clock=clock, monotonic=monotonic)
        """Which tickers are the busiest and the slowest."""
        self._stream = stream
        self._clock = clock
        self._monotonic = monotonic
        self._meter: Meter | None = None
        self._points: deque[Point] = deque(maxlen=POINTS)
        self._now: Point | None = None
        self._live: dict[str, tuple[bool, int]] = {}
        self._events: deque[EventLine] = deque(maxlen=EVENTS)
        self._numbered = 0
        self._happened = threading.Event()
        self._closed = threading.Event()
        self._status = SerialDisposable()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to read, once; from any thread."""
        thread = threading.Thread(target=self._run, name="tickbraid-history", daemon=True)
        thread.start()
        self._thread = thread
        self._status.disposable = self._stream.status.subscribe(self.take)

    def close(self) -> None:
        """Stop reading, from any thread, within 2 s; what was read can still be asked for. Idempotent."""
        self._status.dispose()
        self._closed.set()
        self._happened.set()
        if self._thread is not None:
            self._thread.join(CLOSE_WITHIN_S)

    # -- what comes in --------------------------------------------------------------------------------------

    def take(self, event: StatusEvent) -> None:
        """Keep an event in words, and have the stream read soon; on the status stream's thread."""
        number = self._numbered + 1
        self._events.append(
            EventLine(
                number,
                event.at_ns,
                event.connection,
                type(event).__name__,
                event.describe(),
                is_warning(event),
            )
        )
        self._numbered = number  # last: who sees it asks for the event
        self._happened.set()

    def sample(self, *, keep: bool = True) -> Point:
        """Read the stream now, on the caller's thread, of which there is one, and return how it does.

        Args:
            keep: as a point of the series, and not only as what is now.
        """
        if self._meter is None:
            self._meter = Meter(self._stream, monotonic=self._monotonic)
        reading = self._meter.read()
        health = self._meter.newest.health
        at_ns = self._clock()
        now = self._now = Point(
            at_ns,
            health["state"],
            reading.ticks_per_s,
            reading.feed_p50_ms,
            reading.feed_p99_ms,
            reading.bars_p50_ms,
            reading.bars_p99_ms,
            health["ingest"].get("queued_bytes", 0),
            "ingest" in health["falling_behind"],
            len(health["late_tickers"]),
            health["clock"].get("offset_at_most_ms"),
            health["clock"].get("negative", 0),
            health["clock"].get("by_bars", False),
            tuple(
                self._connection(line, each, health, at_ns)
                for line, each in zip(reading.connections, health["connections"], strict=True)
            ),
            tuple(
                SubscriberPoint(**_values(line), account=health["subscribers"][line.name]["account"])
                for line in reading.subscribers
            ),
        )
        if keep:
            self._points.append(now)
            self.leaders.sample()
        return now

    def _connection(
        self, line: ConnectionLine, health: Mapping[str, Any], whole: Mapping[str, Any], at_ns: int
    ) -> ConnectionPoint:
        live = line.phase == Phase.LIVE.value
        was_live, since_ns = self._live.setdefault(line.id, (live, at_ns))
        if was_live != live:
            since_ns = at_ns
            self._live[line.id] = live, since_ns
        return ConnectionPoint(
            **_values(line),
            since_ns=since_ns,
            tickers=health["tickers"],
            last_message_age_s=health["last_message_age_s"],
            reconnects=health["reconnects"],
            queued=health["queued"],
            concern=_concern(health, whole) if live else "",
            trouble=health["last_trouble"],
            all_symbols=health["all_symbols"],
        )

    def _run(self) -> None:
        next_s = self._monotonic()
        while not self._closed.is_set():
            now_s = self._monotonic()
            due = now_s >= next_s
            if due:
                next_s += EVERY_S
                if next_s <= now_s:  # it was late by more than that
                    next_s = now_s + EVERY_S
            try:
                self.sample(keep=due)
            except BaseException:  # a defect in one figure must not blind the operator all day
                log.exception("the stream could not be read")
            self._closed.wait(min(SOONEST_S, max(0.0, next_s - self._monotonic())))
            if self._happened.wait(max(0.0, next_s - self._monotonic())):
                self._happened.clear()

    # -- what is asked for ----------------------------------------------------------------------------------

    def answer(self, after_ns: int = 0) -> HistoryAnswer:
        """Return what is now, and the series of what came after a point; from any thread.

        Args:
            after_ns: of the newest point that the caller has, ns since the epoch; where there is none of that
                time, what came at a later one. The clock may be set back: then what is new has an older time.
        """
        now, points = self._now, list(self._points.copy())
        known = [number for number, point in enumerate(points) if point.at_ns == after_ns]
        points = points[known[-1] + 1 :] if known else [point for point in points if point.at_ns > after_ns]
        return HistoryAnswer(
            now,
            [point.at_ns for point in points],
            _series([{line.id: line for line in point.connections} for point in points], _CONNECTION_SERIES),
            _series(
                [{line.name: line for line in point.subscribers} for point in points], _SUBSCRIBER_SERIES
            ),
            self._numbered,
        )

    def events(self, after: int = 0) -> Events:
        """Return the events with a greater number, of the newest 200; from any thread."""
        return Events([event for event in self._events.copy() if event.number > after])


def _values(line: ConnectionLine | SubscriberLine) -> dict[str, Any]:
    return {field.name: getattr(line, field.name) for field in fields(line)}


def _concern(its: Mapping[str, Any], health: Mapping[str, Any]) -> str:
    if its["stale"]:
        return "stale"
    if its["id"] in health["falling_behind"]:
        return "falling behind"
    return "late" if its["id"] in health["late"] else ""


def _series(
    points: list[dict[str, Any]], figures: tuple[str, ...]
) -> dict[str, dict[str, list[float | None]]]:
    names = dict.fromkeys(name for point in points for name in point)
    return {
        name: {figure: [getattr(point.get(name), figure, None) for point in points] for figure in figures}
        for name in names
    }
