import logging
import socket
import threading

import pytest

from pipeline.massive.loop import SocketLoop
from tests.conftest import our_threads, wait_until


@pytest.fixture
def loop():
    """A loop, disposed at the end."""
    loop = SocketLoop()
    yield loop
    loop.dispose()


def test_jobs_run_in_order_on_one_named_thread(loop):
    """The connections have no lock: everything of theirs must run here, one after another."""
    ran = []
    for number in range(100):
        loop.schedule(lambda _, n: ran.append((n, threading.current_thread().name)), number)
    wait_until(lambda: len(ran) == 100)
    assert ran == [(n, "tickbraid-io") for n in range(100)]


def test_three_threads_scheduling_at_once_lose_nothing(loop):
    """Statuses come back from the pipeline, closes from the user, at the same time."""
    ran = []
    threads = [
        threading.Thread(target=lambda: [loop.schedule(lambda *_: ran.append(1)) for _ in range(1000)])
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wait_until(lambda: len(ran) == 3000)


def test_timers_run_by_their_due_time():
    """A back-off scheduled before a ping but due after it must come after it; the clock is ours."""
    now_s = [0.0]
    loop = SocketLoop(monotonic=lambda: now_s[0])
    ran = []
    loop.schedule_relative(20, lambda *_: ran.append(20))
    loop.schedule_relative(10, lambda *_: ran.append(10))
    loop.schedule_relative(5, lambda *_: ran.append("cancelled")).dispose()
    barrier = threading.Event()
    loop.schedule(lambda *_: barrier.set())
    assert barrier.wait(5)
    assert ran == []
    now_s[0] = 30.0
    loop.schedule(lambda *_: None)
    wait_until(lambda: ran == [10, 20])
    loop.dispose()


def test_a_real_timer_wakes_the_loop(loop):
    """Without traffic nothing else would wake it for the ping."""
    fired = threading.Event()
    loop.schedule_absolute(loop.now, lambda *_: loop.schedule_relative(0.01, lambda *_: fired.set()))
    assert fired.wait(5)


def test_a_raising_job_and_a_raising_reader_cost_only_themselves(loop, caplog):
    """A defect in one connection must not end the others."""
    ours, theirs = socket.socketpair()
    reads = []

    def explode(*_):
        raise RuntimeError("a defect")

    def readable():
        reads.append(ours.recv(100))
        raise RuntimeError("another defect")

    with caplog.at_level(logging.ERROR):
        loop.schedule(explode)
        loop.schedule(lambda *_: loop.watch(ours, readable))
        theirs.sendall(b"one")
        wait_until(lambda: reads == [b"one"])
        theirs.sendall(b"two")
        wait_until(lambda: reads == [b"one", b"two"])
    assert "a defect" in caplog.text
    loop.schedule(lambda *_: loop.unwatch(ours))
    loop.dispose()
    ours.close()
    theirs.close()


def test_dispose_runs_what_was_scheduled_and_ends_the_thread(loop):
    """Connections are told to close just before: their sockets must not leak."""
    ran = []
    gate = threading.Event()
    loop.schedule(lambda *_: gate.wait(5))
    loop.schedule(lambda *_: ran.append("close"))
    loop.schedule_relative(0.5, lambda *_: ran.append("timer"))
    threading.Timer(0.05, gate.set).start()
    loop.dispose()
    loop.dispose()
    assert ran == ["close"]
    assert "tickbraid-io" not in our_threads()
    assert loop.schedule(lambda *_: ran.append("late")).is_disposed
    loop.schedule_relative(0, lambda *_: ran.append("late"))
    assert ran == ["close"]


def test_dispose_on_the_loop_itself(loop):
    """A stream may end from within one of its own callbacks."""
    loop.schedule(lambda *_: loop.dispose())
    wait_until(lambda: "tickbraid-io" not in our_threads())


def test_dispose_without_a_start():
    """A stream that nobody subscribed to has sockets for waking: they go too."""
    SocketLoop().dispose()
