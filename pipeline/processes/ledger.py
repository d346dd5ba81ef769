"""What the processes of one connection have counted, the dead ones included."""

import threading
from collections import deque
from dataclasses import replace
from typing import Final

from operators.account import Account
from pipeline.health.figures import ConnectionFigures, Figures, Findings, SubscriberFigures
from pipeline.massive.snapshot import ConnectionSnapshot, Phase

from .messages import Report

__all__ = ["PROCESS_ENDED", "Ledger"]

MARKS_MAX: Final = 3600
PROCESS_ENDED: Final = "process_ended"
"""Why what a process had queued was dropped."""


class Ledger:
    """Keeps the last report and the sum of those that ended; any thread.

    Args:
        idle: how the connection stands before it was ever heard of.
        now_ns: wall clock.
    """

    def __init__(self, idle: ConnectionSnapshot, now_ns: int) -> None:
        self.news = threading.Condition()
        """Notified of each report."""
        self.settled_ns = now_ns
        """All that was received before was delivered, or is accounted for otherwise."""
        self.answered = 0
        """The number of the last `ReportNow` that was answered."""
        self.rates: dict[str, float] = {}
        """Ticks/s by ticker as last measured."""
        self.said_goodbye = False
        """The process said its last word."""
        self.phase = Phase.IDLE
        """Where it stands while no process reports."""
        self._idle = idle
        self._past = Figures({idle.id: ConnectionFigures(idle)})
        self._last: Report | None = None
        self._heard_ns = now_ns
        self._marks: deque[tuple[int, dict[str, int]]] = deque(maxlen=MARKS_MAX)
        """Moments, and what each subscriber had received by then at least."""

    def take(self, report: Report) -> None:
        """Take what a living process reports."""
        accounts = _accounts(report.figures)
        with self.news:
            self._last = report
            self.said_goodbye = report.last
            self.answered = max(self.answered, report.number)
            self.rates = self.rates if report.rates is None else report.rates
            # What was on its way to a counter at one report is counted by the next.
            self._marks.append((self._heard_ns, {name: each.received for name, each in accounts.items()}))
            self._heard_ns = report.at_ns
            while self._marks and all(
                _is_done(accounts.get(name, Account()), received)
                for name, received in self._marks[0][1].items()
            ):
                self.settled_ns = self._marks.popleft()[0]
            self.news.notify_all()

    def bury(self, trouble: str | None) -> None:
        """Note that the process is gone, and why if that was unasked; what it had queued is dropped."""
        with self.news:
            last, self._last = self._last, None
            self.said_goodbye = False
            self._marks.clear()
            figures = Figures() if last is None else _ended(last.figures)
            self._past += figures
            if trouble is not None:
                each = self._past.connections[self._idle.id]
                snapshot = replace(
                    each.snapshot, last_trouble=trouble, disconnects=each.snapshot.disconnects + 1
                )
                self._past.connections[self._idle.id] = replace(each, snapshot=snapshot)
            self.news.notify_all()

    def forget(self, subscriber: str) -> None:
        """Begin anew with a subscriber's account: its name is another's now."""
        with self.news:
            figures = [self._past] if self._last is None else [self._past, self._last.figures]
            for each in figures:
                each.subscribers.pop(subscriber, None)

    def of_subscriber(self, name: str) -> tuple[SubscriberFigures | None, SubscriberFigures | None]:
        """Return what the processes before have counted of a subscriber, and what the living one has."""
        with self.news:
            last = None if self._last is None else self._last.figures.subscribers.get(name)
            return self._past.subscribers.get(name), last

    def figures(self) -> Figures:
        """Return what all processes of the connection counted together."""
        with self.news:
            if self._last is not None:
                return self._past + self._last.figures
            each = self._past.connections[self._idle.id]
            still = replace(each, snapshot=replace(each.snapshot, phase=self.phase))
            return replace(self._past, connections={self._idle.id: still})


def _is_done(now: Account, received: int) -> bool:
    """Tell whether all is out of the buffer that was received once, or that subscriber has left."""
    return not now.received - now.queued < received <= now.received


def _accounts(figures: Figures) -> dict[str, Account]:
    return {name: sum(each.values(), Account()) for name, each in figures.accounts.items()}


def _ended(figures: Figures) -> Figures:
    """Return what remains of the figures of a process that is gone."""
    return replace(
        figures,
        connections={name: _ended_connection(each) for name, each in figures.connections.items()},
        subscribers={name: _ended_subscriber(each) for name, each in figures.subscribers.items()},
        queued_bytes=0,
        findings=Findings(),
    )


def _ended_connection(figures: ConnectionFigures) -> ConnectionFigures:
    snapshot = replace(figures.snapshot, confirmed=0, pending=0, silent_for_s=None, limit_s=None, stale=False)
    return replace(figures, snapshot=snapshot, ticks_per_s=0.0, queued=0)


def _ended_subscriber(figures: SubscriberFigures) -> SubscriberFigures:
    accounts = {
        name: replace(account, dropped=account.dropped + account.queued, queued=0)
        for name, account in figures.accounts.items()
    }
    lost = sum(account.queued for account in figures.accounts.values())
    dropped = figures.dropped | (
        {PROCESS_ENDED: figures.dropped.get(PROCESS_ENDED, 0) + lost} if lost else {}
    )
    return replace(figures, ended=True, accounts=accounts, dropped=dropped, undecoded={})
