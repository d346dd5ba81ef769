"""The hunt for a breakage: seed after seed, until a world finds it."""

import logging
import multiprocessing
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from tests.simulation.breaking import Breakage
from tests.simulation.schedule import schedule_of
from tests.simulation.verdicts import Statement, Verdict
from tests.simulation.world import judge_world

__all__ = ["Find", "Trial", "hunt", "try_seed"]

SECONDS: Final = 180.0
HUNG_S: Final = 120.0
"""Real time after which a world counts as one that never ends."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of a seed with a breakage.

    Args:
        seed: that was run.
        verdicts: promises broken that the product keeps when it is whole, the first of each.
        passed: how often a broken line ran.
    """

    seed: int
    verdicts: tuple[Verdict, ...] = ()
    passed: int = 0


@dataclass(frozen=True, slots=True)
class Find:
    """What came of a hunt.

    Args:
        name: of the breakage.
        trial: the first that found it; None where none did.
        seeds: how many were looked at, those that cannot show it among them.
        runs: how many worlds were run.
        passed: how often a broken line ran, in all of them.
        seconds: how long it took.
    """

    name: str
    trial: Trial | None
    seeds: int
    runs: int
    passed: int
    seconds: float

    @property
    def only_crashed(self) -> bool:
        """Whether nothing but a thread that died told of it."""
        verdicts = self.trial.verdicts if self.trial else ()
        return {verdict.statement for verdict in verdicts} == {Statement.CRASH}

    def __str__(self) -> str:
        """Return a line for people."""
        cost = f"{self.seeds} seeds, {self.runs} worlds, {self.passed:,} times passed, {self.seconds:.0f} s"
        if self.trial is None:
            return f"{self.name:28} NOT FOUND  ({cost})"
        broken = self.trial.verdicts[0]
        others = [verdict.statement.name for verdict in self.trial.verdicts[1:]]
        also = f" and {', '.join(others)}" if others else ""
        detail = broken.detail.strip().rpartition("\n")[2]  # of a traceback, the error
        words = f"{broken.statement.name}{also}: {detail:.140}"
        return f"{self.name:28} seed {self.trial.seed:<4} {words}  ({cost})"


def try_seed(breakage: Breakage, seed: int) -> Trial | None:
    """Run the world of a seed with a breakage; None where that world cannot show it.

    Where a promise is broken it is run again without: what is broken in the whole product tells nothing.
    """
    schedule = schedule_of(seed, SECONDS)
    if not breakage.can_show(schedule):
        return None
    passed: list[None] = []
    with breakage.applied(lambda: passed.append(None)):
        verdicts = judge_world(schedule).verdicts
    if not verdicts:
        return Trial(seed, (), len(passed))
    known = {verdict.statement for verdict in judge_world(schedule).verdicts}
    firsts = {verdict.statement: verdict for verdict in reversed(verdicts) if verdict.statement not in known}
    return Trial(seed, tuple(sorted(firsts.values(), key=lambda verdict: verdict.at_ns)), len(passed))


def hunt(breakage: Breakage, seeds: Iterable[int], jobs: int = 1) -> Find:
    """Return the first of these seeds that finds a breakage.

    Args:
        breakage: to be found.
        seeds: to be tried, in this order.
        jobs: processes.
    """
    began_s = time.monotonic()
    tried = runs = passed = 0
    found: Trial | None = None
    context = multiprocessing.get_context("fork")
    with context.Pool(jobs, _take, (breakage,)) as pool:  # leaving it ends what still runs
        trials = pool.imap(_try, seeds)
        while found is None:
            try:
                trial = trials.next(HUNG_S)
            except StopIteration:
                break
            except multiprocessing.TimeoutError:
                hung = Verdict(Statement.CRASH, 0, f"no end within {HUNG_S:.0f} s")
                trial = Trial(-1, (hung,))
            tried += 1
            if trial is not None:
                runs += 1
                passed += trial.passed
                found = trial if trial.verdicts else None
    return Find(breakage.name, found, tried, runs, passed, time.monotonic() - began_s)


_HUNTED: list[Breakage] = []
"""What the seeds of this process are tried with: predicates cannot be pickled, a fork inherits them."""


def _take(breakage: Breakage) -> None:
    logging.disable(logging.CRITICAL)
    _HUNTED[:] = [breakage]


def _try(seed: int) -> Trial | None:
    return try_seed(_HUNTED[0], seed)
