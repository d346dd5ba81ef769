"""What threads wait on, in virtual time: each as the one of the standard library it stands for."""

import linecache
import sys
from collections import deque
from collections.abc import Callable
from functools import cache
from queue import Empty
from threading import TIMEOUT_MAX
from types import CodeType
from typing import Any, Final

from greenlet import getcurrent

from tests.simulation.kernel import Kernel
from tests.simulation.strand import Strand

__all__ = ["Condition", "Event", "Lock", "Queue", "RLock", "Worker"]

SPURIOUS_S: Final = 1.0
"""A wait that ends without a reason does so within so long."""


@cache
def _name_of(code: CodeType, line: int) -> str:
    module = code.co_filename.rpartition("/")[2].removesuffix(".py")
    text = linecache.getline(code.co_filename, line).partition("=")[0].strip()
    return f"{module}.{code.co_qualname.partition('.')[0]}: {text}"


class Lock:
    """Mutual exclusion, as `threading.Lock`: whoever comes first when it is free has it.

    Args:
        kernel: whose threads it is for.
    """

    __slots__ = ("_kernel", "_made_at", "_owner", "_waiters")

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._owner: Strand | None = None
        self._waiters: list[Strand] = []
        frame = sys._getframe(1)
        self._made_at = frame.f_code, frame.f_lineno

    @property
    def name(self) -> str:
        """Where it was made: the module, and what it was assigned to."""
        return _name_of(*self._made_at)

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Take it, if need be once it is free; return whether it was."""
        if timeout != -1:
            _check(blocking, timeout)
        kernel = self._kernel
        if blocking:
            kernel.until_preempt -= 1
            if not kernel.until_preempt:
                kernel.preempt()
        strand = getcurrent()
        if self._owner is not None and not (blocking and self._wait(timeout)):
            return False
        self._owner = strand
        strand.held.append(self)
        return True

    def release(self, *_: object) -> None:
        """Let it go, from any thread."""
        owner = self._owner
        if owner is None:
            raise RuntimeError("release unlocked lock")
        owner.held.remove(self)
        self._owner = None
        if self._waiters:
            self._wake_one()

    def locked(self) -> bool:
        """Tell whether anybody has it."""
        return self._owner is not None

    __enter__ = acquire

    __exit__ = release

    def _wait(self, timeout: float) -> bool:
        """Wait until nobody has it; return whether that came in time."""
        kernel = self._kernel
        deadline_s = None if timeout < 0 else kernel.monotonic() + timeout
        while self._owner is not None:
            left_s = None if deadline_s is None else deadline_s - kernel.monotonic()
            if left_s is not None and left_s <= 0:
                return False
            strand = getcurrent()
            self._waiters.append(strand)
            if not kernel.wait("a lock", left_s, lock=True) and strand in self._waiters:
                self._waiters.remove(strand)
        return True

    def _wake_one(self) -> None:
        """Wake any of those that wait; somebody else may be quicker."""
        waiters = self._waiters
        while waiters:
            if self._kernel.wake(waiters.pop(self._kernel.choose(len(waiters)))):
                return

    # What a condition needs of its lock.

    def _is_owned(self) -> bool:
        return self._owner is not None

    def _release_save(self) -> int:
        self.release()
        return 1

    def _acquire_restore(self, _count: int) -> None:
        self.acquire()


class RLock(Lock):
    """The same for whoever has it already, as `threading.RLock`."""

    __slots__ = ("_count",)

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        frame = sys._getframe(1)
        self._made_at = frame.f_code, frame.f_lineno
        self._count = 0

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Take it, once more where it is one's own."""
        if self._owner is getcurrent():
            if timeout != -1:
                _check(blocking, timeout)
            self._count += 1
            return True
        taken = super().acquire(blocking, timeout)
        if taken:
            self._count = 1
        return taken

    __enter__ = acquire

    def release(self, *_: object) -> None:
        """Let it go, on the thread that has it."""
        if self._owner is not getcurrent():
            raise RuntimeError("cannot release un-acquired lock")
        self._count -= 1
        if not self._count:
            super().release()

    __exit__ = release

    def _is_owned(self) -> bool:
        return self._owner is getcurrent()

    def _release_save(self) -> int:
        count, self._count = self._count, 1
        self.release()
        return count

    def _acquire_restore(self, count: int) -> None:
        self.acquire()
        self._count = count


class Condition:
    """A lock that can be waited under, as `threading.Condition`: whoever waits longest is notified first.

    Args:
        kernel: whose threads it is for.
        lock: default one of its own.
    """

    def __init__(self, kernel: Kernel, lock: Lock | None = None) -> None:
        self._kernel = kernel
        self._lock = RLock(kernel) if lock is None else lock
        self._waiters: deque[Strand] = deque()
        self.acquire = self._lock.acquire
        self.release = self._lock.release

    def __enter__(self) -> bool:
        return self._lock.__enter__()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until notified; return whether that came in time."""
        lock, kernel = self._lock, self._kernel
        if not lock._is_owned():
            raise RuntimeError("cannot wait on un-acquired lock")
        count = lock._release_save()
        try:
            return _park(kernel, self._waiters, "a condition", timeout)
        finally:
            lock._acquire_restore(count)

    def wait_for(self, predicate: Callable[[], Any], timeout: float | None = None) -> Any:
        """Wait until something is true; return its last value."""
        monotonic = self._kernel.monotonic
        deadline_s = None if timeout is None else monotonic() + timeout
        left_s = timeout  # as with the real one, it waits once even where there is no time
        while not (value := predicate()):
            self.wait(left_s)
            left_s = None if deadline_s is None else deadline_s - monotonic()
            if left_s is not None and left_s <= 0:
                return predicate()
        return value

    def notify(self, n: int = 1) -> None:
        """Wake some of those that wait."""
        if not self._lock._is_owned():
            raise RuntimeError("cannot notify on un-acquired lock")
        while n > 0 and self._waiters:
            n -= self._kernel.wake(self._waiters.popleft())

    def notify_all(self) -> None:
        """Wake all that wait."""
        self.notify(len(self._waiters))


class Event:
    """A flag that can be waited for, as `threading.Event`.

    Args:
        kernel: whose threads it is for.
    """

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._is_set = False
        self._waiters: deque[Strand] = deque()

    def is_set(self) -> bool:
        """Tell whether it is set."""
        return self._is_set

    def set(self) -> None:
        """Set it, and wake all that wait."""
        self._is_set = True
        while self._waiters:
            self._kernel.wake(self._waiters.popleft())

    def clear(self) -> None:
        """Take it back."""
        self._is_set = False

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set; return whether that came in time."""
        return self._is_set or _park(self._kernel, self._waiters, "an event", timeout)


class Queue:
    """An unbounded queue, as `queue.SimpleQueue`.

    Args:
        kernel: whose threads it is for.
    """

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._items: deque[Any] = deque()
        self._waiters: deque[Strand] = deque()

    def put(self, item: Any) -> None:
        """Append something, and wake one that waits for it."""
        self._items.append(item)
        while self._waiters:
            if self._kernel.wake(self._waiters.popleft()):
                return

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Take the first item.

        Raises:
            Empty: there is none in time.
        """
        if block and timeout is not None and timeout < 0:
            raise ValueError("'timeout' must be a non-negative number")
        if not self._items:
            self._await(0.0 if not block else timeout)
        return self._items.popleft()

    def empty(self) -> bool:
        """Tell whether there is nothing."""
        return not self._items

    def qsize(self) -> int:
        """Return how many there are."""
        return len(self._items)

    def _await(self, timeout: float | None) -> None:
        kernel = self._kernel
        deadline_s = None if timeout is None else kernel.monotonic() + timeout
        while not self._items:
            left_s = None if deadline_s is None else deadline_s - kernel.monotonic()
            if left_s is not None and left_s <= 0:
                raise Empty
            _park(kernel, self._waiters, "a queue", left_s)


class Worker:
    """A thread that runs, as `threading.Thread` once it is started.

    Args:
        kernel: that runs it.
        target: what it runs.
        name: of the thread.

    Raises:
        RuntimeError: there are no threads to be had.
    """

    def __init__(self, kernel: Kernel, target: Callable[[], object], name: str) -> None:
        if kernel.strikes("failing_spawn"):
            raise RuntimeError("can't start new thread")
        self.name = name
        self._kernel = kernel
        self._strand = kernel.spawn(target, name)

    @property
    def ident(self) -> int:
        """Its number."""
        return self._strand.ident

    def is_alive(self) -> bool:
        """Tell whether it has not ended."""
        return not self._strand.is_over

    def join(self, timeout: float | None = None) -> None:
        """Wait for its end."""
        strand, current = self._strand, getcurrent()
        if current is strand:
            raise RuntimeError("cannot join current thread")
        kernel = self._kernel
        deadline_s = None if timeout is None else kernel.monotonic() + timeout
        while not strand.is_over:
            left_s = None if deadline_s is None else deadline_s - kernel.monotonic()
            if left_s is not None and left_s <= 0:
                return
            strand.joiners.append(current)
            if not kernel.wait(f"the end of {self.name}", left_s) and current in strand.joiners:
                strand.joiners.remove(current)


def _park(kernel: Kernel, waiters: deque[Strand], what: str, timeout_s: float | None) -> bool:
    """Wait among others; return whether somebody woke the thread."""
    if timeout_s is not None and timeout_s <= 0:
        return False
    strand = getcurrent()
    spurious = None
    if what == "a condition" and kernel.strikes("spurious_wake", at_once=False):
        spurious = kernel.at(SPURIOUS_S * kernel.fraction(), kernel.wake_for_nothing, strand)
    waiters.append(strand)
    woken = kernel.wait(what, timeout_s)
    if spurious is not None:
        kernel.cancel(spurious)
    if strand in waiters:
        waiters.remove(strand)
    return woken


def _check(blocking: bool, timeout: float) -> None:
    if not blocking:
        raise ValueError("can't specify a timeout for a non-blocking call")
    if timeout < 0:
        raise ValueError("timeout value must be a non-negative number")
    if timeout > TIMEOUT_MAX:
        raise OverflowError("timestamp too large to convert to C _PyTime_t")
