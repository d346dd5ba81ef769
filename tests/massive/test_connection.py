import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import status
from pipeline.errors import ConnectFailed
from pipeline.massive.persistence import Persistence
from pipeline.massive.snapshot import Phase
from tests.massive.virtual import TRADE, World


def test_the_way_to_live():
    """Greeting, key, channels, confirmation: in that order, or the server drops us."""
    world = World().start()
    assert world.wire.sent == []
    world.wire.greet()
    assert world.wire.sent == [{"action": "auth", "params": "the-key"}]
    world.wire.status("auth_success", "authenticated")
    assert world.wire.subscriptions() == [["T.A", "Q.A"]]
    world.wire.confirm("T.A", "Q.A")
    assert world.kinds() == [
        status.Connecting,
        status.Connected,
        status.Authenticated,
        status.Subscribed,
    ]
    assert world.events[-1].pending == 0
    assert world.phase is Phase.LIVE


def test_a_server_is_approved_of_when_it_has_taken_the_key():
    """An address that opens WebSockets and no more would be dialled first for ever."""
    world = World().start()
    world.wire.greet()
    assert not world.wire.approved
    world.wire.status("auth_success", "authenticated")
    assert world.wire.approved


@pytest.mark.parametrize("kind", [RuntimeError, SystemExit, BaseException])
def test_nobody_who_is_told_keeps_it_from_going_on(kind, caplog):
    """An event that could not be told left a connection backing off for ever."""
    world = World()

    def raising(event):
        raise kind(type(event).__name__)

    world.connection._on_status = raising
    world.go_live()
    for code in (1001, None):
        world.wire.end(code)
        world.redial()
        world.wire.admit()
        world.wire.confirm_all()
        assert world.phase is Phase.LIVE
    assert "Disconnected" in caplog.text


def test_the_old_wording_of_auth_success_is_taken():
    """Logs of 2019 show success/authenticated; a server that still says so must not time out."""
    world = World().start()
    world.wire.greet()
    world.wire.status("success", "authenticated")
    assert world.phase is Phase.LIVE


def test_frames_flow_in_order_with_their_receive_time():
    """The receive time is taken once a read; the wrong one would falsify every latency figure."""
    world = World().go_live()
    world.frames.clear()
    for number in range(5):
        world.run(1)
        world.wire.say({**TRADE, "i": number})
    assert [f.received_ns // 10**9 for f in world.frames] == [1001, 1002, 1003, 1004, 1005]
    assert [b'"i": %d' % n in f.messages[0] for n, f in enumerate(world.frames)] == [True] * 5


@pytest.mark.parametrize("code", [None, 1000, 1001, 1006, 1008, 1011, 4000])
def test_every_close_code_is_come_back_from(code):
    """One code taken for "done" is how other clients end a trading day at ten in the morning."""
    world = World().go_live()
    world.wire.end(code)
    world.redial()
    world.wire.admit()
    assert world.wire.subscriptions() == [["T.A", "Q.A"]]
    world.wire.confirm_all()
    assert world.phase is Phase.LIVE
    assert len(world.of(status.Disconnected)) == 1
    assert not world.completed


def test_a_drop_during_auth_keeps_all_channels():
    """Other clients lose their subscriptions when the drop comes before they were sent."""
    world = World().start()
    world.wire.greet()
    world.wire.end(1001)
    world.connection.want(["A.B"])
    world.redial()
    world.wire.admit()
    assert world.wire.subscriptions() == [["T.A", "Q.A", "A.B"]]


def test_a_refused_key_is_tried_once_and_completes():
    """Hammering with a bad key gets an account locked; and nothing can ever come, so the stream may end."""
    world = World().start()
    world.wire.greet()
    world.wire.status("auth_failed", "authentication failed")
    world.run(3600)
    assert world.dials == 1
    assert world.phase is Phase.FAILED
    assert world.completed
    assert world.of(status.Failed)[0].reason == "authentication failed"


def test_auth_timeout_is_no_success_and_is_retried():
    """The server's auth_timeout must lead to a new attempt, not to silence."""
    world = World().start()
    world.wire.status("auth_timeout", "No authentication request received.")
    world.redial()
    assert world.dials == 2


def test_a_mute_server_is_left_after_the_auth_time_out():
    """A server that accepts TCP and never greets must not hold the connection for ever."""
    world = World().start()
    world.run(10.5)
    assert "no answer to the key" in world.of(status.Disconnected)[0].reason


def test_a_dial_that_hangs_is_called_off():
    """A firewall that swallows SYNs must not stop the attempts."""
    world = World()
    world.hang = True
    world.start()
    world.run(11.0)
    assert world.called_off == 1
    assert world.phase is Phase.BACKING_OFF
    world.run(1.0)
    assert world.dials == 2


@pytest.mark.parametrize(
    ("asked_s", "delay_s"), [(None, 0.5), (0.0, 0.5), (17.0, 17.5), (300.0, 300.5), (86_400.0, 300.5)]
)
def test_a_server_that_asks_for_a_pause_has_it(asked_s, delay_s):
    """A server in trouble bans who hammers it, and a mistaken "in a day" must not cost the day."""
    world = World()
    world.refuse = 1
    world.refusal = ConnectFailed("503", asked_s)
    world.start()
    (event,) = world.of(status.BackOff)
    assert (event.delay_s, event.retry_after_s) == (delay_s, asked_s)
    world.run(delay_s - 0.25)
    assert world.dials == 1
    world.run(0.5)
    assert world.dials == 2


def test_retries_end_when_a_limit_is_set():
    """MASSIVE_WEBSOCKET_MAX_RETRIES=2 means three attempts in all, and then a word about it."""
    world = World(persistence=Persistence(max_retries=2))
    world.refuse = 100
    world.start()
    world.run(1000)
    assert world.dials == 3
    assert world.completed
    assert "retries are used up" in world.of(status.Failed)[0].reason


def test_retries_never_end_by_default():
    """A silent end after so many reconnects is what users of other clients complain about most."""
    world = World()
    world.refuse = 10**9
    world.start()
    world.run(3600)
    assert world.dials > 200
    assert not world.completed


@settings(max_examples=30)
@given(st.lists(st.floats(0, 0.999), min_size=12, max_size=12))
def test_backoff_is_full_jitter_within_its_bound(draws):
    """Without jitter a thousand clients come back in the same second and bring the server down again."""
    numbers = iter(draws)
    world = World(uniform=lambda: next(numbers, 0.5))
    world.refuse = 12
    world.start()
    world.run(12 * 31)
    delays = [event.delay_s for event in world.of(status.BackOff)][:12]
    bounds = [min(30.0, 2.0**n) for n in range(12)]
    assert delays == pytest.approx([u * b for u, b in zip(draws, bounds, strict=True)])


def test_backoff_starts_anew_only_after_a_minute_of_data():
    """A server that accepts and drops at once must not be hammered once a second for ever."""
    world = World()
    world.refuse = 4
    world.start()
    for _ in range(4):
        world.redial()
    world.wire.admit()
    world.wire.end(1006)
    assert world.of(status.BackOff)[-1].delay_s == pytest.approx(0.5 * 16)
    world.redial()
    world.wire.admit()
    for _ in range(61):
        world.run(1)
        world.wire.say(TRADE)
    world.wire.end(1006)
    assert world.of(status.BackOff)[-1].delay_s == pytest.approx(0.5)


def test_pongs_are_no_data():
    """A server that lets us in and then only answers pings is not a session to forget the trouble for."""
    world = World()
    world.refuse = 4
    world.start()
    for _ in range(4):
        world.redial()
    world.wire.admit()
    world.wire.confirm_all()
    for _ in range(90):
        world.run(1)
        world.wire.pong()
    world.wire.end(1006)
    assert world.of(status.BackOff)[-1].delay_s == pytest.approx(0.5 * 16)
    assert world.connection.snapshot().last_message_age_s > 80


@pytest.mark.parametrize("inspected", [True, False])
def test_an_evicted_connection_waits_until_it_may_try(inspected):
    """Coming back by itself it evicts its own sibling, which comes back and evicts it, for ever."""
    world = World().start()
    for dials in (1, 2, 3):
        world.wire.admit()
        if not inspected:
            world.wire.confirm_all()
            world.wire.say(TRADE)
        world.wire.status("max_connections", "Maximum number of websocket connections exceeded.")
        world.wire.end(1008, "max connections")
        assert world.phase is Phase.HELD
        world.run(1000)
        assert world.dials == dials
        world.connection.resume()
        world.run(0.1)
    assert len(world.of(status.Evicted)) == 3
    assert [event.evicted for event in world.of(status.Disconnected)] == [True] * 3
    world.wire.admit()
    world.wire.confirm_all()
    world.connection.resume()
    world.run(0.1)
    assert (world.phase, world.dials) == (Phase.LIVE, 4)


def test_an_end_long_after_the_word_of_too_many_is_no_eviction():
    """A server that only warns must not make the next hiccup cost a minute."""
    world = World().go_live()
    world.wire.say(TRADE)
    world.wire.status("max_connections", "too many")
    world.decode()
    for _ in range(11):
        world.run(1)
        world.wire.pong()
    world.wire.end(1006)
    assert len(world.of(status.Evicted)) == 1
    assert not world.of(status.Disconnected)[0].evicted
    world.redial()


def test_silence_with_tcp_up_is_noticed():
    """Idle links are cut silently some nights; without a watchdog the stream just stops."""
    world = World().go_live()
    world.run(20.5)
    assert world.wire.pings == 2
    assert not world.of(status.Disconnected)
    world.run(20)
    assert "not a byte" in world.of(status.Disconnected)[0].reason
    assert world.wire.closed is not None or len(world.wires) > 1


def test_pongs_keep_a_quiet_market_connected():
    """No ticks at night is no reason to reconnect."""
    world = World().go_live()
    for _ in range(600):
        world.run(1)
        world.wire.pong()
    assert len(world.wires) == 1
    assert 25 <= world.wire.pings <= 31


def test_data_counts_as_life_even_if_pongs_are_late():
    """Keepalive time-outs at full load, because the pong queues behind data, are another known plague."""
    world = World().go_live()
    for _ in range(600):
        world.run(1)
        world.wire.say(TRADE)
    assert len(world.wires) == 1


@pytest.mark.parametrize("when", ["dialling", "greeting", "live", "backing off"])
def test_dispose_at_any_moment_ends_everything(when):
    """Whoever disposes wants the socket gone, not after the next time-out."""
    world = World()
    world.hang = when == "dialling"
    world.start()
    if when in {"live", "backing off"}:
        world.wire.admit()
    if when == "backing off":
        world.wire.end(1006)
    world.subscription.dispose()
    world.subscription.dispose()
    count = len(world.frames)
    world.run(3600)
    assert world.phase is Phase.CLOSED
    assert world.dials == 1
    assert len(world.frames) == count
    assert not world.completed
    assert all(wire.closed is not None for wire in world.wires)
    assert world.called_off == 1


def test_close_completes():
    """close() is the graceful end: the pipeline behind it drains and completes."""
    world = World().go_live()
    world.connection.close()
    world.connection.close()
    world.run(0)
    assert world.completed
    assert world.wire.closed == 1000
    assert world.kinds().count(status.Closed) == 1


def test_a_socket_that_opens_after_the_end_is_closed():
    """A dial that succeeds just as we give up must not leak its socket."""
    world = World()
    world.subscription = world.connection.frames.subscribe(world.frames.append)
    world.connection._soon(world.subscription.dispose)
    world.run(0)
    world.run(1)
    assert all(wire.closed is not None for wire in world.wires)
    assert world.phase is Phase.CLOSED
