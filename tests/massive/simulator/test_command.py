import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from pipeline.massive.simulator.command import simulate
from tests.massive.simulator.clients import Reader

ROOT = Path(__file__).parents[3]


@pytest.fixture
def start():
    """Start the command in a process of its own, return it and the address it says."""
    processes = []

    def run(*arguments):
        process = subprocess.Popen(  # noqa: S603  # our own command
            [sys.executable, "-m", "pipeline.massive.simulator", "--port", "0", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        processes.append(process)
        said = process.stderr.readline()
        return process, re.search(r"ws://\S+", said).group()

    yield run
    for process in processes:
        process.kill()
        process.communicate()


def invoke(*arguments):
    """Run the command here."""
    app = typer.Typer()
    app.command()(simulate)
    return CliRunner().invoke(app, ["--port", "0", *arguments])


def test_recording_is_served_to_its_end_and_reported(start, tmp_path):
    """A user without a key could not try a recording of his own."""
    path = tmp_path / "session.jsonl"
    frame = [{"ev": "T", "sym": "AAPL", "p": 1.5, "s": 100, "t": 1000}]
    path.write_text("".join(json.dumps({"at_us": n, "frame": frame}) + "\n" for n in range(50)))
    process, url = start("--recording", str(path), "--speed", "inf", "--key", "secret", "--json")
    reader = Reader(url)
    reader.subscribe("T.*", key="secret").wait_end().close()
    out, _ = process.communicate(timeout=20)
    report = json.loads(out)
    assert process.returncode == 0
    assert len(reader.data) == report["sent"]["elements"] == report["sent"]["types"]["T"] == 50
    assert reader.code == 1001


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_it_with_a_report(start, sign):
    """Ctrl-C would show a traceback."""
    process, url = start("--tickers", "AAPL, MSFT", "--rate", "5000", "--bursts")
    reader = Reader(url)
    reader.subscribe("T.*,Q.AAPL").wait(lambda r: len(r.data) > 20)
    process.send_signal(sign)
    out, _ = process.communicate(timeout=20)
    reader.close()
    assert process.returncode == 0
    assert "1 connection, " in out
    assert {one["sym"] for one in reader.data} <= {"AAPL", "MSFT"}


def test_tickers_are_served_as_they_are_written(start):
    """A rehearsal with the watchlist of tomorrow would serve other symbols than it asks for."""
    process, url = start("--tickers", "BACpL, X:BTC-USD,,brk.b", "--types", "T", "--rate", "5000")
    reader = Reader(url)
    reader.subscribe("T.*").wait(lambda r: {one["sym"] for one in r.data} == {"BACpL", "X:BTC-USD", "brk.b"})
    reader.close()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)


def test_an_odd_ticker_is_said():
    """A slip would be served under a name that nobody can ask for."""
    result = invoke("--tickers", "AAPL,BF B", "--count", "10", "--rate", "1000", "--start-after", "0")
    assert result.exit_code == 0
    assert "Left out 'BF B'" in result.output


def test_report_in_words_says_what_was_sent():
    """The user would not learn whether his client missed something."""
    result = invoke("--count", "10", "--rate", "1000", "--start-after", "0")
    assert result.exit_code == 0
    assert "0 connections, 0 frames, 0 elements (none)" in result.output


def test_bad_recording_ends_with_an_error(tmp_path):
    """A script would take half a recording for a whole one."""
    path = tmp_path / "bad.jsonl"
    path.write_text("rubbish\n")
    result = invoke("--recording", str(path), "--start-after", "0")
    assert result.exit_code == 1
    assert "a feed broke off" in result.output
    assert "line 1" in result.output
    result = invoke("--recording", str(path), "--start-after", "0", "--json")
    assert "line 1" in result.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--rate", "0"], "rate"),
        (["--types", "X"], "event_types"),
        (["--repeat", "5"], "repeat"),
        (["--recording", "/no/such/file"], "recording"),
        (["--max-connections", "0"], "max_connections"),
        (["--tickers", "^VIX,*"], "--tickers"),
        (["--port", "99999"], "port"),
        (["--port", "-1"], "port"),
        (["--tickers", "0"], "tickers"),
        (["--tickers", ","], "tickers"),
        (["--rate", "nan"], "rate"),
        (["--count", "-1"], "count"),
    ],
)
def test_bad_arguments_are_named(arguments, said):
    """The user would see a traceback."""
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert said in result.output


def test_address_that_cannot_be_had_is_said():
    """The user would see a traceback."""
    for host in ("192.0.2.1", "a..b"):
        result = invoke("--host", host)
        assert result.exit_code == 1
        assert f"Cannot listen on {host}" in result.output


def test_channels_that_nobody_serves_are_said_once_and_acknowledged_all_the_same(start):
    """Massive says nothing of them either: a client of the wrong tickers would wait beside a green light."""
    process, url = start("--tickers", "AAPL,MSFT", "--types", "T,Q", "--rate", "500")
    reader = Reader(url)
    reader.subscribe("T.AAPL,T.ZZZ,A.AAPL,Q.*").wait(lambda r: r.data)
    reader.subscribe("T.ZZZ,T.MSFT").wait(lambda r: any(one["sym"] == "MSFT" for one in r.data))
    reader.close()
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=20)
    assert err.splitlines() == ["Nobody serves A.AAPL, T.ZZZ; there is T, Q of AAPL, MSFT"]
