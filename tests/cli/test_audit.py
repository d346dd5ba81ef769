from hypothesis import given
from hypothesis import strategies as st

from operators.account import Account
from pipeline.cli.audit import blanks, check_redis, check_sent, failures, imbalances
from pipeline.cli.simulator_process import Sent

COUNTS = st.integers(0, 10**9)


def sent(elements=90, repeated=5, malformed=5, slow_kills=0):
    """Return a report of the simulator."""
    return Sent(
        elements=elements,
        repeated_elements=repeated,
        malformed={"null": malformed},
        types={},
        slow_kills=slow_kills,
    )


GOOD = {"callback": {"connection_1": Account(60, 55, 2, 0, 3), "connection_2": Account(40, 35, 3, 0, 2)}}


def test_a_good_account_has_no_problems():
    """The demo would fail on a machine on which all is well."""
    assert [*imbalances(GOOD), *check_sent(GOOD, sent())] == []


@given(received=st.integers(0, 9), lost=st.sampled_from(["deduplicated", "dropped", "rejected"]))
def test_an_account_of_nothing_is_no_good_one(received, lost):
    """Whatever kept all ticks away, the sums of zeros would agree."""
    accounts = GOOD | {
        "redis": {"connection_1": Account(received=received, **{lost: received})},
        "batches": {},
    }
    connections = [{"name": "a", "last_trouble": "no route"}, {"name": "b", "last_trouble": None}]
    assert [*blanks(accounts, {"connections": connections})] == [
        f"{name}: nothing was delivered, so there is nothing to be checked (a: no route)"
        for name in ("redis", "batches")
    ]
    assert [*blanks(GOOD, {"connections": connections})] == []


@given(st.lists(COUNTS, min_size=5, max_size=5), st.integers(-(10**9), 10**9).filter(bool))
def test_every_element_too_many_or_too_few_is_found(counts, surplus):
    """A tick that vanishes, or comes out of nothing, would pass."""
    account = Account(sum(counts) + surplus, *counts)
    assert any("nowhere" in problem for problem in imbalances({"redis": {"connection_1": account}}))


@given(st.integers(1, 10**9))
def test_after_the_end_nothing_may_be_queued(queued):
    """Ticks that nobody will ever get would count as on their way."""
    account = Account(received=queued, queued=queued)
    assert any("still queued" in problem for problem in imbalances({"redis": {"connection_1": account}}))


@given(st.integers(0, 200), st.integers(0, 200))
def test_what_was_received_must_be_what_was_sent(elements, repeated):
    """Elements lost before they were counted would be nobody's."""
    problems = [*check_sent(GOOD, sent(elements, repeated))]
    assert bool(problems) == ((elements, repeated) != (90, 5))


def test_what_was_dropped_is_not_held_against_what_was_sent():
    """A demo at a rate that nothing can take would call its honest account wrong."""
    dropped = {"callback": {"connection_1": Account(50, 20, dropped=30)}}
    assert [*check_sent(dropped, sent())] == []


def test_a_connection_that_the_server_cut_is_told():
    """The reason why numbers differ would be missing."""
    assert [*check_sent(GOOD, sent(slow_kills=2))] == [
        "the simulator cut 2 connections that did not read fast enough"
    ]


def test_redis_must_have_taken_every_delivered_tick_on_every_channel():
    """A channel that gets less than another would go unnoticed."""
    sink = {"resent": 0, "messages": {"raw": 90, "market": 89}}
    account = Account(received=90, delivered=90)
    assert [*check_redis(account, sink)] == ["Redis took 89 messages on market, but 90 were delivered"]
    assert [*check_redis(account, sink | {"resent": 5})] == []


def test_connections_that_were_given_up_are_told_by_name():
    """A stream that ended would not say why."""
    health = {
        "connections": [
            {"name": "primary", "phase": "failed", "last_trouble": "the key"},
            {"name": "secondary", "phase": "live", "last_trouble": "earlier"},
        ]
    }
    assert [*failures(health)] == ["primary: the key"]
