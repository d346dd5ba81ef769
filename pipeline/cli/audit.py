"""The closing account, checked: against itself, against what was sent, and against what Redis took."""

from collections.abc import Iterator, Mapping
from typing import Any

from operators.account import Account
from pipeline.status_event import counted

from .simulator_process import Sent

__all__ = ["blanks", "check_redis", "check_sent", "failed_ticks", "failures", "imbalances"]


def imbalances(accounts: Mapping[str, Mapping[str, Account]]) -> Iterator[str]:
    """Say, of a stream that was closed, which accounts do not come to zero.

    Args:
        accounts: by subscriber and connection.
    """
    for subscriber, by_connection in accounts.items():
        for connection, account in by_connection.items():
            if account.imbalance:
                yield f"{subscriber}: of {connection} {counted(account.imbalance, 'element')} nowhere"
            if account.queued:
                yield f"{subscriber}: of {connection} {counted(account.queued, 'element')} still queued"


def check_sent(accounts: Mapping[str, Mapping[str, Account]], sent: Sent) -> Iterator[str]:
    """Say what does not agree with what the simulator sent; what was dropped is accounted for, not compared.

    Args:
        accounts: by subscriber and connection, of subscribers that were there from the first tick on.
        sent: the simulator's report.
    """
    if sent.slow_kills:
        yield f"the simulator cut {counted(sent.slow_kills, 'connection')} that did not read fast enough"
    for subscriber, by_connection in accounts.items():
        total = sum(by_connection.values(), Account())
        if total.dropped:
            continue
        if total.received != sent.total:
            yield f"{subscriber}: received {total.received:,}, but the simulator sent {sent.total:,}"
        if total.deduplicated != sent.repeated_elements:
            yield (
                f"{subscriber}: {total.deduplicated:,} duplicates taken out, but the simulator sent "
                f"{sent.repeated_elements:,} elements twice"
            )


def blanks(accounts: Mapping[str, Mapping[str, Account]], health: Mapping[str, Any]) -> Iterator[str]:
    """Say which subscribers had nothing at all, of which every account balances, and what may be the reason.

    Args:
        accounts: by subscriber and connection.
        health: of the stream before it was closed.
    """
    reasons = [
        f"{each['name']}: {each['last_trouble']}" for each in health["connections"] if each["last_trouble"]
    ]
    why = f" ({'; '.join(reasons)})" if reasons else ""
    for subscriber, by_connection in accounts.items():
        if not sum(by_connection.values(), Account()).delivered:
            yield f"{subscriber}: nothing was delivered, so there is nothing to be checked{why}"


def check_redis(account: Account, sink: Mapping[str, Any]) -> Iterator[str]:
    """Say on which channel Redis took another number of messages than ticks were delivered to it.

    Args:
        account: the sink's, of all connections.
        sink: its snapshot. After a broken connection some messages may have been sent twice: no comparison.
    """
    if sink["resent"]:
        return
    for channel, messages in sink["messages"].items():
        if messages != account.delivered:
            yield f"Redis took {messages:,} messages on {channel}, but {account.delivered:,} were delivered"


def failures(health: Mapping[str, Any]) -> Iterator[str]:
    """Say, of a running stream, which connections will not be tried again, and why.

    Args:
        health: as ``TickStream.health()`` gives it.
    """
    for connection in health["connections"]:
        if connection["phase"] == "failed":
            yield f"{connection['name']}: {connection['last_trouble']}"


def failed_ticks(health: Mapping[str, Any]) -> Iterator[str]:
    """Say which subscribers failed on how many ticks, and why the last time.

    Args:
        health: as above.
    """
    for name, subscriber in health["subscribers"].items():
        if failed := subscriber["account"]["failed"]:
            yield f"{name} failed on {counted(failed, 'tick')}; the last: {subscriber['last_error']}"
