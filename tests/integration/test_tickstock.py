"""TickStock's adapter as the application uses it, over real sockets."""

import threading

import pytest

from pipeline.massive.simulator import Eviction, Options, Simulator, SyntheticFeed
from pipeline.tickstock import RealTimeDataAdapter
from tests.conftest import wait_until
from tests.integration.harness import Gate
from tests.tickstock.harness import KEY, Heard, config_of, held, many_of

HOMES = {f"connection_{n}": [f"S{n}{number:02}" for number in range(30)] for n in (1, 2, 3)}
TICKERS = [ticker for home in HOMES.values() for ticker in home]
QUOTES = {"MASSIVE_EVENT_TYPES": "Q", "WEBSOCKET_FAILOVER_AFTER": 0.3}


@pytest.fixture
def simulator():
    """A server with a market of ninety tickers."""
    feed = SyntheticFeed(TICKERS, rate=3000, event_types=("Q",))
    with Simulator([feed], Options(keys=frozenset({KEY}))) as server:
        yield server


@pytest.fixture
def start():
    """Start adapters, and stop them at the end; returns the adapter and what its callbacks heard."""
    adapters = []

    def begin(config, tickers=(), on_tick=None):
        heard = Heard()
        adapter = RealTimeDataAdapter(config, on_tick or heard.tick, heard.status)
        adapters.append(adapter)
        assert adapter.connect(list(tickers))
        return adapter, heard

    yield begin
    for adapter in adapters:
        adapter.disconnect()


def three(simulator, **more):
    """Three connections of thirty tickers each."""
    return many_of(simulator, *HOMES.values(), **(QUOTES | more))


def assert_in_order(heard):
    """Check that no ticker's ticks went back in time."""
    for ticks in heard.by_ticker().values():
        times = [tick.timestamp for tick in ticks]
        assert times == sorted(times)


@pytest.mark.parametrize("count", [2, 3])
def test_several_connections_each_with_its_own_tickers(simulator, start, count):
    """Two and three connections: all tickers come, each over its own socket, as one stream."""
    homes = list(HOMES.values())[:count]
    adapter, heard = start(many_of(simulator, *homes, **QUOTES))
    heard.wait_for_tickers(ticker for home in homes for ticker in home)
    assert sorted(map(sorted, held(simulator).values())) == sorted(map(sorted, homes))
    assert_in_order(heard)
    assert adapter.stream.account().imbalance == 0


def test_one_connection_failing_leaves_two_thirds(simulator, start):
    """Isolation: without failover the two others bring everything of theirs, as if nothing had happened."""
    gate = Gate(simulator.port)
    adapter, heard = start(
        three(simulator, WEBSOCKET_CONNECTION_2_URL=gate.url, WEBSOCKET_FAILOVER_ENABLED="no")
    )
    heard.wait_for_tickers(TICKERS)
    gate.shut()
    heard.wait_for_word("disconnected")
    heard.wait_for_tickers(HOMES["connection_1"] + HOMES["connection_3"])
    heard.wait_for_ticks(500)
    lost = set(HOMES["connection_2"])
    wait_until(  # what it brought before it was cut may still be on its way
        lambda: lost.isdisjoint(tick.ticker for tick in heard.ticks[-500:]), 10, "its last tick to be over"
    )
    assert {d["connection_id"] for w, d in heard.statuses if w == "disconnected"} == {"connection_2"}
    assert adapter.client.get_health_status()["connected"] == 2


@pytest.mark.parametrize("victim", list(HOMES))
def test_with_failover_one_connection_failing_leaves_all(simulator, start, victim):
    """The others take over, whichever dies; when it is back its tickers come home."""
    gate = Gate(simulator.port)
    url = {f"WEBSOCKET_{victim.upper()}_URL": gate.url}
    adapter, heard = start(three(simulator, WEBSOCKET_FAILOVER_ENABLED="true", **url))
    heard.wait_for_tickers(TICKERS)
    gate.shut()
    wait_until(lambda: victim not in adapter.client.ticker_to_connection.values(), 10, "the failover")
    heard.wait_for_tickers(TICKERS)
    gate.open()
    wait_until(
        lambda: set(HOMES[victim]) == adapter.client.connections[victim].assigned_tickers, 15, "the return"
    )
    heard.wait_for_tickers(TICKERS)
    moved = [data for _, data in heard.statuses if data["event"] == "Moved"]
    assert {data["reason"] for data in moved} == {"failover", "return"}
    assert_in_order(heard)
    adapter.disconnect()
    gate.shut()


def test_a_slow_callback_keeps_no_connection_from_reading(simulator, start):
    """A database that hangs: the server sees a fast reader on all three, and nothing is lost."""
    release = threading.Event()
    late = []

    def slow(tick):
        release.wait(30)
        late.append(tick)

    try:
        adapter, heard = start(three(simulator), on_tick=slow)
        wait_until(lambda: adapter.stream.account().queued > 3000, 10, "a backlog")
        assert simulator.report().sent.slow_kills == 0
        assert "disconnected" not in heard.words()
    finally:
        release.set()
    wait_until(lambda: len(late) > 3000, 10, "the backlog in the callback")
    account = adapter.stream.account()
    assert (account.dropped, account.imbalance) == (0, 0)


@pytest.mark.parametrize("eviction", [Eviction.OLDEST, Eviction.NEWEST])
def test_an_account_that_allows_one_connection_still_brings_everything(start, eviction):
    """Three configured on an individual's key: TickStock's three clients evicted each other for ever."""
    feed = SyntheticFeed(TICKERS, rate=3000, event_types=("Q",))
    options = Options(keys=frozenset({KEY}), max_connections=1, eviction=eviction)
    with Simulator([feed], options) as strict:
        adapter, heard = start(three(strict))
        strict.wait_for(lambda report: report.held == len(TICKERS), 15)
        heard.wait_for_tickers(TICKERS)
        assert "error" in heard.words()
        assert strict.report().attempts <= 4
        adapter.disconnect()


def test_rolling_back_is_one_key(simulator, start):
    """USE_MULTI_CONNECTION=false: the same configuration, the same watchlist, over one socket as before."""
    adapter, heard = start(three(simulator, USE_MULTI_CONNECTION="false"), TICKERS)
    heard.wait_for_tickers(TICKERS)
    assert [len(tickers) for tickers in held(simulator).values()] == [len(TICKERS)]
    assert adapter.client.get_subscribed_tickers() == set(TICKERS)


def test_a_server_that_restarts_gets_all_back(simulator, start):
    """The nightly maintenance: in the morning everything flows, without a hand."""
    adapter, heard = start(three(simulator))
    heard.wait_for_tickers(TICKERS)
    simulator.stop()
    heard.wait_for_word("disconnected", 3)
    assert adapter.client.is_connected() is False
    simulator.start()
    heard.wait_for_word("connected", 6)
    heard.wait_for_tickers(TICKERS)
    assert adapter.client.get_health_status()["connected"] == 3


def test_one_connection_comes_back_with_what_was_subscribed_meanwhile(simulator, start):
    """A page is opened while the line is down: its ticker must not be forgotten."""
    gate = Gate(simulator.port)
    adapter, heard = start(config_of(simulator, MASSIVE_WEBSOCKET_URL=gate.url, **QUOTES), TICKERS[:2])
    heard.wait_for_tickers(TICKERS[:2])
    gate.shut()
    heard.wait_for_word("disconnected")
    adapter.stream.add_tickers(TICKERS[2:3])
    gate.open()
    heard.wait_for_tickers(TICKERS[:3])
    adapter.disconnect()
    gate.shut()
