"""The Redis sink as it is, in virtual time, against the record of the server."""

import json
from collections import Counter

import pytest

from pipeline.sinks.redis import RedisSink
from pipeline.status import SinkDown, SinkUp
from pipeline.ticks import TickBatch, Trade
from tests.simulation.kernel import Kernel
from tests.simulation.network import Link, Network, runtime_of
from tests.simulation.redis import Redis
from tests.simulation.redis_faults import REDIS_FAULTS, RedisFaults

CHANNELS = 2
SECONDS = 120


class World:
    """A sink that is written to, a server, and what goes wrong there."""

    def __init__(self, seed, *, rough=0.3):
        self.kernel = Kernel(seed)
        network = Network(self.kernel, Link(latency_s=0.0005, jitter_s=0.002, rough=rough))
        self.redis = Redis(self.kernel, network)
        self.faults = RedisFaults(self.redis)
        self.chance = self.kernel.random("world")
        self.events, self.outcomes = [], []
        self.written = 0
        self.is_over = False
        runtime = runtime_of(self.kernel, network)
        self.sink = RedisSink("redis://127.0.0.1:6379/0", on_status=self.events.append, runtime=runtime)
        self.writer = self.kernel.spawn(self._write, "writer")

    def _write(self):
        while not self.is_over:
            self.kernel.sleep(self.chance.random())
            numbers = range(self.written, self.written + self.chance.choice([1, 1, 5, 60]))
            self.written += len(numbers)
            ticks = [Trade(ticker="AAPL", price=n, event_ms=1000 + n) for n in numbers]
            batch = TickBatch(connection="c", received_ns=1, ticks=ticks)
            self.outcomes.append(self.sink.write([batch]))

    def end(self):
        self.is_over = True
        assert self.kernel.run_until(lambda: self.writer.is_over, 90), self.sink.snapshot()

    def published(self):
        """Return the keys of what the server took, by channel, in order."""
        keys = {}
        for one in self.redis.published:
            keys.setdefault(one.channel, []).append(json.loads(one.message)["price"])
        return keys


def check(world):
    """Hold what the sink says against what the server took."""
    snapshot = world.sink.snapshot()
    refused = snapshot["forbidden"]
    copies = 0
    for channel, keys in world.published().items():
        assert list(dict.fromkeys(keys)) == sorted(set(keys)), "the order of the first copies"
        missing = set(range(world.written)) - set(keys)
        assert len(missing) == refused.get(channel, 0)
        copies += len(keys) - len(set(keys))
    assert copies <= snapshot["resent"]
    assert sum(one.is_answered for one in world.redis.published) == snapshot["acknowledged"]
    assert snapshot["acknowledged"] + sum(refused.values()) == CHANNELS * world.written
    assert sum(isinstance(event, SinkDown) for event in world.events) >= sum(
        isinstance(event, SinkUp) for event in world.events
    )
    assert not any(outcome.dropped for outcome in world.outcomes)


@pytest.mark.parametrize("seed", range(8))
def test_what_the_sink_says_of_its_messages_is_what_the_server_took(seed):
    """A message would be lost, or called delivered, and nobody could tell."""
    world = World(seed)
    effects = []
    while world.kernel.now_ns < SECONDS * 10**9:
        world.kernel.run(world.chance.expovariate(1 / 6))
        name = world.chance.choice(sorted(REDIS_FAULTS))
        effects.append(world.faults.inject(name, world.chance.random(), world.chance.random() ** 2))
    world.faults.heal()
    world.end()
    check(world)
    assert Counter(map(bool, effects))[True] > len(effects) / 3, effects


@pytest.mark.parametrize("name", REDIS_FAULTS)
def test_each_fault_by_itself_is_survived_and_most_are_told(name):
    """A fault that always comes with others would hide behind them."""
    told = 0
    for pick in (0.1, 0.9):
        world = World(1)
        world.kernel.run(5)
        effect = world.faults.inject(name, pick, 0.9)
        world.kernel.run(90)
        world.end()
        check(world)
        assert effect
        told += any(isinstance(event, SinkDown | SinkUp) for event in world.events)
    if name in {"hung", "refuses", "down", "half_open", "replies_lost"}:
        assert told


def test_the_same_seed_publishes_the_same():
    """A failing world could not be run again."""
    runs = []
    for _ in range(2):
        world = World(3)
        world.kernel.run(5)
        world.faults.inject("rst", 0.5, 0.5)
        world.kernel.run(20)
        world.end()
        runs.append([(one.at_ns, one.channel, one.message, one.is_answered) for one in world.redis.published])
    assert runs[0] == runs[1]
