import json
import threading
import time

import pytest
from reactivex import operators as ops

from pipeline import build_pipeline, status
from pipeline.errors import Closed
from pipeline.massive.simulator import Options, Simulator, SyntheticFeed
from pipeline.massive.simulator.wire import encode_frame
from pipeline.sinks.sink import DELIVERED
from pipeline.ticks import Quote, TickBatch, Trade
from tests.conftest import our_sockets, our_threads, wait_until
from tests.integration.harness import KEY, Run, config_for

TICKERS = [f"S{number}" for number in range(6)]


@pytest.fixture
def simulator():
    """A server with a steady market."""
    feed = SyntheticFeed(TICKERS, rate=2000, event_types=("T", "Q"))
    with Simulator([feed], Options(keys=frozenset({KEY}))) as server:
        yield server


@pytest.fixture
def config(simulator):
    """Three connections, two tickers each."""
    return config_for(simulator, TICKERS[:2], TICKERS[2:4], TICKERS[4:])


SYNTHETIC = {"SYNTHETIC_UPDATE_INTERVAL": 0.01, "MASSIVE_EVENT_TYPES": "T,Q,A"}


def test_nothing_is_connected_before_the_first_subscriber(config, simulator):
    """Building a pipeline in a module must not open sockets at import."""
    build_pipeline(config).close()
    assert simulator.report().attempts == 0


def test_two_subscribers_share_the_connections_and_the_last_closes_them(config, simulator):
    """Three connections are all the account allows: a second subscriber must not open three more."""
    stream = build_pipeline(config)
    first, second = [], []
    one = stream.subscribe(first.append)
    two = stream.subscribe(second.append)
    wait_until(lambda: first and second)
    assert simulator.report().attempts == 3
    one.dispose()
    count = len(second)
    wait_until(lambda: len(second) > count)
    two.dispose()
    simulator.wait_for(lambda report: not report.clients)
    wait_until(lambda: not {t for t in our_threads() if "simulator" not in t}, 3, "the end of all threads")
    assert simulator.report().attempts == 3


def test_all_subscribers_of_the_beginning_get_the_first_tick():
    """Those who subscribe before the first tick comes must not miss it while others are being added."""
    began_ns = time.time_ns() // 10**9 * 10**9  # a round is due at the end of an interval, and a ms before it
    all_there, seen = threading.Event(), [[] for _ in range(3)]
    with build_pipeline(
        SYNTHETIC, clock=lambda: time.time_ns() if all_there.is_set() else began_ns
    ) as stream:
        for ticks in seen:
            stream.subscribe(ticks.append)
        all_there.set()
        wait_until(lambda: all(seen))
    assert len({(ticks[0].ticker, ticks[0].event_ms) for ticks in seen}) == 1


def test_a_stream_can_be_subscribed_again_after_the_last_has_left(config, simulator):
    """A notebook cell is run twice."""
    stream = build_pipeline(config)
    for _ in range(2):
        ticks = []
        subscription = stream.subscribe(ticks.append)
        wait_until(lambda got=ticks: len(got) > 50)
        subscription.dispose()
    assert simulator.report().attempts == 6


@pytest.mark.parametrize("delay_ms", [0, 1, 2, 3, 5, 8, 12, 20])
def test_dispose_at_any_moment_of_the_beginning_leaks_nothing(config, delay_ms):
    """A dial that succeeds just as we leave must not keep its socket: the check after each test tells."""
    before = our_sockets()
    stream = build_pipeline(config)
    subscription = stream.subscribe(lambda _: None)
    time.sleep(delay_ms / 1000)  # not to wait for anything: to meet the beginning in another state
    subscription.dispose()
    wait_until(lambda: not {t for t in our_threads() if "simulator" not in t}, 3, "the end of all threads")
    wait_until(lambda: our_sockets() <= before, 3, "the end of all sockets")


def test_a_callback_may_dispose_itself_and_close_the_stream(config):
    """`take(1)` and a stop button do just that, on the subscriber's own thread."""
    stream = build_pipeline(config)
    ticks = []
    stream.pipe(ops.take(3)).subscribe(ticks.append)
    wait_until(lambda: not {t for t in our_threads() if "simulator" not in t})
    assert len(ticks) == 3
    closed = threading.Event()

    def close(_):
        stream.close()
        closed.set()

    stream.subscribe(close)
    assert closed.wait(10)


def test_a_closed_stream_says_so(config):
    """Subscribing after close must not come back to life, nor hang."""
    stream = build_pipeline(config)
    with stream:
        pass
    stream.close()
    errors = []
    stream.subscribe(lambda _: None, on_error=errors.append)
    assert isinstance(errors[0], Closed)


def test_close_drains_and_completes(config):
    """The ticks that were received are delivered before the end, and the end is told."""
    with Run(config) as run:
        wait_until(lambda: run.count > 100)
        run.stream.close()
        assert run.completed.is_set()
        account = run.stream.account("callback")
        assert (account.queued, account.dropped, account.imbalance) == (0, 0, 0)
        assert account.delivered == run.count
        assert len(run.of(status.Closed)) == 3


def test_a_callback_that_blocks_the_stream_does_not_stop_the_reader():
    """Massive cuts a slow reader off: with the policy block, what waits must wait here, undecoded."""
    feed = SyntheticFeed(TICKERS, rate=20_000, event_types=("Q",), count=8000)
    free, got = threading.Event(), []

    def hold(tick):
        free.wait(20)
        got.append(tick)

    with Simulator([feed], Options(keys=frozenset({KEY}), start_after=1)) as simulator:
        options = {"MASSIVE_EVENT_TYPES": "Q", "SUBSCRIBER_BUFFER_TICKS": 10, "SUBSCRIBER_OVERFLOW": "block"}
        with build_pipeline(config_for(simulator, TICKERS, **options)) as stream:
            stream.subscribe(hold)
            try:
                wait_until(lambda: stream.account("callback").received == 8000, 20, "all being read")
                assert not got
                assert stream.account("callback").imbalance == 0
                assert stream.health()["ingest"]["queued_bytes"] > 0
            finally:
                free.set()
            wait_until(lambda: len(got) == 8000, 20, "all being delivered")
            assert stream.account("callback").delivered == 8000
            by_ticker = [[tick.sequence for tick in got if tick.ticker == ticker] for ticker in TICKERS]
            assert all(sequences == sorted(sequences) for sequences in by_ticker)


def test_close_gives_up_on_a_callback_that_hangs(config):
    """Ctrl-C must end the program though a callback never returns; what it missed is counted."""
    stream = build_pipeline(config)
    release, entered = threading.Event(), threading.Event()

    def hang(_):
        entered.set()
        release.wait(30)

    stream.subscribe(hang)
    try:
        assert entered.wait(10)
        # More than what is asserted: what waits undecoded is estimated, and has the server's own words in it.
        wait_until(lambda: stream.account("callback").queued > 200)
        stream.close(timeout_s=0.2)
        account = stream.account("callback")
        assert account.dropped + account.queued > 100  # a part may be in the hand of the callback that hangs
        assert account.imbalance == 0
    finally:
        release.set()
    wait_until(lambda: stream.account("callback").queued == 0)
    account = stream.account("callback")
    assert (account.delivered, account.imbalance) == (1, 0)
    assert account.dropped >= 100


def test_it_is_an_observable(config):
    """Users write `.pipe(ops.filter(...), ops.group_by(...))`; it must be the real thing."""
    trades, groups = [], []
    stream = build_pipeline(config)
    one = stream.pipe(ops.filter(lambda tick: tick.event_type == "T")).subscribe(trades.append)
    two = stream.pipe(ops.group_by(lambda tick: tick.ticker)).subscribe(
        lambda group: groups.append(group.key)
    )
    wait_until(lambda: len(trades) > 20 and len(groups) == len(TICKERS))
    assert all(isinstance(trade, Trade) for trade in trades)
    one.dispose()
    two.dispose()


def test_batches(config):
    """Whoever computes on batches gets them as they flow, each with where it came from."""
    batches = []
    with build_pipeline(config) as stream:
        stream.batches.subscribe(batches.append)
        wait_until(lambda: {batch.connection for batch in batches} == {f"connection_{n}" for n in (1, 2, 3)})
    assert all(isinstance(batch, TickBatch) and batch.ticks for batch in batches)
    assert all(tick.received_ns == batch.received_ns for batch in batches for tick in batch.ticks)


def test_ticks_of_a_ticker_come_in_order_and_from_one_thread(config):
    """TickStock's callback has no lock: two threads at once would corrupt its averages."""
    with Run(config) as run:
        wait_until(lambda: run.count > 2000)
    assert run.threads == {"tickbraid-callback"}
    for ticks in run.ticks.values():
        sequence = [tick.sequence for tick in ticks]
        assert sequence == sorted(sequence)


def test_a_raising_callback_gets_the_next_tick(config):
    """One exception in user code kills the whole stream of other clients."""
    calls = []

    def raising(tick):
        calls.append(tick)
        raise RuntimeError("user code")

    with build_pipeline(config) as stream:
        stream.subscribe(raising)
        wait_until(lambda: len(calls) > 200)
        sink = stream.health()["subscribers"]["callback"]["sink"]
        assert sink["errors"] > 100
        assert sink["last_error"] == "RuntimeError: user code"


def test_one_connection_carries_everything_without_multi(simulator):
    """USE_MULTI_CONNECTION=false is the way back for whoever is in doubt: the same stream on one socket."""
    config = config_for(simulator, TICKERS, USE_MULTI_CONNECTION=False)
    with Run(config) as run:
        wait_until(lambda: {ticker for _, ticker in run.ticks} == set(TICKERS))
        assert simulator.report().attempts == 1


def test_the_synthetic_market_needs_no_socket():
    """Someone without a key sees the whole pipeline at work, and the ticks say that they are made up."""
    before = our_sockets()
    with Run(SYNTHETIC) as run:
        wait_until(lambda: run.count > 100)
        assert len(our_sockets() - before) <= 2  # the loop's own pair
        assert {kind for kind, _ in run.ticks} <= {"T", "Q", "A"}
        assert {tick.source for ticks in run.ticks.values() for tick in ticks} == {"synthetic"}
        run.stream.close()
        account = run.stream.account("callback")
        assert (account.delivered, account.imbalance) == (run.count, 0)


def test_a_connection_without_tickers_is_skipped_with_a_word(simulator):
    """A universe that is gone must not keep the other connections from working."""
    config = config_for(simulator, TICKERS[:1], [], WEBSOCKET_CONNECTION_2_UNIVERSE_KEY="no:such_universe")
    with Run(config) as run:
        wait_until(lambda: run.count)
        (event,) = wait_until(lambda: run.of(status.Skipped))
        assert event.connection == "connection_2"


def test_a_sink_of_ones_own(config):
    """Whoever writes to a database gets lists of batches on a thread of its own, and an account."""

    class Sink:
        name = "database"

        def __init__(self):
            self.ticks = 0
            self.closed = False

        def write(self, batches):
            self.ticks += sum(len(batch.ticks) for batch in batches)
            return DELIVERED

        def stop(self):
            pass

        def close(self):
            self.closed = True

        def snapshot(self):
            return {"ticks": self.ticks}

    sink = Sink()
    with build_pipeline(config) as stream:
        for capacity in (-1, 0):
            with pytest.raises(ValueError, match="capacity"):
                stream.attach(sink, capacity=capacity)
        with pytest.raises(ValueError, match="overflow"):
            stream.attach(sink, overflow="")
        stream.attach(sink, capacity=1000, overflow="drop_oldest")
        with pytest.raises(ValueError, match="database"):
            stream.attach(Sink())
        wait_until(lambda: sink.ticks > 500)
    assert sink.closed
    account = stream.account("database")
    assert (account.delivered + account.dropped, account.imbalance) == (account.received, 0)
    assert account.delivered == sink.ticks


def test_health_is_plain_and_holds_no_secret(config):
    """It goes out as JSON to whoever asks; the key must not be in it."""
    with Run(config) as run:
        wait_until(lambda: run.stream.account("callback").delivered > 10)
        wait_until(lambda: all(c["phase"] == "live" for c in run.stream.health()["connections"]))
        text = json.dumps(run.stream.health())
    assert KEY not in text
    health = json.loads(text)
    assert [connection["phase"] for connection in health["connections"]] == ["live"] * 3
    assert health["latency_ms"]["delivered"]["callback"]["count"] > 0
    assert health["subscribers"]["callback"]["account"]["imbalance"] == 0


def test_health_says_how_each_connection_does_and_all_of_them(simulator, config):
    """A screen that asks once a second needs no arithmetic of its own, and no other source."""
    with Run(config) as run:
        wait_until(lambda: all(c["ticks_per_s"] for c in run.stream.health()["connections"]), 15, "rates")
        simulator.close_clients(1001, only=1)
        simulator.send_raw(encode_frame(b'[{"ev":"Q","bp":1}]'), only=2)
        wait_until(lambda: run.stream.health()["totals"]["reconnects"] == 1, 15, "the reconnect")
        wait_until(lambda: run.stream.health()["totals"]["connected"] == 3, 15, "three connected")
        wait_until(lambda: run.stream.health()["totals"]["errors"] == 2, 15, "the rejected element")
        health = run.stream.health()
        totals, connections = health["totals"], health["connections"]
        assert {c["id"]: c["tickers"] for c in connections} == {
            name: len(tickers) for name, tickers in run.stream.tickers().items()
        }
        for name in ("ticks", "ticks_per_s", "errors", "reconnects", "queued", "tickers"):
            assert totals[name] == sum(c[name] for c in connections), name
        assert totals["connections"] == 3
        assert sorted(c["errors"] for c in connections) == [0, 1, 1]
        assert all(c["status"] == c["phase"] and c["ticks"] for c in connections)
        assert all(0 < c["latency_ms"]["p50"] <= c["latency_ms"]["p99"] for c in connections)
    assert run.stream.health()["totals"]["connected"] == 0


def test_no_status_event_log_line_or_repr_shows_the_key(config, caplog):
    """Logs are pasted into tickets."""
    caplog.set_level(0)
    with Run(config) as run:
        wait_until(lambda: run.count > 10)
        texts = [event.describe() for event in run.events] + [repr(event) for event in run.events]
        texts += [repr(run.stream.settings), str(run.stream.settings), caplog.text]
    assert not [text for text in texts if KEY in text]


def test_latency_and_receive_time_stand_on_each_tick(config):
    """Without the receive time on the tick nobody can say where his latency comes from."""
    with Run(config) as run:
        wait_until(lambda: run.count > 100)
        ticks = [tick for its in run.ticks.values() for tick in its]
        assert all(abs(tick.received_ns / 1e9 - time.time()) < 60 for tick in ticks)
        assert all(isinstance(tick, Trade | Quote) for tick in ticks)
        feed = run.stream.latencies.snapshot().feed
        assert set(feed) == {"connection_1", "connection_2", "connection_3"}
