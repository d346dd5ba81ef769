import pytest

from pipeline import SettingsError
from pipeline.massive.simulator import Options, Simulator, SyntheticFeed
from pipeline.routing import universe
from pipeline.routing.universe import register_provider
from pipeline.tickstock import ConnectionInfo, MultiConnectionManager, session
from tests.conftest import wait_until
from tests.integration.harness import Gate
from tests.tickstock.harness import KEY, TICKERS, config_of, held, many_of

HOMES = {f"connection_{n}": TICKERS[3 * n - 3 : 3 * n] for n in (1, 2, 3)}


@pytest.fixture
def make(simulator, heard):
    """Make a manager of three connections of three tickers each, with more configuration."""

    def build(*symbols, max_connections=3, **more):
        config = many_of(simulator, *(symbols or HOMES.values()), **more)
        return MultiConnectionManager(config, heard.tick, heard.status, max_connections)

    return build


@pytest.fixture
def manager(make, connected):
    """One that is connected."""
    return connected(make())


def assigned(manager):
    """Return connection to its tickers."""
    return {id_: info.assigned_tickers for id_, info in manager.connections.items()}


# -- before connecting --------------------------------------------------------------------------------------


def test_what_is_configured_is_there_before_connect(make):
    """TickStock's status page shows the connections while they are down."""
    manager = make()
    assert assigned(manager) == {id_: set(tickers) for id_, tickers in HOMES.items()}
    info = manager.connections["connection_2"]
    assert isinstance(info, ConnectionInfo)
    assert (info.connection_id, info.name, info.status) == ("connection_2", "secondary", "disconnected")
    assert (info.message_count, info.error_count, info.last_message_time) == (0, 0, 0.0)
    assert manager.ticker_to_connection == {t: id_ for id_, tickers in HOMES.items() for t in tickers}


def test_only_enabled_connections_are_there(make):
    """A connection that is switched off would be shown as broken."""
    manager = make(
        ["S0"], ["S1"], WEBSOCKET_CONNECTION_1_ENABLED="false", WEBSOCKET_CONNECTION_2_NAME="second"
    )
    assert {id_: info.name for id_, info in manager.connections.items()} == {"connection_2": "second"}


def test_with_none_configured_connect_is_false(simulator, heard):
    """TickStock then falls back; and the account is not touched."""
    config = config_of(simulator, USE_MULTI_CONNECTION=True, WEBSOCKET_CONNECTION_1_ENABLED=False)
    manager = MultiConnectionManager(config, heard.tick, heard.status)
    assert (manager.connections, manager.connect(), manager.subscribe(["S1"])) == ({}, False, False)
    assert manager.get_health_status()["total_connections"] == 0
    assert simulator.report().attempts == 0


def test_a_universe_is_looked_up_where_the_application_says(make, monkeypatch):
    """TickStock keeps its universes in a database, and registers it."""
    monkeypatch.setattr(universe, "_registered", [])
    register_provider({"mine:all": ["S1", "S2"]}.get)
    manager = make(["S9"], WEBSOCKET_CONNECTION_1_UNIVERSE_KEY="mine:all")
    assert assigned(manager) == {"connection_1": {"S1", "S2"}}


def test_a_missing_universe_falls_back_to_symbols(make, caplog):
    """A renamed universe would leave a connection empty on the day."""
    manager = make(["S1", "S2"], WEBSOCKET_CONNECTION_1_UNIVERSE_KEY="no:such")
    assert assigned(manager) == {"connection_1": {"S1", "S2"}}
    assert "no:such" in caplog.text


def test_a_connection_without_any_ticker_is_skipped(make, connected, simulator):
    """It would use up one of three sockets for nothing."""
    manager = connected(make(["S1"], [], ["S2"], WEBSOCKET_CONNECTION_2_UNIVERSE_KEY="no:such"))
    assert set(manager.connections) == {"connection_1", "connection_3"}
    assert simulator.report().attempts == 2


def test_with_a_strategy_connections_may_start_empty_and_share_what_comes(make, connected, simulator):
    """One watchlist for all: TickStock hands it to subscribe, and it is dealt out."""
    manager = connected(make([], [], [], WEBSOCKET_ROUTING_STRATEGY="round-robin"))
    assert manager.subscribe(TICKERS) is True
    assert [len(tickers) for tickers in assigned(manager).values()] == [3, 3, 3]
    assert sorted(map(len, held(simulator).values())) == [3, 3, 3]


def test_more_connections_than_allowed_are_not_used(make, caplog):
    """The fourth would evict the first, or a key that is left over would keep the others from starting."""
    assert len(make(["S1"], ["S2"], ["S3"], ["S4"]).connections) == 3
    assert "WEBSOCKET_CONNECTION_4_SYMBOLS (config) is not used" in caplog.text
    assert len(make(["S1"], ["S2"], ["S3"], ["S4"], max_connections=4).connections) == 4


# -- connecting ---------------------------------------------------------------------------------------------


def test_all_connections_carry_their_tickers(manager, simulator, heard):
    """The main job: three sockets, and each ticker on its own."""
    heard.wait_for_tickers(TICKERS)
    assert sorted(map(sorted, held(simulator).values())) == sorted(HOMES.values())
    assert {info.status for info in manager.connections.values()} == {"connected"}
    assert manager.is_connected()
    assert manager.get_subscribed_tickers() == set(TICKERS)


def test_one_that_fails_does_not_spoil_the_others(make, heard, connected):
    """A dead address would cost two thirds of the data."""
    with Simulator([], Options(keys=frozenset({"another"}))) as strict:
        manager = connected(make(WEBSOCKET_CONNECTION_2_URL=strict.url, WEBSOCKET_FAILOVER_ENABLED=False))
        statuses = {id_: info.status for id_, info in manager.connections.items()}
        assert statuses == {"connection_1": "connected", "connection_2": "error", "connection_3": "connected"}
        heard.wait_for_tickers(set(TICKERS) - set(HOMES["connection_2"]))
        wait_until(
            lambda: any(d["connection_id"] == "connection_2" for w, d in heard.statuses if w == "error")
        )
        manager.disconnect()


def test_when_all_fail_it_is_false(make, simulator):
    """The application would wait for data that never comes."""
    manager = make(MASSIVE_API_KEY="wrong")
    assert manager.connect() is False
    assert simulator.report().attempts == 3
    assert {info.status for info in manager.connections.values()} <= {"error", "disconnected"}


def test_connecting_is_parallel(manager, heard):
    """One after the other takes three times as long: each must have begun before the first is through."""
    heard.wait_for_word("connected", 3)
    events = [data["event"] for _, data in list(heard.statuses)]
    assert events.index("Authenticated") > [n for n, kind in enumerate(events) if kind == "Connecting"][2]


# -- subscribing --------------------------------------------------------------------------------------------


def test_subscribe_leaves_what_is_carried_where_it_is(manager, simulator):
    """The adapter hands the whole universe over after connect: nothing may move, or be asked for twice."""
    assert manager.subscribe(TICKERS) is True
    assert assigned(manager) == {id_: set(tickers) for id_, tickers in HOMES.items()}
    assert simulator.report().held == 18


def test_subscribe_routes_what_is_new(manager, heard):
    """A new ticker goes somewhere, once."""
    assert manager.subscribe(["S9", "S0"]) is True
    home = manager.get_connection_for_ticker("S9")
    assert [id_ for id_, tickers in assigned(manager).items() if "S9" in tickers] == [home]
    assert manager.connections[home].client.subscription_confirmations >= {"S9"}


def test_subscribe_ticker_chooses_the_connection(manager, simulator):
    """User tiers: what a paying user watches goes to the connection for them."""
    assert manager.subscribe_ticker("S9", "connection_3") is True
    assert manager.get_connection_for_ticker("S9") == "connection_3"
    assert manager.subscribe_ticker("S0", "connection_3") is True
    assert manager.get_connection_for_ticker("S0") == "connection_3"


def test_subscribe_ticker_to_a_connection_that_is_not_there_is_false(manager):
    """It would land anywhere, without a word."""
    assert manager.subscribe_ticker("S9", "connection_7") is False
    assert manager.get_connection_for_ticker("S9") is None


def test_unsubscribe_ticker_forgets_it(manager, simulator):
    """A watchlist could only grow."""
    assert manager.unsubscribe_ticker("S0") is True
    assert manager.get_connection_for_ticker("S0") is None
    simulator.wait_for(lambda report: report.held == 16)


def test_without_a_connection_subscribing_is_false(make):
    """As the client."""
    manager = make()
    assert (manager.subscribe(["S1"]), manager.unsubscribe(["S1"])) == (False, False)
    assert manager.subscribe_ticker("S1", "connection_1") is False


def test_a_connection_by_itself_has_the_client_s_interface(manager):
    """TickStock's status page asks info.client."""
    client = manager.connections["connection_1"].client
    assert client.connected
    assert client.is_connected()
    assert client.subscribed_tickers == client.get_subscribed_tickers() == {"S0", "S1", "S2"}
    assert client.url.startswith("ws://127.0.0.1")
    assert client.subscribe("S9") is True
    assert "S9" in client.subscribed_tickers
    assert client.unsubscribe("S9") is True
    assert "S9" not in client.subscribed_tickers


def test_rebalance_tells_what_moved(manager):
    """The operator presses the button, and wants to see what it did."""
    manager.subscribe_ticker("S0", "connection_3")
    told = manager.rebalance_connections()
    assert told["moved"] == len(told["moves"])
    assert all(set(move) == {"from", "to"} for move in told["moves"].values())


def test_rebalance_of_nothing_is_empty(make):
    """The button is there before connect, too."""
    assert make().rebalance_connections() == {"moved": 0, "moves": {}}


# -- adding and removing connections ------------------------------------------------------------------------


def test_a_connection_can_be_added_before_connect(make, connected, heard):
    """TickStock builds its set-up in code, too."""
    manager = make(["S0"])
    assert manager.add_connection("connection_2", ["S1", "S2"], name="extra") is True
    assert manager.add_connection("connection_2") is False
    assert manager.connections["connection_2"].name == "extra"
    connected(manager)
    heard.wait_for_tickers(["S0", "S1", "S2"])


def test_a_connection_can_be_removed_before_connect(make, connected, simulator):
    """A feature switch that keeps one connection free."""
    manager = make()
    assert manager.remove_connection("connection_2") is True
    assert manager.remove_connection("connection_2") is False
    connected(manager)
    assert set(manager.connections) == {"connection_1", "connection_3"}
    assert simulator.report().attempts == 2


def test_while_connected_it_is_a_clear_error(manager):
    """To do nothing in silence would be found out much later."""
    with pytest.raises(RuntimeError, match="disconnect first"):
        manager.remove_connection("connection_1")
    with pytest.raises(RuntimeError, match="disconnect first"):
        manager.add_connection("connection_4")
    manager.disconnect()
    assert manager.remove_connection("connection_1") is True


def test_what_cannot_be_added_changes_nothing(make):
    """A slip would lose the connections that are fine."""
    manager = make()
    with pytest.raises(SettingsError, match="WEBSOCKET_CONNECTION_4"):
        manager.add_connection("connection_4", ["S9"])
    with pytest.raises(ValueError, match="connection_id"):
        manager.add_connection("fourth", ["S9"])
    assert set(manager.connections) == set(HOMES)


# -- health -------------------------------------------------------------------------------------------------


def test_health_adds_up(manager, heard):
    """The dashboard reads these names, the older and the newer."""
    heard.wait_for_ticks(100)
    manager.disconnect()
    health = manager.get_health_status()
    assert health["total_connections"] == 3
    assert health["connected"] == health["connected_count"] == 0
    assert health["total_tickers"] == 9
    assert health["total_ticks"] == health["total_ticks_received"] == len(heard.ticks)
    assert sum(c["messages"] for c in health["connections"].values()) == len(heard.ticks)
    one = health["connections"]["connection_1"]
    assert (one["name"], one["tickers"], one["assigned_tickers"]) == ("primary", 3, 3)
    assert one["message_count"] == one["messages"] > 0
    assert one["last_message_time"] > 1.6e9


def test_health_counts_errors_of_connections_and_of_the_callback(simulator, heard, connected):
    """The alarm is set on total_errors."""

    def bad(_):
        raise RuntimeError("a bug of the application")

    manager = connected(MultiConnectionManager(many_of(simulator, *HOMES.values()), bad, heard.status))
    wait_until(lambda: manager.get_health_status()["total_errors"] > 0)
    simulator.close_clients(1006)
    wait_until(lambda: all(c["errors"] > 0 for c in manager.get_health_status()["connections"].values()))
    assert manager.get_health_status()["connections"]["connection_1"]["error_count"] > 0


def test_a_lost_connection_shows_while_it_is_away(make, simulator, connected):
    """The lamp would stay green."""
    gate = Gate(simulator.port)
    manager = connected(make(WEBSOCKET_CONNECTION_1_URL=gate.url))
    gate.shut()
    wait_until(lambda: manager.connections["connection_1"].status == "error")
    assert manager.is_connected()
    assert manager.connections["connection_1"].client.connected is False
    wait_until(lambda: not manager.connections["connection_1"].client.subscription_confirmations)
    gate.open()
    wait_until(lambda: manager.connections["connection_1"].status == "connected")
    manager.disconnect()
    gate.shut()


def test_what_is_on_a_lost_connection_is_not_waited_for(make, simulator, connected, monkeypatch):
    """A page that is opened while one of three is down would hang for as long as it is."""
    monkeypatch.setattr(session, "CONFIRM_TIMEOUT_S", 600)
    gate = Gate(simulator.port)
    manager = connected(make(WEBSOCKET_CONNECTION_1_URL=gate.url, WEBSOCKET_FAILOVER_ENABLED=False))
    gate.shut()
    wait_until(lambda: manager.connections["connection_1"].status == "error")
    assert manager.subscribe(TICKERS) is True
    assert manager.subscribe(HOMES["connection_1"]) is True
    manager.disconnect()


def test_ticks_of_all_connections_come_on_one_thread(manager, heard):
    """TickStock's callback is written for one caller."""
    heard.wait_for_tickers(TICKERS)
    assert heard.threads == {"tickbraid-tickstock"}
    assert heard.most_at_once == 1


def test_every_status_names_its_connection(manager, heard):
    """Three lamps, one for each."""
    manager.disconnect()
    heard.wait_for_word("disconnected", 3)
    for word in ("connected", "disconnected"):
        assert {data["connection_id"] for w, data in heard.statuses if w == word} == set(HOMES)


def test_ticks_of_a_feed_with_a_hundred_tickers_reach_the_right_connection(heard, connected):
    """Where a ticker goes is the strategy's word, whatever the order of the list."""
    tickers = [f"T{number}" for number in range(99)]
    feed = SyntheticFeed(tickers, rate=500, event_types=("Q",))
    with Simulator([feed], Options(keys=frozenset({KEY}))) as server:
        config = many_of(server, [], [], [], WEBSOCKET_ROUTING_STRATEGY="hash", MASSIVE_EVENT_TYPES="Q")
        manager = connected(MultiConnectionManager(config, heard.tick, heard.status))
        assert manager.subscribe(tickers) is True
        homes = manager.ticker_to_connection
        assert set(homes) == set(tickers)
        manager.disconnect()
        again = connected(MultiConnectionManager(config, heard.tick, heard.status))
        again.subscribe(list(reversed(tickers)))
        assert again.ticker_to_connection == homes
        again.disconnect()
