"""The thread that writes the files of one kind, behind a buffer with a limit."""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, Generic, TypeVar

from .parts import Parts

__all__ = ["Writer"]

CLOSE_TIMEOUT_S: Final = 10.0
"""A disk that has not taken the rest after so long is given up; its file stays unfinished."""

_Item = TypeVar("_Item")


class Writer(Generic[_Item]):
    """Packs and writes what it is given, on the thread ``tickbraid-capture-KIND``, until `close`.

    `put`, `offer` and `close` may be called from any thread. What it cannot write ends it: it takes nothing
    any more, and tells so once.

    Args:
        kind: for the thread's name.
        parts: owned by the thread.
        pack: makes a record batch of what waited together, on the thread.
        capacity: of the buffer, in the unit of the sizes that `put` and `offer` are given.
        on_failure: told what went wrong and how many rows that cost, on the thread.
        at_rest: called on the thread after each write, and at least once a second; must not block.
        monotonic: seconds.
    """

    def __init__(
        self,
        kind: str,
        parts: Parts,
        pack: Callable[[Sequence[_Item]], Any],
        *,
        capacity: int,
        on_failure: Callable[[BaseException, int], None],
        at_rest: Callable[[], None] = lambda: None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.parts = parts
        self._pack = pack
        self._capacity = capacity
        self._on_failure = on_failure
        self._at_rest = at_rest
        self._monotonic = monotonic
        self._changed = threading.Condition()
        self._items: deque[tuple[_Item, int]] = deque()
        self._size = 0
        self._rows = 0
        """All that were packed."""
        self._stopped = False
        """No more is taken: it was closed, or has failed."""
        self._thread = threading.Thread(target=self._run, name=f"tickbraid-capture-{kind}", daemon=True)
        self._thread.start()

    @property
    def stopped(self) -> bool:
        """Whether it takes nothing any more."""
        return self._stopped

    def offer(self, item: _Item, size: int) -> bool:
        """Take something if there is room; return whether."""
        with self._changed:
            return self._take(item, size)

    def put(self, item: _Item, size: int) -> bool:
        """Wait for room and take something; return whether, as it may be stopped meanwhile."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or self._has_room(size))
            return self._take(item, size)

    def stop(self) -> None:
        """Take nothing any more, and let who waits go."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def close(self) -> None:
        """Write what waits, finish the file and end the thread; idempotent."""
        self.stop()
        if threading.current_thread() is not self._thread:
            self._thread.join(CLOSE_TIMEOUT_S)

    def _has_room(self, size: int) -> bool:
        return not self._items or self._size + size <= self._capacity

    def _take(self, item: _Item, size: int) -> bool:
        if self._stopped or not self._has_room(size):
            return False
        self._items.append((item, size))
        self._size += size
        self._changed.notify_all()
        return True

    def _run(self) -> None:
        try:
            while (items := self._wait()) is not None:
                if items:
                    rows = self._pack(items)
                    self._rows += rows.num_rows
                    self.parts.append(rows)
                self.parts.rotate()
                self._at_rest()
            self.parts.finish()
        except BaseException as error:  # noqa: BLE001  # whatever it is, it ends the capture and not the stream
            self._fail(error)
        finally:
            self.stop()
            self._at_rest()

    def _wait(self) -> list[_Item] | None:
        """Wait for something to do, a second at most; return what to write, None at the end."""
        with self._changed:
            due_s = self.parts.due_s
            rest_s = 1.0 if due_s is None else min(1.0, due_s - self._monotonic())
            self._changed.wait_for(lambda: self._items or self._stopped, max(0.0, rest_s))
            if not self._items and self._stopped:
                return None
            items = [item for item, _ in self._items]
            self._items.clear()
            self._size = 0
            self._changed.notify_all()
            return items

    def _fail(self, error: BaseException) -> None:
        with self._changed:
            self._stopped = True
            waiting = [item for item, _ in self._items]
            self._items.clear()
            self._size = 0
            self._changed.notify_all()
        self.parts.abandon()
        self._on_failure(
            error, self._rows - self.parts.rows + (self._pack(waiting).num_rows if waiting else 0)
        )
