"""What the tests of the HTTP interface share: a stream on a simulator, and a client."""

import httpx
import pytest

from pipeline.embedded import RedisServer
from pipeline.health.server import HttpServer
from pipeline.massive.simulator import Options, Simulator, SyntheticFeed
from tests.integration.harness import KEY, Run, config_for

TOKEN = "t0ken-of-the-operator"
PASSWORD = "pa55word-of-redis"
HOMES = {"connection_1": ("AAPL", "MSFT"), "connection_2": ("NVDA", "TSLA")}


@pytest.fixture(scope="module")
def simulator():
    """Serve a market of four tickers without end."""
    feed = SyntheticFeed([t for home in HOMES.values() for t in home], rate=500, event_types=("T", "Q"))
    with Simulator([feed], Options(keys=frozenset({KEY}))) as running:
        yield running


@pytest.fixture(scope="module")
def redis_url():
    """Start a Redis server that wants a password."""
    with RedisServer.start("--requirepass", PASSWORD) as server:
        yield server.url.replace("//", f"//:{PASSWORD}@")


@pytest.fixture
def running(simulator):
    """Run a stream over two connections, all confirmed, with its HTTP server on a free port."""
    with Run(config_for(simulator, *HOMES.values(), HTTP_PORT=0)) as run, HttpServer(run.stream) as server:
        run.wait_confirmed(8)
        with httpx.Client(base_url=server.url) as client:
            yield run, client
