"""A thread of the simulated system, and what is found to be wrong with one."""

from collections.abc import Callable
from typing import Any, Final

from greenlet import greenlet
from reactivex.scheduler.currentthreadscheduler import CurrentThreadSchedulerSingleton
from reactivex.scheduler.trampoline import Trampoline

__all__ = ["NEVER", "OF_THE_THREAD", "Died", "Livelock", "RealThread", "Strand", "WouldBlock"]

NEVER: Final = 1 << 63
OF_THE_THREAD: Final = CurrentThreadSchedulerSingleton._local
"""Where reactivex keeps the trampoline of the thread that runs: what is scheduled on it waits until that is
through which was scheduled there before."""


class Livelock(AssertionError):
    """The system works for ever without any time passing."""


class Died(AssertionError):
    """A thread ended by an exception."""


class WouldBlock(AssertionError):
    """What drives the simulation waits for something that only the simulation can bring."""


class RealThread(AssertionError):
    """Somebody started a thread of the operating system."""


class Strand(greenlet):
    """A thread of the simulated system.

    Args:
        kernel: that runs it.
        target: what it runs.
        name: of the thread.
        ident: its number.

    Attributes:
        waits_for: what it waits for, in a word.
        is_waiting: it is parked until it is woken; else it runs, or is to run.
        held: the locks that it holds, in the order in which it took them.
    """

    def __init__(self, kernel: Any, target: Callable[[], object], name: str, ident: int) -> None:
        super().__init__(parent=kernel.driver)
        self.kernel = kernel
        self.target = target
        self.name = name
        self.ident = ident
        self.waits_for = "start"
        self.is_waiting = False
        self.is_over = False
        self.value: Any = None
        self.deadline_ns = NEVER
        self.timer_ns = NEVER
        self.held: list[Any] = []
        self.joiners: list[Strand] = []
        self.trampoline = Trampoline()

    def run(self, *_: object) -> None:
        """Run the target to its end, as a thread does."""
        kernel = self.kernel
        try:
            self.target()
        except SystemExit:
            pass
        except BaseException as error:
            kernel.note("died", self.name, type(error).__name__)
            kernel.deaths.append((self.name, error))
        self.is_over = True
        del kernel.strands[self.ident]
        for strand in self.joiners:
            kernel.wake(strand)
        self.joiners.clear()
