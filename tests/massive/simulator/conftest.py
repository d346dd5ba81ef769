import pytest

from pipeline.massive.simulator import Simulator
from tests.massive.simulator.clients import Reader


@pytest.fixture
def simulate():
    """Start simulators, and stop them after the test."""
    started = []

    def start(feeds=(), options=None, faults=None):
        simulator = Simulator(feeds, options, faults).start()
        started.append(simulator)
        return simulator

    yield start
    for simulator in started:
        simulator.stop()


@pytest.fixture
def connect():
    """Connect readers to a simulator, and close them after the test."""
    readers = []

    def open_reader(simulator, **options):
        reader = Reader(simulator.url, **options)
        readers.append(reader)
        return reader

    yield open_reader
    for reader in readers:
        reader.close()
