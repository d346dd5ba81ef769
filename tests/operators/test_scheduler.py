import threading
import weakref
from datetime import timedelta

import pytest
import reactivex
from reactivex import operators as ops
from reactivex.disposable import Disposable
from reactivex.internal.exceptions import DisposedException

from operators.errors import BufferOverflow
from operators.scheduler import BufferingScheduler
from tests.conftest import our_threads, wait_until
from tests.operators.fakes import in_threads


@pytest.fixture
def scheduler():
    """Make one that is disposed in the end."""
    with_end = BufferingScheduler("test", capacity=8)
    yield with_end
    with_end.dispose()


@pytest.fixture
def held(scheduler):
    """Keep the thread busy until released; what is scheduled meanwhile has to wait."""
    busy, release = threading.Event(), threading.Event()

    def hold(*_):
        busy.set()
        release.wait(10)

    scheduler.schedule(hold)
    assert busy.wait(10)
    yield release
    release.set()


def test_actions_run_in_order_on_one_named_daemon_thread(scheduler):
    """An operator relies on actions that never overlap, and whoever reads a dump on the name."""
    seen = []
    for number in range(5):
        scheduler.schedule(lambda _, state: seen.append((state, threading.current_thread())), number)
    wait_until(lambda: len(seen) == 5)
    assert [number for number, _ in seen] == list(range(5))
    assert {thread.name for _, thread in seen} == {"tickbraid-test"}
    assert seen[0][1].daemon


def test_the_thread_starts_with_the_first_action():
    """A stream that nobody subscribes to must not cost a thread."""
    scheduler = BufferingScheduler("lazy")
    assert "tickbraid-lazy" not in our_threads()
    scheduler.dispose()


@pytest.mark.parametrize("arguments", [("",), ("x", 0)])
def test_parameters_are_checked(arguments):
    """A mistake shows where it is made, not on the thread."""
    with pytest.raises(ValueError, match=r"name|capacity"):
        BufferingScheduler(*arguments)


def test_a_full_queue_raises(scheduler, held):
    """The limit is exact and counts delayed actions; the one that runs is out of the queue."""
    seen = []
    for number in range(7):
        scheduler.schedule(lambda _, state: seen.append(state), number)
    scheduler.schedule_relative(0.001, lambda *_: seen.append("delayed"))
    with pytest.raises(BufferOverflow, match="8 actions wait for the thread tickbraid-test"):
        scheduler.schedule(lambda *_: seen.append("too many"))
    with pytest.raises(BufferOverflow):
        scheduler.schedule_relative(1, lambda *_: seen.append("too many"))
    held.set()
    wait_until(lambda: len(seen) == 8)
    assert sorted(seen, key=str) == [*range(7), "delayed"]


def test_the_limit_holds_from_three_threads_at_once(scheduler, held, eager_switching):
    """Threads that race for the last places get exactly those that there are."""
    admitted = []

    def fill():
        for _ in range(20):
            try:
                scheduler.schedule(lambda *_: None)
            except BufferOverflow:
                continue
            admitted.append(1)

    in_threads(fill, fill, fill)
    assert len(admitted) == 8


def test_cancelled_timeouts_make_room(scheduler):
    """An operator that sets and cancels a time-out for each item must not fill the queue with them."""
    for _ in range(100):
        scheduler.schedule_relative(60, lambda *_: None).dispose()
    seen = threading.Event()
    scheduler.schedule(lambda *_: seen.set())
    assert seen.wait(10)


def test_delayed_actions_run_by_their_time(scheduler):
    """A later call for an earlier time comes first; also absolute times, which are wall clock."""
    seen = []
    scheduler.schedule_absolute(scheduler.now + timedelta(seconds=0.09), lambda *_: seen.append("third"))
    scheduler.schedule_relative(timedelta(seconds=0.06), lambda *_: seen.append("second"))
    scheduler.schedule_relative(0.03, lambda *_: seen.append("first"))
    scheduler.schedule_relative(-5, lambda *_: seen.append("at once"))
    wait_until(lambda: len(seen) == 4)
    assert seen == ["at once", "first", "second", "third"]


def test_a_busy_queue_does_not_hold_up_a_delayed_action(scheduler):
    """A time-out fires though there is always something else to do."""
    fired = threading.Event()
    scheduler.schedule_relative(0.01, lambda *_: fired.set())

    def again(*_):
        if not fired.is_set():
            scheduler.schedule(again)

    scheduler.schedule(again)
    assert fired.wait(10)


def test_an_action_that_raises_is_logged_and_the_next_runs(scheduler, caplog):
    """One defect must not end the thread that serves all the others."""
    seen = threading.Event()
    scheduler.schedule(lambda *_: 1 / 0)
    scheduler.schedule(lambda *_: seen.set())
    assert seen.wait(10)
    assert "ZeroDivisionError" in caplog.text


def test_a_cancelled_action_does_not_run(scheduler, held):
    """What was cancelled in time never happens, and what an action returned is disposed with it."""
    seen = []
    scheduler.schedule(lambda *_: seen.append("cancelled")).dispose()
    returned = Disposable()
    action = scheduler.schedule(lambda *_: returned)
    scheduler.schedule(lambda *_: seen.append("kept"))
    held.set()
    wait_until(lambda: seen)
    assert seen == ["kept"]
    assert not returned.is_disposed
    action.dispose()
    assert returned.is_disposed


def test_an_action_cancelled_while_it_runs_disposes_what_it_returns(scheduler):
    """A recursive schedule is cancelled also in the moment in which it schedules itself again."""
    returned = Disposable()
    assigned, handle = threading.Event(), []

    def action(*_):
        assert assigned.wait(10)
        handle[0].dispose()
        return returned

    handle.append(scheduler.schedule(action))
    assigned.set()
    wait_until(lambda: returned.is_disposed)


def test_dispose_ends_the_thread_and_drops_what_waits(scheduler, held):
    """Closing a stream leaves no thread, runs nothing more and may be said twice."""
    seen = []
    scheduler.schedule(lambda *_: seen.append("waiting"))
    scheduler.schedule_relative(0.001, lambda *_: seen.append("delayed"))
    in_threads(held.set, scheduler.dispose, scheduler.dispose)
    assert "tickbraid-test" not in our_threads()
    assert len(seen) <= 2
    before = list(seen)
    for schedule in (scheduler.schedule, lambda action: scheduler.schedule_relative(1, action)):
        with pytest.raises(DisposedException):
            schedule(lambda *_: seen.append("after"))
    scheduler.dispose()
    assert seen == before


def test_dispose_lets_go_of_what_waits(scheduler, held):
    """Batches that wait in a closed stream are freed, also while its thread still runs an action."""
    states = [type("State", (), {})() for _ in range(2)]
    alive = [weakref.ref(state) for state in states]
    handles = scheduler.schedule(print, states[0]), scheduler.schedule_relative(60, print, states[1])
    del states, handles
    in_threads(scheduler.dispose, lambda: (wait_until(lambda: not any(ref() for ref in alive)), held.set()))


def test_dispose_on_its_own_thread(scheduler):
    """A subscriber that leaves from inside its callback must not wait for itself."""
    done = threading.Event()
    scheduler.schedule(lambda *_: (scheduler.dispose(), done.set()))
    assert done.wait(10)
    wait_until(lambda: "tickbraid-test" not in our_threads())


def test_dispose_does_not_wait_for_ever(scheduler, held, monkeypatch, caplog):
    """A callback that hangs keeps its own thread, not the one that closes the stream; the log says which."""
    monkeypatch.setattr("operators.scheduler.JOIN_S", 0.01)
    scheduler.dispose()
    assert "tickbraid-test still runs an action" in caplog.text


def test_reactivex_operators_run_on_it(scheduler):
    """It is a real scheduler: `observe_on` and a periodic `interval` work."""
    seen = []
    thread_names = set()

    def note(item):
        seen.append(item)
        thread_names.add(threading.current_thread().name)

    reactivex.from_iterable(range(3)).pipe(ops.observe_on(scheduler)).subscribe(note)
    wait_until(lambda: len(seen) == 3)
    subscription = reactivex.interval(0.001, scheduler=scheduler).subscribe(note)
    wait_until(lambda: len(seen) >= 6)
    subscription.dispose()
    assert seen[:6] == [0, 1, 2, 0, 1, 2]
    assert thread_names == {"tickbraid-test"}
