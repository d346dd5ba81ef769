import json
import re
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.massive.simulator import Options
from tests.simulation.clients import Client, messages_of
from tests.simulation.kernel import Kernel
from tests.simulation.massive import Massive
from tests.simulation.massive_faults import FAULTS, MassiveFaults
from tests.simulation.network import Link, Network
from tests.simulation.record import Record

PORT = 8765
WHOLE = re.compile(rb'\{"ev":"[A-Z]+","p":(\d+)\.5,"pad":"x*"\}')
SHARES = [["T.A", "Q.A", "LULD.A"], ["T.B", "Q.B"], ["T.A", "T.C", "Q.C"]]
CHANNELS = sorted({channel for share in SHARES for channel in share})


class World:
    """A server, clients that come back, and a market."""

    def __init__(self, shares=SHARES, *, seed=0, options=None):
        self.kernel = Kernel(seed)
        self.network = Network(self.kernel, Link(jitter_s=0.01, rough=0.1))
        self.record = Record()
        self.logs = self.record.sessions
        self.server = Massive(
            self.kernel,
            self.network,
            port=PORT,
            options=options or Options(max_connections=3),
            begin_session=lambda number, now_ns: self.record.begin_session(number, "", now_ns),
        )
        self.faults = MassiveFaults(self.server)
        self.clients = [Client(self.kernel, self.network, PORT, share) for share in shares]
        self.random = Random(seed)
        self.made = {}
        self._tick()

    def _tick(self):
        ticks = []
        for _ in range(self.random.randint(1, 3)):
            key = len(self.made) + 1
            channel = self.random.choice(CHANNELS)
            element = b'{"ev":"%b","p":%d.5,"pad":"%b"}' % (
                channel.split(".")[0].encode(),
                key,
                b"x" * self.random.choice([0, 10, 200]),
            )
            self.made[key] = channel, self.kernel.true_ns, element
            ticks.append((channel, element, key))
        self.server.publish(ticks)
        self.kernel.at(0.15, self._tick)


STEPS = st.lists(
    st.tuples(st.sampled_from(sorted(FAULTS)), st.floats(0, 0.999), st.floats(0, 0.999), st.floats(0, 8)),
    max_size=8,
)


@given(steps=STEPS, seed=st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_the_record_is_what_went_over_the_wire(steps, seed):
    """A model would be held against a record that is not of what the client could read."""
    world = World(seed=seed)
    world.kernel.run(2)
    for name, pick, strength, seconds in steps:
        world.faults.inject(name, pick, strength)
        world.kernel.run(seconds)
    world.kernel.run(3)
    for client in world.clients:
        for end in (end for end in client.ends if end.number):
            read = {
                (begin, stop): [int(key) for key in WHOLE.findall(text)]
                for text, begin, stop in messages_of(end.read)
            }
            recorded = {
                (begin, stop): [key for key in keys if key is not None]
                for begin, stop, keys, _ in world.logs[end.number].messages
                if stop <= len(end.read)
            }
            assert {place: keys for place, keys in read.items() if keys} == {
                place: keys for place, keys in recorded.items() if keys
            }
            assert set(recorded) <= set(read)
            assert world.logs[end.number].read_bytes == len(end.read)


@given(steps=STEPS, seed=st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_a_tick_goes_out_on_sessions_that_held_its_channel_when_it_was_made(steps, seed):
    """Ticks would be missing, or there, for no reason that a client has part in."""
    world = World(seed=seed)
    world.kernel.run(2)
    for name, pick, strength, seconds in steps:
        world.faults.inject(name, pick, strength)
        world.kernel.run(seconds)
    for log in world.logs.values():
        for key in (key for message in log.messages for key in message.keys if key is not None):
            channel, made_ns, _ = world.made[key]
            assert any(
                hold.channel == channel and hold.from_ns <= made_ns <= (hold.to_ns or made_ns)
                for hold in log.holds
            )


def test_what_is_held_and_acknowledged_is_recorded_and_ends_with_the_session():
    """Nobody could say from when on a channel was due."""
    world = World()
    world.kernel.run(1)
    log = world.logs[1]
    assert sorted(hold.channel for hold in log.holds) == ["LULD.A", "Q.A", "T.A"]
    stream = world.clients[0].ends[0].read
    for hold in log.holds:
        text = next(text for text, _, stop in messages_of(stream) if stop == hold.acknowledged)
        assert f"subscribed to: {hold.channel}" in [one["message"] for one in json.loads(text)]
    world.clients[0].say("unsubscribe", "Q.A")
    world.kernel.run(1)
    assert [hold.channel for hold in log.holds if hold.to_ns] == ["Q.A"]
    world.clients[0].ends[0].leave()
    world.kernel.run(1)
    assert log.by_us
    assert all(hold.to_ns for hold in log.holds)
    world.faults.inject("rst", 0.0, 0.0)
    assert (world.logs[2].ended_ns, world.logs[2].by_us) == (world.kernel.true_ns, False)


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_says_that_it_hit_something(name):
    """A world would count as tried what never happened in it."""
    for pick, strength in ((0.0, 0.3), (0.9, 0.9)):
        world = World()
        world.kernel.run(3)
        if name == "eviction":
            world.faults.inject("other_program", 0, 0.5)
        effect = world.faults.inject(name, pick, strength)
        for _ in range(4):  # sessions must end and begin within it
            world.kernel.run(4)
            if name != "half_open_all":
                world.faults.inject("rst_all", 0, 0)
            for client in world.clients:
                client.say("unsubscribe", "T.A")
                client.say("subscribe", "T.A,T.B,T.C")
        world.kernel.run(20)
        assert effect, name
        assert name in repr(effect) or name == "close"


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_without_anybody_says_that_it_hit_nothing(name):
    """As above."""
    world = World(shares=[])
    world.kernel.run(3)
    effect = world.faults.inject(name, 0.5, 0.5)
    world.kernel.run(130)
    assert not effect
    assert "hit nothing" in repr(effect)


@pytest.mark.parametrize("name", FAULTS)
def test_healed_is_healed_at_once(name):
    """Liveness is asked for from a moment on: what still lasted then would be held against the product."""
    world = World()
    before = world.server.options, world.server.faults
    world.kernel.run(2)
    for strength in (0.9, 0.3):
        world.faults.inject(name, 0.5, strength)
    world.kernel.run(1)
    world.faults.heal()
    assert (world.server.options, world.server.faults) == before
    world.kernel.run(15)  # the patience of the clients
    sessions = len(world.logs)
    for _ in range(10):
        world.kernel.run(10)
        assert (world.server.options, world.server.faults) == before
    assert len(world.logs) == sessions
    assert {channel for link in world.server.listening for channel in link.held} == set(CHANNELS)


@pytest.mark.parametrize("name", FAULTS)
def test_all_is_as_before_when_a_fault_is_over(name):
    """A world that waits for its quiet end would wait for ever, or be judged by faults that still last."""
    world = World(shares=[SHARES[0]])
    before = world.server.options, world.server.faults
    for _ in range(2):  # windows that overlap
        world.faults.inject(name, 0.5, 0.5)
        world.kernel.run(1)
    for _ in range(12):
        world.kernel.run(20)
        world.faults.inject("fin", 0.0, 0.0)  # uses up what waits for a new session
    world.kernel.run(20)
    assert (world.server.options, world.server.faults) == before
    tick = max(world.made)
    world.kernel.run(2)
    last = max(world.logs.items())[1]
    assert any(key and key > tick for message in last.messages for key in message.keys)
