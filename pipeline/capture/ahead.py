"""What is read from the disk before it is needed, on a thread of its own."""

import threading
from collections import deque
from collections.abc import Iterator
from typing import Final, Generic, TypeVar

__all__ = ["Ahead"]

CHUNKS: Final = 4
JOIN_TIMEOUT_S: Final = 2.0

_T = TypeVar("_T")


class Ahead(Iterator[_T], Generic[_T]):
    """Iterates over the items of chunks, of which ``tickbraid-replay`` makes some ahead.

    The thread starts with the first item that is asked for, or as soon as one can be started; it ends after
    the last chunk, or with `close`. One thread iterates; what making a chunk raises is raised there, in its
    place.

    Args:
        chunks: are made on the thread; this has to be all that uses them.
    """

    def __init__(self, chunks: Iterator[list[_T]]) -> None:
        self._chunks = chunks
        self._changed = threading.Condition()
        self._ready: deque[list[_T]] = deque()
        self._over = False
        self._error: BaseException | None = None
        self._items: Iterator[_T] = iter(())
        self._thread: threading.Thread | None = None

    def __next__(self) -> _T:
        while True:
            for item in self._items:
                return item
            self._items = iter(self._next_chunk())

    def close(self) -> None:
        """End the thread; from any thread, idempotent. Whoever iterates comes to the end."""
        with self._changed:
            self._over = True
            self._ready.clear()
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(JOIN_TIMEOUT_S)

    def _next_chunk(self) -> list[_T]:
        if self._thread is None and not self._over and not self._start():
            return next(self._chunks)
        with self._changed:
            self._changed.wait_for(lambda: self._ready or self._over)
            if self._ready:
                self._changed.notify_all()
                return self._ready.popleft()
            if self._error is not None:
                error, self._error = self._error, None
                raise error
        raise StopIteration

    def _start(self) -> bool:
        """Return whether there is a thread; without one each chunk is made when it is needed."""
        thread = threading.Thread(target=self._run, name="tickbraid-replay", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            return False
        self._thread = thread
        return True

    def _run(self) -> None:
        try:
            for chunk in self._chunks:
                with self._changed:
                    self._changed.wait_for(lambda: len(self._ready) < CHUNKS or self._over)
                    if self._over:
                        return
                    self._ready.append(chunk)
                    self._changed.notify_all()
        except BaseException as error:  # noqa: BLE001  # whoever iterates gets it
            self._error = error
        finally:
            with self._changed:
                self._over = True
                self._changed.notify_all()
