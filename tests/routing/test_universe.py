import json
import logging

import pytest
import redis

from pipeline.embedded import RedisServer
from pipeline.routing import universe
from pipeline.routing.universe import (
    Universes,
    connection_tickers,
    from_file,
    from_mapping,
    from_redis,
    get_universe_tickers,
    register_provider,
    universes_of,
)
from pipeline.settings import DEFAULT_TICKERS, load_settings


@pytest.fixture
def load(tmp_path):
    """Load settings from nothing but what is given."""
    return lambda **config: load_settings(config, environ={}, directory=tmp_path)


@pytest.fixture
def registry(monkeypatch):
    """Let a test register providers that the next one does not see."""
    monkeypatch.setattr(universe, "_registered", [])


@pytest.fixture(scope="module")
def server():
    """Run a Redis server."""
    with RedisServer.start() as running:
        yield running


def test_keys_are_joined_in_order_and_each_ticker_comes_once():
    """A joined universe would subscribe twice, or in another order."""
    universes = Universes([from_mapping({"a:x": "BACpL, AAPL", "b:y": ["SPY", "AAPL", " QQQ "]})])
    assert universes.get_universe_tickers(" a:x+ b:y ") == ["BACpL", "AAPL", "SPY", "QQQ"]
    assert universes.get_universe_tickers("") == []


def test_first_provider_that_has_tickers_wins():
    """A later source could not stand in for an empty one."""
    providers = [from_mapping({"a:x": []}), {"a:x": "SPY", "b:y": "QQQ"}.get, from_mapping({"a:x": "DIA"})]
    universes = Universes(providers)
    assert universes.get_universe_tickers("a:x + b:y") == ["SPY", "QQQ"]


def test_unknown_key_warns(caplog):
    """A mistyped universe would be a connection without tickers, and nobody told."""
    assert Universes([from_mapping({"a:x": "SPY"})]).get_universe_tickers("a:x + a:y") == ["SPY"]
    assert caplog.messages == ["universe a:y is unknown or empty"]


def test_provider_that_raises_is_passed_over(caplog):
    """A Redis that is away would keep the stream from starting."""

    def broken(key):
        raise redis.ConnectionError(f"no way to {key}")

    universes = Universes([broken, from_mapping({"a:x": "SPY"})])
    assert universes.get_universe_tickers("a:x") == ["SPY"]
    assert "a provider of universes failed for a:x" in caplog.text


def test_odd_symbols_are_left_out_and_told(caplog):
    """A boolean in somebody's file would be subscribed to."""
    assert Universes([lambda key: [True, "A B", "SPY"]]).get_universe_tickers("a:x") == ["SPY"]
    assert 'in quotes: "TRUE"' in caplog.text
    assert "'A B'" in caplog.text


def test_expand_takes_symbols_and_keys():
    """Redundant symbols could not be named by a universe."""
    universes = Universes([from_mapping({"etf:us": "SPY,QQQ", "etf:eu": "EZU"})])
    assert universes.expand(["AAPL", "etf:us + etf:eu", "SPY"]) == ["AAPL", "SPY", "QQQ", "EZU"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("u.json", json.dumps({"a:x": ["SPY", "TRUE"], "b": {"y": "QQQ, DIA"}})),
        ("u.yaml", 'a:x: [SPY, "TRUE"]\nb:\n  y: QQQ, DIA\n'),
        ("u.yml", "{a:x: 'SPY, TRUE', b: {y: [QQQ, DIA]}}"),
        ("u.csv", "Universe,Note,Ticker\na:x,first,SPY\nb:y,,QQQ\na:x,,TRUE\nb:y,,DIA\n,,IWM\n"),
        ("u.CSV", "\ufeffkey,symbol\na:x,SPY\na:x,TRUE\nb:y,QQQ\nb:y,DIA\n"),
    ],
)
def test_files(tmp_path, name, content):
    """A list kept in a file could not be used."""
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    universes = Universes([from_file(path)])
    assert universes.get_universe_tickers("a:x") == ["SPY", "TRUE"]
    assert universes.get_universe_tickers("b:y") == ["QQQ", "DIA"]
    assert universes.get_universe_tickers("c:z") == []


@pytest.mark.parametrize(
    ("name", "content"), [("u.json", "[1]"), ("u.yaml", "- SPY"), ("u.json", "{"), ("u.csv", None)]
)
def test_file_that_is_none_is_passed_over(tmp_path, caplog, name, content):
    """A broken or missing file would keep the stream from starting."""
    if content is not None:
        (tmp_path / name).write_text(content)
    assert Universes([from_file(tmp_path / name)]).get_universe_tickers("a:x") == []
    assert "failed for a:x" in caplog.text


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("u.json", '{"a:x": ["SPY"]}'),
        ("u.csv", "universe,ticker\na:x,SPY\n"),
        ("u.yaml", "a:x: [SPY]\n"),
    ],
)
def test_a_byte_order_mark_costs_nothing(tmp_path, name, content):
    """A list that was saved on Windows would be no JSON, or have a column of another name."""
    (tmp_path / name).write_text(content, encoding="utf-8-sig")
    assert Universes([from_file(tmp_path / name)]).get_universe_tickers("a:x") == ["SPY"]


def test_file_is_read_anew(tmp_path):
    """A changed list would need a restart."""
    path = tmp_path / "u.json"
    path.write_text('{"a:x": "SPY"}')
    provider = from_file(path)
    assert provider("a:x") == "SPY"
    path.write_text('{"a:x": "QQQ"}')
    assert provider("a:x") == "QQQ"


@pytest.mark.parametrize("decoded", [True, False])
def test_redis(server, decoded):
    """A universe that another service keeps in Redis could not be used."""
    with redis.Redis.from_url(server.url, decode_responses=decoded) as client:
        client.sadd("tickers:a:set", "SPY", "QQQ")
        client.delete("tickers:a:list")
        client.rpush("tickers:a:list", "SPY", "QQQ")
        client.set("tickers:a:json", '["SPY", "QQQ"]')
        client.set("tickers:a:object", '{"name": "etf", "tickers": ["SPY", "QQQ"]}')
        client.set("tickers:a:symbols", '{"symbols": ["SPY"]}')
        client.set("tickers:a:null", "null")
        client.hset("tickers:a:hash", "SPY", "1")
        universes = Universes([from_redis(client, "tickers:{key}")])
        assert universes.get_universe_tickers("a:set") == ["QQQ", "SPY"]
        for key in ("a:list", "a:json", "a:object"):
            assert universes.get_universe_tickers(key) == ["SPY", "QQQ"]
        assert universes.get_universe_tickers("a:symbols") == ["SPY"]
        assert universes.get_universe_tickers("a:null + a:hash + a:none") == []


def test_parameters_are_checked_when_called():
    """A mistake would show at the first look-up, as a warning among others."""
    with pytest.raises(ValueError, match="path must end in"):
        from_file("universes.txt")
    with pytest.raises(ValueError, match="pattern must contain"):
        from_redis(None, "universe:key")


def test_registered_providers_come_after_the_settings(load, registry):
    """A user's own source would hide what the settings say, or not be asked."""
    register_provider({"mine:core": "SPY", "etf:sector_spdrs": "SPY"}.get)
    universes = universes_of(load())
    assert universes.get_universe_tickers("mine:core") == ["SPY"]
    assert len(universes.get_universe_tickers("etf:sector_spdrs")) == 11


def test_get_universe_tickers_reads_the_working_directory(tmp_path, monkeypatch, registry):
    """A notebook could not ask for a universe in one line."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "settings.yaml").write_text("universes: {mine:core: [SPY]}")
    assert get_universe_tickers("mine:core") == ["SPY"]
    assert len(get_universe_tickers("tech_leaders:top_20")) == 20


@pytest.mark.parametrize(
    ("config", "tickers"),
    [
        ({}, DEFAULT_TICKERS),
        ({"SYMBOL_UNIVERSE_KEY": "a:x"}, ("SPY",)),
        ({"SYMBOL_UNIVERSE_KEY": "a:unknown"}, DEFAULT_TICKERS),
        ({"SYMBOL_UNIVERSE_KEY": "a:x", "WEBSOCKET_CONNECTION_1_SYMBOLS": "DIA"}, ("DIA",)),
        ({"WEBSOCKET_CONNECTION_1_UNIVERSE_KEY": "a:x", "WEBSOCKET_CONNECTION_1_SYMBOLS": "DIA"}, ("SPY",)),
        ({"WEBSOCKET_CONNECTION_1_UNIVERSE_KEY": "a:y", "WEBSOCKET_CONNECTION_1_SYMBOLS": "DIA"}, ("DIA",)),
        ({"WEBSOCKET_CONNECTION_1_UNIVERSE_KEY": "a:y", "SYMBOL_UNIVERSE_KEY": "a:x"}, ("SPY",)),
    ],
)
def test_one_connection_always_has_tickers(load, config, tickers):
    """A missing universe would leave the one connection with nothing to carry."""
    universes = Universes([from_mapping({"a:x": "SPY"})])
    assert connection_tickers(load(**config), universes) == {"connection_1": tickers}


def test_several_connections_name_only_their_own(load, caplog):
    """A connection without tickers would carry another's."""
    settings = load(
        USE_MULTI_CONNECTION=True,
        SYMBOL_UNIVERSE_KEY="a:x",
        WEBSOCKET_CONNECTION_1_UNIVERSE_KEY="a:x",
        WEBSOCKET_CONNECTION_2_ENABLED=True,
        WEBSOCKET_CONNECTION_2_UNIVERSE_KEY="a:y",
        WEBSOCKET_CONNECTION_3_SYMBOLS="DIA",
    )
    with caplog.at_level(logging.WARNING):
        own = connection_tickers(settings, Universes([from_mapping({"a:x": "SPY"})]))
    assert own == {"connection_1": ("SPY",), "connection_2": ()}
    assert "connection_2 falls back to its 0 symbols, for want of a:y" in caplog.text
