"""Lateness over real sockets: a line that grows slow, and the way to Redis and back."""

import socket
import threading

from pipeline.embedded import RedisServer
from pipeline.massive.simulator import Options, Simulator, SyntheticFeed
from pipeline.status import Disconnected, FallingBehind
from tests.conftest import wait_until
from tests.integration.harness import KEY, Gate, Run, config_for

RATE = 2000
SERVER_BYTES = 600_000
"""The server has some 150 kB/s too many for the slow line, so it takes some seconds until it cuts."""
SLOW_BYTES_PER_S = 100_000
SLOT_S = 0.01


class Line(Gate):
    """A line that lets a part of the traffic through while ``slow`` is set."""

    def __init__(self, port):
        self.slow = threading.Event()
        self._never = threading.Event()
        super().__init__(port)

    def _pump(self, source, target):
        # Small buffers, as what does not come through must stay with the server.
        source.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        super()._pump(_Slowed(source, self), target)


class _Slowed:
    """Reads a socket as fast as the line is."""

    def __init__(self, sock, line):
        self._sock = sock
        self._line = line

    def recv(self, size_bytes):
        if not self._line.slow.is_set():
            return self._sock.recv(size_bytes)
        self._line._never.wait(SLOT_S)
        return self._sock.recv(int(SLOW_BYTES_PER_S * SLOT_S))

    def __getattr__(self, name):
        return getattr(self._sock, name)


def test_the_warning_comes_before_the_server_cuts_us_off(monkeypatch):
    """The first that an operator hears of a slow line would be that everything is lost."""
    monkeypatch.setattr("pipeline.health.attribution.EVERY_S", 0.2)
    options = Options(keys=frozenset({KEY}), slow_consumer_bytes=SERVER_BYTES, kernel_buffer_bytes=8192)
    with Simulator([SyntheticFeed(["AAPL", "MSFT"], rate=RATE)], options) as simulator:
        line = Line(simulator.port)
        config = config_for(simulator, ["AAPL", "MSFT"], MASSIVE_WEBSOCKET_URL=line.url)
        with Run(config | {"MASSIVE_SERVER_BUFFER_BYTES": SERVER_BYTES}) as run:
            wait_until(lambda: run.count > RATE, 15, "a second of ticks")
            line.slow.set()
            (cut,) = wait_until(lambda: run.of(Disconnected), 40, "the cut")
            warnings = run.of(FallingBehind)
            assert warnings, "it was cut off without a warning"
            warning = warnings[-1]
            assert (warning.connection, warning.where) == ("connection_1", "server")
            assert warning.at_ns < cut.at_ns
            assert warning.backlog_s >= 0.5
            assert warning.overflow_in_s > 0
            line.slow.clear()
            wait_until(lambda: not run.stream.health()["falling_behind"], 15, "the end of it")
        line.shut()
        report = simulator.report()
    assert report.sent.slow_kills == 1


def test_the_way_to_redis_and_back_is_a_stage_of_its_own():
    """Nobody could tell a slow Redis from a slow pipeline."""
    feed = SyntheticFeed(["AAPL"], rate=2000, count=500)
    with RedisServer.start() as server, Simulator([feed], Options(keys=frozenset({KEY}))) as simulator:
        config = config_for(simulator, ["AAPL"], REDIS_ENABLED=True, REDIS_URL=server.url)
        with Run(config) as run:
            wait_until(simulator.finished.is_set, 15, "the end of the feed")
            wait_until(lambda: run.stream.account("redis").delivered > 100, 15, "ticks in Redis")
        health, account = run.stream.health(), run.stream.account("redis")
        stages = health["latency_ms"]
        arrived = stages["feed"]["connection_1"]
        assert arrived["count"] + arrived["negative"] == account.received
        assert stages["delivered"]["redis"]["count"] == account.received
        assert stages["sink"]["redis"]["count"] == 2 * account.delivered, "there are two channels"
        assert stages["sink"]["redis"]["max"] > 0
        assert set(health["clock"]) == {
            "offset_at_most_ms",
            "ticks",
            "negative",
            "by_bars",
            "kernel_error_ms",
        }
