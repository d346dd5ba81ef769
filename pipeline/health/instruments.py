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
from typing import Final, Literal

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


_BUILD: Final = (pipeline.__version__, platform.python_version())
Kind = Literal["counter", "gauge"]
Unit = Literal["", "bytes", "seconds"]


@dataclass(frozen=True, slots=True)
class Instrument:
    """Describes one metric.

    Args:
        kind: a counter only grows.
        name: without prefix, unit and ``_total``.
        doc: one line on what it means.
        labels: their names.
        read: makes its values.
        unit: ``seconds`` or ``bytes``; "" for a number of things.
    """

    kind: Kind
    name: str
    doc: str
    labels: tuple[str, ...]
    read: Callable[[Reading], Values]
    unit: Unit = ""

    def values(self, reading: Reading) -> Values:
        """Yield its values; whatever is in a label can be shown, and can be encoded."""
        return ((tuple(map(printable, labels)), value) for labels, value in self.read(reading))


def _connection(
    kind: Kind, name: str, doc: str, read: Callable[[ConnectionFigures], float], unit: Unit = ""
) -> Instrument:
    """Return an instrument with a value for each connection."""

    def values(reading: Reading) -> Values:
        return [((each,), read(figures)) for each, figures in reading.figures.connections.items()]

    return Instrument(kind, name, doc, ("connection",), values, unit)


def _sink(kind: Kind, name: str, doc: str, read: Callable[[SubscriberFigures], float | None]) -> Instrument:
    """Return an instrument with a value for each subscriber, but those that have none."""

    def values(reading: Reading) -> Values:
        found = ((each, read(figures)) for each, figures in reading.figures.subscribers.items())
        return [((each,), value) for each, value in found if value is not None]

    return Instrument(kind, name, doc, ("sink",), values)


def _account(kind: Kind, part: str, doc: str) -> Instrument:
    """Return an instrument of a count of each account."""

    def values(reading: Reading) -> Values:
        return [
            ((sink, connection), getattr(account, part))
            for sink, accounts in reading.accounts.items()
            for connection, account in accounts.items()
        ]

    return Instrument(kind, f"account_{part}", doc, ("sink", "connection"), values)


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


_connection_counter: Final = partial(_connection, "counter")
_connection_gauge: Final = partial(_connection, "gauge")
_sink_counter: Final = partial(_sink, "counter")
_sink_gauge: Final = partial(_sink, "gauge")
_counter: Final = partial(Instrument, "counter")
_gauge: Final = partial(Instrument, "gauge")

INSTRUMENTS: Final = (
    _gauge("build_info", "What runs here; always 1.", ("version", "python"), lambda _: [(_BUILD, 1)]),
    _connection_gauge(
        "connection_up",
        "Whether a connection is authenticated.",
        lambda its: its.snapshot.phase is Phase.LIVE,
    ),
    _gauge(
        "connection_phase",
        "Where a connection stands: 1 for the phase it is in, else 0.",
        ("connection", "phase"),
        _phases,
    ),
    _connection_gauge(
        "connection_stale",
        "Whether no ticks come over a connection that is up, far longer than usual.",
        lambda its: its.snapshot.stale,
    ),
    _gauge(
        "connection_tickers",
        "Tickers that a connection is to carry by name; the wildcard is none.",
        ("connection",),
        lambda reading: _one({name: len(named_of(its)) for name, its in reading.carried.items()}),
    ),
    _gauge(
        "connection_channels",
        "Channels by what the server said to their subscription.",
        ("connection", "state"),
        _channels,
    ),
    _connection_counter("connection_attempts", "Sockets opened.", lambda its: its.snapshot.connects),
    _connection_counter(
        "reconnects", "Sockets opened after the first.", lambda its: max(its.snapshot.connects - 1, 0)
    ),
    _connection_counter(
        "disconnects", "Sessions and attempts that ended unasked.", lambda its: its.snapshot.disconnects
    ),
    _connection_counter(
        "evictions",
        "Sessions that the server ended since there were too many.",
        lambda its: its.snapshot.evictions,
    ),
    _counter(
        "failovers",
        "Times that a connection's tickers went to others because it was down.",
        ("connection",),
        lambda reading: _one(reading.tally.failovers(), reading.figures.connections),
    ),
    _counter(
        "moved_tickers",
        "Tickers that went from one connection to another.",
        ("reason",),
        lambda reading: _one(reading.tally.moved(), _MOVE_REASONS),
    ),
    _counter(
        "gaps",
        "Gaps in a channel that a lost connection may have left.",
        ("connection",),
        lambda reading: _one(reading.tally.gaps(), reading.figures.connections),
    ),
    _counter("events", "Status events.", ("event", "connection"), lambda it: it.tally.events().items()),
    _connection_counter("messages", "WebSocket messages received.", lambda its: its.snapshot.messages),
    _connection_counter(
        "received", "Bytes received, of messages.", lambda its: its.snapshot.received_bytes, "bytes"
    ),
    _connection_counter("ticks", "Ticks decoded, duplicates not counted.", lambda its: its.ticks),
    _gauge(
        "last_message_timestamp",
        "When the last message came, seconds since the epoch.",
        ("connection",),
        _last_messages,
        "seconds",
    ),
    _counter("rejects", "Elements that are no tick.", ("reason",), lambda it: _one(it.figures.rejected)),
    _counter(
        "unreadable_fields",
        "Fields that ticks are without, since they came with values of another type.",
        ("field",),
        lambda reading: _one(reading.figures.unreadable),
    ),
    _gauge(
        "ingest_queue", "Bytes that wait undecoded.", (), lambda it: [((), it.figures.queued_bytes)], "bytes"
    ),
    _sink_gauge(
        "queue_ticks",
        "Ticks that wait for a sink or are in its hand, undecoded ones too.",
        lambda its: sum(account.queued for account in its.accounts.values()),
    ),
    _counter("drops", "Ticks that a sink did not get, by reason.", ("sink", "reason"), _drops),
    *(
        _account(
            "gauge" if field.name == "queued" else "counter",
            field.name,
            f"Decoded elements of the conservation law: {field.name}.",
        )
        for field in fields(Account)
    ),
    _account("gauge", "imbalance", "Elements that are nowhere: 0, or there is a defect."),
    _sink_counter(
        "sink_errors",
        "Exceptions of a callback, or answers of a server that are errors.",
        lambda its: its.errors + its.sink.get("errors", 0),
    ),
    _sink_gauge("sink_up", "Whether a sink that has a server can write to it.", _sink_up),
    _sink_counter(
        "sink_reconnects",
        "Connections of a sink to its server after the first.",
        lambda its: its.sink.get("reconnects"),
    ),
    _sink_counter(
        "sink_acknowledged_messages",
        "Messages that a sink's server took.",
        lambda its: its.sink.get("acknowledged"),
    ),
    _sink_counter(
        "sink_resent_messages",
        "Messages sent a second time because nobody knows the fate of the first.",
        lambda its: its.sink.get("resent"),
    ),
    _counter(
        "latency_negative",
        "Latencies below zero, which are in no histogram: two clocks disagree.",
        LATENCY_LABELS,
        _negative,
    ),
)
