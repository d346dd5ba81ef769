"""Sites in the simulated system that misbehave: a product that is right on a good system alone is wrong."""

from dataclasses import replace

import pytest

from tests.simulation.network import SITES
from tests.simulation.schedule import Fault, Schedule, World, schedule_of
from tests.simulation.world import judge_world

WORLD = World(seconds=40.0, connections=3, redis=True, rate=20.0, burst=5)
FAULTS = (
    Fault(8.0, "rst_all"),
    Fault(14.0, "slow", 0.1, 0.5),
    Fault(16.0, "join", 0.5, 0.5),
    Fault(20.0, "redis_restart", 0.5, 0.5),
    Fault(26.0, "reconnect", 0.5, 0.5),
    Fault(30.0, "fin", 0.5, 0.5),
)


@pytest.fixture(scope="module")
def usual():
    """What comes of the world where nothing misbehaves."""
    return judge_world(Schedule(1, WORLD, FAULTS))


@pytest.mark.parametrize("site", SITES)
def test_a_site_that_misbehaves_changes_something_and_breaks_nothing(site, usual):
    """A site that never strikes, or strikes at nothing, tries nothing: nobody would know."""
    outcome = judge_world(Schedule(1, replace(WORLD, buggify=(site,)), FAULTS))
    assert outcome.effects[site, "struck"] > 0
    assert outcome.digest != usual.digest
    assert outcome.verdicts == []
    assert not [effect for effect in usual.effects if effect[0] in SITES]


def test_each_site_misbehaves_in_some_worlds_and_in_most_none_does():
    """What misbehaves everywhere hides what is wrong where all is well."""
    worlds = [schedule_of(seed, 180.0).world.buggify for seed in range(300)]
    assert 180 < worlds.count(()) < 260
    for site in SITES:
        assert 10 < sum(site in world for world in worlds) < 80
    assert any(len(world) == 1 for world in worlds)
