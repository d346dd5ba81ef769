"""The Rx contract, held by every operator: serial, nothing after the end, dispose at once and again."""

import pytest
import reactivex
from reactivex.testing import ReactiveTest, TestScheduler

from operators.buffered import buffered
from operators.dedupe import dedupe
from operators.latency_stamp import Latencies, latency_stamp
from operators.merge import merge
from operators.share import share
from tests.operators.fakes import FakeBatch, FakeTick, Names, Recorder, Source, in_threads

POLICIES = ("block", "drop_oldest", "drop_newest", "conflate", "error")


def _buffered(policy, scheduler):
    key = (lambda tick: tick.name) if policy == "conflate" else None
    return buffered(10_000, policy, scheduler=scheduler, conflate_key=key, name="contract")


OPERATORS = {
    "merge": lambda scheduler: lambda source: merge(source, reactivex.empty()),
    "dedupe": lambda scheduler: dedupe(Names),
    "latency_stamp": lambda scheduler: latency_stamp(lambda: 0, Latencies()),
    "share": lambda scheduler: share(),
    **{policy: (lambda scheduler, policy=policy: _buffered(policy, scheduler)) for policy in POLICIES},
}
every_operator = pytest.mark.parametrize("make", OPERATORS.values(), ids=OPERATORS)
TROUBLE = RuntimeError("trouble")


def _names(items):
    """Return the names of the ticks, whether they come in batches or one by one."""
    return [tick.name for item in items for tick in getattr(item, "ticks", [item])]


def _in_virtual_time(make, *messages, disposed=1000):
    """Return (kind, names or error) of what comes out between 200 and the end."""
    scheduler = TestScheduler()
    source = scheduler.create_hot_observable(*messages)
    operator = make(scheduler)
    seen = scheduler.start(lambda: operator(source), disposed=disposed).messages
    assert len(source.subscriptions) == 1, "subscribed to its source once"
    assert source.subscriptions[0].unsubscribe <= disposed + 1, "left its source"
    values = [message.value.value for message in seen if message.value.kind == "N"]
    ends = [message.value for message in seen if message.value.kind != "N"]
    return _names(values), [(end.kind, getattr(end, "exception", None)) for end in ends]


def _batch(*names):
    return FakeBatch([FakeTick(name) for name in names])


@every_operator
def test_completed(make):
    """A stream that completes brings its ticks and then its end; a sink would otherwise never be drained."""
    names, ends = _in_virtual_time(
        make,
        ReactiveTest.on_next(150, _batch("too early")),
        ReactiveTest.on_next(210, _batch(1, 2)),
        ReactiveTest.on_next(220, _batch(3)),
        ReactiveTest.on_completed(230),
        ReactiveTest.on_next(240, _batch("too late")),
        ReactiveTest.on_completed(250),
    )
    assert names == [1, 2, 3]
    assert ends == [("C", None)]


@every_operator
def test_never(make):
    """A source that is silent makes no event; a subscriber would take one for news."""
    assert _in_virtual_time(make) == ([], [])


@every_operator
def test_empty(make):
    """A source that ends at once ends the stream."""
    assert _in_virtual_time(make, ReactiveTest.on_completed(250)) == ([], [("C", None)])


@every_operator
def test_error(make):
    """An error comes after what came before it, as it is, and ends the stream."""
    names, ends = _in_virtual_time(
        make,
        ReactiveTest.on_next(210, _batch(1)),
        ReactiveTest.on_error(220, TROUBLE),
        ReactiveTest.on_next(230, _batch("too late")),
    )
    assert names == [1]
    assert [kind for kind, _ in ends] == ["E"]
    assert str(ends[0][1]) == str(TROUBLE)


@every_operator
def test_disposed(make):
    """Who left hears nothing more, not even the end."""
    names, ends = _in_virtual_time(
        make,
        ReactiveTest.on_next(210, _batch(1)),
        ReactiveTest.on_next(230, _batch("too late")),
        ReactiveTest.on_completed(240),
        disposed=220,
    )
    assert names == [1]
    assert ends == []


@every_operator
def test_subscriptions_do_not_share_state(make):
    """A second run of the same stream starts clean; a restarted one would else drop ticks as duplicates."""
    stream = reactivex.defer(lambda _: reactivex.of(_batch(1, 2), _batch(3))).pipe(make(None))
    for _ in range(1 if make is OPERATORS["share"] else 2):  # a shared stream that ended stays ended
        recorder = Recorder()
        stream.subscribe(recorder)
        assert recorder.done.wait(10)
        assert _names(recorder.items) == [1, 2, 3]


@every_operator
def test_from_three_threads_at_once(make, eager_switching):
    """Three readers, merged, come out serially, complete and each in its order, and the end comes last.

    White-box: it subscribes below reactivex's own observer, which would hide what comes after the end.
    """
    sources = [Source() for _ in range(3)]
    recorder = Recorder()
    subscription = make(None)(merge(*sources))._subscribe_core(recorder)

    def produce(which):
        for number in range(200):
            sources[which].emit(_batch((which, number, 0), (which, number, 1)))
        sources[which].complete()

    in_threads(*(lambda which=which: produce(which) for which in range(3)))
    assert recorder.done.wait(10)
    subscription.dispose()
    assert recorder.violations == []
    assert recorder.completions == 1
    for which in range(3):
        mine = [name for name in _names(recorder.items) if name[0] == which]
        assert mine == [(which, number, part) for number in range(200) for part in (0, 1)]


@every_operator
def test_dispose_from_three_threads_at_once(make, eager_switching):
    """Dispose may come from anywhere, also twice, and leaves the source once; else its sockets stay open."""
    source = Source()
    recorder = Recorder()
    subscription = make(None)(merge(source)).subscribe(recorder)
    stop = []

    def produce():
        number = 0
        while not stop:
            source.emit(_batch(number))
            number += 1

    def dispose():
        while not recorder.items:
            pass
        subscription.dispose()
        stop.append(True)

    in_threads(produce, dispose, dispose)
    subscription.dispose()
    heard = len(recorder.items)
    source.emit(_batch("too late"))
    source.complete()
    assert len(recorder.items) == heard
    assert recorder.violations == []
    assert (source.subscriptions, source.disposals) == (1, 1)
    assert not recorder.done.is_set()
