import sys
from collections import Counter

import pytest
from reactivex.scheduler import VirtualTimeScheduler

from operators.histogram import LatencyHistogram
from pipeline.health.attribution import FRESH_NS, SIGHTINGS, Attribution, Sample, Sightings
from pipeline.health.late_tickers import Sighting
from pipeline.massive.snapshot import ConnectionSnapshot, Phase
from pipeline.status import CaughtUp, FallingBehind, Late, OnTime
from pipeline.ticks import Quote, SecondAggregate, Trade
from pipeline.tracks import Tracks

SECOND = 1_000_000_000
MS = 1_000_000


class World:
    """Connections that bring ticks in virtual time, a hundred a second, 40 ms late."""

    def __init__(self, *names, server_bytes=None):
        self.scheduler = VirtualTimeScheduler()
        self.names = names
        self.feed = {name: LatencyHistogram() for name in names}
        self.bars = {}
        self.received = Counter()
        self.sessions = Counter(dict.fromkeys(names, 1))
        self.down = set()
        self.queued_bytes = 0
        self.sightings = []
        self.events = []
        self.attribution = Attribution(
            self._sample,
            emit=self.events.append,
            scheduler=self.scheduler,
            ingest_bytes=1000,
            server_bytes=server_bytes,
            sightings=lambda _: self.sightings,
            clock=lambda: int(self.scheduler.clock * SECOND),
            monotonic=lambda: self.scheduler.clock,
        )
        self.attribution.start()

    def _sample(self):
        connections = [
            ConnectionSnapshot(
                name,
                name,
                "",
                Phase.BACKING_OFF if name in self.down else Phase.LIVE,
                connects=self.sessions[name],
                received_bytes=self.received[name],
            )
            for name in self.names
        ]
        feed = {name: histogram.snapshot() for name, histogram in self.feed.items()}
        bars = {name: histogram.snapshot() for name, histogram in self.bars.items()}
        return Sample(connections, feed, {None: self.queued_bytes}, bars)

    def only_bars(self):
        """Let what comes be bars from now on, as it is by default: two seconds after their ends."""
        self.feed, self.bars = {}, {name: LatencyHistogram() for name in self.names}

    def run(self, seconds, ticks=100, slow=0.05, **late_ms):
        """Let time go by; a part of the ticks is 9 s late, whatever else happens. Return what was told."""
        before = len(self.events)
        for _ in range(seconds):
            for name in self.names:
                if name not in self.down:
                    late = late_ms.get(name, 40)
                    held = self.feed.get(name) or self.bars[name]
                    held.record(int(late * MS), int(ticks * (1 - slow)))
                    held.record(int((late + 9000) * MS), int(ticks * slow))
                    self.received[name] += 100 * ticks
            self.scheduler.advance_by(1.0)
        return self.events[before:]


def test_it_looks_once_a_second_at_what_came_since():
    """Lateness of the morning would hide that of now."""
    world = World("a", "b")
    assert not world.run(300)
    (late,) = world.run(10, b=1500)
    assert isinstance(late, Late)
    assert (late.connection, late.others) == ("b", "on time")
    assert late.late_s == pytest.approx(1.5, rel=0.032)
    assert world.attribution.findings().late == ("b",)
    (on_time,) = world.run(10)
    assert isinstance(on_time, OnTime)
    assert world.attribution.findings().late == ()


def test_bars_that_are_late_by_design_are_not_the_sockets_doing():
    """At each full minute, thousands of bars would be taken for a slow server."""
    world = World("a", "b")
    world.run(60)
    assert not world.run(10, slow=0.8)


def test_where_only_bars_come_their_own_delay_is_usual():
    """By default there are only bars: each would be late, or none ever."""
    world = World("a", "b", server_bytes=1_000_000)
    world.only_bars()
    assert not world.run(100, a=2004, b=2004)
    (late,) = world.run(10, a=2004, b=3500)
    assert (late.connection, late.others) == ("b", "on time")
    assert (late.usually_s, late.late_s) == (pytest.approx(2, rel=0.04), pytest.approx(3.5, rel=0.04))
    assert not [event for event in world.run(10, a=2004, b=2004) if not isinstance(event, OnTime)]
    for second in range(1, 9):
        world.run(1, a=2004 + 400 * second, b=2004)
    assert world.attribution.findings().falling_behind == ("a",)


def test_with_the_first_trade_what_was_usual_of_bars_is_not():
    """A trade a second late would be early beside the bars, or the bars late beside the trades."""
    world = World("a")
    world.only_bars()
    world.run(60, a=2004)
    assert world.attribution.findings().clock["by_bars"]
    world.feed["a"] = LatencyHistogram()
    assert not world.run(60, a=40)
    assert not world.attribution.findings().clock["by_bars"]
    (late,) = world.run(10, a=1500)
    assert late.usually_s == pytest.approx(0.04, rel=0.04)


def test_no_ticker_is_late_beside_the_delay_of_bars():
    """A trade three seconds late would be on time on the socket beside, whose bars are two seconds late."""
    world = World("a", "b")
    world.feed = {"a": LatencyHistogram()}
    world.bars = {"b": LatencyHistogram()}
    world.attribution._tickers._homes = lambda: {f"T{n}": "a" for n in range(20)}
    for at in range(20):
        world.sightings = [
            Sighting(f"T{n}", at * SECOND, (2500 if n == 0 and at > 10 else 40) * MS) for n in range(20)
        ]
        world.run(1, a=40, b=2004)
    assert world.attribution.findings().late_tickers == ("T0",)


def test_a_quiet_connection_is_looked_at_when_it_has_brought_enough():
    """Three ticks are no measure; and what comes slowly would never be looked at."""
    world = World("a", "b")
    world.run(60, ticks=100)
    world.run(5, ticks=2, a=1500)
    assert not world.events
    (late,) = world.run(20, ticks=2, a=1500, slow=0)
    assert late.connection == "a"


def test_a_backlog_at_the_server_is_told_and_forgotten_with_its_session():
    """The warning would stay after the cut, or the new session begin in the red."""
    world = World("a", "b", server_bytes=1_000_000)
    world.run(30)
    for second in range(1, 9):
        world.run(1, a=40 + 400 * second)
    behind = [event for event in world.events if isinstance(event, FallingBehind)]
    assert [(event.connection, event.where) for event in behind] == [("a", "server")]
    # 10 kB/s are read at a slope of 0.4, so 16.7 kB/s are sent.
    left_bytes = 1_000_000 - 16_667 * behind[0].backlog_s
    assert behind[0].overflow_in_s == pytest.approx(left_bytes / 6667, rel=0.1)
    assert world.attribution.findings().falling_behind == ("a",)
    world.down = {"a"}
    world.run(2)
    findings = world.attribution.findings()
    assert (findings.falling_behind, findings.late) == ((), ())
    world.down, world.sessions["a"] = set(), 2
    count = len(world.events)
    world.run(30)
    assert len(world.events) == count


def test_what_waits_here_is_told_before_it_overflows():
    """Under block, a slow callback shows as a growing queue, long before the first loss."""
    world = World("a")
    world.run(5)
    for _ in range(6):
        world.queued_bytes += 60
        world.run(1)
    (behind,) = world.events
    assert (behind.where, behind.queued_bytes) == ("ingest", 120)
    world.queued_bytes = 0
    (over,) = world.run(1)
    assert isinstance(over, CaughtUp)


def test_the_clock_is_in_the_findings():
    """Nobody would know that the latencies are wrong by half a second."""
    world = World("a")
    world.run(10, a=-500)
    clock = world.attribution.findings().clock
    assert clock["offset_at_most_ms"] == pytest.approx(-500, rel=0.032)
    assert clock["negative"] == 9 * 95


def test_a_look_that_fails_is_not_the_last():
    """One defect in a sample would end all looking, without a word."""
    world = World("a")
    world.run(3)
    feed, world.feed = world.feed, {}
    world.names = None
    with pytest.raises(TypeError):
        world.scheduler.advance_by(1.0)
    world.scheduler.stop()  # an exception leaves it running
    world.feed, world.names = feed, ("a",)
    before = world.attribution.findings().clock["ticks"]
    world.run(2)
    assert world.attribution.findings().clock["ticks"] > before


def test_what_a_look_costs_does_not_grow_with_the_ticks():
    """At full load the looking would take the time that the ticks need."""

    def calls(ticks):
        world = World("a", "b", "c")
        world.run(20, ticks=ticks)
        count = 0

        def count_call(_frame, kind, _argument):
            nonlocal count
            count += kind in {"call", "c_call"}

        world.scheduler.advance_to(world.scheduler.clock + 0.5)
        for name in world.names:
            world.feed[name].record(40 * MS, ticks)
        sys.setprofile(count_call)
        try:
            world.scheduler.advance_by(1.0)
        finally:
            sys.setprofile(None)
        return count

    few, many = calls(100), calls(1_000_000)
    assert many < 1.1 * few < 1000  # the garbage collector may call somebody meanwhile


def tracks_of(*ticks):
    """Return what is remembered after these."""
    tracks = Tracks()
    tracks.note(list(ticks))
    return tracks


def test_all_tickers_have_their_turn_and_suspects_every_time():
    """Of ten thousand tickers only the first would ever be looked at."""
    ticks = [Trade(ticker=f"T{n}", price=1, event_ms=1000) for n in range(3 * SIGHTINGS)]
    for tick in ticks:
        tick.received_ns = 3 * SECOND
    sightings = Sightings(tracks_of(*ticks), lambda: 4 * SECOND)
    seen = Counter()
    for _ in range(4):
        found = sightings(["T5", "unheard"])
        assert len(found) <= SIGHTINGS + 1
        assert {each.late_ns for each in found} == {2 * SECOND}
        seen.update(each.ticker for each in found)
    assert len(seen) == 3 * SIGHTINGS
    assert seen["T5"] == 4


def test_old_ticks_and_bars_are_no_sightings():
    """What was late an hour ago would be late now, and each bar is late by design."""
    old = Trade(ticker="OLD", price=1, event_ms=1)
    bar = SecondAggregate(ticker="BAR", tick_close=1, event_ms=1)
    new = Quote(ticker="NEW", bid=1, event_ms=1)
    old.received_ns, bar.received_ns, new.received_ns = SECOND, 2 * FRESH_NS, 2 * FRESH_NS
    sightings = Sightings(tracks_of(old, bar, new), lambda: 2 * FRESH_NS)
    assert [each.ticker for each in sightings(["OLD"])] == ["NEW"]


def test_a_time_beyond_all_times_is_a_sighting_like_others():
    """One tick with a nonsense time would keep all others from being looked at."""
    ticks = [Quote(ticker="MAD", event_ms=1e308), Quote(ticker="SANE", event_ms=1)]
    for tick in ticks:
        tick.received_ns = SECOND
    assert {each.ticker for each in Sightings(tracks_of(*ticks), lambda: SECOND)([])} == {"MAD", "SANE"}
