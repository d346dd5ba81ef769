import pytest

from pipeline import status
from pipeline.massive import rhythm, watch
from pipeline.massive.simulator import Options, Silence, Simulator, SyntheticFeed
from tests.conftest import wait_until
from tests.integration.harness import KEY, Run, config_for

HOMES = {f"connection_{n}": tuple(f"S{n}{number:02}" for number in range(20)) for n in (1, 2)}
TICKERS = [ticker for home in HOMES.values() for ticker in home]


@pytest.fixture
def simulator():
    """A server with a market of forty tickers."""
    feed = SyntheticFeed(TICKERS, rate=2000, event_types=("Q",))
    with Simulator([feed], Options(keys=frozenset({KEY}), start_after=2)) as server:
        yield server


@pytest.fixture
def run(simulator, monkeypatch):
    """A stream over two connections that has learned their rhythm, in a second instead of minutes."""
    monkeypatch.setattr(rhythm, "LEARN_S", 1.0)
    monkeypatch.setattr(rhythm, "STALE_AT_LEAST_S", 1.0)
    monkeypatch.setattr(watch, "PROBE_S", 1.0)
    more = {"MASSIVE_EVENT_TYPES": "Q", "WEBSOCKET_HEALTH_CHECK_INTERVAL": 0.1}
    with Run(config_for(simulator, *HOMES.values(), **more)) as stream:
        stream.wait_confirmed(len(TICKERS))
        wait_until(lambda: all(c["limit_s"] for c in connections(stream)), 15, "both rhythms being known")
        yield stream


def connections(run):
    """Return the snapshots of the connections."""
    return run.stream.health()["connections"]


def test_a_connection_that_only_answers_pings_is_found_out_and_replaced(simulator, run):
    """A stream that stops silently costs the day: TCP is up, pings are answered, nothing is ever said."""
    simulator.go_silent(Silence.DATA, only=1)
    (stale,) = wait_until(lambda: run.of(status.Stale), 20, "the verdict")
    victim, other = stale.connection, ({*HOMES} - {stale.connection}).pop()
    (lost,) = wait_until(lambda: run.of(status.Disconnected), 15, "the end of the silent session")
    assert lost.connection == victim
    assert "asked for anew" in lost.reason
    assert lost.last_frame_ns < stale.at_ns - 0.5e9, "the gap begins with the last ticks"
    before = run.by_channel()
    channels = [f"Q.{ticker}" for ticker in HOMES[victim][:5]]
    wait_until(lambda: all(run.by_channel()[c] > before[c] for c in channels), 15, "its ticks flow again")
    wait_until(lambda: run.of(status.Loss, victim), 15, "the loss being told")
    assert not run.of(status.Stale, other)
    assert not run.of(status.Disconnected, other)
    assert run.stream.account("callback").imbalance == 0


def test_a_connection_that_speaks_when_asked_is_kept(simulator, run):
    """A new connection would cost more ticks than the server's slip."""
    simulator.go_silent(Silence.DATA, only=1)
    (stale,) = wait_until(lambda: run.of(status.Stale), 20, "the verdict")
    simulator.go_silent(Silence.NONE, only=1)
    (fresh,) = wait_until(lambda: run.of(status.Fresh), 15, "the recovery")
    assert fresh.connection == stale.connection
    (loss,) = wait_until(lambda: run.of(status.Loss), 15, "the loss being told")
    assert loss.reason == "stale"
    assert not run.of(status.Disconnected)


def test_a_quiet_market_is_not_stale(simulator, run):
    """At the closing bell all connections would be replaced at once."""
    simulator.go_silent(Silence.DATA)
    wait_until(
        lambda: all(c["silent_for_s"] > 1.3 * c["limit_s"] for c in connections(run)), 30, "a long silence"
    )
    assert not run.of(status.Stale)
    assert not run.of(status.Disconnected)
