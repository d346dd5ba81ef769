import copy
import threading

from pipeline import TickData
from pipeline.massive.simulator import Options, Silence, Simulator, SyntheticFeed
from pipeline.tickstock import MassiveWebSocketClient, session
from tests.conftest import wait_until
from tests.tickstock.harness import KEY, TICKERS, config_of

# -- ticks --------------------------------------------------------------------------------------------------


def test_ticks_are_tick_data(client, heard):
    """TickStock's code reads the fields of its own class, and calls to_dict."""
    client.subscribe(["S1", "S2"])
    heard.wait_for_tickers(["S1", "S2"])
    wait_until(lambda: {tick.event_type for tick in list(heard.ticks)} == {"T", "Q"})
    assert {type(tick) for tick in heard.ticks} == {TickData}
    assert all(tick.price > 0 and tick.source == "massive" for tick in heard.ticks)


def test_ticks_come_one_at_a_time_on_a_thread_of_their_own_and_in_order(client, heard):
    """Code that was written for one thread would break, and prices go back in time."""
    client.subscribe(TICKERS)
    heard.wait_for_ticks(500)
    assert heard.threads == {"tickbraid-tickstock"}
    assert heard.most_at_once == 1
    for ticks in heard.by_ticker().values():
        times = [tick.timestamp for tick in ticks]
        assert times == sorted(times)


def test_a_slow_tick_callback_does_not_delay_the_socket(simulator, connected):
    """TickStock's callback writes to a database: the server would cut it off as a slow reader."""
    release, entered = threading.Event(), threading.Event()

    def slow(_):
        entered.set()
        release.wait(30)

    client = MassiveWebSocketClient(KEY, slow, None, config_of(simulator))
    try:
        connected(client)
        client.subscribe(TICKERS)
        assert entered.wait(10)
        wait_until(lambda: client.stream.account(session.CALLBACK).queued > 300, 10, "ticks waiting")
        assert client.subscribe(["S99"]) is True
        assert client.connected
    finally:
        release.set()


def test_a_tick_callback_that_raises_gets_the_next_tick(simulator, connected):
    """One bad tick would end the stream."""
    calls = []

    def bad(tick):
        calls.append(tick)
        raise RuntimeError("a bug of the application")

    client = connected(MassiveWebSocketClient(KEY, bad, None, config_of(simulator)))
    client.subscribe(["S1"])
    wait_until(lambda: len(calls) > 10)
    assert client.connected


def test_a_tick_without_a_price_is_rejected_and_counted(heard, connected):
    """TickData of no price would be refused by TickStock's own checks, or taken for a price of 0."""
    feed = SyntheticFeed(["S1"], rate=500, event_types=("T", "LULD"))
    with Simulator([feed], Options(keys=frozenset({KEY}))) as server:
        config = config_of(server, MASSIVE_EVENT_TYPES="T,LULD")
        client = connected(MassiveWebSocketClient(KEY, heard.tick, heard.status, config))
        client.subscribe("S1")
        wait_until(lambda: client.stream.account(session.CALLBACK).rejected)
        wait_until(lambda: heard.ticks)
        assert {tick.event_type for tick in heard.ticks} == {"T"}
        account = client.stream.account(session.CALLBACK)
        assert account.imbalance == 0
        sink = client.stream.health()["subscribers"][session.CALLBACK]["sink"]
        assert set(sink["rejected"]) == {"no_price"}
        client.disconnect()


def test_without_callbacks_it_runs_all_the_same(simulator, connected):
    """Both are optional in TickStock."""
    client = connected(MassiveWebSocketClient(api_key=KEY, config=config_of(simulator)))
    client.subscribe(["S1"])
    wait_until(lambda: client.stream.account(session.CALLBACK).delivered)


# -- status -------------------------------------------------------------------------------------------------


def test_statuses_use_tickstock_s_words(client, heard):
    """The application switches on these four words."""
    client.subscribe(["S1"])
    heard.wait_for_word("connected")
    client.disconnect()
    heard.wait_for_word("disconnected")
    assert set(heard.words()) == {"status_update", "connected", "disconnected"}
    assert dict(heard.statuses)["connected"]["message"] == "Authentication successful"


def test_confirmations_come_as_status_updates(client, heard):
    """TickStock's log of subscriptions reads status and message."""
    client.subscribe(["S1"])
    wait_until(lambda: any(data.get("status") == "success" for _, data in heard.statuses))
    (data,) = [data for _, data in heard.statuses if data.get("status") == "success"][:1]
    assert set(data["channels"]) <= {"T.S1", "Q.S1"}
    assert "confirmed" in data["message"]


def test_a_connection_that_was_cut_comes_back_with_its_tickers(client, simulator, heard):
    """After each hiccup of the night the application would sit there without data."""
    client.subscribe(["S1", "S2"])
    heard.wait_for_word("connected")
    simulator.close_clients(1006)
    heard.wait_for_word("disconnected")
    heard.wait_for_word("connected", 2)
    heard.wait_for_tickers(["S1", "S2"])
    wait_until(lambda: client.subscription_confirmations == {"S1", "S2"})
    assert client.subscribed_tickers == {"S1", "S2"}


def test_a_status_callback_that_raises_hears_the_next(simulator, connected):
    """The application would never hear that the connection is back."""
    words = []

    def bad(word, _):
        words.append(word)
        raise RuntimeError("a bug of the application")

    client = connected(MassiveWebSocketClient(KEY, None, bad, config_of(simulator)))
    client.subscribe(["S1"])
    wait_until(lambda: words.count("status_update") > 2 and "connected" in words)


def test_neither_the_configuration_nor_a_status_is_shared(simulator, connected):
    """TickStock hands one dict to all its parts, and changes the data it gets."""
    config = config_of(simulator)
    before = copy.deepcopy(config)
    seen = []

    def greedy(_word, data):
        seen.append(dict(data))
        data.clear()

    client = connected(MassiveWebSocketClient(KEY, None, greedy, config))
    client.subscribe(["S1"])
    wait_until(lambda: len(seen) > 3)
    assert all(data["connection_id"] == "connection_1" for data in seen)
    assert config == before


# -- disconnecting ------------------------------------------------------------------------------------------


def test_nothing_is_called_back_after_disconnect(client, simulator, heard):
    """The application closes its database next."""
    client.subscribe(TICKERS)
    heard.wait_for_ticks(50)
    client.disconnect()
    count = len(heard.ticks)
    account = client.stream.account(session.CALLBACK)
    assert (account.queued, account.imbalance, account.delivered) == (0, 0, count)
    simulator.wait_for(lambda report: not report.clients)
    assert len(heard.ticks) == count
    assert (client.connected, client.subscribed_tickers) == (False, set())


def test_disconnect_may_be_called_at_any_time(make_client):
    """Shutdown code does not know how far start-up came."""
    client = make_client()
    client.disconnect()
    assert client.connect()
    client.disconnect()
    client.disconnect()
    assert not client.connected


def test_disconnect_ends_a_connect_that_hangs(make_client, simulator):
    """Ctrl-C during start-up would have to wait for 15 s."""
    simulator.set_faults(silence=Silence.ALL)
    client = make_client()
    results = []
    starting = threading.Thread(target=lambda: results.append(client.connect()))
    starting.start()
    simulator.wait_for(lambda report: report.clients)
    client.disconnect()
    starting.join(5)
    assert results == [False]


def test_it_can_be_connected_again(client, heard, connected):
    """TickStock's restart button does just that; only what is subscribed anew flows."""
    client.subscribe(["S1"])
    heard.wait_for_tickers(["S1"])
    client.disconnect()
    connected(client)
    assert client.subscribed_tickers == set()
    assert client.subscribe(["S2"]) is True
    heard.wait_for_tickers(["S2"])
    heard.wait_for_word("connected", 2)
