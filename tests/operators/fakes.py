"""Batches, sources and observers for the tests of the operators."""

import threading
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from reactivex import Observable, abc
from reactivex.disposable import Disposable
from reactivex.scheduler.scheduler import Scheduler


@dataclass
class FakeTick:
    """A tick with what the operators may touch."""

    name: Any
    event_ms: float = 0
    received_ns: int = 0
    is_bar: bool = False


@dataclass
class FakeBatch:
    """The least that is an `operators.batch.Batch`."""

    ticks: list[Any] = field(default_factory=list)
    connection: str = "a"
    received_ns: int = 0
    received: int = -1
    deduplicated: int = 0
    rejected: int = 0
    lost: int = 0

    def __post_init__(self):
        if self.received < 0:
            self.received = len(self.ticks) + self.deduplicated + self.rejected + self.lost

    def with_ticks(self, ticks):
        return FakeBatch(list(ticks), self.connection, self.received_ns)


class Names:
    """Is a memory for `dedupe`: of the names of fakes, for ever; what has no name always passes."""

    def __init__(self):
        self.known = set()

    def __call__(self, ticks):
        kept = [tick for tick in ticks if self._is_new(getattr(tick, "name", None))]
        return ticks if len(kept) == len(ticks) else kept

    def _is_new(self, name):
        known = name is not None and name in self.known
        self.known.add(name)
        return not known


class Source(Observable):
    """A source that the test drives from any thread and that knows who is subscribed."""

    def __init__(self):
        self.observers = []
        self.subscriptions = 0
        self.disposals = 0
        super().__init__(self._attach)

    def _attach(self, observer, scheduler=None):
        self.subscriptions += 1
        self.observers.append(observer)

        def detach():
            self.disposals += 1
            self.observers.remove(observer)

        return Disposable(detach)

    def emit(self, item):
        for observer in tuple(self.observers):
            observer.on_next(item)

    def fail(self, error):
        for observer in tuple(self.observers):
            observer.on_error(error)

    def complete(self):
        for observer in tuple(self.observers):
            observer.on_completed()


class Recorder(abc.ObserverBase):
    """An observer that notes what it gets, and whether two calls ever overlapped or came after the end."""

    def __init__(self, on_item=lambda item: None):
        self.items = []
        self.errors = []
        self.completions = 0
        self.violations = []
        self.done = threading.Event()
        self._on_item = on_item
        self._busy = threading.Lock()

    def _enter(self, what):
        if not self._busy.acquire(blocking=False):
            self.violations.append(f"{what} overlaps")
            return False
        if self.done.is_set():
            self.violations.append(f"{what} after the end")
        return True

    def on_next(self, value):
        entered = self._enter("on_next")
        try:
            self.items.append(value)
            self._on_item(value)
        finally:
            if entered:
                self._busy.release()

    def on_error(self, error):
        if self._enter("on_error"):
            self._busy.release()
        self.errors.append(error)
        self.done.set()

    def on_completed(self):
        if self._enter("on_completed"):
            self._busy.release()
        self.completions += 1
        self.done.set()

    @property
    def ticks(self):
        return [tick for batch in self.items for tick in batch.ticks]


class ByHand(Scheduler):
    """A scheduler whose actions run when the test says so, on its thread."""

    def __init__(self):
        self.waiting = deque()

    def schedule(self, action, state=None):
        self.waiting.append((action, state))
        return Disposable()

    def schedule_relative(self, duetime, action, state=None):
        return self.schedule(action, state)

    def schedule_absolute(self, duetime, action, state=None):
        return self.schedule(action, state)

    def run(self):
        while self.waiting:
            action, state = self.waiting.popleft()
            action(self, state)


def in_threads(*tasks):
    """Run tasks at once, each on a thread of its own, and raise what one of them raised."""
    raised = []
    gate = threading.Barrier(len(tasks))

    def run(task):
        gate.wait()
        try:
            task()
        except BaseException as error:  # it is raised again below
            raised.append(error)

    threads = [threading.Thread(target=run, args=(task,), daemon=True) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20 if not raised else 0.1)
    if raised:
        raise raised[0]
    assert not any(thread.is_alive() for thread in threads), "a task hangs"
