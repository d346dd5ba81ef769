"""What simulated threads wait on, held against what real ones do: the same programs, the same outcomes."""

import queue
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.runtime import SYSTEM
from tests.simulation.kernel import Kernel
from tests.simulation.network import Network, runtime_of

SHORT_S = 0.01
LONG_S = 5.0


def simulated(program, seed=0, preempt=0.0, sites=()):
    """Run a program on simulated threads; return what it returns."""
    kernel = Kernel(seed, preempt=preempt)
    kernel.arm(*sites)
    runtime = runtime_of(kernel, Network(kernel))
    result = kernel.call(program, runtime, name="main")
    kernel.run(2 * LONG_S)
    assert kernel.left() == []
    return result


def outcome(action, *args):
    """Return what a call returned, or the name of what it raised."""
    try:
        return action(*args)
    except Exception as error:
        return type(error).__name__


# -- programs of several threads, whose outcome no order changes --------------------------------------------


def _wait_for_a_lock(runtime):
    """Take a lock that another thread has, with a time-out too short, and then without."""
    lock, taken, give = runtime.lock(), runtime.event(), runtime.event()

    def hold():
        with lock:
            taken.set()
            give.wait()

    worker = runtime.spawn(hold, "holder")
    taken.wait()
    log = [lock.acquire(False), lock.acquire(True, SHORT_S), lock.acquire(timeout=0)]
    give.set()
    log += [lock.acquire(), lock.acquire(False)]
    lock.release()
    worker.join()
    return [*log, worker.is_alive(), outcome(lock.release)]


def _exclude(runtime):
    """Count under a lock that many threads want."""
    lock, count = runtime.lock(), [0, 0]

    def work():
        for _ in range(10):
            with lock:
                count[1] += 1
                before = count[0]
                other = runtime.event()
                other.wait(0.0001)
                count[0] = before + count[1]
                count[1] -= 1

    workers = [runtime.spawn(work, f"worker-{n}") for n in range(4)]
    for worker in workers:
        worker.join()
    return count


def _release_for_another(runtime):
    """Let a lock go that another thread took: allowed; of a reentrant one it is not."""
    lock, rlock, done = runtime.lock(), runtime.rlock(), runtime.event()
    log = []

    def take():
        lock.acquire()
        rlock.acquire()
        done.set()

    runtime.spawn(take, "taker").join()
    done.wait()
    lock.release()
    log += [outcome(rlock.release), lock.acquire(False), rlock.acquire(False)]
    return log


def _reenter(runtime):
    """Take a reentrant lock three times; another thread has it after the third release."""
    lock, results = runtime.rlock(), []

    def try_it():
        results.append(lock.acquire(False))
        if results[-1]:
            lock.release()

    for _ in range(3):
        lock.acquire()
    for _ in range(3):
        runtime.spawn(try_it, "other").join()
        lock.release()
    runtime.spawn(try_it, "other").join()
    return [*results, outcome(lock.release)]


def _wait_under_a_condition(runtime):
    """Wait for what another thread does under the same lock, in vain first."""
    condition, state = runtime.condition(runtime.lock()), []
    log = []

    def work():
        with condition:
            state.append(1)
            condition.notify_all()

    with condition:
        log.append(condition.wait(SHORT_S))
        log.append(condition.wait(0))
        log.append(condition.wait(-1))
        log.append(condition.wait_for(lambda: state, SHORT_S))
        worker = runtime.spawn(work, "worker")
        log.append(condition.wait_for(lambda: len(state), LONG_S))
    worker.join()
    return [*log, outcome(condition.wait, 0), outcome(condition.notify)]


def _wait_deep_in_a_reentrant_lock(runtime):
    """Waiting under a condition lets go of all levels of its lock, and has them all back afterwards."""
    lock = runtime.rlock()
    condition, seen = runtime.condition(lock), []

    def work():
        with condition:
            seen.append("in")
            condition.notify()

    with lock, lock, condition:
        worker = runtime.spawn(work, "worker")
        woken = condition.wait_for(lambda: seen, LONG_S)
        other = []
        runtime.spawn(lambda: other.append(lock.acquire(False)), "other").join()
    worker.join()
    return [woken, other, outcome(lock.release)]


def _notify_in_order(runtime):
    """Whoever waits longest under a condition is notified first."""
    lock = runtime.lock()
    condition, order, turn = runtime.condition(lock), [], []

    def wait(number):
        with condition:
            turn.append(number)
            condition.wait()
            order.append(number)

    workers = []
    for number in range(4):
        workers.append(runtime.spawn(lambda number=number: wait(number), f"waiter-{number}"))
        while True:  # until it waits
            with lock:
                if len(turn) > number:
                    break
            runtime.event().wait(0.001)
    for number in range(4):
        with condition:
            condition.notify()
        workers[number].join(LONG_S)
    return order


def _set_an_event(runtime):
    """Wait for an event that is not set in time, is set meanwhile, and is set already."""
    event = runtime.event()
    log = [event.is_set(), event.wait(SHORT_S), event.wait(0), event.wait(-1)]
    worker = runtime.spawn(event.set, "setter")
    log += [event.wait(LONG_S), event.wait(0), event.wait(), event.is_set()]
    worker.join()
    return log


def _hand_over(runtime):
    """Hand items from thread to thread, in order, and each to one."""
    items, got = runtime.queue(), []

    def take():
        while (item := items.get()) is not None:
            got.append(item)

    workers = [runtime.spawn(take, f"taker-{n}") for n in range(3)]
    for number in range(50):
        items.put(number)
    for _ in workers:
        items.put(None)
    for worker in workers:
        worker.join(LONG_S)
    log = [sorted(got), [worker.is_alive() for worker in workers]]
    log += [outcome(items.get, False), outcome(items.get, True, SHORT_S), outcome(items.get, True, 0)]
    return [*log, outcome(items.get, True, -1), outcome(items.get, False, -1)]


def _end(runtime):
    """Wait for threads that end and that do not end, and for oneself."""
    stay, log = runtime.event(), []
    slow = runtime.spawn(stay.wait, "slow")
    slow.join(SHORT_S)
    slow.join(0)
    slow.join(-1)
    log += [slow.is_alive(), slow.name]
    stay.set()
    slow.join()
    idents, workers, known = [], [], runtime.event()

    def join_oneself():
        known.wait()
        idents.append(runtime.ident())
        log.append(outcome(workers[0].join))

    workers.append(runtime.spawn(join_oneself, "self"))
    known.set()
    workers[0].join()
    return [*log, slow.is_alive(), idents == [workers[0].ident], idents[0] != runtime.ident()]


PROGRAMS = (
    _wait_for_a_lock,
    _exclude,
    _release_for_another,
    _reenter,
    _wait_under_a_condition,
    _wait_deep_in_a_reentrant_lock,
    _notify_in_order,
    _set_an_event,
    _hand_over,
    _end,
)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__.strip("_"))
def test_programs_of_threads_come_out_as_on_real_threads(program):
    """What holds only on simulated threads says nothing of the product; all orders must come out the same."""
    real = program(SYSTEM)
    for seed in range(8):
        assert simulated(program, seed, preempt=0.0 if seed < 2 else 0.3) == real, f"seed {seed}"


@pytest.mark.parametrize("program", [_exclude, _reenter, _hand_over], ids=["exclude", "reenter", "hand over"])
def test_late_timers_and_spurious_wakes_change_no_outcome(program):
    """A simulated system that misbehaves must stay one that could be real."""
    for seed in range(4):
        assert simulated(program, seed, 0.1, ("late_timer", "spurious_wake")) == program(SYSTEM)


# -- what one thread sees ------------------------------------------------------------------------------------

STEPS = {
    "acquire": lambda lock: lock.acquire(False),
    "acquire now": lambda lock: lock.acquire(True, 0),
    "acquire or not": lambda lock: lock.acquire(False, 1),
    "acquire badly": lambda lock: lock.acquire(True, -2),
    "acquire for too long": lambda lock: lock.acquire(True, threading.TIMEOUT_MAX * 2),
    "release": lambda lock: lock.release(),
}


@given(kind=st.sampled_from(["lock", "rlock"]), names=st.lists(st.sampled_from(sorted(STEPS)), max_size=12))
def test_a_lock_answers_as_the_real_one(kind, names):
    """An error that the simulated lock does not raise is one of the product that nobody finds."""

    def program(runtime):
        lock = getattr(runtime, kind)()
        return [outcome(STEPS[name], lock) for name in names]

    assert simulated(program) == program(SYSTEM)


@given(
    kind=st.sampled_from(["lock", "rlock"]),
    names=st.lists(
        st.sampled_from(["enter", "leave", "wait", "wait for", "notify", "notify all"]), max_size=12
    ),
)
def test_a_condition_answers_as_the_real_one(kind, names):
    """As for locks."""

    def program(runtime):
        lock = getattr(runtime, kind)()
        condition = runtime.condition(lock)
        steps = {
            "enter": lambda: lock.acquire(False),
            "leave": lock.release,
            "wait": lambda: condition.wait(0),
            "wait for": lambda: condition.wait_for(lambda: 0, 0),
            "notify": condition.notify,
            "notify all": condition.notify_all,
        }
        return [outcome(steps[name]) for name in names]

    assert simulated(program) == program(SYSTEM)


@given(names=st.lists(st.sampled_from(["put", "get", "get now", "get badly"]), max_size=20))
def test_a_queue_answers_as_the_real_one(names):
    """As for locks."""

    def program(runtime):
        items = runtime.queue()
        steps = {
            "put": lambda: items.put(len(names)),
            "get": lambda: items.get(False),
            "get now": lambda: items.get(True, 0),
            "get badly": lambda: items.get(True, -1),
        }
        return [outcome(steps[name]) for name in names]

    assert simulated(program) == program(SYSTEM)
    assert queue.SimpleQueue is SYSTEM.queue


def test_where_there_are_no_threads_none_is_started():
    """The product must be seen where a thread cannot be had, which is rare in life."""

    def program(runtime):
        results = [outcome(runtime.spawn, lambda: None, f"worker-{n}") for n in range(100)]
        return results.count("RuntimeError")

    assert 10 < simulated(program, sites=("failing_spawn",)) < 40
