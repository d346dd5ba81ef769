"""The Redis sink against a real server: what arrives, what it refuses, and the end."""

import contextlib
import json
import threading

import pytest
import redis

from pipeline.embedded import RedisServer
from pipeline.sinks.redis_messages import Channels
from pipeline.sinks.sink import DELIVERED, Outcome
from pipeline.status import ChannelRefused
from pipeline.ticks import Quote, TickBatch, Trade
from tests.sinks.messages import MARKET, RAW, all_of, batches_of, prices, went_down_and_up

DEADLINE_S = 15.0


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
        "forbidden": {},
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
        assert sink.write(batches_of(size, size)) == DELIVERED
    got = [json.loads(message) for _, message in listener.messages()]
    assert [len(message) for message in got] == [1, 250, 1000, 100, *[1000] * 5]
    assert [tick["price"] for message in got for tick in message] == [
        n for size in sizes for n in range(size)
    ]
    assert sink.snapshot()["messages"] == {"tickstock.data.raw.batch": 9}


def test_a_tick_that_is_dropped_from_two_messages_is_one_tick(server, make_sink):
    """The account would not balance when the program ends while Redis is away."""
    server.kill()
    channels = Channels(raw_batch="tickstock.data.raw.batch")
    sink = make_sink(server.url, channels=channels, on_down=lambda: sink.stop())  # noqa: PLW0108  # is not yet made
    # Given up one after the other: the messages of one tick, then those of many, the last ones at the end.
    batches = [*batches_of(950, 550), *batches_of(30, connection="2")]
    assert sink.write(batches) == Outcome(dropped={"1": 950, "2": 30})


def test_nothing_to_write_needs_no_server(make_sink):
    """A stream without ticks would wait for Redis."""
    sink = make_sink("redis://127.0.0.1:1/0")
    quiet = TickBatch(connection="1", received_ns=1, ticks=[], received=1, rejected=1)
    assert sink.write([]) == sink.write([quiet]) == DELIVERED
    assert sink.snapshot()["state"] == "idle"


def test_a_password_that_is_missing_wrong_or_right(listen, make_sink):
    """A user would search for hours for what the server said in one word, or find the password in a log."""
    with RedisServer.start("--requirepass", "right") as server:
        admin = redis.Redis(port=server.port, password="right")
        place = server.url.removeprefix("redis://")
        right = make_sink(f"redis://:right@{place}")
        assert right.write(batches_of(1)) == DELIVERED
        assert "right" not in str(right.snapshot())

        wrong = make_sink(f"redis://:wr0ng@{place}", on_down=lambda: wrong.stop())  # noqa: PLW0108  # is not yet made
        assert wrong.write(batches_of(7)).dropped == {"1": 7}
        assert "invalid username-password pair" in wrong.events[0].reason
        assert "wr0ng" not in f"{wrong.snapshot()}{wrong.events}"

        def sleep(_):
            admin.config_set("requirepass", "")

        missing = make_sink(server.url, sleep=sleep)
        assert missing.write(batches_of(500)) == DELIVERED
        assert went_down_and_up(missing, "NOAUTH")
        admin.close()


def test_a_server_that_refuses_is_asked_about_one_message_at_a_time(server, listen, make_sink):
    """What was refused would be lost, or what was taken would be published again at every attempt."""
    listener = listen(server)
    admin = redis.Redis(port=server.port)
    admin.config_set("busy-reply-threshold", 1)
    errors = []

    def spin():
        with redis.Redis(port=server.port) as client, contextlib.suppress(redis.ResponseError):
            client.eval("while true do end", 0)

    spinning = threading.Thread(target=spin, name="tickbraid-test-script")
    spinning.start()
    while True:
        try:
            admin.get("nothing")
        except redis.ResponseError as error:
            assert "BUSY" in str(error)  # noqa: PT017  # until the script is there
            break

    def sleep(_):
        errors.append(sink.snapshot()["errors"])
        if len(errors) == 4:
            admin.script_kill()

    sink = make_sink(server.url, sleep=sleep)
    assert sink.write(batches_of(2000)) == DELIVERED
    spinning.join(DEADLINE_S)
    assert prices(listener.messages()) == all_of(2000)
    assert went_down_and_up(sink, "BUSY")
    assert len(errors) >= 4  # the script may outlive its end by a moment
    assert errors == list(range(errors[0], errors[0] + len(errors)))
    assert sink.snapshot()["last_error"].startswith("BUSY")
    admin.close()


@pytest.fixture
def writer(server):
    """Return a function that lets the user ``writer`` publish to these channels only, and its address."""
    with redis.Redis(port=server.port) as admin:

        def allow(*channels):
            admin.acl_setuser(
                "writer", enabled=True, commands=["+publish"], passwords=["+pw"], reset_channels=True,
                channels=channels,
            )  # fmt: skip
            return server.url.replace("//", "//writer:pw@")

        yield allow


def refusals(sink):
    """Return what the sink told of channels."""
    return [(event.channel, event.count) for event in sink.events if isinstance(event, ChannelRefused)]


@pytest.mark.parametrize(("allowed", "other"), [(RAW, MARKET), (MARKET, RAW)])
def test_a_forbidden_channel_holds_back_no_other_and_is_named(  # noqa: PLR0917  # fixtures
    server, listen, make_sink, writer, allowed, other
):
    """Nothing would reach anybody for a right that one channel lacks, and the message not say which."""
    listener = listen(server)
    now_s = 100.0
    sink = make_sink(writer(allowed), monotonic=lambda: now_s)
    assert sink.write(batches_of(3000)) == DELIVERED, "a tick that one channel took is delivered"
    got = prices(listener.messages())
    assert {channel: its for channel, its in got.items() if its} == {allowed: list(range(3000))}
    first = sum(count for _, count in refusals(sink))
    assert {channel for channel, _ in refusals(sink)} == {other}
    now_s += 11
    assert sink.write(batches_of(10)) == DELIVERED
    assert sum(count for _, count in refusals(sink)) > first
    assert len(refusals(sink)) == 2
    snapshot = sink.snapshot()
    assert (snapshot["state"], snapshot["forbidden"]) == ("up", {other: 3010})
    assert snapshot["messages"] == {allowed: 3010, other: 0}
    assert snapshot["last_error"].startswith("NOPERM")
    assert other in sink.events[0].describe()
    writer(RAW, MARKET)
    listener.messages()
    sink.write(batches_of(5))
    assert prices(listener.messages()) == all_of(5), "a right that comes later is used at once"


def test_a_channel_for_each_ticker_flows_as_far_as_it_may(server, listen, make_sink, writer):
    """One ticker that a user may not have would keep all the others from everybody."""
    listener = listen(server)
    sink = make_sink(writer("own.AAPL"), channels=Channels(raw="", market="", per_ticker="own."))
    ticks = [Trade(ticker=ticker, price=1.0, event_ms=1) for ticker in ("AAPL", "MSFT", "AAPL")]
    assert sink.write([TickBatch(connection="1", received_ns=1, ticks=ticks)]).failed == {"1": 1}
    assert [channel for channel, _ in listener.messages()] == ["own.AAPL", "own.AAPL"]
    assert sink.snapshot()["forbidden"] == {"own.*": 1}


@pytest.mark.parametrize("batched", ["", "tickstock.data.raw.batch"])
def test_ticks_that_no_channel_takes_are_not_delivered(make_sink, writer, batched):
    """The account would say that Redis has what it refused."""
    url = writer("elsewhere")
    sink = make_sink(url, channels=Channels(raw_batch=batched))
    outcome = sink.write([*batches_of(250), *batches_of(30, connection="2")])
    assert (outcome.failed, outcome.dropped) == ({"1": 250, "2": 30}, {})
    assert str(outcome.error).startswith("no channel may have them: NOPERM")
    assert sink.snapshot()["state"] == "refused"
    assert len(refusals(sink)) == 2 + bool(batched)
    assert sink.acknowledged.snapshot().count == 0
    writer(RAW, MARKET, "tickstock.data.raw.batch")
    assert sink.write(batches_of(7)) == DELIVERED
    assert sink.snapshot()["state"] == "up"


def test_the_newest_reason_is_told_while_it_is_away(server, make_sink):
    """One would look for a server that does not listen, while it has long said that a password is wanted."""
    now_s = 100.0
    reasons = []

    def sleep(_):
        nonlocal now_s
        now_s += 6
        if len(reasons) == 0:
            server.restart()
            with redis.Redis(port=server.port) as admin:
                admin.config_set("requirepass", "pw")
        reasons.append(sink.snapshot()["last_error"])
        if len(reasons) == 6:
            sink.stop()

    server.kill()
    sink = make_sink(server.url, monotonic=lambda: now_s, sleep=sleep)
    sink.write(batches_of(1))
    told = [event.reason for event in sink.events]
    assert "refused" in told[0]
    assert "NOAUTH" in told[1]
    assert len(told) == 2, "the same reason is not told again"


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
    assert sink.write(batches_of(500)) == DELIVERED
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
