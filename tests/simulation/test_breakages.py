"""Breakages: what is broken on purpose is there, runs, and is found."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial

import pytest

from tests.simulation.breakages import BREAKAGES
from tests.simulation.breaking import Breakage, Edit, Stale
from tests.simulation.hunting import SECONDS, hunt
from tests.simulation.schedule import schedule_of
from tests.simulation.world import judge_world

SEEDS = 500
"""So many are enough for every breakage."""
SEEDS_TO_PASS = 100
"""So many are enough for every line that is to be broken to run."""
HERE = __name__


class Base:
    """Counts."""

    def count(self, some: list[int]) -> int:
        """Return how many there are."""
        return len(some)


class Sample(Base):
    """Is to be broken."""

    def count(self, some: list[int]) -> int:
        """Return how many there are, and one."""
        total = super().count(some)
        if total > 2:
            total += 1
        return total

    @property
    def size(self) -> int:
        """Two."""
        return 1 + 1


def test_a_breakage_is_there_only_while_it_is_applied():
    """One that stayed would break all tests after it; one in a copy would break nothing."""
    bound = Sample().count
    passed: list[None] = []
    with Edit(f"{HERE}:Sample.count", "total += 1", "total += 10").applied(lambda: passed.append(None)):
        assert (bound([1]), bound([1, 2, 3])) == (1, 13)
        assert len(passed) == 1
    assert bound([1, 2, 3]) == 4
    assert not [name for name in globals() if name.startswith("_passes_")]


def test_a_property_can_be_broken_too():
    """Half of what a snapshot tells is one."""
    with Edit(f"{HERE}:Sample.size", "1 + 1", "1 + 2").applied(lambda: None):
        assert Sample().size == 3
    assert Sample().size == 2


@pytest.mark.parametrize(
    ("where", "line"),
    [
        ("Sample.count", "total -= 1"),
        ("Sample.count", "total"),
        ("Sample.counts", "total += 1"),
        ("Samples.count", "total += 1"),
    ],
)
def test_what_is_not_there_cannot_be_broken(where: str, line: str):
    """A breakage of code that has changed would be one that nobody finds, or finds for nothing."""
    with pytest.raises(Stale), Edit(f"{HERE}:{where}", line, "pass").applied(lambda: None):
        pass


@pytest.mark.parametrize("breakage", BREAKAGES, ids=lambda breakage: breakage.name)
def test_none_is_stale(breakage: Breakage):
    """Who changes a line that is broken here has to say what is to be broken now."""
    with breakage.applied():
        pass


@pytest.mark.heavy
@pytest.mark.timeout(900)
def test_every_line_that_is_to_be_broken_runs():
    """A world that never comes to a line cannot show that it is broken."""
    left = {edit: breakage for breakage in BREAKAGES for edit in breakage.edits}
    for seed in range(SEEDS_TO_PASS):
        schedule = schedule_of(seed, SECONDS)
        able = {edit for edit, breakage in left.items() if breakage.can_show(schedule)}
        if able:
            passed: set[Edit] = set()
            with ExitStack() as marks:
                for edit in _one_a_function(able):
                    whole = replace(edit, instead=edit.line)
                    marks.enter_context(whole.applied(partial(passed.add, edit)))
                judge_world(schedule)
            left = {edit: breakage for edit, breakage in left.items() if edit not in passed}
    assert not [f"{edit.where}: {edit.line}" for edit in left]


def _one_a_function(edits: set[Edit]) -> Iterator[Edit]:
    yield from {edit.where: edit for edit in sorted(edits, key=str)}.values()


@pytest.mark.heavy
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("breakage", BREAKAGES, ids=lambda breakage: breakage.name)
def test_is_found(breakage: Breakage):
    """A breakage that no world finds is a defect that may be in the product now."""
    find = hunt(breakage, range(SEEDS))
    assert find.trial is not None, breakage.seen
    assert breakage.may_crash or not find.only_crashed, str(find)
