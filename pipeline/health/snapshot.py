"""The health of a stream as plain values, made from the snapshots of its parts."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from operators.account import Account
from operators.histogram import HistogramSnapshot
from pipeline.engine import Engine
from pipeline.massive.snapshot import ConnectionSnapshot
from pipeline.outlet import Outlet

__all__ = ["latency_ms", "stream_health"]


def stream_health(
    state: str,
    engine: Engine | None,
    outlets: Iterable[Outlet],
    accounts: Mapping[str, Mapping[str, Account]],
    latencies: Any,
) -> dict[str, Any]:
    """Return what ``TickStream.health()`` returns; JSON can take it."""
    return {
        "state": state,
        "connections": [] if engine is None else [_connection(s.snapshot()) for s in engine.sources],
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
        "p50": histogram.percentile(50) / 1e6,
        "p99": histogram.percentile(99) / 1e6,
        "max": histogram.max / 1e6,
    }


def _connection(snapshot: ConnectionSnapshot) -> dict[str, Any]:
    return asdict(snapshot) | {"phase": snapshot.phase.value}


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
