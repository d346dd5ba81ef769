from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.simulation.schedule import Fault, Schedule, World, schedule_of
from tests.simulation.shrink import ddmin, shrink


@given(st.sets(st.integers(0, 40), max_size=5), st.integers(41, 60))
def test_what_is_left_is_what_is_needed(needed, count):
    """Whoever gets thirty faults to look at finds nothing; each that can go has to go."""
    assert set(ddmin(lambda some: needed <= set(some), range(count))) == needed


def test_a_schedule_shrinks_to_the_faults_that_matter_in_a_plain_world():
    """A finding is read by a person: three round faults, one ticker, no Redis."""
    schedule = schedule_of(7, 180.0)
    extra = (Fault(31.4159, "move", 0.123, 0.456), Fault(33.3333, "half_open", 0.9, 0.1))
    schedule = replace(schedule, faults=tuple(sorted((*schedule.faults, *extra), key=lambda f: f.at_s)))

    def fails(candidate):
        kinds = [fault.kind for fault in candidate.faults]
        return "half_open" in kinds and "move" in kinds[: kinds.index("half_open")]

    small, runs = shrink(schedule, fails)
    assert [fault.kind for fault in small.faults] == ["move", "half_open"]
    assert all(fault.at_s == int(fault.at_s) for fault in small.faults)
    assert small.world == replace(World(), **_kept(small.world))
    assert small.world.connections == small.world.symbols == 1
    assert runs < 300


def test_a_part_that_is_rounded_stays_below_one():
    """Rounded up to 1 it picks what is after the last, and the shrinking ends with that error."""
    schedule = Schedule(1, World(seconds=20.0), (Fault(10.0, "hang", 0.9999, 0.9876),))
    small, _ = shrink(schedule, lambda candidate: bool(candidate.faults) and candidate.faults[0].x > 0.6)
    assert [(fault.x, fault.y) for fault in small.faults] == [(0.9, 0.0)]


def _kept(world):
    return {name: getattr(world, name) for name in ("seconds", "market", "kinds", "connections", "symbols")}


@pytest.mark.parametrize("seed", range(20))
def test_a_schedule_can_be_pasted_into_a_test(seed):
    """A seed names a run of today's code; a pinned schedule stays what it is."""
    schedule = schedule_of(seed, 60.0)
    assert eval(str(schedule), {"Schedule": Schedule, "World": World, "Fault": Fault}) == schedule  # noqa: S307
