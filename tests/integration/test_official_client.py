"""The simulator against Massive's own client, as it is on PyPI."""

import asyncio
import threading

import pytest
from massive import WebSocketClient
from massive.exceptions import AuthError
from massive.websocket.models import EquityAgg, EquityQuote, EquityTrade

from pipeline.massive.simulator import Acks, Faults, Options, Simulator, SyntheticFeed

OPTIONS = {"keys": frozenset({"good"}), "max_connections": 1}


class Official:
    """Runs the client in a thread, keeps what it gives to its callback, and ends it."""

    def __init__(self, simulator, subscriptions, **options):
        self.models = []
        self.error = None
        self._seen = threading.Condition()
        self._subscriptions = subscriptions
        self.client = WebSocketClient(
            **{"api_key": "good", "feed": simulator.address, "market": "stocks", "secure": False} | options,
            subscriptions=subscriptions,
        )
        self._thread = threading.Thread(target=self._run, name="test-official", daemon=True)

    def _run(self):
        async def connect():
            self._loop = asyncio.get_running_loop()
            self._task = asyncio.current_task()
            await self.client.connect(self._take)

        try:
            asyncio.run(connect())
        except (AuthError, asyncio.CancelledError) as error:
            self.error = error
        finally:
            with self._seen:
                self._seen.notify_all()

    async def _take(self, models):
        with self._seen:
            self.models += models
            self._seen.notify_all()

    def wait(self, condition):
        with self._seen:
            assert self._seen.wait_for(lambda: condition(self), 20), self.models[-3:]

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join(10)
        assert not self._thread.is_alive()


def kinds(official):
    """Return which event types came."""
    return {model.event_type for model in official.models}


@pytest.mark.parametrize("acks", Acks)
def test_trades_quotes_and_bars_arrive_as_its_own_models(acks):
    """What passes against the simulator would prove nothing about the real feed."""
    feed = SyntheticFeed(["AAPL", "BRK.B", "MSFT"], rate=500, event_types=["T", "Q", "A"])
    channels = ["T.AAPL", "Q.AAPL", "A.AAPL", "T.BRK.B"]
    with (
        Simulator([feed], Options(acks=acks, **OPTIONS)) as simulator,
        Official(simulator, channels) as official,
    ):
        official.wait(lambda o: kinds(o) == {"T", "Q", "A"} and any(m.symbol == "BRK.B" for m in o.models))
        (client,) = simulator.report().clients
    assert client.path == "/stocks"
    assert client.channels == tuple(sorted(channels))
    for model in official.models:
        assert {"T": EquityTrade, "Q": EquityQuote, "A": EquityAgg}[model.event_type] is type(model)
        assert f"{model.event_type}.{model.symbol}" in channels
    trade = next(model for model in official.models if isinstance(model, EquityTrade))
    assert trade.price > 0
    assert trade.id
    assert trade.timestamp > 1.6e12


def test_its_subscriptions_change_while_it_runs():
    """The simulator would confirm what it does not do."""
    feed = SyntheticFeed(["AAPL", "MSFT"], rate=500, event_types=["T"])
    with Simulator([feed], Options(**OPTIONS)) as simulator, Official(simulator, ["T.AAPL"]) as official:
        official.wait(lambda o: o.models)
        official.client.subscribe("T.MSFT")
        official.client.unsubscribe("T.AAPL")
        simulator.wait_for(lambda report: report.clients[0].channels == ("T.MSFT",))
        official.wait(lambda o: o.models[-1].symbol == "MSFT")


def test_it_comes_back_after_a_cut():
    """A restart of the real server could not be tried with the simulator."""
    feed = SyntheticFeed(["AAPL"], rate=500, event_types=["T"])
    with Simulator([feed], Options(**OPTIONS)) as simulator, Official(simulator, ["T.AAPL"]) as official:
        official.wait(lambda o: o.models)
        simulator.close_clients(1006)
        report = simulator.wait_for(lambda report: report.attempts == 2 and report.held == 1)
        before = len(official.models)
        official.wait(lambda o: len(o.models) > before + 10)
    assert report.gone[0].ended == "aborted"


def test_it_understands_a_refused_key():
    """`auth_failed` would not look like the real one."""
    with Simulator((), Options(**OPTIONS)) as simulator, Official(simulator, [], api_key="bad") as official:
        official.wait(lambda o: o.error)
    assert isinstance(official.error, AuthError)
    assert str(official.error) == "authentication failed"


def test_it_reads_fragments_and_answers_pings():
    """Frames would pass our own reader that no other client takes."""
    feed = SyntheticFeed(["AAPL"], rate=500, event_types=["T", "Q"])
    faults = Faults(fragments=3, pings=0.5)
    with Simulator([feed], Options(**OPTIONS), faults) as simulator, Official(simulator, ["T.*"]) as official:
        official.wait(lambda o: len(o.models) > 50)
        assert simulator.report().sent.pings > 0
