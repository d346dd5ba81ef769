import json
import threading
from contextlib import closing

import pytest
import socketio
from flask import Flask
from flask_socketio import SocketIO
from werkzeug.serving import make_server

from pipeline import SettingsError
from pipeline.embedded import RedisServer
from pipeline.massive.simulator import Silence
from pipeline.tick_data import TICK_DATA_FIELDS
from pipeline.tickstock import MarketDataService, RealTimeDataAdapter, SyntheticDataAdapter
from tests.conftest import wait_until
from tests.integration.harness import RedisListener
from tests.tickstock.harness import TICKERS, config_of, many_of

RAW, MARKET_TICKS = "tickstock.data.raw", "tickstock:market:ticks"
EIGHT = {"AAPL", "GOOGL", "MSFT", "TSLA", "AMZN", "NFLX", "META", "NVDA"}
SYNTHETIC = {"SYNTHETIC_UPDATE_INTERVAL": "0.02", "MASSIVE_EVENT_TYPES": "T"}


@pytest.fixture(scope="module")
def redis_server():
    """A Redis server."""
    with RedisServer.start() as server:
        yield server


class Browser:
    """A real Socket.IO client that keeps what it is sent."""

    def __init__(self, port):
        self.updates, self.statuses = [], []
        self._client = socketio.Client(reconnection=False)
        self._client.on("tick_update", self.updates.append)
        self._client.on("connection_status", self.statuses.append)
        self._client.connect(f"http://127.0.0.1:{port}", transports=["websocket"])

    def close(self):
        self._client.disconnect()


class Quiet:
    """Is a logger that says nothing."""

    def __getattr__(self, _):
        return lambda *_, **__: None


@pytest.fixture
def web():
    """A Flask application with Flask-SocketIO on a free port."""
    application = Flask("tickstock")
    extension = SocketIO(application, async_mode="threading", logger=Quiet(), engineio_logger=Quiet())
    server = make_server("127.0.0.1", 0, application, threaded=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    extension.port = server.server_port
    yield extension
    extension.server.shutdown()
    server.shutdown()
    thread.join(5)
    server.server_close()


@pytest.fixture
def make():
    """Make services, and stop them at the end."""
    services = []

    def build(config, emitter=None):
        services.append(MarketDataService(config, emitter))
        return services[-1]

    yield build
    for service in services:
        service.stop()


def carried(service):
    """Return all tickers of a service's stream."""
    return {t for tickers in service.data_adapter.stream.tickers().values() for t in tickers}


# -- choosing -----------------------------------------------------------------------------------------------


def test_without_massive_ticks_are_generated(make):
    """TickStock's development set-up has no key."""
    service = make(SYNTHETIC)
    assert service.start() is True
    assert type(service.data_adapter) is SyntheticDataAdapter
    wait_until(lambda: service.stats.ticks_processed > 20)


def test_without_a_key_ticks_are_generated_and_a_warning_says_so(make, caplog):
    """Prices that are made up must not pass for real ones without a word."""
    service = make(SYNTHETIC | {"USE_MASSIVE_API": True, "MASSIVE_API_KEY": ""})
    assert service.start() is True
    assert type(service.data_adapter) is SyntheticDataAdapter
    assert "MASSIVE_API_KEY" in caplog.text


def test_synthetic_data_where_that_is_said(make, simulator):
    """A rehearsal on a weekend with the real configuration."""
    service = make(config_of(simulator, USE_SYNTHETIC_DATA="true", REDIS_ENABLED=False, **SYNTHETIC))
    assert service.start() is True
    assert simulator.report().attempts == 0


def test_massive_where_that_is_said(make, simulator):
    """The real thing."""
    service = make(config_of(simulator, REDIS_ENABLED=False))
    assert service.start() is True
    assert type(service.data_adapter) is RealTimeDataAdapter
    simulator.wait_for(lambda report: report.held == 16)


def test_a_feed_that_refuses_us_is_false(make, simulator):
    """The application would think that it has data."""
    service = make(config_of(simulator, MASSIVE_API_KEY="wrong", REDIS_ENABLED=False))
    assert service.start() is False
    assert service.is_running() is False
    assert service.get_health_status()["data_adapter_connected"] is False


def test_a_bad_value_fails_when_it_is_built():
    """It would be found out at the open."""
    with pytest.raises(SettingsError, match="DEDUPE_WINDOW"):
        MarketDataService({"DEDUPE_WINDOW": "wide"})


# -- the universe -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["", "no:such", None])
def test_the_eight_where_nobody_names_a_universe(make, key):
    """A first start without any configuration shows something."""
    service = make(SYNTHETIC | {"SYMBOL_UNIVERSE_KEY": key})
    service.start()
    assert carried(service) == EIGHT


def test_the_universe_of_the_configuration(make):
    """The watchlist of the whole application."""
    service = make(SYNTHETIC | {"SYMBOL_UNIVERSE_KEY": "etf:sector_spdrs"})
    service.start()
    assert len(carried(service)) == 11
    assert "XLK" in carried(service)


def test_connections_with_tickers_of_their_own_need_no_eight(make, simulator):
    """Three watchlists would get eight tickers that nobody asked for."""
    more = {"REDIS_ENABLED": False, "SYMBOL_UNIVERSE_KEY": ""}
    service = make(many_of(simulator, ["S1"], ["S2"], **more))
    assert service.start() is True
    assert carried(service) == {"S1", "S2"}


# -- its life -----------------------------------------------------------------------------------------------


def test_start_and_stop_may_be_repeated(make):
    """The restart button."""
    service = make(SYNTHETIC)
    service.stop()
    assert service.start() is service.start() is True
    wait_until(lambda: service.stats.ticks_processed)
    service.stop()
    service.stop()
    assert service.is_running() is False
    before = service.stats.ticks_processed
    assert service.start() is True
    assert service.is_running() is True
    wait_until(lambda: service.stats.ticks_processed > before)


def test_stop_ends_a_start_that_waits(make, simulator):
    """Ctrl-C during start-up would have to wait for 15 s."""
    simulator.set_faults(silence=Silence.ALL)
    service = make(config_of(simulator, REDIS_ENABLED=False))
    results = []
    starting = threading.Thread(target=lambda: results.append(service.start()))
    starting.start()
    simulator.wait_for(lambda report: report.clients)
    service.stop()
    starting.join(5)
    assert results == [False]


def test_stats_and_health_have_tickstock_s_names(make):
    """Its monitoring page reads them."""
    service = make(SYNTHETIC)
    names = {
        "running",
        "ticks_processed",
        "events_published",
        "uptime_seconds",
        "tick_rate",
        "last_tick_time",
    }
    assert names <= set(service.get_stats())
    assert service.get_stats()["tick_rate"] == 0
    assert service.get_health_status()["last_tick_age_seconds"] is None
    service.start()
    wait_until(lambda: service.get_stats()["tick_rate"] > 0)
    health = service.get_health_status()
    assert health["service_running"] is health["data_adapter_connected"] is True
    assert health["redis_connected"] is False
    assert health["last_tick_age_seconds"] >= 0
    json.dumps(health)


# -- publishing ---------------------------------------------------------------------------------------------


def test_every_tick_reaches_redis_and_the_browser(make, simulator, redis_server, web):
    """The full flow: three sockets, one service, both of Redis's channels, and a page that is open."""
    with (
        closing(RedisListener(redis_server.url, RAW, MARKET_TICKS)) as listener,
        closing(Browser(web.port)) as browser,
    ):
        homes = TICKERS[:3], TICKERS[3:6], TICKERS[6:]
        config = many_of(simulator, *homes, REDIS_URL=redis_server.url, SYMBOL_UNIVERSE_KEY="")
        service = make(config, web)
        assert service.start() is True
        wait_until(lambda: {u["ticker"] for u in list(browser.updates)} == set(TICKERS))
        wait_until(lambda: service.stats.events_published > service.stats.ticks_processed, 10, "both counted")
        assert service.get_health_status()["redis_connected"] is True
        service.stop()

        stats = service.stats
        wait_until(
            lambda: set(listener.counts().values()) == {stats.ticks_processed}, 30, "all ticks in Redis"
        )
        wait_until(lambda: len(browser.updates) == stats.ticks_processed, 30, "all in the browser")
        assert stats.events_published == 2 * stats.ticks_processed
        assert set(browser.updates[0]) == set(TICK_DATA_FIELDS)
        words = [status["status"] for status in browser.statuses]
        assert words.count("connected") == 3
        assert {s["data"]["connection_id"] for s in browser.statuses if s["status"] == "connected"} == {
            "connection_1",
            "connection_2",
            "connection_3",
        }


def test_a_browser_channel_that_raises_costs_no_tick(make):
    """A bug in the web part would stop the feed."""

    class Broken:
        def emit(self, *_):
            raise RuntimeError("no application context")

    service = make(SYNTHETIC)
    service.socketio = Broken()
    service.start()
    wait_until(lambda: service.stats.ticks_processed > 20)
    assert service.stats.events_published == 0
