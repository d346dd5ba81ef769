import sys
from asyncio import CancelledError

import pytest

from pipeline.sinks.batches import BatchSink, ColumnSink, column_maker
from pipeline.ticks import Quote, TickBatch


def batch_of(*ticks):
    """Return a batch."""
    return TickBatch(connection="connection_1", received_ns=1, ticks=list(ticks), received=len(ticks))


RAISED = (
    *(ValueError, BaseException, SystemExit, KeyboardInterrupt),
    *(GeneratorExit, CancelledError, StopIteration),
)
GOOD = Quote(ticker="A", event_ms=1, bid=1.5)
ODD = Quote(ticker="A", event_ms=1, bid=1.5, sequence=2**64)
BAD = Quote(ticker="A", event_ms=1, bid=10**400, ask=10**400)


def test_batches_are_handed_on_as_they_are():
    """Whoever keeps batches relies on getting each once, unchanged."""
    got = []
    sink = BatchSink(got.append, "batches")
    batches = [batch_of(GOOD), batch_of(GOOD, GOOD)]
    assert not any(sink.write(batches))
    assert got == batches
    assert sink.snapshot() == {"calls": 2, "errors": 0, "last_error": None}


@pytest.mark.parametrize("kind", RAISED)
def test_a_batch_on_which_the_observer_raises_fails_alone(kind):
    """Those gathered with it were taken, or still come; today the rest would never be handed on."""
    got = []

    def on_next(batch):
        got.append(batch)
        if len(got) == 2:
            raise kind("user code")

    sink = BatchSink(on_next, "batches")
    batches = [batch_of(GOOD), batch_of(GOOD, GOOD), batch_of(GOOD)]
    outcome = sink.write(batches)
    assert got == batches
    assert (outcome.failed, type(outcome.error)) == ({"connection_1": 2}, kind)
    assert (sink.snapshot()["calls"], sink.snapshot()["errors"]) == (3, 1)


@pytest.mark.parametrize("kind", RAISED)
def test_columns_on_which_the_observer_raises_have_failed_without_those_rejected(kind):
    """A tick is in one place of the account: what is in no column was never in the observer's hand."""

    def on_next(_):
        raise kind("user code")

    outcome = ColumnSink(on_next, "columns", column_maker([])).write([batch_of(BAD, GOOD), batch_of(GOOD)])
    assert outcome.rejected == {"connection_1": 1}
    assert outcome.failed == {"connection_1": 2}


def test_stop_lets_the_running_batch_be_the_last_and_counts_the_rest():
    """Who left must get nothing more, and what it did not get must not be called delivered."""
    got = []

    def on_next(batch):
        got.append(batch)
        sink.stop()

    sink = BatchSink(on_next, "batches")
    assert sink.write([batch_of(GOOD), batch_of(GOOD, GOOD)]).dropped == {"connection_1": 2}
    assert len(got) == 1


def test_after_stop_no_columns_come_and_what_would_be_in_them_is_dropped():
    """As above: who took columns was handed on more after it had left."""
    got = []
    sink = ColumnSink(got.append, "columns", column_maker([]))
    sink.stop()
    outcome = sink.write([batch_of(BAD, GOOD), batch_of(GOOD)])
    assert (got, outcome.rejected, outcome.dropped) == ([], {"connection_1": 1}, {"connection_1": 2})


def test_what_came_together_is_one_record_batch():
    """A record batch costs 0.1 ms however small: a thousand reads of one tick must not be a thousand."""
    got = []
    sink = ColumnSink(got.append, "columns", column_maker(["price"]))
    assert not any(sink.write([batch_of(GOOD), batch_of(GOOD, GOOD)]))
    assert [columns.num_rows for columns in got] == [3]
    assert sink.snapshot() == {"calls": 1, "errors": 0, "last_error": None, "unfit": {}}


def test_ticks_that_no_column_holds_are_rejected_by_name():
    """What is missing in the columns must be in the account."""
    got = []
    sink = ColumnSink(got.append, "columns", column_maker([]))
    assert sink.write([batch_of(BAD, GOOD)]).rejected == {"connection_1": 1}
    assert [columns.num_rows for columns in got] == [1]


def test_a_value_that_no_column_holds_is_null_and_told():
    """A sequence number beyond 63 bits must not cost its quote, nor go unnoticed."""
    got = []
    sink = ColumnSink(got.append, "columns", column_maker(["sequence", "bid"]))
    assert not any(sink.write([batch_of(ODD, GOOD)]))
    assert got[0].to_pydict() == {"sequence": [None, None], "bid": [1.5, 1.5]}
    assert sink.snapshot()["unfit"] == {"sequence": 1}


def test_nothing_is_not_handed_on():
    """Code that takes the last row of each record batch must not fail at an empty one."""
    got = []
    sink = ColumnSink(got.append, "columns", column_maker([]))
    assert sink.write([batch_of(BAD)]).rejected == {"connection_1": 1}
    assert got == []


def test_without_the_extra_the_error_says_what_to_install(monkeypatch):
    """Python only says that there is no module pyarrow, which nobody asked for by that name."""
    monkeypatch.delitem(sys.modules, "pipeline.columns", raising=False)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"pip install 'tickbraid\[columns\]'"):
        column_maker([])
