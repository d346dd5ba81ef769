import socket
import ssl
import struct
import threading

import pytest
import trustme

from operators.runtime import SYSTEM
from pipeline.errors import ConnectFailed, PeerClosed, ProtocolViolation
from pipeline.massive.loop import SocketLoop
from pipeline.massive.simulator import Options, Simulator
from pipeline.massive.socket import WireSocket, wire_opener
from tests.conftest import wait_until
from tests.massive.naive_framing import frame


@pytest.fixture
def loop():
    """A running loop, disposed at the end."""
    loop = SocketLoop()
    yield loop
    loop.dispose()


class Peer:
    """The other end of a `WireSocket`, and what the socket reported."""

    def __init__(self, loop, **options):
        ours, self.sock = socket.socketpair()
        self.sock.settimeout(5)
        self.reads = []
        self.troubles = []
        self.pongs = []
        self.wire = WireSocket(ours, loop, **({"clock": SYSTEM.clock} | options))
        started = threading.Event()

        def start(*_):
            self.wire.start(lambda *read: self.reads.append(read), self.troubles.append, self.pongs.append)
            started.set()

        loop.schedule(start)
        assert started.wait(5)

    @property
    def messages(self):
        return [message for _, messages, *_ in list(self.reads) for message in messages]

    def on_loop(self, loop, action):
        done = threading.Event()
        loop.schedule(lambda *_: (action(), done.set()))
        assert done.wait(5)

    def close(self, loop):
        self.on_loop(loop, self.wire.close)
        self.sock.close()


def read_exactly(sock, count):
    """Read so many bytes; MSG_WAITALL does not wait on a socket with a time-out."""
    data = b""
    while len(data) < count:
        data += sock.recv(count - len(data))
    return data


def read_frame(sock):
    """Read one masked client frame; return opcode and payload."""
    head = read_exactly(sock, 2)
    length = head[1] & 0x7F
    if length == 126:
        (length,) = struct.unpack("!H", read_exactly(sock, 2))
    elif length == 127:
        (length,) = struct.unpack("!Q", read_exactly(sock, 8))
    mask = read_exactly(sock, 4)
    data = read_exactly(sock, length)
    return head[0] & 0x0F, bytes(b ^ mask[i % 4] for i, b in enumerate(data))


def test_many_messages_come_out_of_one_read(loop):
    """One system call for hundreds of messages is where the speed comes from: count the reads."""
    peer = Peer(loop, clock=lambda: 42)
    peer.on_loop(loop, lambda: peer.sock.sendall(b"".join(frame(b"%d" % n) for n in range(500))))
    wait_until(lambda: len(peer.messages) == 500)
    assert peer.messages == [b"%d" % n for n in range(500)]
    assert len(peer.reads) == 1
    assert peer.reads[0][0] == 42
    peer.close(loop)


def test_what_has_come_of_a_message_is_told(loop):
    """Without it nobody could tell a message on its way from one that will never be whole."""
    peer = Peer(loop)
    wire = frame(b"x" * 70_000)
    peer.sock.sendall(wire[:50_000])
    wait_until(lambda: peer.wire.unfinished_bytes == 50_000)
    peer.sock.sendall(wire[50_000:])
    wait_until(lambda: len(peer.messages) == 1)
    assert peer.wire.unfinished_bytes == 0
    peer.close(loop)


def test_a_ping_is_answered_with_its_payload(loop):
    """A server that gets no pong hangs up."""
    peer = Peer(loop)
    peer.sock.sendall(frame(b"hello", 0x9))
    assert read_frame(peer.sock) == (0xA, b"hello")
    peer.close(loop)


def test_what_a_ping_carried_comes_back(loop):
    """Nobody could tell which of its questions a server has answered."""
    peer = Peer(loop)
    peer.on_loop(loop, lambda: peer.wire.ping(b"17"))
    assert read_frame(peer.sock) == (0x9, b"17")
    peer.sock.sendall(frame(b"before") + frame(b"17", 0xA))
    assert wait_until(lambda: peer.pongs) == [b"17"]
    assert peer.messages == [b"before"]
    peer.close(loop)


def test_a_close_frame_becomes_trouble_with_code_and_reason_after_its_ticks(loop):
    """The messages before the goodbye count, and the code is what the operator wants to see."""
    peer = Peer(loop)
    peer.sock.sendall(frame(b"last") + frame(struct.pack("!H", 1008) + b"max", 0x8))
    (trouble,) = wait_until(lambda: peer.troubles)
    assert isinstance(trouble, PeerClosed)
    assert (trouble.code, trouble.reason) == (1008, "max")
    assert peer.messages == [b"last"]
    peer.sock.close()


def test_the_end_of_tcp_becomes_trouble_without_a_code(loop):
    """An abort by the server is trouble too, once."""
    peer = Peer(loop)
    peer.sock.close()
    (trouble,) = wait_until(lambda: peer.troubles)
    assert trouble.code is None


@pytest.mark.parametrize(
    ("wire", "code"),
    [(bytes([0x81, 127]) + struct.pack("!Q", 17 * 1024 * 1024), 1009), (bytes([0xFF, 0]), 1002)],
)
def test_a_violation_is_answered_with_its_code(loop, wire, code):
    """The server's log then says what it did wrong; 17 MiB are refused before they are read."""
    peer = Peer(loop)
    peer.sock.sendall(wire)
    (trouble,) = wait_until(lambda: peer.troubles)
    assert isinstance(trouble, ProtocolViolation)
    assert read_frame(peer.sock) == (0x8, struct.pack("!H", code))
    peer.sock.close()


def test_writing_never_waits_for_a_slow_reader(loop):
    """One server that does not read must not stop the reading of the others."""
    peer = Peer(loop)
    texts = [b"%06d" % n * 1000 for n in range(200)]
    peer.on_loop(loop, lambda: [peer.wire.send(text) for text in texts])
    assert [read_frame(peer.sock)[1] for _ in texts] == texts
    peer.on_loop(loop, peer.wire.ping)
    assert read_frame(peer.sock) == (0x9, b"")
    peer.close(loop)


def test_a_server_that_never_reads_is_left(loop):
    """What is unsent is bounded, or a dead server would eat the memory."""
    peer = Peer(loop)
    peer.on_loop(loop, lambda: [peer.wire.send(b"x" * 1_000_000) for _ in range(8)])
    (trouble,) = wait_until(lambda: peer.troubles)
    assert "does not read" in str(trouble)
    peer.sock.close()


def test_nothing_is_called_back_after_close(loop):
    """A connection that hung up must not hear of its old socket again."""
    peer = Peer(loop)
    peer.on_loop(loop, peer.wire.close)
    assert read_frame(peer.sock) == (0x8, struct.pack("!H", 1000))
    assert peer.sock.recv(1) == b""
    peer.sock.close()
    assert (peer.reads, peer.troubles) == ([], [])


def test_tls_gives_all_that_it_has_decrypted(loop):
    """TLS decrypts ahead of the selector: records left in its buffer would wait for the next packet."""
    authority = trustme.CA()
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(server_side)
    client_side = ssl.create_default_context()
    authority.configure_trust(client_side)
    payload = b"x" * 100_000
    with Simulator([], Options(ssl_context=server_side)) as simulator:
        opened = []
        messages = []

        def start(transport):
            opened.append(transport)
            transport.start(lambda _ns, got, *_: messages.extend(got), lambda _: None, lambda _: None)

        open_transport = wire_opener(simulator.url, loop, name="t", ssl_context=client_side)
        open_transport(start)
        wait_until(lambda: messages)
        for _ in range(20):
            simulator.send_raw(frame(payload))
        wait_until(lambda: messages.count(payload) == 20)
        done = threading.Event()
        loop.schedule(lambda *_: (opened[0].close(), done.set()))
        assert done.wait(5)


def test_a_server_without_our_trust_is_refused(loop):
    """The key must never go to whoever answers on the port."""
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(server_side)
    with Simulator([], Options(ssl_context=server_side)) as simulator:
        results = []
        wire_opener(simulator.url, loop, name="t")(results.append)
        (result,) = wait_until(lambda: results)
    assert isinstance(result, ConnectFailed)
    assert "certificate" in str(result)
