"""What a stream has counted, as values that add up: of two processes, or of one and the one before it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, Self, TypeVar

from operators.account import Account
from operators.latency_stamp import LatenciesSnapshot
from pipeline.massive.snapshot import ConnectionSnapshot

__all__ = ["ConnectionFigures", "Figures", "Findings", "SubscriberFigures"]

_COUNTS = ("messages", "received_bytes", "connects", "disconnects", "evictions")
"""What of a `ConnectionSnapshot` is counted since the start."""


@dataclass(frozen=True, slots=True)
class ConnectionFigures:
    """Says what one connection brought; counts are since the start.

    Args:
        snapshot: how it is doing.
        ticks: duplicates not counted.
        ticks_per_s: of the last five full seconds.
        rejected: elements that the decoder took for no tick.
        queued: elements that wait undecoded.
    """

    snapshot: ConnectionSnapshot
    ticks: int = 0
    ticks_per_s: float = 0.0
    rejected: int = 0
    queued: int = 0

    def __add__(self, later: "ConnectionFigures") -> "ConnectionFigures":
        before, now = self.snapshot, later.snapshot
        counts = {name: getattr(before, name) + getattr(now, name) for name in _COUNTS}
        return replace(
            later,
            snapshot=replace(now, **counts),
            ticks=self.ticks + later.ticks,
            rejected=self.rejected + later.rejected,
        )


@dataclass(frozen=True, slots=True)
class SubscriberFigures:
    """Says what became of the ticks of one subscriber.

    Args:
        overflow: its policy.
        ended: nothing more comes to it.
        accounts: by connection.
        dropped: ticks by reason.
        errors: exceptions that came out of it, where its sink does not count them.
        sink: the snapshot of its sink.
        undecoded: of what the accounts call received and queued, what waits undecoded, by connection. It is
            an estimate, and has status messages in it, so it can be more than what is decoded in the end.
    """

    overflow: str
    ended: bool
    accounts: dict[str, Account]
    dropped: dict[str, int]
    errors: int
    sink: dict[str, Any]
    undecoded: dict[str, int] = field(default_factory=dict)

    def __add__(self, later: "SubscriberFigures") -> "SubscriberFigures":
        return SubscriberFigures(
            later.overflow,
            self.ended and later.ended,
            _merged(self.accounts, later.accounts),
            _merged(self.dropped, later.dropped),
            self.errors + later.errors,
            _merged_values(self.sink, later.sink),
            _merged(self.undecoded, later.undecoded),
        )

    def counted(self) -> dict[str, Account]:
        """Return the accounts of what was decoded, by connection: nothing that they count is taken back."""
        counted = {}
        for connection, account in self.accounts.items():
            # A subscriber that ends meanwhile, or is ahead of its process, has less of it.
            waiting = min(self.undecoded.get(connection, 0), account.queued)
            counted[connection] = replace(
                account, received=account.received - waiting, queued=account.queued - waiting
            )
        return counted


@dataclass(frozen=True, slots=True)
class Findings:
    """Says what `pipeline.health.attribution` has found out; ``earlier + later`` is what both did.

    Args:
        late: connections that bring their ticks later than they use to.
        late_tickers: tickers that come later than the others of their connection.
        falling_behind: connections whose backlog at the server grows, and ``ingest`` if what waits here does.
        clock: how far our clock may be off.
    """

    late: tuple[str, ...] = ()
    late_tickers: tuple[str, ...] = ()
    falling_behind: tuple[str, ...] = ()
    clock: dict[str, Any] = field(default_factory=dict)

    def __add__(self, later: "Findings") -> "Findings":
        return Findings(
            self.late + later.late,
            self.late_tickers + later.late_tickers,
            self.falling_behind + later.falling_behind,
            later.clock or self.clock,
        )


@dataclass(frozen=True, slots=True)
class Figures:
    """Holds all that was counted; ``earlier + later`` is what both counted together.

    Args:
        connections: by id.
        subscribers: by name.
        latencies: as they are.
        queued_bytes: that wait undecoded.
        rejected: elements by reason.
        findings: about what is late, and why.
    """

    connections: dict[str, ConnectionFigures] = field(default_factory=dict)
    subscribers: dict[str, SubscriberFigures] = field(default_factory=dict)
    latencies: LatenciesSnapshot = field(default_factory=lambda: LatenciesSnapshot({}, {}, {}))
    queued_bytes: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    findings: Findings = field(default_factory=Findings)

    def __add__(self, later: "Figures") -> "Figures":
        mine, its = self.latencies, later.latencies
        return Figures(
            _merged(self.connections, later.connections),
            _merged(self.subscribers, later.subscribers),
            LatenciesSnapshot(
                _merged(mine.feed, its.feed),
                _merged(mine.decode, its.decode),
                _merged(mine.delivered, its.delivered),
                _merged(mine.sink, its.sink),
            ),
            self.queued_bytes + later.queued_bytes,
            _merged(self.rejected, later.rejected),
            self.findings + later.findings,
        )

    @property
    def accounts(self) -> dict[str, dict[str, Account]]:
        """By subscriber and connection."""
        return {name: dict(subscriber.accounts) for name, subscriber in self.subscribers.items()}


class _Sums(Protocol):
    def __add__(self, other: Self, /) -> Self: ...


_S = TypeVar("_S", bound=_Sums)


def _merged(earlier: Mapping[str, _S], later: Mapping[str, _S]) -> dict[str, _S]:
    """Return what either has; what both have is added up."""
    merged = {**earlier, **later}
    for name in earlier.keys() & later.keys():
        merged[name] = earlier[name] + later[name]
    return merged


def _merged_values(earlier: Mapping[str, Any], later: Mapping[str, Any]) -> dict[str, Any]:
    """Merge two snapshots in plain values: counts add up, words that differ stand side by side."""
    merged = {**earlier, **later}
    for name in earlier.keys() & later.keys():
        one, other = earlier[name], later[name]
        if isinstance(one, dict) and isinstance(other, dict):
            merged[name] = _merged_values(one, other)
        elif isinstance(one, int | float) and isinstance(other, int | float):
            merged[name] = one + other
        elif one != other:
            merged[name] = " / ".join(str(value) for value in (one, other) if value is not None)
    return merged
