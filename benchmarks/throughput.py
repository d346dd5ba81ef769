"""Ticks a second from socket to a callback called tick by tick: ours against its peers, in one run.

    python -m benchmarks.throughput [--quick] [--only ours,limit]

All take turns at one sender, so that whatever else the machine does hits each; shown is the median of the
rounds. What is not installed is left out and named.
"""

import argparse
import contextlib
import statistics
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from benchmarks.clients import CLIENTS
from benchmarks.turns import blaster, take_turn

__all__ = ["QUICK", "THOROUGH", "Plan", "Rates", "run", "tables"]

SIZES: Final = (1, 10, 100)
"""Events a frame."""
TARGETS: Final = {
    ("ours", "official"): (20.0, 7.0, 5.0),
    ("ours", "limit"): (0.5, 0.5, 0.5),
    ("ours", "ours-1"): (0.95, 0.95, 0.95),
    ("batches", "limit"): (0.65, 0.65, 0.65),
}

Rates = dict[tuple[str, int], list[float]]
"""Ticks/s of each round, by client and events a frame."""


class Plan(NamedTuple):
    """Says how long to measure.

    Many short rounds rather than few long ones: for some seconds a shared machine is faster by half, and then
    slower again; a ratio holds where both of a pair fall into the same seconds.
    """

    rounds: int = 5
    warm_s: float = 0.3
    time_s: float = 0.6


THOROUGH: Final = Plan()
QUICK: Final = Plan(rounds=3)
QUICK_CLIENTS: Final = ("limit", "official", "ours", "ours-1", "batches")


def run(clients: Sequence[str], plan: Plan) -> tuple[Rates, dict[str, str]]:
    """Let clients take turns; return what each reached, and why some could not."""
    rates: Rates = {}
    failed: dict[str, str] = {}
    for events in SIZES:
        contenders = [name for name in clients if events in CLIENTS[name].sizes]
        with contextlib.ExitStack() as stack:
            dialects = dict.fromkeys(CLIENTS[name].dialect for name in contenders)
            senders = {dialect: stack.enter_context(blaster(dialect, events)) for dialect in dialects}
            # The first round is not counted: a sender makes what it sends when it is first asked for it.
            for number in range(plan.rounds + 1):
                for name in contenders:
                    if name in failed:
                        continue
                    try:
                        result = take_turn(name, senders[CLIENTS[name].dialect], plan.warm_s, plan.time_s)
                    except RuntimeError as error:
                        failed[name] = str(error).splitlines()[-1]
                        continue
                    rate, share = result["ticks"] / result["seconds"], result["cpu_s"] / result["seconds"]
                    if number:
                        rates.setdefault((name, events), []).append(rate)
                    turn = f"{events} a frame, round {number} of {plan.rounds}, {name}"
                    # Less than all of the core: somebody else is at work on this machine.
                    print(f"{turn}: {rate:,.0f} ticks/s, {share:.0%} of a core", file=sys.stderr, flush=True)
    return rates, failed


def tables(rates: Rates) -> list[str]:
    """Return the rates, and the ratios that are promised, in Markdown."""
    names = dict.fromkeys(name for name, _ in rates)
    return [
        "| ticks/s at events a frame | 1 | 10 | 100 |",
        "|---|--:|--:|--:|",
        *(
            _row(CLIENTS[name].title, (_cell(rates.get((name, events))) for events in SIZES))
            for name in names
        ),
        "",
        "| ratio | 1 | 10 | 100 |",
        "|---|--:|--:|--:|",
        *_ratios(rates, names),
    ]


def _ratios(rates: Rates, names: Mapping[str, None]) -> Iterable[str]:
    for (ours, peer), targets in TARGETS.items():
        if ours in names and peer in names:
            cells = (
                f"{_ratio(rates, ours, peer, events):.2f} (≥ {target:g})"
                for events, target in zip(SIZES, targets, strict=True)
            )
            yield _row(f"{CLIENTS[ours].title} / {CLIENTS[peer].title.partition(':')[0]}", cells)
    for peer in names:
        if "ours" in names and peer not in {"raw", "limit", "official", "ours", "ours-1", "batches"}:
            cells = (
                f"{_ratio(rates, 'ours', peer, events):.2f} (> 1)" if (peer, events) in rates else ""
                for events in SIZES
            )
            yield _row(f"{CLIENTS['ours'].title} / {CLIENTS[peer].title}", cells)


def _ratio(rates: Rates, one: str, other: str, events: int) -> float:
    """Compare what came one after the other in each round: the machine may be slower in the next."""
    pairs = zip(rates[one, events], rates[other, events], strict=True)
    return statistics.median(mine / theirs for mine, theirs in pairs)


def _cell(rates: Sequence[float] | None) -> str:
    """Return the median, and how far the rounds lie from it."""
    if not rates:
        return ""
    median = statistics.median(rates)
    return f"{median:,.0f} ({min(rates) / median - 1:+.0%} {max(rates) / median - 1:+.0%})"


def _row(title: str, cells: Iterable[str]) -> str:
    return f"| {title} | {' | '.join(cells)} |"


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a minute, the most important clients")
    parser.add_argument("--only", help=f"some of {','.join(CLIENTS)}")
    arguments = parser.parse_args()
    plan = QUICK if arguments.quick else THOROUGH
    clients = arguments.only.split(",") if arguments.only else QUICK_CLIENTS if arguments.quick else CLIENTS
    if unknown := set(clients) - set(CLIENTS):
        parser.error(f"no such client: {', '.join(sorted(unknown))}")
    rates, failed = run(tuple(clients), plan)
    print("\n".join(tables(rates)))
    for name, why in failed.items():
        print(f"left out: {name}: {why}")


if __name__ == "__main__":
    main()
