"""What a stream did between two moments: rates and latencies out of its counters and histograms."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from operators.histogram import HistogramSnapshot, LatencyHistogram
from operators.latency_stamp import LatenciesSnapshot
from pipeline.stream import TickStream

__all__ = ["ConnectionLine", "Meter", "Reading", "Sample", "SubscriberLine", "compare"]

WINDOW_S: Final = 3.0
"""Figures are of the last seconds: long enough to be calm, short enough to be news."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Is what a stream had counted at a moment.

    Args:
        at_s: monotonic, s.
        health: as ``TickStream.health()`` gives it.
        latencies: since the start.
    """

    at_s: float
    health: Mapping[str, Any]
    latencies: LatenciesSnapshot


@dataclass(frozen=True, slots=True)
class ConnectionLine:
    """Says how a connection does; counts are since the start.

    Args:
        phase: as its snapshot has it, ``live``.
        ticks_per_s: elements received, of the last seconds.
        p50_ms: from the event's time until received, of the last seconds; None where nothing came but bars.
        p99_ms: as above.
        bars_p50_ms: from the end of a bar until it came for the first time; None where none came.
        bars_p99_ms: as above.
        dropped: the most that any subscriber went without.
    """

    id: str
    name: str
    phase: str
    ticks_per_s: float
    p50_ms: float | None
    p99_ms: float | None
    bars_p50_ms: float | None
    bars_p99_ms: float | None
    duplicates: int
    rejected: int
    dropped: int


@dataclass(frozen=True, slots=True)
class SubscriberLine:
    """Says how a subscriber does; counts are since the start.

    Args:
        state: the sink's, ``up``, or how many ticks failed; "" where there is nothing to tell.
        p50_ms: from received until delivered, of the last seconds; None where nothing was.
        p99_ms: as above.
        messages_per_s: to Redis; None for other subscribers.
        sink_p50_ms: from the sink's taking them until its server acknowledged them, of the last seconds; None
            where it has none, or nothing was.
        sink_p99_ms: as above.
    """

    name: str
    state: str
    delivered_per_s: float
    queued: int
    dropped: int
    failed: int
    rejected: int
    p50_ms: float | None
    p99_ms: float | None
    messages_per_s: float | None
    sink_p50_ms: float | None
    sink_p99_ms: float | None


@dataclass(frozen=True, slots=True)
class Reading:
    """Is what a `Meter` shows."""

    connections: tuple[ConnectionLine, ...]
    subscribers: tuple[SubscriberLine, ...]
    feed_p50_ms: float | None
    feed_p99_ms: float | None
    bars_p50_ms: float | None
    bars_p99_ms: float | None

    @property
    def ticks_per_s(self) -> float:
        """Of all connections."""
        return sum(line.ticks_per_s for line in self.connections)


class Meter:
    """Reads a stream again and again, on the caller's thread.

    Args:
        stream: any.
        window_s: how far back a reading looks at most, s.
        monotonic: seconds.
    """

    def __init__(
        self,
        stream: TickStream,
        window_s: float = WINDOW_S,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream
        self._window_s = window_s
        self._monotonic = monotonic
        self._samples = deque([self._sample()])

    @property
    def newest(self) -> Sample:
        """What the last reading was made of."""
        return self._samples[-1]

    def read(self) -> Reading:
        """Return the figures since the newest reading that is at least the window old, or since the first."""
        now = self._sample()
        while len(self._samples) > 1 and self._samples[1].at_s <= now.at_s - self._window_s:
            self._samples.popleft()
        self._samples.append(now)
        return compare(self._samples[0], now)

    def _sample(self) -> Sample:
        return Sample(self._monotonic(), self._stream.health(), self._stream.latencies.snapshot())


def compare(earlier: Sample, later: Sample) -> Reading:
    """Return what came between two samples of one stream."""
    seconds = later.at_s - earlier.at_s
    feed = _between(earlier.latencies.feed, later.latencies.feed)
    bars = _between(earlier.latencies.bars, later.latencies.bars)
    delivered = _between(earlier.latencies.delivered, later.latencies.delivered)
    sink = _between(earlier.latencies.sink, later.latencies.sink)
    feed_p50_ms, feed_p99_ms = _p50_p99_ms(sum(feed.values(), _EMPTY))
    bars_p50_ms, bars_p99_ms = _p50_p99_ms(sum(bars.values(), _EMPTY))
    before = earlier.health["subscribers"]
    return Reading(
        connections=tuple(
            _connection(
                line,
                earlier.health,
                later.health,
                seconds,
                latency=feed.get(line["id"], _EMPTY),
                of_bars=bars.get(line["id"], _EMPTY),
            )
            for line in later.health["connections"]
        ),
        subscribers=tuple(
            _subscriber(
                name,
                now,
                before.get(name),
                seconds,
                latency=delivered.get(name, _EMPTY),
                acknowledged=sink.get(name, _EMPTY),
            )
            for name, now in later.health["subscribers"].items()
        ),
        feed_p50_ms=feed_p50_ms,
        feed_p99_ms=feed_p99_ms,
        bars_p50_ms=bars_p50_ms,
        bars_p99_ms=bars_p99_ms,
    )


_EMPTY: Final = LatencyHistogram().snapshot()
_NOTHING: Final[Mapping[str, int]] = {"received": 0, "deduplicated": 0, "rejected": 0}


def _connection(
    line: Mapping[str, Any],
    before: Mapping[str, Any],
    now: Mapping[str, Any],
    seconds: float,
    *,
    latency: HistogramSnapshot,
    of_bars: HistogramSnapshot,
) -> ConnectionLine:
    accounts = _accounts(now, line["id"])
    witness = _witness(accounts)
    received_before = _witness(_accounts(before, line["id"]))["received"]
    p50_ms, p99_ms = _p50_p99_ms(latency)
    bars_p50_ms, bars_p99_ms = _p50_p99_ms(of_bars)
    return ConnectionLine(
        id=line["id"],
        name=line["name"],
        phase=line["phase"],
        ticks_per_s=_rate(witness["received"] - received_before, seconds),
        p50_ms=p50_ms,
        p99_ms=p99_ms,
        bars_p50_ms=bars_p50_ms,
        bars_p99_ms=bars_p99_ms,
        duplicates=witness["deduplicated"],
        rejected=witness["rejected"],
        dropped=max((account["dropped"] for account in accounts), default=0),
    )


def _subscriber(
    name: str,
    now: Mapping[str, Any],
    before: Mapping[str, Any] | None,
    seconds: float,
    *,
    latency: HistogramSnapshot,
    acknowledged: HistogramSnapshot,
) -> SubscriberLine:
    account, sink = now["account"], now["sink"]
    delivered = account["delivered"] - (before["account"]["delivered"] if before else 0)
    messages = None
    if "acknowledged" in sink:
        messages = _rate(sink["acknowledged"] - (before["sink"]["acknowledged"] if before else 0), seconds)
    failed = account["failed"]
    p50_ms, p99_ms = _p50_p99_ms(latency)
    sink_p50_ms, sink_p99_ms = _p50_p99_ms(acknowledged)
    return SubscriberLine(
        name=name,
        state=sink.get("state") or (f"{failed:,} failed" if failed else ""),
        delivered_per_s=_rate(delivered, seconds),
        queued=account["queued"],
        dropped=account["dropped"],
        failed=failed,
        rejected=account["rejected"],
        p50_ms=p50_ms,
        p99_ms=p99_ms,
        messages_per_s=messages,
        sink_p50_ms=sink_p50_ms,
        sink_p99_ms=sink_p99_ms,
    )


def _accounts(health: Mapping[str, Any], connection: str) -> list[Mapping[str, int]]:
    """Return what each subscriber's account says of a connection."""
    subscribers = health["subscribers"].values()
    return [each["connections"][connection] for each in subscribers if connection in each["connections"]]


def _witness(accounts: Iterable[Mapping[str, int]]) -> Mapping[str, int]:
    """Return the account of who was there first: it has seen the most, and stands before the sinks."""
    return max(accounts, key=lambda account: account["received"], default=_NOTHING)


def _between(
    earlier: Mapping[str, HistogramSnapshot], later: Mapping[str, HistogramSnapshot]
) -> dict[str, HistogramSnapshot]:
    return {name: now - earlier[name] if name in earlier else now for name, now in later.items()}


def _rate(count: int, seconds: float) -> float:
    # What waits undecoded is estimated, so a count may have been a little more before.
    return max(count, 0) / seconds if seconds > 0 else 0.0


def _p50_p99_ms(histogram: HistogramSnapshot) -> tuple[float | None, float | None]:
    if not histogram.count:
        return None, None
    p50_ns, p99_ns = histogram.percentiles(50, 99)
    return p50_ns / 1e6, p99_ns / 1e6
