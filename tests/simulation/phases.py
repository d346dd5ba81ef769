"""In which phase a pool is when something hits it: to see what was tried, and for nothing else."""

from collections.abc import Iterator
from typing import Any, Final

from pipeline import status

__all__ = ["PHASES", "Phases"]

PHASES: Final = ("connecting", "live", "moving", "failed over", "returning", "evicted", "closing")
RETURN_S: Final = 3.0
"""A connection that came back counts as returning for so long."""
STATES: Final = {
    status.Connecting: "connecting",
    status.Connected: "connecting",
    status.Authenticated: "connecting",
    status.Disconnected: "down",
    status.Failed: "down",
}


class Phases:
    """What the connections of a stream are about, by their own events.

    Args:
        now_ns: gives the time since the beginning.
        sessions: gives the channels of each session that is there, as the server has it.
        redundant: channels that are on two sessions at all times.
    """

    def __init__(self, now_ns: Any, sessions: Any, redundant: frozenset[str]) -> None:
        self._now_ns = now_ns
        self._sessions = sessions
        self._redundant = redundant
        self._states: dict[str, str] = {}
        self._away: set[str] = set()
        """Connections whose tickers others have."""
        self._returned_ns = -(10**18)
        self.is_closing = False

    def hear(self, event: status.StatusEvent) -> None:
        """Take an event."""
        name = event.connection or ""
        if isinstance(event, status.Disconnected) and event.evicted:
            self._states[name] = "evicted"
        elif type(event) in STATES:
            self._states[name] = STATES[type(event)]
        elif isinstance(event, status.Subscribed) and not event.pending:
            self._states[name] = "live"
        elif isinstance(event, status.Moved) and event.reason == "failover":
            self._away.add(event.source)
        elif isinstance(event, status.Moved) and event.reason == "return":
            self._away.discard(name)
            self._returned_ns = self._now_ns()

    def now(self) -> Iterator[str]:
        """Yield all phases that it is in."""
        states = set(self._states.values())
        held = [
            channel for session in self._sessions() for channel in session if channel not in self._redundant
        ]
        phases = {
            "closing": self.is_closing,
            "evicted": "evicted" in states,
            "moving": len(held) > len(set(held)),
            "returning": self._now_ns() - self._returned_ns < RETURN_S * 1e9,
            "failed over": bool(self._away),
            "connecting": "connecting" in states or not states,
            "live": states == {"live"},
        }
        yield from (phase for phase in PHASES if phases[phase])
