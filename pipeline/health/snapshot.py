"""The health of a stream as plain values, made from the snapshots of its parts."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from itertools import chain
from typing import Any, ClassVar, Final

import msgspec

from operators.account import Account
from operators.histogram import HistogramSnapshot, LatencyHistogram
from operators.latency_stamp import LatenciesSnapshot
from pipeline.engine import Engine
from pipeline.massive.snapshot import ConnectionSnapshot, Phase
from pipeline.outlet import Reading
from pipeline.symbols import WILDCARD, named_of

from .figures import ConnectionFigures, Figures, Findings, SubscriberFigures

__all__ = [
    "Balance",
    "ConnectionHealth",
    "Health",
    "Percentiles",
    "StageLatency",
    "SubscriberHealth",
    "Totals",
    "balance",
    "stream_figures",
    "stream_health",
]

_EMPTY: Final = LatencyHistogram().snapshot()
_ADDED_UP: Final = ("ticks", "ticks_per_s", "errors", "reconnects", "queued")
"""Which figures of the connections the totals are the sums of."""
_ALL_THERE: Final = {"json_schema_serialization_defaults_required": True}
"""For pydantic: an answer has all fields, those with defaults, too."""


@dataclass(frozen=True, slots=True)
class Percentiles:
    """A latency, ms."""

    p50: float
    p99: float


@dataclass(frozen=True, slots=True)
class StageLatency(Percentiles):
    """A latency of one stage, ms.

    Args:
        count: latencies measured.
        negative: of these, below zero: two clocks disagree.
    """

    count: int
    negative: int
    max: float


@dataclass(frozen=True, slots=True)
class Balance(Account):
    """The conservation law: received is the sum of the others, and any imbalance is a defect."""

    imbalance: int = 0
    __pydantic_config__: ClassVar = _ALL_THERE


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionHealth(ConnectionSnapshot):
    """How one connection is doing; counts are since the start.

    Args:
        status: the word of its phase.
        tickers: how many it is to carry by name.
        all_symbols: it carries ``*``: every symbol of its market.
        ticks: duplicates not counted.
        ticks_per_s: of the last five full seconds.
        rejected: elements that the decoder took for no tick.
        reconnects: sockets opened after the first.
        errors: sessions and attempts that ended unasked, and rejected elements.
        queued: elements that wait undecoded.
        latency_ms: from the event's time until received, without bars.
        bars_latency_ms: from the end of a bar until it came for the first time; Massive sends a second bar
            2 s after its second on purpose.
    """

    status: str
    tickers: int
    all_symbols: bool
    ticks: int
    ticks_per_s: float
    rejected: int
    reconnects: int
    errors: int
    queued: int
    latency_ms: Percentiles
    bars_latency_ms: Percentiles
    __pydantic_config__: ClassVar = _ALL_THERE


@dataclass(frozen=True, slots=True)
class Totals:
    """All connections, added up.

    Args:
        connected: how many are authenticated.
        tickers: carried by name; one that two connections carry counts once.
        all_symbols: a connection carries ``*``.
    """

    connections: int
    connected: int
    tickers: int
    all_symbols: bool
    ticks: int
    ticks_per_s: float
    errors: int
    reconnects: int
    queued: int


@dataclass(frozen=True, slots=True)
class SubscriberHealth:
    """How one subscriber is doing.

    Args:
        overflow: what happens when its buffer is full.
        ended: nothing more comes to it.
        connections: its account by connection id.
        dropped: ticks by reason.
        errors: exceptions that came out of it.
        last_error: why ticks failed the last time.
        sink: what its sink tells of itself.
    """

    overflow: str
    ended: bool
    account: Balance
    connections: dict[str, Balance]
    dropped: dict[str, int]
    errors: int
    last_error: str | None
    sink: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Health(Findings):
    """What ``TickStream.health()`` returns; ``late``, ``falling_behind`` and ``clock`` are of `Findings`.

    Args:
        state: of the stream: idle, running or closed.
        ingest: ``queued_bytes``, that wait undecoded; empty where it was not started.
        rejected: elements by reason.
        unreadable: fields that came with values of another type, by event type and field, as T.conditions:
            those ticks passed without them.
        subscribers: by name.
        latency_ms: by stage, and connection or sink.
    """

    state: str
    totals: Totals
    connections: list[ConnectionHealth]
    ingest: dict[str, int]
    rejected: dict[str, int]
    unreadable: dict[str, int]
    subscribers: dict[str, SubscriberHealth]
    latency_ms: dict[str, dict[str, StageLatency]]
    __pydantic_config__: ClassVar = _ALL_THERE


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
    """Return a `Health` as plain values, which JSON can take.

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
    health = Health(
        state=state,
        totals=_totals(carried, connections),
        connections=connections,
        ingest={"queued_bytes": figures.queued_bytes} if running else {},
        rejected=figures.rejected,
        unreadable=figures.unreadable,
        subscribers={name: _subscriber(each) for name, each in figures.subscribers.items()},
        latency_ms={
            stage: {name: _stage_latency(histogram) for name, histogram in getattr(latencies, stage).items()}
            for stage in ("feed", "bars", "decode", "delivered", "sink")
        },
        **_values(figures.findings),
    )
    # A sink of the user's may tell whatever it likes.
    plain: dict[str, Any] = msgspec.to_builtins(health, enc_hook=repr)
    return plain


def _connection(
    figures: ConnectionFigures, tickers: tuple[str, ...], latencies: LatenciesSnapshot, name: str
) -> ConnectionHealth:
    snapshot = figures.snapshot
    return ConnectionHealth(
        **_values(snapshot),
        status=snapshot.phase.value,
        tickers=len(named_of(tickers)),
        all_symbols=WILDCARD in tickers,
        ticks=figures.ticks,
        ticks_per_s=figures.ticks_per_s,
        rejected=figures.rejected,
        reconnects=max(snapshot.connects - 1, 0),
        errors=snapshot.disconnects + figures.rejected,
        queued=figures.queued,
        latency_ms=_percentiles(latencies.feed.get(name, _EMPTY)),
        bars_latency_ms=_percentiles(latencies.bars.get(name, _EMPTY)),
    )


def _totals(carried: Mapping[str, tuple[str, ...]], connections: list[ConnectionHealth]) -> Totals:
    return Totals(
        connections=len(connections),
        connected=sum(connection.phase is Phase.LIVE for connection in connections),
        tickers=len(named_of(chain(*carried.values()))),
        all_symbols=any(WILDCARD in tickers for tickers in carried.values()),
        **{name: sum(getattr(connection, name) for connection in connections) for name in _ADDED_UP},
    )


def _percentiles(histogram: HistogramSnapshot) -> Percentiles:
    p50_ns, p99_ns = histogram.percentiles(50, 99)
    return Percentiles(p50_ns / 1e6, p99_ns / 1e6)


def _stage_latency(histogram: HistogramSnapshot) -> StageLatency:
    return StageLatency(
        **_values(_percentiles(histogram)),
        count=histogram.count,
        negative=histogram.negative,
        max=histogram.max / 1e6,
    )


def _values(snapshot: ConnectionSnapshot | Findings | Percentiles) -> dict[str, Any]:
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


def _subscriber(figures: SubscriberFigures) -> SubscriberHealth:
    return SubscriberHealth(
        overflow=figures.overflow,
        ended=figures.ended,
        account=balance(sum(figures.accounts.values(), Account())),
        connections={connection: balance(account) for connection, account in figures.accounts.items()},
        dropped=figures.dropped,
        errors=figures.errors,
        last_error=figures.last_error,
        sink=figures.sink,
    )


def balance(account: Account) -> Balance:
    """Return an account with its imbalance."""
    return Balance(**account.to_dict())
