"""Seeds of today's code, and schedules that failed once."""

import os
import subprocess
import sys

import pytest

from tests.simulation.actions import ACTIONS
from tests.simulation.massive_faults import FAULTS
from tests.simulation.redis_faults import REDIS_FAULTS as FAULTS_OF_REDIS
from tests.simulation.schedule import (
    OWN_FAULTS,
    REDIS_FAULTS,
    SERVER_FAULTS,
    Fault,
    Schedule,
    World,
    schedule_of,
)
from tests.simulation.world import judge_world

SEEDS = range(24)
TWICE = (0, 5, 9)


def _calm(**settings):
    return World(seconds=30.0, kinds=("T", "Q"), symbols=4, jitter_s=0.0, rough=0.0, **settings)


FOUND = {
    "a ticker that was moved off a half-open socket: its gap was told by nobody": Schedule(
        1, _calm(rate=10.0, quick=False), (Fault(10.0, "half_open"), Fault(12.0, "move", 0.0, 0.5))
    ),
    "both ends of a move's overlap died within it: each was believed to be carried by the other": Schedule(
        2,
        _calm(rate=50.0, quick=False),
        (Fault(10.0, "move", 0.0, 0.5), Fault(11.0, "rst"), Fault(11.3, "rst")),
    ),
    "an acknowledgement was lost: later outages of its connection opened no gap": Schedule(
        3,
        _calm(rate=10.0),
        (Fault(8.0, "acks_lost", 0.0, 0.4), Fault(9.0, "rst_all"), Fault(20.0, "rst_all")),
    ),
    "a channel was never answered: no outage of its connection was told after the first": Schedule(
        4,
        _calm(rate=10.0),
        (Fault(8.0, "unanswered"), Fault(9.0, "rst_all"), Fault(20.0, "rst_all"), Fault(26.0, "rst_all")),
    ),
    "all was carried twice, and one of both was half-open when the other was reset": Schedule(
        5, _calm(rate=50.0, redundant=4, quick=False), (Fault(10.0, "half_open"), Fault(10.5, "rst"))
    ),
    "two connections confirmed a channel within two seconds: its gap ended with the second, though the first"
    " answered, 50 ms too late to be heard": Schedule(
        48,
        World(seconds=26.0, kinds=("T",), symbols=5, buggify=("failing_spawn", "short_write")),
        (
            Fault(10.0, "not_authorized", 0.0, 0.5),
            Fault(12.0, "close"),
            Fault(17.0, "half_open"),
            Fault(24.0, "fin"),
            Fault(25.0, "fin", 0.5),
        ),
    ),
    "a session was asked for a channel, was silent and had to give it back: the gap that another had ended"
    " was told when it was found dead": Schedule(
        27,
        World(
            seconds=51.0,
            market="crypto",
            kinds=("XT", "XQ"),
            symbols=3,
            rate=10.0,
            quick=False,
            rough=0.5,
            redis=True,
            allowed=2,
            preempt=0.2,
            mode="abrupt",
        ),
        (Fault(26.6, "force_disconnect"), Fault(28.0, "fin", 0.5), Fault(29.0, "mute_all")),
    ),
    "a feed had been mute for long when its twin was closed, and nobody had spoken since": Schedule(
        112,
        World(seconds=63.0, kinds=("T",), symbols=2, redundant=2, mode="abrupt"),
        (Fault(10.0, "mute_data"), Fault(53.0, "fin")),
    ),
    "a sink that blocks hung and was left: what waited undecoded was dropped, and nobody was told": Schedule(
        274,
        World(seconds=15.0, market="crypto", kinds=("XT",), connections=1, symbols=1),
        (Fault(10.0, "join", 0.7), Fault(10.0, "hang", 0.9, 0.5), Fault(14.0, "leave")),
    ),
    "a loop was led although no thread could be started for it: its end left the leader behind": Schedule(
        1262,
        World(
            seconds=1.0,
            kinds=("Q",),
            connections=1,
            symbols=1,
            buggify=("failing_spawn", "spurious_wake"),
            preempt=0.2,
        ),
        (),
    ),
}
"""What a schedule that failed was about, to the schedule."""


@pytest.mark.parametrize("seed", SEEDS)
def test_no_promise_is_broken(seed):
    """Each seed is a minute of a user's day in which everything goes wrong."""
    assert judge_world(schedule_of(seed, 60.0)).verdicts == []


@pytest.mark.parametrize("name", FOUND)
def test_what_was_found_stays_mended(name):
    """A schedule outlives the code whose seed made it."""
    assert judge_world(FOUND[name]).verdicts == []


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
    assert set(OWN_FAULTS) | {"dead", "quit"} == set(ACTIONS)
