"""The health of a stream as plain values, made from the snapshots of its parts."""

from collections.abc import Iterable, Mapping
from dataclasses import fields
from itertools import chain
from typing import Any, Final

from operators.account import Account
from operators.histogram import HistogramSnapshot, LatencyHistogram
from operators.latency_stamp import LatenciesSnapshot
from pipeline.engine import Engine
from pipeline.massive.snapshot import ConnectionSnapshot, Phase
from pipeline.outlet import Reading
from pipeline.symbols import WILDCARD, named_of

from .figures import ConnectionFigures, Figures, Findings, SubscriberFigures

__all__ = ["latency_ms", "stream_figures", "stream_health"]

_EMPTY: Final = LatencyHistogram().snapshot()
_ADDED_UP: Final = ("ticks", "ticks_per_s", "errors", "reconnects", "queued")
"""Which figures of the connections the totals are the sums of."""


def stream_figures(
    engine: Engine | None,
    readings: Iterable[Reading],
    waiting: Mapping[str, int],
    latencies: LatenciesSnapshot,
) -> Figures:
    """Return what a stream has counted until now. It costs some ms.

    Args:
        engine: what runs, None before the first subscriber.
        readings: the subscribers' accounts.
        waiting: elements that wait undecoded, by connection.
        latencies: as they are now.
    """
    subscribers = {each.outlet.name: _subscriber_figures(each, waiting) for each in readings}
    if engine is None:
        return Figures(subscribers=subscribers, latencies=latencies)
    ticks, ticks_per_s = engine.activity.ticks(), engine.activity.ticks_per_s()
    rejects = engine.rejects
    return Figures(
        connections={
            source.id: ConnectionFigures(
                source.snapshot(),
                ticks.get(source.id, 0),
                ticks_per_s.get(source.id, 0.0),
                rejects.by_connection.get(source.id, 0),
                waiting.get(source.id, 0),
            )
            for source in engine.sources
        },
        subscribers=subscribers,
        latencies=latencies,
        queued_bytes=engine.ingest.queued_bytes,
        rejected=dict(rejects.by_reason),
        unreadable=dict(rejects.unreadable),
        findings=engine.attribution.findings(),
    )


def stream_health(
    state: str, figures: Figures, carried: Mapping[str, tuple[str, ...]], *, running: bool = True
) -> dict[str, Any]:
    """Return what ``TickStream.health()`` returns; JSON can take it.

    Each connection has what its `ConnectionSnapshot` has, and ``status`` (its phase's word), ``tickers``
    (how many it is to carry by name), ``all_symbols`` (whether it carries ``*``), ``ticks`` and
    ``ticks_per_s`` (duplicates not counted; of the last five full seconds), ``rejected`` (elements that the
    decoder took for no tick), ``reconnects`` (sockets opened after the first), ``errors`` (sessions and
    attempts that ended unasked, and rejected elements), ``queued`` (elements that wait undecoded),
    ``latency_ms`` (from the event's time until received, without bars) and ``bars_latency_ms`` (from the end
    of a bar until it came for the first time).
    ``unreadable`` counts the fields that came with values of another type, by event type and field: those
    ticks passed without them. ``totals`` has the connections' sums; a ticker that two connections carry
    counts once. ``late``, ``late_tickers``, ``falling_behind`` and ``clock`` are what `Findings` has.

    Args:
        state: of the stream.
        figures: what was counted.
        carried: connection id to its tickers.
        running: it was started, so that there is a buffer to tell of.
    """
    latencies = figures.latencies
    connections = [
        _connection(each, carried.get(name, ()), latencies, name)
        for name, each in figures.connections.items()
    ]
    return {
        "state": state,
        "totals": _totals(carried, connections),
        "connections": connections,
        "ingest": {"queued_bytes": figures.queued_bytes} if running else {},
        "rejected": figures.rejected,
        "unreadable": figures.unreadable,
        "subscribers": {name: _subscriber(each) for name, each in figures.subscribers.items()},
        "latency_ms": {
            stage: {name: latency_ms(histogram) for name, histogram in getattr(latencies, stage).items()}
            for stage in ("feed", "bars", "decode", "delivered", "sink")
        },
        **_values(figures.findings),
    }


def latency_ms(histogram: HistogramSnapshot) -> dict[str, float]:
    """Return the figures of a histogram, ms."""
    return {
        "count": histogram.count,
        "negative": histogram.negative,
        **_percentiles_ms(histogram),
        "max": histogram.max / 1e6,
    }


def _connection(
    figures: ConnectionFigures, tickers: tuple[str, ...], latencies: LatenciesSnapshot, name: str
) -> dict[str, Any]:
    snapshot, word = figures.snapshot, figures.snapshot.phase.value
    return _values(snapshot) | {
        "phase": word,
        "status": word,
        "tickers": len(named_of(tickers)),
        "all_symbols": WILDCARD in tickers,
        "ticks": figures.ticks,
        "ticks_per_s": figures.ticks_per_s,
        "rejected": figures.rejected,
        "reconnects": max(snapshot.connects - 1, 0),
        "errors": snapshot.disconnects + figures.rejected,
        "queued": figures.queued,
        "latency_ms": _percentiles_ms(latencies.feed.get(name, _EMPTY)),
        "bars_latency_ms": _percentiles_ms(latencies.bars.get(name, _EMPTY)),
    }


def _totals(carried: Mapping[str, tuple[str, ...]], connections: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "connections": len(connections),
        "connected": sum(connection["phase"] == Phase.LIVE.value for connection in connections),
        "tickers": len(named_of(chain(*carried.values()))),
        "all_symbols": any(WILDCARD in tickers for tickers in carried.values()),
        **{name: sum(connection[name] for connection in connections) for name in _ADDED_UP},
    }


def _percentiles_ms(histogram: HistogramSnapshot) -> dict[str, float]:
    p50_ns, p99_ns = histogram.percentiles(50, 99)
    return {"p50": p50_ns / 1e6, "p99": p99_ns / 1e6}


def _values(snapshot: ConnectionSnapshot | Findings) -> dict[str, Any]:
    """Return the fields by name; nothing in them needs a copy."""
    return {each.name: getattr(snapshot, each.name) for each in fields(snapshot)}


def _subscriber_figures(reading: Reading, waiting: Mapping[str, int]) -> SubscriberFigures:
    outlet = reading.outlet
    return SubscriberFigures(
        overflow=outlet.overflow,
        ended=outlet.ended.is_set(),
        accounts=reading.accounts(waiting),
        dropped=outlet.gauge.dropped_by_reason(),
        errors=outlet.errors + outlet.gauge.errors,
        sink=outlet.snapshot(),
        undecoded=dict(waiting) if reading.is_awaiting else {},
        last_error=outlet.last_error,
    )


def _subscriber(figures: SubscriberFigures) -> dict[str, Any]:
    total = sum(figures.accounts.values(), Account())
    return {
        "overflow": figures.overflow,
        "ended": figures.ended,
        "account": total.to_dict(),
        "connections": {connection: account.to_dict() for connection, account in figures.accounts.items()},
        "dropped": figures.dropped,
        "errors": figures.errors,
        "last_error": figures.last_error,
        "sink": figures.sink,
    }
