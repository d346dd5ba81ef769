import pytest

from pipeline import status
from pipeline.massive import rhythm
from pipeline.massive.persistence import Persistence
from pipeline.massive.snapshot import Phase
from pipeline.massive.watch import PROBE_S
from pipeline.staleness import judge
from tests.massive.virtual import TRADE, World

NO_PINGS = Persistence(ping_interval_s=3600, ping_timeout_s=3600)


def learned(gap_s=1.0, for_s=200.0, **world):
    """Return a live world that has heard ticks at this pace for so long."""
    world = World(**world).go_live()
    for _ in range(round(for_s / gap_s)):
        world.run(gap_s)
        world.wire.say(TRADE)
        world.wire.pong()
    return world


def fall_silent(world, seconds=12.0):
    """Let the server answer pings for so long, and send nothing."""
    for _ in range(round(seconds)):
        world.run(1.0)
        world.wire.pong()


def probe(world):
    """Let the pool ask for a probe."""
    world.connection.probe()
    world.run(0)


def test_silence_is_shown_with_its_limit():
    """The pool could not tell a stale connection from a quiet one."""
    world = learned()
    snapshot = world.connection.snapshot()
    assert snapshot.silent_for_s == pytest.approx(0.0, abs=0.01)
    assert snapshot.limit_s == pytest.approx(10.0, abs=0.01)
    assert judge([snapshot], market_open=True) == []
    fall_silent(world)
    snapshot = world.connection.snapshot()
    assert snapshot.silent_for_s == pytest.approx(12.0, abs=0.01)
    assert judge([snapshot], market_open=True) == ["connection_1"]
    assert not snapshot.stale


def test_acknowledgements_are_no_ticks():
    """With an acknowledgement a frame, a connection of many channels would have the rhythm of these."""
    world = World().start()
    world.wire.admit()
    for number in range(2 * rhythm.LEARN_READS):
        world.connection.want([f"T.X{number}"])
        world.run(0)
        world.wire.confirm(f"T.X{number}")
    world.run(rhythm.LEARN_S)
    assert world.connection.snapshot().silent_for_s is None
    assert world.connection.snapshot().limit_s is None


def test_ticks_beside_acknowledgements_count():
    """While tickers are added all the time, a connection that is busy would look silent."""
    world = World().go_live()
    world.connection.want(["T.B"])
    world.run(0)
    world.wire.say({"ev": "status", "status": "success", "message": "unsubscribed to: T.Z"}, TRADE)
    assert world.connection.snapshot().silent_for_s == pytest.approx(0.0, abs=0.01)


def test_channels_given_back_make_it_learn_anew():
    """Whose busy tickers were moved away would be stale for the silence of those that are left."""
    world = learned()
    world.connection.give_up([])
    world.run(0)
    assert world.connection.snapshot().limit_s is not None
    world.connection.give_up(["T.A"])
    world.run(0)
    fall_silent(world, 30)
    assert world.connection.snapshot().limit_s is None


def test_a_probe_asks_for_everything_anew_on_the_same_socket():
    """A server that lost the subscriptions is healed without a new connection."""
    world = learned(persistence=NO_PINGS)
    fall_silent(world)
    pings = world.wire.pings
    world.wire.sent.clear()
    probe(world)
    assert world.wire.pings == pings + 1
    assert world.wire.sent == [
        {"action": "unsubscribe", "params": "T.A,Q.A"},
        {"action": "subscribe", "params": "T.A,Q.A"},
    ]
    (event,) = world.of(status.Stale)
    assert event.silent_for_s == pytest.approx(12.0, abs=0.01)
    assert event.usually_s == pytest.approx(1.0, abs=0.01)
    assert event.describe() == "connection_1: stale: no ticks for 12.0 s, usually 1.0 s at most"
    assert world.connection.snapshot().stale


def test_the_server_s_words_end_no_silence():
    """A mute session was taken for a living one when it took back a channel; what it withheld went untold."""
    world = learned()
    fall_silent(world)
    world.connection.give_up(["Q.A"])
    world.run(0)
    world.wire.status("success", "unsubscribed to: Q.A")
    world.wire.status("slow_consumer", "you are too slow")
    assert world.connection.is_mute()
    assert world.connection.snapshot().silent_for_s == pytest.approx(12.0, abs=0.01)
    world.wire.say(TRADE)
    assert not world.connection.is_mute()


@pytest.mark.parametrize("step_s", [-3600.0, 0.0, 3600.0])
def test_a_probe_that_brings_ticks_ends_well(step_s):
    """Who is healed must neither lose the session nor stay stale, however the clock is set."""
    world = learned()
    fall_silent(world)
    probe(world)
    world.run(1)
    world.wire.status("success", "unsubscribed to: T.A")
    world.wire.confirm("T.A", "Q.A")
    assert world.connection.snapshot().stale, "acknowledgements are no ticks"
    world.run(1)
    world.wrong_s += step_s
    world.wire.say(TRADE)
    assert not world.connection.snapshot().stale
    assert world.of(status.Fresh)[0].silent_for_s == pytest.approx(14.0, abs=0.01)
    fall_silent(world, 3 * PROBE_S)
    assert world.phase is Phase.LIVE
    assert not world.of(status.Disconnected)


def test_a_probe_in_vain_ends_in_a_new_connection():
    """A stream that silently stopped would cost the day; and the gap begins with the last ticks, no later."""
    world = learned()
    last_ns = world.now_ns
    fall_silent(world)
    probe(world)
    world.wire.status("success", "unsubscribed to: T.A")
    world.wire.confirm("T.A", "Q.A")
    fall_silent(world, PROBE_S + 1)
    (lost,) = world.of(status.Disconnected)
    assert lost.reason == "no ticks for 17.0 s, nor when the channels were asked for anew"
    assert lost.last_frame_ns == last_ns
    assert world.connection.snapshot().stale is False
    assert world.connection.snapshot().silent_for_s is None
    world.redial()
    world.wire.admit()
    assert world.wire.subscriptions() == [["T.A", "Q.A"]]


def test_minute_bars_are_waited_for_as_long_as_they_take():
    """After a probe that healed it, the next bar comes within a minute, not within five seconds."""
    world = learned(gap_s=60.0, for_s=1800.0, persistence=NO_PINGS)
    world.run(700)
    probe(world)
    world.wire.confirm_all()
    world.run(55)
    world.wire.say(TRADE)
    world.run(300)
    assert world.phase is Phase.LIVE


def test_a_dead_link_is_found_out_by_its_pings():
    """Where not even a pong comes, the ping watch need not wait for the probe."""
    world = learned(persistence=Persistence(ping_interval_s=1000, ping_timeout_s=3))
    world.run(15)
    probe(world)
    world.run(3.1)
    assert world.of(status.Disconnected)[-1].reason == "not a byte for 3 s after a ping"


def test_a_second_probe_changes_nothing():
    """A health check that comes again before the answer would postpone the end for ever."""
    world = learned()
    fall_silent(world)
    probe(world)
    fall_silent(world, 3)
    sent = len(world.wire.sent)
    probe(world)
    assert len(world.wire.sent) == sent
    fall_silent(world, 3)
    assert world.of(status.Disconnected)
    assert len(world.of(status.Stale)) == 1


def test_a_probe_of_what_is_not_live_or_never_spoke_does_nothing():
    """A late verdict on a connection that meanwhile ended must not touch the next one."""
    world = World().start()
    probe(world)
    world.wire.admit()
    world.wire.confirm_all()
    probe(world)
    world.wire.say(TRADE)
    world.wire.end()
    probe(world)
    assert not world.of(status.Stale)


def test_what_is_lost_while_it_is_probed_is_not_lost_twice():
    """The probe's time-out would end the next session."""
    world = learned()
    fall_silent(world)
    probe(world)
    world.wire.end()
    world.redial()
    world.wire.admit()
    world.run(PROBE_S + 1)
    assert world.phase is Phase.LIVE
    assert len(world.of(status.Disconnected)) == 1
    assert not world.connection.snapshot().stale


def test_a_late_acknowledgement_is_no_tick():
    """The answer to the probe's own unsubscription would pass for a sign of life, and the probe be over."""
    world = learned()
    fall_silent(world)
    probe(world)
    world.wire.confirm("T.A", "Q.A")
    world.wire.status("success", "unsubscribed to: T.A")
    assert world.connection.snapshot().stale
    assert not world.of(status.Fresh)


def test_a_probe_asks_for_unanswered_channels_too():
    """Those may be the very ones that the server forgot."""
    world = World(persistence=NO_PINGS).start()
    world.wire.admit()
    world.wire.confirm("T.A")
    world.run(30)
    assert world.of(status.Unanswered)[0].channels == ("Q.A",)
    world.wire.say(TRADE)
    world.wire.sent.clear()
    probe(world)
    assert world.wire.subscriptions() == [["T.A", "Q.A"]]


def test_reconnect_ends_the_session_with_its_reason_and_dials():
    """The button of the dashboard would do nothing, or leave no trace of why."""
    world = World().go_live()
    world.connection.reconnect("asked for by hand")
    world.run(0)
    assert world.of(status.Disconnected)[0].reason == "asked for by hand"
    world.redial()
    world.wire.admit()
    assert world.phase is Phase.LIVE


def test_reconnect_does_not_wait_for_the_back_off():
    """Who fixed the network and presses the button would wait half a minute more."""
    world = World(uniform=lambda: 1.0, persistence=Persistence(base_delay_s=30)).go_live()
    world.wire.end()
    assert world.phase is Phase.BACKING_OFF
    world.connection.reconnect("asked for by hand")
    world.run(0)
    assert world.dials == 2
    world.wire.admit()
    world.wire.confirm_all()
    for _ in range(60):  # nor does the old wait dial again
        world.run(1)
        world.wire.pong()
    assert world.dials == 2


def test_reconnect_opens_nothing_that_was_closed():
    """A closed stream would come alive by a click."""
    world = World().go_live()
    world.connection.close()
    world.connection.reconnect("asked for by hand")
    world.run(100)
    assert world.dials == 1
    assert world.phase is Phase.CLOSED


def go_on(world, seconds, bytes_a_second=0):
    """Let the server answer each ping, and send so much of a message that does not become whole."""
    for _ in range(round(seconds)):
        world.run(1.0)
        world.wire.pong()
        if bytes_a_second:
            world.wire.trickle(bytes_a_second)


@pytest.mark.parametrize("bytes_a_second", [1, 1000, 15_000])
def test_bytes_without_a_message_are_no_life(bytes_a_second):
    """A connection that read and emitted nothing stayed live for ever, for the server answered its pings."""
    world = World().go_live()
    go_on(world, 3600 if bytes_a_second > 10_000 else 70, bytes_a_second)
    (lost,) = world.of(status.Disconnected)[:1]
    assert "not whole after" in lost.reason


def test_a_message_that_stands_still_is_no_life():
    """Its beginning has come and then only pongs."""
    world = World().go_live()
    world.wire.trickle(100_000)
    go_on(world, 100)
    assert "not whole after" in world.of(status.Disconnected)[0].reason


def test_the_largest_message_may_take_its_time():
    """A slow line that brings 16 MiB at 20 KiB a second works, and would be cut off again and again."""
    world = World().go_live()
    go_on(world, 16 * 1024 / 20, 20 * 1024)
    world.wire.unfinished_bytes = 0
    world.wire.say(TRADE)
    go_on(world, 100)
    assert world.phase is Phase.LIVE
    assert not world.of(status.Disconnected)


def test_messages_that_end_in_the_next_read_are_life():
    """At full load nearly every read ends within a message: each look finds one that is not whole."""
    world = World().go_live()
    world.wire.unfinished_bytes = 1
    for _ in range(200):
        world.run(1.0)
        world.wire.say(TRADE)
    assert world.phase is Phase.LIVE


def test_a_message_that_begins_after_a_long_silence_has_its_time():
    """At night the last message is hours old when the next one begins."""
    world = World().go_live()
    go_on(world, 3600)
    world.wire.trickle(10)
    go_on(world, 15)
    world.wire.unfinished_bytes = 0
    world.wire.say(TRADE)
    go_on(world, 100)
    assert world.phase is Phase.LIVE
