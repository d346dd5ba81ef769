import logging
import threading
from dataclasses import replace

import pytest
from reactivex.scheduler import VirtualTimeScheduler

from operators.runtime import SYSTEM
from pipeline import status
from pipeline.status_stream import CAPACITY_EVENTS, LossReporter, StatusStream
from pipeline.symbols import Doubt, OddSymbol
from tests.conftest import our_threads, wait_until


def event(number=0):
    """Build an event that can be told from others."""
    return status.BackOff(connection="connection_1", at_ns=number, delay_s=1.0, attempt=2)


def test_events_arrive_in_order_on_their_own_thread():
    """Connected after Disconnected would tell the operator the opposite of what is true."""
    stream, got, threads = StatusStream(), [], set()

    def take(one):
        got.append(one.at_ns)
        threads.add(threading.current_thread().name)

    stream.subscribe(take)
    for number in range(200):
        stream.emit(event(number))
    wait_until(lambda: len(got) == 200)
    assert got == list(range(200))
    assert threads == {"tickbraid-status"}
    wait_until(lambda: "tickbraid-status" not in our_threads(), 3, "the end of an idle thread")


def test_events_one_after_another_start_one_thread(monkeypatch):
    """A thread an event: a server that says ever new things would have the sockets wait for their starts."""
    stream, got, started, start = StatusStream(linger_s=60.0), [], [], threading.Thread.start

    def count(thread):
        started.append(thread.name)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", count)
    stream.subscribe(got.append)
    for number in range(200):
        stream.emit(event(number))
        wait_until(lambda: len(got) == number + 1)  # noqa: B023  # it is over before the next
    assert started == ["tickbraid-status"]
    stream.complete()
    wait_until(lambda: "tickbraid-status" not in our_threads(), 3, "the end of the thread at the stream's")


def test_who_overhears_has_each_event_before_emit_returns_until_it_leaves():
    """A recording would have the events after the ticks that came behind them."""
    stream, heard = StatusStream(), []
    leave = stream.overhear(heard.append)
    stream.emit(one := event(1))
    assert heard == [one]
    leave.dispose()
    stream.emit(event(2))
    stream.complete()
    stream.emit(event(3))
    assert heard == [one]


def test_three_threads_emitting_at_once_lose_nothing_and_never_overlap():
    """The reader, the pipeline and a sink all have something to say in the same moment."""
    stream, got, busy, overlaps = StatusStream(), [], threading.Lock(), []

    def take(one):
        if not busy.acquire(blocking=False):
            overlaps.append(one)
            return
        got.append(one)
        busy.release()

    stream.subscribe(take)
    threads = [threading.Thread(target=lambda: [stream.emit(event()) for _ in range(500)]) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wait_until(lambda: len(got) == 1500)
    assert not overlaps


def test_a_raising_subscriber_keeps_its_subscription_and_starves_nobody(caplog):
    """A bug in somebody's alerting must not silence somebody else's."""
    stream, got, calls = StatusStream(), [], []

    def raising(one):
        calls.append(one)
        raise RuntimeError("user code")

    with caplog.at_level(logging.ERROR, "tickbraid.status"):
        stream.subscribe(raising)
        stream.subscribe(got.append)
        stream.emit(event())
        stream.emit(event())
        wait_until(lambda: len(got) == 2)
    assert len(calls) == 2
    assert "user code" in caplog.text


def test_a_slow_subscriber_bounds_the_queue_and_the_log_says_what_was_dropped(caplog):
    """An event storm behind a hanging alert must not eat the memory."""
    stream, got, release, entered = StatusStream(), [], threading.Event(), threading.Event()

    def slow(one):
        entered.set()
        release.wait(10)
        got.append(one)

    with caplog.at_level(logging.ERROR, "tickbraid.status"):
        stream.subscribe(slow)
        stream.emit(event())
        assert entered.wait(10)
        for _ in range(CAPACITY_EVENTS + 5):
            stream.emit(event())
        release.set()
        wait_until(lambda: len(got) == CAPACITY_EVENTS + 1, 30)
    assert "5 status events were dropped" in caplog.text


def test_dispose_and_complete():
    """Nothing comes after dispose; the end comes after everything that was emitted before it."""
    stream, left, got, ended = StatusStream(), [], [], threading.Event()
    stream.subscribe(left.append).dispose()
    stream.subscribe(got.append, on_completed=ended.set)
    stream.emit(event())
    stream.complete()
    assert ended.wait(10)
    stream.emit(event())
    assert (len(left), len(got)) == (0, 1)
    late = threading.Event()
    stream.subscribe(got.append, on_completed=late.set)
    assert late.wait(10)


def test_every_event_is_logged_trouble_as_a_warning(caplog):
    """Who has no subscriber still finds in the log why ticks stopped."""
    stream, done = StatusStream(), threading.Event()
    with caplog.at_level(logging.INFO, "tickbraid.status"):
        stream.subscribe(on_completed=done.set)
        stream.emit(event())
        stream.emit(status.Failed(connection="connection_2", at_ns=1, reason="the key was refused"))
        stream.complete()
        assert done.wait(10)
    assert [record.levelname for record in caplog.records] == ["INFO", "WARNING"]
    assert "connection_2: given up: the key was refused" in caplog.text


AT = {"at_ns": 1, "connection": "c"}
EVENTS = [
    (status.Connecting(**AT, url="ws://h/", attempt=1), "c: connecting to ws://h/"),
    (
        status.Connecting(**AT, url="ws://h/", attempt=3),
        "c: connecting to ws://h/, attempt 3",
    ),
    (status.Connected(**AT, url="ws://h/"), "c: connected to ws://h/"),
    (status.Authenticated(**AT), "c: authenticated"),
    (
        status.Subscribed(**AT, channels=("T.A",), pending=2),
        "c: 1 channel confirmed, 2 pending",
    ),
    (status.Unsubscribed(**AT, channels=("T.A",)), "c: 1 channel given back"),
    (
        status.Refused(**AT, channels=("T.A",), pending=0, message="not authorized"),
        "c: refused (not authorized): T.A",
    ),
    (
        status.Unanswered(**AT, channels=tuple("ABCDEFG"), pending=0),
        "c: no answer to the subscription of A, B, C, D, E and 2 more",
    ),
    (status.ServerMessage(**AT, status="x", message="y"), "c: the server says x: y"),
    (
        status.ServerMessage(**AT, status="x", message="y", held=1200),
        "c: the server says x: y (and 1,200 times more in this second)",
    ),
    (
        status.Evicted(**AT, message="m"),
        "c: evicted, too many connections with this key: m",
    ),
    (
        status.Evicted(**AT, message="m", held=3),
        "c: evicted, too many connections with this key: m (and 3 times more in this second)",
    ),
    (
        status.Crowded(**AT, places=1, by="d", other_program=False, next_try_s=60.0),
        "c: the account allows 1 of our connections, and d took its place; one more is tried in 60 s",
    ),
    (
        status.Crowded(**AT, places=0, by=None, other_program=True, next_try_s=None),
        (
            "c: another program uses the same key (or the server still counts a connection of ours that has"
            " died), which leaves none of our connections; one more is tried only when asked for"
        ),
    ),
    (status.Disconnected(**AT, reason="gone"), "c: disconnected: gone"),
    (event(), "connection_1: connecting again in 1.0 s (attempt 2)"),
    (
        status.Skipped(**AT, reason="it has no tickers"),
        "c: not started: it has no tickers",
    ),
    (status.Closed(**AT), "c: closed"),
    (
        status.Moved(**AT, source="d", tickers=("A",), reason="failover"),
        "c: takes over from d (failover): A",
    ),
    (
        status.Unplaced(at_ns=1, tickers=("A", "B")),
        "carried by no connection, since none has room: A, B",
    ),
    (status.Unplaced(at_ns=1, tickers=()), "every wanted ticker is carried again"),
    (
        status.TickersRefused(
            at_ns=1, where="mine:core", symbols=(OddSymbol("^VIX", "an index is written I:VIX"),)
        ),
        "mine:core: left out '^VIX' (an index is written I:VIX)",
    ),
    (
        status.TickersDoubtful(at_ns=1, doubts=(Doubt("aapl", "AAPL", "is in lower case"),)),
        ("asked for as written: aapl is in lower case: did you mean AAPL? symbols are case-sensitive"),
    ),
    (
        status.TickersNotCarried(at_ns=1, tickers=("ZZZ", "APPL"), near=("AAPL",)),
        "not carried, so not removed: ZZZ, APPL; did you mean AAPL?",
    ),
    (status.TickersNotCarried(at_ns=1, tickers=("ZZZ",)), "not carried, so not removed: ZZZ"),
    (
        status.Loss(at_ns=1, where="callback", reason="overflow", count=1234, from_ns=0, to_ns=500_000_000),
        "lost 1,234 ticks at callback (overflow), received within 0.500 s",
    ),
    (
        status.Loss(at_ns=1, where="feed", reason="disconnected", count=None, from_ns=0, to_ns=2_000_000_000),
        "ticks may be missing of 2.000 s (disconnected): all",
    ),
    (status.BackOff(at_ns=1, delay_s=1.25, attempt=3), "connecting again in 1.2 s (attempt 3)"),
    (
        status.BackOff(at_ns=1, delay_s=30.5, attempt=3, retry_after_s=30.0),
        "connecting again in 30.5 s (attempt 3; the server asked for 30 s)",
    ),
    (status.SinkDown(at_ns=1, sink="redis", reason="refused"), "redis is away: refused"),
    (
        status.ChannelRefused(at_ns=1, sink="redis", channel="a", count=1, reason="NOPERM"),
        "redis may not send to a: 1 message refused (NOPERM)",
    ),
    (status.SinkUp(at_ns=1, sink="redis", down_s=2.0), "redis is back after 2.0 s"),
    (
        status.SinkUp(at_ns=1, sink="redis", down_s=2.0, resent=3),
        "redis is back after 2.0 s, 3 messages sent again",
    ),
]


@pytest.mark.parametrize(("one", "words"), EVENTS)
def test_an_event_says_itself_in_words_and_as_a_dict(one, words):
    """Operators read the words, their tools the dict; both name the kind and the connection."""
    assert one.describe() == words
    assert one.to_dict()["event"] == type(one).__name__
    assert one.to_dict()["at_ns"] == one.at_ns


class Losses:
    """A reporter in virtual time."""

    def __init__(self):
        self.scheduler = VirtualTimeScheduler(0.0)
        self.events = []
        self.reporter = LossReporter(self.events.append, self.scheduler, replace(SYSTEM, clock=lambda: 99))


def test_a_thousand_drops_become_one_event_with_their_sum():
    """An event for each drop would be a flood on top of a flood; a lost count would break the account."""
    losses = Losses()
    for number in range(1000):
        losses.reporter.report("callback", "connection_1", "overflow", 3, number, number + 5)
    assert losses.events == []
    losses.scheduler.advance_by(1.1)
    (loss,) = losses.events
    assert (loss.where, loss.connection, loss.reason) == ("callback", "connection_1", "overflow")
    assert (loss.count, loss.from_ns, loss.to_ns) == (3000, 0, 1004)


def test_kinds_of_loss_are_told_apart_and_the_next_second_begins_anew():
    """Which subscriber, which connection and why: one number for all would help nobody."""
    losses = Losses()
    for _ in range(2):
        losses.reporter.report("callback", "connection_1", "overflow", 1, 1, 1)
        losses.reporter.report("callback", "connection_1", "conflated", 2, 1, 1)
        losses.reporter.report("redis", "connection_1", "overflow", 4, 1, 1)
        losses.scheduler.advance_by(1.1)
    assert sorted(loss.count for loss in losses.events) == [1, 1, 2, 2, 4, 4]


def test_flush_tells_what_is_left():
    """At the end of a stream the last drops must not stay untold."""
    losses = Losses()
    losses.reporter.report("callback", "connection_1", "closed", 7, 1, 2)
    losses.reporter.flush()
    losses.reporter.flush()
    assert [loss.count for loss in losses.events] == [7]
