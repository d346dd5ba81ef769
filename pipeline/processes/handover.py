"""The account of a subscriber of columns: the children counted before the sockets, the parent behind them."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

from operators.account import Account
from operators.buffer import Overflow
from pipeline.health.figures import SubscriberFigures

from .ledger import PROCESS_ENDED

__all__ = ["HandedOver", "Part", "all_carried_on", "carried_on", "policy"]


class Part(NamedTuple):
    """Is what the processes before the last, or the last, have counted of a subscriber's sink.

    Args:
        connection: theirs.
        figures: as last reported; None where they have not yet.
        taken: rows of theirs that the subscriber was given.
    """

    connection: str
    figures: SubscriberFigures | None
    taken: int


class HandedOver(NamedTuple):
    """Is a subscriber's account in the parent.

    Args:
        account: in all.
        regained: of what was dropped with its process, how much has come all the same.
        unread: of what was dropped, how much was in the socket.
    """

    account: Account
    regained: int = 0
    unread: int = 0


def policy(overflow: Overflow) -> Overflow:
    """Return what happens to ticks for which a subscriber in another process has no time.

    Nobody there may stop a callback and Redis here, which is what waiting for it would do.
    """
    return "drop_oldest" if overflow == "block" else overflow


def carried_on(account: Account, taken: int, *, died_with: int = 0, over: bool = False) -> HandedOver:
    """Return the account of a child's sink carried on to the subscriber behind it; it balances if that does.

    What was handed over and not taken is in the socket. What was taken and, as far as the child has told, not
    handed over was queued when it told, or died with the process, or came since.

    Args:
        account: of the sink, where delivered means handed over; as last reported.
        taken: rows that the subscriber was given.
        died_with: of what was dropped, how much was queued when the process ended.
        over: the subscriber takes no more.
    """
    in_socket = max(0, account.delivered - taken)
    ahead = max(0, taken - account.delivered)
    was_queued = min(ahead, account.queued)
    regained = min(ahead - was_queued, died_with)
    unread = in_socket if over else 0
    return HandedOver(
        replace(
            account,
            received=account.received + ahead - was_queued - regained,
            delivered=taken,
            dropped=account.dropped - regained + unread,
            queued=account.queued - was_queued + in_socket - unread,
        ),
        regained,
        unread,
    )


def all_carried_on(parts: Iterable[Part], *, over: bool) -> tuple[dict[str, Account], dict[str, int]]:
    """Return the subscriber's accounts by connection, and what was dropped by reason."""
    accounts: dict[str, Account] = {}
    reasons: Counter[str] = Counter()
    for connection, figures, taken in parts:
        account, dropped = Account(), dict[str, int]()
        if figures is not None:
            account, dropped = figures.accounts.get(connection, account), figures.dropped
        handed = carried_on(account, taken, died_with=dropped.get(PROCESS_ENDED, 0), over=over)
        accounts[connection] = accounts.get(connection, Account()) + handed.account
        reasons.update(dropped)
        reasons.update({"closed": handed.unread, PROCESS_ENDED: -handed.regained})
    return accounts, dict(+reasons)
