import threading

import pytest
import reactivex
from reactivex import operators as ops
from reactivex.disposable import Disposable
from reactivex.scheduler import ImmediateScheduler

from operators.account import Account
from operators.buffered import BufferAccounting, buffered
from tests.conftest import our_threads, wait_until
from tests.operators.fakes import FakeBatch, FakeTick, Recorder, Source, in_threads
from tests.operators.stage import Stage


def test_block_does_not_wait_for_its_own_thread():
    """A subscriber that feeds its own source would wait for itself for ever; it loses ticks instead."""

    def on_item(batch):
        if len(stage.out) == 1:
            stage.emit(*range(10, 20))

    stage = Stage(4, "block", on_item=on_item, scheduler=ImmediateScheduler())
    stage.emit(1)
    assert stage.out == [[1], [10, 11, 12, 13]]
    assert stage.account == Account(received=11, delivered=5, dropped=6)


class Held:
    """A subscriber on the buffer's own thread that keeps what it has in hand until released."""

    def __init__(self):
        self.has_one, self.release = threading.Event(), threading.Event()

    def __call__(self, batch):
        self.has_one.set()
        assert self.release.wait(10)


@pytest.fixture
def held():
    """Make one, and let it go in the end."""
    held = Held()
    yield held
    held.release.set()


def test_block_waits_for_room(held):
    """Nothing is lost and the source goes no faster than its subscriber; one too large comes in pieces."""
    stage = Stage(4, "block", on_item=held, scheduler=None, name="blocked")
    stage.emit(0)
    assert held.has_one.wait(10)
    done = threading.Event()

    def produce():
        stage.emit(1, 2, 3)
        stage.emit(*range(4, 15))
        done.set()

    thread = threading.Thread(target=produce, daemon=True)
    thread.start()
    wait_until(lambda: stage.gauge.queued == 15, what="the batch at the door counts as queued")
    assert not done.is_set()
    held.release.set()
    assert done.wait(10)
    wait_until(lambda: stage.account.delivered == 15)
    thread.join(10)
    assert [tick for batch in stage.out for tick in batch] == list(range(15))
    assert max(map(len, stage.out)) <= 4
    assert stage.drops == []
    stage.subscription.dispose()


def test_dispose_releases_a_waiting_source(held):
    """Closing the stream must not leave a reader hanging, and what it still held is counted."""
    stage = Stage(2, "block", on_item=held, scheduler=None, name="released")
    stage.emit(0)
    assert held.has_one.wait(10)
    thread = threading.Thread(target=lambda: stage.emit(*range(10), received_ns=7), daemon=True)
    thread.start()
    wait_until(lambda: stage.gauge.queued == 11)
    in_threads(
        stage.subscription.dispose,
        stage.subscription.dispose,
        lambda: (wait_until(lambda: stage.gauge.queued == 1), held.release.set()),
    )
    thread.join(10)
    assert not thread.is_alive()
    assert stage.account == Account(received=11, delivered=1, dropped=10)
    assert {drop.reason for drop in stage.drops} == {"closed"}
    assert sum(drop.count for drop in stage.drops) == 10
    assert "tickbraid-released" not in our_threads()


def test_its_own_thread_ends_with_the_stream():
    """A stream that completes leaves no thread, and delivered on it."""
    names = set()
    recorder = Recorder(lambda batch: names.add(threading.current_thread().name))
    reactivex.of(FakeBatch([1]), FakeBatch([2])).pipe(buffered(5, name="own")).subscribe(recorder)
    assert recorder.done.wait(10)
    assert names == {"tickbraid-own"}
    wait_until(lambda: "tickbraid-own" not in our_threads())


def test_a_subscriber_that_left_does_not_hold_up_an_eager_source():
    """A source that emits while it is being subscribed to cannot be disposed yet, and must not hang."""
    recorder, gauge = Recorder(), BufferAccounting()

    def eager(observer, _):
        for number in range(500):
            observer.on_next(FakeBatch([number]))
        return Disposable()

    reactivex.create(eager).pipe(buffered(3, gauge=gauge, name="eager"), ops.take(1)).subscribe(recorder)
    assert [batch.ticks for batch in recorder.items] == [[0]]
    wait_until(lambda: gauge.queued == 0)
    (account,) = gauge.accounts().values()
    assert (account.received, account.imbalance) == (500, 0)


def test_leaving_from_inside():
    """`take(1)` behind a buffer disposes it on its own thread, which must not wait for itself."""
    recorder = Recorder()
    source = Source()
    source.pipe(buffered(5, name="inside"), ops.take(1)).subscribe(recorder)
    source.emit(FakeBatch([1]))
    assert recorder.done.wait(10)
    wait_until(lambda: "tickbraid-inside" not in our_threads())
    wait_until(lambda: source.disposals == 1)


@pytest.mark.parametrize("overflow", ["block", "drop_oldest", "drop_newest", "conflate", "error"])
def test_three_threads_at_once(overflow, eager_switching):
    """Sources that are not serialised, a slow subscriber, readers of the account and a dispose in the middle.

    At every reading the account balances, what comes out is serial and ordered for each source, and every
    drop is told.
    """
    gauge, source, drops, readings = BufferAccounting(), Source(), [], []
    conflate_key = (lambda tick: tick.name[1] % 7 or None) if overflow == "conflate" else None
    recorder = Recorder(lambda batch: sum(range(200)))
    subscription = source.pipe(
        buffered(50, overflow, drops.append, gauge=gauge, conflate_key=conflate_key, name="three")
    ).subscribe(recorder)
    finished = []

    def produce(which):
        for number in range(150):
            ticks = [FakeTick((which, number * 20 + part)) for part in range(number % 13 + 1)]
            source.emit(FakeBatch(ticks, which, number, deduplicated=number % 2, lost=number % 3))
        finished.append(which)

    def read():
        while len(finished) < 3:
            readings.append((gauge.accounts(), gauge.queued))

    def leave():
        wait_until(
            lambda: len(finished) == 3 if overflow == "block" else gauge.queued or recorder.errors or finished
        )
        subscription.dispose()

    in_threads(*(lambda which=which: produce(which) for which in "abc"), read, leave)
    readings.append((gauge.accounts(), gauge.queued))
    assert all(account.imbalance == 0 for accounts, _ in readings for account in accounts.values())
    assert all(queued >= 0 for _, queued in readings)
    assert gauge.queued == 0
    assert recorder.violations == []
    total = sum(gauge.accounts().values(), Account())
    on_its_way = total.delivered - len(recorder.ticks)  # one batch at most, when it left
    assert 0 <= on_its_way <= 13
    told = sum(drop.count for drop in drops)
    assert total.dropped == told + gauge.dropped_by_reason().get("lost", 0)
    for which in "abc":
        numbers = [tick.name[1] for tick in recorder.ticks if tick.name[0] == which]
        assert numbers == sorted(numbers)
    if overflow == "block":
        assert set(gauge.dropped_by_reason()) <= {"lost", "closed"}
