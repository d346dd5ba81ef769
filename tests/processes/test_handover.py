from hypothesis import given, settings
from hypothesis import strategies as st

from operators.account import Account
from pipeline.health.figures import SubscriberFigures
from pipeline.processes.handover import Part, all_carried_on, carried_on, policy

COUNTS = st.integers(0, 50)


@st.composite
def accounts(draw):
    """Draw an account that balances."""
    counts = [draw(COUNTS) for _ in range(5)]
    return Account(sum(counts), *counts)


def figures(account, **dropped):
    """Return what a sink with such an account reports."""
    return SubscriberFigures("drop_oldest", False, {"c": account}, dropped, 0, {})


@given(accounts(), COUNTS, st.booleans(), st.data())
@settings(max_examples=200)
def test_it_balances_whatever_was_told_and_taken(account, taken, over, data):
    """A report is older than what the subscriber has: the account would not come to zero under load."""
    died_with = data.draw(st.integers(0, account.dropped))
    carried = carried_on(account, taken, died_with=died_with, over=over)
    assert carried.account.imbalance == 0
    assert carried.account.delivered == taken
    assert min(carried.account.queued, carried.account.dropped) >= 0
    assert carried.account.received >= account.received
    assert carried.account.deduplicated == account.deduplicated
    if over:
        assert carried.account.queued <= account.queued


@given(accounts(), accounts(), COUNTS, COUNTS, st.booleans())
@settings(max_examples=100)
def test_reasons_add_up_to_what_was_dropped(before, now, taken_before, taken_now, over):
    """Health would tell of other losses than the account."""
    parts = [
        Part("c", figures(before, process_ended=before.dropped), taken_before),
        Part("c", figures(now, overflow=now.dropped), taken_now),
        Part("d", None, 0),
    ]
    its, reasons = all_carried_on(parts, over=over)
    assert its["c"].imbalance == 0
    assert sum(reasons.values()) == its["c"].dropped
    assert all(count > 0 for count in reasons.values())
    assert its["d"] == Account()


def test_where_ticks_are_between_two_processes():
    """Which of queued, dropped and received they count as is what an operator decides by."""
    sink = Account(received=100, delivered=60, queued=40)
    assert carried_on(sink, 50).account == Account(received=100, delivered=50, queued=50), "in the socket"
    assert carried_on(sink, 70).account == Account(received=100, delivered=70, queued=30), "since the report"
    assert carried_on(sink, 110).account == Account(received=110, delivered=110), "and received since"
    assert carried_on(sink, 50, over=True).account == Account(100, 50, dropped=10, queued=40), "left unread"
    dead = Account(received=100, delivered=60, dropped=40)
    assert carried_on(dead, 90, died_with=40).account == Account(100, 90, dropped=10), "it came all the same"


def test_nobody_elsewhere_may_stop_a_process():
    """With ``block`` a slow notebook would stop the callback and Redis of every process."""
    assert policy("block") == "drop_oldest"
    assert [policy(each) for each in ("drop_newest", "conflate", "error")] == [
        "drop_newest",
        "conflate",
        "error",
    ]
