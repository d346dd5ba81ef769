import pytest

from pipeline.massive.decode import decode_message
from pipeline.massive.protocol import ServerStatus
from tests.simulation.elements import BREAKING, NO_TICKS, STATUSES

GOOD = b'{"ev":"T","sym":"AAPL","x":4,"i":"1","p":1.5,"s":100,"t":1700000000000,"q":1}'


@pytest.mark.parametrize("name", NO_TICKS)
def test_what_is_no_tick_is_one_reject_beside_ticks(name):
    """A world would be found wrong, or right, for what was never a tick."""
    for message in (NO_TICKS[name], GOOD + b"," + NO_TICKS[name], NO_TICKS[name] + b"," + GOOD):
        found, rejects = decode_message(b"[" + message + b"]")
        assert len(found) == message.count(GOOD)
        assert sum(reject.times for reject in rejects) == 1


def test_all_that_is_no_tick_together_is_as_many_rejects():
    """One of them would hide another."""
    found, rejects = decode_message(b"[" + b",".join([*NO_TICKS.values(), GOOD]) + b"]")
    assert len(found) == 1
    assert sum(reject.times for reject in rejects) == len(NO_TICKS)


@pytest.mark.parametrize("name", BREAKING)
def test_one_that_breaks_the_message_costs_no_tick_beside_it(name):
    """As the first: one reject is what the record counts."""
    for elements in ([BREAKING[name]], [GOOD, BREAKING[name]], [GOOD, GOOD, BREAKING[name], GOOD]):
        found, rejects = decode_message(b"[" + b",".join(elements) + b"]")
        assert len(found) == elements.count(GOOD)
        assert sum(reject.times for reject in rejects) == 1


@pytest.mark.parametrize("element", STATUSES, ids=range(len(STATUSES)))
def test_statuses_of_no_meaning_are_statuses(element):
    """A hostile word would be counted among the ticks."""
    found, rejects = decode_message(b"[" + GOOD + b"," + element + b"]")
    assert [type(one) is ServerStatus for one in found] == [False, True]
    assert not rejects
