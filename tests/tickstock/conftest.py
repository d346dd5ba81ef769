import pytest

from pipeline.massive.simulator import Options, Simulator, SyntheticFeed
from tests.tickstock.harness import KEY, TICKERS, Heard


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
