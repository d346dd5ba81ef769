"""Virtual time, turns, and what is found to be wrong with a system that runs in it."""

import os
import subprocess
import sys
import threading
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
import reactivex
from reactivex.disposable import Disposable

from tests.simulation.kernel import Died, Kernel, Livelock, RealThread, WouldBlock
from tests.simulation.network import SITES, Network, runtime_of
from tests.simulation.schedule import Fault, Schedule, World
from tests.simulation.world import judge_world

ROOT = Path(__file__).parents[2]
WORLD = World(
    seconds=30.0, connections=3, redundant=2, redis=True, rate=10.0, rough=0.5, preempt=0.1, buggify=SITES
)
"""Everything that is left to chance at once."""
FAULTS = (
    Fault(6.0, "fin", 0.1),
    Fault(8.0, "redis_restart", 0.5, 0.5),
    Fault(10.0, "rst", 0.5),
    Fault(12.0, "move", 0.5, 0.9),
    Fault(13.0, "half_open", 0.9),
    Fault(16.0, "join", 0.5, 0.5),
    Fault(18.0, "raise", 0.1, 0.5),
    Fault(20.0, "mute_all", 0.4),
    Fault(22.0, "step", 0.5, 0.9),
    Fault(24.0, "dns", 0.1, 0.5),
    Fault(25.0, "reconnect", 0.5),
)


def test_time_jumps_to_the_next_timer():
    """A night must take no longer than what happens in it."""
    kernel = Kernel()
    seen = []
    kernel.at(3 * 86_400, lambda: seen.append(("c", kernel.now_ns)))
    kernel.at(2.5, lambda: seen.append(("b", kernel.now_ns)))
    kernel.at(0, lambda: seen.append(("a", kernel.now_ns)))
    kernel.cancel(kernel.at(1, seen.append, "never"))
    kernel.run(4 * 86_400)
    assert seen == [("a", 0), ("b", 2_500_000_000), ("c", 3 * 86_400 * 10**9)]
    assert (kernel.now_ns, kernel.monotonic()) == (4 * 86_400 * 10**9, 1000.0 + 4 * 86_400)


def test_a_time_out_never_ends_early():
    """What ends before its time by the clock makes whoever waits turn for ever at one instant."""
    kernel = Kernel()
    waits = []

    def wait():
        for number in range(200):
            timeout_s = 1e-10 + number * 0.0101010101
            due_s = kernel.monotonic() + timeout_s
            turns = 0
            while (left_s := due_s - kernel.monotonic()) > 0:
                kernel.sleep(left_s)
                turns += 1
            waits.append(turns)

    kernel.spawn(wait, "waiter")
    kernel.run(300)
    assert len(waits) == 200
    assert max(waits) <= 2
    assert kernel.left() == []


def test_shorter_and_longer_time_outs_of_one_thread_are_all_kept():
    """A thread has one timer for all its waits: an old one must neither end a new wait nor be missing."""
    kernel = Kernel()
    runtime = runtime_of(kernel, Network(kernel))
    event, log = runtime.event(), []

    def wait():
        waits = ((10, True), (1, False), (20, True), (5, False), (0.5, False), (1, True), (9, False))
        for timeout_s, wakes in waits:
            if wakes:
                kernel.at(0.25, event.set)
            before_ns = kernel.now_ns
            log.append((event.wait(timeout_s), (kernel.now_ns - before_ns) / 1e9))
            event.clear()

    kernel.spawn(wait, "waiter")
    kernel.run(100)
    assert log == [(True, 0.25), (False, 1), (True, 0.25), (False, 5), (False, 0.5), (True, 0.25), (False, 9)]


def test_many_cancelled_timers_are_forgotten():
    """A world of days makes millions of timers and cancels nearly all."""
    kernel = Kernel()
    for _ in range(50_000):
        kernel.cancel(kernel.at(86_400, print))
    assert len(kernel._timers) < 5_000
    assert kernel.timers_left() == Counter()


def test_a_timer_that_has_fired_is_cancelled_in_vain():
    """Counted among those that wait and are cancelled, it would have the others swept ever more often."""
    kernel = Kernel()
    timers = [kernel.at(1, lambda: None) for _ in range(10)]
    kernel.run(1)
    for timer in timers:
        kernel.cancel(timer)
    assert kernel._cancelled == 0


def test_whose_turn_it_is_is_left_to_chance_and_the_same_for_a_seed():
    """A fixed order would hide what another shows, and a free one could not be shown again."""

    def order(seed):
        kernel = Kernel(seed)
        log = []
        for number in range(5):
            kernel.spawn(lambda number=number: log.append(number), f"thread-{number}")
        kernel.run(1)
        return tuple(log)

    orders = [order(seed) for seed in range(40)]
    assert orders == [order(seed) for seed in range(40)]
    assert len(set(orders)) > 20
    assert {each[0] for each in orders} == {0, 1, 2, 3, 4}


def test_threads_give_way_at_locks_where_they_are_told_to():
    """Between two locks that a thread takes without a wait, nobody else would ever run."""

    def seen(preempt):
        kernel = Kernel(1, preempt=preempt)
        runtime = runtime_of(kernel, Network(kernel))
        lock, log = runtime.lock(), []

        def work(number):
            for _ in range(20):
                with lock:
                    log.append(number)

        for number in range(2):
            runtime.spawn(lambda number=number: work(number), f"thread-{number}")
        kernel.run(1)
        assert len(log) == 40
        return sum(one != other for one, other in pairwise(log))

    assert seen(0.0) == 1
    assert seen(0.3) > 3
    assert seen(1.0) > 10


def test_chance_is_split_by_purpose():
    """A fault that is taken out must not change the market, or no failing run could be made smaller."""
    kernel = Kernel(7)
    market = [kernel.random("market").random() for _ in range(3)]
    kernel.fraction()
    kernel.arm("short_read")
    kernel.strikes("short_read")
    assert [kernel.random("market").random() for _ in range(3)] == market
    assert Kernel(8).random("market").random() != market[0]


def test_a_site_strikes_a_quarter_of_the_time_while_it_is_armed():
    """Rare enough that the system works, often enough that it is met everywhere."""
    kernel = Kernel()
    kernel.arm("short_read")
    assert 200 < sum(kernel.strikes("short_read") for _ in range(1000)) < 300
    assert not any(kernel.strikes("eagain") for _ in range(1000))
    kernel.disarm()
    assert not any(kernel.strikes("short_read") for _ in range(1000))


def test_the_wall_clock_may_be_wrong_and_the_true_time_is_not():
    """Spans of losses are judged by the true time, and told by a clock that steps and drifts."""
    kernel = Kernel(start_ns=5_000_000_000)
    kernel.set_clock(-2_600_000_000)
    assert (kernel.clock(), kernel.true_ns) == (2_400_000_000, 5_000_000_000)
    kernel.set_clock(1_000, drift_ppm=100)
    kernel.run(10)
    assert (kernel.clock(), kernel.true_ns) == (15_001_001_000, 15_000_000_000)
    assert kernel.ahead_ns == 1_001_000
    assert kernel.monotonic() == 1010.0


def test_a_livelock_is_a_finding_that_names_who_turned():
    """A loop without a wait freezes a real process, and would freeze the simulation."""
    kernel = Kernel()

    def spin():
        while True:
            kernel.sleep(0)

    kernel.spawn(spin, "spinner")
    with pytest.raises(Livelock, match=r"timers \d+, spinner \d+"):
        kernel.run(1)
    kernel.close()


def test_a_thread_that_dies_is_a_finding_with_its_traceback():
    """A thread that ends by an exception takes a part of the system with it, in silence."""

    class Odd(BaseException):
        pass

    def fail_deep_inside():
        raise Odd("reason")

    for error in (ValueError, KeyboardInterrupt, Odd):
        kernel = Kernel()
        kernel.spawn(fail_deep_inside if error is Odd else lambda error=error: int("x") + error, "worker")
        with pytest.raises(Died, match=r"(?s)worker: .*(fail_deep_inside|ValueError)"):
            kernel.run(1)
        assert kernel.left() == []


def test_a_thread_may_end_itself():
    """`sys.exit` on a thread ends that thread and nothing else."""
    kernel = Kernel()
    kernel.spawn(sys.exit, "leaver")
    kernel.run(1)
    assert kernel.left() == []


def test_the_driver_never_waits():
    """Who drives the simulation and waits for it would wait for ever."""
    kernel = Kernel()
    runtime = runtime_of(kernel, Network(kernel))
    lock = runtime.lock()

    def hold():
        with lock:
            kernel.sleep(5)

    kernel.spawn(hold, "holder")
    kernel.run(1)
    assert not lock.acquire(False)
    with pytest.raises(WouldBlock, match=r"holder \(sleep\)"):
        lock.acquire()
    with pytest.raises(WouldBlock):
        kernel.call(kernel.run, 1)
    kernel.run(10)


def test_a_thread_of_the_system_is_a_finding():
    """What runs on a thread of the operating system runs at any time: nothing would be the same twice."""
    kernel = Kernel()
    end = threading.Event()
    thread = threading.Thread(target=end.wait, name="stray")
    kernel.spawn(thread.start, "starter")
    try:
        with pytest.raises(RealThread, match="stray"):
            kernel.run(1)
    finally:
        end.set()
        thread.join()


def test_waits_under_a_lock_are_told_by_the_locks_name():
    """Whoever waits for the world under a lock makes all others wait for it, too."""
    kernel = Kernel()
    runtime = runtime_of(kernel, Network(kernel))

    def work():
        precious = runtime.lock()
        other = runtime.condition(runtime.lock())
        with precious:
            runtime.event().wait(1)
        with other:
            other.wait(1)  # under no lock: it lets go of its own

    kernel.call(work)
    assert kernel.waits_under_locks == {
        ("test_kernel.test_waits_under_a_lock_are_told_by_the_locks_name: precious", "an event"): 1
    }


def test_turns_are_counted_by_thread_and_wait():
    """A timer that wakes for nothing, for ever, is seen by its count in a quiet minute."""
    kernel = Kernel()

    def look():
        for _ in range(50):
            kernel.sleep(0.02)

    kernel.spawn(look, "looker")
    kernel.run(10)
    assert kernel.wakeups == {("looker", "start"): 1, ("looker", "sleep"): 50}
    assert kernel.left() == []


def test_what_is_left_is_told():
    """After the end of a stream there must be no thread and no timer of it."""
    kernel = Kernel()
    runtime = runtime_of(kernel, Network(kernel))
    runtime.spawn(runtime.queue().get, "forgotten")
    kernel.at(100, print)
    kernel.run(1)
    assert kernel.left() == ["forgotten (a queue)"]
    assert kernel.timers_left() == {"print": 1}
    kernel.close()


def test_a_thread_that_waits_while_it_subscribes_holds_nobody_up():
    """To reactivex all simulated threads are one, on which what is scheduled waits for what is under way."""
    kernel = Kernel()
    gate, seen = runtime_of(kernel, Network(kernel)).event(), []

    def subscribe(observer, _scheduler):
        gate.wait()
        observer.on_next("slow")
        return Disposable()

    kernel.spawn(lambda: reactivex.create(subscribe).subscribe(seen.append), "slow")
    kernel.run(1)
    kernel.call(lambda: reactivex.of("quick").subscribe(seen.append))
    kernel.at(1, lambda: reactivex.of("timer").subscribe(seen.append))
    kernel.run(2)
    reactivex.of("driver").subscribe(seen.append)
    assert seen == ["quick", "timer", "driver"]
    gate.set()
    kernel.run(1)
    assert seen[-1] == "slow"


def _digests():
    return [judge_world(Schedule(seed, WORLD, FAULTS)).digest for seed in (1, 2)]


def test_a_seed_gives_the_same_trace_in_any_process():
    """A seed found on another machine must fail here: neither hashes nor addresses may come into it."""
    here = _digests()
    assert here == _digests()
    assert here[0] != here[1]
    program = "from tests.simulation.test_kernel import _digests; print(*_digests())"
    for hash_seed in "1", "2":
        there = subprocess.run(  # noqa: S603  # ourselves
            [sys.executable, "-c", program],
            env=os.environ | {"PYTHONHASHSEED": hash_seed},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
            timeout=200,
        )
        assert there.stdout.split() == here, f"PYTHONHASHSEED={hash_seed}"
