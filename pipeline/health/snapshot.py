"""The health of a stream as plain values, made from the snapshots of its parts."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from itertools import chain
from typing import Any, Final

from operators.account import Account
from operators.histogram import HistogramSnapshot, LatencyHistogram
from operators.latency_stamp import LatenciesSnapshot
from pipeline.engine import Engine
from pipeline.massive.snapshot import Phase
from pipeline.outlet import Outlet

__all__ = ["latency_ms", "stream_health"]

_EMPTY: Final = LatencyHistogram().snapshot()
_ADDED_UP: Final = ("ticks", "ticks_per_s", "errors", "reconnects", "queued")
"""Which figures of the connections the totals are the sums of."""


def stream_health(
    state: str,
    engine: Engine | None,
    outlets: Iterable[Outlet],
    waiting: Mapping[str, int],
    latencies: LatenciesSnapshot,
) -> dict[str, Any]:
    """Return what ``TickStream.health()`` returns; JSON can take it. It costs some ms.

    Each connection has what its `ConnectionSnapshot` has, and ``status`` (its phase's word), ``tickers``
    (how many it is to carry), ``ticks`` and ``ticks_per_s`` (duplicates not counted; of the last five full
    seconds), ``rejected`` (elements that the decoder took for no tick), ``reconnects`` (sockets opened after
    the first), ``errors`` (sessions and attempts that ended unasked, and rejected elements), ``queued``
    (elements that wait undecoded) and ``latency_ms`` (from the event's time until received).
    ``totals`` has their sums; a ticker that two connections carry counts once.

    Args:
        state: of the stream.
        engine: what runs, None before the first subscriber.
        outlets: the subscribers.
        waiting: elements that wait undecoded, by connection.
        latencies: as they are now.
    """
    carried = {} if engine is None or engine.carriage is None else engine.carriage.tickers()
    connections = [] if engine is None else _connections(engine, carried, waiting, latencies.feed)
    accounts = {outlet.name: outlet.accounts(waiting) for outlet in outlets}
    return {
        "state": state,
        "totals": _totals(carried, connections),
        "connections": connections,
        "ingest": {} if engine is None else {"queued_bytes": engine.ingest.queued_bytes},
        "rejected": {} if engine is None else dict(engine.rejects.by_reason),
        "subscribers": {outlet.name: _subscriber(outlet, accounts[outlet.name]) for outlet in outlets},
        "latency_ms": {
            stage: {name: latency_ms(histogram) for name, histogram in getattr(latencies, stage).items()}
            for stage in ("feed", "decode", "delivered")
        },
    }


def latency_ms(histogram: HistogramSnapshot) -> dict[str, float]:
    """Return the figures of a histogram, ms."""
    return {
        "count": histogram.count,
        "negative": histogram.negative,
        **_percentiles_ms(histogram),
        "max": histogram.max / 1e6,
    }


def _connections(
    engine: Engine,
    carried: Mapping[str, tuple[str, ...]],
    waiting: Mapping[str, int],
    feed: Mapping[str, HistogramSnapshot],
) -> list[dict[str, Any]]:
    ticks, ticks_per_s = engine.activity.ticks(), engine.activity.ticks_per_s()
    rejects = engine.rejects.by_connection
    connections = []
    for source in engine.sources:
        snapshot = source.snapshot()
        id_, word = snapshot.id, snapshot.phase.value
        rejected = rejects.get(id_, 0)
        connections.append(
            asdict(snapshot)
            | {
                "phase": word,
                "status": word,
                "tickers": len(carried.get(id_, ())),
                "ticks": ticks.get(id_, 0),
                "ticks_per_s": ticks_per_s.get(id_, 0.0),
                "rejected": rejected,
                "reconnects": max(snapshot.connects - 1, 0),
                "errors": snapshot.disconnects + rejected,
                "queued": waiting.get(id_, 0),
                "latency_ms": _percentiles_ms(feed.get(id_, _EMPTY)),
            }
        )
    return connections


def _totals(carried: Mapping[str, tuple[str, ...]], connections: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "connections": len(connections),
        "connected": sum(connection["phase"] == Phase.LIVE.value for connection in connections),
        "tickers": len(set(chain(*carried.values()))),
        **{name: sum(connection[name] for connection in connections) for name in _ADDED_UP},
    }


def _percentiles_ms(histogram: HistogramSnapshot) -> dict[str, float]:
    return {"p50": histogram.percentile(50) / 1e6, "p99": histogram.percentile(99) / 1e6}


def _subscriber(outlet: Outlet, accounts: Mapping[str, Account]) -> dict[str, Any]:
    total = sum(accounts.values(), Account())
    return {
        "overflow": outlet.overflow,
        "ended": outlet.ended.is_set(),
        "account": asdict(total) | {"imbalance": total.imbalance},
        "connections": {connection: asdict(account) for connection, account in accounts.items()},
        "dropped": outlet.gauge.dropped_by_reason(),
        "errors": outlet.gauge.errors,
        "sink": outlet.sink.snapshot(),
    }
