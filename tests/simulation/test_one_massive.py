"""The simulator over real sockets and the server on the simulated network are one: they say the same."""

import json
import socket
from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.massive.simulator import Acks, Eviction, Faults, Options, Packet, Simulator
from pipeline.massive.simulator.faults import MALFORMED
from pipeline.massive.simulator.wire import Opcode
from tests.simulation.clients import UPGRADE, Peer, client_frame, frames_of
from tests.simulation.kernel import Kernel
from tests.simulation.massive import Massive
from tests.simulation.network import Link, Network
from tests.simulation.record import Session

BARRIER = b"barrier"
CLIENTS = 3
WORDS = st.lists(st.sampled_from(["T.A", "T.B", "Q.A", "Q.*", "LULD.A", "X.A", "AM.A"]), max_size=4).map(
    ",".join
)
MESSAGES = st.one_of(
    st.tuples(st.just("auth"), st.sampled_from(["good", "good", "good", "fine", "bad"])),
    st.tuples(st.sampled_from(["subscribe", "subscribe", "unsubscribe", "dance"]), WORDS),
).map(lambda pair: json.dumps({"action": pair[0], "params": pair[1]}).encode())
FRAMES = st.one_of(
    MESSAGES.map(client_frame),
    MESSAGES.map(client_frame),
    MESSAGES.map(client_frame),
    st.binary(max_size=20).map(client_frame),
    st.builds(client_frame, st.binary(max_size=20), st.just(Opcode.PING)),
    st.builds(client_frame, st.sampled_from([b"", (4000).to_bytes(2, "big")]), st.just(Opcode.CLOSE)),
    st.just(b"\x81\x02hi"),  # without a mask
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.integers(0, CLIENTS - 1), FRAMES),
        st.tuples(st.just("market"), st.lists(st.sampled_from(["T.A", "T.B", "Q.A", "AM.A"]), min_size=1)),
        st.tuples(st.just("close"), st.sampled_from([1000, 1001, 1011])),
    ),
    max_size=25,
)
GREETINGS = st.permutations(
    [
        (who, client_frame(json.dumps({"action": action, "params": params}).encode()))
        for who in range(CLIENTS)
        for action, params in (("auth", "good"), ("subscribe", "T.A,Q.*"))
    ]
)
FRACTIONS = st.sampled_from([0.0, 0.0, 0.3])
OPTIONS = st.builds(
    Options,
    keys=st.just(frozenset({"good", "fine"})),
    max_connections=st.sampled_from([None, 1, 2]),
    eviction=st.sampled_from(Eviction),
    acks=st.sampled_from([Acks.BATCHED, Acks.SINGLE]),  # the third waits for a second
    unauthorized=st.sampled_from([frozenset(), frozenset({"Q.*"})]),
    unanswered=st.sampled_from([frozenset(), frozenset({"LULD.A"})]),
    start_after=st.just(0),
    seed=st.integers(0, 9),
)
FAULTS = st.builds(
    Faults,
    repeat=FRACTIONS,
    malformed=FRACTIONS,
    truncated=FRACTIONS,
    pings=FRACTIONS,
    ack_loss=FRACTIONS,
    fragments=st.integers(1, 3),
    shuffle_acks=st.booleans(),
    drop_auth=st.integers(0, 1),
    lose_auth=st.integers(0, 1),
)


class Queue:
    """A feed that gives what was put into it."""

    patient = False
    finite = False

    def __init__(self):
        self.packets = deque()

    def take(self, elapsed_s):
        while self.packets:
            yield self.packets.popleft()

    def wait_s(self, elapsed_s):
        return 0.001


class Real:
    """The simulator, and sockets that read after each step all that it brought."""

    def __init__(self, options, faults):
        self._feed = Queue()
        self._simulator = Simulator([self._feed], options, faults).start()
        self._sockets = []
        self.streams = [bytearray() for _ in range(CLIENTS)]
        for _ in range(CLIENTS):
            self._sockets.append(socket.create_connection(("127.0.0.1", self._simulator.port), 10))
            self.say(len(self._sockets) - 1, UPGRADE)

    def say(self, which, data):
        if self._sockets[which] is not None:
            self._sockets[which].sendall(data)
        self._read()

    def market(self, packet):
        self._feed.packets.append(packet)
        self._simulator.wait_for(lambda _: not self._feed.packets)
        self._read()

    def close(self, code):
        self._simulator.close_clients(code, "because")
        self._read()

    def _read(self):
        for which, sock in enumerate(self._sockets):
            stream = self.streams[which]
            if sock is not None and not self._until_barrier(sock, stream):
                sock.close()
                self._sockets[which] = None

    @staticmethod
    def _until_barrier(sock, stream):
        before = stream.count(BARRIER)
        try:
            sock.sendall(client_frame(BARRIER, Opcode.PING))
            while stream.count(BARRIER) == before:
                data = sock.recv(65536)
                if not data:
                    return False
                stream += data
                if any(first & 15 == Opcode.CLOSE for first, *_ in frames_of(stream)):
                    sock.sendall(client_frame(b"", Opcode.CLOSE))
                    while data := sock.recv(65536):
                        stream += data
                    return False
        except OSError:
            return False
        return True

    def end(self):
        for sock in self._sockets:
            if sock is not None:
                sock.close()
        self._simulator.stop()


class Simulated:
    """The server on the simulated network."""

    def __init__(self, options, faults):
        self._kernel = Kernel()
        network = Network(self._kernel, Link(latency_s=0.001))
        self._server = Massive(
            self._kernel,
            network,
            options=options,
            faults=faults,
            begin_session=lambda number, now_ns: Session(number, "", now_ns),
        )
        self._server.malformed = MALFORMED
        self._clients = []
        for _ in range(CLIENTS):
            self._clients.append(Peer(self._kernel, network, 8765))
            self.say(-1, UPGRADE)

    @property
    def streams(self):
        return [client.read for client in self._clients]

    def say(self, which, data):
        if not self._clients[which].fin:
            self._clients[which].say(data)
        self._pass()

    def market(self, packet):
        self._server.publish(
            (channel, element, 0) for channel, element in zip(*packet_parts(packet), strict=True)
        )
        self._pass()

    def close(self, code):
        for conversation in self._server.chosen(None):
            conversation.close(code, "because")
        self._pass()

    def _pass(self):
        self._kernel.run(0.01)
        for client in self._clients:
            closed = any(first & 15 == Opcode.CLOSE for first, *_ in frames_of(client.read))
            if closed or client.fin or client.rst:
                client.leave()
        self._kernel.run(0.01)


def packet_parts(packet):
    """Return channels and elements."""
    return packet.channels, packet.elements


def said(stream):
    """Return the frames of a stream but for the barriers."""
    return [(first, payload) for first, payload, *_ in frames_of(stream) if payload != BARRIER]


@pytest.mark.timeout(120)
@given(greetings=GREETINGS, steps=STEPS, options=OPTIONS, faults=FAULTS)
@settings(max_examples=40, deadline=None)
def test_the_same_script_gets_the_same_answers(greetings, steps, options, faults):
    """What is proved in the simulation would not hold for the simulator that tests and users have."""
    real, simulated = Real(options, faults), Simulated(options, faults)
    try:
        number = 0
        for who, what in greetings + steps:
            if who == "market":
                number += 1
                elements = [b'{"ev":"x","n":%d,"m":%d}' % (number, place) for place in range(len(what))]
                for each in (real, simulated):
                    each.market(Packet(zip(what, elements, strict=True)))
            elif who == "close":
                for each in (real, simulated):
                    each.close(what)
            else:
                for each in (real, simulated):
                    each.say(who, what)
    finally:
        real.end()
    assert [said(stream) for stream in real.streams] == [said(stream) for stream in simulated.streams]
