"""A symbol reaches the server as it was written, whatever way it came; an odd one costs itself."""

import csv
import io
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline import build_pipeline, status
from pipeline.massive.simulator import Options, Simulator
from pipeline.massive.simulator.session import Session
from pipeline.routing import universe
from pipeline.routing.universe import from_file, register_provider
from pipeline.symbols import read_symbols
from pipeline.tickstock import MassiveWebSocketClient, MultiConnectionManager, RealTimeDataAdapter
from tests.conftest import wait_until
from tests.odd_symbols import ODD, ODD_TEXTS, SYMBOLS

KEY = "the-key-of-the-simulator"
LISTS = st.lists(SYMBOLS.map(lambda symbol: (symbol, True)), min_size=1, max_size=6)
MIXED = st.tuples(LISTS, st.lists(ODD.map(lambda odd: (odd, False)), max_size=4)).flatmap(
    lambda parts: st.permutations([*parts[0], *parts[1]])
)
TEXTS = st.tuples(LISTS, st.lists(ODD_TEXTS.map(lambda odd: (odd, False)), max_size=4)).flatmap(
    lambda parts: st.permutations([*parts[0], *parts[1]])
)


class Asked:
    """A server that notes each channel that it is asked for."""

    def __init__(self, monkeypatch):
        self.channels = []
        self.simulator = Simulator([], Options(keys=frozenset({KEY})))
        subscribe = Session._subscribe

        def note(session, channel):
            self.channels.append(channel)
            return subscribe(session, channel)

        monkeypatch.setattr(Session, "_subscribe", note)

    def config(self, **more):
        return {
            "USE_MASSIVE_API": True,
            "MASSIVE_API_KEY": KEY,
            "MASSIVE_WEBSOCKET_URL": self.simulator.url,
            "MASSIVE_EVENT_TYPES": "T",
        } | more

    def wait_alone(self):
        """Wait until nobody is connected; return what was asked for, and forget it."""
        wait_until(lambda: not self.simulator.report().clients)
        channels, self.channels = self.channels, []
        return channels


@pytest.fixture(scope="module")
def asked():
    """A server for all examples."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        asked = Asked(monkeypatch)
        with asked.simulator:
            yield asked


@pytest.fixture(autouse=True)
def no_providers(monkeypatch):
    """Let the examples register providers of their own."""
    monkeypatch.setattr(universe, "_registered", [])


def told(events):
    """Return the odd symbols that were told."""
    return {
        each.symbol for event in events if isinstance(event, status.TickersRefused) for each in event.symbols
    }


def streamed(asked, config, act=lambda _stream: None):
    """Run a stream until all its channels are confirmed; return what the server was asked, and the events."""
    events = []
    with build_pipeline(config) as stream:
        stream.status.subscribe(events.append)
        stream.subscribe(lambda _: None)
        assert stream.wait_connected(15)
        act(stream)
        wait_until(lambda: stream.tickers()["connection_1"])
        wanted = len(stream.tickers()["connection_1"])
        wait_until(lambda: stream.health()["connections"][0]["confirmed"] == wanted)
    wait_until(lambda: any(isinstance(event, status.Closed) for event in events))
    return asked.wait_alone(), events


def as_text(items):
    """Write a comma list."""
    return {"WEBSOCKET_CONNECTION_1_SYMBOLS": ", ".join(items)}


def as_list(items):
    """Write a list."""
    return {"WEBSOCKET_CONNECTION_1_SYMBOLS": items}


def as_universe(items):
    """Name a universe of the settings."""
    return {"UNIVERSES": {"mine:core": items}, "WEBSOCKET_CONNECTION_1_UNIVERSE_KEY": "mine:core"}


def as_common(items):
    """Name a universe for the whole stream."""
    return {"UNIVERSES": {"mine:core": ",".join(items)}, "SYMBOL_UNIVERSE_KEY": "mine:core"}


def as_json(items):
    """Name a universe of a JSON file."""
    Path("universes.json").write_text(json.dumps({"mine": {"core": items}}), encoding="utf-8")
    register_provider(from_file("universes.json"))
    return {"WEBSOCKET_CONNECTION_1_UNIVERSE_KEY": "mine:core"}


def as_csv(items):
    """Name a universe of a CSV file."""
    rows = io.StringIO()
    csv.writer(rows).writerows([["universe", "ticker"], *(["mine:core", item] for item in items)])
    Path("universes.csv").write_bytes(rows.getvalue().encode())
    register_provider(from_file("universes.csv"))
    return {"WEBSOCKET_CONNECTION_1_UNIVERSE_KEY": "mine:core"}


def as_provider(items):
    """Name a universe of a program."""
    register_provider({"mine:core": iter(items)}.get)
    return {"WEBSOCKET_CONNECTION_1_UNIVERSE_KEY": "mine:core"}


MANY = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def check(items, channels, events):
    """Hold what was asked and told against what was written."""
    good = dict.fromkeys(item for item, is_good in items if is_good)
    assert channels == [f"T.{symbol}" for symbol in good]
    assert told(events) == {read_symbols([item]).odd[0].symbol for item, is_good in items if not is_good}


@pytest.mark.parametrize("way", [as_text, as_common, as_csv])
@MANY
@given(items=TEXTS)
def test_from_texts_to_the_server(asked, monkeypatch, way, items):
    """A preferred share in a settings line, or a file, would be asked for as something that is not there."""
    monkeypatch.setattr(universe, "_registered", [])
    channels, events = streamed(asked, asked.config(**way([item for item, _ in items])))
    check(items, channels, events)


@pytest.mark.parametrize("way", [as_list, as_universe, as_provider])
@MANY
@given(items=MIXED)
def test_from_lists_to_the_server(asked, monkeypatch, way, items):
    """One slip in a list that a program makes would cost the list."""
    monkeypatch.setattr(universe, "_registered", [])
    channels, events = streamed(asked, asked.config(**way([item for item, _ in items])))
    check(items, channels, events)


JSON_ODD = ODD_TEXTS | st.sampled_from(["", None, True, 7, ["AAPL"]])


@MANY
@given(
    items=st.tuples(LISTS, st.lists(JSON_ODD.map(lambda odd: (odd, False)), max_size=4)).flatmap(
        lambda parts: st.permutations([*parts[0], *parts[1]])
    )
)
def test_from_a_json_file_to_the_server(asked, monkeypatch, items):
    """A universe with a null in it would be empty."""
    monkeypatch.setattr(universe, "_registered", [])
    channels, events = streamed(asked, asked.config(**as_json([item for item, _ in items])))
    check(items, channels, events)


@MANY
@given(items=MIXED)
def test_from_add_tickers_to_the_server(asked, items):
    """A watchlist that a program changes during the day would be asked for as something else."""
    config = asked.config(WEBSOCKET_START_EMPTY=True)
    channels, events = streamed(asked, config, lambda stream: stream.add_tickers([item for item, _ in items]))
    check(items, channels, events)


@pytest.mark.parametrize("face", ["client", "manager", "adapter"])
@MANY
@given(items=MIXED)
def test_from_tickstock_to_the_server(asked, face, items):
    """TickStock's one call with a watchlist would raise with the socket up, or ask for something else."""
    config = asked.config(USE_MULTI_CONNECTION=face == "manager", WEBSOCKET_ROUTING_STRATEGY="hash")
    heard = []
    if face == "client":
        made = MassiveWebSocketClient(KEY, None, lambda _, data: heard.append(data), config)
    elif face == "manager":
        made = MultiConnectionManager(config, None, lambda _, data: heard.append(data))
    else:
        made = RealTimeDataAdapter(config, lambda _: None, lambda _, data: heard.append(data))
    given_items = [item for item, _ in items]
    try:
        if face == "adapter":
            assert made.connect(given_items)
        else:
            assert made.connect()
            assert made.subscribe(given_items)
    finally:
        made.disconnect()
    good = dict.fromkeys(item for item, is_good in items if is_good)
    assert asked.wait_alone() == [f"T.{symbol}" for symbol in good]
    odd = {read_symbols([item]).odd[0].symbol for item, is_good in items if not is_good}
    refused = {
        each["symbol"] for data in heard if data["event"] == "TickersRefused" for each in data["symbols"]
    }
    assert refused == odd
