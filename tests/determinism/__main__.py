"""Refuse, in the product, what would make two runs of one seed differ: ``python -m tests.determinism``."""

import ast
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.determinism.clocks import compares_in
from tests.determinism.exempt import INSIDE, OUTSIDE
from tests.determinism.handing import forgotten_in, takers_of
from tests.determinism.sets import names_of_sets, orders_in
from tests.determinism.uses import Use, uses_in

ROOT = Path(__file__).parents[2]
PRODUCT = ("operators", "pipeline")
LIST = "tests/determinism/exempt.py"


def read_product() -> dict[str, str]:
    """Return the text of each module of the product, by its path from the root."""
    paths = sorted(path for folder in PRODUCT for path in (ROOT / folder).rglob("*.py"))
    return {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in paths}


def find(modules: Mapping[str, str]) -> dict[str, list[Use]]:
    """Return what is refused in each module, whatever the list says; only those in which something is."""
    trees = {path: ast.parse(source) for path, source in modules.items()}
    sets, takers = names_of_sets(trees.values()), takers_of(trees)
    found = {
        path: sorted(
            {*uses_in(tree), *orders_in(tree, sets), *forgotten_in(path, tree, takers), *compares_in(tree)}
        )
        for path, tree in trees.items()
    }
    return {path: uses for path, uses in found.items() if uses}


def complain(
    found: Mapping[str, list[Use]],
    outside: Mapping[str, str] = OUTSIDE,
    inside: Mapping[str, Mapping[str, str]] = INSIDE,
) -> Iterator[str]:
    """Yield a line for each use that is not on the list, and for each entry of the list that has no use."""
    used: set[str] = set()
    for path, uses in found.items():
        covering = [
            each for each in outside if path == each or (each.endswith("/") and path.startswith(each))
        ]
        used.update(covering)
        for use in uses:
            if use.name in inside.get(path, ()):
                used.add(f"{path}: {use.name}")
            elif not covering:
                yield f"{path}:{use.line}: {use.name}: {use.advice} (docs/determinism.md)"
    for entry in (*outside, *(f"{path}: {name}" for path, names in inside.items() for name in names)):
        if entry not in used:
            yield f"{LIST}: {entry}: not needed any more, take it out"


if __name__ == "__main__":
    complaints = list(complain(find(read_product())))
    for line in complaints:
        print(line)  # noqa: T201
    sys.exit(bool(complaints))
