"""The Redis sink and a real server that is away, killed, hangs or is cut off."""

import json
from collections import Counter

import pytest
import redis

from pipeline.sinks.redis_messages import Channels
from pipeline.sinks.sink import DELIVERED
from pipeline.ticks import TickBatch, Trade
from tests.sinks.messages import MARKET, RAW, all_of, batches_of, prices, went_down_and_up


def test_a_cut_costs_no_message_of_many(server, listen, network, make_sink):
    """A thousand ticks would be gone at once, on one channel only, and nobody would know."""
    listener = listen(server)
    between = network(server, commands_bytes=500_001)
    sink = make_sink(
        f"redis://127.0.0.1:{between.port}",
        channels=Channels(market="", raw_batch="tickstock.data.raw.batch"),
    )
    assert sink.write(batches_of(3000, 300)) == DELIVERED
    messages = [(channel, json.loads(message)) for channel, message in listener.messages()]
    ones = [tick["price"] for channel, tick in messages if channel == RAW]
    many = [tick["price"] for channel, ticks in messages if channel != RAW for tick in ticks]
    assert list(dict.fromkeys(ones)) == list(dict.fromkeys(many)) == list(range(3000))
    assert between.connections == 2
    assert went_down_and_up(sink, "", resent=sink.snapshot()["resent"])


def test_a_server_that_is_away_is_announced_once_and_gets_all_when_it_comes(server, listen, make_sink):
    """Ticks of an outage would be lost, or the log filled at every attempt."""
    server.kill()
    delays, listeners = [], []

    def sleep(delay_s):
        delays.append(delay_s)
        if len(delays) == 9:
            server.restart()
            listeners.append(listen(server))

    sink = make_sink(server.url, sleep=sleep, uniform=lambda: 1.0)
    assert sink.write(batches_of(3000)) == DELIVERED
    assert prices(listeners[0].messages()) == all_of(3000)
    assert went_down_and_up(sink, "refused")
    assert delays == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0, 2.0]
    sink._back_off("again")
    assert delays[-1] == 0.05, "the back-off starts anew after a success"


def test_the_back_off_is_jittered_and_by_itself_waits(server, make_sink):
    """A hundred clients would all come back in the same instant, or spin."""
    delays = []
    server.kill()
    sink = make_sink(server.url, uniform=lambda: 0.5, sleep=delays.append, on_down=lambda: sink.stop())  # noqa: PLW0108  # is not yet made
    sink.write(batches_of(1))
    assert delays == [0.025]


def test_a_server_killed_in_the_middle_costs_nothing_that_it_had_not_taken(server, listen, make_sink):
    """A restart of Redis would cost ticks, or be taken for the end."""
    listeners, taken, batches = [], {}, batches_of(2000)

    class Killing(list):
        """Kills the server when the ticks are asked for."""

        def __getitem__(self, place):
            server.kill()
            return list.__getitem__(self, place)

    def sleep(_):
        if not listeners:
            taken.update(sink.snapshot()["messages"])
            server.restart()
            listeners.append(listen(server))

    batches[25].ticks = Killing(batches[25].ticks)
    sink = make_sink(server.url, sleep=sleep)
    assert sink.write(batches) == DELIVERED
    got = prices(listeners[0].messages())
    assert 0 < taken[RAW] <= 1250
    assert got == {channel: list(range(taken[channel], 2000)) for channel in (RAW, MARKET)}
    snapshot = sink.snapshot()
    assert (snapshot["acknowledged"], snapshot["reconnects"]) == (4000, 1)
    assert went_down_and_up(sink, "", resent=snapshot["resent"])


def test_a_server_restarted_while_idle_is_no_news(server, listen, make_sink):
    """The first ticks after a quiet hour would go into a dead connection and be sent twice."""
    sink = make_sink(server.url)
    sink.write(batches_of(1))
    server.kill()
    server.restart()
    listener = listen(server)
    sink.write(batches_of(5))
    assert prices(listener.messages()) == all_of(5)
    assert sink.events == []
    assert (sink.snapshot()["reconnects"], sink.snapshot()["resent"]) == (1, 0)


def test_a_server_that_hangs_and_wakes_gets_everything_exactly_once(server, listen, make_sink):
    """Every message in flight would be published twice whenever Redis pauses, for a fork or a slow disk."""
    listener = listen(server)
    sink = make_sink(server.url, on_down=server.resume, stall_s=0.05)
    sink.write(batches_of(10))
    server.pause()
    assert sink.write(batches_of(5000)) == DELIVERED
    got = prices(listener.messages())
    assert {channel: some[10:] for channel, some in got.items()} == all_of(5000)
    assert went_down_and_up(sink, "no answer for 0.05 s")
    assert (sink.snapshot()["reconnects"], sink.snapshot()["last_error"]) == (0, "no answer for 0.05 s")


def test_a_server_that_hangs_for_long_is_connected_to_anew(server, listen, make_sink):
    """A link cut without a word would hold the ticks for ever."""
    listener = listen(server)
    states = []

    def sleep(_):
        states.append(sink.snapshot()["state"])
        server.resume()

    sink = make_sink(server.url, stall_s=0.02, hung_s=0.2, sleep=sleep)
    sink.write(batches_of(1))
    listener.messages()
    server.pause()
    sink.write(batches_of(100))
    got = prices(listener.messages())
    assert {channel: list(dict.fromkeys(some)) for channel, some in got.items()} == all_of(100)
    assert states == ["down"]
    assert went_down_and_up(sink, "no answer", resent=200)


def test_what_never_left_is_not_counted_as_sent_again(server, make_sink):
    """`SinkUp.resent` would frighten with messages that nobody can have published before."""
    long = "A" * 30_000  # so long that the sockets cannot hold them all
    trades = [Trade(ticker=long, price=n, event_ms=1) for n in range(500)]
    sink = make_sink(server.url, stall_s=0.02, hung_s=0.3, sleep=lambda _: server.resume())
    sink.write(batches_of(1))
    server.pause()
    assert sink.write([TickBatch(connection="1", received_ns=1, ticks=trades)]) == DELIVERED
    resent = sink.snapshot()["resent"]
    assert 0 < resent < 900
    with redis.Redis(port=server.port) as admin:
        published = admin.info("commandstats")["cmdstat_publish"]["calls"] - 2
    assert 1000 <= published <= 1000 + resent


@pytest.mark.parametrize(
    "limits", [{"commands_bytes": 100_001}, {"replies_bytes": 1001}, {"replies_bytes": 1}]
)
def test_a_connection_cut_in_the_middle(server, listen, network, make_sink, limits):
    """A cut would cost the messages in flight, turn their order, or stay unknown."""
    listener = listen(server)
    between = network(server, **limits)
    sink = make_sink(f"redis://127.0.0.1:{between.port}")
    assert sink.write(batches_of(1000)) == DELIVERED
    published = prices(listener.messages())
    twice = 0
    for channel in (RAW, MARKET):
        assert list(dict.fromkeys(published[channel])) == list(range(1000)), (
            "all, and in order at first sight"
        )
        assert max(Counter(published[channel]).values()) <= 2
        twice += len(published[channel]) - 1000
    snapshot = sink.snapshot()
    assert twice <= snapshot["resent"] <= 1200
    assert snapshot["resent"] > 0
    assert snapshot["acknowledged"] == 2000
    assert snapshot["reconnects"] == 1
    assert between.connections == 2
    assert went_down_and_up(sink, "", resent=snapshot["resent"])
