"""A forked child that inherits a stream says so, does not hang, and leaves its parent's sockets alone."""

import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress

import pytest

from pipeline import build_pipeline
from pipeline.errors import WrongProcess
from pipeline.massive.simulator import Options, Simulator, SyntheticFeed
from pipeline.status import Closed
from pipeline.status_stream import StatusStream
from tests.conftest import wait_until
from tests.integration.harness import KEY, Run, config_for

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="nobody forks here")
DEADLINE_S = 10

USES = {
    "subscribe": lambda stream: stream.subscribe(print),
    "batches": lambda stream: stream.batches.subscribe(print),
    "columns": lambda stream: stream.columns.subscribe(print),
    "status": lambda stream: stream.status.subscribe(print),
    "start": lambda stream: stream.start(),
    "add_tickers": lambda stream: stream.add_tickers(["X"]),
    "rebalance": lambda stream: stream.rebalance(),
    "wait_connected": lambda stream: stream.wait_connected(),
    "tickers": lambda stream: stream.tickers(),
    "account": lambda stream: stream.account(),
    "figures": lambda stream: stream.figures(),
    "health": lambda stream: stream.health(),
    "beats": lambda stream: stream.beats(1),
}


def in_fork(task):
    """Run a task in a fork, with a deadline, and return what it returned."""
    here, there = os.pipe()
    pid = os.fork()
    if not pid:
        told = "it raised"
        with suppress(BaseException):
            told = task()
        os.write(there, json.dumps(told).encode())
        os._exit(0)
    os.close(there)

    def ended():
        return os.waitpid(pid, os.WNOHANG)[0] == pid

    try:
        wait_until(ended, DEADLINE_S, "the end of the fork")
    except AssertionError:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise
    with os.fdopen(here, "rb") as pipe:
        return json.loads(pipe.read())


@pytest.fixture
def running():
    """A stream over two connections, whose ticks come all the time."""
    feed = SyntheticFeed(["AAPL", "MSFT"], rate=1000, event_types=("T",))
    simulator = Simulator([feed], Options(keys=frozenset({KEY})))
    with simulator, Run(config_for(simulator, ["AAPL"], ["MSFT"], MASSIVE_EVENT_TYPES="T")) as run:
        run.wait_confirmed(2)
        wait_until(lambda: run.count > 10)
        yield run, simulator


@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_every_use_says_so_and_none_hangs_whatever_was_locked(running):
    """A worker of multiprocessing or gunicorn would wait for ever for ticks, or for a lock nobody holds."""
    run, simulator = running
    stream = run.stream

    def use():
        told = {}
        for name, call in USES.items():
            try:
                call(stream)
            except WrongProcess as error:
                told[name] = str(error)
            except BaseException as error:  # told to the test
                told[name] = repr(error)
        stream.close()
        return told

    with stream._state_lock, stream.status._state_lock:  # as a fork may find them
        told = in_fork(use)
    assert told.keys() == USES.keys()
    for name, words in told.items():
        assert f"belongs to process {os.getpid()}" in words, name
        assert "build_pipeline in the child" in words
    count = run.count
    wait_until(lambda: run.count > count + 50, what="the parent's ticks")
    assert simulator.report().attempts == 2
    assert len(simulator.report().clients) == 2


@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_a_child_that_builds_its_own_has_ticks(running):
    """What the message advises has to work."""

    def use():
        got = []
        with build_pipeline({"SYNTHETIC_UPDATE_INTERVAL": 0.01, "MASSIVE_EVENT_TYPES": "T"}) as stream:
            stream.subscribe(got.append)
            wait_until(lambda: len(got) > 10)
        return "ticks"

    assert in_fork(use) == "ticks"


def test_a_stream_that_nobody_has_started_belongs_to_who_starts_it():
    """A server that loads the program once and then forks its workers builds the stream before."""
    stream = build_pipeline({"SYNTHETIC_UPDATE_INTERVAL": 0.01, "MASSIVE_EVENT_TYPES": "T"})

    def use():
        got = []
        with stream:
            stream.subscribe(got.append)
            wait_until(lambda: len(got) > 10)
        return "ticks"

    assert in_fork(use) == "ticks"
    stream.close()


@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_who_forks_while_the_thread_of_status_lingers_is_told_all_the_same():
    """A worker that is forked right after an event would never be told anything, not even the end."""
    stream, got, ended = StatusStream(linger_s=60.0), [], threading.Event()
    stream.subscribe(got.append, on_completed=ended.set)
    stream.emit(Closed(at_ns=1))
    wait_until(lambda: got)

    def use():
        stream.emit(Closed(at_ns=2))
        wait_until(lambda: len(got) == 2)
        stream.complete()
        return str(ended.wait(10))

    assert in_fork(use) == "True"
    stream.complete()


def test_multiprocessing_by_fork_says_so_and_ends():
    """That is how most people fork: the child's traceback has to have the sentence."""
    script = (
        "import multiprocessing\n"
        "from pipeline import build_pipeline\n"
        "def work(stream):\n"
        "    stream.subscribe(print)\n"
        "stream = build_pipeline({'SYNTHETIC_UPDATE_INTERVAL': 0.05})\n"
        "with stream:\n"
        "    stream.subscribe(lambda tick: None)\n"
        "    child = multiprocessing.get_context('fork').Process(target=work, args=(stream,))\n"
        "    child.start(); child.join(20)\n"
        "    print(child.exitcode)\n"
    )
    done = subprocess.run(  # noqa: S603  # ours
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.stdout == "1\n"
    assert "WrongProcess: this stream belongs to process" in done.stderr
