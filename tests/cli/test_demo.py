import contextlib
import os
import pty
import signal
import subprocess
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from pipeline.cli.app import app
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


def test_an_account_that_does_not_balance_is_an_error(monkeypatch):
    """A defect would pass as a success, in the demo and in whatever script runs it."""
    monkeypatch.setattr("pipeline.cli.demo.imbalances", lambda accounts: [f"{len(accounts)} do not balance"])
    result = CliRunner().invoke(app, ["demo", "--seconds", "1", "--rate", "1000", "--json"])
    assert result.exit_code == 1
    assert result.stderr == "Error: 2 do not balance\n"
    assert msgspec.json.decode(result.stdout)["problems"] == ["2 do not balance"]


def test_a_bad_redis_address_is_one_sentence_and_leaves_nothing_running(start):
    """A typing error in REDIS_URL would print a traceback, or its password."""
    code, out, err = start("demo", REDIS_URL="http://:geheim@nowhere").wait()
    assert code == 2
    assert out == ""
    assert "REDIS_URL" in err
    assert "geheim" not in err
    assert "Traceback" not in err


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

        wait_until(look, DEADLINE_S, f"{words!r} on the terminal")

    try:
        shows(b"messages/s")
        shows(b"channels confirmed")
        process.send_signal(signal.SIGINT)
        shows(b"The account balances")
        assert process.wait(DEADLINE_S) == 0
    finally:
        process.kill()
        process.wait(DEADLINE_S)
        os.close(controller)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks into /proc")
def test_killed_it_leaves_no_process_behind(start):
    """Every demo that was killed would leave a simulator and a Redis server running."""
    demo = start("demo", "--seconds", "60")
    wait_until(lambda: {"redis", "simulator"} <= set(map(kind, children(demo.process.pid))), DEADLINE_S)
    family = children(demo.process.pid)
    assert len(family) == 4, "each has its leash"
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
