import os
import signal
import socket
import sys
import threading
import time

from pipeline.processes import process
from pipeline.processes.messages import End, Probe, Report, Unable
from pipeline.processes.process import ChildProcess
from tests.conftest import our_threads, wait_until
from tests.processes.harness import begin


class Watched:
    """A child process and what it said."""

    def __init__(self):
        self.words = []
        self.ends = []
        self.over = threading.Event()
        self.child = ChildProcess("c", self.words.append, self._end)

    def _end(self, words):
        self.ends.append(words)
        self.over.set()

    def wait(self):
        assert self.over.wait(20)
        (words,) = self.ends
        return words


def test_a_child_begins_reports_and_ends_when_told(tmp_path):
    """A child that does not end would keep the connection that the next start needs."""
    watched = Watched()
    watched.child.send(begin(callback=""))
    wait_until(lambda: [word for word in watched.words if isinstance(word, Report)], 20, "a report")
    watched.child.send(End(1.0))
    assert watched.wait() == "its process ended with code 0"
    assert watched.words[-1].last
    watched.child.kill()  # harmless by now
    watched.child.send(Probe())


def test_a_callback_that_cannot_be_had_is_told_in_words():
    """The reason would be a traceback on a terminal that nobody looks at."""
    watched = Watched()
    watched.child.send(begin(callback="not_there:on_tick"))
    assert watched.wait() == "its process ended with code 0"
    (word,) = [word for word in watched.words if isinstance(word, Unable)]
    assert "No module named 'not_there'" in word.reason


def test_it_can_import_what_we_can(tmp_path, monkeypatch):
    """In a notebook, or under pytest, the path is not what a new interpreter has."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "mine.py").write_text("on_tick = print\n")
    monkeypatch.syspath_prepend(str(tmp_path / "elsewhere"))
    watched = Watched()
    watched.child.send(begin(callback="mine:on_tick"))
    wait_until(lambda: len([word for word in watched.words if isinstance(word, Report)]) > 1, 20, "reports")
    watched.child.send(End(1.0))
    watched.wait()
    assert not [word for word in watched.words if isinstance(word, Unable)]


def test_a_child_that_hangs_is_killed(monkeypatch):
    """A process that is stopped would hold its tickers for ever, and look alive."""
    monkeypatch.setattr(process, "GOODBYE_S", 0.1)
    watched = Watched()
    assert watched.child._sock.gettimeout() == process.HUNG_S
    watched.child.send(begin(callback=""))
    wait_until(lambda: watched.words, 20, "its first word")
    watched.child._sock.settimeout(3.0)  # now that it has begun, for which it needs its time
    count = len(watched.words)
    wait_until(lambda: len(watched.words) > count, 20, "a report, after which this holds")
    os.kill(watched.child.pid, signal.SIGSTOP)
    assert watched.wait() == "its process was ended by SIGKILL"


def test_a_socket_for_a_child_that_is_gone_is_closed():
    """Each restart of a process would leave the sockets of all subscribers of columns."""
    watched = Watched()
    watched.child.kill()
    ours, its = socket.socketpair()
    watched.child.send(Probe(), its)
    watched.wait()
    ours.settimeout(5)
    assert ours.recv(1) == b""
    _, another = socket.socketpair()
    watched.child.send(Probe(), another)
    assert another.fileno() == -1
    ours.close()
    _.close()


def test_a_child_that_takes_no_orders_is_killed(monkeypatch):
    """Orders would pile up for it without an end."""
    monkeypatch.setattr(process, "ORDERS_MAX", 2)
    watched = Watched()
    wait_until(lambda: watched.child.pid)
    os.kill(watched.child.pid, signal.SIGSTOP)
    while not watched.over.is_set():
        watched.child.send(begin(callback="", symbols=5000))
        time.sleep(0.001)
    assert watched.wait() == "its process was ended by SIGKILL"


def test_it_may_be_killed_before_it_has_begun(monkeypatch):
    """A stream that is closed at once would leave a process that starts a moment later."""
    real = process.subprocess.Popen

    def popen(*arguments, **more):
        watched.child._killed = True  # as `kill` does when it comes before
        return real(*arguments, **more)

    held = threading.Event()
    monkeypatch.setattr(process.subprocess, "Popen", lambda *a, **more: held.wait(10) and popen(*a, **more))
    watched = Watched()
    held.set()
    assert watched.wait() == "its process was ended by SIGKILL"


def test_an_interpreter_that_is_not_there_is_an_end_with_a_reason(monkeypatch):
    """Where Python is embedded there may be none to start."""
    monkeypatch.setattr(sys, "executable", "/not/there")
    assert "could not be started" in Watched().wait()
    wait_until(lambda: not our_threads(), 5, "the end of its threads")


def test_a_word_that_cannot_be_taken_ends_it(monkeypatch, caplog):
    """A defect in the parent would leave a child that nobody listens to."""
    monkeypatch.setattr(process, "GOODBYE_S", 0.1)
    watched = Watched()
    watched.child._on_word = lambda _word: 1 / 0
    watched.child.send(begin(callback=""))
    assert watched.wait() == "its process was ended by SIGKILL"
    assert "this is a defect" in caplog.text
