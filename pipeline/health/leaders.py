"""Which tickers bring the most, and which come the latest."""

import heapq
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from pipeline.stream import TickStream
from pipeline.symbols import WILDCARD, other_spellings
from pipeline.ticks import Tick

__all__ = ["BusyTicker", "Leaders", "SlowTicker", "Tickers"]

EVERY_S: Final = 5.0
"""Copying the counts of 6,000 tickers takes 0.1 ms; this is often enough."""
WINDOW: Final = 3
"""Copies kept, so that rates are of the last 10 to 15 s."""
MEASURE_AT_LEAST_S: Final = 1.0
SHOWN: Final = 20
RECENT_NS: Final = 60_000_000_000
"""A ticker that was silent for longer has no latency now."""


@dataclass(frozen=True, slots=True)
class BusyTicker:
    """Is a ticker that brings much; ``ticks_per_s`` without duplicates."""

    ticker: str
    connections: list[str]
    ticks_per_s: float


@dataclass(frozen=True, slots=True)
class SlowTicker:
    """Is a ticker whose newest tick was late when it was received.

    Args:
        event_type: of that tick.
        latency_ms: from the event's time until received; of a bar from its end.
        age_s: since it was received.
    """

    ticker: str
    event_type: str
    connections: list[str]
    latency_ms: float
    age_s: float


@dataclass(frozen=True, slots=True)
class Tickers:
    """Is what ``/api/tickers`` says.

    Args:
        window_s: over which the rates are taken; 0 where there are none yet.
        known: tickers that have ticked, ever.
        busiest: the 20 with the most ticks/s, the busiest first.
        slowest: the 20 with the latest newest tick, of those that ticked within a minute, the slowest first;
            bars only where nothing else comes, since they are all late by design, and never revisions.
    """

    window_s: float
    known: int
    busiest: list[BusyTicker]
    slowest: list[SlowTicker]


class Leaders:
    """Finds the busiest and the slowest tickers out of what `Activity` knows anyway.

    Nothing happens on the way of a tick. The busiest are the difference of two copies of its counts, the
    slowest come from the newest tick of each ticker, looked at when somebody asks.

    Args:
        stream: any.
        clock: wall clock, ns since the epoch.
        monotonic: seconds.
    """

    def __init__(
        self,
        stream: TickStream,
        *,
        clock: Callable[[], int] = time.time_ns,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream
        self._clock = clock
        self._monotonic = monotonic
        self._copies: deque[tuple[float, dict[str, int]]] = deque(maxlen=WINDOW)

    def sample(self) -> None:
        """Copy the counts if it is time to; on one thread."""
        now_s = self._monotonic()
        activity = self._stream.activity
        if activity is not None and (not self._copies or now_s - self._copies[-1][0] >= EVERY_S):
            self._copies.append((now_s, activity.counts()))

    def read(self) -> Tickers:
        """Return the leaders; some ms for thousands of tickers, from any thread."""
        activity = self._stream.activity
        if activity is None:
            return Tickers(0.0, 0, [], [])
        copies, counts, now_s, now_ns = (
            self._copies.copy(),
            activity.counts(),
            self._monotonic(),
            self._clock(),
        )
        since_s, before = copies[0] if copies else (now_s, counts)
        window_s = now_s - since_s if now_s - since_s >= MEASURE_AT_LEAST_S else 0.0
        busiest = heapq.nlargest(
            SHOWN if window_s else 0,
            ((count - before.get(ticker, 0), ticker) for ticker, count in counts.items()),
        )
        events = [tick for tick in activity.last_ticks().values() if not tick.is_bar]
        recent = _since(events, now_ns - RECENT_NS) or _since(activity.newest_bars(), now_ns - RECENT_NS)
        slowest = heapq.nlargest(SHOWN, recent, key=_late_ns)
        where = self._where({ticker for _, ticker in busiest} | {tick.ticker for tick in slowest})
        return Tickers(
            window_s,
            len(counts),
            [BusyTicker(name, where(name), ticks / window_s) for ticks, name in busiest if ticks > 0],
            [
                SlowTicker(
                    tick.ticker,
                    tick.event_type,
                    where(tick.ticker),
                    _late_ns(tick) / 1e6,
                    max(0.0, (now_ns - tick.received_ns) / 1e9),
                )
                for tick in slowest
            ],
        )

    def _where(self, tickers: Iterable[str]) -> Callable[[str], list[str]]:
        """Return what tells the connections that carry one of these, by name or by the wildcard."""
        wanted = {WILDCARD}.union(*((ticker, *other_spellings(ticker)) for ticker in tickers))
        carried = {name: wanted.intersection(theirs) for name, theirs in self._stream.tickers().items()}

        def where(ticker: str) -> list[str]:
            names = {ticker, *other_spellings(ticker)}
            named = [name for name, theirs in carried.items() if names & theirs]
            return named or [name for name, theirs in carried.items() if WILDCARD in theirs]

        return where


def _since(ticks: Iterable[Tick], moment_ns: int) -> list[Tick]:
    return [tick for tick in ticks if tick.received_ns > moment_ns]


def _late_ns(tick: Tick) -> float:
    return tick.received_ns - tick.event_ms * 1e6
