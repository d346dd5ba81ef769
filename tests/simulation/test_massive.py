import json
import re
from collections import defaultdict
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.massive.simulator import Options
from tests.simulation.massive import Massive
from tests.simulation.massive_faults import FAULTS, MassiveFaults
from tests.simulation.tiny_clients import TinyClient, messages_of
from tests.simulation.tiny_network import TinyKernel, TinyNetwork

PORT = 8765
WHOLE = re.compile(rb'\{"ev":"[A-Z]+","p":(\d+)\.5,"pad":"x*"\}')
SHARES = [["T.A", "Q.A", "LULD.A"], ["T.B", "Q.B"], ["T.A", "T.C", "Q.C"]]
CHANNELS = sorted({channel for share in SHARES for channel in share})


class Log:
    """Keeps what a server records of a session."""

    def __init__(self):
        self.held = defaultdict(list)
        self.messages = []
        self.acknowledged = {}
        self.deaf = self.ended = None

    def hold(self, channel, now_ns):
        self.held[channel].append([now_ns, None])

    def release(self, channel, now_ns):
        self.held[channel][-1][1] = now_ns

    def acknowledge(self, channel, end):
        self.acknowledged.setdefault(channel, end)

    def send(self, keys, begin, end, now_ns):
        self.messages.append((tuple(keys), begin, end, now_ns))

    def deafen(self, now_ns):
        self.deaf = now_ns

    def end(self, now_ns, *, by_us):
        assert self.ended is None, "a session ends once"
        self.ended = now_ns, by_us


class World:
    """A server, clients that come back, and a market."""

    def __init__(self, shares=SHARES, *, seed=0, options=None):
        self.kernel = TinyKernel()
        self.network = TinyNetwork(self.kernel)
        self.logs = {}
        self.server = Massive(
            self.kernel,
            self.network,
            port=PORT,
            options=options or Options(max_connections=3),
            begin_session=lambda number, _: self.logs.setdefault(number, Log()),
        )
        self.faults = MassiveFaults(self.server)
        self.clients = [TinyClient(self.kernel, self.network, PORT, share) for share in shares]
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
        self.kernel.at(0.05, self._tick)


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
        for end in client.ends:
            read = {
                (begin, stop): [int(key) for key in WHOLE.findall(text)]
                for text, begin, stop in messages_of(end.read)
            }
            recorded = {
                (begin, stop): [key for key in keys if key is not None]
                for keys, begin, stop, _ in world.logs[end.number].messages
                if stop <= end.read_bytes
            }
            assert {place: keys for place, keys in read.items() if keys} == {
                place: keys for place, keys in recorded.items() if keys
            }
            assert set(recorded) <= set(read)


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
        for sent, *_ in log.messages:
            for key in sent:
                if key is not None:
                    channel, made_ns, _ = world.made[key]
                    assert any(begin <= made_ns <= (end or made_ns) for begin, end in log.held[channel])


def test_what_is_held_and_acknowledged_is_recorded_and_ends_with_the_session():
    """Nobody could say from when on a channel was due."""
    world = World()
    world.kernel.run(1)
    log = world.logs[1]
    assert {channel: len(times) for channel, times in log.held.items()} == {"T.A": 1, "Q.A": 1, "LULD.A": 1}
    stream = world.clients[0].ends[0].read
    for end in log.acknowledged.values():
        text = next(text for text, _, stop in messages_of(stream) if stop == end)
        assert sorted(one["message"] for one in json.loads(text)) == sorted(
            f"subscribed to: {channel}" for channel in log.acknowledged
        )
    world.clients[0].say("unsubscribe", "Q.A")
    world.kernel.run(1)
    assert log.held["Q.A"][0][1] is not None
    world.clients[0].ends[0].leave()
    world.kernel.run(1)
    assert log.ended[1] is True
    world.faults.inject("rst", 0.0, 0.0)
    assert world.logs[2].ended == (world.kernel.true_ns, False)


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_says_that_it_hit_something(name):
    """A world would count as tried what never happened in it."""
    for pick, strength in ((0.0, 0.3), (0.5, 0.9), (0.9, 0.6)):
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
    assert any(key and key > tick for sent, *_ in max(world.logs.items())[1].messages for key in sent)
