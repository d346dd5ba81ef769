import os
import signal
import subprocess
import sys

import msgspec
import pytest
from typer.testing import CliRunner

from pipeline.callback import load_callback
from pipeline.cli.app import app, main
from pipeline.massive.simulator import Options, Simulator, SyntheticFeed
from tests.cli.conftest import COMMAND, DEADLINE_S
from tests.conftest import wait_until

KEY = "k-3f9a-secret"
COUNT = 500


@pytest.fixture
def simulator():
    """Serve exactly `COUNT` ticks of two tickers."""
    feed = SyntheticFeed(["AAPL", "MSFT"], rate=5000, count=COUNT)
    with Simulator([feed], Options(keys=frozenset({KEY}))) as running:
        yield running


def settings(simulator, key=KEY):
    """Return the environment that leads to the simulator."""
    return {
        "USE_MASSIVE_API": "true",
        "MASSIVE_API_KEY": key,
        "MASSIVE_WEBSOCKET_URL": simulator.url,
        "MASSIVE_EVENT_TYPES": "T,Q,A,AM",
        "WEBSOCKET_CONNECTION_1_SYMBOLS": "AAPL,MSFT",
    }


def write_callback(directory, body):
    """Make ``mine:on_tick``; it is called with a tick and the number of its call."""
    (directory / "mine.py").write_text(
        "import itertools, threading\n"
        "calls = itertools.count(1)\n"
        f"def on_tick(tick):\n    number = next(calls)\n    {body}\n"
    )
    return "--callback", "mine:on_tick"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_drains_and_prints_the_account(start, simulator, tmp_path, number):
    """A service that is stopped would lose what was queued, and report a failure to systemd."""
    last = write_callback(tmp_path, f"print('had', number, flush=True) if number == {COUNT} else None")
    running = start("run", "--log-level", "debug", *last, **settings(simulator))
    wait_until(lambda: f"had {COUNT}\n" in running.out, DEADLINE_S, "the last tick")
    running.process.send_signal(number)
    code, out, err = running.wait()
    assert code == 0
    assert " ticks from Massive\n" in err
    assert "connection_1: 8 channels confirmed" in err
    assert "connection_1: closed" in err
    account = [line.split() for line in out.splitlines() if line.startswith("callback")]
    assert account == [["callback", "500", "=", "500", *["+", "0"] * 5]]
    assert KEY not in out + err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_second_signal_ends_it_at_once(start, simulator, tmp_path, number, code):
    """A callback that hangs would keep the terminal until its five seconds are over."""
    hanging = write_callback(tmp_path, "print('in', flush=True); threading.Event().wait()")
    running = start("run", *hanging, **settings(simulator))
    wait_until(lambda: "in\n" in running.out, DEADLINE_S, "the first tick")
    running.process.send_signal(number)
    running.wait_for("closed")
    running.process.send_signal(number)
    assert running.wait()[0] == code


def test_json_lines_tell_events_summaries_logs_and_the_account(start, simulator, tmp_path):
    """Log collectors and scripts could not read what the service says."""
    failing = write_callback(tmp_path, "raise RuntimeError('mine')")
    running = start("run", "--log-format", "json", "--log-level", "info", *failing, **settings(simulator))
    running.wait_for('"event":"Log"')
    assert simulator.finished.wait(DEADLINE_S)
    running.process.send_signal(signal.SIGTERM)
    code, out, err = running.wait()
    events = [msgspec.json.decode(line) for line in err.splitlines()]
    assert code == 1
    assert {
        "SubscriberFailed",
        "Error",
        "Started",
        "Connecting",
        "Connected",
        "Authenticated",
        "Subscribed",
        "Closed",
        "Log",
    } <= {event["event"] for event in events}
    logs = [event for event in events if event["event"] == "Log"]
    assert any("RuntimeError: mine" in log["message"] for log in logs)
    assert not any("confirmed" in log["message"] for log in logs), "nothing is told twice"
    account = msgspec.json.decode(out)["subscribers"]["callback"]
    assert (account["received"], account["failed"], account["imbalance"]) == (COUNT, COUNT, 0)
    told = sum(event["count"] for event in events if event["event"] == "SubscriberFailed")
    assert told == COUNT, "the counts add up"
    (error,) = [event["message"] for event in events if event["event"] == "Error"]
    assert error == "callback failed on 500 ticks; the last: RuntimeError: mine"


@pytest.mark.parametrize("raised", ["ValueError", "SystemExit", "KeyboardInterrupt", "BaseException"])
def test_a_callback_that_raised_once_is_told_and_ends_in_1(start, simulator, tmp_path, raised):
    """A service whose callback failed on some ticks reported to systemd that all was well."""
    body = f"if number == 7: raise {raised}('x')\n    if number == {COUNT}: print('had', number, flush=True)"
    running = start("run", *write_callback(tmp_path, body), **settings(simulator))
    wait_until(lambda: f"had {COUNT}\n" in running.out, DEADLINE_S, "the last tick")
    running.process.send_signal(signal.SIGTERM)
    code, out, err = running.wait()
    assert code == 1
    (account,) = [line.split() for line in out.splitlines() if line.startswith("callback")]
    assert account == ["callback", "500", "=", "499", "+", "0", "+", "0", "+", "1", "+", "0", "+", "0"]
    assert f"Error: callback failed on 1 tick; the last: {raised}: x" in err
    assert "Traceback (most recent call last)" in err
    assert err.count("callback failed on 1 tick: ") == 1


def test_a_function_that_cannot_take_a_tick_has_failed_on_all(start, simulator):
    """``--callback math:sqrt`` had delivered everything."""
    running = start("run", "--callback", "math:sqrt", **settings(simulator))
    running.wait_for("callback failed on")
    assert simulator.finished.wait(DEADLINE_S)
    running.process.send_signal(signal.SIGTERM)
    code, out, err = running.wait()
    assert code == 1
    (account,) = [line.split() for line in out.splitlines() if line.startswith("callback")]
    assert account == ["callback", "500", "=", "0", "+", "0", "+", "0", "+", "500", "+", "0", "+", "0"]
    assert "TypeError: must be real number" in err


def test_a_stream_that_ends_by_itself_is_an_error_with_its_reason(simulator, monkeypatch):
    """With a wrong key the service would sit there, or end as if all were well."""
    for name, value in settings(simulator, key="k-wrong").items():
        monkeypatch.setenv(name, value)
    result = CliRunner().invoke(app, ["run", "--log-level", "error"])
    assert result.exit_code == 1
    assert "Error: primary: authentication failed" in result.stderr
    assert "k-wrong" not in result.output


def test_summaries_come_while_it_runs(simulator, monkeypatch):
    """Whoever watches the log would not know whether anything flows."""
    monkeypatch.setattr("pipeline.cli.run.SUMMARY_EVERY_S", 0.05)
    for name, value in settings(simulator).items():
        monkeypatch.setenv(name, value)
    for json in ([], ["--log-format", "json"]):
        monkeypatch.setattr("pipeline.cli.run.Stop", lambda: EndsAfter(3))
        result = CliRunner().invoke(app, ["run", *json])
        assert result.exit_code == 0, result.output
        assert result.stderr.count('"Summary"' if json else "connections; feed p50") == 3


@pytest.mark.parametrize("log_format", ["human", "json"])
def test_tickers_that_nobody_serves_are_told(simulator, monkeypatch, log_format):
    """With a wrong name or type there are no ticks, and everything is green."""
    monkeypatch.setattr("pipeline.cli.run.SUMMARY_EVERY_S", 0.2)
    monkeypatch.setattr("pipeline.cli.run.Stop", lambda: EndsAfter(5))
    for name, value in (settings(simulator) | {"WEBSOCKET_CONNECTION_1_SYMBOLS": "ZZZ,YYY"}).items():
        monkeypatch.setenv(name, value)
    result = CliRunner().invoke(app, ["run", "--log-format", log_format])
    assert result.exit_code == 0, result.output
    if log_format == "human":
        assert result.stderr.count("no tick yet of 2 of 2 tickers: ZZZ, YYY; nobody serves them") == 1
    else:
        assert result.stderr.count('"event":"Silent"') == 1
        assert '"tickers":["ZZZ","YYY"],"carried":2' in result.stderr


@pytest.mark.parametrize("log_format", ["human", "json"])
def test_a_reader_that_goes_away_ends_it_quietly(simulator, tmp_path, log_format):
    """``run --callback builtins:print | head`` would print a traceback for each tick, and never end."""
    with subprocess.Popen(  # noqa: S603  # our own command
        [COMMAND, "run", "--callback", "builtins:print", "--log-format", log_format],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | settings(simulator),
    ) as process:
        try:
            assert "ticker=" in process.stdout.readline()
            process.stdout.close()
            err = process.stderr.read()
            assert process.wait(DEADLINE_S) == 0
        finally:
            process.kill()
    assert "Traceback" not in err
    assert "BrokenPipe" not in err


def test_generated_ticks_are_announced_as_such(monkeypatch):
    """Somebody would trade on made-up prices because USE_MASSIVE_API was forgotten."""
    monkeypatch.setattr("pipeline.cli.run.Stop", lambda: EndsAfter(0))
    result = CliRunner().invoke(app, ["run"])
    assert (result.exit_code, result.stderr.split(" ", 1)[1]) == (0, "ticks generated here\n")


class EndsAfter:
    """Stands for `Stop`: the signal comes after so many waits."""

    def __init__(self, waits):
        self.signal = None
        self.unread = False
        self._waits = waits

    @property
    def asked(self):
        return self.signal is not None

    def leave(self):
        self.unread = True

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def ring(self, *_):
        pass

    def wait(self, _timeout_s):
        self._waits -= 1
        self.signal = None if self._waits >= 0 else 2
        return self._waits < 0


def test_wrong_settings_are_told_all_at_once(monkeypatch, capsys):
    """Each start would tell one more mistake, or a traceback."""
    monkeypatch.setattr(sys, "argv", ["tickbraid", "run"])
    monkeypatch.setenv("USE_MASSIVE_API", "true")
    monkeypatch.setenv("USE_MULTI_CONNECTION", "maybe")
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capsys.readouterr()
    assert (ended.value.code, out) == (2, "")
    assert "MASSIVE_API_KEY" in err
    assert "USE_MULTI_CONNECTION" in err


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("mine", "no MODULE:FUNCTION"),
        (":on_tick", "no MODULE:FUNCTION"),
        ("not_there:on_tick", "No module named 'not_there'"),
        ("mine:not_there", "not_there"),
        ("mine:number", "cannot be called"),
        ("broken:on_tick", "ZeroDivisionError"),
    ],
)
def test_a_callback_that_cannot_be_had_is_refused_in_words(tmp_path, path, words, monkeypatch):
    """A typing error would show up as a traceback, or only with the first tick."""
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "mine.py").write_text("number = 1\n")
    (tmp_path / "broken.py").write_text("1 / 0\n")
    forget(monkeypatch)
    with pytest.raises(ValueError, match=words):
        load_callback(path)


def test_a_callback_may_be_a_method_in_a_module_where_we_are(tmp_path, monkeypatch):
    """Users would have to install their script to use it."""
    (tmp_path / "mine.py").write_text("class Desk:\n    on_tick = staticmethod(print)\n")
    forget(monkeypatch)
    assert load_callback("mine:Desk.on_tick") is print


def forget(monkeypatch):
    """Let the modules of another test be imported anew, and nothing of this test's stay."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name in ("mine", "broken"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
