import threading

import reactivex
from reactivex.testing import ReactiveTest, TestScheduler

from operators.merge import merge
from tests.operators.fakes import Recorder, Source, in_threads

TROUBLE = RuntimeError("trouble")


def test_items_keep_their_order_in_time():
    """Frames come out when they came in; a merge that held one back would make it late."""
    scheduler = TestScheduler()
    first = scheduler.create_hot_observable(
        ReactiveTest.on_next(210, 1), ReactiveTest.on_next(230, 2), ReactiveTest.on_completed(240)
    )
    second = scheduler.create_hot_observable(ReactiveTest.on_next(220, "x"), ReactiveTest.on_completed(250))
    assert scheduler.start(lambda: merge(first, second)).messages == [
        ReactiveTest.on_next(210, 1),
        ReactiveTest.on_next(220, "x"),
        ReactiveTest.on_next(230, 2),
        ReactiveTest.on_completed(250),
    ]


def test_nothing_to_merge_completes():
    """No connection at all is an empty stream, not one that hangs."""
    recorder = Recorder()
    merge().subscribe(recorder)
    assert recorder.completions == 1


def test_the_first_error_ends_all():
    """After an error the other sources are left, and what they still send goes nowhere."""
    sources = [Source() for _ in range(3)]
    recorder = Recorder()
    merge(*sources)._subscribe_core(recorder)  # below reactivex's observer, which would hide what is late
    sources[0].fail(TROUBLE)
    sources[1].emit("too late")
    sources[1].fail(RuntimeError("second"))
    sources[2].complete()
    assert (recorder.items, recorder.errors, recorder.completions) == ([], [TROUBLE], 0)


def test_an_error_leaves_the_other_sources():
    """Nobody listens to them any more, so their sockets must not stay open."""
    sources = [Source() for _ in range(3)]
    merge(*sources).subscribe(Recorder())
    sources[0].fail(TROUBLE)
    assert [source.disposals for source in sources] == [1, 1, 1]


def test_a_source_that_fails_while_subscribing_keeps_the_rest_closed():
    """No socket is opened for a stream that has already failed."""
    after = Source()
    recorder = Recorder()
    merge(reactivex.throw(TROUBLE), after).subscribe(recorder)
    assert recorder.errors == [TROUBLE]
    assert after.subscriptions == 0


def test_three_threads_never_overlap(eager_switching):
    """The ingest buffer relies on being called by one thread at a time."""
    sources = [Source() for _ in range(3)]
    spin = Recorder(lambda _: sum(range(50)))
    merge(*sources)._subscribe_core(spin)
    in_threads(*(lambda s=s: [s.emit(n) for n in range(300)] for s in sources))
    assert len(spin.items) == 900
    assert spin.violations == []


def test_the_end_waits_for_the_item_before_it():
    """An error on one thread comes after an item that another thread is delivering, not inside it."""
    slow, failing = Source(), Source()
    delivering, go_on = threading.Event(), threading.Event()

    def deliver(_):
        delivering.set()
        assert go_on.wait(10)

    recorder = Recorder(deliver)
    merge(slow, failing)._subscribe_core(recorder)
    failed = threading.Event()

    def fail():
        assert delivering.wait(10)
        threading.Timer(0.02, go_on.set).start()
        failing.fail(TROUBLE)
        failed.set()

    in_threads(lambda: slow.emit(1), fail)
    assert (recorder.items, recorder.errors, recorder.violations) == ([1], [TROUBLE], [])


def test_the_end_is_told_under_no_lock():
    """Ending disposes the sources; a source may wait for its thread, and that thread for the lock."""
    failing, other = Source(), Source()
    emitted = threading.Event()

    def leave(error):
        threading.Thread(target=lambda: (other.emit(1), emitted.set()), daemon=True).start()
        assert emitted.wait(10), "the other source hangs while the stream ends"

    merge(failing, other).subscribe(on_error=leave)
    failing.fail(TROUBLE)
    assert emitted.is_set()


def test_an_item_that_causes_another():
    """A source that is made to emit by its own item does not wait for itself."""
    source = Source()
    seen = []
    merge(source).subscribe(lambda item: (seen.append(item), item < 3 and source.emit(item + 1)))
    source.emit(1)
    assert seen == [1, 2, 3]


def test_dispose_leaves_all_sources():
    """Closing the stream closes every connection."""
    sources = [Source() for _ in range(3)]
    subscription = merge(*sources).subscribe(Recorder())
    subscription.dispose()
    subscription.dispose()
    assert [source.disposals for source in sources] == [1, 1, 1]
