"""A failing schedule made small: fewer faults, rounder numbers, a smaller and shorter world."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from functools import partial
from typing import TypeVar

from tests.simulation.schedule import Fault, Schedule, World

__all__ = ["ddmin", "shrink"]

Item = TypeVar("Item")
KEPT = frozenset({"seconds", "market", "kinds", "connections", "symbols", "mode"})
"""Settings of a world that get smaller in ways of their own, or not at all."""


def ddmin(fails: Callable[[Sequence[Item]], bool], items: Sequence[Item]) -> tuple[Item, ...]:
    """Return a part of items that fails still, and of which no single one can be left out.

    See A. Zeller, R. Hildebrandt: Simplifying and Isolating Failure-Inducing Input (2002).
    """
    items, parts = tuple(items), 2
    if fails(()):
        return ()
    while len(items) >= 2:
        size = -(-len(items) // parts)
        for start in range(0, len(items), size):
            rest = items[:start] + items[start + size :]
            if rest and fails(rest):
                items, parts = rest, max(parts - 1, 2)
                break
        else:
            if parts >= len(items):
                break
            parts = min(len(items), parts * 2)
    return items


def shrink(
    schedule: Schedule, fails: Callable[[Schedule], bool], most_runs: int = 250
) -> tuple[Schedule, int]:
    """Return the smallest schedule found that fails in the same way, and how many runs it took.

    Args:
        schedule: fails.
        fails: runs one, and tells whether it breaks the same promise.
        most_runs: when to be content.
    """
    runs = 0
    known: dict[str, bool] = {}

    def still_fails(candidate: Schedule) -> bool:
        nonlocal runs
        text = str(candidate)
        if text not in known:
            if runs >= most_runs:
                return False
            runs += 1
            known[text] = fails(candidate)
        return known[text]

    before = None
    schedule = _first_that_fails(schedule, _cut_off, still_fails)
    while before != schedule:
        before = schedule
        faults = ddmin(partial(_fails_with, schedule, still_fails), schedule.faults)
        schedule = replace(schedule, faults=faults)
        for candidates in (_smaller_worlds, _shorter, _rounder):
            schedule = _first_that_fails(schedule, candidates, still_fails)
    return schedule, runs


def _fails_with(schedule: Schedule, fails: Callable[[Schedule], bool], faults: Sequence[Fault]) -> bool:
    return fails(replace(schedule, faults=tuple(faults)))


def _first_that_fails(
    schedule: Schedule,
    candidates: Callable[[Schedule], Iterator[Schedule]],
    fails: Callable[[Schedule], bool],
) -> Schedule:
    """Take the first candidate that fails still, and look for the next, until none does."""
    seen = {str(schedule)}

    def is_new_and_fails(candidate: Schedule) -> bool:
        return str(candidate) not in seen and fails(candidate)

    while (smaller := next(filter(is_new_and_fails, candidates(schedule)), None)) is not None:
        schedule = smaller
        seen.add(str(schedule))
    return schedule


def _cut_off(schedule: Schedule) -> Iterator[Schedule]:
    """Yield what ends earlier: that runs faster, too."""
    for part in (0.25, 0.5, 0.75, 0.9):
        seconds = float(round(schedule.world.seconds * part))
        faults = tuple(fault for fault in schedule.faults if fault.at_s < seconds)
        if 0 < seconds < schedule.world.seconds:
            yield replace(schedule, world=replace(schedule.world, seconds=seconds), faults=faults)


def _smaller_worlds(schedule: Schedule) -> Iterator[Schedule]:
    world, plain = schedule.world, World()
    for field in fields(world):
        value, usual = getattr(world, field.name), getattr(plain, field.name)
        if value != usual and field.name not in KEPT:
            yield replace(schedule, world=replace(world, **{field.name: usual}))
    if len(world.kinds) > 1:
        yield from (replace(schedule, world=replace(world, kinds=(kind,))) for kind in world.kinds)
    if world.connections > 1:
        yield replace(schedule, world=replace(world, connections=world.connections - 1))
    if world.symbols > world.connections:
        for symbols in dict.fromkeys((world.connections, world.symbols - 1)):
            redundant = min(world.redundant, symbols)
            yield replace(schedule, world=replace(world, symbols=symbols, redundant=redundant))


def _shorter(schedule: Schedule) -> Iterator[Schedule]:
    last_s = max((fault.at_s for fault in schedule.faults), default=0.0)
    for seconds in (last_s + 1, last_s + 10):
        if seconds < schedule.world.seconds:
            yield replace(schedule, world=replace(schedule.world, seconds=float(round(seconds))))
    if schedule.faults and (too_late_s := schedule.faults[0].at_s - 10) > 0:
        earlier = tuple(replace(fault, at_s=round(fault.at_s - too_late_s, 3)) for fault in schedule.faults)
        yield replace(schedule, faults=earlier)


def _rounder(schedule: Schedule) -> Iterator[Schedule]:
    for place, fault in enumerate(schedule.faults):
        for rounder in _rounder_faults(fault):
            if rounder != fault:
                faults = (*schedule.faults[:place], rounder, *schedule.faults[place + 1 :])
                yield replace(schedule, faults=tuple(sorted(faults, key=lambda one: one.at_s)))


def _rounder_faults(fault: Fault) -> Iterator[Fault]:
    for digits in (0, 1):
        if round(fault.at_s, digits) != fault.at_s:
            yield replace(fault, at_s=round(fault.at_s, digits))
    for name in ("x", "y"):
        value = getattr(fault, name)
        for rounder in (0.0, 0.5, min(round(value, 1), 0.9)):  # 1 would pick what is after the last
            if len(str(rounder)) < len(str(value)):
                yield replace(fault, **{name: rounder})
