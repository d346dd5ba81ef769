"""How much time a recording takes, whose times are a wall clock's that may have been set meanwhile."""

from typing import Final

__all__ = ["SILENCE_MAX_NS", "Pace"]

SILENCE_MAX_NS: Final = 60_000_000_000
"""A longer silence takes so long: it is a clock that was set forward, the time between two recordings, or a
night that nobody wants to sit out. Bars of a minute come as they came."""
JITTER_NS: Final = 1_000_000_000
"""What one thread noted may stand before what another noted a little earlier; more is a clock set back."""


class Pace:
    """Adds up what passed between the times of a recording, as they come; one thread."""

    def __init__(self) -> None:
        self._at_ns: int | None = None
        self._elapsed_ns = 0

    def advance(self, at_ns: int) -> int:
        """Return how long after the first the next one is due, ns: never before one that came earlier."""
        step_ns = 0 if self._at_ns is None else at_ns - self._at_ns
        if step_ns > 0:
            self._elapsed_ns += min(step_ns, SILENCE_MAX_NS)
        if self._at_ns is None or step_ns > 0 or step_ns < -JITTER_NS:
            self._at_ns = at_ns
        return self._elapsed_ns
