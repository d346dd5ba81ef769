import time
from dataclasses import replace

import pytest

from pipeline import status
from pipeline.massive.simulator import Faults, Options, Silence, Simulator, SyntheticFeed
from pipeline.settings import load_settings
from pipeline.sinks.callback import CallbackSink
from tests.conftest import wait_until
from tests.integration.harness import KEY, Run, config_for

TICKERS = [f"S{number}" for number in range(6)]
CHANNELS = 2 * len(TICKERS)


@pytest.fixture
def simulator():
    """A server with a steady market."""
    feed = SyntheticFeed(TICKERS, rate=2000, event_types=("T", "Q"))
    with Simulator([feed], Options(keys=frozenset({KEY}))) as server:
        yield server


def config(simulator, **more):
    """Three connections, two tickers each, quick to find a dead link."""
    patience = {"MASSIVE_PING_INTERVAL": 0.2, "MASSIVE_PING_TIMEOUT": 0.2}
    return config_for(simulator, TICKERS[:2], TICKERS[2:4], TICKERS[4:], **patience | more)


def flows(run, tickers=TICKERS):
    """Wait until new ticks of every ticker have come."""
    before = run.by_channel()
    wait_until(
        lambda: all(run.by_channel()[f"Q.{ticker}"] > before[f"Q.{ticker}"] for ticker in tickers),
        15,
        f"ticks of all of {tickers}",
    )


def resumed(run, simulator):
    """Wait until all is as it was: every channel confirmed and flowing; then check the account."""
    run.wait_confirmed(CHANNELS)
    simulator.wait_for(lambda report: report.held == CHANNELS)
    flows(run)
    assert all(account.imbalance == 0 for account in run.stream.accounts()["callback"].values())
    assert not run.completed.is_set()


def test_a_killed_and_restarted_server(simulator):
    """The server's nightly restart: the stream goes on, and says how long it was without ticks."""
    with Run(config(simulator)) as run:
        resumed(run, simulator)
        simulator.stop()
        wait_until(lambda: len(run.of(status.Disconnected)) >= 3)
        wait_until(lambda: len(run.of(status.BackOff)) > 6)
        simulator.start()
        resumed(run, simulator)
        for number in (1, 2, 3):
            (loss,) = wait_until(lambda n=number: run.of(status.Loss, f"connection_{n}"))
            assert (loss.reason, loss.count) == ("disconnected", None)
            assert loss.from_ns < loss.to_ns


def test_a_server_that_goes_silent_with_tcp_up(simulator):
    """A link cut in the night without a FIN: only the watchdog can tell."""
    with Run(config(simulator)) as run:
        resumed(run, simulator)
        simulator.go_silent(Silence.ALL)
        wait_until(lambda: len(run.of(status.Disconnected)) >= 3)
        assert all("not a byte" in event.reason for event in run.of(status.Disconnected))
        resumed(run, simulator)


@pytest.mark.parametrize("code", [1000, 1001, 1006, 1008, 1011])
def test_a_server_that_closes(simulator, code):
    """1000 is no reason to stop: the server says it when it rotates its hosts."""
    with Run(config(simulator)) as run:
        resumed(run, simulator)
        simulator.close_clients(code, "rotation")
        wait_until(lambda: len(run.of(status.Disconnected)) == 3)
        assert {event.code for event in run.of(status.Disconnected)} == {None if code == 1006 else code}
        resumed(run, simulator)


def test_a_server_that_drops_during_the_first_auth(simulator):
    """Other clients come back without their subscriptions from this one."""
    simulator.set_faults(drop_auth=3)
    with Run(config(simulator)) as run:
        resumed(run, simulator)
        assert len(run.of(status.Disconnected)) == 3
        assert len(run.of(status.Connected)) == 6
        assert not run.of(status.Loss)


def test_lost_acknowledgements_leave_no_channel_without_ticks(simulator):
    """The channel is held though its acknowledgement got lost: ticks flow, and pending says the truth."""
    simulator.set_faults(ack_loss=1.0)
    with Run(config(simulator)) as run:
        simulator.wait_for(lambda report: report.held == CHANNELS)
        flows(run)
        connections = run.stream.health()["connections"]
        assert [c["pending"] for c in connections] == [4, 4, 4]


def test_fragments_pings_and_torn_frames(simulator):
    """Everything a WebSocket server may do to a message, all at once, and no tick is lost or doubled."""
    simulator.set_faults(fragments=3, pings=0.3, truncated=0.05, repeat=0.1, malformed=0.05)
    with Run(config(simulator, MASSIVE_EVENT_TYPES="Q")) as run:
        run.wait_confirmed(len(TICKERS))
        sent = simulator.wait_for(lambda report: report.sent.repeated_elements > 50).sent
        simulator.go_silent(Silence.DATA)
        wait_until(lambda: run.by_channel() == simulator.report().sent.channels, 10, "every tick")
        wait_until(lambda: run.stream.account("callback").queued == 0)
        account = run.stream.account("callback")
        assert account.imbalance == 0
        assert account.deduplicated >= sent.repeated_elements > 0
        assert not run.of(status.Disconnected)
        assert simulator.report().sent.pings > 0


def test_rubbish_on_the_wire_reconnects(simulator):
    """Bytes that are no WebSocket traffic end the session, not the thread."""
    with Run(config(simulator)) as run:
        resumed(run, simulator)
        simulator.send_raw(b"\xff\xff\xffrubbish")
        wait_until(lambda: len(run.of(status.Disconnected)) == 3)
        resumed(run, simulator)


def test_a_message_over_16_mib_is_refused_before_it_is_buffered(simulator):
    """A 200 MiB message is delivered by websocket-client, memory permitting."""
    with Run(config(simulator)) as run:
        resumed(run, simulator)
        simulator.send_oversized(17 * 1024 * 1024, only=simulator.report().clients[0].client)
        (event,) = wait_until(lambda: run.of(status.Disconnected))
        assert "bytes" in event.reason
        resumed(run, simulator)


def test_a_wrong_key_ends_the_stream_with_its_reason():
    """A bad key must end in a word, after one attempt a connection, not in a loop."""
    with Simulator([], Options(keys=frozenset({"another"}))) as simulator, Run(config(simulator)) as run:
        assert run.completed.wait(10)
        wait_until(lambda: len(run.of(status.Failed)) == 3)
        assert simulator.report().attempts == 3


def test_channels_that_the_plan_does_not_cover():
    """`not authorized` names nobody: the refused ones are found, told, and all others flow."""
    feed = SyntheticFeed(TICKERS, rate=2000, event_types=("T", "Q"))
    options = Options(keys=frozenset({KEY}), unauthorized=frozenset({"Q.S1", "Q.S3"}))
    with Simulator([feed], options) as simulator, Run(config(simulator)) as run:
        run.wait_confirmed(CHANNELS - 2)
        wait_until(
            lambda: {c for event in run.of(status.Refused) for c in event.channels} == {"Q.S1", "Q.S3"}
        )
        flows(run, ["S0", "S2", "S4", "S5"])
        assert [c["refused"] for c in run.stream.health()["connections"]] == [1, 1, 0]
        assert not run.of(status.Disconnected)


def test_a_slow_callback_does_not_delay_the_socket(simulator):
    """The callback of a busy service must not make Massive cut us off."""
    with Run(config(simulator)) as run:
        sink = CallbackSink(lambda _: time.sleep(0.01), "slow")
        slow = run.stream.attach(sink, capacity=100, overflow="drop_oldest")
        (loss, *_) = wait_until(lambda: run.of(status.Loss))
        assert (loss.where, loss.reason) == ("slow", "overflow")
        assert not run.of(status.Disconnected)
        account = run.stream.account("slow")
        assert account.dropped > 0
        assert account.imbalance == 0
        assert run.stream.account("callback").dropped == 0
        slow.dispose()


def test_ingest_overflow_is_counted_and_announced(simulator):
    """When even decoding is too slow, what is dropped undecoded still stands in the account."""
    settings = load_settings(config(simulator, SUBSCRIBER_OVERFLOW="conflate"))
    tiny = replace(settings, ingest_buffer_bytes=1)
    with Run(tiny) as run:
        wait_until(lambda: run.of(status.Loss), 20)
        (loss, *_) = run.of(status.Loss)
        assert (loss.where, loss.reason) == ("ingest", "ingest_overflow")
        account = run.stream.account("callback")
        assert account.dropped > 0
        assert account.imbalance == 0


def test_a_faulty_server_and_faults_from_the_start():
    """A server that is not there yet when we start is connected to when it comes."""
    simulator = Simulator([SyntheticFeed(TICKERS, rate=2000)], Options(), Faults(refuse=True))
    with simulator:
        simulator.set_faults(refuse=False)
        simulator.set_faults(refuse=True)
        with Run(config(simulator, MASSIVE_EVENT_TYPES="T,Q")) as run:
            wait_until(lambda: len(run.of(status.BackOff)) > 3)
            simulator.set_faults(refuse=False)
            run.wait_confirmed(CHANNELS)
            flows(run)
