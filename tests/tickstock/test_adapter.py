import copy

import pytest

from pipeline import SettingsError
from pipeline.tickstock import MassiveWebSocketClient, MultiConnectionManager, RealTimeDataAdapter, adapter
from tests.conftest import our_threads, wait_until
from tests.tickstock.harness import KEY, TICKERS, config_of, held, many_of

HOMES = [["S0", "S1", "S2"], ["S3", "S4", "S5"], ["S6", "S7", "S8"]]


def silent(*_):
    """Take what a callback takes."""


def make(config):
    """Build an adapter whose callbacks do nothing."""
    return RealTimeDataAdapter(config, silent, silent)


# -- which client -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"USE_MASSIVE_API": True},
        {"USE_MASSIVE_API": True, "MASSIVE_API_KEY": ""},
        {"USE_MASSIVE_API": True, "MASSIVE_API_KEY": None},
        {"USE_MASSIVE_API": False, "MASSIVE_API_KEY": "key"},
        {"USE_MASSIVE_API": "false", "MASSIVE_API_KEY": "key"},
        {"USE_MASSIVE_API": "0", "MASSIVE_API_KEY": "key", "USE_MULTI_CONNECTION": True},
    ],
)
def test_without_massive_or_without_a_key_there_is_no_client(config):
    """TickStock asks `if adapter.client`, and falls back; the text "false" must not count as true."""
    assert make(config).client is None
    assert make(config).stream is None


@pytest.mark.parametrize("flag", [None, False, "false", "0", "no"])
def test_one_connection_is_the_default(flag):
    """Nobody's account would be used for more sockets than before, unless it is said."""
    config = {"USE_MASSIVE_API": "true", "MASSIVE_API_KEY": "key"}
    client = make(config if flag is None else config | {"USE_MULTI_CONNECTION": flag}).client
    assert type(client) is MassiveWebSocketClient


@pytest.mark.parametrize("flag", [True, "true", "1", "on"])
def test_several_connections_where_that_is_said(flag):
    """The switch would do nothing."""
    config = {"USE_MASSIVE_API": 1, "MASSIVE_API_KEY": "key", "USE_MULTI_CONNECTION": flag}
    assert type(make(config).client) is MultiConnectionManager


def test_the_switch_in_the_environment_counts_where_the_dict_has_none(monkeypatch):
    """TickStock's configuration manager copies only the keys it knows; ours come through the environment."""
    monkeypatch.setenv("USE_MULTI_CONNECTION", "true")
    config = {"USE_MASSIVE_API": True, "MASSIVE_API_KEY": "key"}
    assert type(make(config).client) is MultiConnectionManager
    assert type(make(config | {"USE_MULTI_CONNECTION": False}).client) is MassiveWebSocketClient


def test_the_client_is_built_with_tickstock_s_keywords(monkeypatch):
    """An application that puts a client of its own in the place would break."""
    calls = []
    monkeypatch.setattr(adapter, "MassiveWebSocketClient", lambda **keywords: calls.append(keywords))
    config = {"USE_MASSIVE_API": True, "MASSIVE_API_KEY": "key"}
    RealTimeDataAdapter(config, print, silent)
    assert calls == [
        {"api_key": "key", "on_tick_callback": print, "on_status_callback": silent, "config": config}
    ]


def test_the_manager_is_built_with_tickstock_s_keywords(monkeypatch):
    """As the client."""
    calls = []
    monkeypatch.setattr(adapter, "MultiConnectionManager", lambda **keywords: calls.append(keywords))
    config = {
        "USE_MASSIVE_API": True,
        "MASSIVE_API_KEY": "key",
        "USE_MULTI_CONNECTION": True,
        "WEBSOCKET_CONNECTIONS_MAX": "3",
    }
    RealTimeDataAdapter(config, print, silent)
    assert calls == [
        {"config": config, "on_tick_callback": print, "on_status_callback": silent, "max_connections": 3}
    ]


def test_its_attributes_are_what_it_was_given():
    """TickStock's code reads them."""
    config = {"USE_MASSIVE_API": False}
    made = RealTimeDataAdapter(config, print, silent)
    assert made.config is config
    assert (made.tick_callback, made.status_callback) == (print, silent)


@pytest.mark.parametrize("key", ["USE_MASSIVE_API", "USE_MULTI_CONNECTION", "MASSIVE_PING_INTERVAL"])
def test_a_bad_value_is_told_when_it_is_built(key):
    """It would be found out when the market opens."""
    with pytest.raises(SettingsError, match=key):
        make({"USE_MASSIVE_API": True, "MASSIVE_API_KEY": "key", key: "perhaps"})


# -- connecting ---------------------------------------------------------------------------------------------


def test_connect_without_a_client_is_false():
    """TickStock then goes over to synthetic data."""
    assert make({}).connect(["S1"]) is False


def test_disconnect_without_a_client_is_harmless():
    """Shutdown code does not ask."""
    make({}).disconnect()


@pytest.fixture(params=["one", "three"])
def config(request, simulator):
    """A configuration of one connection, and of three with nine tickers."""
    return config_of(simulator) if request.param == "one" else many_of(simulator, *HOMES)


@pytest.fixture
def made(config, heard):
    """An adapter, disconnected at the end."""
    made = RealTimeDataAdapter(config, heard.tick, heard.status)
    yield made
    made.disconnect()


@pytest.mark.parametrize("odd", ["^VIX", "$SPX", "BF B", None, "", "A,B", 7])
def test_an_odd_symbol_costs_itself(made, simulator, heard, odd):
    """One slip in the universe, and nobody would get a tick, with the socket up and a thread left over."""
    assert made.connect(["S1", odd, "S5"]) is True
    heard.wait_for_tickers(["S1", "S5"])
    assert [data for _, data in heard.statuses if data["event"] == "TickersRefused"]
    assert not [ticker for its in held(simulator).values() for ticker in its if ticker not in TICKERS]


def test_a_connect_that_raises_leaves_nothing(made, simulator):
    """A start that failed would keep a socket and a thread, and the account's only connection."""
    with pytest.raises(TypeError):
        made.connect(None)
    assert simulator.wait_for(lambda report: report.attempts and not report.clients)
    wait_until(lambda: not our_threads() - {"tickbraid-simulator"}, 3, "the end of the threads")


def test_connect_connects_and_subscribes(made, simulator, heard):
    """TickStock's start is this one call, with the universe."""
    assert made.connect(["S1", "S5"]) is True
    heard.wait_for_tickers(["S1", "S5"])
    assert {"S1", "S5"} <= set.union(*held(simulator).values())
    assert {"S1", "S5"} <= made.client.get_subscribed_tickers()


def test_the_universe_is_the_caller_s_business(config, simulator, heard):
    """TickStock looks SYMBOL_UNIVERSE_KEY up itself: what it leaves out would come all the same."""
    made = RealTimeDataAdapter(config | {"SYMBOL_UNIVERSE_KEY": "etf:sector_spdrs"}, heard.tick, heard.status)
    made.connect(["S1"])
    assert made.client.get_subscribed_tickers() <= set(TICKERS)
    made.disconnect()


def test_connect_with_no_tickers_connects(made):
    """A watchlist that is filled later."""
    assert made.connect([]) is True
    assert made.client.is_connected()


def test_connect_with_a_refused_key_is_false_and_subscribes_to_nothing(config, simulator, heard):
    """A wrong key would look like success."""
    made = RealTimeDataAdapter(config | {"MASSIVE_API_KEY": "wrong"}, heard.tick, heard.status)
    assert made.connect(["S1"]) is False
    assert made.client.get_subscribed_tickers() == set()
    assert simulator.report().held == 0


def test_connect_again_adds_tickers(made, simulator):
    """TickStock calls it anew when the universe has changed; the sockets stay."""
    made.connect(["S1"])
    attempts = simulator.report().attempts
    assert made.connect(["S2"]) is True
    assert {"S1", "S2"} <= made.client.get_subscribed_tickers()
    assert simulator.report().attempts == attempts


def test_disconnect_then_connect_works(made, heard):
    """The restart button; TickStock's own client never came back from it."""
    made.connect(["S1"])
    heard.wait_for_tickers(["S1"])
    made.disconnect()
    assert not made.client.is_connected()
    assert made.connect(["S2"]) is True
    heard.wait_for_tickers(["S2"])


def test_disconnect_closes_every_socket(made, simulator):
    """The account allows three: one that is left over costs the next start."""
    made.connect(["S1"])
    made.disconnect()
    simulator.wait_for(lambda report: not report.clients)


def test_statuses_come_with_a_connection_and_in_tickstock_s_words(made, heard):
    """The dashboard shows a lamp for each connection."""
    made.connect(["S1"])
    made.disconnect()
    heard.wait_for_word("disconnected")
    assert set(heard.words()) <= {"connected", "disconnected", "error", "status_update"}
    assert all(data["connection_id"].startswith("connection_") for _, data in heard.statuses)


def test_the_configuration_is_never_changed(config, heard):
    """It is the whole application's."""
    before = copy.deepcopy(config)
    made = RealTimeDataAdapter(config, heard.tick, heard.status)
    made.connect(["S1"])
    made.disconnect()
    assert config == before


def test_it_publishes_nothing_to_redis_unless_the_dict_says_so(config, heard):
    """TickStock's dict always names a Redis, for its own publisher: all would come twice. White-box."""
    for more, publishes in (({}, False), ({"REDIS_ENABLED": "true"}, True), ({"REDIS_ENABLED": None}, False)):
        made = RealTimeDataAdapter(config | more, heard.tick, heard.status)
        assert made.client._session.settings.redis_enabled is publishes


def test_the_stream_beneath_is_there_for_whoever_wants_more(made):
    """Latencies, accounts and batches are asked of it."""
    made.connect(["S1"])
    assert made.stream.health()["state"] == "running"
    assert made.stream.settings.massive_api_key.reveal() == KEY
