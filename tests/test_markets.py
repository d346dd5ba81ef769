"""Each market has its event types and its limits, and what it has not is refused before anything connects."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import SettingsError
from pipeline.markets import EVENT_TYPES, MARKETS, contracts_max, market_of, not_in_market
from pipeline.routing.assign import assign
from pipeline.routing.route import plan
from pipeline.routing.universe import universes_of
from pipeline.settings import load_settings
from pipeline.ticks import TICK_KINDS
from tests.feed_examples import EXAMPLES

ENDED = {"XL2"}
"""Decoded out of recordings; Massive serves it no more."""


def load(tmp_path, **config):
    """Load settings of a connection to Massive."""
    base = {"USE_MASSIVE_API": True, "MASSIVE_API_KEY": "k"}
    return load_settings(base | config, environ={}, directory=tmp_path)


def contracts(count):
    """Return so many option contracts."""
    return [f"O:SPY261218C{number:08d}" for number in range(count)]


@pytest.mark.parametrize(
    ("url", "market"),
    [
        ("wss://socket.massive.com/stocks", "stocks"),
        ("wss://delayed.massive.com/options/", "options"),
        ("wss://socket.massive.com/futures/cme", "futures"),
        ("wss://socket.massive.com/Crypto", "crypto"),
        ("ws://127.0.0.1:8765", None),
        ("ws://127.0.0.1:8765/", None),
        ("wss://socket.massive.com/bonds", None),
    ],
)
def test_the_market_is_what_the_path_says(url, market):
    """A market that is not recognised is not checked; one wrongly recognised refuses what is right."""
    assert market_of(url) == market


def test_every_event_type_has_a_class_and_every_class_a_market():
    """A type that can be asked for and not decoded costs all its ticks."""
    assert {kind.event_type for kind in TICK_KINDS} - ENDED == set(EVENT_TYPES)
    for example in EXAMPLES:
        market = next((market for market in MARKETS if market in example.name.split()), None)
        assert market
        assert example.wire["ev"] in {*MARKETS[market], *ENDED}, example.name


@pytest.mark.parametrize("market", MARKETS)
@given(types=st.sets(st.sampled_from(EVENT_TYPES), min_size=1))
def test_event_types_of_another_market_are_refused_by_name(tmp_path_factory, market, types):
    """The server never answers for a type it does not know: the stream would be silent, and look well."""
    config = {
        "MASSIVE_WEBSOCKET_URL": f"wss://socket.massive.com/{market}",
        "MASSIVE_EVENT_TYPES": sorted(types),
    }
    strange = set(types) - set(MARKETS[market])
    folder = tmp_path_factory.getbasetemp()
    if not strange:
        assert set(load(folder, **config).massive_event_types) == types
        return
    with pytest.raises(SettingsError) as caught:
        load(folder, **config)
    (problem,) = caught.value.problems
    got, _, expected = problem.partition("expected")
    assert {kind for kind in EVENT_TYPES if kind in got.replace(",", " ").split()} == strange
    assert all(kind in expected for kind in MARKETS[market])


def test_a_connection_of_its_own_market_is_named(tmp_path):
    """With three connections the user has to know whose types are wrong."""
    with pytest.raises(SettingsError, match=r"WEBSOCKET_CONNECTION_2_EVENT_TYPES.*got A,.*XT, XQ, XA, XAS"):
        load(
            tmp_path,
            USE_MULTI_CONNECTION=True,
            WEBSOCKET_CONNECTION_1_SYMBOLS="AAPL",
            WEBSOCKET_CONNECTION_2_ENABLED=True,
            WEBSOCKET_CONNECTION_2_SYMBOLS="BTC-USD",
            WEBSOCKET_CONNECTION_2_URL="wss://socket.massive.com/crypto",
            WEBSOCKET_CONNECTION_2_EVENT_TYPES="A, XT",
        )


@pytest.mark.parametrize(
    "config",
    [
        {"MASSIVE_WEBSOCKET_URL": "ws://127.0.0.1:8765", "MASSIVE_EVENT_TYPES": "A, XT, V"},
        {"MASSIVE_WEBSOCKET_URL": "wss://socket.massive.com/crypto", "USE_SYNTHETIC_DATA": True},
        {"MASSIVE_WEBSOCKET_URL": "wss://socket.massive.com/crypto", "USE_MASSIVE_API": False},
    ],
)
def test_what_is_no_market_or_not_asked_is_not_checked(tmp_path, config):
    """A test server serves what it likes, and generated ticks come from no market."""
    load(tmp_path, **config)


@pytest.mark.parametrize("types", ["Q", "T, Q", "FMV"])
def test_a_star_for_quotes_of_options_is_refused_in_words(tmp_path, types):
    """Massive serves no such channel: nothing would come, and nobody would be told."""
    options = {"MASSIVE_WEBSOCKET_URL": "wss://socket.massive.com/options", "MASSIVE_EVENT_TYPES": types}
    for star in (
        {"WEBSOCKET_CONNECTION_1_SYMBOLS": "*"},
        {"SYMBOL_UNIVERSE_KEY": "all:options", "UNIVERSES": {"all:options": ["*"]}},
    ):
        with pytest.raises(SettingsError, match="at most 1,000 contracts, by name"):
            load(tmp_path, **options, **star)
    load(tmp_path, **(options | {"MASSIVE_EVENT_TYPES": "T"}), WEBSOCKET_CONNECTION_1_SYMBOLS="*")


@pytest.mark.parametrize(
    ("market", "types", "ours", "cap"),
    [
        ("options", "Q", 0, 1000),
        ("options", "T, FMV", 0, 1000),
        ("options", "Q", 700, 700),
        ("options", "Q", 5000, 1000),
        ("options", "T, A", 0, 0),
        ("options", "T", 5000, 5000),
        ("stocks", "Q", 0, 0),
    ],
)
def test_a_connection_has_the_lower_of_both_limits(tmp_path, market, types, ours, cap):
    """Beyond 1,000 contracts the server refuses them one and all, or closes."""
    settings = load(
        tmp_path,
        MASSIVE_WEBSOCKET_URL=f"wss://socket.massive.com/{market}",
        MASSIVE_EVENT_TYPES=types,
        WEBSOCKET_CONNECTION_1_SYMBOLS=contracts(3),
        WEBSOCKET_CONNECTION_MAX_TICKERS=ours,
    )
    (line,) = plan(settings, universes_of(settings)).lines
    assert line.max_tickers == cap
    assert contracts_max(f"wss://h/{market}", types.split(", ")) in {0, 1000}


def test_routing_keeps_the_limit_through_failover_and_back(tmp_path):
    """A failover that puts 1,500 contracts on one connection loses all of its quotes."""
    settings = load(
        tmp_path,
        USE_MULTI_CONNECTION=True,
        MASSIVE_WEBSOCKET_URL="wss://socket.massive.com/options",
        MASSIVE_EVENT_TYPES="Q",
        WEBSOCKET_ROUTING_STRATEGY="round-robin",
        WEBSOCKET_CONNECTION_2_ENABLED=True,
        SYMBOL_UNIVERSE_KEY="my:contracts",
        UNIVERSES={"my:contracts": contracts(2100)},
    )
    start = plan(settings, universes_of(settings))
    counts = [len(its) for its in start.assignment.tickers.values()]
    assert counts == [1000, 1000]
    assert len(start.assignment.overflow) == 100
    first, second = start.lines
    wanted = contracts(2100)
    down = assign(
        wanted,
        [first, dataclasses.replace(second, alive=False)],
        "round-robin",
        current=start.assignment.tickers,
    )
    assert len(down.tickers[first.id]) == 1000
    assert len(down.overflow) == 1100
    again = assign(wanted, start.lines, "round-robin", current=down.tickers)
    assert [len(its) for its in again.tickers.values()] == [1000, 1000]


def test_other_markets_have_no_strange_types():
    """What `check` says must follow from the same table."""
    assert not_in_market("wss://h/crypto", ["XT", "A"]) == ("A",)
    assert not_in_market("wss://h/unknown", ["XT", "A"]) == ()
