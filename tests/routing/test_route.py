import pytest

from pipeline.routing.assign import STRATEGIES
from pipeline.routing.route import route, unroutable
from pipeline.routing.universe import Universes, from_mapping
from pipeline.settings import load_settings

UNIVERSES = Universes([from_mapping({"a:x": "AAPL, MSFT, SPY", "b:y": "SPY, QQQ", "c:z": "DIA, AAPL"})])
THREE = {
    "USE_MULTI_CONNECTION": True,
    "WEBSOCKET_CONNECTION_1_UNIVERSE_KEY": "a:x",
    "WEBSOCKET_CONNECTION_2_ENABLED": True,
    "WEBSOCKET_CONNECTION_2_UNIVERSE_KEY": "b:y",
    "WEBSOCKET_CONNECTION_3_ENABLED": True,
    "WEBSOCKET_CONNECTION_3_SYMBOLS": "IWM",
}


@pytest.fixture
def load(tmp_path):
    """Load settings from nothing but what is given."""
    return lambda config: load_settings(config, environ={}, directory=tmp_path)


def test_one_connection_carries_everything(load):
    """Without a line of configuration nothing would be subscribed to."""
    assignment = route(load({"SYMBOL_UNIVERSE_KEY": "a:x"}), UNIVERSES)
    assert assignment.tickers == {"connection_1": ("AAPL", "MSFT", "SPY")}
    assert assignment.warnings == ()


def test_connections_carry_what_they_name_and_share_the_rest(load):
    """SYMBOL_UNIVERSE_KEY, which TickStock always sets, would be ignored or carried twice."""
    assignment = route(load({**THREE, "SYMBOL_UNIVERSE_KEY": "c:z"}), UNIVERSES)
    assert assignment.tickers == {
        "connection_1": ("AAPL", "MSFT", "SPY"),
        "connection_2": ("QQQ", "DIA"),
        "connection_3": ("IWM",),
    }
    assert assignment.warnings == ("named by several connections, carried by the first: SPY",)


def test_redundant_symbols_are_on_two_connections(load):
    """A symbol that must not be lost would be lost with one socket."""
    assignment = route(load({**THREE, "WEBSOCKET_REDUNDANT_SYMBOLS": ["bb:none", "SPY", "VOO"]}), UNIVERSES)
    holders = [{id_ for id_, on in assignment.tickers.items() if t in on} for t in ("SPY", "VOO", "MSFT")]
    assert [len(ids) for ids in holders] == [2, 2, 1]


def test_caps_and_strategy_come_from_the_settings(load):
    """A limit of the plan would be exceeded, and symbols refused."""
    config = {**THREE, "WEBSOCKET_ROUTING_STRATEGY": "round-robin", "WEBSOCKET_CONNECTION_MAX_TICKERS": 1}
    assignment = route(load(config), UNIVERSES)
    assert [len(tickers) for tickers in assignment.tickers.values()] == [1, 1, 1]
    assert len(assignment.overflow) == 2
    rate_capped = {**config, "WEBSOCKET_CONNECTION_MAX_TICKERS": 0, "WEBSOCKET_CONNECTION_MAX_TICKS_PER_S": 1}
    assert route(load(rate_capped), UNIVERSES).overflow == ()


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_can_be_set(load, strategy):
    """A strategy could be computed and not be chosen, or be chosen and not be known."""
    assignment = route(load({**THREE, "WEBSOCKET_ROUTING_STRATEGY": strategy.upper()}), UNIVERSES)
    assert sum(len(tickers) for tickers in assignment.tickers.values()) == 5


def test_unroutable_names_what_has_no_tickers(load):
    """`tickbraid check` would call settings good that leave a connection with nothing to do."""

    def told(key):
        return f"(config): got {key!r}, expected a universe with tickers"

    universes = {"mine:core": "SPY"}
    config = {
        **THREE,
        "universes": universes,
        "SYMBOL_UNIVERSE_KEY": "nobody:knows",
        "WEBSOCKET_CONNECTION_1_UNIVERSE_KEY": "mine:cor",
        "WEBSOCKET_CONNECTION_3_UNIVERSE_KEY": "mine:also_unknown",
    }
    assert unroutable(load(config), Universes([from_mapping({**universes, "b:y": "QQQ"})])) == [
        f"WEBSOCKET_CONNECTION_1_UNIVERSE_KEY {told('mine:cor')}; did you mean mine:core?",
        f"SYMBOL_UNIVERSE_KEY {told('nobody:knows')}",
    ]
    assert unroutable(load(THREE), UNIVERSES) == []
    alone = {"SYMBOL_UNIVERSE_KEY": "nobody:knows"}
    assert len(unroutable(load(alone), UNIVERSES)) == 1
    assert unroutable(load({**alone, "WEBSOCKET_CONNECTION_1_SYMBOLS": "SPY"}), UNIVERSES) == [], "not used"
