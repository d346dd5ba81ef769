import json
import math
import socket
import ssl
import threading

import pytest
import trustme
import websocket

from pipeline.massive.simulator import Acks, Eviction, Faults, Options, ReplayFeed, Simulator, SyntheticFeed
from tests.massive.simulator.clients import Reader
from tests.massive.simulator.packets import SMALL_BUFFER, full_speed, trades


def test_greeting_key_acknowledgement_data(simulate, connect):
    """No client would get as far as its first tick."""
    reader = connect(simulate([full_speed(3)]))
    reader.wait(lambda r: r.status_elements).subscribe("T.AAPL,Q.AAPL")
    reader.wait(lambda r: len(r.data) == 3)
    assert [(one["status"], one["message"]) for one in reader.status_elements] == [
        ("connected", "Connected Successfully"),
        ("auth_success", "authenticated"),
        ("success", "subscribed to: T.AAPL"),
        ("success", "subscribed to: Q.AAPL"),
    ]
    assert [one["q"] for one in reader.data] == [0, 1, 2]


def test_full_speed_loses_nothing_to_three_readers(simulate, connect):
    """The account of the main job would not balance, and the simulator would be to blame."""
    tickers = ["A", "B", "C"]
    feeds = [SyntheticFeed(tickers, rate=math.inf, count=6000), full_speed(4000, ticker="D")]
    simulator = simulate(feeds, Options(start_after=3))
    channels = ["T.A,Q.A,A.A", "T.B,Q.B,T.C,Q.C", "T.*,Q.D"]
    readers = [connect(simulator) for _ in channels]
    for reader, params in zip(readers, channels, strict=True):
        reader.subscribe(params)
    assert simulator.finished.wait(20)
    report = simulator.report()
    for reader, client in zip(readers, report.clients, strict=True):
        reader.wait(lambda r, n=client.sent.elements: len(r.data) >= n)
        held = set(client.channels)
        for one in reader.data:
            assert held & {f"{one['ev']}.{one['sym']}", f"{one['ev']}.*"}
        assert len(reader.data) == client.sent.elements
    assert report.sent.elements == sum(len(reader.data) for reader in readers)
    assert [one["q"] for one in readers[2].data if one["sym"] == "D"] == list(range(4000))
    assert report.sent.channels["T.D"] == 4000


def test_feeds_wait_for_as_many_subscribers_as_told(simulate, connect):
    """The first connection would swallow a recording before the others are there."""
    simulator = simulate([full_speed(5)], Options(start_after=2))
    first = connect(simulator).subscribe("T.AAPL")
    first.say("subscribe", "Q.AAPL")
    first.wait(lambda r: r.statuses.count("success") == 2)
    assert simulator.report().sent.elements == 0
    second = connect(simulator).subscribe("T.AAPL")
    for reader in (first, second):
        reader.wait(lambda r: len(r.data) == 5)


def test_full_speed_waits_for_a_reader_that_sleeps(simulate):
    """A busy client would lose ticks of a replay, or be killed for its slowness."""
    feed = full_speed(600, size=1000)
    options = Options(slow_consumer_bytes=1000, kernel_buffer_bytes=10_000)
    simulator = simulate([feed], options)
    connection = websocket.create_connection(simulator.url, timeout=10, sockopt=[SMALL_BUFFER])
    for action, params in (("auth", "key"), ("subscribe", "T.AAPL")):
        connection.send(json.dumps({"action": action, "params": params}))
    simulator.wait_for(lambda report: report.sent.elements > 0)
    assert not simulator.finished.wait(0.3)
    assert simulator.report().sent.elements < 600
    numbers = []
    while len(numbers) < 600:
        numbers += [one["q"] for one in json.loads(connection.recv()) if one["ev"] == "T"]
    assert numbers == list(range(600))
    connection.shutdown()


def test_full_speed_waits_for_somebody(simulate, connect):
    """A recording would run dry before anybody listens."""
    simulator = simulate([full_speed(5)], Options(start_after=0))
    connect(simulator).subscribe("T.AAPL").wait(lambda r: len(r.data) == 5)


def test_feeds_start_by_hand(simulate, connect):
    """A test could not say when its clients are ready."""
    simulator = simulate([full_speed(5)], Options(start_after=None))
    reader = connect(simulator).subscribe("T.AAPL")
    assert simulator.report().sent.elements == 0
    simulator.start_feeds()
    reader.wait(lambda r: len(r.data) == 5)


def test_timed_feed_goes_by_the_clock_for_nobody(simulate, connect):
    """A client that comes late would be given the past, as no real feed does."""
    simulator = simulate([ReplayFeed(trades(5))], Options(start_after=0))
    assert simulator.finished.wait(10)
    connect(simulator).subscribe("T.AAPL")
    assert simulator.report().sent.elements == 0


def test_unsubscribed_channels_fall_silent(simulate, connect):
    """Giving tickers back would not relieve a connection."""
    simulator = simulate([SyntheticFeed(["A", "B"], rate=2000, event_types=["T"])])
    reader = connect(simulator).subscribe("T.A,T.B")
    reader.say("unsubscribe", "T.A")
    reader.wait(lambda r: "unsubscribed to: T.A" in [s["message"] for s in r.status_elements])
    before = len(reader.data)
    reader.wait(lambda r: len(r.data) > before + 50)
    assert {one["sym"] for one in reader.data[before:]} == {"B"}


def test_acks_come_one_a_frame_if_told(simulate, connect):
    """A client that expects one frame for all would be taken for right."""
    reader = connect(simulate((), Options(acks=Acks.SINGLE)))
    reader.subscribe("T.A,T.B,T.C").wait(lambda r: r.statuses.count("success") == 3)
    assert len(reader.messages) == 5


def test_delayed_acks_come_after_data(simulate, connect):
    """A client that drops data before the acknowledgement would go unnoticed."""
    simulator = simulate([full_speed(5)], None, Faults(ack_delay_s=1.0))
    reader = connect(simulator).subscribe("T.AAPL")
    assert len(reader.data) == 5
    assert "T.AAPL" in reader.messages[-1].decode()


def test_lost_acks_leave_the_channel_held(simulate, connect):
    """A client that waits for every acknowledgement would not be tried."""
    simulator = simulate([full_speed(5)], None, Faults(ack_loss=1.0))
    reader = connect(simulator)
    reader.say("auth", "key")
    reader.say("subscribe", "T.AAPL")
    reader.wait(lambda r: len(r.data) == 5)
    assert "success" not in reader.statuses


def test_wrong_key_drops_tcp_without_a_close_frame(simulate, connect):
    """A client that waits for a close code after auth_failed would hang."""
    reader = connect(simulate((), Options(keys=frozenset({"good"}))))
    reader.say("auth", "bad")
    reader.wait_end()
    assert reader.statuses == ["connected", "auth_failed"]
    assert reader.code is None


def test_no_key_in_time_is_told_and_dropped(simulate, connect):
    """A client that hangs during auth would hold its place for ever."""
    reader = connect(simulate((), Options(auth_timeout_s=0.3))).wait_end()
    assert reader.statuses == ["connected", "auth_timeout"]


def test_client_that_never_upgrades_is_dropped(simulate):
    """Half-open connections would pile up; or be sent frames before they are WebSockets."""
    simulator = simulate((), Options(auth_timeout_s=0.1))
    with socket.create_connection((simulator.options.host, simulator.port), timeout=10) as plain:
        assert plain.recv(100) == b""


def test_auth_is_dropped_as_often_as_told(simulate, connect):
    """Subscriptions lost when the drop came during auth: the case could not be tried."""
    simulator = simulate((), None, Faults(drop_auth=2))
    for _ in range(2):
        reader = connect(simulator)
        reader.say("auth", "key")
        reader.wait_end()
        assert reader.statuses == ["connected"]
    connect(simulator).subscribe("T.A")
    report = simulator.report()
    assert report.attempts == len(report.last_attempts) == 3
    assert [one.ended for one in report.gone] == ["dropped at its key"] * 2
    assert report.held == 1


def test_oldest_connection_is_evicted(simulate, connect):
    """Siblings of one key evicting each other could not be tried."""
    simulator = simulate((), Options(max_connections=1))
    first = connect(simulator).subscribe("T.A")
    second = connect(simulator).subscribe("T.A")
    other_key = connect(simulator).subscribe("T.A", key="other")
    first.wait_end()
    assert (first.statuses[-1], first.code) == ("max_connections", 1008)
    assert not second.ended
    assert not other_key.ended
    assert simulator.report().sent.evictions == 1


def test_newest_connection_is_evicted_at_once(simulate, connect):
    """The other style of eviction, by other sources, could not be tried."""
    simulator = simulate((), Options(max_connections=1, eviction=Eviction.NEWEST))
    first = connect(simulator).subscribe("T.A")
    second = connect(simulator)
    second.say("auth", "key")
    second.wait_end()
    assert (second.statuses, second.code) == (["connected", "auth_success", "max_connections"], 1008)
    assert not first.ended
    first.close()
    simulator.wait_for(lambda report: not report.clients)
    connect(simulator).subscribe("T.A")


def test_newest_connection_is_evicted_after_its_acknowledgement(simulate, connect):
    """A client that feels safe once it is acknowledged would go unnoticed."""
    simulator = simulate((), Options(max_connections=1, eviction=Eviction.NEWEST_AFTER_ACK))
    connect(simulator).subscribe("T.A")
    second = connect(simulator).subscribe("T.A").wait_end()
    assert second.statuses == ["connected", "auth_success", "success", "max_connections"]
    assert second.code == 1008


@pytest.mark.parametrize("code", [1000, 1001, 1008, 1011])
def test_all_are_closed_with_a_code(simulate, connect, code):
    """One close code taken for "done" could not be tried."""
    simulator = simulate()
    readers = [connect(simulator).subscribe("T.A") for _ in range(2)]
    simulator.close_clients(code, "because")
    assert [reader.wait_end().code for reader in readers] == [code, code]


def test_one_is_cut_and_the_other_lives(simulate, connect):
    """A single broken link, the commonest trouble, could not be tried."""
    simulator = simulate()
    first, second = (connect(simulator).subscribe("T.A") for _ in range(2))
    simulator.close_clients(1006, only=1)
    assert first.wait_end().code is None
    second.say("subscribe", "T.B")
    second.wait(lambda r: r.statuses.count("success") == 2)


def test_client_that_ignores_a_close_frame_is_cut(simulate):
    """A dead client would keep the server's socket for ever."""
    simulator = simulate()
    connection = websocket.create_connection(simulator.url, timeout=10)
    simulator.wait_for(lambda report: report.clients)
    simulator.close_clients(1000)
    simulator.wait_for(lambda report: not report.clients)
    connection.shutdown()


def test_client_closes_as_the_rfc_says(simulate):
    """A client's orderly end would look like a failure."""
    simulator = simulate()
    connection = websocket.create_connection(simulator.url, timeout=10)
    connection.recv()
    connection.send_close(4000)
    assert connection.recv_frame().data == (4000).to_bytes(2, "big")
    report = simulator.wait_for(lambda report: report.gone)
    assert report.gone[0].ended == "closed by the client: 4000"
    connection.shutdown()


def test_ping_is_answered(simulate, connect):
    """Every client would take the server for dead."""
    reader = connect(simulate())
    reader.socket.ping(b"hello")
    reader.wait(lambda r: r.pongs == 1)


def test_protocol_errors_close_with_their_code(simulate):
    """A client that does not mask would pass here and fail at Massive's."""
    simulator = simulate()
    connection = websocket.create_connection(simulator.url, timeout=10)
    connection.recv()
    connection.sock.sendall(b"\x81\x02hi")
    assert connection.recv_frame().data[:2] == (1002).to_bytes(2, "big")
    connection.shutdown()


def test_what_is_no_upgrade_is_refused(simulate):
    """A browser on the port would leave a dead client behind."""
    simulator = simulate()
    with socket.create_connection((simulator.options.host, simulator.port), timeout=10) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert b"400" in plain.recv(100)
        assert plain.recv(100) == b""
    simulator.wait_for(lambda report: not report.clients)


def test_endless_upgrade_request_is_cut(simulate):
    """A port scanner would fill the server's memory."""
    simulator = simulate()
    with socket.create_connection((simulator.options.host, simulator.port), timeout=10) as plain:
        plain.sendall(b"x" * 20_000)
        report = simulator.wait_for(lambda report: report.gone)
    assert report.gone[0].ended == "the upgrade request is too long"


def test_tls(simulate):
    """`wss://`, the only way to the real feed, could not be tried."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    simulator = simulate([full_speed(3000, size=200)], Options(ssl_context=context))
    assert simulator.url.startswith("wss://")
    trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(trust)
    # On one thread: OpenSSL does not allow a read and a write of one connection at once.
    client = websocket.create_connection(simulator.url, timeout=20, sslopt={"context": trust})
    client.recv()
    client.send('{"action":"auth","params":"key"}')
    client.recv()
    client.send('{"action":"subscribe","params":"T.AAPL"}')
    count = 0
    while count < 3000:
        count += sum(element["ev"] == "T" for element in json.loads(client.recv()))
    assert count == 3000
    client.shutdown()


def test_broken_feed_is_reported_and_the_server_lives(simulate, connect, tmp_path):
    """A bad line in a recording would look like a quiet market."""

    def packets():
        yield from trades(2)
        raise ValueError("line 3")

    simulator = simulate([ReplayFeed(packets(), speed=math.inf)])
    connect(simulator).subscribe("T.AAPL").wait(lambda r: len(r.data) == 2)
    assert simulator.finished.wait(10)
    assert simulator.report().feed_errors == ("line 3",)


def test_port_in_use_is_raised_and_leaves_no_thread(simulate):
    """The caller would wait for a server that is not there."""
    port = simulate().port
    with pytest.raises(OSError, match=str(port)):
        Simulator((), Options(port=port)).start()
    assert sum(thread.name == "tickbraid-simulator" for thread in threading.enumerate()) == 1


def test_started_twice_is_refused(simulate):
    """Two loops would serve one port, and one of them never stop."""
    with pytest.raises(RuntimeError, match="running"):
        simulate().start()


def test_bad_faults_change_nothing(simulate):
    """A typing mistake would be taken for a fault that does not bite."""
    simulator = simulate()
    with pytest.raises(ValueError, match="repeat"):
        simulator.set_faults(repeat=5)
    with pytest.raises(TypeError):
        simulator.set_faults(repat=0.5)
    assert simulator.faults == Faults()


def test_waiting_for_what_never_comes_ends(simulate):
    """A failing test would hang."""
    with pytest.raises(TimeoutError):
        simulate().wait_for(lambda report: report.attempts > 0, timeout_s=0.05)


def test_stopping_ends_the_thread():
    """Each test would leave a thread and its sockets behind."""
    with Simulator([SyntheticFeed(["A"], rate=1000)]) as simulator:
        reader = Reader(simulator.url)
        reader.subscribe("T.A")
    reader.wait_end().close()
    assert "tickbraid-simulator" not in {thread.name for thread in threading.enumerate()}
