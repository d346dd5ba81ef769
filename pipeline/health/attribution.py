"""Whose doing it is that ticks come late: looked at once a second, told as status events.

Nothing here is on the way of a tick. It takes the differences of histograms and counters that are kept
anyway, and the last tick of some tickers.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from types import MappingProxyType
from typing import Final, NamedTuple

from reactivex import abc

from operators.histogram import HistogramSnapshot
from pipeline.massive.snapshot import ConnectionSnapshot, Phase
from pipeline.status import StatusEvent
from pipeline.tracks import Tracks

from .backlog import Backlogs, Flow
from .clock_offset import ClockOffset
from .figures import Findings
from .late_tickers import LateTickers, Sighting
from .lateness import Lateness

__all__ = ["Attribution", "Sample", "Sightings"]

EVERY_S: Final = 1.0
TICKS_AT_LEAST: Final = 10
"""A connection is looked at when it has brought so many since the last look at it."""
FLOOR_PART: Final = 10
"""A tenth of the ticks is faster than what a connection is judged by."""
SIGHTINGS: Final = 256
"""Tickers looked at each time, beside those that are suspected: some 0.1 ms."""
FRESH_NS: Final = 10_000_000_000
"""A tick received longer ago says nothing of now."""


class Sample(NamedTuple):
    """Is what there is to be seen at a moment.

    Args:
        connections: as they are doing.
        feed: the lateness of the events that each brought since the start, by its id; of bars nothing.
        queues: bytes that wait undecoded, by connection id; under None, of all together.
        bars: the lateness of the bars that each brought, for those that bring nothing else.
    """

    connections: Iterable[ConnectionSnapshot]
    feed: Mapping[str, HistogramSnapshot]
    queues: Mapping[str | None, int]
    bars: Mapping[str, HistogramSnapshot] = MappingProxyType({})


class _Mark(NamedTuple):
    """Is how a connection stood when it was last looked at."""

    session: int
    at_s: float
    received_bytes: int
    held: HistogramSnapshot
    ticks: int


class Sightings:
    """Shows the last ticks of some tickers at a time, all of them in turn. On the thread that keeps them.

    Bars are left out: they are sent some time after their end by design.

    Args:
        tracks: have the last tick of each ticker.
        clock: wall clock, ns.
    """

    def __init__(self, tracks: Tracks, clock: Callable[[], int]) -> None:
        self._tracks = tracks
        self._clock = clock
        self._turn: Iterator[str] = iter(())

    def __call__(self, suspects: Iterable[str]) -> list[Sighting]:
        """Return the last ticks of these, and of the tickers whose turn it is."""
        names = [*islice(self._turn, SIGHTINGS)]
        if len(names) < SIGHTINGS:
            self._turn = self._tracks.tickers()
            names += islice(self._turn, SIGHTINGS - len(names))
        fresh_ns = self._clock() - FRESH_NS
        last = ((name, self._tracks.last_of(name)) for name in dict.fromkeys([*suspects, *names]))
        return [
            Sighting(name, tick.received_ns, tick.received_ns - tick.event_ns)
            for name, tick in last
            if tick is not None and tick.received_ns > fresh_ns and not tick.is_bar
        ]


class Attribution:
    """Looks once a second, and says what has changed. On the scheduler's thread; `findings` from any.

    Args:
        sample: returns what there is to be seen.
        emit: takes status events; must not block.
        scheduler: the loop, or virtual time; when it is disposed, so is this.
        ingest_bytes: how much may wait undecoded.
        server_bytes: how much the server keeps for a slow reader; None where nobody knows.
        clock: wall clock, ns.
        monotonic: seconds.
        sightings: returns the last ticks of some tickers, those of the given ones among them.
        homes: returns the connection of each ticker.
    """

    def __init__(
        self,
        sample: Callable[[], Sample],
        *,
        emit: Callable[[StatusEvent], None],
        scheduler: abc.SchedulerBase,
        ingest_bytes: int,
        server_bytes: int | None,
        clock: Callable[[], int],
        monotonic: Callable[[], float],
        sightings: Callable[[Iterable[str]], Iterable[Sighting]] = lambda _: (),
        homes: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        self._sample = sample
        self._emit = emit
        self._scheduler = scheduler
        self._sightings = sightings
        self._clock = clock
        self._monotonic = monotonic
        self._lateness = Lateness()
        self._backlogs = Backlogs(ingest_bytes, server_bytes)
        self._tickers = LateTickers(homes)
        self._offset = ClockOffset()
        self._marks: dict[str, _Mark] = {}
        self._floors: dict[str, int] = {}
        """Of events: no ticker's own ticks are held against how late bars are."""
        self._by_bars: set[str] = set()
        self._late: tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]] = ((), (), ())

    def start(self) -> None:
        """Look from now on. Once, from any thread."""
        self._scheduler.schedule_relative(EVERY_S, lambda *_: self._look())

    def findings(self) -> Findings:
        """Return what was found at the last look; from any thread."""
        connections, tickers, behind = self._late
        return Findings(connections, tickers, behind, self._offset.values())

    def _look(self) -> None:
        self.start()  # first: whatever goes wrong here, there is a next time
        at_ns, now_s = self._clock(), self._monotonic()
        sample = self._sample()
        flows = self._flows(sample, now_s)
        events: list[StatusEvent] = []
        queued_bytes = max(sample.queues.values(), default=0)
        floors = {name: flow.floor_ns for name, flow in flows.items()}
        events += self._lateness.look(floors, now_s=now_s, at_ns=at_ns, queued_bytes=queued_bytes)
        events += self._backlogs.look(flows, sample.queues, now_s=now_s, at_ns=at_ns)
        sightings = self._sightings(self._tickers.suspects)
        events += self._tickers.look(sightings, self._floors, now_s=now_s, at_ns=at_ns)
        self._late = self._lateness.late, self._tickers.late, self._backlogs.behind
        for event in events:
            self._emit(event)

    def _flows(self, sample: Sample, now_s: float) -> dict[str, Flow]:
        """Return what each connection brought since it was last looked at, if that is enough to tell.

        One is judged by its events. One that never brought any is judged by its bars: they have a floor that
        is by design, but so they all have it, and what is late is compared with what is usual there.
        """
        flows: dict[str, Flow] = {}
        brought: list[HistogramSnapshot] = []
        brought_bars: list[HistogramSnapshot] = []
        for connection in sample.connections:
            name = connection.id
            held = sample.feed.get(name) or sample.bars.get(name)
            if connection.phase is not Phase.LIVE or held is None:
                self._forget(name)
                continue
            self._judge_by(name, bars=name not in sample.feed)
            mark = self._marks.get(name)
            ticks = held.count + held.negative
            new = _Mark(connection.connects, now_s, connection.received_bytes, held, ticks)
            if mark is None or mark.session != new.session:
                self._forget(name)
                self._marks[name] = new
                continue
            ticks -= mark.ticks
            if ticks >= TICKS_AT_LEAST:
                self._marks[name] = new
                window = held - mark.held
                bytes_per_s = (new.received_bytes - mark.received_bytes) / max(now_s - mark.at_s, 1e-9)
                flows[name] = Flow(window.smallest(ticks // FLOOR_PART) or 0, bytes_per_s)
                if name in self._by_bars:
                    brought_bars.append(window)
                else:
                    self._floors[name] = flows[name].floor_ns
                    brought.append(window)
        self._offset.look(brought or brought_bars, by_bars=not brought and bool(brought_bars))
        return flows

    def _judge_by(self, connection: str, *, bars: bool) -> None:
        """Begin anew where a connection's first event comes after its bars: what was usual of them is not."""
        if not bars and connection in self._by_bars:
            self._by_bars.discard(connection)
            self._forget(connection)
            self._lateness.unlearn(connection)
        elif bars:
            self._by_bars.add(connection)

    def _forget(self, connection: str) -> None:
        self._marks.pop(connection, None)
        self._floors.pop(connection, None)
        self._lateness.forget(connection)
        self._backlogs.forget(connection)
