import threading

import pytest
import reactivex
from reactivex import operators as ops

from operators.share import share
from tests.conftest import wait_until
from tests.operators.fakes import Recorder, Source, in_threads

TROUBLE = RuntimeError("trouble")


@pytest.fixture
def source():
    """Make a source."""
    return Source()


@pytest.fixture
def shared(source):
    """Share it."""
    return source.pipe(share())


def test_the_source_is_subscribed_once(source, shared):
    """Two subscribers share the sockets; the last to leave closes them."""
    first, second = Recorder(), Recorder()
    leave_first, leave_second = shared.subscribe(first), shared.subscribe(second)
    source.emit(1)
    leave_first.dispose()
    leave_first.dispose()
    source.emit(2)
    assert source.disposals == 0
    leave_second.dispose()
    assert (first.items, second.items) == ([1], [1, 2])
    assert (source.subscriptions, source.disposals) == (1, 1)


def test_the_first_subscriber_misses_nothing():
    """A source that speaks while it is subscribed to is heard by the subscriber that woke it."""
    recorder = Recorder()
    reactivex.of(1, 2).pipe(share()).subscribe(recorder)
    assert (recorder.items, recorder.completions) == ([1, 2], 1)


def test_a_late_subscriber_gets_what_comes_from_then_on(source, shared):
    """It is hot: nothing is replayed."""
    shared.subscribe(Recorder())
    source.emit(1)
    late = Recorder()
    shared.subscribe(late)
    source.emit(2)
    assert late.items == [2]


def test_after_the_last_left_a_new_first_starts_anew(source, shared):
    """A notebook that unsubscribes and subscribes again connects again."""
    shared.subscribe(Recorder()).dispose()
    recorder = Recorder()
    shared.subscribe(recorder)
    source.emit(1)
    assert recorder.items == [1]
    assert source.subscriptions == 2


@pytest.mark.parametrize("error", [None, TROUBLE])
def test_what_ended_stays_ended(source, shared, error):
    """After its end nothing can come again, so whoever comes later is told so and starts nothing."""
    first, late = Recorder(), Recorder()
    shared.subscribe(first)
    if error:
        source.fail(error)
    else:
        source.complete()
    shared.subscribe(late)
    for recorder in (first, late):
        assert recorder.errors == ([error] if error else [])
        assert recorder.completions == (0 if error else 1)
    assert source.subscriptions == 1
    assert shared._subscribe.__self__._connection is None, "and is not kept. White-box"


def test_one_that_raises_does_not_starve_the_others(source, shared, caplog):
    """A subscriber's defect is its own: it is logged, the others get the batch, and it gets the next."""
    before, after = Recorder(), Recorder()
    raising = Recorder(lambda item: 1 / 0)
    for recorder in (before, raising, after):
        shared.subscribe(recorder)
    source.emit(1)
    source.emit(2)
    assert before.items == raising.items == after.items == [1, 2]
    assert caplog.text.count("ZeroDivisionError: ") == 1
    assert {record.name for record in caplog.records} == {"tickbraid.operators"}


def test_one_that_raises_at_the_end_does_not_starve_the_others(source, shared, caplog):
    """A subscriber without on_error raises the error; the one after it is told all the same."""
    after = Recorder()
    shared.subscribe(lambda item: None)
    shared.subscribe(after)
    source.fail(TROUBLE)
    assert after.errors == [TROUBLE]
    assert "trouble" in caplog.text


def test_leaving_and_joining_from_inside(source, shared):
    """`take(1)` leaves while it is being served; a callback may subscribe another."""
    joined, once, after = Recorder(), Recorder(), Recorder()
    shared.pipe(ops.take(1)).subscribe(once)
    shared.pipe(ops.take(1)).subscribe(lambda item: shared.subscribe(joined))
    shared.subscribe(after)
    source.emit(1)
    source.emit(2)
    assert (once.items, once.completions) == ([1], 1)
    assert joined.items == [2]
    assert after.items == [1, 2]


def test_the_last_leaves_from_inside(source, shared):
    """The only subscriber that leaves in its callback closes the source, on the source's thread."""
    seen = []
    subscription = shared.subscribe(lambda item: (seen.append(item), subscription.dispose()))
    source.emit(1)
    source.emit(2)
    assert seen == [1]
    assert source.disposals == 1


def test_a_straggling_end_does_not_end_the_next(shared, source):
    """An end that races with the last to leave belongs to the connection that was left. White-box."""
    hub = shared._subscribe.__self__
    shared.subscribe(Recorder())
    abandoned = hub._connection
    hub._leave(abandoned, abandoned.observers[0])
    recorder = Recorder()
    shared.subscribe(recorder)
    hub._finish(abandoned, lambda observer: observer.on_completed())
    late = Recorder()
    shared.subscribe(late)
    source.emit(1)
    for listener in (recorder, late):
        assert (listener.items, listener.completions) == ([1], 0)


def test_joining_and_leaving_from_three_threads_at_once(source, shared, eager_switching):
    """Whatever the order, the source is subscribed to exactly while somebody listens."""
    stop = threading.Event()
    faithful = Recorder()

    def come_and_go():
        for _ in range(100):
            recorder = Recorder()
            subscription = shared.subscribe(recorder)
            wait_until(lambda recorder=recorder: recorder.items, what="an item")
            subscription.dispose()

    def emit():
        while not stop.is_set():
            source.emit(1)

    def tasks():
        in_threads(come_and_go, come_and_go, come_and_go)
        stop.set()

    in_threads(emit, tasks)
    assert source.observers == []
    assert source.subscriptions == source.disposals
    shared.subscribe(faithful)
    source.emit(2)
    assert faithful.items == [2]
