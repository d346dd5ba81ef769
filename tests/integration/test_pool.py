import pytest

from pipeline import status
from pipeline.massive.simulator import Eviction, Options, Simulator, SyntheticFeed
from tests.conftest import wait_until
from tests.integration.harness import KEY, Gate, Run, config_for

HOMES = {f"connection_{n}": tuple(f"S{n}{number:02}" for number in range(100)) for n in (1, 2, 3)}
TICKERS = [ticker for home in HOMES.values() for ticker in home]
AFTER_S = 0.5


@pytest.fixture
def simulator():
    """A server with a market of 300 tickers."""
    feed = SyntheticFeed(TICKERS, rate=3000, event_types=("Q",))
    with Simulator([feed], Options(keys=frozenset({KEY}), start_after=3)) as server:
        yield server


def config(simulator, **more):
    """Three connections with a hundred tickers each, and a failover after half a second."""
    options = {"MASSIVE_EVENT_TYPES": "Q", "WEBSOCKET_FAILOVER_AFTER": AFTER_S} | more
    return config_for(simulator, *HOMES.values(), **options)


def settled(run, connection):
    """Wait until a connection is live with every channel confirmed, and return its snapshot."""

    def look():
        (its,) = [c for c in run.stream.health()["connections"] if c["id"] == connection]
        return its if its["phase"] == "live" and its["confirmed"] and not its["pending"] else None

    return wait_until(look, 15, f"{connection} live and confirmed")


def named(run, kind):
    """Return the tickers that the events of a kind name."""
    return {ticker for event in run.of(kind) for ticker in event.tickers}


@pytest.mark.parametrize("victim", list(HOMES))
def test_a_dead_connection_s_tickers_flow_on_over_the_others(simulator, victim):
    """Killing any one: its tickers flow on over the others, come home, and nothing comes twice."""
    gate = Gate(simulator.port)
    with Run(config(simulator, **{f"WEBSOCKET_{victim.upper()}_URL": gate.url})) as run:
        run.wait_confirmed(300)
        wait_until(lambda: run.count > 1000)
        gate.shut()
        wait_until(lambda: not run.stream.tickers()[victim], 15, "the failover")
        wait_until(lambda: named(run, status.Moved) == set(HOMES[victim]), 5, "the moves being told")
        wait_until(lambda: simulator.report().held == 300, 15, "the channels on the survivors")
        before = run.by_channel()
        wait_until(lambda: all(run.by_channel()[f"Q.{t}"] > before[f"Q.{t}"] for t in HOMES[victim][:5]), 15)
        gate.open()
        wait_until(lambda: run.stream.tickers() == HOMES, 20, "all at home")
        settled(run, victim)
        wait_until(lambda: simulator.report().held == 300, 15, "the end of the overlap")

        for ticks in run.ticks.values():
            sequence = [tick.sequence for tick in ticks]
            assert len(set(sequence)) == len(sequence), "delivered twice"
        wait_until(lambda: named(run, status.Loss) == set(HOMES[victim]), 5, "the losses being told")
        assert all(account.imbalance == 0 for account in run.stream.accounts()["callback"].values())
        assert not [event for name in HOMES if name != victim for event in run.of(status.Disconnected, name)]
    gate.shut()


def test_tickers_added_and_removed_at_run_time(simulator):
    """A watchlist changes during the day, without a reconnect."""
    with Run(
        config_for(simulator, HOMES["connection_1"][:2], HOMES["connection_2"][:1], MASSIVE_EVENT_TYPES="Q")
    ) as run:
        run.wait_confirmed(3)
        simulator.start_feeds()
        run.stream.add_tickers(["S300", "S000X"])
        run.wait_confirmed(5)
        wait_until(lambda: run.ticks["Q", "S300"])
        run.stream.remove_tickers(["S300"])
        simulator.wait_for(lambda report: report.held == 4)
        assert "S300" not in {t for its in run.stream.tickers().values() for t in its}
        run.stream.add_tickers(["S P A C E"])
        run.stream.remove_tickers(["ZZZ", "s000x"])
        wait_until(lambda: run.of(status.TickersNotCarried))
        assert [each.symbol for event in run.of(status.TickersRefused) for each in event.symbols] == [
            "S P A C E"
        ]
        (not_carried,) = run.of(status.TickersNotCarried)
        assert (not_carried.tickers, not_carried.near) == (("ZZZ", "s000x"), ("S000X",))
        assert simulator.report().attempts == 2


def test_tickers_move_by_hand_and_by_load(simulator):
    """An operator moves a ticker, and has the load spread by what is measured; both say what they did."""
    three = HOMES["connection_1"][:6]
    options = {"MASSIVE_EVENT_TYPES": "Q", "WEBSOCKET_ROUTING_STRATEGY": "load-balanced"}
    with Run(config_for(simulator, three, (), **options)) as run:
        run.wait_confirmed(6)
        assert run.stream.wait_connected(15) == ("connection_1", "connection_2")
        simulator.start_feeds()
        run.stream.move_ticker(three[0], "connection_2")
        wait_until(lambda: three[0] in run.stream.tickers()["connection_2"])
        for ticker in three[1:]:
            run.stream.move_ticker(ticker, "connection_2")
        wait_until(lambda: run.stream.tickers()["connection_1"] == (), 5, "all on one")
        assert run.stream.rebalance() == (), "what was moved by hand stays"
        run.stream.remove_tickers(three)
        run.stream.add_tickers(three)
        wait_until(lambda: all(run.stream.tickers().values()), 5, "both carrying")
        simulator.wait_for(lambda report: report.held == 6)
        with pytest.raises(ValueError, match="connection_1, connection_2, not 'connection_9'"):
            run.stream.move_ticker(three[0], "connection_9")
        run.stream.reconnect("connection_1")
        wait_until(lambda: [e.reason for e in run.of(status.Disconnected, "connection_1")] == ["asked for"])
        settled(run, "connection_1")


def test_redundant_tickers_miss_nothing(simulator):
    """A/B arbitration: what flows over two sockets survives the loss of either without a gap."""
    pair = HOMES["connection_1"][:2]
    with Run(config(simulator, WEBSOCKET_REDUNDANT_SYMBOLS=pair)) as run:
        run.wait_confirmed(302)
        wait_until(lambda: run.count > 1000)
        holders = [c.client for c in simulator.report().clients if f"Q.{pair[0]}" in c.channels]
        assert len(holders) == 2
        simulator.close_clients(1006, only=holders[0])
        wait_until(lambda: run.of(status.Disconnected))
        wait_until(lambda: run.of(status.Loss))
        assert not named(run, status.Loss) & set(pair)
        for ticker in pair:
            sequence = [tick.sequence for tick in run.ticks["Q", ticker]]
            assert sequence == sorted(set(sequence))


@pytest.mark.parametrize("eviction", list(Eviction))
def test_an_account_that_allows_one_connection_gets_everything_over_one(eviction):
    """Three configured, one allowed: nobody fights, and no ticker is left out while the others wait."""
    feed = SyntheticFeed(TICKERS, rate=3000, event_types=("Q",))
    options = Options(keys=frozenset({KEY}), max_connections=1, eviction=eviction)
    with Simulator([feed], options) as simulator, Run(config(simulator)) as run:
        wait_until(lambda: len(run.of(status.Evicted)) == 2, 10, "two evictions")
        simulator.wait_for(lambda report: report.held == 300, 15)
        before = run.by_channel()
        wait_until(lambda: all(run.by_channel()[f"Q.{t}"] > before[f"Q.{t}"] for t in TICKERS[::30]), 15)
        assert simulator.report().attempts == 3
        last = run.of(status.Crowded)[-1]
        assert (last.places, last.other_program, last.next_try_s) == (1, False, 60.0)
        assert len(run.stream.wait_connected(15)) == 1
        assert all(account.imbalance == 0 for account in run.stream.accounts()["callback"].values())
