import threading

from pipeline import build_pipeline, status
from pipeline.massive.ingest import HOLD_BYTES
from pipeline.outlet import GATHER_TICKS
from tests.conftest import wait_until
from tests.integration.flood import Flood
from tests.integration.harness import config_for

COUNT = 150_000
"""Trades, 15 MB: more than kernels' buffers and the ingest buffer hold together."""
SMALL = {"INGEST_BUFFER_BYTES": 2 * HOLD_BYTES, "SUBSCRIBER_BUFFER_TICKS": 5000}


def start(flood, on_tick, **more):
    """Return a stream that a flood is poured into, and its events."""
    stream = build_pipeline(config_for(flood, ["AAPL"], **SMALL | {"DEDUPE_WINDOW": 2 * COUNT} | more))
    events = []
    stream.status.subscribe(events.append)
    stream.subscribe(on_tick)
    return stream, events


def lost(events):
    """Return what was said to be lost, and each end of a session."""
    return [event for event in events if isinstance(event, status.Loss | status.Disconnected)]


def count_lost(events):
    """Return how many ticks were said to be lost until now."""
    return sum(event.count for event in list(events) if isinstance(event, status.Loss) and event.count)


def test_block_stops_the_reads_and_loses_nothing():
    """Who chose `block` to miss nothing would lose nine ticks of ten, in a buffer that is not theirs."""
    got = []
    with Flood(COUNT) as flood:
        stream, events = start(flood, lambda tick: got.append(tick.sequence), SUBSCRIBER_OVERFLOW="block")
        with stream:
            wait_until(lambda: len(got) == COUNT, 40, f"{COUNT} trades")
            account = stream.account()
        assert got == list(range(COUNT))
        assert (account.dropped, lost(events), flood.cut) == (0, [], 0)


def test_a_callback_that_hangs_holds_the_server_back_and_is_no_silence():
    """A pause of the callback would cost the session: the link is not dead, we do not listen."""
    go_on, got = threading.Event(), []

    def on_tick(tick):
        if tick.sequence == 10:
            go_on.wait(30)
        got.append(tick.sequence)

    patience = {"MASSIVE_PING_INTERVAL": 0.1, "MASSIVE_PING_TIMEOUT": 0.1}
    with Flood(COUNT) as flood:
        stream, events = start(flood, on_tick, SUBSCRIBER_OVERFLOW="block", **patience)
        with stream:
            wait_until(lambda: stream.health()["ingest"]["queued_bytes"] > HOLD_BYTES, 20, "a full buffer")
            loop = stream._engine.loop
            pinged = [loop.listening_s()]
            beats = []
            for _ in range(20):  # each as long as a ping may stay without an answer
                beat = threading.Event()
                loop.schedule_relative(0.05, lambda *_, beat=beat: beat.set())
                assert beat.wait(5)
                beats.append(flood.sent_bytes)
            assert loop.listening_s() - pinged[0] < 0.5, "the clock of silence stands"
            assert beats[-1] == beats[-5], "the server is held back"
            assert stream.health()["ingest"]["queued_bytes"] < 4 * HOLD_BYTES
            go_on.set()
            wait_until(lambda: len(got) == COUNT, 40, f"{COUNT} trades")
        assert got == list(range(COUNT))
        assert (lost(events), flood.cut) == ([], 0)


def test_as_long_as_the_server_is_patient_nothing_is_given_up():
    """Ticks would be read in order to be thrown away, while the server still had room for them."""
    got = []
    with Flood(COUNT) as flood:
        stream, events = start(
            flood,
            lambda tick: got.append(tick.sequence),
            SUBSCRIBER_OVERFLOW="conflate",
            MASSIVE_SERVER_BUFFER_BYTES=2**30,
            SUBSCRIBER_BUFFER_TICKS=COUNT,
        )
        with stream:
            wait_until(lambda: len(got) == COUNT, 40, f"{COUNT} trades")
        assert got == list(range(COUNT))
        assert (lost(events), flood.cut) == ([], 0)


def test_nothing_older_than_the_limit_is_delivered():
    """A callback that is too slow for the feed would act on prices that are seconds old."""
    ages_ms, done = [], threading.Event()
    clock = {"ns": 0}

    def on_tick(tick):
        ages_ms.append((clock["ns"] - tick.received_ns) / 1e6)
        clock["ns"] += 10_000  # what it takes: more than there is time for
        if tick.sequence == COUNT - 1:
            done.set()

    def now_ns():
        clock["ns"] += 100
        return clock["ns"]

    with Flood(COUNT) as flood:
        config = config_for(flood, ["AAPL"], SUBSCRIBER_OVERFLOW="drop_newest", SUBSCRIBER_MAX_AGE_MS=50)
        with build_pipeline(config | SMALL, clock=now_ns) as stream:
            events = []
            stream.status.subscribe(events.append)
            stream.subscribe(on_tick)
            wait_until(lambda: stream.account().received == COUNT and not stream.account().queued, 60)
            account = stream.account()
            aged = stream.health()["subscribers"]["callback"]["dropped"].get("aged", 0)
        told = wait_until(
            lambda: count_lost(events) >= account.dropped and count_lost(events), 10, "the losses"
        )
    a_write_ms = 2 * GATHER_TICKS * 0.01
    assert max(ages_ms) < 50 + a_write_ms
    assert aged + account.delivered <= COUNT
    assert account.delivered == len(ages_ms)
    assert told == account.dropped == COUNT - len(ages_ms)
