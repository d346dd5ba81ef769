"""A pair is asked for by one name, acknowledged by another, and its ticks come by a third."""

import time

import pytest

from pipeline.cli.run import silent_tickers
from pipeline.massive.simulator import Options, ReplayFeed, Simulator
from pipeline.massive.simulator.feeds import packets_of
from pipeline.massive.simulator.session import Session, status
from pipeline.status import Unanswered
from tests.conftest import wait_until
from tests.integration.harness import KEY, Run, config_for


@pytest.fixture
def simulator(monkeypatch):
    """A server of one currency pair that acknowledges by the spelling without a prefix."""

    def subscribe(session, channel):
        session.held.add(channel)
        kind, _, symbol = channel.partition(".")
        return status("success", f"subscribed to: {kind}.{symbol.removeprefix('C:').replace('/', '-')}")

    monkeypatch.setattr(Session, "_subscribe", subscribe)
    quote = b'[{"ev":"C","p":"EUR/USD","x":48,"a":1.1,"b":1.0,"t":%d}]'
    packets = packets_of((n * 1000, quote % (time.time_ns() // 1_000_000 + n)) for n in range(10_000))
    with Simulator([ReplayFeed(packets)], Options(keys=frozenset({KEY}))) as server:
        yield server


@pytest.mark.parametrize("asked", ["EUR-USD", "EUR/USD", "C:EUR-USD", "C:EUR/USD"])
def test_a_pair_is_one_by_all_its_names(simulator, asked):
    """It would count as unanswered and as silent while its ticks come, and its load be unknown."""
    forex = {
        "MASSIVE_WEBSOCKET_URL": simulator.url.replace("/stocks", "/forex"),
        "MASSIVE_EVENT_TYPES": "C",
    }
    with Run(config_for(simulator, [asked], **forex)) as run:
        run.wait_confirmed(1)
        assert [c.channels for c in simulator.report().clients] == [(f"C.{asked}",)], "as it was written"
        wait_until(lambda: len(run.ticks["C", "EUR/USD"]) > 10)
        assert silent_tickers(run.stream) == ([], 1)
        assert run.stream.tickers() == {"connection_1": (asked,)}
        assert not run.of(Unanswered)
