import json
import math
import socket
import ssl
import threading

import pytest
import trustme
import websocket

from pipeline.massive.simulator import (
    Acks,
    Eviction,
    Faults,
    Options,
    Packet,
    ReplayFeed,
    Silence,
    Simulator,
    SyntheticFeed,
)

from .clients import Reader

SMALL_BUFFER = (socket.SOL_SOCKET, socket.SO_RCVBUF, 50_000)


def trades(count, *, ticker="AAPL", size=0, gap_us=0):
    """Return packets of one trade each; ``size`` is bytes of padding."""
    pad = "x" * size
    return [
        Packet([(f"T.{ticker}", f'{{"ev":"T","sym":"{ticker}","q":{n},"pad":"{pad}"}}'.encode())], n * gap_us)
        for n in range(count)
    ]


def full_speed(count, **arguments):
    """Return a feed of trades as fast as they are taken."""
    return ReplayFeed(trades(count, **arguments), speed=math.inf)


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


def test_slow_reader_of_a_timed_feed_is_told_and_cut(simulate):
    """A slow reader would be forgiven here and killed on the real feed."""
    feed = ReplayFeed(trades(4000, size=1000))
    options = Options(slow_consumer_bytes=100_000, kernel_buffer_bytes=10_000)
    simulator = simulate([feed], options)
    connection = websocket.create_connection(simulator.url, timeout=10)
    for action, params in (("auth", "key"), ("subscribe", "T.AAPL")):
        connection.send(json.dumps({"action": action, "params": params}))
    report = simulator.wait_for(lambda report: report.gone)
    assert report.gone[0].ended == "slow consumer"
    assert report.sent.slow_kills == 1
    assert report.sent.elements < 4000
    connection.shutdown()


def test_slow_reader_that_wakes_up_reads_why(simulate, connect):
    """`slow_consumer` would never be seen by a client."""
    options = Options(slow_consumer_bytes=1_000_000, kernel_buffer_bytes=100_000)
    simulator = simulate([ReplayFeed(trades(6, size=500_000))], options)
    reader = connect(simulator).subscribe("T.AAPL").wait_end()
    assert reader.statuses[-1] == "slow_consumer"
    assert reader.code is None


def test_silent_server_keeps_tcp_and_says_nothing(simulate, connect):
    """A stream that silently stops, the worst of troubles, could not be tried."""
    simulator = simulate([SyntheticFeed(["A"], rate=2000)])
    silent = connect(simulator).subscribe("T.A")
    simulator.go_silent()
    late = connect(simulator).subscribe("T.A")
    sent = simulator.report().clients[0].sent.elements
    silent.socket.ping()
    silent.say("subscribe", "T.B")
    late.wait(lambda r: len(r.data) > 20)
    assert simulator.report().clients[0].sent.elements == sent
    assert silent.pongs == 0
    assert silent.statuses.count("success") == 1
    assert not silent.ended
    simulator.go_silent(Silence.NONE)
    silent.wait(lambda r: len(r.data) > sent + 20)


def test_silence_of_data_still_answers(simulate, connect):
    """A watchdog that trusts pongs would go unnoticed."""
    simulator = simulate([SyntheticFeed(["A"], rate=2000)], None, Faults(silence=Silence.DATA))
    reader = connect(simulator).subscribe("T.A")
    reader.socket.ping()
    reader.wait(lambda r: r.pongs == 1)
    assert simulator.report().sent.elements == 0
    simulator.set_faults(silence=Silence.NONE)
    reader.wait(lambda r: r.data)


def test_silence_for_all_leaves_upgrades_unanswered(simulate):
    """A time-out of the handshake could not be tried."""
    simulator = simulate((), None, Faults(silence=Silence.ALL))
    with pytest.raises(websocket.WebSocketTimeoutException):
        websocket.create_connection(simulator.url, timeout=0.2)


def test_refused_tcp_and_back(simulate, connect):
    """A server that is down for a while could not be tried."""
    simulator = simulate()
    there = connect(simulator).subscribe("T.A")
    simulator.set_faults(refuse=True)
    with pytest.raises(ConnectionRefusedError):
        websocket.create_connection(simulator.url, timeout=10)
    assert not there.ended
    simulator.set_faults(refuse=False)
    connect(simulator).subscribe("T.A")


def test_killed_and_started_again_on_its_port(simulate, connect):
    """A client that comes back after a crash of the server could not be tried."""
    simulator = simulate([SyntheticFeed(["A"], rate=2000)])
    url = simulator.url
    reader = connect(simulator).subscribe("T.A").wait(lambda r: r.data)
    simulator.stop()
    simulator.stop()
    assert reader.wait_end().code is None
    with pytest.raises(ConnectionRefusedError):
        websocket.create_connection(url, timeout=10)
    before = simulator.report()
    assert before.clients == ()
    simulator.set_faults(pings=0.5)
    simulator.start()
    assert simulator.url == url
    connect(simulator).subscribe("T.A").wait(lambda r: r.data and r.pings)
    assert simulator.report().sent.elements > before.sent.elements


def test_interrupted_recording_goes_on_where_it_was(simulate, connect):
    """A restart would repeat or skip what no client was sent."""
    simulator = simulate([ReplayFeed(trades(20_000, gap_us=1000))])
    first = connect(simulator).subscribe("T.AAPL").wait(lambda r: len(r.data) > 20)
    simulator.stop()
    first.wait_end()
    sent = simulator.report().sent.elements
    assert sent < 20_000
    simulator.start()
    second = connect(simulator).subscribe("T.AAPL").wait(lambda r: r.data)
    assert second.data[0]["q"] == sent


def test_time_of_a_feed_stands_still_while_the_server_is_down(simulate, connect):
    """A recording would pause, or race, after a restart for as long as it had run before."""
    elapsed = []

    class Watched(SyntheticFeed):
        def take(self, elapsed_s):
            elapsed.append(elapsed_s)
            return super().take(elapsed_s)

    simulator = simulate([Watched(["A"], rate=1000)])
    connect(simulator).subscribe("T.A").wait(lambda r: len(r.data) > 20)
    simulator.stop()
    runs = len(elapsed)
    simulator.start()
    connect(simulator).subscribe("T.A").wait(lambda r: len(r.data) > 20)
    assert elapsed == sorted(elapsed)
    assert len(elapsed) > runs


def test_repeats_that_wait_come_before_the_end(simulate, connect):
    """A feed would be called finished while its last duplicates are still to come."""
    simulator = simulate([full_speed(100)], None, Faults(repeat=1.0))
    reader = connect(simulator).subscribe("T.AAPL")
    assert simulator.finished.wait(10)
    assert simulator.report().sent.repeated_elements == 100
    reader.wait(lambda r: len(r.data) == 200)


def test_faults_mixed_into_the_data_are_reported_exactly(simulate, connect):
    """The account of a client could not be checked against anything."""
    faults = Faults(repeat=0.1, malformed=0.05, truncated=0.02, pings=0.1, fragments=3)
    simulator = simulate([full_speed(2000)], None, faults)
    reader = connect(simulator).subscribe("T.AAPL")
    assert simulator.finished.wait(20)
    sent = simulator.report().sent
    reader.wait(lambda r: len(r.messages) == sent.frames + 3 and r.pings == sent.pings)
    good = [one for one in reader.data if isinstance(one, dict) and "pad" in one]
    assert len(good) == sent.elements + sent.repeated_elements
    assert list(dict.fromkeys(one["q"] for one in good)) == list(range(2000))
    assert len(reader.data) - len(good) == sent.malformed.total()
    assert min(sent.repeated_frames, sent.malformed.total(), sent.truncated_frames, sent.pings) > 0
    assert reader.fragments > 2 * sent.frames


def test_oversized_and_raw_bytes_go_out_as_they_are(simulate, connect):
    """A limit on the size of frames could not be tried."""
    simulator = simulate()
    reader = connect(simulator).subscribe("T.A")
    simulator.send_oversized(1_000_000)
    reader.wait(lambda r: len(r.messages[-1]) == 1_000_000)
    assert isinstance(reader.elements[-1], str)
    simulator.send_raw(b"\x81\x02[]", only=1)
    reader.wait(lambda r: r.messages[-1] == b"[]")


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
