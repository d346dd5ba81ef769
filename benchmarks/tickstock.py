"""TickStock's five targets, each beside what is measured: the adapter and its callback over real sockets.

    python -m benchmarks.tickstock [--seconds 60]

The simulated Massive is a process of its own, so CPU time and memory are the pipeline's, with the conversion
to `TickData` and a callback that counts.
"""

import argparse
import itertools
import logging
import resource
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from operators.histogram import LatencyHistogram
from pipeline import TickData
from pipeline.cli.simulator_process import SimulatorProcess
from pipeline.tickstock import RealTimeDataAdapter

TICKERS: Final = 300
RATE: Final = 1000
ROUNDS: Final = 3
FULL_SPEED_TICKS: Final = 100_000
DEADLINE_S: Final = 60.0


def main() -> None:
    """Run all and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="length of the steady run (default 60)")
    seconds = parser.parse_args().seconds
    logging.disable()  # that a simulator has ended is no news here
    print(f"{'':52} {'measured':>12} {'target':>10} {'expected':>10}")
    ready_s = statistics.median(measure_ready() for _ in range(ROUNDS))
    row("three connections ready, confirmed", f"{ready_s * 1000:.0f} ms", "< 15 s", "< 1 s")
    rate, p50_ms, p99_ms, cpu, memory_mb = measure_steady(seconds)
    steady = f"{TICKERS} tickers, {rate:,.0f} ticks/s, {seconds:.0f} s"
    row(f"{steady}: socket to callback, p99", f"{p99_ms:.2f} ms", "< 100 ms", "< 5 ms")
    row("  the same, p50", f"{p50_ms:.2f} ms", "", "")
    row("  memory, peak", f"{memory_mb:.0f} MB", "< 200 MB", "")
    row("  CPU of one core", f"{cpu:.1%}", "< 10 %", "")
    one, three = [], []
    for _ in range(ROUNDS):  # they take turns, so that whatever else the machine does hits both
        one.append(measure_throughput(1))
        three.append(measure_throughput(3))
    ratio = statistics.median(three) / statistics.median(one)
    rates = f"{statistics.median(three):,.0f} : {statistics.median(one):,.0f} ticks/s"
    row(f"throughput, three : one, {rates}", f"{ratio:.2f}", ">= 1", "")


def row(name: str, measured: str, target: str, expected: str) -> None:
    """Print one line of the table."""
    print(f"{name:52} {measured:>12} {target:>10} {expected:>10}", flush=True)


def measure_ready() -> float:
    """Return the seconds until three connections are up and all their channels confirmed."""
    with feed("--rate", "1", "--start-after", "3") as url:
        begun_s = time.perf_counter()
        with running(url, 3, ignore):
            return time.perf_counter() - begun_s


def measure_steady(seconds: float) -> tuple[float, float, float, float, float]:
    """Return ticks/s, p50 and p99 from socket to callback (ms), CPU of a core, and peak memory (MB)."""
    latency = LatencyHistogram()

    def on_tick(tick: TickData) -> None:
        latency.record(time.time_ns() - round((tick.processed_at or 0.0) * 1e9))

    with feed("--rate", str(RATE), "--start-after", "3") as url, running(url, 3, on_tick):
        time.sleep(1)  # let the start be over
        before, begun_s, cpu_s = latency.snapshot().count, time.perf_counter(), time.process_time()
        time.sleep(seconds)
        took_s, used_s = time.perf_counter() - begun_s, time.process_time() - cpu_s
        figures = latency.snapshot()
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # Linux counts KiB
    p50_ms, p99_ms = figures.percentile(50) / 1e6, figures.percentile(99) / 1e6
    return (figures.count - before) / took_s, p50_ms, p99_ms, used_s / took_s, peak_mb


def measure_throughput(connections: int) -> float:
    """Return ticks/s from full speed sockets to the callback."""
    arguments = ("--rate", "inf", "--count", str(FULL_SPEED_TICKS), "--start-after", str(connections))
    done = threading.Event()
    numbers = itertools.count(1)

    def on_tick(_: TickData) -> None:
        if next(numbers) == FULL_SPEED_TICKS:
            done.set()

    with feed(*arguments) as url:
        begun_s = time.perf_counter()
        with running(url, connections, on_tick):
            if not done.wait(DEADLINE_S):
                raise TimeoutError(f"{FULL_SPEED_TICKS:,} ticks did not come within {DEADLINE_S:g} s")
            return FULL_SPEED_TICKS / (time.perf_counter() - begun_s)


@contextmanager
def running(url: str, connections: int, on_tick: Callable[[TickData], None]) -> Iterator[None]:
    """Run an adapter with so many connections."""
    adapter = RealTimeDataAdapter(configure(url, connections), on_tick, ignore)
    try:
        if not adapter.connect(tickers()):
            raise ConnectionError("the adapter did not connect")
        yield
    finally:
        adapter.disconnect()


@contextmanager
def feed(*arguments: str) -> Iterator[str]:
    """Yield the address of a simulated feed of quotes: 300 channels fit into one request."""
    with SimulatorProcess("--tickers", ",".join(tickers()), "--types", "Q", *arguments) as simulator:
        yield simulator.url


def configure(url: str, connections: int) -> dict[str, Any]:
    """Return TickStock's configuration for so many connections, over which tickers are dealt out."""
    return {
        "USE_MASSIVE_API": True,
        "MASSIVE_API_KEY": "any",
        "MASSIVE_WEBSOCKET_URL": url,
        "MASSIVE_EVENT_TYPES": "Q",
        "USE_MULTI_CONNECTION": connections > 1,
        "WEBSOCKET_ROUTING_STRATEGY": "round-robin",
        "SUBSCRIBER_OVERFLOW": "block",
    } | {f"WEBSOCKET_CONNECTION_{number}_ENABLED": True for number in range(1, connections + 1)}


def tickers() -> list[str]:
    """Return made-up tickers."""
    return [f"S{number:03}" for number in range(TICKERS)]


def ignore(*_: object) -> None:
    """Take a tick, or a status."""


if __name__ == "__main__":
    main()
