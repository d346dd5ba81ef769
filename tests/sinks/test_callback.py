"""The callback sink gives every tick to user code and survives whatever that does."""

import logging
import sys

from hypothesis import given
from hypothesis import strategies as st

from pipeline.sinks.callback import CallbackSink
from pipeline.sinks.sink import DELIVERED
from pipeline.ticks import TickBatch


def batch(connection, ticks):
    """Return the ticks as one read of a connection."""
    return TickBatch(connection=connection, received_ns=1, ticks=ticks, received=len(ticks))


@given(st.lists(st.lists(st.booleans(), max_size=5), max_size=5))
def test_every_tick_comes_once_and_in_order_whatever_the_callback_raises(sizes):
    """One exception in user code would cost the ticks after it."""
    seen = []

    def callback(tick):
        seen.append(tick)
        if tick[-1]:
            raise ValueError(tick)

    batches = [
        batch("1", [(place, n, bad) for n, bad in enumerate(some)]) for place, some in enumerate(sizes)
    ]
    sink = CallbackSink(callback, monotonic=lambda: 0.0)
    assert sink.write(batches) == DELIVERED
    assert seen == [tick for some in batches for tick in some.ticks]
    bad = [tick for tick in seen if tick[-1]]
    last = f"ValueError: {bad[-1]}" if bad else None
    assert sink.snapshot() == {"calls": len(seen), "errors": len(bad), "last_error": last}


def test_exceptions_are_logged_at_most_once_in_10_s_with_their_number(caplog):
    """A callback that always raises would fill the disk at 100,000 lines a second, or be silent."""
    now = 0.0
    caplog.set_level(logging.ERROR, "tickbraid.sinks.callback")
    sink = CallbackSink(lambda tick: 1 / tick, "mine", monotonic=lambda: now)
    sink.write([batch("1", [0])])
    now = 9.9
    sink.write([batch("1", [0, 0])])
    assert [record.message for record in caplog.records] == ["mine raised"]
    now = 10.0
    sink.write([batch("1", [0, 0])])
    assert caplog.records[1].message == "mine raised (2 more since the last line)"
    assert caplog.records[1].exc_info[0] is ZeroDivisionError
    assert len(caplog.records) == 2
    assert sink.snapshot()["errors"] == 5


def test_a_callback_that_exits_ends_nothing():
    """On a thread, SystemExit would end the stream without a word."""
    sink = CallbackSink(sys.exit)
    assert sink.write([batch("1", [1, 2])]) == DELIVERED
    assert sink.snapshot()["errors"] == 2


def test_stop_lets_the_running_call_be_the_last_and_counts_the_rest():
    """A slow callback would hold up the end of the program, or ticks would vanish from the account."""
    seen = []

    def callback(tick):
        seen.append(tick)
        if tick == "b":
            sink.stop()

    sink = CallbackSink(callback)
    outcome = sink.write([batch("1", ["a", "b", "c"]), batch("2", ["d"]), batch("1", ["e"]), batch("2", [])])
    assert seen == ["a", "b"]
    assert outcome.dropped == {"1": 2, "2": 1}
    assert outcome.rejected == {}
    assert sink.write([batch("3", ["f"])]).dropped == {"3": 1}
    sink.close()
    sink.close()
    assert sink.snapshot()["calls"] == 2
