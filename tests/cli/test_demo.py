import contextlib
import functools
import os
import pty
import signal
import subprocess
import sys
import threading
from pathlib import Path

import msgspec
import pytest
from rich.console import Console
from typer.testing import CliRunner

from pipeline.cli.app import app, main
from pipeline.cli.demo import Demo
from pipeline.cli.demo import _settings as settings_of
from pipeline.cli.simulator_process import SimulatorProcess
from pipeline.cli.stop import Stop
from pipeline.embedded import RedisServer
from pipeline.errors import ServerUnavailable
from tests.cli.conftest import COMMAND, DEADLINE_S
from tests.conftest import wait_until


def test_every_element_the_simulator_sent_is_accounted_for(start):
    """The demo would praise a pipeline that loses, doubles or invents ticks."""
    code, out, err = start("demo", "--seconds", "2", "--json").wait()
    account = msgspec.json.decode(out)
    sent = account["sent"]
    assert (code, account["problems"], err) == (0, [], "")
    assert sent["elements"] > 1000
    assert sent["repeated_elements"] > 0
    for subscriber in account["subscribers"].values():
        assert subscriber["imbalance"] == subscriber["dropped"] == subscriber["queued"] == 0
        assert subscriber["delivered"] == sent["elements"]
        assert subscriber["deduplicated"] == sent["repeated_elements"]
        assert subscriber["rejected"] == sum(sent["malformed"].values())
        assert len(subscriber["connections"]) == 3
    assert set(account["redis"]["messages"].values()) == {sent["elements"]}


def test_without_a_redis_server_it_says_so_and_runs_all_the_same(monkeypatch):
    """Whoever installs without the extra `embedded` could not see the demo."""

    def unavailable():
        raise ServerUnavailable("no server, and no extra")

    monkeypatch.setattr(RedisServer, "start", unavailable)
    monkeypatch.setattr("pipeline.cli.demo.LINE_EVERY_S", 0.5)
    result = CliRunner().invoke(app, ["demo", "--seconds", "1", "--rate", "1000"])
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0] == "Without Redis: no server, and no extra."
    assert "of 3 connections; feed p50" in lines[1]
    assert "redis" not in result.stdout
    assert lines[-1] == "The account balances: every element is where it should be."


class Show:
    """Stands for `Demo`: five seconds pass whenever one looks at its clock, and its account is wrong."""

    url = "?"

    def __init__(self, rate, redis_url, stop):
        self._looks = 0
        Show.url = redis_url

    @property
    def elapsed_s(self):
        self._looks += 1
        return 5.0 * self._looks

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def picture(self, seconds, width=80):
        return f"drawn, of {seconds:.0f} s"

    def line(self):
        return self.picture(15)

    def finish(self):
        return ["2 are nowhere"]

    def values(self):
        return {"seconds": 15}

    def account(self):
        yield "the account"


@pytest.mark.parametrize(
    ("options", "out"), [([], "the account\n"), (["--json"], '"problems":["2 are nowhere"]}\n')]
)
def test_an_account_that_does_not_balance_is_an_error(monkeypatch, options, out):
    """A defect would pass as a success, in the demo and in whatever script runs it."""
    monkeypatch.setattr("pipeline.cli.demo.Demo", Show)
    monkeypatch.setattr("pipeline.cli.demo.LINE_EVERY_S", 0.01)
    monkeypatch.setenv("REDIS_URL", "redis://elsewhere")
    result = CliRunner().invoke(app, ["demo", *options])
    assert (result.exit_code, result.stderr) == (1, "Error: 2 are nowhere\n")
    assert result.stdout.endswith(out)
    assert Show.url == "redis://elsewhere"


def test_on_a_terminal_it_draws_until_the_time_is_over(monkeypatch):
    """The demo would print lines instead of its table, or never end."""
    monkeypatch.setattr("pipeline.cli.demo.Demo", Show)
    monkeypatch.setattr("pipeline.cli.demo.REFRESH_S", 0.0)
    monkeypatch.setattr("pipeline.cli.demo.Console", functools.partial(Console, force_terminal=True))
    monkeypatch.setenv("REDIS_URL", "redis://elsewhere")
    result = CliRunner().invoke(app, ["demo"])
    assert "drawn, of 15 s" in result.stdout
    assert result.stdout.endswith("the account\n")


def test_a_bad_redis_address_is_one_sentence_and_leaves_nothing_running(monkeypatch, capsys):
    """A typing error in REDIS_URL would print a traceback, or its password."""
    monkeypatch.setattr(sys, "argv", ["tickbraid", "demo"])
    monkeypatch.setenv("REDIS_URL", "http://:geheim@nowhere")
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capsys.readouterr()
    assert (ended.value.code, out) == (2, "")
    assert "REDIS_URL" in err
    assert "geheim" not in err


def test_a_simulator_that_breaks_off_is_told_and_the_account_is_printed_all_the_same(monkeypatch):
    """Without the other side's numbers the demo would claim that they agree."""

    def broken(_self):
        raise ServerUnavailable("the simulator ended without a report")

    monkeypatch.setattr(SimulatorProcess, "end", broken)
    with Stop() as stop, Demo(1000.0, None, stop) as show:
        wait_until(lambda: show._kinds.total() > 10, DEADLINE_S, "ticks")
        assert show.finish() == ["the simulator ended without a report"]
        assert show._stream.health()["state"] == "closed", "an account before that is not the closing one"
        assert next(show.account()).split()[:2] == ["received", "="]
        assert show.values()["sent"] is None


def test_on_a_terminal_there_is_a_live_table_and_ctrl_c_ends_it_with_the_account():
    """People would look at an empty screen, or lose the account when they have seen enough."""
    controller, terminal = pty.openpty()
    process = subprocess.Popen(  # noqa: S603  # our own command
        [COMMAND, "demo", "--seconds", "60"],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env=os.environ | {"COLUMNS": "80", "TERM": "xterm"},
        start_new_session=True,
    )
    os.close(terminal)
    seen = bytearray()

    def shows(words):
        def look():
            with contextlib.suppress(OSError):  # Linux: the terminal's other end was closed
                seen.extend(os.read(controller, 65_536))
            return words in seen

        try:
            wait_until(look, DEADLINE_S, f"{words!r} on the terminal")
        except AssertionError as error:
            error.add_note(f"it shows {bytes(seen[-2000:])!r}")
            raise

    try:
        shows(b"imbalance 0")
        shows(b"channels confirmed")
        process.send_signal(signal.SIGINT)
        shows(b"The account balances")
        assert process.wait(DEADLINE_S) == 0
    finally:
        process.kill()
        process.wait(DEADLINE_S)
        os.close(controller)


def test_what_was_on_its_way_when_the_simulator_ended_is_read(monkeypatch):
    """On a busy machine the demo would now and then say that ticks are missing, which it had not read."""
    end = SimulatorProcess.end
    with Stop() as stop, Demo(20_000.0, None, stop) as show:
        wait_until(lambda: show._kinds.total() > 1000, DEADLINE_S, "ticks")
        ended = threading.Event()
        show._stream._engine.loop.schedule(lambda *_: ended.wait(DEADLINE_S))

        def end_while_nobody_reads(simulator):
            sent = end(simulator)
            threading.Timer(0.1, ended.set).start()  # when the stream is closed, if it is closed at once
            return sent

        monkeypatch.setattr(SimulatorProcess, "end", end_while_nobody_reads)
        assert show.finish() == []


def test_a_demo_that_received_nothing_fails_and_says_why(monkeypatch):
    """Behind a proxy or a firewall nothing would come, every zero add up, and the exit code be 0."""
    monkeypatch.setattr(
        "pipeline.cli.demo._settings", lambda _url, _redis: settings_of("ws://127.0.0.1:1/x", None)
    )
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    result = CliRunner().invoke(app, ["demo", "--seconds", "1"])
    assert result.exit_code == 1
    assert "balances" not in result.stdout
    assert "Error: callback: nothing was delivered, so there is nothing to be checked (connection_1" in (
        result.stderr.replace("primary", "connection_1")
    )


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks into /proc")
def test_killed_it_leaves_no_process_behind(start):
    """Every demo that was killed would leave a simulator and a Redis server running."""
    demo = start("demo", "--seconds", "60")
    tasks = Path(f"/proc/{demo.process.pid}/task")
    wait_until(lambda: len([*tasks.iterdir()]) >= 4, DEADLINE_S, "the stream, with a thread for each part")
    family = children(demo.process.pid)
    assert sorted(map(kind, family)) == ["leash", "leash", "redis", "simulator"]
    demo.process.send_signal(signal.SIGKILL)
    demo.wait()
    wait_until(lambda: not any(map(runs, family)), DEADLINE_S, "the end of all of them")


def children(pid):
    """Return the process ids of all descendants."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            found += [int(child), *children(int(child))]
    return found


def command(pid):
    """Return a process's command line, nothing where it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def kind(pid):
    """Tell which of ours a process is."""
    words = command(pid)
    if words.startswith("/bin/sh"):
        return "leash"
    return "simulator" if "pipeline.massive.simulator" in words else "redis" if "-server" in words else "?"


def runs(pid):
    """Tell whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
