"""Seeds of today's code."""

import os
import subprocess
import sys

import pytest

from tests.simulation.actions import ACTIONS
from tests.simulation.massive_faults import FAULTS
from tests.simulation.redis_faults import REDIS_FAULTS as FAULTS_OF_REDIS
from tests.simulation.schedule import OWN_FAULTS, REDIS_FAULTS, SERVER_FAULTS, schedule_of
from tests.simulation.world import judge_world

SEEDS = (4, 6, 7, 10, 12, 13, 18, 20, 21, 22, 23)
TWICE = (0, 5, 9)


@pytest.mark.parametrize("seed", SEEDS)
def test_no_promise_is_broken(seed):
    """Each seed is a minute of a user's day in which everything goes wrong."""
    assert judge_world(schedule_of(seed, 60.0)).verdicts == []


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", TWICE)
def test_a_seed_is_a_run(seed):
    """A seed that fails now and passes then is of no use to whoever looks for the reason."""
    digests = [_digest_in_a_process(seed, hash_seed) for hash_seed in ("1", "2")]
    assert digests[0] == digests[1]


def _digest_in_a_process(seed, hash_seed):
    code = (
        "import logging; logging.disable(logging.CRITICAL);"
        " from tests.simulation.world import judge_world; from tests.simulation.schedule import schedule_of;"
        f" print(judge_world(schedule_of({seed}, 30.0)).digest)"
    )
    done = subprocess.run(  # noqa: S603  # our own words
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_every_fault_of_the_servers_may_happen():
    """A fault that no schedule names is never tried."""
    assert set(SERVER_FAULTS) == set(FAULTS)
    assert set(REDIS_FAULTS) == {f"redis_{name}" for name in FAULTS_OF_REDIS}
    assert set(OWN_FAULTS) | {"dead"} == set(ACTIONS)
