"""Simulated sockets held against the kernel's own on loopback: the same scripts, the same outcomes."""

import errno
import fcntl
import select
import selectors
import socket
import struct
import termios

import pytest

from tests.conftest import wait_until
from tests.simulation.kernel import Kernel
from tests.simulation.links import HOLD_S, LONG_HOLD_S
from tests.simulation.network import Link, Name, Network
from tests.simulation.selector import Selector

PORT = 4000
SHORT_S = 0.01
BIG = b"x" * 20_000_000
RESET = struct.pack("ii", 1, 0)
ENDED = select.POLLRDHUP | select.POLLHUP | select.POLLERR


def outcome(action, *args):
    """Return what a call returned, or of what it raised the class and the number."""
    try:
        result = action(*args)
    except OSError as error:
        return type(error).__name__, error.errno
    return result


class RealPair:
    """A client's socket on loopback, and what the server does at the other end."""

    def __init__(self):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.address = listener.getsockname()
            self.client = socket.create_connection(self.address)
            self.server, _ = listener.accept()
        self.selector = selectors.DefaultSelector()

    def send(self, data):
        self.server.sendall(data)

    def fin(self):
        self.server.close()

    def abort(self):
        self.server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.server.close()

    def settle(self, count=None):
        """Wait until so many bytes have come, or the end, or a reset."""
        if count is None:
            poll = select.poll()
            poll.register(self.client, ENDED)
            wait_until(lambda: poll.poll(0), what="the end")
        else:
            wait_until(lambda: self._waiting() >= count, what="the bytes")

    def settle_reset(self):
        """Wait until the client was reset."""
        poll = select.poll()
        poll.register(self.client, 0)
        wait_until(lambda: poll.poll(0), what="the reset")

    def _waiting(self):
        return struct.unpack("i", fcntl.ioctl(self.client, termios.FIONREAD, bytes(4)))[0]

    def do(self, action, *args):
        return outcome(action, *args)

    def heard(self):
        """Return what the server hears, and how it ends."""
        data = b""
        self.server.settimeout(5)
        try:
            while part := self.server.recv(1 << 20):
                data += part
        except ConnectionResetError:
            pass
        return data

    def close(self):
        self.selector.close()
        self.client.close()
        self.server.close()


class SimulatedPair:
    """The same on the simulated network."""

    def __init__(self, link=None):
        self.kernel = Kernel()
        self.network = Network(self.kernel, link)
        self.ends = []
        self.said = bytearray()
        self.has_left = False
        self.network.listen(PORT, self._accept)
        self.address = ("127.0.0.1", PORT)
        self.client = self.network.open_socket()
        assert self.do(self.client.connect, self.address) is None
        self.kernel.run(1)
        self.end = self.ends[0]
        self.selector = self.network.selector()
        self.send, self.fin, self.abort = self.end.send, self.end.close, self.end.abort

    def _accept(self, end):
        self.ends.append(end)
        end.on_data = self.said.extend
        end.on_end = self._leave

    def _leave(self):
        assert not self.has_left
        self.has_left = True

    def settle(self, count=None):
        self.kernel.run(1)

    settle_reset = settle

    def do(self, action, *args):
        return self.kernel.call(outcome, action, *args, within_s=1000)

    def heard(self):
        self.kernel.run(1)
        assert self.has_left
        return bytes(self.said)

    def close(self):
        self.selector.close()
        self.client.close()
        self.kernel.run(2000)
        assert self.kernel.left() == []
        assert self.network.descriptors.open == {}


# -- scripts: each returns what a client saw -----------------------------------------------------------------


def _read_to_the_end(pair):
    pair.send(b"hello")
    pair.fin()
    pair.settle(5)
    pair.settle()
    return [pair.do(pair.client.recv, size) for size in (3, 0, 100, 100, 100)]


def _send_after_the_end(pair):
    pair.send(b"hello")
    pair.fin()
    pair.settle()
    log = [pair.do(pair.client.recv, 3), pair.do(pair.client.send, b"x")]
    pair.settle_reset()
    log += [pair.do(pair.client.recv, 100), pair.do(pair.client.recv, 100)]
    log += [pair.do(pair.client.send, b"x"), pair.do(pair.client.send, b"x")]
    return [*log, pair.do(pair.client.shutdown, socket.SHUT_RDWR)]


def _be_reset_with_unread_bytes(pair):
    pair.send(b"hello")
    pair.settle(5)
    pair.abort()
    pair.settle()
    log = [pair.do(pair.client.recv, size) for size in (3, 100, 100, 100)]
    return [*log, pair.do(pair.client.send, b"x"), pair.do(pair.client.getpeername)]


def _be_reset_and_send(pair):
    pair.abort()
    pair.settle()
    log = [pair.do(pair.client.send, b"x"), pair.do(pair.client.recv, 9), pair.do(pair.client.send, b"x")]
    return [*log, pair.do(pair.client.getsockopt, socket.SOL_SOCKET, socket.SO_ERROR)]


def _be_reset_and_ask_why(pair):
    pair.abort()
    pair.settle()
    ask = pair.client.getsockopt, socket.SOL_SOCKET, socket.SO_ERROR
    log = [pair.do(*ask), pair.do(*ask), pair.do(pair.client.recv, 9)]
    return [*log, pair.do(pair.client.shutdown, socket.SHUT_RDWR)]


def _shut_down(pair):
    pair.send(b"hello")
    pair.settle(5)
    log = [pair.do(pair.client.shutdown, socket.SHUT_RDWR)]
    log += [pair.do(pair.client.recv, size) for size in (3, 100, 100)]
    return [
        *log,
        pair.do(pair.client.send, b"x"),
        pair.do(pair.client.shutdown, socket.SHUT_RDWR),
        pair.heard(),
    ]


def _shut_down_one_way(pair):
    log = [pair.do(pair.client.send, b"bye"), pair.do(pair.client.shutdown, socket.SHUT_WR)]
    log += [pair.heard(), pair.do(pair.client.send, b"x")]
    pair.client.settimeout(SHORT_S)
    return [*log, pair.do(pair.client.recv, 1)]


def _say_something(pair):
    log = [pair.do(pair.client.sendall, b"hello "), pair.do(pair.client.send, bytearray(b"world"))]
    pair.client.close()
    return [*log, pair.heard()]


def _leave_bytes_unread(pair):
    pair.send(b"hello")
    pair.settle(5)
    pair.client.close()
    return [pair.heard()]


def _wait_in_vain(pair):
    log = []
    pair.client.settimeout(SHORT_S)
    log += [pair.do(pair.client.recv, 1), pair.client.gettimeout(), pair.client.getblocking()]
    pair.client.setblocking(False)
    log += [pair.do(pair.client.recv, 1), pair.client.gettimeout(), pair.client.getblocking()]
    pair.client.settimeout(0)
    log += [pair.do(pair.client.recv, 1), pair.do(pair.client.recv_into, bytearray(3))]
    pair.client.setblocking(True)
    log += [pair.client.gettimeout(), pair.do(pair.client.recv, 1, socket.MSG_DONTWAIT)]
    return log


def _read_into_a_buffer(pair):
    pair.send(b"hello world")
    pair.settle(11)
    buffer = bytearray(8)
    log = [
        pair.do(pair.client.recv, 4, socket.MSG_PEEK),
        pair.do(pair.client.recv_into, buffer),
        bytes(buffer),
    ]
    view = memoryview(buffer)[2:]
    return [*log, pair.do(pair.client.recv_into, view, 2), bytes(buffer)]


def _fill_the_buffers(pair):
    """More than fits: a part is sent, then nothing, and a wait for room ends."""
    pair.client.setblocking(False)
    if isinstance(pair, SimulatedPair):
        pair.end.hold_reads(hold=True)
    log = [0 < pair.do(pair.client.send, BIG) < len(BIG)]
    while isinstance(last := pair.do(pair.client.send, BIG), int):
        pass
    pair.client.settimeout(SHORT_S)
    return [*log, last, pair.do(pair.client.send, b"x"), pair.do(pair.client.sendall, b"x")]


def _use_it_closed(pair):
    pair.client.close()
    pair.client.close()
    calls = (
        (pair.client.recv, 1),
        (pair.client.send, b"x"),
        (pair.client.sendall, b"x"),
        (pair.client.shutdown, socket.SHUT_RDWR),
        (pair.client.settimeout, 1),
        (pair.client.setblocking, False),
        (pair.client.getsockopt, socket.SOL_SOCKET, socket.SO_ERROR),
        (pair.client.connect_ex, pair.address),
        (pair.client.fileno,),
    )
    return [pair.do(*call) for call in calls]


def _connect_twice(pair):
    return [pair.do(pair.client.connect_ex, pair.address), pair.do(pair.client.connect, pair.address)]


def _select(pair):
    """Look what the socket is ready for in each of its states."""
    both, selector = selectors.EVENT_READ | selectors.EVENT_WRITE, pair.selector
    key = selector.register(pair.client, selectors.EVENT_READ, "data")

    def look():
        return [(key.data, events) for key, events in pair.do(selector.select, 0)]

    log = [key.data, look(), look()]
    pair.send(b"hello")
    pair.settle(5)
    log += [look(), pair.do(pair.client.recv, 2), look()]
    selector.modify(pair.client, both, "more")
    log += [look(), pair.do(pair.client.recv, 100), look()]
    pair.fin()
    pair.settle()
    log += [look(), pair.do(pair.client.recv, 100), look()]
    selector.modify(pair.client, selectors.EVENT_WRITE)
    log += [look(), selector.get_key(pair.client).events, len(selector.get_map())]
    selector.unregister(pair.client)
    return [*log, pair.do(selector.select, SHORT_S), len(selector.get_map())]


def _select_after_a_reset(pair):
    pair.selector.register(pair.client, selectors.EVENT_READ)
    pair.abort()
    pair.settle()
    log = [[events for _, events in pair.do(pair.selector.select, 0)]]
    pair.selector.modify(pair.client, selectors.EVENT_WRITE)
    log += [[events for _, events in pair.do(pair.selector.select, 0)]]
    pair.client.close()
    return [*log, pair.do(pair.selector.select, SHORT_S), len(pair.selector.get_map())]


SCRIPTS = (
    _read_to_the_end,
    _send_after_the_end,
    _be_reset_with_unread_bytes,
    _be_reset_and_send,
    _be_reset_and_ask_why,
    _shut_down,
    _shut_down_one_way,
    _say_something,
    _leave_bytes_unread,
    _wait_in_vain,
    _read_into_a_buffer,
    _fill_the_buffers,
    _use_it_closed,
    _connect_twice,
    _select,
    _select_after_a_reset,
)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.__name__.strip("_"))
def test_a_socket_does_what_the_kernels_own_does(script):
    """What the product makes of errors that no kernel gives says nothing of what it makes of real ones."""
    outcomes = []
    for kind in (RealPair, SimulatedPair):
        pair = kind()
        try:
            outcomes.append(script(pair))
        finally:
            pair.close()
    assert outcomes[0] == outcomes[1]


def _free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def _use_it_unconnected(sock, _address, do):
    return [
        do(sock.recv, 1),
        do(sock.send, b"x"),
        do(sock.shutdown, socket.SHUT_RDWR),
        do(sock.getpeername),
        do(sock.settimeout, 5),
        do(sock.gettimeout),
        do(sock.connect_ex, _address),
        do(sock.getsockopt, socket.SOL_SOCKET, socket.SO_ERROR),
    ]


def _be_refused(sock, address, do):
    return [do(sock.connect, address)]


def _be_refused_later(sock, address, do):
    sock.setblocking(False)
    log = [do(sock.connect_ex, address)]
    yield log
    ask = sock.getsockopt, socket.SOL_SOCKET, socket.SO_ERROR
    yield [do(*ask), do(*ask)]


def _refused(script, sock, address, do, settle):
    steps = script(sock, address, do)
    if isinstance(steps, list):
        return steps
    log = []
    for step in steps:
        log += step
        settle(sock)
    return log


@pytest.mark.parametrize("script", [_use_it_unconnected, _be_refused, _be_refused_later])
def test_a_socket_that_is_refused_says_so_as_the_kernels_own(script):
    """As for sockets that are connected."""

    def settle(sock):
        poll = select.poll()
        poll.register(sock, select.POLLOUT)
        wait_until(lambda: poll.poll(0), what="the refusal")

    with socket.socket() as sock:
        real = _refused(script, sock, ("127.0.0.1", _free_port()), outcome, settle)
    kernel = Kernel()
    network = Network(kernel)
    with network.open_socket() as sock:
        do = lambda *call: kernel.call(outcome, *call)  # noqa: E731
        simulated = _refused(script, sock, ("127.0.0.1", PORT), do, lambda _: kernel.run(1))
    assert simulated == real
    assert network.refusals[PORT] == 1


def test_a_pair_of_sockets_wakes_a_selector():
    """The loop of a stream is woken by nothing else."""

    def script(make_pair, make_selector):
        one, other = make_pair()
        log = []
        with one, other, make_selector() as selector:
            one.setblocking(False)
            other.setblocking(False)
            selector.register(other, selectors.EVENT_READ)
            log += [len(selector.select(0)), one.send(b"\0"), len(selector.select(1)), other.recv(4096)]
            log += [outcome(other.recv, 4096), len(selector.select(0))]
            while isinstance(last := outcome(one.send, b"x" * 10_000), int):
                pass
            log.append(last)
            one.close()
            log += [len(selector.select(1))]
        return log

    kernel = Kernel()
    network = Network(kernel)
    assert kernel.call(script, network.socketpair, network.selector) == script(
        socket.socketpair, selectors.DefaultSelector
    )
    assert network.descriptors.open == {}


# -- what only the simulated network does ------------------------------------------------------------------


def test_a_slow_reader_makes_the_servers_unread_bytes_grow():
    """A server kills who reads too slowly: it is seen by what the client has read."""
    pair = SimulatedPair(Link(receive_bytes=1000))
    read = []
    pair.end.on_read = read.append
    pair.end.send(b"a" * 600)
    pair.end.send(b"b" * 5000)
    pair.kernel.run(1)
    assert (pair.end.sent_bytes, pair.end.read_bytes, pair.end.unread_bytes) == (5600, 0, 5600)
    assert pair.client.inbox_bytes == 1000
    got = b""
    while len(got) < 5600:
        got += pair.do(pair.client.recv, 700)
    assert got == b"a" * 600 + b"b" * 5000
    assert read[-1] == pair.end.read_bytes == 5600
    pair.end.send(b"c" * 5000)
    pair.end.close()
    got = b""
    while part := pair.do(pair.client.recv, 900):
        got += part
    assert got == b"c" * 5000
    pair.close()


@pytest.mark.parametrize("seed", range(10))
def test_a_rough_link_cuts_and_joins_but_loses_and_turns_nothing(seed):
    """TCP does the same: what the product makes of any cut must be what it makes of none."""
    kernel = Kernel(seed)
    kernel.arm("short_read", "eagain", "short_write", "spurious_wake")
    network = Network(kernel, Link(jitter_s=0.01, rough=0.5))
    ends, heard, reads = [], bytearray(), []
    sizes = (1, 2, 125, 126, 127, 1000, 65_535, 65_536, 200_000)

    def accept(end):
        ends.append(end)
        end.on_data = heard.extend
        for number in range(60):
            kernel.at(number * 0.01, end.send, bytes([number]) * sizes[number % len(sizes)])
        kernel.at(20, end.close)

    def client():
        sock, selector = network.open_socket(), network.selector()
        sock.connect(("127.0.0.1", PORT))
        sock.setblocking(False)
        selector.register(sock, selectors.EVENT_READ)
        unsent = b"0123456789" * 10_000
        while True:
            selector.modify(sock, selectors.EVENT_READ | (selectors.EVENT_WRITE if unsent else 0))
            selector.select(1)
            try:
                unsent = unsent[sock.send(unsent) :] if unsent else unsent
                reads.append(sock.recv(65_536))
            except BlockingIOError:
                continue
            if not reads[-1]:
                break
        selector.close()
        sock.close()

    network.listen(PORT, accept)
    kernel.call(client)
    kernel.run(1)
    assert b"".join(reads) == b"".join(bytes([n]) * sizes[n % len(sizes)] for n in range(60))
    assert bytes(heard) == b"0123456789" * 10_000
    assert len(reads) > 20
    assert ends[0].unread_bytes == 0
    assert kernel.left() == []


def test_a_rough_link_holds_nothing_back_for_longer_than_it_says():
    """What adds up leaves a busy connection minutes behind, which looks like a loss."""
    kernel = Kernel()
    network = Network(kernel, Link(latency_s=0.002, jitter_s=0.05, rough=0.5))
    late_s = []

    def accept(end):
        end.on_read = lambda offset: late_s.append(kernel.now_ns / 1e9 - offset // 10 * 0.01)
        for number in range(1, 3000):
            kernel.at(number * 0.01, end.send, bytes(10))

    def client():
        sock = network.open_socket()
        sock.connect(("127.0.0.1", PORT))
        while sock.recv(65_536):
            pass

    network.listen(PORT, accept)
    kernel.spawn(client, "client")
    kernel.run(40)
    assert 0.9 < max(late_s) < 0.01 + 0.002 + 0.05 + LONG_HOLD_S + HOLD_S
    assert network.ends[0].unread_bytes == 0
    kernel.close()


def test_bandwidth_and_latency_take_their_time():
    """A link without either would hide what waits on the way."""
    pair = SimulatedPair(Link(latency_s=0.5, bytes_per_s=1000))
    before_s = pair.kernel.monotonic()
    pair.end.send(b"x" * 2000)
    assert pair.do(pair.client.recv, 4000) == b"x" * 2000
    assert pair.kernel.monotonic() - before_s == pytest.approx(2.5)
    pair.close()


@pytest.mark.parametrize("silence", ["half_open", "mute"])
def test_a_silent_connection_tells_nobody(silence):
    """Half-open sockets are where ticks get lost: neither side may learn of it."""
    pair = SimulatedPair()
    pair.end.send(b"before")
    pair.kernel.run(1)
    pair.end.send(b"on its way")
    getattr(pair.end, silence)()
    pair.end.send(b"after")
    pair.client.settimeout(60)
    assert pair.do(pair.client.recv, 100) == b"before"
    assert pair.do(pair.client.recv, 100) == ("TimeoutError", None)
    assert pair.do(pair.client.send, b"ping") == 4
    pair.kernel.run(1)
    assert pair.said == (b"" if silence == "half_open" else b"ping")
    assert pair.end.unread_bytes == len(b"on its way" + b"after")
    pair.client.close()
    pair.kernel.run(1)
    assert pair.has_left is (silence == "mute")


def test_a_half_open_connection_ends_when_the_system_gives_up():
    """After a quarter of an hour of sending again, as Linux does."""
    pair = SimulatedPair()
    pair.end.half_open()
    pair.client.send(b"ping")
    assert pair.do(pair.client.recv, 1) == ("TimeoutError", errno.ETIMEDOUT)
    assert 900 < pair.kernel.now_ns / 1e9 < 1000
    pair.close()


def test_a_reset_loses_what_is_on_its_way():
    """What was sent and has not arrived is lost with a reset; what has can be read still, as with Linux."""
    pair = SimulatedPair(Link(latency_s=0.5, receive_bytes=4))
    pair.end.send(b"hello")
    pair.kernel.run(1)
    pair.end.send(b"world")
    pair.end.abort()
    pair.kernel.run(1)
    assert pair.do(pair.client.recv, 100) == b"hell"
    assert pair.do(pair.client.recv, 100) == ("ConnectionResetError", errno.ECONNRESET)
    assert not pair.has_left
    assert pair.end.unread_bytes == 6


@pytest.mark.parametrize(
    ("obstacle", "number"),
    [("refused", errno.ECONNREFUSED), ("unreachable", errno.EHOSTUNREACH), ("silent", errno.ETIMEDOUT)],
)
def test_obstacles_to_a_dial(obstacle, number):
    """All ways in which a dial fails must be met."""
    kernel = Kernel()
    network = Network(kernel)
    network.listen(PORT, lambda _: pytest.fail("it was let in"))
    network.obstruct(PORT, obstacle, "192.0.2.1")
    sock = network.open_socket()
    result = kernel.call(outcome, sock.connect, ("192.0.2.1", PORT), within_s=200)
    assert result[1] == number
    sock.settimeout(3)
    network.obstruct(PORT, "silent")
    assert kernel.call(outcome, sock.connect, ("127.0.0.1", PORT)) == ("TimeoutError", None)
    sock.close()


def test_a_connection_that_is_swallowed_stays_silent():
    """A port that is answered by something that says nothing: the dial must end by its own time-out."""
    kernel = Kernel()
    network = Network(kernel)
    network.obstruct(PORT, "swallowed")
    network.listen(PORT, lambda _: pytest.fail("it was let in"))
    sock = network.open_socket()
    sock.settimeout(3)
    assert kernel.call(outcome, sock.connect, ("127.0.0.1", PORT)) is None
    assert kernel.call(outcome, sock.recv, 1) == ("TimeoutError", None)
    network.clear(PORT)


def test_names_are_looked_up():
    """Several addresses, of both families, late, none, and a failure."""
    kernel = Kernel()
    network = Network(kernel)
    network.names["feed.example"] = Name(("2001:db8::1", "192.0.2.1"), delay_s=3)
    network.names["gone.example"] = Name(error=socket.EAI_AGAIN)

    def look_up(host):
        found = network.addresses(host, PORT, type=socket.SOCK_STREAM)
        return [(info[0], info[4][:2]) for info in found]

    inet, inet6 = socket.AF_INET, socket.AF_INET6
    assert kernel.call(look_up, "feed.example") == [
        (inet6, ("2001:db8::1", PORT)),
        (inet, ("192.0.2.1", PORT)),
    ]
    assert kernel.now_ns == 3_000_000_000
    assert kernel.call(look_up, "127.0.0.1") == [(inet, ("127.0.0.1", PORT))]
    assert kernel.call(outcome, look_up, "gone.example") == ("gaierror", socket.EAI_AGAIN)
    assert kernel.call(outcome, look_up, "nobody.example") == ("gaierror", socket.EAI_NONAME)


def test_numbers_of_closed_sockets_come_again():
    """Whoever keeps a number of something closed finds another socket behind it, as in life."""
    kernel = Kernel()
    network = Network(kernel)
    one, other = network.open_socket(), network.open_socket()
    number = one.fileno()
    selector = Selector(kernel)
    selector.register(one, selectors.EVENT_READ)
    one.close()
    third = network.open_socket()
    assert third.fileno() == number
    assert selector.select(0) == []
    with pytest.raises(KeyError):
        selector.register(third, selectors.EVENT_READ)
    other.close()
    third.close()


def test_a_server_may_be_left_in_any_state():
    """A client that closes before or while it is connected is counted once, and leaves nothing."""
    for delay_s in (0.0, 0.001, 0.003, 0.0041, 1.0):
        kernel = Kernel()
        network = Network(kernel, Link(latency_s=0.002))
        ends, left = [], []

        def accept(end, ends=ends, left=left):
            ends.append(end)
            end.on_end = lambda: left.append(end.number)
            end.send(b"hello")

        network.listen(PORT, accept)
        sock = network.open_socket()
        sock.setblocking(False)
        assert sock.connect_ex(("127.0.0.1", PORT)) == errno.EINPROGRESS
        kernel.run(delay_s)
        sock.close()
        kernel.run(5)
        assert left == [end.number for end in ends]
        assert not kernel.timers_left()
        assert network.descriptors.open == {}
