"""What the server is told to get wrong, and clients that do."""

import json

import pytest
import websocket

from pipeline.massive.simulator import Faults, Options, ReplayFeed, Silence, SyntheticFeed
from tests.massive.simulator.packets import full_speed, trades


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
