"""What `check` finds and what `run` refuses, held against each other."""

import socket
import sys
from pathlib import Path

import pytest

from pipeline.capture.layout import LOCK, Folder
from pipeline.cli.app import main
from tests.cli.test_run import EndsAfter

MULTI = {"USE_MULTI_CONNECTION": "true", "WEBSOCKET_CONNECTION_1_SYMBOLS": "AAPL"}
KEYS = {
    "no channel": (
        {"REDIS_HOST": "h", "REDIS_CHANNEL_RAW": "", "REDIS_CHANNEL_MARKET": ""},
        "REDIS_CHANNEL_RAW",
    ),
    "an option of no one": ({"REDIS_URL": "redis://h:6379/0?foo=bar"}, "the option foo"),
    "an unquoted password": ({"REDIS_URL": "redis://:pa#ss@h:6379/0"}, "%23"),
    "no module": ({"TICK_CALLBACK": "nowhere:nothing"}, "TICK_CALLBACK (environment): cannot load"),
    "no function": ({"TICK_CALLBACK": "math:nothing"}, "has no attribute 'nothing'"),
    "no callable": ({"TICK_CALLBACK": "math:pi"}, "cannot be called"),
    "a callback that breaks": ({"TICK_CALLBACK": "broken:on_tick"}, "ZeroDivisionError"),
    "a file for a capture": ({"CAPTURE_PATH": "file"}, "file is no directory"),
    "a file on the way to a capture": ({"CAPTURE_PATH": "file/capture"}, "file is no directory"),
    "a capture in use": ({"CAPTURE_PATH": "used"}, "somebody records into used already"),
    "a lock that is none": ({"CAPTURE_PATH": "odd"}, "CAPTURE_PATH"),
    "a capture of odd letters": ({"CAPTURE_PATH": "x" * 300}, "CAPTURE_PATH (environment): cannot record"),
    "nothing to replay": ({"REPLAY_PATH": "empty"}, "REPLAY_PATH (environment): there is nothing to replay"),
    "no folder to replay": ({"REPLAY_PATH": "none"}, "REPLAY_PATH"),
    "no such universe": ({"SYMBOL_UNIVERSE_KEY": "etf:sector_spdr"}, "did you mean etf:sector_spdrs?"),
    "no ticker at all": (
        {"USE_MULTI_CONNECTION": "true", "WEBSOCKET_CONNECTION_1_UNIVERSE_KEY": "a:b"},
        "expected a universe with tickers",
    ),
    "no key": ({"USE_MASSIVE_API": "true"}, "MASSIVE_API_KEY"),
    "two at once": ({"TICK_CALLBACK": "nowhere:nothing", "CAPTURE_PATH": "file"}, "CAPTURE_PATH"),
}
OPTIONS = {
    "a callback by option": (["--callback", "nowhere:nothing"], {}, "cannot load 'nowhere:nothing'"),
    "a recording by option": (["--record", "file"], {}, "file is no directory"),
    "a host of others": (["--http"], {"HTTP_HOST": "203.0.113.9"}, "Cannot assign requested address"),
    "a host that is none": (["--http"], {"HTTP_HOST": "a..b", "HTTP_PORT": "0"}, "cannot listen"),
}


@pytest.fixture
def place(tmp_path):
    """Make files and folders that are no good."""
    for name in ("empty", "used", "odd"):
        (tmp_path / name).mkdir()
    (tmp_path / "odd" / LOCK).mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "broken.py").write_text("1 / 0\n")
    used = Folder(tmp_path / "used")
    before = sorted(tmp_path.rglob("*"))
    yield tmp_path
    assert sorted(tmp_path.rglob("*")) == before, (
        "`check` leaves nothing behind, nor does a run that is refused"
    )
    used.close()


@pytest.fixture
def outcome(monkeypatch, capsys):
    """Return what a command comes to: its exit code and what it says."""
    monkeypatch.setattr("pipeline.cli.run.Stop", lambda: EndsAfter(0))
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    monkeypatch.setattr(sys, "path", [*sys.path])

    def outcome(*arguments):
        monkeypatch.setattr(sys, "argv", ["tickbraid", *arguments])
        sys.modules.pop("broken", None)
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code, capsys.readouterr().err

    return outcome


def same(checked, ran, words):
    """Hold what `check` says against what `run` says."""
    problems = [
        line.removeprefix("Error: ") for line in checked[1].splitlines() if line.startswith("Error: ")
    ]
    refused = [line.removeprefix("  - ") for line in ran[1].splitlines() if line.startswith("  - ")]
    assert (checked[0], ran[0]) == (2, 2)
    assert problems == refused
    assert any(words in problem for problem in problems), problems
    assert "Traceback" not in checked[1] + ran[1]


@pytest.mark.parametrize("case", KEYS)
def test_check_finds_what_run_refuses_in_the_same_words(place, outcome, monkeypatch, case):
    """A deployment that was checked would not start, and systemd try again every ten seconds for ever."""
    environment, words = KEYS[case]
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    same(outcome("check"), outcome("run"), words)


@pytest.mark.parametrize("case", OPTIONS)
def test_check_takes_the_options_of_run(place, outcome, monkeypatch, case):
    """What stands in the unit's ExecStart could not be checked beforehand."""
    options, environment, words = OPTIONS[case]
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    same(outcome("check", *options), outcome("run", *options), words)


def test_a_port_in_use_is_found_and_a_free_one_is_left_free(place, outcome, monkeypatch):
    """A second instance would end with an error of the way, and be started again for ever."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setenv("HTTP_PORT", str(taken.getsockname()[1]))
        same(outcome("check", "--http"), outcome("run", "--http"), "Address already in use")
    assert outcome("check", "--http") == (0, "")
    assert outcome("check", "--http") == (0, "")


@pytest.mark.parametrize(
    ("options", "environment", "extra"),
    [
        (["--http"], {}, "web"),
        ([], {"CAPTURE_PATH": "mine"}, "capture"),
        ([], {"REPLAY_PATH": "empty"}, "capture"),
    ],
)
def test_a_missing_extra_is_named(place, outcome, monkeypatch, options, environment, extra):  # noqa: PLR0917  # fixtures
    """Who has only the base install would get an ImportError for an answer, after the checks."""
    for name in [
        name for name in sys.modules if name.startswith(("pipeline.health.server", "pipeline.capture"))
    ]:
        monkeypatch.delitem(sys.modules, name)
    for missing in ("fastapi", "uvicorn", "pyarrow"):
        monkeypatch.setitem(sys.modules, missing, None)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    same(outcome("check", *options), outcome("run", *options), f"pip install 'tickbraid[{extra}]'")


def test_what_can_be_written_by_nobody_is_found(place, outcome, monkeypatch):
    """Root writes everywhere, a service does not; the tests run as either."""
    monkeypatch.setenv("CAPTURE_PATH", str(Path("/proc/here")))
    monkeypatch.setattr("os.access", lambda path, _mode: "proc" not in str(path))
    same(outcome("check"), outcome("run"), "nothing can be written into /proc")
