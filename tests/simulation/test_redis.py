import socket

import hiredis
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.embedded import RedisServer
from tests.simulation.clients import Peer
from tests.simulation.kernel import Kernel
from tests.simulation.network import Link, Network
from tests.simulation.redis import Redis
from tests.simulation.redis_faults import REDIS_FAULTS, RedisFaults

PORT = 6379
KEYS = st.sampled_from(["a", "b"])
WORDS = st.sampled_from(["", "x", "ü", "two words\r\n"])
COMMANDS = st.lists(
    st.one_of(
        st.tuples(st.just("PUBLISH"), KEYS, WORDS),
        st.tuples(st.just("publish"), KEYS, WORDS),
        st.tuples(st.just("SET"), KEYS, WORDS),
        st.tuples(st.just("GET"), KEYS),
        st.tuples(st.just("HSET"), KEYS, WORDS, WORDS),
        st.tuples(st.just("HSET"), KEYS, WORDS, WORDS, WORDS, WORDS),
        st.tuples(st.just("HGET"), KEYS, WORDS),
        st.tuples(st.just("DEL"), KEYS, KEYS),
        st.tuples(st.just("PING")),
        st.tuples(st.just("ECHO"), WORDS),
        st.tuples(st.just("CLIENT"), st.just("SETNAME"), st.just("me")),
        st.tuples(st.just("SELECT"), st.just("0")),
        st.tuples(st.just("AUTH"), st.sampled_from(["secret", "wrong"])),
        st.tuples(st.just("AUTH"), st.sampled_from(["default", "me"]), st.sampled_from(["secret", "wrong"])),
        st.lists(st.sampled_from(["PUBLISH", "GET", "HSET", "NOSUCH", "x"]), min_size=1, max_size=4).map(
            tuple
        ),
    ),
    max_size=12,
)


def packed(*words):
    """Return a command as it goes over the wire."""
    return hiredis.pack_command(words)


def plain(reply):
    """Return a reply, of an error its first word."""
    return str(reply).split(" ", 1)[0] if isinstance(reply, Exception) else reply


def replies_in(data):
    """Return all replies in a server's bytes, and what is left of one that is cut."""
    reader = hiredis.Reader(notEnoughData=...)
    reader.feed(bytes(data))
    return list(iter(reader.gets, ...)), reader.has_data()


class World:
    """A server and its network."""

    def __init__(self, **options):
        self.kernel = Kernel()
        self.network = Network(self.kernel, Link(latency_s=0.001))
        self.redis = Redis(self.kernel, self.network, port=PORT, **options)
        self.faults = RedisFaults(self.redis)

    def connect(self):
        return Peer(self.kernel, self.network, PORT)


@pytest.fixture(scope="module", params=["", "secret"])
def server(request):
    """A real server, with and without a password."""
    with RedisServer.start(*(("--requirepass", request.param) if request.param else ())) as running:
        running.password = request.param
        yield running


@given(commands=COMMANDS, cuts=st.integers(1, 40))
@settings(max_examples=60, deadline=None)
def test_answers_are_those_of_a_real_server(server, commands, cuts):
    """The sink would be tried against a server that nobody has."""
    data = b"".join(packed(*command) for command in commands)
    world = World(password=server.password, receivers=0)
    end = world.connect()
    for start in range(0, len(data), cuts):
        end.say(data[start : start + cuts])
    world.kernel.run(1)
    with socket.create_connection(("127.0.0.1", server.port), 10) as real:
        if server.password:
            real.sendall(packed("AUTH", server.password))
        real.sendall(packed("FLUSHALL"))
        assert real.recv(100)
    with socket.create_connection(("127.0.0.1", server.port), 10) as real:
        real.sendall(data)
        real.shutdown(socket.SHUT_WR)
        said = b""
        while more := real.recv(65536):
            said += more
    assert list(map(plain, replies_in(end.read)[0])) == list(map(plain, replies_in(said)[0]))


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("say"), st.integers(1, 5), st.just(0.0)),
        st.tuples(st.sampled_from(sorted(REDIS_FAULTS)), st.floats(0, 0.999), st.floats(0, 0.999)),
        st.tuples(st.just("wait"), st.floats(0, 20), st.just(0.0)),
    ),
    max_size=25,
)


@given(steps=STEPS)
@settings(max_examples=80, deadline=None)
def test_what_the_server_took_is_what_is_recorded_and_answered_is_what_was_read(steps):
    """A sink would be blamed for a message that came through, or forgiven one that did not."""
    world = World()
    ends, number = [], 0
    for kind, first, second in steps:
        if kind == "say":
            if not ends or ends[-1].is_over:
                ends.append(world.connect())
                world.kernel.run(0.01)
            commands = [packed("PUBLISH", "c", b"%d" % (number + place)) for place in range(first)]
            number += first
            ends[-1].say(b"".join(commands))
            world.kernel.run(0.01)
        elif kind == "wait":
            world.kernel.run(first)
        else:
            world.faults.inject(kind, first, second)
    world.kernel.run(60)
    taken = [int(one.message) for one in world.redis.published]
    assert len(set(taken)) == len(taken)
    for end in ends:
        told = [reply for reply in replies_in(end.read)[0] if reply == 1]
        mine = [one for one in world.redis.published if one.connection == end.number]
        assert sum(one.is_answered for one in mine) == len(told)
        assert [int(one.message) for one in mine] == sorted(int(one.message) for one in mine)
        answered = [one.is_answered for one in mine]
        assert answered == sorted(answered, reverse=True)  # in order: what was not read comes last


def working(world):
    """Return a client that publishes and comes back when it is cut."""

    def say(end):
        if end is None or end.is_over:
            end = world.connect()
        end.say(packed("PUBLISH", "c", "m"))
        world.kernel.at(0.05, say, end)

    say(None)


@pytest.mark.parametrize("name", REDIS_FAULTS)
def test_a_fault_of_redis_says_what_it_did_and_is_over_some_time(name):
    """A world would count as tried what never happened in it, or wait for its quiet end for ever."""
    for pick, strength in ((0.1, 0.2), (0.5, 0.5), (0.9, 0.9)):
        world, alone = World(), World()
        working(world)
        for each in (world, alone):
            each.kernel.run(1)
        effects = [each.faults.inject(name, pick, strength) for each in (world, alone)]
        for each in (world, alone):
            each.kernel.run(60)
        assert list(map(bool, effects)) == [True, False], effects
        if name in {"half_open", "replies_lost"}:  # of one connection, until its end
            continue
        before = len(world.redis.published)
        world.kernel.run(2)
        assert sum(one.is_answered for one in world.redis.published[before:]) > 30


def test_a_restart_forgets_keys_and_what_it_had_not_carried_out():
    """A hung server that is restarted would have taken what it never did."""
    world = World()
    end = world.connect()
    end.say(packed("SET", "a", "1"))
    world.kernel.run(1)
    world.faults.inject("hung", 0, 0.5)
    end.say(packed("PUBLISH", "c", "m"))
    world.kernel.run(1)
    world.faults.inject("restart", 0, 0)
    early = world.connect()
    world.kernel.run(30)
    assert early.refused
    assert end.rst
    again = world.connect()
    again.say(packed("GET", "a"))
    world.kernel.run(1)
    assert replies_in(again.read) == ([None], False)
    assert world.redis.published == []


def test_a_reply_that_breaks_off_answers_what_came_before_it():
    """What may be sent again would not be what is in doubt."""
    world = World()
    end = world.connect()
    world.kernel.run(1)
    world.faults.inject("cut_in_reply", 0, 0)
    end.say(b"".join(packed("PUBLISH", "c", b"%d" % n) for n in range(5)))
    world.kernel.run(1)
    assert end.fin
    assert replies_in(end.read) == ([1, 1], True)
    assert [one.is_answered for one in world.redis.published] == [True, True, False, False, False]
