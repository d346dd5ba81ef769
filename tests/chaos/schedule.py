"""What is done to a run, as data made from its seed before it begins."""

import random
from typing import NamedTuple

CONNECTIONS = ("connection_1", "connection_2", "connection_3")
BEGIN_S = 2.5
LINK_FAULTS = {
    "rst": 3,
    "fin": 3,
    "half": 3,
    "stall": 2,
    "slow": 2,
    "crumble": 2,
    "close": 3,
    "abort": 1,
    "crowd": 1,
    "lose_acks": 3,
    "late_acks": 2,
    "refuse": 1,
    "restart": 1,
    "cut_both": 2,
    "half_then_move": 2,
    "move_then_cut": 2,
    "hang_redis": 2,
}
"""Each with its weight; the pairs are those that two links or a move take part in."""
STEPS = {"move": 4, "add": 2, "remove": 2, "reconnect": 2, "rebalance": 1}
FAULT_EVERY_S = 2.2
STEP_EVERY_S = 3.0


class Event(NamedTuple):
    """Something to be done.

    Args:
        at_s: since the begin.
        kind: what.
        dice: numbers in [0, 1) that choose whom and how much.
    """

    at_s: float
    kind: str
    dice: tuple[float, ...]


def faults(seed, until_s):
    """Return what the network, the server and Redis do."""
    return _schedule(f"{seed}/faults", LINK_FAULTS, FAULT_EVERY_S, until_s)


def steps(seed, until_s):
    """Return what the operator does."""
    return _schedule(f"{seed}/steps", STEPS, STEP_EVERY_S, until_s)


def _schedule(seed, weights, every_s, until_s):
    chance = random.Random(seed)
    events, at_s = [], BEGIN_S
    while (at_s := at_s + chance.expovariate(1 / every_s)) < until_s:
        (kind,) = chance.choices(list(weights), weights.values())
        events.append(Event(round(at_s, 3), kind, tuple(chance.randrange(1000) / 1000 for _ in range(4))))
    return events
