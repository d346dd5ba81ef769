import subprocess

import pytest

from pipeline.cli.simulator_process import SimulatorProcess
from pipeline.errors import ServerUnavailable


def test_it_serves_and_reports_at_the_end():
    """The demo would have nothing to show, or nothing to hold its account against."""
    with SimulatorProcess("--tickers", "AAPL", "--start-after", "0", "--count", "5") as simulator:
        assert simulator.url.startswith("ws://127.0.0.1:")
        sent = simulator.end()
        assert (sent.total, sent.types, sent.slow_kills) == (0, {}, 0)


def test_one_that_does_not_start_says_why():
    """The demo would wait in silence for a simulator that is not there."""
    with pytest.raises(ServerUnavailable, match="the simulator did not start; it said: "):
        SimulatorProcess("--no-such-option")


def test_one_that_dies_is_told_with_its_last_words():
    """The demo would end in a traceback, or count nothing as all right."""
    with SimulatorProcess("--tickers", "1") as simulator:
        process = simulator._leash
        subprocess.run(["/usr/bin/env", "pkill", "-9", "-P", str(process.pid)], check=True)  # noqa: S603
        with pytest.raises(ServerUnavailable, match="ended without a report; its last words: nothing"):
            simulator.end()


def test_closing_twice_is_harmless_and_leaves_no_process():
    """An error on the way out would hide the one that mattered."""
    simulator = SimulatorProcess("--tickers", "1")
    simulator.close()
    simulator.close()
    assert simulator._leash.returncode is not None
