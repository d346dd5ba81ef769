from dataclasses import replace

import pytest
from reactivex.scheduler import VirtualTimeScheduler

from operators.errors import BufferOverflow
from pipeline import status
from pipeline.health.figures import Figures
from pipeline.massive.persistence import Persistence
from pipeline.massive.snapshot import Phase
from pipeline.processes.connection import ChildConnection
from pipeline.processes.gaps import ProcessGaps
from pipeline.processes.messages import (
    Begin,
    ColumnsOver,
    End,
    GiveUp,
    HandColumns,
    Heard,
    Probe,
    Reconnect,
    Report,
    ReportNow,
    Resume,
    Said,
    StopColumns,
    Unable,
    Want,
)
from pipeline.settings import load_settings

KILLED = "its process was ended by SIGKILL"


class FakeChild:
    """A child that does nothing by itself."""

    def __init__(self, name, on_word, on_end):
        self.name, self.say, self.end = name, on_word, on_end
        self.orders = []
        self.handed = []
        self.killed = False
        self.pid = 4711

    def send(self, order, its=None):
        self.orders.append(order)
        self.handed.append(its)

    def kill(self):
        self.killed = True


class World:
    """One connection in virtual time, and the children that it starts."""

    def __init__(self, **persistence):
        self.scheduler = VirtualTimeScheduler(1000.0)
        self.children = []
        self.events = []
        self.over = 0
        loaded = load_settings({"USE_MASSIVE_API": True, "MASSIVE_API_KEY": "k"}, environ={})
        self.begin = Begin(replace(loaded, universes={}, provenance={}), 30)
        self.gaps = ProcessGaps(self.events.append, lambda: self.now_ns)
        self.connection = ChildConnection(
            self.begin,
            hear=self.events.append,
            gaps=self.gaps,
            on_over=self._is_over,
            scheduler=self.scheduler,
            persistence=Persistence(base_delay_s=1.0, max_delay_s=8.0, **persistence),
            launch=self._launch,
            clock=lambda: self.now_ns,
            monotonic=lambda: float(self.scheduler.clock),
            uniform=lambda: 1.0,
        )

    @property
    def now_ns(self):
        return int(float(self.scheduler.clock) * 1e9)

    @property
    def child(self):
        return self.children[-1]

    def run(self, seconds=0.0):
        self.scheduler.advance_by(max(seconds, 1e-6))

    def of(self, kind):
        return [event for event in self.events if isinstance(event, kind)]

    def started(self):
        self.connection.start()
        self.run()
        return self

    def hear(self, event, wants=0):
        self.child.say(Heard(event, wants))
        self.run()

    def die(self, words=KILLED):
        self.child.end(words)
        self.run()

    def _launch(self, *arguments):
        self.children.append(FakeChild(*arguments))
        return self.children[-1]

    def _is_over(self):
        self.over += 1


def event(kind, **values):
    """Return an event of the one connection."""
    return kind(connection="connection_1", at_ns=1, **values)


def test_a_child_is_told_all_that_was_wanted_before():
    """The pool gives out the tickers before any process is there."""
    world = World()
    world.connection.want(["T.A", "T.B"])
    world.connection.give_up(["T.B"])
    world.started()
    assert world.child.orders == [world.begin, Want(("T.A",))]
    assert world.connection.snapshot().phase is Phase.CONNECTING


class FakeFeed:
    """A subscriber of columns."""

    def __init__(self, name="columns"):
        self.name, self.columns = name, ("price",)
        self.opened, self.errors = [], []

    def open(self, connection):
        self.opened.append(connection)
        return f"socket {len(self.opened)}"

    def fail(self, error):
        self.errors.append(error)


def test_columns_are_ordered_of_every_child_before_the_first_tick():
    """A subscriber would miss the first ticks, and all of the process that follows one that died."""
    world, feed, late = World(), FakeFeed(), FakeFeed("columns-2")
    world.connection.feed(feed)
    world.connection.want(["T.A"])
    world.started()
    order = HandColumns("columns", ("price",))
    assert world.child.orders == [world.begin, order, Want(("T.A",))]
    assert world.child.handed == [None, "socket 1", None]
    world.connection.feed(late)
    world.run()
    assert world.child.orders[-1] == HandColumns("columns-2", ("price",))
    world.connection.starve(feed)
    world.run()
    assert world.child.orders[-1] == StopColumns("columns")
    world.die()
    world.run(1.0)
    assert [o.name for o in world.child.orders if isinstance(o, HandColumns)] == ["columns-2"]
    assert late.opened == ["connection_1", "connection_1"]


def test_a_subscriber_is_told_why_it_gets_no_more():
    """With the policy ``error`` it would wait for ever; one without pyarrow over there too."""
    world, feed, without = World(), FakeFeed(), FakeFeed("columns-2")
    world.connection.feed(feed)
    world.connection.feed(without)
    world.started()
    world.child.say(ColumnsOver("columns", "too many", missing=False))
    world.child.say(ColumnsOver("columns-2", "not there", missing=True))
    world.child.say(ColumnsOver("columns-2", "again", missing=True))
    world.run()
    assert [type(error) for error in feed.errors + without.errors] == [BufferOverflow, ImportError]
    assert "too many" in str(feed.errors[0])


def test_orders_reach_the_child_and_none_the_dead():
    """What the pool decides must happen in the process, in its order."""
    world = World().started()
    world.connection.want(["T.A"])
    world.connection.give_up(["T.A"])
    world.connection.give_up([])
    world.connection.resume()
    world.connection.reconnect("asked for")
    world.connection.probe()
    world.connection.ask(3, rates=True)
    world.run()
    orders = [ReportNow(3, True), Want(("T.A",)), GiveUp(("T.A",)), Resume(), Reconnect("asked for"), Probe()]
    assert sorted(map(repr, world.child.orders[1:])) == sorted(map(repr, orders))
    assert (world.connection.pid, world.connection.is_reporting) == (4711, True)
    world.die()
    world.connection.probe()
    world.connection.ask(4, rates=False)
    world.connection.kill()
    assert world.connection.pid is None
    assert not world.child.killed


def test_a_dead_child_is_a_lost_connection_with_what_was_in_flight():
    """The pool fails over on `Disconnected`, and a user reads of what he will not get."""
    world = World()
    world.connection.want(["T.A", "Q.A", "T.B"])
    world.started()
    world.child.say(Report(world.now_ns, Figures()))
    settled_ns = world.connection.ledger.settled_ns
    world.run(5)
    world.die()
    (gone,), (loss,), (wait,) = world.of(status.Disconnected), world.of(status.Loss), world.of(status.BackOff)
    assert (gone.connection, gone.reason) == ("connection_1", KILLED)
    assert (loss.where, loss.reason, loss.count, loss.tickers) == (
        "process",
        "process_ended",
        None,
        ("A", "B"),
    )
    assert (loss.from_ns, loss.to_ns) == (settled_ns, gone.at_ns)
    assert (wait.delay_s, wait.attempt) == (1.0, 2)
    assert world.connection.snapshot().phase is Phase.BACKING_OFF
    world.run(1)
    assert world.child.orders == [world.begin, Want(("T.A", "Q.A", "T.B"))]
    assert len(world.children) == 2


def test_it_waits_longer_each_time_and_less_after_a_good_while():
    """A callback that crashes its process would keep a core busy with starting others."""
    world = World().started()
    for _ in range(3):
        world.die()
        world.run(8)
    world.run(120)
    world.die()
    assert [wait.delay_s for wait in world.of(status.BackOff)] == [1.0, 2.0, 4.0, 1.0]


@pytest.mark.parametrize("asked", ["resume", "reconnect"])
def test_a_child_that_dies_while_it_is_held_is_not_replaced_before_it_may_try(asked):
    """Ours would evict each other in turn: the pool says when there may be a place."""
    world = World().started()
    world.hear(event(status.Connected, url="ws://x"))
    world.hear(event(status.Disconnected, reason="too many", evicted=True))
    world.die()
    world.run(3600)
    assert (len(world.children), world.of(status.BackOff)) == (1, [])
    assert world.connection.snapshot().phase is Phase.HELD
    assert world.of(status.Loss)[0].reason == "process_ended"
    world.connection.resume() if asked == "resume" else world.connection.reconnect("asked for")
    world.run()
    assert len(world.children) == 2
    assert world.connection.snapshot().phase is Phase.CONNECTING
    world.die()
    assert world.of(status.BackOff), "it may try by now"
    world.run(10)
    world.hear(event(status.Disconnected, reason="too many", evicted=True))
    world.connection.resume()
    world.run()
    assert world.child.orders[-1] == Resume()
    world.die()
    assert len(world.of(status.BackOff)) == 2


def test_it_gives_up_when_the_retries_are_used_up():
    """MASSIVE_WEBSOCKET_MAX_RETRIES would be for sockets only, and crashes for ever."""
    world = World(max_retries=2).started()
    for _ in range(3):
        world.die()
        world.run(10)
    (failed,) = world.of(status.Failed)
    assert KILLED in failed.reason
    assert (world.over, len(world.children)) == (1, 3)
    assert world.connection.snapshot().phase is Phase.FAILED


@pytest.mark.parametrize("last", [True, False])
def test_what_can_never_work_is_not_tried_again(last):
    """A callback that cannot be imported, or a refused key, is no better in another process."""
    world = World().started()
    if last:
        world.child.say(Unable("no module named mine"))
    else:
        world.child.say(Heard(event(status.Failed, reason="no module named mine"), 0))
    world.die("its process ended with code 0")
    world.run(60)
    (failed,) = world.of(status.Failed)
    assert failed.reason == "no module named mine"
    assert not world.of(status.Disconnected)
    assert (world.over, len(world.children)) == (1, 1)
    world.connection.reconnect("asked for")
    world.connection.close(1)
    world.run(60)
    assert (world.over, len(world.children)) == (1, 1)


def test_closing_lets_the_child_drain_and_waits_for_its_end():
    """What it had queued would be lost at each restart of a service."""
    world = World().started()
    world.connection.close(2.5)
    world.run()
    assert world.child.orders[-1] == End(2.5)
    assert world.over == 0
    world.child.say(Report(world.now_ns, Figures(), last=True))
    world.die("its process ended with code 0")
    assert world.over == 1
    assert not world.of(status.Disconnected)
    assert world.connection.snapshot().phase is Phase.CLOSED
    world.run(60)
    assert len(world.children) == 1


def test_a_child_that_is_killed_while_it_drains_is_told_of():
    """The in-flight ticks of a hurried end would be a silent loss."""
    world = World().started()
    world.connection.close(2.5)
    world.run()
    world.connection.kill()
    assert world.child.killed
    world.die()
    assert world.of(status.Loss)
    assert world.over == 1


def test_closing_while_it_waits_ends_at_once():
    """A stream that is closed after a crash would start a process only to end it."""
    world = World().started()
    world.die()
    world.connection.close(1)
    world.run(60)
    assert (world.over, len(world.children)) == (1, 1)


def test_reconnect_does_not_wait():
    """Who asks for a connection now does not want to wait for half a minute."""
    world = World().started()
    world.die()
    world.connection.reconnect("asked for")
    world.run()
    assert len(world.children) == 2
    world.run(60)
    assert len(world.children) == 2


def test_a_confirmation_that_does_not_know_the_last_order_is_not_the_last_word():
    """A gap would be told as ended before the ticker was even asked for."""
    world = World()
    world.connection.want(["T.A"])
    world.started()
    world.connection.want(["T.B", "Q.B"])
    world.run()
    world.hear(event(status.Subscribed, channels=("T.A",), pending=0), wants=1)
    assert world.of(status.Subscribed)[-1].pending == 2
    world.hear(event(status.Subscribed, channels=("T.B", "Q.B"), pending=0), wants=2)
    assert world.of(status.Subscribed)[-1].pending == 0
    world.die()
    world.run(1)
    world.hear(event(status.Unanswered, channels=("T.A",), pending=1), wants=0)
    assert world.of(status.Unanswered)[-1].pending == 4


def test_a_gap_that_a_child_told_of_is_not_told_again():
    """What a process had told would be told once more when it dies."""
    world = World().started()
    world.gaps.open("connection_1", ["A", "B"], 10)
    told = {"where": "feed", "reason": "disconnected", "count": None, "from_ns": 5, "to_ns": 20}
    world.hear(event(status.Loss, gaps=(status.Gap("A", 5, 20),), **told))
    world.gaps.close("connection_1", ["A", "B"], 20)
    world.die()
    told_here = [loss for loss in world.of(status.Loss) if loss.where == "feed"][1:]
    assert [gap.ticker for loss in told_here for gap in loss.gaps] == ["B"]


def test_events_of_a_sink_say_in_which_process_it_is():
    """Two processes each have a connection to Redis: which one is away?"""
    world = World().started()
    world.hear(status.SinkDown(at_ns=1, sink="redis", reason="gone"))
    assert world.of(status.SinkDown)[-1].connection == "connection_1"


def test_what_a_child_logs_is_logged_here(caplog):
    """A callback that raises would do so in silence."""
    world = World().started()
    world.child.say(Said("tickbraid.sinks.callback", 40, "it raised"))
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("tickbraid.sinks.callback", "ERROR")
    assert record.getMessage() == "connection_1: it raised"
