import threading
from itertools import pairwise
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.account import Account
from operators.latency_stamp import Latencies
from pipeline import status
from pipeline.health import history as module
from pipeline.health.figures import ConnectionFigures, Figures, Findings, SubscriberFigures
from pipeline.health.history import History
from pipeline.health.snapshot import stream_health
from pipeline.massive.snapshot import ConnectionSnapshot, Phase
from pipeline.status_stream import StatusStream
from tests.conftest import our_threads, wait_until

SECOND_NS = 1_000_000_000


class World:
    """Is a stream of two connections, and its time."""

    def __init__(self):
        self.now_s = 1000.0
        self.received = 0
        self.phase = Phase.LIVE
        self.status = StatusStream()
        self.latencies = Latencies()
        self.activity = None
        self.findings = Findings()
        self.reads = 0
        self.wrong_s = 0
        self.history = History(
            self, clock=lambda: int((self.now_s + self.wrong_s) * 1e9), monotonic=lambda: self.now_s
        )

    def health(self):
        self.reads += 1
        connections = {
            name: ConnectionFigures(ConnectionSnapshot(name, name, "ws://127.0.0.1", phase))
            for name, phase in (("connection_1", self.phase), ("connection_2", Phase.LIVE))
        }
        account = Account(received=self.received, delivered=self.received)
        callback = SubscriberFigures(
            "block", False, {"connection_1": account}, {}, 0, {"calls": 0, "errors": 0}
        )
        figures = Figures(
            connections, {"callback": callback}, self.latencies.snapshot(), findings=self.findings
        )
        return stream_health("running", figures, self.tickers())

    def tickers(self):
        return {"connection_1": ("A", "B"), "connection_2": ("C",)}

    def tick(self, count=0, seconds=1.0):
        """Let time pass and ticks come, and have the history read."""
        self.now_s += seconds
        self.received += count
        self.history.sample()


def authenticated(number=0):
    """Return an event like most: nobody needs to look at it."""
    return status.Authenticated(connection="connection_1", at_ns=number)


def test_what_is_wrong_stays_said_while_it_is_wrong():
    """Who comes back from lunch would have to find it among two hundred events."""
    world = World()
    world.findings = Findings(
        late=("connection_1", "connection_2"),
        late_tickers=("A", "B"),
        falling_behind=("connection_2", "ingest"),
        clock={"offset_at_most_ms": -1.5, "negative": 7},
    )
    world.tick()
    now = world.history.answer().now
    assert [line.concern for line in now.connections] == ["late", "falling behind"]
    assert (now.ingest_grows, now.late_tickers, now.clock_at_most_ms, now.clock_negative) == (
        True,
        2,
        -1.5,
        7,
    )
    world.phase = Phase.BACKING_OFF  # which says more
    world.findings = Findings(late=("connection_1",))
    world.tick()
    now = world.history.answer().now
    assert [line.concern for line in now.connections] == ["", ""]
    assert (now.ingest_grows, now.late_tickers, now.clock_at_most_ms, now.clock_negative) == (
        False,
        0,
        None,
        0,
    )


def test_who_asks_learns_whether_there_are_new_events():
    """Each look would cost the stream a second request."""
    world = World()
    assert world.history.answer().newest_event == 0
    world.history.take(authenticated())
    world.history.take(authenticated(1))
    assert world.history.answer().newest_event == world.history.events().events[-1].number == 2


def test_the_series_has_a_point_a_second_and_the_newest_is_now():
    """The page would draw a line that has nothing to do with the stream."""
    world = World()
    world.history.sample()
    for count in (300, 600, 900):
        world.tick(count)
    answer = world.history.answer()
    assert answer.at_ns == [(1000 + second) * SECOND_NS for second in range(4)]
    assert answer.subscribers["callback"]["delivered_per_s"] == [0, 300, 450, 600]
    assert (
        answer.connections["connection_1"]["ticks_per_s"][-1] == answer.now.connections[0].ticks_per_s == 600
    )
    assert answer.now.at_ns == answer.at_ns[-1]
    assert answer.now.connections[0].tickers == 2
    assert answer.now.subscribers[0].account["imbalance"] == 0


@pytest.fixture(scope="module", autouse=True)
def keeps_little():
    """Have so few points and events kept that a property need not make hundreds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "POINTS", 30)
        patch.setattr(module, "EVENTS", 20)
        yield


@settings(max_examples=50)
@given(st.integers(1, 70), st.integers(-3, 70))
def test_who_asks_again_gets_what_is_new_and_nothing_twice(points, known):
    """A page that polls would draw seconds twice, or miss some; and memory would grow all day."""
    world = World()
    for _ in range(points):
        world.tick()
    everything = world.history.answer().at_ns
    assert everything == [(1000 + second) * SECOND_NS for second in range(1, points + 1)][-30:]
    after_ns = max(0, (1000 + known) * SECOND_NS)
    answer = world.history.answer(after_ns)
    assert answer.at_ns == [at_ns for at_ns in everything if at_ns > after_ns]
    assert all(
        len(values) == len(answer.at_ns) for values in answer.connections.get("connection_1", {}).values()
    )


@pytest.mark.parametrize("step_s", [-900, -3, 3600])
def test_who_asks_again_gets_what_is_new_when_the_clock_was_set(step_s):
    """A page stood still for as long as the clock was set back."""
    world = World()
    had = []
    for second in range(20):
        if second == 10:
            world.wrong_s = step_s
        world.tick()
        had += world.history.answer(had[-1] if had else 0).at_ns
    assert had == world.history.answer().at_ns
    assert len(had) == 20


def test_a_subscriber_that_came_late_has_nothing_for_the_time_before():
    """Its line would begin with the seconds of another, and end before now."""
    world = World()
    world.tick()
    latecomer = SubscriberFigures("block", False, {}, {}, 0, {})
    health = world.health()
    health["subscribers"]["late"] = stream_health("running", Figures(subscribers={"late": latecomer}), {})[
        "subscribers"
    ]["late"]
    world.health = lambda: health
    world.tick()
    assert world.history.answer().subscribers["late"]["queued"] == [None, 0]


def test_since_when_a_connection_is_live_or_is_not():
    """An outage of an hour would look a second old at every attempt to connect."""
    world = World()
    world.tick()
    since = []
    for phase in (Phase.LIVE, Phase.BACKING_OFF, Phase.CONNECTING, Phase.BACKING_OFF, Phase.LIVE):
        world.phase = phase
        world.tick()
        since.append(world.history.answer().now.connections[0].since_ns // SECOND_NS)
    assert since == [1001, 1003, 1003, 1003, 1006]


@given(st.integers(0, 45), st.integers(0, 45))
def test_the_newest_events_are_kept_in_words_and_told_once(count, after):
    """An operator would read old news, or the same again with each poll."""
    world = World()
    for number in range(count):
        world.history.take(authenticated(number))
    told = world.history.events(after).events
    assert [event.number for event in told] == [n for n in range(1, count + 1) if n > after][-20:]
    assert all(event.words == "connection_1: authenticated" and not event.warning for event in told)
    world.history.take(status.Disconnected(connection="connection_1", at_ns=1, reason="gone"))
    assert world.history.events(count).events[0].warning


def test_an_event_has_the_stream_read_at_once_but_makes_no_point(monkeypatch):
    """A killed connection would show a second later; and storms of events would fill the series."""
    monkeypatch.setattr(module, "EVERY_S", 3600.0)
    monkeypatch.setattr(module, "SOONEST_S", 0.0)
    world = World()
    world.history.start()
    try:
        wait_until(lambda: world.history.answer().now)
        world.phase = Phase.BACKING_OFF
        world.status.emit(authenticated())
        wait_until(lambda: world.history.answer().now.connections[0].phase == "backing_off")
        assert len(world.history.answer().at_ns) == 1
    finally:
        world.history.close()


def test_a_figure_that_cannot_be_read_costs_a_point_and_not_the_page(monkeypatch, caplog):
    """One defect in one figure, and the operator is blind for the rest of the day."""
    monkeypatch.setattr(module, "EVERY_S", 0.01)
    world = World()
    healthy, broken = world.health, threading.Event()

    def fail():
        broken.set()
        raise KeyError("no such figure")

    world.health = fail
    world.history.start()
    try:
        assert broken.wait(10)
        world.health = healthy
        wait_until(lambda: world.history.answer().now)
        assert "could not be read" in caplog.text
    finally:
        world.history.close()


def test_it_reads_from_start_to_close_and_not_a_moment_longer(monkeypatch):
    """Every server that was closed would go on reading its stream, and a closed stream at that."""
    monkeypatch.setattr(module, "EVERY_S", 0.001)
    world = World()
    assert world.reads == 0
    world.history.start()
    wait_until(lambda: world.reads > 3)
    assert "tickbraid-history" in our_threads()
    world.history.close()
    world.history.close()
    assert "tickbraid-history" not in our_threads()
    reads = world.reads
    world.status.emit(authenticated())
    world.status.complete()
    assert (world.reads, world.history.events().events) == (reads, [])


@pytest.mark.parametrize("seconds", [0.5, 7.0])
def test_a_late_reading_is_not_made_up_for(seconds):
    """After a pause of the machine the stream would be read as often as was missed, all at once."""
    world = World()
    waits = []
    world.history._closed = SimpleNamespace(is_set=lambda: len(waits) >= 6, wait=lambda timeout_s: None)

    def wait(timeout_s):
        waits.append(timeout_s)
        world.now_s += max(timeout_s, 0.0) + (seconds if len(waits) == 2 else 0.0)

    world.history._happened = SimpleNamespace(wait=wait)
    world.history._run()
    at_s = [at_ns / 1e9 for at_ns in world.history.answer().at_ns]
    assert all(later - earlier > 0.4 for earlier, later in pairwise(at_s))
    assert len(at_s) <= 6
