"""A log for exceptions that may come ten thousand times a second."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

__all__ = ["ThrottledLog"]

INTERVAL_S: Final = 10.0
"""Between two lines of one place: often enough to be seen, rare enough to leave the disk alone."""


class ThrottledLog:
    """Log an exception at most once in an interval, and say how many were passed over.

    Usable from any thread.

    Args:
        what: what went wrong, as the line begins.
        interval_s: between two lines, s.
        monotonic: seconds that never go back.
    """

    def __init__(
        self, what: str, *, interval_s: float = INTERVAL_S, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._what = what
        self._interval_s = interval_s
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._next_s = float("-inf")
        self._passed_over = 0

    def __call__(self, error: BaseException) -> None:
        """Log it with its traceback, or count it for the next line."""
        with self._lock:
            now_s = self._monotonic()
            if now_s < self._next_s:
                self._passed_over += 1
                return
            self._next_s = now_s + self._interval_s
            passed_over, self._passed_over = self._passed_over, 0
        more = f" ({passed_over} more since the last line)" if passed_over else ""
        _LOG.error("%s%s", self._what, more, exc_info=error)


_LOG: Final = logging.getLogger("tickbraid.operators")
