"""Every metric: its name, its unit and where its values come from. The one table, for every exporter.

A metric has a bare name and a unit, as OpenTelemetry wants them: ``received`` in ``By`` is
``tickbraid_received_bytes_total`` for Prometheus. Labels are few: a connection, a sink (any subscriber), a
stage, a reason; never a ticker. Everything is read when somebody asks, from `TickStream.figures`: nothing is
counted here while ticks flow. No counter ever goes down, so what waits undecoded is in none: it can only be
estimated. But it begins anew, at 0, with its subscriber and, once the last has left, with its stream.
"""

import platform
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, Final, Literal

import pipeline
from operators.account import Account
from operators.histogram import edge_at
from pipeline.massive.snapshot import Phase
from pipeline.symbols import named_of

from .answers import is_writable
from .figures import ConnectionFigures, SubscriberFigures
from .readings import LATENCY_LABELS, Reading, latencies, printable

__all__ = ["EDGES_NS", "INSTRUMENTS", "Instrument"]

Values = Iterable[tuple[tuple[str, ...], float]]
"""Label values, and the value."""

EDGES_NS: Final = tuple(
    edge_at(round(seconds * 1e9))
    for seconds in (
        *(50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3),
        *(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
    )
)
"""Where the buckets of an exported latency end, ns: edges of our own buckets, so that each count is exact.
They are up to 3 % past the round numbers."""
_DROP_REASONS: Final = ("overflow", "conflated", "aged", "closed", "lost")
_MOVE_REASONS: Final = ("failover", "return", "rebalance", "moved", "wanted")
"""What begins at 0: of a counter that appears with its first event Prometheus does not see the rise."""


@dataclass(frozen=True, slots=True)
class Instrument:
    """Describes one metric.

    Args:
        name: without prefix, unit and ``_total``.
        kind: a counter only grows.
        doc: one line on what it means.
        labels: their names.
        read: makes its values.
        unit: ``seconds`` or ``bytes``; "" for a number of things.
    """

    name: str
    kind: Literal["counter", "gauge"]
    doc: str
    labels: tuple[str, ...]
    read: Callable[[Reading], Values]
    unit: Literal["", "bytes", "seconds"] = ""

    def values(self, reading: Reading) -> Values:
        """Yield its values; whatever is in a label can be shown, and can be encoded."""
        return ((tuple(map(printable, labels)), value) for labels, value in self.read(reading))


def _by_connection(read: Callable[[ConnectionFigures], float | None]) -> Callable[[Reading], Values]:
    return lambda reading: [
        ((name,), value)
        for name, figures in reading.figures.connections.items()
        if (value := read(figures)) is not None
    ]


def _by_sink(read: Callable[[SubscriberFigures], float | None]) -> Callable[[Reading], Values]:
    return lambda reading: [
        ((name,), value)
        for name, figures in reading.figures.subscribers.items()
        if (value := read(figures)) is not None
    ]


def _of_account(read: Callable[[Account], int]) -> Callable[[Reading], Values]:
    return lambda reading: [
        ((sink, connection), read(account))
        for sink, accounts in reading.accounts.items()
        for connection, account in accounts.items()
    ]


def _phases(reading: Reading) -> Values:
    for name, figures in reading.figures.connections.items():
        for phase in Phase:
            yield (name, phase.value), figures.snapshot.phase is phase


def _channels(reading: Reading) -> Values:
    for name, figures in reading.figures.connections.items():
        for state in ("confirmed", "pending", "refused", "unanswered"):
            yield (name, state), getattr(figures.snapshot, state)


def _last_messages(reading: Reading) -> Values:
    for name, figures in reading.figures.connections.items():
        age_s = figures.snapshot.last_message_age_s
        if age_s is not None:
            yield (name,), reading.now_ns / 1e9 - age_s


def _drops(reading: Reading) -> Values:
    for sink, figures in reading.figures.subscribers.items():
        for reason, count in (dict.fromkeys(_DROP_REASONS, 0) | figures.dropped).items():
            yield (sink, reason), count


def _one(counts: Mapping[str, int], begin: Iterable[str] = ()) -> Values:
    return [((name,), count) for name, count in (dict.fromkeys(begin, 0) | dict(counts)).items()]


def _sink_up(figures: SubscriberFigures) -> float | None:
    state = figures.sink.get("state")
    return None if state is None or figures.ended else is_writable(state)


def _negative(reading: Reading) -> Values:
    return [(labels, histogram.negative) for labels, histogram in latencies(reading)]


_counter: Final = partial(Instrument, kind="counter")
_gauge: Final = partial(Instrument, kind="gauge")


def _account(part: str) -> Instrument:
    make: Any = _gauge if part == "queued" else _counter
    return make(  # type: ignore[no-any-return]  # one of the two
        name=f"account_{part}",
        doc=f"Decoded elements of the conservation law: {part}.",
        labels=("sink", "connection"),
        read=_of_account(lambda account: int(getattr(account, part))),
    )


INSTRUMENTS: Final = (
    _gauge(
        name="build_info",
        doc="What runs here; always 1.",
        labels=("version", "python"),
        read=lambda _: [((pipeline.__version__, platform.python_version()), 1)],
    ),
    _gauge(
        name="connection_up",
        doc="Whether a connection is authenticated.",
        labels=("connection",),
        read=_by_connection(lambda each: each.snapshot.phase is Phase.LIVE),
    ),
    _gauge(
        name="connection_phase",
        doc="Where a connection stands: 1 for the phase it is in, else 0.",
        labels=("connection", "phase"),
        read=_phases,
    ),
    _gauge(
        name="connection_stale",
        doc="Whether no ticks come over a connection that is up, far longer than usual.",
        labels=("connection",),
        read=_by_connection(lambda each: each.snapshot.stale),
    ),
    _gauge(
        name="connection_tickers",
        doc="Tickers that a connection is to carry by name; the wildcard is none.",
        labels=("connection",),
        read=lambda reading: _one({name: len(named_of(its)) for name, its in reading.carried.items()}),
    ),
    _gauge(
        name="connection_channels",
        doc="Channels by what the server said to their subscription.",
        labels=("connection", "state"),
        read=_channels,
    ),
    _counter(
        name="connection_attempts",
        doc="Sockets opened.",
        labels=("connection",),
        read=_by_connection(lambda each: each.snapshot.connects),
    ),
    _counter(
        name="reconnects",
        doc="Sockets opened after the first.",
        labels=("connection",),
        read=_by_connection(lambda each: max(each.snapshot.connects - 1, 0)),
    ),
    _counter(
        name="disconnects",
        doc="Sessions and attempts that ended unasked.",
        labels=("connection",),
        read=_by_connection(lambda each: each.snapshot.disconnects),
    ),
    _counter(
        name="evictions",
        doc="Sessions that the server ended since there were too many.",
        labels=("connection",),
        read=_by_connection(lambda each: each.snapshot.evictions),
    ),
    _counter(
        name="failovers",
        doc="Times that a connection's tickers went to others because it was down.",
        labels=("connection",),
        read=lambda reading: _one(reading.tally.failovers(), reading.figures.connections),
    ),
    _counter(
        name="moved_tickers",
        doc="Tickers that went from one connection to another.",
        labels=("reason",),
        read=lambda reading: _one(reading.tally.moved(), _MOVE_REASONS),
    ),
    _counter(
        name="gaps",
        doc="Gaps in a channel that a lost connection may have left.",
        labels=("connection",),
        read=lambda reading: _one(reading.tally.gaps(), reading.figures.connections),
    ),
    _counter(
        name="events",
        doc="Status events.",
        labels=("event", "connection"),
        read=lambda reading: reading.tally.events().items(),
    ),
    _counter(
        name="messages",
        doc="WebSocket messages received.",
        labels=("connection",),
        read=_by_connection(lambda each: each.snapshot.messages),
    ),
    _counter(
        name="received",
        unit="bytes",
        doc="Bytes received, of messages.",
        labels=("connection",),
        read=_by_connection(lambda each: each.snapshot.received_bytes),
    ),
    _counter(
        name="ticks",
        doc="Ticks decoded, duplicates not counted.",
        labels=("connection",),
        read=_by_connection(lambda each: each.ticks),
    ),
    _gauge(
        name="last_message_timestamp",
        unit="seconds",
        doc="When the last message came, seconds since the epoch.",
        labels=("connection",),
        read=_last_messages,
    ),
    _counter(
        name="rejects",
        doc="Elements that are no tick.",
        labels=("reason",),
        read=lambda reading: _one(reading.figures.rejected),
    ),
    _counter(
        name="unreadable_fields",
        doc="Fields that ticks are without, since they came with values of another type.",
        labels=("field",),
        read=lambda reading: _one(reading.figures.unreadable),
    ),
    _gauge(
        name="ingest_queue",
        unit="bytes",
        doc="Bytes that wait undecoded.",
        labels=(),
        read=lambda reading: [((), reading.figures.queued_bytes)],
    ),
    _gauge(
        name="queue_ticks",
        doc="Ticks that wait for a sink or are in its hand, undecoded ones too.",
        labels=("sink",),
        read=_by_sink(lambda each: sum(account.queued for account in each.accounts.values())),
    ),
    _counter(
        name="drops",
        doc="Ticks that a sink did not get, by reason.",
        labels=("sink", "reason"),
        read=_drops,
    ),
    *(_account(field.name) for field in fields(Account)),
    _gauge(
        name="account_imbalance",
        doc="Elements that are nowhere: 0, or there is a defect.",
        labels=("sink", "connection"),
        read=_of_account(lambda account: account.imbalance),
    ),
    _counter(
        name="sink_errors",
        doc="Exceptions of a callback, or answers of a server that are errors.",
        labels=("sink",),
        read=_by_sink(lambda each: each.errors + each.sink.get("errors", 0)),
    ),
    _gauge(
        name="sink_up",
        doc="Whether a sink that has a server can write to it.",
        labels=("sink",),
        read=_by_sink(_sink_up),
    ),
    _counter(
        name="sink_reconnects",
        doc="Connections of a sink to its server after the first.",
        labels=("sink",),
        read=_by_sink(lambda each: each.sink.get("reconnects")),
    ),
    _counter(
        name="sink_acknowledged_messages",
        doc="Messages that a sink's server took.",
        labels=("sink",),
        read=_by_sink(lambda each: each.sink.get("acknowledged")),
    ),
    _counter(
        name="sink_resent_messages",
        doc="Messages sent a second time because nobody knows the fate of the first.",
        labels=("sink",),
        read=_by_sink(lambda each: each.sink.get("resent")),
    ),
    _counter(
        name="latency_negative",
        doc="Latencies below zero, which are in no histogram: two clocks disagree.",
        labels=LATENCY_LABELS,
        read=_negative,
    ),
)
