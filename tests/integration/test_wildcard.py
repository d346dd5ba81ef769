"""All symbols over one connection: what is missing of them, how it is told, and how it is shown."""

import pytest

from pipeline import status
from pipeline.health.leaders import Leaders
from pipeline.massive.simulator import Options, Simulator, SyntheticFeed
from tests.conftest import wait_until
from tests.integration.harness import KEY, Gate, Run, config_for

TICKERS = [f"S{number}" for number in range(20)]


@pytest.fixture
def simulator():
    """A server with a market of twenty tickers."""
    feed = SyntheticFeed(TICKERS, rate=2000, event_types=("T", "Q"))
    with Simulator([feed], Options(keys=frozenset({KEY}))) as server:
        yield server


def held(simulator):
    """Return the channels that clients hold."""
    return sorted(channel for client in simulator.report().clients for channel in client.channels)


def test_all_symbols_are_carried_lost_and_told(simulator):
    """One ticker of the name `*` would be counted, its load unknown, and its gap without an end."""
    gate = Gate(simulator.port)
    config = config_for(
        simulator,
        ["*"],
        ["S1"],
        MASSIVE_EVENT_TYPES="Q",
        WEBSOCKET_CONNECTION_1_URL=gate.url,
        WEBSOCKET_HEALTH_CHECK_INTERVAL=0.2,
    )
    with Run(config) as run:
        run.wait_confirmed(2)
        assert held(simulator) == ["Q.*", "Q.S1"]
        wait_until(lambda: len(run.ticks) == len(TICKERS))
        health = run.stream.health()
        shown = [
            (each["tickers"], each["all_symbols"]) for each in (*health["connections"], health["totals"])
        ]
        assert shown == [(0, True), (1, False), (1, True)]
        gate.shut()
        wait_until(lambda: run.of(status.Disconnected, "connection_1"))
        gate.open()
        wait_until(lambda: run.of(status.Loss, "connection_1"), 15, "the gap being told")
        loss = run.of(status.Loss, "connection_1")[0]
        assert loss.tickers == ("*",)
        (down,) = run.of(status.Disconnected, "connection_1")[:1]
        assert loss.gaps[0].from_ns < down.at_ns < loss.gaps[0].to_ns
        run.wait_confirmed(2)
        assert run.stream.tickers() == {"connection_1": ("*",), "connection_2": ("S1",)}
    gate.shut()


def test_two_kinds_of_all_symbols_are_two_things(simulator):
    """Trades of all on one socket and quotes of all on the other: the second would be skipped."""
    kinds = {"WEBSOCKET_CONNECTION_1_EVENT_TYPES": "T", "WEBSOCKET_CONNECTION_2_EVENT_TYPES": "Q"}
    with Run(config_for(simulator, ["*"], ["*"], **kinds)) as run:
        run.wait_confirmed(2)
        assert held(simulator) == ["Q.*", "T.*"]
        wait_until(lambda: len(run.ticks) == 2 * len(TICKERS))
        assert not run.of(status.Skipped)


def test_leaders_say_which_connection_brings_a_ticker_that_nobody_names(simulator):
    """The busiest tickers would come over no connection."""
    with Run(config_for(simulator, ["*"], ["S1"], MASSIVE_EVENT_TYPES="Q")) as run:
        run.wait_confirmed(2)
        leaders = Leaders(run.stream)
        leaders.sample()
        wait_until(lambda: len(run.ticks) == len(TICKERS))
        slowest = {each.ticker: each.connections for each in leaders.read().slowest}
        assert {tuple(slowest[ticker]) for ticker in slowest if ticker != "S1"} == {("connection_1",)}
        assert slowest["S1"] == ["connection_2"]


def test_generated_ticks_of_all_symbols_are_those_of_the_market():
    """Without a key, `*` would be a ticker of that name."""
    config = {"WEBSOCKET_CONNECTION_1_SYMBOLS": "*", "MASSIVE_EVENT_TYPES": "T"}
    with Run(config | {"SYNTHETIC_UPDATE_INTERVAL": 0.01}) as run:
        wait_until(lambda: len(run.ticks) >= 8)
        run.stream.add_tickers(["BACpL"])
        wait_until(lambda: ("T", "BACpL") in run.ticks)
        assert ("T", "*") not in run.ticks
        assert run.stream.tickers() == {"synthetic": ("*", "BACpL")}
        run.stream.remove_tickers("*")
        wait_until(lambda: run.stream.tickers() == {"synthetic": ("BACpL",)})
