import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.account import Account
from pipeline.health.figures import ConnectionFigures, Figures, SubscriberFigures
from pipeline.massive.snapshot import ConnectionSnapshot, Phase
from pipeline.processes.ledger import PROCESS_ENDED, Ledger
from pipeline.processes.messages import Report

IDLE = ConnectionSnapshot("c", "name", "url", Phase.IDLE)


def report(at_ns, received=0, queued=0, *, number=0, subscribers=("callback",), rates=None, **more):
    """Return what a process reports that received so much and has so much queued."""
    account = Account(received, received - queued, 0, 0, 0, queued)
    snapshot = ConnectionSnapshot("c", "name", "url", Phase.LIVE, confirmed=4, connects=1, messages=received)
    figures = Figures(
        {"c": ConnectionFigures(snapshot, received, 5.0, 1, queued)},
        {
            name: SubscriberFigures("block", False, {"c": account}, {}, 0, {"calls": 1})
            for name in subscribers
        },
        queued_bytes=queued,
        **more,
    )
    return Report(at_ns, figures, number, rates)


def account_of(ledger):
    """Return the account of the one subscriber and connection."""
    return ledger.figures().subscribers["callback"].accounts["c"]


def test_before_any_report_it_is_idle():
    """Health is asked for while the process still imports."""
    ledger = Ledger(IDLE, 10)
    assert ledger.figures() == Figures({"c": ConnectionFigures(IDLE)})
    ledger.phase = Phase.CONNECTING
    assert ledger.figures().connections["c"].snapshot.phase is Phase.CONNECTING
    assert ledger.settled_ns == 10


def test_what_a_dead_process_counted_is_kept():
    """After a crash the day's figures would begin anew."""
    ledger = Ledger(IDLE, 0)
    ledger.take(report(1, 100))
    ledger.bury("killed")
    ledger.phase = Phase.BACKING_OFF
    dead = ledger.figures().connections["c"]
    assert (dead.ticks, dead.ticks_per_s, dead.queued) == (100, 0.0, 0)
    assert (dead.snapshot.phase, dead.snapshot.confirmed) == (Phase.BACKING_OFF, 0)
    assert (dead.snapshot.disconnects, dead.snapshot.last_trouble) == (1, "killed")
    ledger.take(report(2, 30))
    both = ledger.figures().connections["c"]
    assert (both.ticks, both.rejected, both.snapshot.connects, both.snapshot.messages) == (130, 2, 2, 130)
    assert (both.snapshot.disconnects, both.snapshot.phase) == (1, Phase.LIVE)
    assert account_of(ledger) == Account(130, 130)


def test_what_it_had_queued_is_dropped():
    """The account would never come to zero again, or claim a delivery that never was."""
    ledger = Ledger(IDLE, 0)
    ledger.take(report(1, 100, 7))
    ledger.bury("killed")
    assert account_of(ledger) == Account(100, 93, 0, 7)
    subscriber = ledger.figures().subscribers["callback"]
    assert (subscriber.dropped, subscriber.ended) == ({"process_ended": 7}, True)
    assert ledger.figures().queued_bytes == 0


def test_what_waited_undecoded_with_it_is_counted_once_it_is_lost():
    """A counter of received elements would count what was only estimated, or go down."""
    ledger = Ledger(IDLE, 0)
    living = report(1, 100, 7)
    living.figures.subscribers["callback"].undecoded["c"] = 5
    ledger.take(living)
    assert ledger.figures().subscribers["callback"].counted() == {"c": Account(95, 93, queued=2)}
    ledger.bury("killed")
    assert ledger.figures().subscribers["callback"].counted() == {"c": Account(100, 93, dropped=7)}
    ledger.take(report(2, 30))
    assert ledger.figures().subscribers["callback"].counted() == {"c": Account(130, 123, dropped=7)}


def test_an_end_that_was_asked_for_is_no_disconnection():
    """A stream that was closed would count an error for each connection."""
    ledger = Ledger(IDLE, 0)
    ledger.take(report(1, 5))
    ledger.bury(None)
    assert ledger.figures().connections["c"].snapshot.disconnects == 0


@pytest.mark.parametrize("subscribers", [("callback",), ("callback", "redis")])
def test_settled_is_what_was_received_before_and_is_out_of_the_buffers(subscribers):
    """The Loss of a killed process would begin after ticks that died in its buffers."""
    ledger = Ledger(IDLE, 0)
    ledger.take(report(10, 0, subscribers=subscribers))
    ledger.take(report(20, 100, 50, subscribers=subscribers))  # 50 done: not all of what had come by now
    assert ledger.settled_ns == 0
    ledger.take(report(30, 160, 90, subscribers=subscribers))  # 70 done
    assert ledger.settled_ns == 0
    ledger.take(report(40, 200, 90, subscribers=subscribers))  # 110 done: the 100 that were counted at 20
    assert ledger.settled_ns == 10
    ledger.take(report(50, 200, 0, subscribers=subscribers))
    assert ledger.settled_ns == 40


@given(st.lists(st.tuples(st.integers(0, 50), st.floats(0, 1)), max_size=20))
@settings(max_examples=100)
def test_settled_never_runs_ahead_of_the_slowest(steps):
    """As above, for any course of things: all that was counted by a settled moment is delivered."""
    ledger = Ledger(IDLE, 0)
    received, done, counted = 0, 0, {0: 0}
    for at, (new, share) in enumerate(steps, start=1):
        received += new
        done += int((received - done) * share)
        counted[at] = received
        ledger.take(report(at, received, received - done))
        assert counted[ledger.settled_ns] <= done


def test_a_subscriber_that_begins_anew_keeps_nothing_unsettled():
    """A name given to another subscriber of columns would make every later Loss begin in the past."""
    ledger = Ledger(IDLE, 0)
    ledger.take(report(10, 100, subscribers=("callback", "columns")))
    ledger.take(report(20, 200, 50, subscribers=("callback", "columns")))
    assert ledger.settled_ns == 0
    ledger.forget("columns")
    assert ledger.of_subscriber("columns") == (None, None)
    assert set(ledger.figures().subscribers) == {"callback"}
    ledger.take(report(30, 200))
    assert ledger.settled_ns == 20


def test_what_a_subscriber_had_of_the_dead_and_of_the_living_is_told_apart():
    """What the parent was given of each is set against what each counted."""
    ledger = Ledger(IDLE, 0)
    ledger.take(report(10, 100, 7))
    assert ledger.of_subscriber("callback")[0] is None
    ledger.bury("killed")
    before, now = ledger.of_subscriber("callback")
    assert (before.dropped, now) == ({PROCESS_ENDED: 7}, None)
    ledger.take(report(20, 30))
    assert [each.accounts["c"].received for each in ledger.of_subscriber("callback")] == [100, 30]


def test_rates_are_the_last_that_were_measured():
    """The pool would take a report without rates for a silent market."""
    ledger = Ledger(IDLE, 0)
    ledger.take(report(1, rates={"A": 2.0}))
    ledger.take(report(2, number=4))
    assert (ledger.rates, ledger.answered) == ({"A": 2.0}, 4)
    ledger.take(report(3))
    assert ledger.answered == 4
