"""requirements.lock, held against constraints.txt and pyproject.toml: both are changed by hand."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
EXTRAS = ("calendar", "capture", "columns", "embedded", "otel", "socks", "web")


def name_of(requirement):
    """Return the name of a requirement as an index has it."""
    return re.split(r"[\[<>=!~; ]", requirement, maxsplit=1)[0].lower().replace("_", "-")


def pins(text):
    """Return name to version."""
    return {name_of(name): version for name, version in re.findall(r"^([\w.-]+)==(\S+)", text, re.MULTILINE)}


def test_it_pins_what_the_constraints_pin_each_by_hash():
    """A service would run with other versions than were tested, or with a file that somebody has changed."""
    locked, tested = pins(LOCK), pins((ROOT / "constraints.txt").read_text(encoding="utf-8"))
    assert {name: tested.get(name) for name in locked} == locked
    entries = re.split(r"\n(?=\w)", LOCK[re.search(r"^\w", LOCK, re.MULTILINE).start() :])
    assert len(entries) == len(locked)
    assert all(re.search(r"--hash=sha256:[0-9a-f]{64}", entry) for entry in entries)


def test_it_has_all_that_the_project_asks_for():
    """A dependency that is added would be missing where the lock is used: `make lock` makes it anew."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [each for extra in EXTRAS for each in project["optional-dependencies"][extra]]
    assert {name_of(each) for each in (*project["dependencies"], *extras)} <= set(pins(LOCK))


def test_it_names_no_place():
    """Whoever has another index, or none, could not use it."""
    assert not re.search(r"https?://|file:|--(?:extra-)?index-url|--find-links", LOCK)
