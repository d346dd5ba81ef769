import pytest

from pipeline.massive.simulator import Options, Simulator, SyntheticFeed
from pipeline.tickstock import MassiveWebSocketClient
from tests.tickstock.harness import KEY, TICKERS, Heard, config_of


@pytest.fixture
def simulator():
    """A server with a steady market of nine tickers."""
    feed = SyntheticFeed(TICKERS, rate=1000, event_types=("T", "Q"))
    with Simulator([feed], Options(keys=frozenset({KEY}))) as server:
        yield server


@pytest.fixture
def heard():
    """Callbacks that remember."""
    return Heard()


@pytest.fixture
def connected(request):
    """Connect a face, and disconnect it at the end."""
    faces = []

    def connect(face, *arguments):
        faces.append(face)
        assert face.connect(*arguments)
        return face

    yield connect
    for face in faces:
        face.disconnect()


@pytest.fixture
def make_client(simulator, heard):
    """Make a client of the simulator, with more configuration."""
    return lambda **more: MassiveWebSocketClient(KEY, heard.tick, heard.status, config_of(simulator, **more))


@pytest.fixture
def client(make_client, connected):
    """A client that is connected."""
    return connected(make_client())
