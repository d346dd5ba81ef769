"""What a stream has counted, as values."""

from dataclasses import dataclass, field, replace
from typing import Any

from operators.account import Account
from operators.latency_stamp import LatenciesSnapshot
from pipeline.massive.snapshot import ConnectionSnapshot

__all__ = ["ConnectionFigures", "Figures", "Findings", "SubscriberFigures"]


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


@dataclass(frozen=True, slots=True)
class SubscriberFigures:
    """Says what became of the ticks of one subscriber.

    Args:
        overflow: its policy.
        ended: nothing more comes to it.
        accounts: by connection.
        dropped: ticks by reason.
        errors: exceptions that came out of it, where its sink does not count them.
        last_error: why ticks failed the last time, None where none has.
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
    last_error: str | None = None

    def counted(self) -> dict[str, Account]:
        """Return the accounts of what was decoded, by connection: nothing that they count is taken back."""
        counted = {}
        for connection, account in self.accounts.items():
            # A subscriber that ends meanwhile has less of it.
            waiting = min(self.undecoded.get(connection, 0), account.queued)
            counted[connection] = replace(
                account, received=account.received - waiting, queued=account.queued - waiting
            )
        return counted


@dataclass(frozen=True, slots=True)
class Findings:
    """Says what `pipeline.health.attribution` has found out.

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


@dataclass(frozen=True, slots=True)
class Figures:
    """Holds all that was counted.

    Args:
        connections: by id.
        subscribers: by name.
        latencies: as they are.
        queued_bytes: that wait undecoded.
        rejected: elements by reason.
        unreadable: fields of another type than documented, which their ticks are without, by type and name.
        findings: about what is late, and why.
    """

    connections: dict[str, ConnectionFigures] = field(default_factory=dict)
    subscribers: dict[str, SubscriberFigures] = field(default_factory=dict)
    latencies: LatenciesSnapshot = field(default_factory=lambda: LatenciesSnapshot({}, {}, {}))
    queued_bytes: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    unreadable: dict[str, int] = field(default_factory=dict)
    findings: Findings = field(default_factory=Findings)

    @property
    def accounts(self) -> dict[str, dict[str, Account]]:
        """By subscriber and connection."""
        return {name: dict(subscriber.accounts) for name, subscriber in self.subscribers.items()}
