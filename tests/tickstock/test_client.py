import threading

import pytest

from pipeline import SettingsError
from pipeline.massive.simulator import Options, Silence, Simulator
from pipeline.tickstock import MassiveWebSocketClient, session
from tests.conftest import our_threads, wait_until
from tests.tickstock.harness import KEY, Heard, config_of, held

# -- connecting ---------------------------------------------------------------------------------------------


def test_it_is_connected_as_soon_as_connect_returns(make_client, simulator, connected):
    """TickStock subscribes on the next line, and would be told that it is not connected."""
    client = connected(make_client())
    assert client.connected is client.is_connected() is True
    assert [c.key for c in simulator.report().clients] == [KEY]


def test_nothing_is_connected_before_connect(make_client, simulator):
    """Building the application would open sockets."""
    client = make_client()
    assert (client.connected, client.is_connected(), client.subscribed_tickers) == (False, False, set())
    assert simulator.report().attempts == 0


def test_a_refused_key_is_false_and_leaves_nothing_behind(simulator, heard):
    """An application with a wrong key would hang for 15 s, or go on trying for ever."""
    client = MassiveWebSocketClient("wrong", heard.tick, heard.status, config_of(simulator))
    assert client.connect() is False
    assert not client.connected
    assert simulator.report().attempts == 1
    assert any(word == "error" and "authentication" in data["error"] for word, data in heard.statuses)
    wait_until(lambda: not {name for name in our_threads() if "simulator" not in name})


def test_nobody_listening_is_false_once_the_retries_are_used_up(make_client, simulator, heard):
    """TickStock's MASSIVE_WEBSOCKET_MAX_RETRIES would be ignored, and start-up would take 15 s."""
    simulator.stop()
    client = make_client(MASSIVE_WEBSOCKET_MAX_RETRIES="2")
    assert client.connect() is False
    heard.wait_for_word("error", 4)  # three attempts, and that it is given up
    assert "connected" not in heard.words()


def test_a_server_that_says_nothing_is_false_after_the_time_limit(make_client, simulator, monkeypatch):
    """A half-dead server would hang the application's start."""
    monkeypatch.setattr(session, "CONNECT_TIMEOUT_S", 0.2)
    simulator.set_faults(silence=Silence.ALL)
    assert make_client().connect() is False


def test_connect_when_connected_opens_no_second_socket(client, simulator):
    """The second socket would evict the first."""
    assert client.connect() is True
    assert simulator.report().attempts == 1


def test_a_client_that_failed_can_be_connected_later(make_client, simulator, connected):
    """The application would need a restart once the server is back."""
    simulator.stop()
    client = make_client(MASSIVE_WEBSOCKET_MAX_RETRIES=1)
    assert client.connect() is False
    simulator.start()
    connected(client)


@pytest.mark.parametrize("name", ["MASSIVE_WEBSOCKET_URL", "WEBSOCKET_CONNECTION_1_URL"])
def test_the_url_of_the_configuration_is_used(simulator, heard, connected, name):
    """TickStock's client had its address wired in, so nobody could try another host."""
    config = config_of(simulator)
    del config["MASSIVE_WEBSOCKET_URL"]
    client = connected(MassiveWebSocketClient(KEY, heard.tick, heard.status, config | {name: simulator.url}))
    assert client.url == simulator.url


def test_the_url_is_massive_s_by_default():
    """A configuration without an address would lead nowhere."""
    assert MassiveWebSocketClient(KEY).url == "wss://socket.massive.com/stocks"


# -- subscribing --------------------------------------------------------------------------------------------


def test_subscribe_takes_a_list(client, simulator):
    """The universe is a list."""
    assert client.subscribe(["S1", "S2"]) is True
    assert client.subscribed_tickers == client.get_subscribed_tickers() == {"S1", "S2"}
    assert list(held(simulator).values()) == [{"S1", "S2"}]


def test_only_what_is_subscribed_is_carried(make_client, connected):
    """After a roll-back the keys of the first connection still stand there; the watchlist is the caller's."""
    more = {"WEBSOCKET_CONNECTION_1_SYMBOLS": "S7", "WEBSOCKET_REDUNDANT_SYMBOLS": "S8"}
    assert connected(make_client(**more)).subscribed_tickers == set()
    more = {"WEBSOCKET_CONNECTION_1_UNIVERSE_KEY": "etf:sector_spdrs"}
    assert connected(make_client(**more)).subscribed_tickers == set()


def test_subscribe_takes_one_string(client):
    """A string would be taken for a list of letters."""
    assert client.subscribe("S1") is True
    assert client.subscribed_tickers == {"S1"}


def test_subscribe_strips_symbols_and_changes_nothing_else(client, simulator):
    """A watchlist typed by hand would be subscribed to twice, or as something else."""
    assert client.subscribe([" S1", "S1 ", "BACpL"]) is True
    assert client.subscribed_tickers == {"S1", "BACpL"}
    assert held(simulator) == {1: {"S1", "BACpL"}}


def test_subscribe_adds_to_what_is_there(client):
    """A second watchlist would replace the first."""
    assert client.subscribe(["S1"])
    assert client.subscribe(["S2"])
    assert client.subscribed_tickers == {"S1", "S2"}


def test_subscribe_to_nothing_is_true(client, simulator):
    """An empty watchlist is no failure."""
    assert client.subscribe([]) is True
    assert simulator.report().held == 0


def test_what_is_subscribed_already_is_true_and_not_asked_for_again(client, simulator):
    """Each page view would send a request for the whole list."""
    client.subscribe(["S1", "S2", "S3"])
    before = simulator.report().sent.largest_request
    assert client.subscribe(["S1", "S2", "S3"]) is True
    assert simulator.report().sent.largest_request == before == 6


def test_subscribe_before_connect_is_false(make_client):
    """The application would believe that it gets data."""
    assert make_client().subscribe(["S1"]) is False


def test_subscribe_after_disconnect_is_false(client):
    """As before connect."""
    client.disconnect()
    assert client.subscribe(["S1"]) is False


def test_an_odd_symbol_costs_itself_and_is_told(client, simulator, heard):
    """One slip in a watchlist would cost the whole list, and nobody would know which it is."""
    assert client.subscribe(["S1", "NO GOOD", None, "S2"]) is True
    assert held(simulator) == {1: {"S1", "S2"}}
    (data,) = [data for _, data in heard.statuses if data["event"] == "TickersRefused"]
    assert [each["symbol"] for each in data["symbols"]] == ["NO GOOD", "nothing"]
    assert "NO.GOOD" in data["message"]
    assert client.subscribe("^VIX") is False
    assert client.unsubscribe(["S2", "$SPX"]) is True
    assert client.subscribed_tickers == {"S1"}


def test_what_is_not_carried_is_told_when_it_is_to_be_given_back(client, heard):
    """A slip would leave the ticker subscribed, and its ticks coming."""
    client.subscribe(["S1", "S2"])
    assert client.unsubscribe(["s1", "ZZZ"]) is True
    heard.wait_for_word("status_update")
    wait_until(lambda: [data for _, data in heard.statuses if data["event"] == "TickersNotCarried"])
    (data,) = [data for _, data in heard.statuses if data["event"] == "TickersNotCarried"]
    assert (data["tickers"], data["near"]) == (("s1", "ZZZ"), ("S1",))
    assert client.subscribed_tickers == {"S1", "S2"}


def test_confirmations_are_waited_for(client, simulator):
    """TickStock slept for five seconds, and hoped."""
    simulator.set_faults(ack_delay_s=0.3)
    assert client.subscribe(["S1", "S2"]) is True
    assert client.subscription_confirmations == {"S1", "S2"}


def test_a_confirmation_that_gets_lost_does_not_hang(client, simulator, heard, monkeypatch):
    """The application's start would wait for a word that never comes, though data flows."""
    monkeypatch.setattr(session, "CONFIRM_TIMEOUT_S", 0.2)
    simulator.set_faults(ack_loss=1.0)
    assert client.subscribe(["S1"]) is True
    assert client.subscription_confirmations == set()
    heard.wait_for_tickers(["S1"])


@pytest.fixture
def stingy(heard, connected):
    """A client of an account that does not cover some channels."""
    refused = frozenset({"T.S1", "Q.S1"})
    with Simulator([], Options(keys=frozenset({KEY}), unauthorized=refused)) as server:
        yield connected(MassiveWebSocketClient(KEY, heard.tick, heard.status, config_of(server)))


def test_a_subscription_that_is_refused_is_false(stingy, heard):
    """Nobody would notice that the plan does not cover the watchlist."""
    assert stingy.subscribe(["S1"]) is False
    assert stingy.subscribe(["S1"]) is False
    assert stingy.subscription_confirmations == set()
    wait_until(lambda: any(data.get("status") == "refused" for _, data in heard.statuses))


def test_a_refused_ticker_does_not_spoil_the_others(stingy):
    """One symbol outside the plan would cost the whole watchlist."""
    assert stingy.subscribe(["S1", "S2", "S3"]) is True
    assert stingy.subscription_confirmations == {"S2", "S3"}


def test_unsubscribe_gives_back(client, simulator):
    """A watchlist could only grow."""
    client.subscribe(["S1", "S2"])
    assert client.unsubscribe(["S1"]) is True
    assert client.subscribed_tickers == {"S2"}
    simulator.wait_for(lambda report: report.held == 2)
    wait_until(lambda: client.subscription_confirmations == {"S2"})


def test_unsubscribe_takes_one_string(client):
    """As subscribe does."""
    client.subscribe("S1")
    assert client.unsubscribe("S1") is True
    assert client.subscribed_tickers == set()


def test_unsubscribe_of_what_is_not_there_is_true(client):
    """To close a page twice is no failure."""
    assert client.unsubscribe(["S5"]) is True


def test_unsubscribe_when_not_connected_is_false(make_client):
    """The application would believe that it was done."""
    assert make_client().unsubscribe(["S1"]) is False


def test_the_set_of_tickers_is_the_caller_s_to_change(client):
    """A page that removes from its copy would unsubscribe everybody."""
    client.subscribe(["S1"])
    client.get_subscribed_tickers().clear()
    client.subscribed_tickers.clear()
    assert client.subscribed_tickers == {"S1"}


def test_the_status_callback_may_subscribe(simulator, connected):
    """TickStock subscribes when it hears "connected": that would wait for a word on the very same thread."""
    heard = Heard()
    done = threading.Event()

    def on_status(word, data):
        heard.status(word, data)
        if word == "connected":
            assert client.subscribe(["S1"])
            done.set()

    client = MassiveWebSocketClient(KEY, heard.tick, on_status, config_of(simulator))
    connected(client)
    assert done.wait(session.CONFIRM_TIMEOUT_S)
    heard.wait_for_tickers(["S1"])


# -- configuration ------------------------------------------------------------------------------------------


def test_values_that_come_as_text_are_read_by_their_type(make_client, connected):
    """TickStock fills its configuration from the environment, where everything is text."""
    client = make_client(MASSIVE_WEBSOCKET_MAX_RETRIES="3", MASSIVE_PING_INTERVAL="1.5", DEDUPE_WINDOW="0")
    settings = connected(client).stream.settings
    assert settings.massive_websocket_max_retries == 3
    assert settings.massive_ping_interval == 1.5
    assert settings.dedupe_window == 0


def test_a_bad_value_fails_before_connecting_and_names_its_key(make_client):
    """A typo in a number would show when the market opens."""
    with pytest.raises(SettingsError, match="MASSIVE_WEBSOCKET_MAX_RETRIES"):
        make_client(MASSIVE_WEBSOCKET_MAX_RETRIES="five")


def test_without_a_key_it_says_so(simulator):
    """The server would refuse it much later."""
    with pytest.raises(SettingsError, match="MASSIVE_API_KEY"):
        MassiveWebSocketClient("", config=config_of(simulator))


def test_the_key_is_shown_nowhere(client, heard, caplog):
    """A log that is sent to support would hold the key."""
    client.subscribe(["S1"])
    client.disconnect()
    heard.wait_for_word("disconnected")
    assert KEY not in caplog.text
    assert KEY not in repr(heard.statuses)
