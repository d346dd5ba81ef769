"""What is delivered when more comes than can be handled: by a feed that holds back, and by some that do not.

    python -m benchmarks.overload [--rounds 3] [--policies conflate,block]

Rows of one round come one after the other, each in a process of its own: a sender that keeps to what the
client says it has delivered (the capacity), one that sends as fast as TCP takes it, and one that makes its
ticks when they are due, at multiples of the capacity just measured, keeps so many MB of them for each
connection, and cuts off who is further behind. Goodput is what was delivered of the burst, at last, by what
could have been delivered while it lasted; from the sender without an end, while we looked.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from benchmarks.clients import config_for
from benchmarks.latency import peak_bytes
from benchmarks.turns import CLIENT_CORE, UNLIMITED, ask, blaster, open_shared, pin, take_turn
from pipeline import build_pipeline
from pipeline.status import Disconnected
from pipeline.ticks import Trade

__all__ = ["lines"]

EVENTS: Final = 10
CHUNK_BYTES: Final = 16 * 1024
TIME_S: Final = 5.0
SETTLE_S: Final = 60.0
SERVER_BYTES: Final = 256 * 1024 * 1024
"""What the sender keeps for a connection: so much is behind after 5 s at 2 times the capacity."""
POLICIES: Final = ("conflate", "block")
TOLD: Final = {"MASSIVE_SERVER_BUFFER_BYTES": SERVER_BYTES}


class Row(NamedTuple):
    """Says how a sender overloads us.

    Args:
        title: of the row.
        times: the capacity that is offered; 0: as much as TCP takes.
        told: MASSIVE_SERVER_BUFFER_BYTES is set to what the sender keeps.
    """

    title: str
    times: float
    told: bool = False


ROWS: Final = (
    Row("as fast as TCP takes it", 0),
    Row("1.5 times", 1.5),
    Row("2 times", 2.0),
    Row("1.5 times, its buffer known", 1.5, told=True),
    Row("2 times, its buffer known", 2.0, told=True),
)


def lines(rounds: int = 3, policies: tuple[str, ...] = POLICIES) -> Iterator[str]:
    """Measure and tell, a Markdown line at a time."""
    yield "| sender, policy | ticks/s delivered | of the capacity | trades delivered | cut off | peak, MB |"
    yield "|---|--:|--:|--:|--:|--:|"
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    capacities: list[float] = []
    for number in range(rounds):
        with blaster("massive", EVENTS) as sender:
            take_turn("ours", sender, 0.3, 0.3)  # the sender still makes what it sends
            turn = take_turn("ours", sender, 1.0, 2.0)
        capacity = turn["ticks"] / turn["seconds"]
        capacities.append(capacity)
        for row in ROWS:
            for policy in policies:
                result = _measure(row, policy, capacity)
                found.setdefault((row.title, policy), []).append(result)
                told = f"round {number + 1}, {row.title}, {policy}: {result}"
                print(told, file=sys.stderr, flush=True)
    yield f"| holds back (the capacity) | {statistics.median(capacities):,.0f} | 1.00 | all | 0 | |"
    for (title, policy), results in found.items():
        yield _line(f"{title}, `{policy}`", results)


def _line(title: str, results: list[dict[str, Any]]) -> str:
    goodputs = [result["goodput"] for result in results]
    trades = min(result["trades"] / max(result["trades_sent"], 1) for result in results)
    return (
        f"| {title} | {statistics.median(result['ticks_per_s'] for result in results):,.0f}"
        f" | {statistics.median(goodputs):.2f} ({min(goodputs):.2f} to {max(goodputs):.2f}) | {trades:.1%}"
        f" | {sum(result['cut_off'] for result in results)}"
        f" | {max(result['peak_bytes'] for result in results) / 1e6:,.0f} |"
    )


def _measure(row: Row, policy: str, capacity: float) -> dict[str, Any]:
    options = [f"--chunk-bytes={CHUNK_BYTES}"]
    if row.times:
        options += [f"--phases={TIME_S}:{row.times * capacity}", f"--buffer-bytes={SERVER_BYTES}"]
    with blaster("massive", EVENTS, *options) as sender:
        config = TOLD if row.told else {}
        turn = json.dumps([sender.port, sender.shared, policy, config])
        result = ask("benchmarks.overload", "--client", turn, timeout_s=TIME_S + SETTLE_S + 30)
    result["goodput"] = result["ticks_per_s"] / capacity
    return result


def overloaded(port: int, shared_path: str, policy: str, more: dict[str, Any]) -> dict[str, Any]:
    """Return what came of an overload: rates while it lasted, counts until nothing waited any more."""
    ticks = trades = 0

    def on_tick(tick: Any) -> None:
        nonlocal ticks, trades
        ticks += 1
        if type(tick) is Trade:
            trades += 1

    disconnects: list[object] = []
    with open_shared(shared_path) as shared:
        shared[0] = UNLIMITED
        with build_pipeline(config_for(port, 3, SUBSCRIBER_OVERFLOW=policy, **more)) as stream:
            stream.status.subscribe(
                lambda event: disconnects.append(event) if isinstance(event, Disconnected) else None
            )
            stream.subscribe(on_tick)
            stream.wait_connected()
            while not ticks:
                time.sleep(0.001)
            began_s, before = time.perf_counter(), ticks
            while time.perf_counter() - began_s < TIME_S and not shared[3]:
                time.sleep(0.01)
            seconds, delivered = time.perf_counter() - began_s, ticks - before
            sent = shared[1] / seconds
            deadline_s = time.monotonic() + SETTLE_S
            while shared[3] and stream.account().queued and time.monotonic() < deadline_s:
                time.sleep(0.1)
            account = stream.account()
            return {
                "ticks_per_s": (ticks - before if shared[3] else delivered) / seconds,
                "sent_per_s": sent,
                "trades": trades,
                "trades_sent": shared[2],
                "sent": shared[1],
                "account": str(account),
                "cut_off": shared[4],
                "disconnects": len(disconnects),
                "peak_bytes": peak_bytes(),
            }


def main() -> None:
    """Print all, or, as a client, what one process measured."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--policies", default=",".join(POLICIES))
    parser.add_argument("--client", help="for the processes that this starts")
    arguments = parser.parse_args()
    if arguments.client:
        pin(CLIENT_CORE)
        print(json.dumps(overloaded(*json.loads(arguments.client))), flush=True)
        return
    for line in lines(arguments.rounds, tuple(arguments.policies.split(","))):
        print(line, flush=True)


if __name__ == "__main__":
    main()
