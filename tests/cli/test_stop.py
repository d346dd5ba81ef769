import os
import signal
import threading

import pytest

from pipeline.cli.stop import Stop
from tests.cli.conftest import DEADLINE_S


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_wait_and_is_known(number):
    """Ctrl-C or `systemctl stop` would do nothing, or kill without a drain."""
    with Stop() as stop:
        assert not stop.wait(0)
        os.kill(os.getpid(), number)
        assert stop.wait(DEADLINE_S)
        assert stop.wait(0), "and whoever waits later learns of it too"
        assert stop.signal == number


def test_a_signal_while_the_main_thread_waits_does_not_hang():
    """A handler that takes the lock of what it interrupts would wait for itself for ever."""
    with Stop() as stop:
        sender = threading.Timer(0.01, os.kill, (os.getpid(), signal.SIGTERM))
        sender.start()
        assert stop.wait(DEADLINE_S)
        sender.join()


def test_anyone_may_ring_from_any_thread_and_at_any_time():
    """The end of the stream would not wake up the command, or would raise when that has ended."""
    with Stop() as stop:
        ringers = [threading.Thread(target=lambda: [stop.ring() for _ in range(3000)]) for _ in range(3)]
        for ringer in ringers:
            ringer.start()
        assert stop.wait(DEADLINE_S)
        for ringer in ringers:
            ringer.join()
        assert stop.signal is None
    stop.ring()


def test_the_handlers_of_before_are_back_afterwards():
    """Whoever calls the command from their own program would lose Ctrl-C."""
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with Stop():
        assert signal.getsignal(signal.SIGTERM) != before[1]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_second_signal_ends_the_process_with_the_shells_code(monkeypatch, number, code):
    """A stuck drain could only be ended with SIGKILL."""
    ended = []
    monkeypatch.setattr(os, "_exit", ended.append)
    with Stop() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.wait(DEADLINE_S)
        assert ended == []
        os.kill(os.getpid(), number)
        assert ended == [code]
