"""What a world is like and what goes wrong in it: data, made from the seed before anything runs.

Chance is split by purpose, so that a fault that is taken out changes nothing but what it did.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from math import inf
from random import Random
from typing import Final

from tests.simulation.market import KINDS, SYMBOLS
from tests.simulation.network import SITES

__all__ = ["OWN_FAULTS", "REDIS_FAULTS", "SERVER_FAULTS", "Fault", "Schedule", "World", "schedule_of"]

START_NS: Final = 1_764_687_600_000_000_000
"""Tuesday, 2025-12-02, 10:00 in New York."""
MIDNIGHT_NS: Final = START_NS + 14 * 3600 * 1_000_000_000
"""The end of that day: ids and sequence numbers begin anew."""
BEFORE_CLOCKS_CHANGE_NS: Final = (1_772_805_600_000_000_000, 1_761_919_200_000_000_000)
"""Fridays at 9 and 10 in New York, before the Sundays of 2026-03-08 and 2025-11-02."""
FIRST_FAULT_S: Final = 6.0
CLOSING_S: Final = 1.0
"""So long after the stream was told to close things go wrong still."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong, or that somebody does.

    Args:
        at_s: when, after the beginning.
        kind: a name of `SERVER_FAULTS`, `OWN_FAULTS` or `REDIS_FAULTS`.
        x: chooses whom it hits, 0 to 1.
        y: how much or how long, 0 to 1.
    """

    at_s: float
    kind: str
    x: float = 0.0
    y: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What a world is like.

    Args:
        seconds: how long faults may come; quiet time and the end come after.
        start_ns: true time at the beginning.
        market: a name of `market.KINDS`.
        kinds: event types.
        connections: how many we have.
        symbols: how many, spread over the connections.
        redundant: how many of them are carried twice.
        strategy: of routing.
        rate: ticks a second of the whole market.
        burst: ticks at once, at most.
        nights: the market is closed at night and on weekends.
        quick: all time-outs are short, so that much happens in little time.
        latency_s: of the links, at least.
        jitter_s: more than that, at most.
        rough: chance that a link cuts or joins what it carries.
        buffer_ticks: of each subscriber.
        overflow: what happens to more.
        ingest_bytes: received and not decoded.
        max_age_ms: of ticks, for subscribers; 0 for any.
        dedupe_window: ticks that are remembered.
        redis: publish to a Redis.
        channels: of Redis: ``usual``, ``all`` that there are, or ``batch`` alone.
        acks: ``batched`` or ``single``.
        eviction: who goes where there are too many.
        allowed: connections that the key allows; 0 for any number.
        unauthorized: how many channels the plan does not cover.
        failover: move the tickers of a connection that is down.
        rebalance: and back when it returns.
        buggify: sites in the simulated system that misbehave now and then.
        preempt: chance that a thread gives way where it takes a lock.
        mode: ``safety``, where every fault heals; ``liveness``, where one connection is dead for good; or
            ``abrupt``, where the stream is closed while things go wrong.
    """

    seconds: float = 180.0
    start_ns: int = START_NS
    market: str = "stocks"
    kinds: tuple[str, ...] = ("T", "Q")
    connections: int = 2
    symbols: int = 6
    redundant: int = 0
    strategy: str = "manual"
    rate: float = 5.0
    burst: int = 1
    nights: bool = False
    quick: bool = True
    latency_s: float = 0.002
    jitter_s: float = 0.02
    rough: float = 0.05
    buffer_ticks: int = 100_000
    overflow: str = "conflate"
    ingest_bytes: int = 67_108_864
    max_age_ms: int = 0
    dedupe_window: int = 65_536
    redis: bool = False
    channels: str = "usual"
    acks: str = "batched"
    eviction: str = "oldest"
    allowed: int = 0
    unauthorized: int = 0
    failover: bool = True
    rebalance: bool = True
    buggify: tuple[str, ...] = ()
    preempt: float = 0.0
    mode: str = "safety"

    @property
    def names(self) -> tuple[str, ...]:
        """The symbols."""
        return SYMBOLS[self.market][: self.symbols]

    def __repr__(self) -> str:
        """Return what it differs in from a plain world, to be pasted into a test."""
        given = ((f.name, getattr(self, f.name), f.default) for f in fields(self))
        return f"World({', '.join(f'{name}={value!r}' for name, value, usual in given if value != usual)})"


@dataclass(frozen=True, slots=True)
class Schedule:
    """A world with all that happens in it: the same seed and schedule give the same run."""

    seed: int
    world: World
    faults: tuple[Fault, ...]

    def __str__(self) -> str:
        """Return it as Python, to be pasted into a pinned test."""
        lines = [f"        Fault({f.at_s!r}, {f.kind!r}, {f.x!r}, {f.y!r})," for f in self.faults]
        return "\n".join(
            ["Schedule(", f"    {self.seed},", f"    {self.world!r},", "    (", *lines, "    ),", ")"]
        )


SERVER_FAULTS: Final[dict[str, float]] = {
    "fin": 3,
    "rst": 3,
    "rst_all": 2,
    "close": 2,
    "close_all": 1,
    "kill_slow": 1,
    "cut_in_message": 2,
    "force_disconnect": 1,
    "little_patience": 1,
    "half_open": 4,
    "half_open_all": 1,
    "mute_data": 1,
    "mute_all": 2,
    "down": 2,
    "refuse": 1,
    "greeting_late": 1,
    "auth_late": 1,
    "auth_dropped": 1,
    "auth_timeout": 1,
    "other_program": 2,
    "eviction": 1,
    "acks_late": 2,
    "acks_lost": 3,
    "acks_shuffled": 1,
    "acks_single": 1,
    "acks_among_ticks": 1,
    "not_authorized": 1,
    "unanswered": 2,
    "malformed": 2,
    "truncated": 1,
    "repeated": 2,
    "fragments": 1,
    "statuses_among_ticks": 1,
    "broken_json": 1,
    "copies_elsewhere": 1,
    "large_message": 1,
    "sizes": 2,
    "lag": 2,
}
"""What goes wrong at Massive, see `massive_faults`, and how often compared with the others."""

OWN_FAULTS: Final[dict[str, float]] = {
    # the network
    "slow_link": 1,
    "dns": 1,
    "obstruct": 1,
    # the operator
    "move": 8,
    "add": 2,
    "remove": 2,
    "reconnect": 2,
    "rebalance": 1,
    # subscribers and sinks
    "join": 2,
    "leave": 1,
    "raise": 2,
    "hang": 1,
    "slow": 1,
    # clocks
    "step": 1,
    "drift": 1,
}
"""What happens around the stream, see `actions`."""

REDIS_FAULTS: Final[dict[str, float]] = {
    "redis_hung": 2,
    "redis_refuses": 2,
    "redis_forbidden": 1,
    "redis_restart": 1,
    "redis_down": 1,
    "redis_rst": 2,
    "redis_fin": 1,
    "redis_half_open": 1,
    "redis_replies_lost": 1,
    "redis_replies_late": 1,
    "redis_cut_in_reply": 2,
}
"""What goes wrong at Redis, see `redis_faults`."""

AFTER_A_MOVE: Final = (
    *("half_open", "half_open", "mute_all", "mute_data", "rst", "rst_all", "fin", "acks_lost"),
    *("reconnect", "move", "other_program", "remove"),
)
"""What makes a move go wrong if it comes within the overlap."""
MOVES: Final = frozenset({"move", "rebalance", "add", "reconnect", "down", "fin", "rst", "close"})
"""What makes tickers move, at once or by failover and return."""
CLOCK: Final = frozenset({"step", "drift"})
NEEDS_LIMIT: Final = frozenset({"other_program", "eviction"})


def schedule_of(seed: int, seconds: float, *, days: bool = False) -> Schedule:
    """Make the world of a seed, and what happens in it."""
    world = _world(Random(f"{seed}/world"), seconds, days=days)
    world = replace(world, buggify=_sites(Random(f"{seed}/sites")))
    faults = [*_faults(Random(f"{seed}/faults"), world)]
    if world.mode == "liveness" and Random(f"{seed}/last").random() < 0.5:
        faults = _up_to_the_last(faults)
    faults += [fault for fault in _leaving(Random(f"{seed}/leaving"), faults) if fault.at_s < world.seconds]
    faults += [fault for fault in _hanging(Random(f"{seed}/hanging"), faults) if fault.at_s < world.seconds]
    if (quitting := Random(f"{seed}/quit")).random() < 0.1:
        at_s = FIRST_FAULT_S + quitting.random() * (world.seconds - FIRST_FAULT_S)
        faults.append(Fault(round(at_s, 3), "quit"))
    return Schedule(seed, world, tuple(sorted(faults, key=lambda fault: fault.at_s)))


def _sites(random: Random) -> tuple[str, ...]:
    """Draw which parts of the simulated system misbehave: of most worlds none."""
    often = random.random() < 0.3
    return tuple(site for site in SITES if random.random() < 0.4 and often)


def _world(random: Random, seconds: float, *, days: bool) -> World:
    def often(chance: float) -> bool:
        return random.random() < chance

    market = random.choices(("stocks", "options", "forex", "crypto"), (7, 1, 1, 1))[0]
    kinds = KINDS[market]
    kinds = tuple(sorted(random.sample(kinds, random.randint(1, len(kinds))), key=kinds.index))
    connections = random.choices((1, 2, 3), (2, 4, 5))[0]
    symbols = random.randint(connections, 8)
    world = World(
        seconds=seconds,
        market=market,
        kinds=kinds,
        connections=connections,
        symbols=symbols,
        redundant=random.randint(1, symbols) if connections > 1 and often(0.2) else 0,
        strategy=random.choice(("manual", "round-robin", "load-balanced", "hash", "priority")),
        rate=random.choice((0.5, 2.0, 5.0, 5.0, 10.0, 20.0)),
        burst=random.choice((1, 1, 1, 5, 50)),
        quick=often(0.7),
        latency_s=random.choice((0.0005, 0.002, 0.02)),
        jitter_s=random.choice((0.0, 0.005, 0.05)),
        rough=random.choice((0.0, 0.05, 0.5)),
        redis=often(0.3),
        channels=random.choice(("usual", "usual", "all", "batch")),
        acks=random.choice(("batched", "single")),
        eviction=random.choice(("oldest", "newest", "newest_after_ack")),
        unauthorized=random.choice((0, 0, 0, 1, 2)),
        failover=often(0.85),
        rebalance=often(0.85),
        preempt=random.choice((0.0, 0.0, 0.02, 0.2)),
        mode=random.choices(("safety", "abrupt", "liveness"), (8, 1, 1 if connections > 1 else 0))[0],
    )
    if world.mode == "liveness":
        world = replace(world, failover=True)
    if often(0.3):
        world = replace(
            world,
            overflow=random.choice(("drop_oldest", "drop_newest", "conflate", "block", "error")),
            buffer_ticks=random.choice((1, 3, 20, 1000)),
        )
    if often(0.1):
        world = replace(world, ingest_bytes=random.choice((65_536, 200_000)))
    if often(0.1):
        world = replace(world, max_age_ms=random.choice((50, 2000)))
    if often(0.1):
        world = replace(world, dedupe_window=random.choice((500, 2000)))
    if often(0.25):
        world = replace(world, allowed=random.choice((connections, connections, max(1, connections - 1))))
    if days:
        start_ns = random.choice((START_NS, *BEFORE_CLOCKS_CHANGE_NS, *BEFORE_CLOCKS_CHANGE_NS))
        world = replace(world, start_ns=start_ns, nights=often(0.8), rate=0.01, burst=random.choice((1, 4)))
    elif often(0.1):
        world = replace(world, start_ns=MIDNIGHT_NS - int(seconds * 5e8))
    return world


def _faults(random: Random, world: World) -> Iterator[Fault]:
    """Yield what happens, in order.

    Of all kinds a seed has some only, each with a weight of its own: what always happens together hides
    what happens alone.
    """
    kinds = {**SERVER_FAULTS, **OWN_FAULTS, **(REDIS_FAULTS if world.redis else {})}
    if not world.allowed:
        kinds = {kind: weight for kind, weight in kinds.items() if kind not in NEEDS_LIMIT}
    chosen = [kind for kind in kinds if random.random() < 0.45] or ["fin"]
    if random.random() < 0.8:
        chosen = [kind for kind in chosen if kind not in CLOCK]
    if random.random() < 0.7:
        chosen = [*dict.fromkeys([*chosen, "move", "half_open"])]
    weights = [kinds[kind] * random.choice((0.3, 1, 3)) for kind in chosen]
    pause_s = random.choice((3.0, 8.0, 8.0, 20.0)) * max(1.0, world.seconds / 2000)
    at_s = FIRST_FAULT_S + random.expovariate(1 / pause_s)
    faults: list[Fault] = []
    if world.mode == "liveness":
        faults.append(
            Fault(round(world.seconds * (0.2 + random.random() * 0.6), 3), "dead", _part_of(random))
        )
    while at_s < world.seconds:
        kind = random.choices(chosen, weights)[0]
        faults.append(Fault(round(at_s, 3), kind, _part_of(random), _part_of(random)))
        if kind == "join" and random.random() < 0.5:
            later_s = round(at_s + random.random() * 20.0, 3)
            faults.append(Fault(later_s, "leave", _part_of(random)))
        if kind in MOVES and random.random() < 0.6:
            for _ in range(random.choice((1, 1, 2))):
                soon_s = round(at_s + random.random() * 3.0, 3)
                follower = random.choice(AFTER_A_MOVE)
                faults.append(Fault(soon_s, follower, _part_of(random), _part_of(random)))
        at_s += random.expovariate(1 / pause_s)
    faults = [fault for fault in faults if fault.at_s < world.seconds]
    if world.mode == "abrupt":
        for _ in range(3):
            at_s = round(world.seconds + random.random() * CLOSING_S, 3)
            kind = random.choices(chosen, weights)[0]
            faults.append(Fault(at_s, kind, _part_of(random), _part_of(random)))
    yield from sorted(faults, key=lambda fault: fault.at_s)


def _part_of(random: Random) -> float:
    """Draw a number below 1, with few digits: rounded up to 1 it would pick what is after the last."""
    return min(round(random.random(), 4), 0.9999)


def _up_to_the_last(faults: list[Fault]) -> list[Fault]:
    """Return what happens until a connection is dead for good: what comes after moves its tickers, too."""
    dead_s = next((fault.at_s for fault in faults if fault.kind == "dead"), inf)
    return [fault for fault in faults if fault.at_s <= dead_s]


def _hanging(random: Random, faults: list[Fault]) -> Iterator[Fault]:
    """Yield that a Redis which answers late, so that much is on its way to it, hangs and is gone."""
    for late in faults:
        if late.kind == "redis_replies_late" and random.random() < 0.6:
            hangs_s = late.at_s + 2 + 4 * random.random()
            yield Fault(round(hangs_s, 3), "redis_hung", 0.0, round(0.5 + 0.2 * random.random(), 4))
            yield Fault(round(hangs_s + 3 + 3 * random.random(), 3), "redis_rst")


def _leaving(random: Random, faults: list[Fault]) -> Iterator[Fault]:
    """Yield that some who join hang soon, and are taken leave of while they do."""
    for joining in faults:
        if joining.kind == "join" and random.random() < 0.4:
            hangs_s = joining.at_s + random.random()
            yield Fault(round(hangs_s, 3), "hang", 0.9999, round(0.5 + random.random() / 2, 4))
            yield Fault(round(hangs_s + 1 + 6 * random.random(), 3), "leave", round(random.random(), 4))
