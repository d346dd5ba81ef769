"""The Redis sink against a real server: what arrives, and what becomes of it when Redis misbehaves."""

import json
import threading
from collections import Counter

import pytest
import redis

from pipeline.embedded import RedisServer
from pipeline.sinks.redis import RedisSink
from pipeline.sinks.redis_messages import Channels
from pipeline.status import SinkDown, SinkUp
from pipeline.ticks import Quote, TickBatch, Trade

RAW, MARKET = "tickstock.data.raw", "tickstock:market:ticks"
DEADLINE_S = 15.0


def batches_of(count, size=50, connection="1"):
    """Return ``count`` trades whose price is their number, ``size`` in a batch."""
    trades = [Trade(ticker="AAPL", price=n, event_ms=1000 + n) for n in range(count)]
    return [
        TickBatch(connection=connection, received_ns=1, ticks=trades[start : start + size])
        for start in range(0, count, size)
    ]


def prices(messages):
    """Return the prices of the messages by channel, in order."""
    by_channel = {RAW: [], MARKET: []}
    for channel, message in messages:
        by_channel[channel].append(json.loads(message)["price"])
    return by_channel


def all_of(count):
    """Return what `prices` returns when all came once and in order."""
    return {RAW: list(range(count)), MARKET: list(range(count))}


@pytest.fixture
def make_sink():
    """Return a function that makes a sink which is closed after the test; its events are in ``.events``."""
    made = []

    def make(url, **settings):
        events = []
        on_down, on_up = settings.pop("on_down", None), settings.pop("on_up", None)

        def on_status(event):
            events.append(event)
            act = on_down if isinstance(event, SinkDown) else on_up
            if act:
                act()

        sink = RedisSink(url, on_status=on_status, clock=lambda: 42, **settings)
        sink.events = events
        made.append(sink)
        return sink

    yield make
    for sink in made:
        sink.close()


def went_down_and_up(sink, reason, resent=0):
    """Check that it was announced once that the sink went, why, and that it came back."""
    down, up = sink.events
    assert isinstance(down, SinkDown)
    assert isinstance(up, SinkUp)
    assert reason in down.reason
    assert (down.at_ns, down.sink, up.at_ns, up.sink) == (42, "redis", 42, "redis")
    assert up.down_s >= 0
    assert up.resent == resent
    assert sink.snapshot()["state"] == "up"
    return True


def test_the_way_to_the_server_and_back_is_measured_by_itself(server, make_sink):
    """Nobody could tell a slow server from a slow pipeline; one that is away must show as the server."""
    now_s = 100.0

    def wait(_delay_s):
        nonlocal now_s
        now_s += 7
        server.restart()

    sink = make_sink(server.url, monotonic=lambda: now_s, sleep=wait)
    sink.write(batches_of(60))
    first = sink.acknowledged.snapshot()
    assert (first.count, first.max, sink.taken_ns) == (120, 0, 42)
    server.kill()
    sink.write(batches_of(10))
    second = sink.acknowledged.snapshot() - first
    assert (second.count, second.max) == (20, 7e9)


def test_every_tick_goes_to_every_channel_in_order(server, listen, make_sink):
    """TickStock would miss ticks, or see them in another order than they happened."""
    listener = listen(server)
    channels = Channels(per_ticker="tickstock.ticks.", all_ticks="tickstock.all_ticks")
    sink = make_sink(server.url, channels=channels)
    quotes = [Quote(ticker="BRK.B", event_ms=1, bid=1, ask=2), Quote(ticker="BRK.B", event_ms=1)]
    outcome = sink.write([*batches_of(450), TickBatch(connection="2", received_ns=1, ticks=quotes)])
    assert outcome.rejected == {"2": 1}
    assert outcome.dropped == {}
    got = listener.messages()
    names = [RAW, MARKET, "tickstock.ticks.AAPL", "tickstock.all_ticks"]
    assert [channel for channel, _ in got[:1800]] == names * 450
    assert [json.loads(message)["price"] for _, message in got[:1800:4]] == list(range(450))
    assert [channel for channel, _ in got[1800:]] == [*names[:2], "tickstock.ticks.BRK.B", names[3]]
    assert sink.events == [], "a first connection is no news"
    assert sink.snapshot() == {
        "state": "up",
        "url": server.url,
        "messages": dict.fromkeys(channels.names, 451),
        "acknowledged": 1804,
        "in_hand": 0,
        "rejected": {"no_price": 1},
        "resent": 0,
        "errors": 0,
        "reconnects": 0,
        "last_error": None,
        "receivers": 1,
    }


def test_a_batch_is_one_message_on_the_batched_channel(server, listen, make_sink):
    """The consumer that cannot keep up with a message a tick would get no fewer, or not all ticks."""
    listener = listen(server)
    channels = Channels(raw="", market="", raw_batch="tickstock.data.raw.batch")
    sink = make_sink(server.url, channels=channels)
    sizes = [1, 250, 1100, 5000]
    for size in sizes:
        assert sink.write(batches_of(size, size)) == ({}, {})
    got = [json.loads(message) for _, message in listener.messages()]
    assert [len(message) for message in got] == [1, 250, 1000, 100, *[1000] * 5]
    assert [tick["price"] for message in got for tick in message] == [
        n for size in sizes for n in range(size)
    ]
    assert sink.snapshot()["messages"] == {"tickstock.data.raw.batch": 9}


def test_a_cut_costs_no_message_of_many(server, listen, network, make_sink):
    """A thousand ticks would be gone at once, on one channel only, and nobody would know."""
    listener = listen(server)
    between = network(server, commands_bytes=500_001)
    sink = make_sink(
        f"redis://127.0.0.1:{between.port}",
        channels=Channels(market="", raw_batch="tickstock.data.raw.batch"),
    )
    assert sink.write(batches_of(3000, 300)) == ({}, {})
    messages = [(channel, json.loads(message)) for channel, message in listener.messages()]
    ones = [tick["price"] for channel, tick in messages if channel == RAW]
    many = [tick["price"] for channel, ticks in messages if channel != RAW for tick in ticks]
    assert list(dict.fromkeys(ones)) == list(dict.fromkeys(many)) == list(range(3000))
    assert between.connections == 2
    assert went_down_and_up(sink, "", resent=sink.snapshot()["resent"])


def test_a_tick_that_is_dropped_from_two_messages_is_one_tick(server, make_sink):
    """The account would not balance when the program ends while Redis is away."""
    server.kill()
    channels = Channels(raw_batch="tickstock.data.raw.batch")
    sink = make_sink(server.url, channels=channels, on_down=lambda: sink.stop())  # noqa: PLW0108  # is not yet made
    # Given up one after the other: the messages of one tick, then those of many, the last ones at the end.
    batches = [*batches_of(950, 550), *batches_of(30, connection="2")]
    assert sink.write(batches) == ({}, {"1": 950, "2": 30})


def test_nothing_to_write_needs_no_server(make_sink):
    """A stream without ticks would wait for Redis."""
    sink = make_sink("redis://127.0.0.1:1/0")
    quiet = TickBatch(connection="1", received_ns=1, ticks=[], received=1, rejected=1)
    assert sink.write([]) == sink.write([quiet]) == ({}, {})
    assert sink.snapshot()["state"] == "idle"


def test_a_server_that_is_away_is_announced_once_and_gets_all_when_it_comes(server, listen, make_sink):
    """Ticks of an outage would be lost, or the log filled at every attempt."""
    server.kill()
    delays, listeners = [], []

    def sleep(delay_s):
        delays.append(delay_s)
        if len(delays) == 9:
            server.restart()
            listeners.append(listen(server))

    sink = make_sink(server.url, sleep=sleep, random=lambda: 1.0)
    assert sink.write(batches_of(3000)) == ({}, {})
    assert prices(listeners[0].messages()) == all_of(3000)
    assert went_down_and_up(sink, "refused")
    assert delays == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0, 2.0]
    sink._back_off("again")
    assert delays[-1] == 0.05, "the back-off starts anew after a success"


def test_the_back_off_is_jittered_and_by_itself_waits(server, make_sink):
    """A hundred clients would all come back in the same instant, or spin."""
    delays = []
    server.kill()
    sink = make_sink(server.url, random=lambda: 0.5, sleep=delays.append, on_down=lambda: sink.stop())  # noqa: PLW0108  # is not yet made
    sink.write(batches_of(1))
    assert delays == [0.025]
    assert RedisSink(server.url)._sleep.__func__ is threading.Event.wait


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
    assert sink.write(batches) == ({}, {})
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
    assert sink.write(batches_of(5000)) == ({}, {})
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
    assert sink.write([TickBatch(connection="1", received_ns=1, ticks=trades)]) == ({}, {})
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
    assert sink.write(batches_of(1000)) == ({}, {})
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


def test_a_password_that_is_missing_wrong_or_right(listen, make_sink):
    """A user would search for hours for what the server said in one word, or find the password in a log."""
    with RedisServer.start("--requirepass", "right") as server:
        admin = redis.Redis(port=server.port, password="right")
        place = server.url.removeprefix("redis://")
        right = make_sink(f"redis://:right@{place}")
        assert right.write(batches_of(1)) == ({}, {})
        assert "right" not in str(right.snapshot())

        wrong = make_sink(f"redis://:wr0ng@{place}", on_down=lambda: wrong.stop())  # noqa: PLW0108  # is not yet made
        assert wrong.write(batches_of(7)).dropped == {"1": 7}
        assert "invalid username-password pair" in wrong.events[0].reason
        assert "wr0ng" not in f"{wrong.snapshot()}{wrong.events}"

        def sleep(_):
            admin.config_set("requirepass", "")

        missing = make_sink(server.url, sleep=sleep)
        assert missing.write(batches_of(500)) == ({}, {})
        assert went_down_and_up(missing, "NOAUTH")
        admin.close()


def test_a_server_that_refuses_is_asked_about_one_message_at_a_time(server, listen, make_sink):
    """What was refused would be lost, or what was taken would be published again at every attempt."""
    listener = listen(server)
    admin = redis.Redis(port=server.port)
    rights = {"enabled": True, "commands": ["+publish"]}
    admin.acl_setuser("writer", **rights, passwords=["+pw"], reset_channels=True, channels=[RAW])
    errors = []

    def sleep(_):
        errors.append(sink.snapshot()["errors"])
        if len(errors) == 4:
            admin.acl_setuser("writer", **rights, channels=[MARKET])

    sink = make_sink(server.url.replace("//", "//writer:pw@"), sleep=sleep)
    assert sink.write(batches_of(2000)) == ({}, {})
    assert prices(listener.messages()) == all_of(2000)
    assert went_down_and_up(sink, "NOPERM")
    assert errors == list(range(errors[0], errors[0] + 4))
    assert sink.snapshot()["last_error"].startswith("NOPERM")
    admin.close()


def a_refused_port(server):
    """Let nobody listen."""
    server.kill()
    return server.url


def a_hanging_server(server):
    """Let connections be accepted and nothing be answered."""
    server.pause()
    return server.url


def a_server_that_hangs_at_the_password(server):
    """Let the handshake hang, where redis-py reads."""
    server.pause()
    return server.url.replace("//", "//user:secret@")


@pytest.mark.parametrize("trouble", [a_refused_port, a_hanging_server, a_server_that_hangs_at_the_password])
def test_stop_ends_a_blocked_write_and_the_ticks_are_counted(server, make_sink, trouble):
    """Ctrl-C would hang until Redis comes back, or ticks would vanish from the account."""
    down = threading.Event()
    sink = make_sink(trouble(server), on_down=down.set)
    outcomes = []
    batches = [*batches_of(150), *batches_of(30, connection="2")]
    thread = threading.Thread(target=lambda: outcomes.append(sink.write(batches)), name="tickbraid-test")
    thread.start()
    assert down.wait(DEADLINE_S)
    sink.stop()
    thread.join(DEADLINE_S)
    assert not thread.is_alive(), "the back-off ends after 2 s at most, the hanging after 30 s"
    assert outcomes[0].dropped == {"1": 150, "2": 30}
    assert sink.write(batches_of(5)).dropped == {"1": 5}, "and later writes do not try again"
    assert sink.snapshot()["in_hand"] == 0


def test_stop_lets_a_healthy_server_finish(server, listen, make_sink):
    """The last ticks of the day would be thrown away at every orderly end."""
    listener = listen(server)
    now = 0.0
    sink = make_sink(server.url, monotonic=lambda: now)
    sink.write(batches_of(1))
    sink.stop()
    assert sink.write(batches_of(500)) == ({}, {})
    now = 0.25
    assert sink.write(batches_of(500)).dropped == {"1": 500}
    assert prices(listener.messages()) == {channel: [0, *range(500)] for channel in (RAW, MARKET)}


def test_close_closes_the_socket(server, make_sink, eventually):
    """A pipeline built anew every day would run out of descriptors."""
    sink = make_sink(server.url)
    sink.write(batches_of(1))
    with redis.Redis(port=server.port) as admin:
        assert len(admin.client_list()) == 2
        sink.close()
        sink.close()
        eventually(lambda: len(admin.client_list()) == 1)
