"""The callback sink gives every tick to user code and survives whatever that does."""

import asyncio
import gc
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.sinks.callback import CallbackSink
from pipeline.sinks.sink import DELIVERED, Outcome
from pipeline.ticks import TickBatch

RAISED = (
    *(ValueError, StopIteration, asyncio.CancelledError, SystemExit, KeyboardInterrupt, GeneratorExit),
    type("TimeOutOfOurOwn", (BaseException,), {}),
)


def batch(connection, ticks):
    """Return the ticks as one read of a connection."""
    return TickBatch(connection=connection, received_ns=1, ticks=ticks, received=len(ticks))


@given(st.lists(st.lists(st.sampled_from([None, None, *RAISED]), max_size=5), max_size=5))
def test_every_tick_comes_once_and_in_order_whatever_the_callback_raises(sizes):
    """One exception in user code would cost the ticks after it, or be called delivered."""
    seen, took = [], []

    def callback(tick):
        seen.append(tick)
        if tick[-1]:
            raise tick[-1](tick)
        took.append(tick)

    batches = [
        batch(f"c{place % 2}", [(place, n, bad) for n, bad in enumerate(some)])
        for place, some in enumerate(sizes)
    ]
    sink = CallbackSink(callback)
    outcome = sink.write(batches)
    ticks = [(each.connection, tick) for each in batches for tick in each.ticks]
    assert seen == [tick for _, tick in ticks]
    failed = [(connection, tick) for connection, tick in ticks if tick not in took]
    assert outcome.failed == {c: n for c in ("c0", "c1") if (n := sum(each == c for each, _ in failed))}
    assert (outcome.rejected, outcome.dropped) == ({}, {})
    if failed:
        assert type(outcome.error) is failed[-1][1][-1]
    else:
        assert outcome is DELIVERED
    assert (sink.snapshot()["calls"], sink.snapshot()["errors"]) == (len(seen), len(failed))


def test_an_exception_that_cannot_be_shown_costs_its_tick_alone():
    """Some exceptions raise when they are made a text, which happens where nobody catches it any more."""

    class Unprintable(Exception):
        def __str__(self):
            raise SystemExit

    def callback(tick):
        if tick == 2:
            raise Unprintable

    sink = CallbackSink(callback)
    assert sink.write([batch("c", [1, 2, 3])]).failed == {"c": 1}
    assert sink.snapshot()["last_error"] == "Unprintable: (it has no message: its __str__ raises)"


class Unequal:
    """Is a value like an array, of which nobody can say whether it is true or equal to another."""

    def __bool__(self):
        raise ValueError("ambiguous")

    def __eq__(self, other):
        raise ValueError("ambiguous")

    __hash__ = None


@pytest.mark.parametrize("value", [0, 1, "text", [], Unequal(), object(), type])
def test_what_a_callback_returns_does_not_matter(value):
    """`set.pop`, `queue.append` and numpy's functions return something: they have returned."""
    assert CallbackSink(lambda _: value).write([batch("c", [1, 2])]) is DELIVERED


async def _coroutine():
    """Never run."""


async def _asynchronous_generator():
    yield 1


def _generator():
    yield 1


@pytest.mark.parametrize("make", [_coroutine, _asynchronous_generator, _generator])
def test_what_would_still_have_to_run_has_failed_and_is_closed(make):
    """A lambda around an async function made 50 coroutines of 50 ticks, all delivered, none of them run."""
    sink = CallbackSink(lambda tick: make() if tick else None, "mine")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        outcome = sink.write([batch("c", [1, 0, 1])])
        gc.collect()
    assert outcome.failed == {"c": 2}
    assert "mine returned a" in str(outcome.error)
    assert "run_coroutine_threadsafe" in str(outcome.error)


def test_stop_lets_the_running_call_be_the_last_and_counts_the_rest():
    """A slow callback would hold up the end of the program, or ticks would vanish from the account."""
    seen = []

    def callback(tick):
        seen.append(tick)
        if tick == "b":
            sink.stop()
            raise ValueError

    sink = CallbackSink(callback)
    batches = [batch("1", ["a", "b", "c"]), batch("2", ["d"]), batch("1", ["e"]), batch("2", [])]
    outcome = sink.write(batches)
    assert seen == ["a", "b"]
    assert outcome.dropped == {"1": 2, "2": 1}
    assert outcome.failed == {"1": 1}
    assert outcome.rejected == {}
    assert sink.write([batch("3", ["f"])]) == Outcome(dropped={"3": 1})
    sink.close()
    sink.close()
    assert sink.snapshot()["calls"] == 2
