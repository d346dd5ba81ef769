"""How a connection is doing, as a value."""

import enum
from dataclasses import dataclass

__all__ = ["ConnectionSnapshot", "Phase"]


class Phase(enum.Enum):
    """Where a connection stands."""

    IDLE = "idle"
    CONNECTING = "connecting"
    GREETING = "greeting"
    AUTHENTICATING = "authenticating"
    LIVE = "live"
    BACKING_OFF = "backing_off"
    HELD = "held"
    """Evicted, and waiting until it may try again."""
    FAILED = "failed"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class ConnectionSnapshot:
    """Says how a connection is doing; counts are since the start, ages in seconds.

    Args:
        connects: sockets opened.
        attempt: the attempts since the last steady session.
        confirmed: channels, as are ``pending``, ``refused`` and ``unanswered``.
        silent_for_s: since the last ticks; None where it is not live, or none came in this session.
        limit_s: from when on that is far longer than usual; None where nobody can tell yet.
        stale: it was found to be, and is being asked for ticks.
    """

    id: str
    name: str
    url: str
    phase: Phase
    confirmed: int = 0
    pending: int = 0
    refused: int = 0
    unanswered: int = 0
    messages: int = 0
    received_bytes: int = 0
    connects: int = 0
    disconnects: int = 0
    evictions: int = 0
    attempt: int = 0
    last_message_age_s: float | None = None
    last_trouble: str | None = None
    silent_for_s: float | None = None
    limit_s: float | None = None
    stale: bool = False
