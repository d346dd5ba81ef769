import pytest

from operators._buffer.accounting import BufferAccounting, Dropped
from operators.account import Account
from tests.operators.fakes import FakeBatch


@pytest.fixture
def gauge():
    """Make one with five ticks of one connection in hand and two of another waiting."""
    gauge = BufferAccounting()
    in_hand = FakeBatch([1, 2, 3, 4, 5], "a", deduplicated=1, rejected=2, lost=3)
    with gauge.lock:
        gauge.offered(in_hand)
        gauge.offered(FakeBatch([6, 7], "b"))
        gauge.taken([in_hand])
    return gauge


def test_what_a_batch_carries_is_counted_as_it_arrives(gauge):
    """The account balances before anything is delivered."""
    assert gauge.accounts() == {
        "a": Account(received=11, deduplicated=1, dropped=3, rejected=2, queued=5),
        "b": Account(received=2, queued=2),
    }
    assert gauge.dropped_by_reason() == {"lost": 3}
    assert gauge.queued == 7


def test_what_the_subscriber_gives_up_leaves_its_hand_at_once(gauge):
    """A sink that cannot write a tick says so, and the tick is not counted as delivered afterwards."""
    gauge.reject("a", 2)
    gauge.drop("a", 1, "sink_overflow")
    assert gauge.accounts()["a"] == Account(received=11, deduplicated=1, dropped=4, rejected=4, queued=2)
    with gauge.lock:
        gauge.delivered()
    assert gauge.accounts()["a"] == Account(11, 2, 1, 4, 0, 4, 0)
    assert gauge.dropped_by_reason() == {"lost": 3, "sink_overflow": 1}


@pytest.mark.parametrize(("connection", "count"), [("a", 6), ("a", -1), ("b", 1), ("nobody", 1)])
def test_what_is_not_in_hand_cannot_be_given_up(gauge, connection, count):
    """A sink that counts wrongly fails loudly instead of bending the account."""
    before = gauge.accounts()
    with pytest.raises(ValueError, match="count must be 0 to"):
        gauge.reject(connection, count)
    with pytest.raises(ValueError, match="count must be 0 to"):
        gauge.drop(connection, count, "reason")
    assert gauge.accounts() == before
    assert gauge.dropped_by_reason() == {"lost": 3}


def test_giving_up_nothing_is_allowed(gauge):
    """A sink may report what it counted without looking at it first."""
    gauge.reject("a", 0)
    gauge.drop("nobody", 0, "sink_overflow")
    assert gauge.dropped_by_reason() == {"lost": 3}
    assert set(gauge.accounts()) == {"a", "b"}


def test_drops_are_counted_by_reason(gauge):
    """What a full buffer gives up is told apart from what a leaving subscriber does."""
    with gauge.lock:
        gauge.dropped([Dropped("b", "overflow", 1, 0, 0), Dropped("b", "closed", 1, 0, 0)])
    assert gauge.accounts()["b"] == Account(received=2, dropped=2)
    assert gauge.dropped_by_reason() == {"lost": 3, "overflow": 1, "closed": 1}


def test_it_counts_for_one_subscription(gauge):
    """Two subscriptions in one account would balance and mean nothing."""
    gauge.claim()
    with pytest.raises(ValueError, match="gauge must be a new one"):
        gauge.claim()
