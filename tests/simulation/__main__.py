"""Runs worlds from seeds: `python -m tests.simulation --seed N --minutes M`.

Without a seed one after the other is run until one fails. Of one that fails come the seed, the promise that
was broken first, and the smallest schedule that still breaks it, to be pasted into a test.
"""

import argparse
import logging
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import count, islice
from typing import Final

from tests.simulation.network import SITES
from tests.simulation.phases import PHASES
from tests.simulation.schedule import OWN_FAULTS, REDIS_FAULTS, SERVER_FAULTS, Schedule, schedule_of
from tests.simulation.shrink import shrink
from tests.simulation.verdicts import Statement, Verdict, first
from tests.simulation.world import Outcome, judge_world

__all__ = ["main"]

SHOWN: Final = 12
"""Verdicts of a run that are told."""
WORLDS_A_PROCESS: Final = 300
"""Then another one goes on: the threads of a broken world stay for good, with all that they hold."""
DAYS_MINUTES: Final = 24 * 60


def main(arguments: list[str] | None = None) -> int:
    """Run what the command line asks for; return 1 where a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="run this one")
    parser.add_argument("--seeds", metavar="A:B", help="run these, all of them, whatever fails")
    parser.add_argument("--minutes", type=float, default=3.0, help="how long things go wrong, virtual time")
    parser.add_argument("--days", type=float, help="instead: so long, in a sparse market with nights")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--trace", action="store_true", help="tell everything that could be observed")
    parser.add_argument("--table", action="store_true", help="tell what faults did, and in which phase")
    parser.add_argument("--no-shrink", action="store_true", help="leave a failing schedule as it is")
    options = parser.parse_args(arguments)
    logging.disable(logging.CRITICAL)
    if options.seed is not None:
        return _run_one(_schedule(options.seed, options), trace=options.trace, small=not options.no_shrink)
    if options.seeds is None:
        return _run_until_one_fails(options)
    begin, _, end = options.seeds.partition(":")
    return _run_all(range(int(begin), int(end)), options)


def _schedule(seed: int, options: argparse.Namespace) -> Schedule:
    seconds = (options.days * DAYS_MINUTES if options.days else options.minutes) * 60
    return schedule_of(seed, seconds, days=bool(options.days))


def _run_one(schedule: Schedule, *, trace: bool, small: bool) -> int:
    outcome = judge_world(schedule, log=trace)
    for at_ns, *what in outcome.lines:
        print(f"{at_ns / 1e9:12.6f}", *what)
    print(
        f"seed {schedule.seed}: {outcome.made:,} ticks made, {outcome.missed:,} of them on no socket,"
        f" {outcome.delivered:,} deliveries; trace {outcome.digest}"
    )
    return _tell(outcome, small=small)


def _tell(outcome: Outcome, *, small: bool) -> int:
    broken = first(outcome.verdicts)
    if broken is None:
        return 0
    schedule = outcome.schedule
    print(f"seed {schedule.seed} breaks {len(outcome.verdicts)} promises, the first of them:")
    for verdict in outcome.verdicts[:SHOWN]:
        print("   ", _words(verdict, schedule))
    if small:
        began_s = time.monotonic()
        smallest, runs = shrink(schedule, lambda candidate: _breaks(candidate, broken.statement))
        took_s = time.monotonic() - began_s
        print(
            f"{len(schedule.faults)} faults shrunk to {len(smallest.faults)} in {runs} runs, {took_s:.0f} s:"
        )
        for verdict in judge_world(smallest).verdicts[:SHOWN]:
            print("   ", _words(verdict, smallest))
        schedule = smallest
    print(schedule)
    return 1


def _words(verdict: Verdict, schedule: Schedule) -> str:
    at_s = (verdict.at_ns - schedule.world.start_ns) / 1e9
    return f"{at_s:.3f} s: NOT {verdict.statement}: {verdict.detail}"


def _breaks(schedule: Schedule, statement: Statement) -> bool:
    return any(verdict.statement is statement for verdict in judge_world(schedule).verdicts)


def _run_until_one_fails(options: argparse.Namespace) -> int:
    began_s = time.monotonic()
    for done, outcome in enumerate(_outcomes(count(int(time.time()) * 1000), options)):
        if outcome.verdicts:
            print()
            return _tell(outcome, small=not options.no_shrink)
        print(f"\r{done + 1} seeds, {time.monotonic() - began_s:.0f} s", end="", flush=True)
    return 0


def _run_all(seeds: Iterable[int], options: argparse.Namespace) -> int:
    began_s = time.monotonic()
    effects: Counter[tuple[str, str]] = Counter()
    pairs: Counter[tuple[str, str]] = Counter()
    failed: list[Outcome] = []
    made = delivered = missed = runs = 0
    for outcome in _outcomes(seeds, options):
        runs += 1
        effects.update(outcome.effects)
        pairs.update(outcome.pairs)
        made, delivered, missed = made + outcome.made, delivered + outcome.delivered, missed + outcome.missed
        if outcome.verdicts:
            failed.append(outcome)
            broken = outcome.verdicts[0]
            print(f"seed {outcome.schedule.seed}:", _words(broken, outcome.schedule), flush=True)
    if options.table:
        _tell_effects(effects)
        _tell_pairs(pairs)
    print(
        f"{runs} seeds, {len(failed)} of them break a promise; {made:,} ticks made, {missed:,} on no socket,"
        f" {delivered:,} deliveries; {time.monotonic() - began_s:.0f} s"
    )
    counts = Counter(verdict.statement.name for outcome in failed for verdict in outcome.verdicts[:1])
    if counts:
        print(
            "the first promise broken:", ", ".join(f"{name} {times}" for name, times in counts.most_common())
        )
    return bool(failed)


def _outcomes(seeds: Iterable[int], options: argparse.Namespace) -> Iterator[Outcome]:
    schedules = (_schedule(seed, options) for seed in seeds)
    if options.jobs == 1:
        yield from map(judge_world, schedules)
        return
    while batch := list(islice(schedules, WORLDS_A_PROCESS * options.jobs)):
        with ProcessPoolExecutor(options.jobs, initializer=_be_silent) as pool:
            yield from pool.map(judge_world, batch, chunksize=4)


def _be_silent() -> None:
    logging.disable(logging.CRITICAL)


def _tell_effects(effects: Counter[tuple[str, str]]) -> None:
    print("what each fault did, and how often:")
    for fault in (*SERVER_FAULTS, *OWN_FAULTS, *REDIS_FAULTS, *SITES):
        did = {what: times for (kind, what), times in effects.items() if kind == fault}
        words = ", ".join(f"{what} {times:,}" for what, times in sorted(did.items())) or "NOTHING"
        print(f"  {fault:22} {words}")


def _tell_pairs(pairs: Counter[tuple[str, str]]) -> None:
    print("in which phase of the pool a fault hit something, and how often:")
    print(" " * 24 + "".join(f"{phase:>13}" for phase in PHASES))
    for fault in (*SERVER_FAULTS, *OWN_FAULTS, *REDIS_FAULTS):
        print(f"  {fault:22}" + "".join(f"{pairs[fault, phase] or '-':>13}" for phase in PHASES))


if __name__ == "__main__":
    sys.exit(main())
