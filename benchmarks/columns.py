"""Columns against batches of ticks, from socket to subscriber, everything on: what they cost, in one run.

    python -m benchmarks.columns

All take turns at one sender, 100 events a frame over three connections. Shown is the least CPU time a tick of
the rounds, of the whole process: it is what other programs on the machine disturb least.
"""

import json
import math
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, Final

import pyarrow as pa

from benchmarks.clients import config_for
from benchmarks.table import print_table
from benchmarks.turns import CLIENT_CORE, Turn, ask, blaster, measure, pin
from pipeline import build_pipeline
from pipeline.columns import DEFAULT_COLUMNS
from pipeline.stream import TickStream

__all__ = ["lines"]

ROUNDS: Final = 3
EVENTS: Final = 100
WARM_S, TIME_S = 0.5, 1.5
BY_HAND: Final = ("ticker", "event_type", "price", "volume", "bid", "ask", "timestamp", "received_ns")

Count = Callable[[int], None]


def batches(stream: TickStream, count: Count) -> None:
    """Take the ticks as they flow."""
    stream.batches.subscribe(lambda batch: count(len(batch.ticks)))


def columns(stream: TickStream, count: Count) -> None:
    """Take the default columns."""
    stream.columns.subscribe(lambda record_batch: count(record_batch.num_rows))


def four_columns(stream: TickStream, count: Count) -> None:
    """Take what most computations take."""
    some = stream.columns_of("ticker", "price", "size", "event_ns")
    some.subscribe(lambda record_batch: count(record_batch.num_rows))


def by_hand(stream: TickStream, count: Count) -> None:
    """Make a table of each batch as one would without `stream.columns`, with four columns less."""

    def on_batch(batch: Any) -> None:
        rows = [{name: getattr(tick, name) for name in BY_HAND} for tick in batch.ticks]
        count(pa.RecordBatch.from_pylist(rows).num_rows)

    stream.batches.subscribe(on_batch)


CONTENDERS: Final = {
    "batches": (batches, "`stream.batches`"),
    "columns": (columns, f"`stream.columns`, {len(DEFAULT_COLUMNS)} columns"),
    "four_columns": (four_columns, "`stream.columns_of`, 4 columns"),
    "by_hand": (by_hand, f"by hand from batches, {len(BY_HAND)} columns"),
}


def contend(name: str, turn: Turn) -> None:
    """Run a contender until `measure` ends the process."""
    total = 0

    def count(ticks: int) -> None:
        nonlocal total
        total += ticks

    stream = build_pipeline(config_for(turn.port, 3))

    def finish() -> dict[str, Any]:
        account = stream.account()
        if account.deduplicated + account.dropped + account.rejected + abs(account.imbalance):
            raise AssertionError(f"not every tick was delivered once: {account}")
        return {}

    measure(turn, lambda: total, finish, tells=True)
    CONTENDERS[name][0](stream, count)
    threading.Event().wait()


def lines() -> Iterator[str]:
    """Measure and tell, a Markdown line at a time."""
    least: dict[str, float] = {}
    with blaster("massive", EVENTS) as sender:
        turn = json.dumps(Turn(*sender, WARM_S, TIME_S)._asdict())
        for number in range(ROUNDS + 1):
            for name in CONTENDERS:
                said = ask("benchmarks.columns", name, turn, timeout_s=30)
                if number:  # at first the sender still makes what it sends
                    least[name] = min(least.get(name, math.inf), said["cpu_s"] / said["ticks"])
    yield f"| {EVENTS} events a frame | CPU µs a tick | throughput to that of batches |"
    yield "|---|--:|--:|"
    for name, cost in least.items():
        yield f"| {CONTENDERS[name][1]} | {cost * 1e6:.2f} | {least['batches'] / cost:.2f} |"


def main() -> None:
    """Run all, or as a contender one, and print."""
    if len(sys.argv) == 3:
        pin(CLIENT_CORE)
        contend(sys.argv[1], Turn(**json.loads(sys.argv[2])))
        return
    print_table(__doc__, lines())


if __name__ == "__main__":
    main()
