"""What it costs to be watched: the stream at full load with all that shows it, and without.

    python -m benchmarks.watched [--quick]

Watched means ``--http``, a scrape of ``/metrics`` and all that the live page asks for, once a second, and the
looking for what is late. One stream is watched for some seconds, then not, and so on, so that both halves of
a pair have the same seconds of the same machine. Who watches is a process on the sender's core. Beside the
ratio it tells what the threads that serve had of the CPU, which the machine's noise does not reach.
"""

import argparse
import contextlib
import http.client
import json
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from benchmarks.clients import config_for
from benchmarks.turns import CLIENT_CORE, ROOT, SAMPLE_S, SENDER_CORE, ask, blaster, open_shared, pin
from pipeline import build_pipeline
from pipeline.health import attribution
from pipeline.health.server import HttpServer

__all__ = ["QUICK", "THOROUGH", "Plan", "lines"]

SIZES: Final = (10, 100)
"""Events a frame."""
EVERY_S: Final = 1.0
TICKERS_EVERY: Final = 5
"""Polls of the page, as its script has it."""
START_S: Final = 20.0
SERVING: Final = ("tickbraid-http", "tickbraid-history", "AnyIO")
"""How the names of the threads begin that are there for who watches."""


class Plan(NamedTuple):
    """Says how long to measure."""

    pairs: int = 12
    warm_s: float = 1.0
    time_s: float = 2.0


THOROUGH: Final = Plan()
QUICK: Final = Plan(pairs=3, time_s=1.0)


def lines(plan: Plan = THOROUGH) -> Iterator[str]:
    """Measure and tell, a Markdown line at a time."""
    yield "One stream at full load, by turns watched and alone. Watched: a scrape of `/metrics` and all that"
    yield "the live page asks for, once a second, and the looking for what is late. CPU: of the process's."
    yield ""
    yield "| events a frame | ticks/s alone | watched / alone (≥ 0.98) | quartiles | CPU: serving | looking |"
    yield "|--:|--:|--:|--:|--:|--:|"
    for events in SIZES:
        with blaster("massive", events) as sender:
            options = json.dumps(plan._asdict())
            timeout_s = 2 * START_S + plan.pairs * 2 * (plan.time_s + 2 * plan.warm_s + 1)
            found = ask(
                "benchmarks.watched", "stream", f"{sender.port}", sender.shared, options, timeout_s=timeout_s
            )
        ratios = [watched / alone for alone, watched in found["rates"]]
        low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
        alone = statistics.median(rate for rate, _ in found["rates"])
        yield (
            f"| {events} | {alone:,.0f} | {middle:.3f} | {low:.3f} to {high:.3f} of {len(ratios)} pairs"
            f" | {found['serving']:.2%} | {found['looking']:.2%} |"
        )


# --- in the process of the stream


class _Looking:
    """Switches the looking for what is late on and off, which nobody else would, and takes its time."""

    def __init__(self) -> None:
        self.on = True
        self.spent_s = 0.0
        look = attribution.Attribution._look  # noqa: SLF001  # as above

        def timed(its: attribution.Attribution) -> None:
            if self.on:
                began_s = time.thread_time()
                look(its)
                self.spent_s += time.thread_time() - began_s
            else:
                its.start()

        attribution.Attribution._look = timed  # type: ignore[method-assign]  # noqa: SLF001  # as above


class _Window(NamedTuple):
    """Is what was measured: ticks/s, CPU of the process, of its threads that serve, and of looking, s."""

    rate: float
    cpu_s: float
    serving_s: float
    looking_s: float


def stream(port: str, shared_path: str, plan: Plan) -> dict[str, Any]:
    """Return the rates of each pair, and what the watching had of the CPU."""
    count = 0

    def on_tick(_: Any) -> None:
        nonlocal count
        count += 1

    looking = _Looking()
    rates, watched = [], []
    with (
        open_shared(shared_path) as shared,
        build_pipeline(config_for(int(port), 3, HTTP_PORT=0)) as running,
        _Told(lambda: count, shared),
    ):
        running.subscribe(on_tick)
        running.wait_connected()

        def measure(*, on: bool) -> _Window:
            looking.on = on
            with _watched(HttpServer(running)) if on else contextlib.nullcontext():
                time.sleep(plan.warm_s)
                at_s, before, cpu_s, looking_s = (
                    time.perf_counter(),
                    count,
                    time.process_time(),
                    looking.spent_s,
                )
                serving_s = _serving_s()
                time.sleep(plan.time_s)
                elapsed_s = time.perf_counter() - at_s
                return _Window(
                    (count - before) / elapsed_s,
                    time.process_time() - cpu_s,
                    _serving_s() - serving_s,
                    looking.spent_s - looking_s,
                )

        for number in range(plan.pairs):
            pair = {on: measure(on=on) for on in ((False, True) if number % 2 else (True, False))}
            rates.append((pair[False].rate, pair[True].rate))
            watched.append(pair[True])
        account = running.account()
        if account.dropped or account.rejected or account.imbalance:
            raise AssertionError(f"not every tick was delivered: {account}")
    cpu_s = sum(window.cpu_s for window in watched)
    return {
        "rates": rates,
        "serving": sum(window.serving_s for window in watched) / cpu_s,
        "looking": sum(window.looking_s for window in watched) / cpu_s,
    }


class _Told:
    """Tells the sender what was delivered, so that no more than its window is in flight.

    Args:
        read: returns the ticks delivered.
        shared: where the sender looks.
    """

    def __init__(self, read: Callable[[], int], shared: memoryview) -> None:
        self._read = read
        self._shared = shared
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="telling")

    def __enter__(self) -> None:
        self._shared[0] = 0
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(SAMPLE_S):
            self._shared[0] = self._read()


@contextlib.contextmanager
def _watched(server: HttpServer) -> Iterator[None]:
    """Serve, and have somebody look once a second; begin once they have seen everything."""
    with server:
        command = [sys.executable, "-m", "benchmarks.watched", "watcher", server.url.rpartition(":")[2]]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as watcher:
            try:
                if not (watcher.stdout and watcher.stdout.readline()):
                    raise RuntimeError("nobody could watch")
                yield
            finally:
                watcher.kill()


def _serving_s() -> float:
    """Return what the threads that are there for who watches had of the CPU until now, s."""
    total_ns = 0
    for thread in threading.enumerate():
        if thread.native_id and thread.name.startswith(SERVING):
            spent = Path(f"/proc/self/task/{thread.native_id}/schedstat").read_text(encoding="ascii")
            total_ns += int(spent.split()[0])
    return total_ns / 1e9


# --- in the process of who watches


def watcher(port: str) -> None:
    """Scrape, and ask as the page does, once a second until it is killed; say so after the first time."""
    connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=START_S)
    next_s, after_ns, newest, polls = time.monotonic(), 0, 0, 0

    def get(path: str) -> bytes:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{path}: {answer.status}")
        return body

    while True:
        get("/metrics")
        history = json.loads(get(f"/api/history?after_ns={after_ns}"))
        after_ns = history["at_ns"][-1] if history["at_ns"] else after_ns
        if history["newest_event"] > newest:
            get(f"/api/events?after={newest}")
            newest = history["newest_event"]
        if polls % TICKERS_EVERY == 0:
            get("/api/tickers")
        if not polls:
            print("watching", flush=True)
        polls += 1
        next_s += EVERY_S
        time.sleep(max(0.0, next_s - time.monotonic()))


def main() -> None:
    """Print the table, or be one of the processes that it takes."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="half a minute instead of three")
    parser.add_argument("role", nargs="*", help="of the processes that this starts")
    arguments = parser.parse_args()
    match arguments.role:
        case ["stream", port, shared, plan]:
            pin(CLIENT_CORE)
            print(json.dumps(stream(port, shared, Plan(**json.loads(plan)))), flush=True)
        case ["watcher", port]:
            pin(SENDER_CORE)
            watcher(port)
        case _:
            for line in lines(QUICK if arguments.quick else THOROUGH):
                print(line, flush=True)


if __name__ == "__main__":
    main()
