import socket
import threading

import pytest

from pipeline.columns import ColumnMaker
from pipeline.processes.column_sink import HandOverSink
from pipeline.processes.column_wire import Lane
from pipeline.ticks import Quote, TickBatch, Trade
from tests.conftest import wait_until


def batch(count, received_ns=7):
    """Return a batch of so many trades and a quote that no column can hold."""
    ticks = [Trade(ticker="A", price=float(n), event_ms=1, sequence=n) for n in range(count)]
    ticks.append(Quote(ticker="A", event_ms=1, sequence=2**64 - 1))
    return TickBatch(connection="c", received_ns=received_ns, ticks=ticks, received=len(ticks))


@pytest.fixture
def ends():
    """The sink, and the other end as a lane."""
    ours, its = socket.socketpair()
    with ours, its:
        yield HandOverSink("columns", its, ColumnMaker(["price", "sequence"])), Lane("c", ours)


def test_it_hands_over_what_came_together(ends):
    """The parent would get other ticks than a callback here; what has no place in a column is rejected."""
    sink, lane = ends
    outcome = sink.write([batch(2, 9), batch(1, 7)])
    arrived = lane.read()
    assert (dict(outcome.rejected), dict(outcome.dropped)) == ({"c": 2}, {})
    assert arrived.columns.to_pydict() == {"price": [0.0, 1.0, 0.0], "sequence": [0, 1, 0]}
    assert arrived.received_ns == 7, "the oldest: latency must not flatter"
    assert dict(sink.write([batch(0)]).rejected) == {"c": 1}
    assert sink.snapshot() == {"handed_over": 1}
    assert not sink.write([batch(1).with_ticks(batch(1).ticks[:1])]).rejected


@pytest.mark.parametrize("who", ["parent", "child"])
def test_a_write_that_waits_gives_up_and_counts_what_it_could_not_hand_over(ends, who):
    """A subscriber that hangs, or left, would keep the child from ending, and ticks would be nowhere."""
    sink, lane = ends
    outcomes = []

    def write():
        while not outcomes or not outcomes[-1].dropped:
            outcomes.append(sink.write([batch(3000)]))

    writer = threading.Thread(target=write)
    writer.start()
    wait_until(lambda: sink.snapshot()["handed_over"], 10, "the first")
    sink.stop() if who == "child" else lane.close()
    writer.join(5)
    assert not writer.is_alive()
    assert (dict(outcomes[-1].rejected), dict(outcomes[-1].dropped)) == ({"c": 1}, {"c": 3000})
    assert sink.write([batch(2)]).dropped == {"c": 2}
    sink.close()
    sink.stop()
