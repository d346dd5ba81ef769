import logging
import queue
import socket
import threading
from dataclasses import replace

import pytest

from operators.runtime import SYSTEM
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
    loop = SocketLoop(runtime=replace(SYSTEM, monotonic=lambda: now_s[0]))
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


def test_nobody_leads_a_loop_that_has_no_thread():
    """Where none could be started, the subscriber's thread would wait for ever on a closed selector."""
    loop = SocketLoop()
    leader = threading.Thread(target=loop.lead, args=(lambda: False,), daemon=True)
    leader.start()
    leader.join(2)
    loop.dispose()
    assert not leader.is_alive()


class Follower:
    """A thread that leads the loop while it has nothing to do, like a subscriber's."""

    def __init__(self, loop):
        self.name = "tickbraid-follower"
        self.wanted = threading.Event()
        self.busy_until = threading.Event()
        self.busy_until.set()
        self._loop = loop
        self._ended = False
        self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
        self._thread.start()

    def _run(self):
        while not self._ended:
            self._loop.lead(self.wanted.is_set)
            self.wanted.wait(5)
            self.wanted.clear()
            self.busy_until.wait(10)

    def take_the_lead(self):
        """Be given something by the loop's own thread, and lead after that."""
        self._loop.schedule(lambda *_: self.wanted.set())

    def end(self):
        self._ended = True
        self.wanted.set()
        self._loop.recall()
        self._thread.join(5)


def leader_of(loop):
    """Return the name of the thread that runs a job now."""
    names = []
    loop.schedule(lambda *_: names.append(threading.current_thread().name))
    wait_until(lambda: names)
    return names[0]


@pytest.fixture
def follower(loop):
    """Somebody else who may lead."""
    loop.schedule(lambda *_: None)
    follower = Follower(loop)
    yield follower
    follower.end()


def let_lead(loop, follower):
    """Give it something to do until it leads: it may come back before the loop's thread has looked."""

    def leads():
        if leader_of(loop) == follower.name:
            return True
        follower.take_the_lead()
        return False

    wait_until(leads)


def test_who_is_given_something_to_do_leads_after_that(loop, follower):
    """A tick must go from the socket to its callback without waking a second thread."""
    let_lead(loop, follower)
    ours, theirs = socket.socketpair()
    read_by = []
    loop.schedule(
        lambda *_: loop.watch(ours, lambda: (ours.recv(9), read_by.append(threading.current_thread().name)))
    )
    for count in range(1, 4):
        theirs.send(b"x")
        wait_until(lambda count=count: len(read_by) == count)
    assert read_by == [follower.name] * 3
    loop.schedule(lambda *_: loop.unwatch(ours))
    assert leader_of(loop) == follower.name
    ours.close()
    theirs.close()


def test_where_the_leader_goes_away_the_loop_s_own_thread_takes_over(loop, follower):
    """A callback that hangs must not keep the sockets waiting: Massive cuts a slow reader off."""
    let_lead(loop, follower)
    follower.busy_until.clear()
    follower.wanted.set()
    loop.recall()
    wait_until(lambda: not follower.wanted.is_set())
    assert leader_of(loop) == "tickbraid-io"
    follower.busy_until.set()


class Waits:
    """A queue that notes for how long somebody wants to wait, and tells so before that begins."""

    def __init__(self):
        self.limits_s = []
        self.before = lambda: None
        self._queue = queue.SimpleQueue()
        self.put = self._queue.put

    def get(self, timeout):
        self.limits_s.append(timeout)
        if timeout is None:
            self.before()
        return self._queue.get(timeout=timeout)

    @property
    def sleeps(self):
        return self.limits_s[-1:] == [None]


@pytest.fixture
def waits():
    """What the loop's own thread stands by at."""
    return Waits()


@pytest.fixture
def sleepy(waits):
    """A loop with these waits, and somebody else who may lead."""
    loop = SocketLoop(replace(SYSTEM, queue=lambda: waits))
    loop.schedule(lambda *_: None)
    follower = Follower(loop)
    yield loop, follower
    waits.before = lambda: None
    follower.busy_until.set()
    follower.end()
    loop.dispose()


def hang(loop, follower):
    """Let a callback hang; return once the follower leads no more."""
    follower.busy_until.clear()
    follower.wanted.set()
    loop.recall()
    wait_until(lambda: not follower.wanted.is_set())


def test_while_a_leader_waits_nobody_looks_whether_it_does(sleepy, waits):
    """A stream without ticks would wake a thread fifty times a second, for ever."""
    loop, follower = sleepy
    let_lead(loop, follower)
    wait_until(lambda: not follower.wanted.is_set())
    for _ in range(3):
        wait_until(lambda: waits.sleeps)
        looks, turns = len(waits.limits_s), loop._turns
        for _ in range(5):  # timers and jobs of a leader that goes on leading
            assert leader_of(loop) == follower.name
        assert (loop._turns > turns, len(waits.limits_s)) == (True, looks)
        follower.wanted.set()  # a tick
        loop.recall()
        wait_until(lambda looks=looks: len(waits.limits_s) > looks)


def test_a_callback_that_hangs_after_a_silence_is_noticed(sleepy, waits):
    """Nobody would read the sockets any more: who slept would sleep on."""
    loop, follower = sleepy
    let_lead(loop, follower)
    wait_until(lambda: waits.sleeps)
    hang(loop, follower)
    assert leader_of(loop) == "tickbraid-io"


def test_a_leader_that_leaves_while_somebody_falls_asleep_is_noticed(sleepy, waits):
    """As above, once in a million times."""
    loop, follower = sleepy
    hung = threading.Event()

    def before():
        hang(loop, follower)
        hung.set()

    waits.before = before
    let_lead(loop, follower)
    assert hung.wait(10), "falling asleep"
    assert leader_of(loop) == "tickbraid-io"


def test_a_leader_that_steps_back_can_say_so_at_once(loop, follower):
    """Between two leaders no look every 20 ms must be waited for, or quotes are late by as much."""
    let_lead(loop, follower)
    follower.end()
    loop.step_in()
    assert leader_of(loop) == "tickbraid-io"


def test_dispose_ends_both_the_leader_and_the_one_that_stands_by(loop, follower):
    """After close() nothing of ours is alive, whoever led."""
    let_lead(loop, follower)
    ran = []
    loop.schedule(lambda *_: ran.append(1))
    loop.dispose()
    assert ran == [1]
    assert "tickbraid-io" not in our_threads()
    loop.lead(lambda: False)  # returns at once


def test_the_leader_may_dispose(loop, follower):
    """A stream that ends by itself ends on the thread that leads; it must not wait for itself."""
    let_lead(loop, follower)
    loop.schedule(lambda *_: loop.dispose())
    wait_until(lambda: "tickbraid-io" not in our_threads())


class Socket:
    """One of a pair that a loop watches, and what it read."""

    def __init__(self, loop):
        self.loop = loop
        self.ours, self.theirs = socket.socketpair()
        self.read = b""
        self.ours.setblocking(False)
        self.do(lambda: loop.watch(self.ours, self._readable))

    def do(self, action):
        """Run an action on the loop's thread, and wait for it."""
        done = threading.Event()
        self.loop.schedule(lambda *_: (action(), done.set()))
        assert done.wait(5)

    def _readable(self):
        self.read += self.ours.recv(100)

    def close(self):
        self.do(lambda: self.loop.unwatch(self.ours))
        self.ours.close()
        self.theirs.close()


def test_reads_are_held_back_of_those_that_let_it(loop):
    """What cannot be handled would be read all the same; or a new session would never get its greeting."""
    held, greeting = Socket(loop), Socket(loop)
    held.do(lambda: loop.let_hold(held.ours))
    held.do(lambda: loop.hold_reads(hold=True))
    held.theirs.sendall(b"later")
    greeting.theirs.sendall(b"now")
    wait_until(lambda: greeting.read == b"now")
    held.do(lambda: None)
    assert held.read == b""
    before_s = loop.listening_s()
    held.do(lambda: loop.let_hold(greeting.ours))
    greeting.theirs.sendall(b" and then")
    held.do(lambda: None)
    assert (greeting.read, loop.listening_s()) == (b"now", before_s)
    held.do(lambda: loop.hold_reads(hold=False))
    wait_until(lambda: (held.read, greeting.read) == (b"later", b"now and then"))
    held.close()
    greeting.close()


def test_what_is_sent_goes_out_while_reads_are_held_back(loop):
    """A ping that had to wait for room would never leave, and a writer that is done would turn for ever."""
    sock, written = Socket(loop), []

    def writable():
        written.append(loop._turns)
        loop.set_writer(sock.ours, None)

    sock.do(lambda: loop.let_hold(sock.ours))
    sock.do(lambda: loop.hold_reads(hold=True))
    sock.theirs.sendall(b"x")
    sock.do(lambda: loop.set_writer(sock.ours, writable))
    wait_until(lambda: written)
    turns = loop._turns
    sock.do(lambda: None)
    assert loop._turns - turns <= 3, "nothing turns for what is held back"
    assert (len(written), sock.read) == (1, b"")
    sock.close()  # while it is held
    other = Socket(loop)
    other.theirs.sendall(b"y")
    wait_until(lambda: other.read == b"y")
    other.close()
