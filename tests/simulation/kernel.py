"""Virtual time, and threads that take turns: a whole system on one thread, the same each time for a seed."""

import hashlib
import heapq
import itertools
import marshal
import math
import threading
import traceback
from collections import Counter, deque
from collections.abc import Callable
from random import Random
from typing import Any, Final, TypeVar

from greenlet import getcurrent

from tests.simulation.strand import NEVER, OF_THE_THREAD, Died, Livelock, RealThread, Strand, WouldBlock

__all__ = ["FIRING", "START_NS", "Died", "Kernel", "Livelock", "RealThread", "Strand", "Timer", "WouldBlock"]

START_NS: Final = 1_764_687_600_000_000_000
"""Tuesday, 2025-12-02, 10:00 in New York."""
BOOTED_S: Final = 1000.0
"""What the monotonic clock shows at the beginning."""
SECOND: Final = 1_000_000_000
MAX_TURNS: Final = 100_000
"""So many turns at one instant are a livelock."""
SHOWN_TURNS: Final = 1_000
"""Of which so many are told, the last ones."""
NOTES_A_CHUNK: Final = 4096
FIRING: Final = 0.25
"""Chance that a site that is armed misbehaves when it is passed."""
LATE_S: Final = 0.1
"""A timer is so late at most where timers are."""

Timer = list[Any]
"""What `Kernel.at` returns, to be cancelled."""

_LEFT: "list[Strand]" = []

_T = TypeVar("_T")


class Kernel:
    """Runs threads and timers in virtual time.

    One of the threads that can run does, chosen by chance; when none can, time goes on to the next timer.
    Threads are switched where they wait, and, if ``preempt`` says so, where they take a lock.

    Args:
        seed: of all that is left to chance.
        start_ns: true wall time at the beginning.
        preempt: chance that a thread gives way where it takes a lock.
        log: keep what is noted in ``lines``, to be read by people.

    Attributes:
        now_ns: since the beginning.
        strands: the threads that are alive, by number.
        deaths: threads that ended by an exception, and with which.
        wakeups: how often each thread got its turn after which wait, by (name, what it waited for).
        waits_under_locks: how often somebody waited for something else than a lock while holding one, by the
            lock and what was waited for.
        effects: how often a site that misbehaved changed something, by site.
        fraction: chance in [0, 1), for whose turn it is and the like.
        lines: the log, where there is to be one.
    """

    def __init__(
        self, seed: int = 0, *, start_ns: int = START_NS, preempt: float = 0.0, log: bool = False
    ) -> None:
        self.seed = seed
        self.start_ns = start_ns
        self.now_ns = 0
        self.driver = getcurrent()
        self.driver.held, self.driver.is_waiting, self.driver.ident = [], False, 0
        self.strands: dict[int, Strand] = {}
        self.deaths: list[tuple[str, BaseException]] = []
        self.wakeups: Counter[tuple[str, str]] = Counter()
        self.waits_under_locks: Counter[tuple[str, str]] = Counter()
        self.effects: Counter[str] = Counter()
        self.lines: list[tuple[Any, ...]] | None = [] if log else None
        self.turns = 0
        self._runnable: list[Strand] = []
        self._timers: list[Timer] = []
        self._cancelled = 0
        self._order = itertools.count()
        self._idents = itertools.count(1)
        self.fraction = self.random("turns").random
        self._trampoline = OF_THE_THREAD.tramp
        self._notes: list[tuple[Any, ...]] = []
        self._hash = hashlib.blake2b(digest_size=16)
        self._sites: dict[str, Callable[[], float]] = {}
        self._turns_at_most = MAX_TURNS - SHOWN_TURNS
        self._last_turns: deque[str] = deque(maxlen=SHOWN_TURNS)
        self._preempt = preempt
        self._preemptions = self.random("preempt")
        self.until_preempt = self._next_preemption()
        self._ahead_ns = 0
        self._drift_ppm = 0
        self._drifts_since_ns = 0

    # --- clocks

    @property
    def true_ns(self) -> int:
        """True wall time, ns since the epoch."""
        return self.start_ns + self.now_ns

    @property
    def ahead_ns(self) -> int:
        """By how much the system's wall clock is ahead of the true time."""
        return self._ahead_ns + (self.now_ns - self._drifts_since_ns) * self._drift_ppm // 1_000_000

    def clock(self) -> int:
        """Return what the system's wall clock shows."""
        if self._drift_ppm:
            return self.start_ns + self.now_ns + self.ahead_ns
        return self.start_ns + self.now_ns + self._ahead_ns

    def monotonic(self) -> float:
        """Return what the system's monotonic clock shows, s."""
        return BOOTED_S + self.now_ns / 1e9

    def set_clock(self, ahead_ns: int, drift_ppm: int = 0) -> None:
        """Set the system's wall clock, and how fast it runs away from now on."""
        self._ahead_ns, self._drift_ppm, self._drifts_since_ns = ahead_ns, drift_ppm, self.now_ns
        self.note("clock", ahead_ns, drift_ppm)

    # --- chance

    def random(self, who: object) -> Random:
        """Return chance for one purpose: what others draw does not change it."""
        return Random(f"{self.seed}/{who}")

    def arm(self, *sites: str) -> None:
        """Let these sites misbehave from now on, each a quarter of the times it is passed."""
        for site in sites:
            self._sites[site] = self.random(f"site {site}").random

    def disarm(self) -> None:
        """Let all behave."""
        self._sites.clear()

    def choose(self, count: int) -> int:
        """Return one of the first so many numbers, from 0 on."""
        return int(self.fraction() * count) if count > 1 else 0

    def strikes(self, site: str, *, at_once: bool = True) -> bool:
        """Tell whether a site misbehaves now; count it, unless it shows only later whether that matters."""
        chance = self._sites.get(site)
        if chance is None or chance() >= FIRING:
            return False
        self.effects[site] += at_once
        return True

    # --- what happened

    def note(self, *what: str | bytes | float | None) -> None:
        """Take something observable into the trace, with the time."""
        self._notes.append((self.now_ns, *what))
        if len(self._notes) >= NOTES_A_CHUNK:
            self._digest()

    def _digest(self) -> None:
        # Version 2 of the format writes no references, which depend on who else holds an object.
        self._hash.update(marshal.dumps(self._notes, 2))
        if self.lines is not None:
            self.lines += self._notes
        self._notes.clear()

    def trace(self) -> str:
        """Return a hash of all that was noted."""
        self._digest()
        return self._hash.hexdigest()

    def left(self) -> list[str]:
        """Return the threads that are alive, and what each waits for."""
        return [f"{strand.name} ({strand.waits_for})" for strand in self.strands.values()]

    def timers_left(self) -> Counter[str]:
        """Return what timers will still call, but the time-outs of threads, and how often."""
        actions = (timer[2] for timer in self._timers)
        return Counter(
            getattr(action, "__qualname__", repr(type(action)))
            for action in actions
            if action is not None and getattr(action, "__func__", None) is not Kernel._time_out
        )

    # --- timers

    def at(self, delay_s: float, action: Callable[..., object], *args: Any) -> Timer:
        """Call something after a while; it must not wait."""
        # Rounded up: what is rounded down to nothing would be called again and again at one instant.
        return self.at_ns(self.now_ns + max(0, math.ceil(delay_s * SECOND)), action, *args)

    def at_ns(self, at_ns: int, action: Callable[..., object], *args: Any) -> Timer:
        """Call something at a time since the beginning; it must not wait."""
        timer = [at_ns, next(self._order), action, args]
        heapq.heappush(self._timers, timer)
        return timer

    def cancel(self, timer: Timer) -> None:
        """Do not call it."""
        if timer[2] is not None:
            timer[2] = timer[3] = None
            self._cancelled += 1
            if self._cancelled > SHOWN_TURNS and self._cancelled * 2 > len(self._timers):
                self._timers[:] = [timer for timer in self._timers if timer[2] is not None]
                heapq.heapify(self._timers)
                self._cancelled = 0

    # --- threads

    def spawn(self, target: Callable[[], object], name: str) -> Strand:
        """Start a thread."""
        strand = Strand(self, target, name, next(self._idents))
        self.strands[strand.ident] = strand
        self._runnable.append(strand)
        self.note("spawned", name)
        return strand

    @property
    def is_driven(self) -> bool:
        """Whether what runs now is no thread of the system, but what drives the simulation."""
        return getcurrent() is self.driver

    def ident(self) -> int:
        """Return the number of the thread that runs; 0 outside of all."""
        ident: int = getcurrent().ident
        return ident

    def current(self) -> str:
        """Return the name of the thread that runs."""
        current = getcurrent()
        return current.name if isinstance(current, Strand) else "driver"

    def wait(self, what: str, timeout_s: float | None = None, *, lock: bool = False) -> bool:
        """Park the thread that runs until `wake` or the end of its time; return what `wake` says, or False.

        Args:
            what: it waits for, in a word.
            timeout_s: how long.
            lock: it waits for a lock.

        Raises:
            WouldBlock: nobody could ever wake it.
        """
        strand = getcurrent()
        if strand is self.driver:
            raise WouldBlock(f"{what}, while these run: {', '.join(self.left())}")
        if strand.held and not lock:
            for held in strand.held:
                self.waits_under_locks[held.name, what] += 1
        strand.waits_for = what
        strand.is_waiting = True
        if timeout_s is not None:
            if self._sites and self.strikes("late_timer", at_once=False):
                return self._wait_too_long(strand, timeout_s)
            self._arm_time_out(strand, self.now_ns + max(0, math.ceil(timeout_s * SECOND)))
        return self.driver.switch()

    def _wait_too_long(self, strand: Strand, timeout_s: float) -> bool:
        timeout_s += self.fraction() * LATE_S
        self._arm_time_out(strand, self.now_ns + math.ceil(timeout_s * SECOND))
        is_woken = bool(self.driver.switch())
        self.effects["late_timer"] += not is_woken
        return is_woken

    def wake(self, strand: Strand, value: Any = True) -> bool:
        """Let a thread go on; return whether it was waiting."""
        if not strand.is_waiting:
            return False
        strand.is_waiting = False
        strand.deadline_ns = NEVER
        strand.value = value
        self._runnable.append(strand)
        return True

    def wake_for_nothing(self, strand: Strand) -> None:
        """Let a thread go on that waits for something else."""
        self.effects["spurious_wake"] += self.wake(strand)

    def sleep(self, seconds: float) -> None:
        """Park the thread that runs for a while."""
        self.wait("sleep", seconds)

    def give_way(self) -> None:
        """Let other threads have their turn first."""
        strand = getcurrent()
        if strand is not self.driver:
            strand.waits_for = "its turn"
            self._runnable.append(strand)
            self.driver.switch()

    def preempt(self) -> None:
        """Give way, and draw when to do so next."""
        self.until_preempt = self._next_preemption()
        if self._preempt:
            self.give_way()

    def _next_preemption(self) -> int:
        if not self._preempt:
            return NEVER
        return 1 + int(math.log(1.0 - self._preemptions.random()) / math.log(1.0 - min(self._preempt, 0.999)))

    def _arm_time_out(self, strand: Strand, deadline_ns: int) -> None:
        """Set the only timer of a thread: one that is due earlier, of a wait that is over, looks again."""
        strand.deadline_ns = deadline_ns
        if deadline_ns < strand.timer_ns:
            strand.timer_ns = deadline_ns
            self.at_ns(deadline_ns, self._time_out, strand, deadline_ns)

    def _time_out(self, strand: Strand, at_ns: int) -> None:
        if strand.timer_ns != at_ns:
            return  # another one was set for an earlier time since
        strand.timer_ns = NEVER
        if strand.deadline_ns <= at_ns:
            self.wake(strand, value=False)
        elif strand.deadline_ns != NEVER:
            self._arm_time_out(strand, strand.deadline_ns)

    def close(self) -> None:
        """Keep the threads that are left as they are, for ever: many would go on if they were ended."""
        _LEFT.extend(self.strands.values())

    # --- running

    def run(self, seconds: float) -> None:
        """Let so much time pass.

        Raises:
            Died: a thread ended by an exception.
            Livelock: time does not pass.
            RealThread: the operating system has a thread more than before.
        """
        self._run_until(self.now_ns + round(seconds * SECOND), None)

    def run_until(self, condition: Callable[[], object], within_s: float) -> bool:
        """Let time pass until something is true, or so much has; return whether it is."""
        return self._run_until(self.now_ns + round(within_s * SECOND), condition)

    def call(
        self, function: Callable[..., _T], *args: Any, name: str = "caller", within_s: float = 60.0
    ) -> _T:
        """Run a function on a thread of its own, and return what it returns.

        Raises:
            TimeoutError: it did not return in time.
            BaseException: what it raised.
        """
        results: list[_T] = []
        errors: list[BaseException] = []

        def run() -> None:
            try:
                results.append(function(*args))
            except BaseException as error:
                errors.append(error)

        strand = self.spawn(run, name)
        if not self.run_until(lambda: strand.is_over, within_s):
            raise TimeoutError(f"{name} still waits for {strand.waits_for} after {within_s} s")
        if errors:
            raise errors[0]
        return results[0]

    def _run_until(self, end_ns: int, condition: Callable[[], object] | None) -> bool:
        if not self.is_driven:
            raise WouldBlock("a thread of the system wants to drive it")
        before = threading.active_count()
        timers, runnable = self._timers, self._runnable
        while condition is None or not condition():
            if runnable:
                self._take_turn()
            elif timers and timers[0][0] <= end_ns:
                self._fire()
            else:
                self.now_ns = max(self.now_ns, end_ns)
                break
            if self.deaths:
                name, error = self.deaths[0]
                raise Died(f"{name}: {''.join(traceback.format_exception(error))}") from error
        if threading.active_count() > before:
            raise RealThread(", ".join(thread.name for thread in threading.enumerate()))
        return condition is not None and bool(condition())

    def _take_turn(self) -> None:
        """Let one of the threads that can run do so until it waits."""
        runnable = self._runnable
        count = len(runnable)
        if count > 1:
            chosen = int(self.fraction() * count)
            runnable[chosen], runnable[-1] = runnable[-1], runnable[chosen]
        strand = runnable.pop()
        name, what = strand.name, strand.waits_for
        self.wakeups[name, what] += 1
        notes = self._notes
        notes.append((self.now_ns, name, what))
        if len(notes) >= NOTES_A_CHUNK:
            self._digest()
        self.turns += 1
        if self.turns > self._turns_at_most:
            self._watch(name)
        OF_THE_THREAD.tramp = strand.trampoline
        strand.switch(strand.value)
        OF_THE_THREAD.tramp = self._trampoline

    def _fire(self) -> None:
        """Go on to the next timer, and call all that are due then."""
        timers = self._timers
        at_ns = timers[0][0]
        if at_ns > self.now_ns:
            self.now_ns = at_ns
            self._turns_at_most = self.turns + MAX_TURNS - SHOWN_TURNS
        while timers and timers[0][0] <= at_ns:
            timer = heapq.heappop(timers)
            _, _, action, args = timer
            if action is None:
                self._cancelled -= 1
                continue
            timer[2] = None  # whoever cancels it now comes too late
            self.turns += 1
            if self.turns > self._turns_at_most:
                self._watch("timers")
            action(*args)

    def _watch(self, name: str) -> None:
        """Note who goes on although no time passes, and give up once it is too much."""
        self._last_turns.append(name)
        if self.turns > self._turns_at_most + SHOWN_TURNS:
            raise Livelock(f"{MAX_TURNS} turns at {self.now_ns / SECOND} s: {self._tell_turns()}")

    def _tell_turns(self) -> str:
        return ", ".join(f"{name} {count}" for name, count in Counter(self._last_turns).most_common())
