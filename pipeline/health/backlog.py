"""Which backlogs grow, and when they will overflow: pure.

There are two. What we have read and not decoded waits here, in bytes. What the server could not send waits
there, and shows as lateness that grows from second to second: each second without a backlog brings a second
of events, each second with a slow reader less.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Final, Literal, NamedTuple

from pipeline.status import CaughtUp, FallingBehind, StatusEvent

__all__ = ["Backlogs", "Flow"]

SERVER_LOOKS: Final = 5
INGEST_LOOKS: Final = 3
"""Of so many looks none may find less, and but one no more, before a backlog is called growing."""
OVER_LOOKS: Final = 3
"""So many in a row must find no more than so many looks before, until it is called over."""
BEHIND_NS: Final = 500_000_000
"""A server's backlog of less comes and goes."""
SLOPE: Final = 0.05
"""So many seconds of backlog a second: slower is a clock that drifts, or a market that turns."""
STEEPEST: Final = 0.95
"""Nothing grows faster and still brings ticks."""
FULL: Final = 0.1
"""A buffer here that is less full than this part is no concern."""
HORIZON_S: Final = 60.0
"""Nor one that takes longer than this to fill up."""


class Flow(NamedTuple):
    """Is what a connection brought since the last look.

    Args:
        floor_ns: the lateness that a tenth of its ticks stayed below.
        bytes_per_s: received.
    """

    floor_ns: int
    bytes_per_s: float


@dataclass(slots=True)
class _Trend:
    """Follows one backlog, in whatever unit."""

    looks: int
    least: float = inf
    behind_since_s: float | None = None
    calm: int = 0
    seen: deque[tuple[float, float]] = field(default_factory=deque)

    def look(self, now_s: float, level: float) -> None:
        self.least = min(self.least, level)
        # Against some looks before: a histogram tells a large lateness in steps of 3 %.
        self.calm = self.calm + 1 if self.seen and level <= self.seen[0][1] else 0
        self.seen.append((now_s, level))
        if len(self.seen) > self.looks + 1:
            self.seen.popleft()

    @property
    def growth_per_s(self) -> float:
        """How fast it grew, from where it began to; 0 if the last looks do not agree that it does."""
        levels = [level for _, level in self.seen]
        if len(levels) <= self.looks or levels != sorted(levels) or len(set(levels)) < self.looks:
            return 0.0
        (begin_s, begin), (end_s, end) = self.seen[levels.count(levels[0]) - 1], self.seen[-1]
        return (end - begin) / max(end_s - begin_s, 1e-9)

    def turns(self, *, grows: bool, over: bool) -> bool:
        """Tell whether there is something to say."""
        return grows if self.behind_since_s is None else over


_Where = Literal["server", "ingest"]


class Backlogs:
    """Says when a backlog begins to grow towards its end, and when it no longer does. One thread.

    Args:
        ingest_bytes: how much may wait here.
        server_bytes: how much the server keeps for a slow reader; None where nobody knows.
    """

    def __init__(self, ingest_bytes: int, server_bytes: int | None) -> None:
        self._ingest_bytes = ingest_bytes
        self._server_bytes = server_bytes
        self._trends: dict[tuple[_Where, str | None], _Trend] = {}

    @property
    def behind(self) -> tuple[str, ...]:
        """Whose server's backlog is told to grow, by connection id; ``ingest`` for what waits here."""
        growing = [key for key, trend in self._trends.items() if trend.behind_since_s is not None]
        return tuple((name if where == "server" else where) or where for where, name in growing)

    def forget(self, connection: str) -> None:
        """Take note that the session ended: the server keeps nothing for it any more."""
        self._trends.pop(("server", connection), None)

    def look(
        self, flows: Mapping[str, Flow], queues: Mapping[str | None, int], *, now_s: float, at_ns: int
    ) -> list[StatusEvent]:
        """Return what has changed since the last look.

        Args:
            flows: by connection id, of those that brought enough to tell.
            queues: bytes that wait here, by connection id; under None, of all together.
            now_s: monotonic.
            at_ns: wall clock.
        """
        events: list[StatusEvent] = []
        for name, queued_bytes in queues.items():
            trend = self._trends.setdefault(("ingest", name), _Trend(INGEST_LOOKS))
            trend.look(now_s, queued_bytes)
            growth = trend.growth_per_s
            left_s = (self._ingest_bytes - queued_bytes) / growth if growth > 0 else HORIZON_S
            grows = queued_bytes >= FULL * self._ingest_bytes and left_s < HORIZON_S
            emptied = queued_bytes < FULL / 2 * self._ingest_bytes
            if trend.turns(grows=grows, over=emptied):
                event = _event(
                    "ingest",
                    name,
                    trend,
                    now_s=now_s,
                    at_ns=at_ns,
                    queued_bytes=queued_bytes,
                    backlog_s=0.0,
                    overflow_in_s=max(left_s, 0.0),
                )
                events.append(event)
        for connection, flow in flows.items():
            trend = self._trends.setdefault(("server", connection), _Trend(SERVER_LOOKS))
            trend.look(now_s, flow.floor_ns)
            behind_ns, slope = flow.floor_ns - trend.least, trend.growth_per_s / 1e9
            grows = behind_ns >= BEHIND_NS and slope >= SLOPE
            gone = behind_ns < BEHIND_NS / 2
            if trend.turns(grows=grows, over=gone or trend.calm >= OVER_LOOKS):
                event = _event(
                    "server",
                    connection,
                    trend,
                    now_s=now_s,
                    at_ns=at_ns,
                    queued_bytes=queues.get(connection, queues.get(None, 0)),
                    backlog_s=behind_ns / 1e9,
                    overflow_in_s=self._left_s(behind_ns / 1e9, min(slope, STEEPEST), flow.bytes_per_s),
                )
                events.append(event)
        return events

    def _left_s(self, behind_s: float, slope: float, bytes_per_s: float) -> float | None:
        """Return when the server's buffer is full.

        Of what it is sent in a second we take ``1 - slope``, so it is sent ``bytes_per_s / (1 - slope)``; and
        what it keeps are the last ``behind_s`` of it. The kernels' buffers on the way are not told apart.
        """
        if self._server_bytes is None or not bytes_per_s:
            return None
        sent_per_s = bytes_per_s / (1 - slope)
        return max(0.0, self._server_bytes - sent_per_s * behind_s) / (sent_per_s * slope)


def _event(
    where: _Where,
    connection: str | None,
    trend: _Trend,
    *,
    now_s: float,
    at_ns: int,
    queued_bytes: int,
    backlog_s: float,
    overflow_in_s: float | None,
) -> StatusEvent:
    """Turn the trend, and return the event that says so."""
    since_s = trend.behind_since_s
    if since_s is not None:
        trend.behind_since_s = None
        return CaughtUp(connection=connection, at_ns=at_ns, where=where, behind_for_s=now_s - since_s)
    trend.behind_since_s = now_s
    return FallingBehind(
        connection=connection,
        at_ns=at_ns,
        where=where,
        backlog_s=backlog_s,
        queued_bytes=queued_bytes,
        overflow_in_s=overflow_in_s,
    )
