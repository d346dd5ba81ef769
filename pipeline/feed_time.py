"""What time it is at the feed, by its own ticks."""

from bisect import insort
from typing import Any, Final

from .ticks import TickBatch

__all__ = ["DAY_NS", "FeedTime"]

DAY_NS: Final = 86_400_000_000_000
"""What is so far in the future has a time that means nothing."""
GENERATION_S: Final = 300.0
"""A sample counts until the end of the next generation: for five to ten minutes."""
BEST: Final = 8
"""So many of the highest samples are kept,"""
RANK: Final = 3
"""and where there are so many the third counts: the time of a single event may be anything."""


class FeedTime:
    """The feed's clock, told by ours that is never set and by the times of events as they came.

    An event comes some time after it happened, so that by the fastest of some events the feed's time is known
    to the way of that one. The wall clock of this machine has no part in it: it may be off, or be set at any
    time, and a delayed feed tells what was a quarter of an hour ago.
    """

    def __init__(self) -> None:
        self._turn_s = 0.0
        self._best: list[int] = []
        """Event time less our monotonic time of receipt, ns; the highest of this generation, in order."""
        self._before: list[int] = []

    def note(self, batch: TickBatch, at_s: float) -> None:
        """Take a sample of what came; a bar is none, since it is sent some time after its end.

        Args:
            batch: with ticks.
            at_s: now, monotonic. What has waited to be decoded makes a low sample, of which none is kept.
        """
        tick: Any = next((tick for tick in reversed(batch.ticks) if not tick.is_bar), None)
        if tick is None or tick.event_ns > batch.received_ns + DAY_NS:
            return
        if at_s >= self._turn_s:
            self._turn_s = at_s + GENERATION_S
            self._before, self._best = self._best, []
        insort(self._best, tick.event_ns - round(at_s * 1e9))
        del self._best[:-BEST]

    def at_ns(self, at_s: float) -> int | None:
        """Return the feed's time, ns since the epoch, at a moment of the monotonic clock; None if unknown."""
        samples = sorted(self._before + self._best)
        if not samples:
            return None
        return round(at_s * 1e9) + samples[-RANK if len(samples) >= BEST else -1]
