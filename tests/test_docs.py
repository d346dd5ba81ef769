"""What `make docs` refuses, and the names in all docstrings, internal ones too."""

import ast
import os
import re
import shutil
import subprocess
import sys
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted(chain.from_iterable((ROOT / package).rglob("*.py") for package in ("pipeline", "operators")))
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
NAMED = re.compile(r"(?<![`\w:])`([^`]+)`(?!`)")
LINK = re.compile(r"\]\(([^)#]+)[^)]*\)")


def build(folder, docstring, page):
    """Return exit code and words of a build, with our settings, of one module's docstring and one page."""
    docs = folder / "docs"
    (docs / "reference").mkdir(parents=True)
    shutil.copy(ROOT / "docs" / "conf.py", docs)
    (folder / "described.py").write_text(f'def there():\n    """{docstring}"""\n\n\n__all__ = [\'there\']\n')
    (docs / "index.md").write_text(f"# Index\n\n{page}\n\n```{{toctree}}\nreference/all\n```\n")
    (docs / "reference" / "all.md").write_text("# All\n\n```{eval-rst}\n.. automodule:: described\n```\n")
    done = subprocess.run(  # noqa: S603  # our own interpreter
        [sys.executable, "-m", "sphinx", "--fail-on-warning", "--quiet", docs, folder / "site"],
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stderr


def test_names_and_links_that_lead_nowhere_fail_a_build(tmp_path):
    """Readers of the reference would be sent to what was renamed or deleted, and nobody would notice."""
    docstring = "See `gone`.\n\n    Raises:\n        GoneError: never.\n    "
    code, said = build(tmp_path, docstring, "[a](missing.md) [b](reference/all.md#no-such-heading)")
    assert code == 1
    for what in ("there is no `gone`", "there is no `GoneError`", "missing.md", "no-such-heading"):
        assert what in said


def test_names_and_links_that_lead_somewhere_pass(tmp_path):
    """A build that refuses everything would be switched off."""
    docstring = "Like `there`, ``anything``.\n\n    Raises:\n        ValueError: never.\n    "
    assert build(tmp_path, docstring, "[b](reference/all.md#all)") == (0, "")


def identifiers(tree):
    """Yield all names that a module defines, takes or uses, which is what a renaming changes."""
    for node in ast.walk(tree):
        for field in ("name", "id", "attr", "arg", "asname", "module"):
            if isinstance(name := getattr(node, field, None), str):
                yield from name.split(".")


def docstrings(tree):
    """Yield (line, text) of each text that stands by itself: docstrings, also of attributes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(text := getattr(node.value, "value", None), str):
            yield node.lineno, text


def test_each_name_in_a_docstring_is_one_of_the_code():
    """A docstring would go on naming what was renamed; what is no name stands in double backticks."""
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in SOURCES}
    known = set(chain.from_iterable(identifiers(tree) for tree in trees.values()))
    known |= {part for path in SOURCES for part in path.relative_to(ROOT).with_suffix("").parts}
    unknown = [
        f"{path.relative_to(ROOT)}:{line}: `{named}`"
        for path, tree in trees.items()
        for line, text in docstrings(tree)
        for named in NAMED.findall(text)
        if not known.issuperset(named.removesuffix("()").split("."))
    ]
    assert unknown == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_its_relative_links_lead_to_files(page):
    """On a repository's host a reader would be sent to a page that is not there."""
    prose = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    links = [link for link in LINK.findall(prose) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []
