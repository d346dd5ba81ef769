"""How long a connection waits for what, and before it tries again: pure."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

__all__ = ["CONNECT_TIMEOUT_S", "RETRY_AFTER_MAX_S", "Backoff", "Persistence"]

CONNECT_TIMEOUT_S: Final = 10.0
RETRY_AFTER_MAX_S: Final = 300.0
"""A server that wants to be left alone for longer, or that is mistaken, is asked again after so long."""

STEADY_AFTER_S: Final = 60.0
"""A session that brought data for so long was a good one: the next trouble starts from the base again."""


@dataclass(frozen=True, slots=True)
class Persistence:
    """Says how long to wait for what, in seconds.

    Args:
        base_delay_s: the first bound of the random delay before connecting again.
        max_delay_s: its last bound.
        max_retries: attempts in a row without success before giving up; 0 is for ever.
        ping_interval_s: between pings.
        ping_timeout_s: if nothing at all comes for so long after a ping, the link is dead.
        connect_timeout_s: for the name, TCP, TLS and the upgrade together.
        auth_timeout_s: from the open socket to the accepted key.
    """

    base_delay_s: float = 1.0
    max_delay_s: float = 30.0
    max_retries: int = 0
    ping_interval_s: float = 20.0
    ping_timeout_s: float = 20.0
    connect_timeout_s: float = CONNECT_TIMEOUT_S
    auth_timeout_s: float = 10.0


class Backoff:
    """Decides on the next attempt, with full jitter: ``U(0, min(max, base·2ⁿ))``, so that a herd spreads out.

    Args:
        persistence: base, bound and number of retries.
        uniform: random in [0, 1).
    """

    def __init__(self, persistence: Persistence, uniform: Callable[[], float]) -> None:
        self._persistence = persistence
        self._uniform = uniform
        self.attempt = 0
        """Attempts since the last steady session, the present one counted."""

    @property
    def exhausted(self) -> bool:
        """Whether the retries are used up."""
        limit = self._persistence.max_retries
        return limit > 0 and self.attempt > limit

    def begin(self) -> int:
        """Count an attempt; return its number."""
        self.attempt += 1
        return self.attempt

    def session_lasted(self, data_for_s: float) -> None:
        """Note how long the ended session brought data; a steady one makes the counting start anew."""
        if data_for_s >= STEADY_AFTER_S:
            self.attempt = 0

    def delay_s(self, retry_after_s: float | None = None) -> float:
        """Return how long to wait before the next attempt.

        Args:
            retry_after_s: how long the server wants to be left alone, if it said so. The random delay comes
                on top, since it says the same to all.
        """
        doublings = min(max(0, self.attempt - 1), 30)
        bound_s = min(self._persistence.max_delay_s, self._persistence.base_delay_s * 2.0**doublings)
        return min(retry_after_s or 0.0, RETRY_AFTER_MAX_S) + self._uniform() * bound_s
