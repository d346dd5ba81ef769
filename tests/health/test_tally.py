from pipeline import status
from pipeline.health.tally import Tally
from pipeline.status_stream import StatusStream
from tests.conftest import wait_until


def moved(source, to, *tickers, reason="failover"):
    """Return what is told when tickers go to another connection."""
    return status.Moved(connection=to, at_ns=1, source=source, tickers=tickers, reason=reason)


def test_a_failover_to_two_connections_is_one():
    """An alert on failovers would count survivors, and more of them the more connections there are."""
    events = StatusStream()
    tally = Tally(events)
    back = status.Authenticated(connection="a", at_ns=1)
    for event in (
        moved("a", "b", "X"),
        moved("a", "c", "Y", "Z"),
        back,
        moved("b", "a", "X", reason="return"),
        moved("a", "b", "X"),
        status.Loss.of_gaps("a", 2, (status.Gap("X", 1, 2), status.Gap("Y", 1, 2))),
        status.Unplaced(at_ns=3, tickers=("Q",)),
    ):
        events.emit(event)
    wait_until(lambda: tally.events().get(("Unplaced", "")))
    assert tally.failovers() == {"a": 2}
    assert tally.moved() == {"failover": 4, "return": 1}
    assert tally.gaps() == {"a": 2}
    assert tally.events()["Moved", "b"] == 2
    tally.close()
    events.emit(back)
    heard = []
    events.subscribe(heard.append)
    events.emit(back)
    wait_until(lambda: heard)
    assert tally.events()["Authenticated", "a"] == 1
