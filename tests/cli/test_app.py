import re
from itertools import pairwise

import pytest
from typer.testing import CliRunner

import pipeline
import pipeline.cli.app
from pipeline.cli.app import app, main
from pipeline.errors import SettingsError, TickbraidError


def test_alone_it_shows_the_commands(start):
    """A newcomer would meet an error instead of what there is."""
    code, out, err = start().wait()
    assert (code, err) == (0, "")
    for command in ("demo", "run", "simulate", "check"):
        assert command in out


def test_it_tells_its_version():
    """A report of a defect could not say which version it is about."""
    result = CliRunner().invoke(app, ["--version"])
    assert (result.exit_code, result.stdout) == (0, f"tickbraid {pipeline.__version__}\n")


def test_the_simulator_is_one_of_the_commands():
    """Users without a key would have nothing to connect to."""
    result = CliRunner().invoke(app, ["simulate", "--help"], env={"COLUMNS": "200"})
    assert result.exit_code == 0
    assert "--max-connections" in result.stdout


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (
            SettingsError(["A: wrong", "B: wrong"]),
            2,
            "2 problems in the settings:\n  - A: wrong\n  - B: wrong\n",
        ),
        (TickbraidError("no such thing"), 1, "Error: no such thing\n"),
        (ZeroDivisionError("division by zero"), 1, "Error: ZeroDivisionError: division by zero\n"),
    ],
)
def test_whatever_happens_is_told_in_words_and_by_the_exit_code(monkeypatch, capsys, error, code, words):
    """Users would get a traceback, and scripts a 0."""

    def fail():
        raise error

    monkeypatch.setattr(pipeline.cli.app, "app", fail)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == code
    assert capsys.readouterr() == ("", words)


@pytest.mark.parametrize("command", ["run", "top"])
def test_the_lines_of_its_help_are_as_long_as_there_is_room(command):
    """Each second line would be a stump, since the source is wrapped elsewhere than the terminal."""
    said = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "80"}).stdout.partition("╭")[0]
    paragraphs = [paragraph.splitlines() for paragraph in re.split(r"\n\s*\n", said.strip())]
    for lines in paragraphs:
        for line, following in pairwise(line.strip() for line in lines):
            assert len(line) + len(following.split()[0]) >= 78, said
