"""Which tickers come late while the others of their connection do not: pure.

It looks at the last tick of some tickers at a time, so what it costs does not grow with the rate, and of a
large universe it needs some looks to see all.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Final, NamedTuple

from pipeline.status import Late, OnTime, StatusEvent
from pipeline.symbols import WILDCARD

__all__ = ["LateTickers", "Sighting"]

AT_LEAST_NS: Final = 1_000_000_000
"""Less than this behind the fastest of the connection is nobody's concern."""
CONFIRM_SIGHTINGS: Final = 3
"""So many new ticks in a row must agree."""
SUSPECTS_MAX: Final = 1000
"""More tickers than that are not late by themselves."""
FEW: Final = 0.25
"""Nor is a larger part of what is seen: then it is the connection."""
SEEN_AT_LEAST: Final = 8
"""And of fewer tickers nobody can tell what the others do."""
FORGOTTEN_AFTER_S: Final = 60.0
"""A late ticker that brings nothing for so long is late no more."""


class Sighting(NamedTuple):
    """Is the newest tick of a ticker.

    Args:
        received_ns: wall clock.
        late_ns: from its own time until then.
    """

    ticker: str
    received_ns: int
    late_ns: int


@dataclass(slots=True)
class _Suspect:
    connection: str
    late_ns: int = 0
    seen_ns: int = 0
    seen_s: float = 0.0
    """When its newest tick was looked at first, monotonic."""
    agreed: int = 0
    """New ticks in a row that say the opposite of what is thought of it."""
    late_since_s: float | None = None

    def see(self, sighting: Sighting, floor_ns: int, now_s: float) -> None:
        if sighting.received_ns == self.seen_ns:
            return
        self.seen_ns, self.late_ns, self.seen_s = sighting.received_ns, sighting.late_ns, now_s
        late = sighting.late_ns - floor_ns >= AT_LEAST_NS
        self.agreed = self.agreed + 1 if late is (self.late_since_s is None) else 0


class LateTickers:
    """Says which tickers become late by themselves, and when they are on time again. One thread.

    Args:
        homes: returns the connection of each ticker, and that of the wildcard for all others; asked only
            where there is a choice, and a suspect.
    """

    def __init__(self, homes: Callable[[], Mapping[str, str]]) -> None:
        self._homes = homes
        self._suspects: dict[str, _Suspect] = {}

    @property
    def late(self) -> tuple[str, ...]:
        """Those that are."""
        return tuple(ticker for ticker, its in self._suspects.items() if its.late_since_s is not None)

    @property
    def suspects(self) -> tuple[str, ...]:
        """Those whose next ticks are to be seen, whosever turn it is."""
        return tuple(self._suspects)

    def look(
        self, sightings: Iterable[Sighting], floors: Mapping[str, int], *, now_s: float, at_ns: int
    ) -> list[StatusEvent]:
        """Return what has changed since the last look.

        Args:
            sightings: the last ticks of some tickers, and of the `suspects`.
            floors: connection id to the lateness that a tenth of its ticks stayed below, ns.
            now_s: monotonic.
            at_ns: wall clock.
        """
        seen = list(sightings)
        if not floors or len(seen) < SEEN_AT_LEAST:
            return []
        slow_ns = min(floors.values()) + AT_LEAST_NS
        slow = [sighting.ticker for sighting in seen if sighting.late_ns >= slow_ns]
        if len(slow) > FEW * len(seen):
            return []
        self._suspect(slow, floors)
        for sighting in seen:
            suspect = self._suspects.get(sighting.ticker)
            if suspect is not None and suspect.connection in floors:
                suspect.see(sighting, floors[suspect.connection], now_s)
        return self._judge(floors, now_s, at_ns)

    def _suspect(self, tickers: list[str], floors: Mapping[str, int]) -> None:
        new = [ticker for ticker in tickers if ticker not in self._suspects]
        if not new:
            return
        only = next(iter(floors)) if len(floors) == 1 else None
        homes: Mapping[str, str] = {} if only else self._homes()
        for ticker in new[: SUSPECTS_MAX - len(self._suspects)]:
            connection = only or homes.get(ticker) or homes.get(WILDCARD)
            if connection is not None:
                self._suspects[ticker] = _Suspect(connection)

    def _judge(self, floors: Mapping[str, int], now_s: float, at_ns: int) -> list[StatusEvent]:
        begin: dict[str, list[str]] = {}
        end: dict[str, list[str]] = {}
        for ticker, suspect in self._suspects.items():
            confirmed = suspect.agreed >= CONFIRM_SIGHTINGS
            if suspect.late_since_s is None and confirmed and suspect.connection in floors:
                begin.setdefault(suspect.connection, []).append(ticker)
            elif suspect.late_since_s is not None and (
                confirmed or now_s - suspect.seen_s > FORGOTTEN_AFTER_S
            ):
                end.setdefault(suspect.connection, []).append(ticker)
        events: list[StatusEvent] = []
        for connection, tickers in begin.items():
            for ticker in tickers:
                self._suspects[ticker].late_since_s, self._suspects[ticker].agreed = now_s, 0
            late_s = max(self._suspects[ticker].late_ns for ticker in tickers) / 1e9
            usually_s = floors[connection] / 1e9
            events.append(
                Late(
                    connection=connection,
                    at_ns=at_ns,
                    tickers=tuple(tickers),
                    late_s=late_s,
                    usually_s=usually_s,
                )
            )
        for connection, tickers in end.items():
            since_s = (self._suspects[ticker].late_since_s for ticker in tickers)
            late_for_s = now_s - min(each_s for each_s in since_s if each_s is not None)
            events.append(
                OnTime(connection=connection, at_ns=at_ns, tickers=tuple(tickers), late_for_s=late_for_s)
            )
        # Whom the last tick acquitted is no suspect; nor is one that is on time again.
        gone = [t for t, its in self._suspects.items() if its.late_since_s is None and not its.agreed]
        for ticker in (*gone, *chain(*end.values())):
            del self._suspects[ticker]
        return events
