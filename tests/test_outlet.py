"""An outlet counts what its sink did with each tick, whatever the sink does."""

import asyncio
import logging
import threading
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators._buffer.accounting import Dropped
from operators.account import Account
from operators.latency_stamp import Latencies
from pipeline.outlet import Outlet
from pipeline.sinks.sink import DELIVERED, Outcome
from pipeline.ticks import TickBatch
from tests.conftest import wait_until
from tests.operators.fakes import Source

RAISED = (
    *(ValueError, StopIteration, asyncio.CancelledError, SystemExit, KeyboardInterrupt, GeneratorExit),
    type("TimeOutOfOurOwn", (BaseException,), {}),
)


class FakeSink:
    """A sink that does what it is told with each write."""

    name = "mine"

    def __init__(self, write):
        self.write = write
        self.calls = []

    def stop(self):
        self.calls.append("stop")

    def close(self):
        self.calls.append("close")

    def snapshot(self):
        return {}


class World:
    """An outlet and its source."""

    def __init__(self, write, sink=None, **options):
        self.source, self.dropped, self.failures = Source(), [], []
        self.sink = sink or FakeSink(write)
        options = {"capacity": 1000, "overflow": "block"} | options
        self.outlet = Outlet(
            self.sink,
            on_drop=lambda name, dropped: self.dropped.append(dropped),
            on_failure=lambda *failure: self.failures.append(failure),
            on_room=lambda: None,
            latencies=Latencies(),
            **options,
        )

    def __enter__(self):
        self.outlet.connect(self.source)
        return self

    def __exit__(self, *_):
        self.outlet.dispose()

    def emit(self, connection, *ticks):
        self.source.emit(
            TickBatch(connection=connection, received_ns=1, ticks=list(ticks), received=len(ticks))
        )

    @property
    def account(self):
        return sum(self.outlet.read().accounts({}).values(), Account())

    @property
    def told(self):
        return sum(count for _, count, _ in self.failures)

    def settled(self):
        wait_until(lambda: self.account.queued == 0)
        return self.account


def _raise(kind):
    def write(_):
        raise kind("of the sink")

    return write


@pytest.mark.parametrize("kind", RAISED)
def test_a_write_that_raises_has_failed_with_all_it_was_given(kind, caplog):
    """A sink that raised on every write had delivered everything, and nobody was told otherwise."""
    with World(_raise(kind)) as world:
        for _ in range(3):
            world.emit("a", 1, 2)
        assert world.settled() == Account(received=6, failed=6)
        wait_until(lambda: world.told == 6)
        assert {(name, type(error)) for name, _, error in world.failures} == {("mine", kind)}
        assert world.outlet.last_error == f"{kind.__name__}: of the sink"
    lines = [record for record in caplog.records if record.name == "tickbraid.subscriber"]
    assert [record.exc_info[0] for record in lines] == [kind]


def test_what_waited_undecoded_when_it_left_is_told():
    """A sink that hangs and is left costs what waits for it in front of the decoder, too."""
    waiting = [Dropped("a", "closed", 3, 10, 20), Dropped("b", "lost", 2, 30, 30)]
    with World(lambda _: None, part=lambda leave: leave(waiting)) as world:
        world.emit("a", 1, 2)
        world.settled()
        world.outlet.dispose()
        assert world.account == Account(received=7, delivered=2, dropped=5)
        assert world.outlet.gauge.dropped_by_reason() == {"closed": 3, "lost": 2}
        assert world.dropped == waiting[:1]  # the ingest buffer has told what it lost


def test_a_write_that_returns_nothing_took_everything():
    """That is what a function does whose author did not read our protocol to the end."""
    with World(lambda _: None) as world:
        world.emit("a", 1, 2)
        assert world.settled() == Account(received=2, delivered=2)


async def _write(_):
    """Never run."""


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        (lambda _: 17, "returned 17; it has to return an Outcome, or None"),
        (lambda _: True, "returned True"),
        (lambda _: ({}, {}), "an Outcome, or None"),
        (_write, "run_coroutine_threadsafe"),
        (lambda _: Outcome(failed={"a": 3}), "count must be 0 to 2"),
        (lambda _: Outcome(failed={"b": 1}), "count must be 0 to 0"),
        (lambda _: Outcome(dropped={"a": -1}), "count must be"),
        (lambda _: Outcome(rejected=7), "AttributeError"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_what_is_no_outcome_is_said_at_the_first_write(returned, words):
    """What it means nobody knows, so the ticks are not called delivered."""
    with World(returned) as world:
        world.emit("a", 1, 2)
        assert world.settled() == Account(received=2, failed=2)
        wait_until(lambda: world.told == 2)
        assert words in world.outlet.last_error


@given(
    st.lists(
        st.tuples(
            st.sampled_from("ab"),
            st.lists(st.sampled_from(["take", "reject", "drop", "fail", *RAISED]), min_size=1, max_size=4),
        ),
        max_size=12,
    )
)
def test_the_account_is_what_the_sink_itself_has_noted(batches):
    """The law could balance and still be untrue: it is held against the other side's own record."""
    noted, done = Counter(), Counter()

    def write(given_batches):
        ticks = [(batch.connection, tick) for batch in given_batches for tick in batch.ticks]
        done["ticks"] += len(ticks)
        for _, tick in ticks:
            if isinstance(tick, type):
                noted.update((connection, "failed") for connection, _ in ticks)
                raise tick
        noted.update(ticks)
        parts = {
            what: Counter(connection for connection, tick in ticks if tick == what)
            for what in ("reject", "drop", "fail")
        }
        if not any(parts.values()):
            return None if len(ticks) % 2 else DELIVERED
        return Outcome(parts["reject"], parts["drop"], parts["fail"], ValueError("so"))

    with World(write) as world:
        for connection, ticks in batches:
            world.emit(connection, *ticks)
        world.settled()
        accounts = world.outlet.read().accounts({})
        for connection, account in accounts.items():
            assert account.imbalance == 0
            assert account.delivered == noted[connection, "take"]
            assert account.rejected == noted[connection, "reject"]
            assert account.dropped == noted[connection, "drop"]
            assert account.failed == noted[connection, "fail"] + noted[connection, "failed"]
        assert done["ticks"] == sum(len(ticks) for _, ticks in batches)
        wait_until(lambda: world.told == world.account.failed)


def test_the_log_of_a_sink_that_always_raises_stays_small(caplog):
    """A line and a traceback a tick would fill the disk."""
    caplog.set_level(logging.ERROR)
    with World(_raise(ValueError)) as world:
        for _ in range(200):
            world.emit("a", 1)
        world.settled()
    assert len(caplog.records) == 1


def test_its_thread_lives_and_is_the_same_after_anything_was_raised():
    """With the policy block one thread that had ended in silence stopped the stream for everybody."""
    threads = []
    kinds = iter([*RAISED, None])

    def write(_):
        threads.append(threading.get_ident())
        if kind := next(kinds):
            raise kind

    with World(write) as world:
        for _ in range(len(RAISED) + 1):
            world.emit("a", 1)
            world.settled()
    assert len(threads) == len(RAISED) + 1
    assert len(set(threads)) == 1
    assert world.account.delivered == 1
