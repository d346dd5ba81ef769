import ast
import logging
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

import pipeline
from operators.runtime import SYSTEM
from pipeline.cli.logs import BURST, LogHandler
from pipeline.redaction import RedactingFilter

ROOT = Path(pipeline.__file__).parents[1]


class World:
    """A logger of its own with our handler, and a clock."""

    def __init__(self, log_format):
        self.now_s = 0.0
        self.handler = LogHandler(
            log_format, RedactingFilter("hunter2"), runtime=replace(SYSTEM, monotonic=lambda: self.now_s)
        )
        self.log = logging.Logger("tickbraid.x")  # noqa: LOG001  # nobody else's
        self.log.addHandler(self.handler)


@pytest.fixture(params=["human", "json"])
def log_format(request):
    """Say which."""
    return request.param


def lines(capsys):
    """Return what was written since the last call."""
    return capsys.readouterr().err.splitlines()


def test_a_flood_is_a_burst_and_a_number_told_afterwards(log_format, capsys):
    """A loop gone wrong would fill the disk, or hide that it went on."""
    world = World(log_format)
    for number in range(BURST + 90):
        world.log.warning("tick %d is odd", number)
    world.log.warning("another kind")
    assert len(lines(capsys)) == BURST + 1
    world.handler.tell_held()
    assert not lines(capsys), "its time is not over"
    world.now_s = 10.0
    world.log.info("something else entirely")
    held, other = lines(capsys)
    assert "90 more like this: tick %d is odd" in held
    assert "WARNING" in held or '"level":"warning"' in held
    assert "something else entirely" in other
    world.log.warning("tick %d is odd", 7)
    assert len(lines(capsys)) == 1


def test_at_the_end_what_was_held_back_is_told_at_once(log_format, capsys):
    """Of a program that ends within ten seconds the log would not tell how often it happened."""
    world = World(log_format)
    for _ in range(BURST + 1):
        world.log.error("it failed")
    world.handler.tell_held(early=True)
    assert "1 more like this: it failed" in lines(capsys)[-1]


def test_records_of_a_child_go_by_their_own_kind(log_format, capsys):
    """The children's records all pass through one call here, and would use up each other's lines."""
    world = World(log_format)
    for number in range(2 * BURST):
        world.log.warning("%s: %s", "connection_1", f"line {number}", extra={"kind": f"kind {number % 2}"})
    assert len(lines(capsys)) == 2 * BURST


def test_secrets_are_out_and_events_are_told_elsewhere(log_format, capsys):
    """The log of a service goes to a collector that half the company reads."""
    world = World(log_format)
    world.log.error("login as %s failed at %s", "hunter2", "redis://me:hunter2@host")
    world.log.name = "tickbraid.status"
    world.log.error("connection_1: disconnected")
    (line,) = lines(capsys)
    assert "login as *** failed at redis://***@host" in line


def test_json_lines_are_events(capsys):
    """A collector could not read them."""
    world = World("json")
    world.log.error('"quoted"\nlines', exc_info=ValueError("x"))
    event = msgspec.json.decode(lines(capsys)[0])
    assert {"event": "Log", "level": "error", "logger": "tickbraid.x"}.items() <= event.items()
    assert event["message"].startswith('"quoted"\nlines\nValueError: x')


def test_every_logger_is_below_tickbraid():
    """A program that silences or directs our logs would still hear some of them."""
    found = []
    for path in [*ROOT.glob("operators/**/*.py"), *ROOT.glob("pipeline/**/*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in {"logging.getLogger", "getLogger"}:
                found += [(path.name, ast.unparse(argument)) for argument in node.args]
    assert len(found) > 10
    passed_on = {("connection.py", "word.logger"), ("throttled_log.py", "logger")}
    wrong = [(where, name) for where, name in found if not name.startswith("'tickbraid")]
    assert set(wrong) <= passed_on, wrong


def test_importing_configures_nothing():
    """A notebook that imports us would find its own logging changed, or our warnings on its stderr."""
    script = (
        "import logging; before = logging.root.level\n"
        "import pipeline, operators, pipeline.tickstock\n"
        "assert not logging.root.handlers and logging.root.level == before\n"
        "for name, logger in logging.root.manager.loggerDict.items():\n"
        "    if name.startswith(('tickbraid', 'pipeline', 'operators')):\n"
        "        handlers = [type(h).__name__ for h in getattr(logger, 'handlers', [])]\n"
        "        ours = {'tickbraid': ['NullHandler'], 'tickbraid.subscriber': ['_LastResort']}\n"
        "        assert handlers == ours.get(name, []), (name, handlers)\n"
        "        assert getattr(logger, 'level', 0) == 0 and name.startswith('tickbraid'), name\n"
        "logging.getLogger('tickbraid.x').error('unheard')\n"
    )
    done = subprocess.run(  # noqa: S603  # ours
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False, timeout=50
    )
    assert (done.returncode, done.stderr) == (0, "")
