"""What is held while somebody waits: the simulation is right about locks only where these hold."""

import sys
import threading
from collections import Counter
from types import ModuleType

import pytest
from greenlet import getcurrent
from reactivex.disposable import CompositeDisposable

from tests.simulation.kernel import Kernel
from tests.simulation.schedule import schedule_of
from tests.simulation.world import Run

LEADS = "loop.SocketLoop: self._lead"
"""Held by who runs the loop, to which waiting for its sockets belongs."""


@pytest.fixture
def reactivex_locks(monkeypatch):
    """Count what is waited for, and who gives way, under reactivex's own locks."""
    real, found = threading.RLock, Counter()

    class Watched:
        def __init__(self):
            self.made_in = sys._getframe(1).f_code.co_qualname

        def __enter__(self):
            found["taken"] += 1
            vars(getcurrent()).setdefault("reactivex", []).append(self)

        def __exit__(self, *_):
            getcurrent().reactivex.remove(self)

    def count(what):
        for lock in vars(getcurrent()).get("reactivex", ()):
            found[lock.made_in, what] += 1

    wait, give_way = Kernel.wait, Kernel.give_way

    def counted_wait(kernel, what, *args, **options):
        count(what)
        return wait(kernel, what, *args, **options)

    def counted_give_way(kernel):
        count("its turn")
        give_way(kernel)

    monkeypatch.setattr(Kernel, "wait", counted_wait)
    monkeypatch.setattr(Kernel, "give_way", counted_give_way)
    watched = ModuleType("threading")
    vars(watched).update(vars(threading), RLock=Watched)
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "reactivex":
            for attribute, ours in (("RLock", Watched), ("threading", watched)):
                if vars(module).get(attribute) in {real, threading}:
                    monkeypatch.setattr(module, attribute, ours)
    return found


def test_nobody_waits_under_a_lock_of_reactivex(reactivex_locks):
    """They are real ones, and exclude nobody on one thread: whoever waited under one would let others in."""
    for seed in (3, 9):
        Run(schedule_of(seed, 20)).go()
    assert reactivex_locks.pop("taken") > 300
    assert not reactivex_locks

    def wait_under_one():
        with CompositeDisposable().lock:
            kernel.sleep(1)

    kernel = Kernel()
    kernel.call(wait_under_one)
    assert reactivex_locks.pop(("CompositeDisposable.__init__", "sleep")) == 1


def test_nobody_waits_for_the_world_under_a_lock_of_ours():
    """Whoever waits for a socket, an event or a queue under a lock makes all wait who want that lock."""
    found = Counter()
    for seed in (3, 9):
        run = Run(schedule_of(seed, 20))
        run.go()
        found += run.kernel.waits_under_locks
    assert set(found) == {(LEADS, "select")}
