"""The seeds that each change is run with, every one twice: what `make test-all` is for."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.schedule import schedule_of

ROOT = Path(__file__).parents[2]
SEEDS = 200
AT_ONCE = 20
SECONDS = 180.0
PROGRAM = """
import logging, sys
from tests.simulation.schedule import schedule_of
from tests.simulation.world import judge_world

logging.disable(logging.CRITICAL)
first, seeds, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
for seed in range(first, first + seeds):
    print(seed, judge_world(schedule_of(seed, seconds)).digest)
"""


def test_what_a_fault_picks_is_there():
    """A number that was rounded up to 1 picked what comes after the last, and the seed told nothing."""
    faults = [fault for seed in range(SEEDS) for fault in schedule_of(seed, SECONDS).faults]
    assert all(0 <= part < 1 for fault in faults for part in (fault.x, fault.y))


@pytest.mark.heavy
@pytest.mark.timeout(900)
@pytest.mark.parametrize("first", range(0, SEEDS, AT_ONCE))
def test_a_seed_is_one_run_whatever_hashes_are(first):
    """A seed that fails in CI must fail at the desk, too: in another process, with other hashes of texts."""
    one, other = (_runs(first, hash_seed) for hash_seed in ("1", "2"))
    assert len(one) == AT_ONCE
    assert one == other


def _runs(first, hash_seed):
    """Return the digest of each run, from a process of its own."""
    done = subprocess.run(  # noqa: S603  # our own interpreter
        [sys.executable, "-c", PROGRAM, str(first), str(AT_ONCE), str(SECONDS)],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()
