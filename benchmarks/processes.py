"""Ticks a second to a callback, or as columns to the parent, of a process a connection: two against one.

    python -m benchmarks.processes [--rounds 5] [--events 1,10,100]

Each connection has a sender of its own, which keeps to what may be in flight, so nothing is dropped. Each
process is kept on a core of its own, from the last one downwards: threads of one Python process only hinder
each other on two. All senders are on the first core: on two cores two processes have somewhat less than
both. Columns are the default ones, taken by one subscriber: of two connections in this process, or of two
processes, where three share two cores. Rounds alternate; shown are medians, and the median of the ratios.
"""

import argparse
import contextlib
import json
import os
import statistics
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from benchmarks.clients import config_for
from benchmarks.templates import TICKERS
from benchmarks.turns import SAMPLE_S, START_TIMEOUT_S, ask, blaster, open_shared, pin
from pipeline import build_pipeline
from pipeline.stream import TickStream

__all__ = ["lines", "on_tick"]

SHARED: Final = "TICKBRAID_BENCHMARK_SHARED"
"""Names the files in which the senders are told what was delivered, in the order of the connections."""
WARM_S: Final = 1.0
MEASURE_S: Final = 2.0


class Execution(NamedTuple):
    """Says how ticks are brought to whom.

    Args:
        connections: how many; each has a process and a sender, or all one.
        processes: whether they have one each.
        columns: to a subscriber of columns here, else to a callback where they are decoded.
    """

    connections: int
    processes: bool
    columns: bool


EXECUTIONS: Final = {
    "threads": Execution(2, processes=False, columns=False),
    "one process": Execution(1, processes=True, columns=False),
    "two processes": Execution(2, processes=True, columns=False),
    "columns, threads": Execution(2, processes=False, columns=True),
    "columns, two processes": Execution(2, processes=True, columns=True),
}
RATIOS: Final = (
    ("two processes", "one process", 1.7),
    ("columns, two processes", "columns, threads", 1.4),
)
"""What is held against what, and the target."""


def _pin_me(paths: Sequence[str]) -> None:
    """Take the next core that no process of this turn has; the threads to come inherit it."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
    for path, core in zip(paths, reversed(cores * len(paths)), strict=False):
        with contextlib.suppress(FileExistsError):
            Path(f"{path}.taken").touch(exist_ok=False)
            pin(core)
            return


if SHARED in os.environ:  # imported by a process that is measured
    _pin_me(json.loads(os.environ[SHARED]))


class _Counter:
    calls = 0


def on_tick(tick: Any) -> None:
    """Count; the first tick tells which connection this process has."""
    _Counter.calls += 1
    if _Counter.calls == 1:
        paths = json.loads(os.environ[SHARED])
        path = paths[TICKERS.index(tick.ticker) % len(paths)]
        threading.Thread(target=_tell, args=[path], daemon=True).start()


def _tell(path: str) -> None:
    """Tell the sender how often the callback was called."""
    with open_shared(path) as shared:
        while True:
            shared[0] = _Counter.calls
            time.sleep(SAMPLE_S)


def count_columns(stream: TickStream, cells: Sequence[memoryview]) -> None:
    """Tell each sender how many of its ticks a subscriber of columns was given."""

    def on_next(columns: Any) -> None:
        number = int(
            columns["connection"][0].as_py().rpartition("_")[2]
        )  # a record batch of a process has one
        cells[(number - 1) % len(cells)][0] += columns.num_rows

    stream.columns.subscribe(on_next)


def rate(execution: str, events: int) -> float:
    """Return the ticks/s that all callbacks together were given, or the subscriber of columns."""
    connections, processes, columns = EXECUTIONS[execution]
    senders = connections if processes else 1
    with contextlib.ExitStack() as stack:
        blasters = [stack.enter_context(blaster("massive", events)) for _ in range(senders)]
        for each in blasters:
            stack.callback(Path(f"{each.shared}.taken").unlink, missing_ok=True)
        cells = [stack.enter_context(open_shared(each.shared)) for each in blasters]
        os.environ[SHARED] = json.dumps([each.shared for each in blasters])
        config = config_for(blasters[0].port, connections) | {
            f"WEBSOCKET_CONNECTION_{number}_URL": f"ws://127.0.0.1:{each.port}/stocks"
            for number, each in enumerate(blasters, start=1)
        }
        config |= {
            "WEBSOCKET_CONNECTION_2_URL": f"ws://127.0.0.1:{blasters[-1].port}/stocks",
            "WEBSOCKET_EXECUTION": "processes" if processes else "threads",
            "TICK_CALLBACK": "" if columns else "benchmarks.processes:on_tick",
        }
        with build_pipeline(config) as stream:
            if columns:
                count_columns(stream, cells)
            if processes or not columns:
                stream.start()
            deadline_s = time.monotonic() + START_TIMEOUT_S
            while not all(cell[0] for cell in cells):
                if time.monotonic() > deadline_s:
                    raise RuntimeError(f"{execution}: not every callback is called")
                time.sleep(SAMPLE_S)
            time.sleep(WARM_S)
            began_s, began = time.perf_counter(), sum(cell[0] for cell in cells)
            time.sleep(MEASURE_S)
            ticks, seconds = sum(cell[0] for cell in cells) - began, time.perf_counter() - began_s
            account = stream.account()
        if account.deduplicated or account.dropped or account.rejected or account.imbalance:
            raise RuntimeError(f"{execution}: not every tick was delivered once: {account}")
        return ticks / seconds


def lines() -> Iterator[str]:
    """Measure and tell, a Markdown line at a time: what a report has the time for."""
    yield "Threads and processes, ticks/s; three processes share two cores where columns come from two."
    yield ""
    yield from compare((100,), rounds=3)


def compare(sizes: Sequence[int], rounds: int) -> list[str]:
    """Let all take turns, and return a table in Markdown."""
    lines = [
        " | ".join(
            ["| events a frame", *EXECUTIONS, *(f"{a} / {b} (≥ {target})" for a, b, target in RATIOS), ""]
        ),
        "|--:" * (len(EXECUTIONS) + len(RATIOS) + 1) + "|",
    ]
    for events in sizes:
        rates: dict[str, list[float]] = {name: [] for name in EXECUTIONS}
        for number in range(rounds):
            for name, its in rates.items():
                answer = ask("benchmarks.processes", "--turn", name, "--events", str(events), timeout_s=60)
                its.append(answer["ticks_per_s"])
                turn = f"{events} a frame, round {number + 1} of {rounds}, {name}"
                print(f"{turn}: {its[-1]:,.0f} ticks/s", file=sys.stderr, flush=True)
        cells = [f"{statistics.median(its):,.0f}" for its in rates.values()]
        for many, single, _ in RATIOS:
            ratios = [two / one for one, two in zip(rates[single], rates[many], strict=True)]
            cells.append(f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
        lines.append(f"| {events} | {' | '.join(cells)} |")
    return lines


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--events", default="1,10,100", help="of a frame")
    parser.add_argument("--turn", choices=EXECUTIONS, help="one turn, and its figure as JSON")
    arguments = parser.parse_args()
    if arguments.turn:
        print(json.dumps({"ticks_per_s": rate(arguments.turn, int(arguments.events))}))
        return
    print("\n".join(compare([int(events) for events in arguments.events.split(",")], arguments.rounds)))


if __name__ == "__main__":
    main()
