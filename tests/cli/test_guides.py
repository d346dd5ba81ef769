import re
import subprocess
import sys
from pathlib import Path

import pytest
import redis
from typer.testing import CliRunner

from pipeline.cli.app import app
from pipeline.routing import universe
from pipeline.settings import load_settings
from tests.cli.conftest import DEADLINE_S

DOCS = Path(__file__).parents[2] / "docs"
CONFIGURATION = (DOCS / "configuration.md").read_text(encoding="utf-8")
MIGRATION = (DOCS / "migration.md").read_text(encoding="utf-8")
SECTION = CONFIGURATION.partition("## Five worked configurations")[2].partition("\n## ")[0]
WORKED = re.findall(
    r"^### ([\w ]+)\n.*?```yaml\n(.*?)```\n\n```text\n(.*?)```", SECTION, re.DOTALL | re.MULTILINE
)
CARRIED = {
    "Segmented watchlists": {"connection_1": "AVGO", "connection_2": "XLK", "connection_3": "COIN"},
    "Performance": {"connection_1": "NVDA", "connection_2": "AAPL", "connection_3": "MSFT"},
    "User tiers": {"connection_1": "SPY", "connection_2": "DIS", "connection_3": "KO"},
    "By sector": {"connection_1": "NVDA", "connection_2": "JPM", "connection_3": "LLY"},
    "Redundancy": {"connection_1": "SPY", "connection_2": "SPY", "connection_3": "QQQ"},
}


def blocks(guide, language):
    """Return the snippets of a language."""
    return re.findall(rf"^```{language}\n(.*?)```", guide, re.DOTALL | re.MULTILINE)


def run(program, **replaced):
    """Run a program as it stands, but for these words; return what it prints."""
    for word, other in replaced.items():
        program = program.replace(word, other)
    done = subprocess.run(  # noqa: S603  # our own interpreter
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=DEADLINE_S, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_there_are_five_worked_configurations():
    """One that is written otherwise would be left out of the next test."""
    assert {title for title, _, _ in WORKED} == set(CARRIED)


@pytest.mark.parametrize(("title", "settings", "routing"), WORKED, ids=[title for title, _, _ in WORKED])
def test_a_worked_configuration_is_routed_as_the_guide_says(tmp_path, monkeypatch, title, settings, routing):
    """Who copies it would get problems, or another spread than is shown."""
    (tmp_path / "settings.yaml").write_text(settings)
    (tmp_path / ".env").write_text("USE_MASSIVE_API=true\nMASSIVE_API_KEY=any\n")
    monkeypatch.setenv("COLUMNS", "200")
    result = CliRunner().invoke(app, ["check"])
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines()[-3:] == routing.splitlines()
    loaded = load_settings()
    carried = universe.connection_tickers(loaded, universe.universes_of(loaded))
    assert len(carried) == 3
    for line in routing.splitlines():
        assert CARRIED[title][line.partition(" ")[0]] in line


def test_the_guide_s_universes_can_be_written_so(tmp_path):
    """The first list of one's own would be a problem."""
    (block,) = re.findall(r"^    universes:\n(?:    .*\n)+", CONFIGURATION, re.MULTILINE)
    (tmp_path / "settings.yaml").write_text(re.sub("^    ", "", block, flags=re.MULTILINE))
    settings = load_settings()
    assert settings.universes["mine:core"] == ("AAPL", "MSFT", "TRUE")
    assert len(universe.connection_tickers(settings, universe.universes_of(settings))["connection_1"]) == 14


def test_the_guide_s_providers_can_be_registered_so(tmp_path, monkeypatch):
    """Nobody could connect a database."""
    monkeypatch.setattr(universe, "_registered", [])
    (block,) = re.findall(r"^    from pipeline\.routing.*\n\n(?:    .*\n)+", CONFIGURATION, re.MULTILINE)
    (tmp_path / "universes.csv").write_text("universe,ticker\nmine:csv,AAPL\n")
    program = re.sub("^    ", "", block, flags=re.MULTILINE)
    exec(program, {"redis": redis, "my_database": {"mine:db": ["MSFT"]}})  # noqa: S102  # the guide's own
    from_file, _, from_database = universe._registered
    assert (from_file("mine:csv"), from_database("mine:db")) == (["AAPL"], ["MSFT"])


def test_the_three_lines_of_the_migration_name_what_is_there():
    """The very first step would be an ImportError."""
    lines, *_ = blocks(MIGRATION, "python")
    assert len(lines.splitlines()) == 3
    run(lines)


def test_the_migration_s_universes_are_registered_so():
    """TickStock's watchlists would be empty."""
    _, program, _ = blocks(MIGRATION, "python")
    assert run(program) == "['AAPL', 'MSFT']\n"


def test_the_migration_s_environment_is_read(tmp_path):
    """A key in it that is none would be ignored without a word; and the way back is one line."""
    forward, _, back = blocks(MIGRATION, "sh")
    (tmp_path / ".env").write_text(forward)
    settings = load_settings()
    named = [line.partition("=")[0] for line in forward.split()]
    assert {settings.provenance[name] for name in named} == {".env"}
    assert [connection.enabled for connection in settings.connections] == [True, True, False]
    (tmp_path / ".env").write_text(forward + back)
    assert len(load_settings().connections) == 1


def test_the_migration_s_rehearsal_runs_as_it_stands(start):
    """The first thing a TickStock user tries would not work."""
    (_, command, _), (_, _, program) = blocks(MIGRATION, "sh"), blocks(MIGRATION, "python")
    name, *arguments = command.split()
    assert name == "tickbraid"
    arguments[arguments.index("8765")] = "0"  # a free one
    simulator = start(*arguments)
    simulator.wait_for("Listening on ")
    (port,) = re.findall(r"Listening on ws://127\.0\.0\.1:(\d+)/", "".join(simulator.err))
    connected, statuses, health, ticks = run(program, **{"8765": port}).splitlines()
    assert connected == "True"
    assert "('connected', 'connection_2')" in statuses
    assert "'total_connections': 2, 'connected': 0," in health
    assert re.match(r"\d+ ticks, the last: \{'ticker': '(AAPL|MSFT|NVDA)', 'price': \d", ticks)
