"""Logs for what may go wrong ten thousand times a second: a line now and then, and how many it stands for."""

import contextlib
import logging
from collections.abc import Hashable
from typing import Final, Generic, TypeVar

from .runtime import SYSTEM, Runtime

__all__ = ["Throttle", "ThrottledLog"]

_K = TypeVar("_K", bound=Hashable)

INTERVAL_S: Final = 10.0
"""Between two lines of one kind: often enough to be seen, rare enough to leave the disk alone."""
KINDS_KEPT: Final = 1000
"""Of more, those are forgotten that came first and held nothing back."""


class _Kind:
    __slots__ = ("began_s", "held", "passed")

    def __init__(self, began_s: float) -> None:
        self.began_s = began_s
        self.passed = 1
        self.held = 0


class Throttle(Generic[_K]):
    """Let the first few of a kind through in an interval, and count the others. Any thread.

    Args:
        burst: how many of a kind pass in an interval.
        interval_s: it begins with the first of a kind, s.
        runtime: its monotonic clock.
    """

    def __init__(
        self,
        *,
        burst: int = 1,
        interval_s: float = INTERVAL_S,
        runtime: Runtime = SYSTEM,
    ) -> None:
        self._burst = burst
        self._interval_s = interval_s
        self._monotonic = runtime.monotonic
        self._lock = runtime.lock()
        self._kinds: dict[_K, _Kind] = {}

    def admit(self, kind: _K) -> int | None:
        """Return how many of this kind were held back since the last that passed; None holds it back too."""
        with self._lock:
            now_s = self._monotonic()
            state = self._kinds.get(kind)
            if state is not None and now_s < state.began_s + self._interval_s:
                if state.passed < self._burst:
                    state.passed += 1
                    return 0
                state.held += 1
                return None
            if state is None and len(self._kinds) >= KINDS_KEPT:
                quiet = (old for old, its in self._kinds.items() if not its.held)
                del self._kinds[next(quiet, next(iter(self._kinds)))]
            self._kinds[kind] = _Kind(now_s)
            return state.held if state is not None else 0

    def take_held(self, *, early: bool = False) -> dict[_K, int]:
        """Return by kind how many were held back and not told yet, and take them as told.

        Args:
            early: those too whose interval is not over.
        """
        with self._lock:
            now_s = self._monotonic()
            held = {
                kind: state.held
                for kind, state in self._kinds.items()
                if state.held and (early or now_s >= state.began_s + self._interval_s)
            }
            for kind in held:
                self._kinds[kind].held = 0
        return held


class ThrottledLog:
    """Log an exception at most once in an interval, and say how many were passed over.

    Usable from any thread.

    Args:
        what: what went wrong, as the line begins.
        logger: where the lines go.
        interval_s: between two lines, s.
        runtime: as above.
    """

    def __init__(
        self,
        what: str,
        *,
        logger: str = "tickbraid.operators",
        interval_s: float = INTERVAL_S,
        runtime: Runtime = SYSTEM,
    ) -> None:
        self._what = what
        self._log = logging.getLogger(logger)
        self._throttle = Throttle[None](interval_s=interval_s, runtime=runtime)

    def __call__(self, error: BaseException) -> None:
        """Log it with its traceback, or count it for the next line."""
        held = self._throttle.admit(None)
        if held is not None:
            more = f" ({held} more since the last line)" if held else ""
            with contextlib.suppress(Exception):  # of a filter or handler: the log must not cost a tick
                self._log.error("%s%s", self._what, more, exc_info=error)
