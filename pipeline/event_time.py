"""When something happened, as the feed says."""

from typing import Any, Final

__all__ = ["event_ns"]

LAST_NS: Final = 2**63 - 1


def event_ns(tick: Any) -> int:
    """Return a tick's event time, ns since the epoch, within 63 bits: JSON can say 1e308 ms."""
    return int(max(0, min(tick.event_ms * 1_000_000, LAST_NS)))
