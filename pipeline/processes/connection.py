"""A connection as the pool sees it, which lives in a process of its own."""

import logging
import random
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Protocol

import msgspec
from reactivex import abc
from reactivex.disposable import Disposable, SerialDisposable

from operators.errors import BufferOverflow
from pipeline import status
from pipeline.massive.persistence import Backoff, Persistence
from pipeline.massive.snapshot import ConnectionSnapshot, Phase

from .gaps import ProcessGaps
from .ledger import Ledger
from .messages import (
    Begin,
    ColumnsOver,
    End,
    GiveUp,
    HandColumns,
    Heard,
    Order,
    Probe,
    Reconnect,
    Report,
    ReportNow,
    Resume,
    Said,
    StopColumns,
    Unable,
    Want,
    Word,
)
from .process import ChildProcess

__all__ = ["ChildConnection", "Feed", "Launch"]

Launch = Callable[[str, Callable[[Word], None], Callable[[str], None]], ChildProcess]
"""Starts a child: its name, what takes its words, what is told its end."""


class Feed(Protocol):
    """Is what `ColumnFeed` is, which only who has the extra ``columns`` can import."""

    name: str
    columns: tuple[str, ...]

    def open(self, connection: str) -> socket.socket | None:
        """Return the end of a new socket on which a process hands columns over; None if it is too late."""
        ...

    def fail(self, error: Exception) -> None:
        """End with an error after what is in the sockets."""
        ...


class ChildConnection:
    """Keeps a child alive that keeps a connection alive, and passes on what is asked of it.

    A child that dies unasked is a lost connection: `Disconnected`, what was in flight is a `Loss`, and after
    a back-off another child begins with all that the pool wants of it. Everything runs on the scheduler's
    thread, so there is no lock; the methods marked so may be called from any thread.

    Args:
        begin: the order that each child is given first.
        hear: given each status event, on the scheduler's thread; must not block.
        gaps: knows what each process is missing.
        on_over: called when there is no child, and none will be, on the scheduler's thread.
        scheduler: the loop, or virtual time.
        launch: starts a child.
        persistence: how long to wait before another child.
        clock: wall clock, ns.
        monotonic: seconds.
        uniform: random in [0, 1).
    """

    def __init__(
        self,
        begin: Begin,
        *,
        hear: Callable[[status.StatusEvent], None],
        gaps: ProcessGaps,
        on_over: Callable[[], None],
        scheduler: abc.SchedulerBase,
        persistence: Persistence,
        launch: Launch = ChildProcess,
        clock: Callable[[], int] = time.time_ns,
        monotonic: Callable[[], float] = time.monotonic,
        uniform: Callable[[], float] = random.random,
    ) -> None:
        (connection,) = begin.settings.connections
        self.id = connection.id
        self.url = connection.url
        idle = ConnectionSnapshot(id=self.id, name=connection.name, url=self.url, phase=Phase.IDLE)
        self.ledger = Ledger(idle, clock())
        """What was counted."""
        self._begin = begin
        self._hear = hear
        self._gaps = gaps
        self._on_over = on_over
        self._scheduler = scheduler
        self._backoff = Backoff(persistence, uniform)
        self._launch = launch
        self._clock = clock
        self._monotonic = monotonic
        self._wanted: dict[str, None] = {}
        self._feeds: dict[str, Feed] = {}
        """The subscribers of columns, by name."""
        self._child: ChildProcess | None = None
        self._since_s = 0.0
        self._wants = 0
        self._unheard: deque[tuple[int, int]] = deque()
        """Of `Want` orders that the child has not carried out, as far as known: number and channels."""
        self._held = False
        """It was evicted, and waits until it may try again: so does the next child."""
        self._timer = SerialDisposable()
        self._closing = False
        self._failed = False
        self._trouble: str | None = None
        """What a child said that it cannot do."""
        self._over = False

    # -- from any thread ------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the first child. From any thread."""
        self._soon(self._start)

    def want(self, channels: Iterable[str]) -> None:
        """Subscribe now if live, and on every connection from now on. From any thread."""
        wanted = tuple(channels)
        self._soon(lambda: self._want(wanted))

    def give_up(self, channels: Iterable[str]) -> None:
        """Unsubscribe, and forget. From any thread."""
        unwanted = tuple(channels)
        self._soon(lambda: self._give_up(unwanted))

    def resume(self) -> None:
        """Connect again after an eviction. From any thread."""

        def resume() -> None:
            self._held = False
            if self._waits():
                self._start()
            else:
                self._send(Resume())

        self._soon(resume)

    def reconnect(self, reason: str) -> None:
        """End the session and connect anew, now if it only waits. From any thread."""

        def reconnect() -> None:
            self._held = False
            if self._waits():
                self._start()
            else:
                self._send(Reconnect(reason))

        self._soon(reconnect)

    def probe(self) -> None:
        """Find out whether a silent session is dead. From any thread."""
        self._soon(lambda: self._send(Probe()))

    def ask(self, number: int, *, rates: bool) -> None:
        """Ask the child, if there is one, for a report. From any thread."""
        child = self._child
        if child is not None:
            child.send(ReportNow(number, rates))

    def feed(self, feed: Feed) -> None:
        """Have columns handed to a subscriber, by this child and those to come. From any thread."""
        self._soon(lambda: self._feed(feed))

    def starve(self, feed: Feed) -> None:
        """Have nothing handed to it any more. From any thread."""
        self._soon(lambda: self._starve(feed))

    def close(self, timeout_s: float) -> None:
        """Let the child drain for so long, and end it; ``on_over`` tells when. From any thread."""
        self._soon(lambda: self._close(timeout_s))

    def kill(self) -> None:
        """End the child at once. From any thread."""
        child = self._child
        if child is not None:
            child.kill()

    @property
    def pid(self) -> int | None:
        """The child's process id, None while there is none. From any thread."""
        child = self._child
        return None if child is None else child.pid

    @property
    def is_reporting(self) -> bool:
        """Whether there is a child that could answer. From any thread."""
        return self._child is not None

    def snapshot(self) -> ConnectionSnapshot:
        """Say how it is doing, as last reported. From any thread."""
        return self.ledger.figures().connections[self.id].snapshot

    # -- the child's life -----------------------------------------------------------------------------------

    def _start(self) -> None:
        if self._closing or self._child is not None or self._failed:
            return
        self._timer.disposable = Disposable()
        self._backoff.begin()
        self._since_s = self._monotonic()
        self._wants = 0
        self._unheard.clear()
        self.ledger.phase = Phase.CONNECTING
        self._child = child = self._launch(self.id, self._take, self._ended)
        self._send(self._begin)
        self._gaps.born(self.id, child.send)
        for feed in self._feeds.values():  # first, so that the first tick reaches it
            self._hand(feed)
        if self._wanted:
            self._send_want(tuple(self._wanted))

    def _take(self, word: Word) -> None:
        """Take what the child says, on the thread that reads it."""
        if isinstance(word, Report):
            self.ledger.take(word)
        elif isinstance(word, Said):
            log, extra = logging.getLogger(word.logger), {"kind": word.kind}
            log.log(word.level, "%s: %s", self.id, word.text, extra=extra)
        elif isinstance(word, Heard):
            self._soon(lambda: self._heard(word))
        elif isinstance(word, ColumnsOver):
            self._soon(lambda: self._columns_over(word))
        else:
            self._soon(lambda: self._unable(word))

    def _ended(self, words: str) -> None:
        """Take that the child is gone, on the thread that read it."""
        self._soon(lambda: self._bury(words))

    def _heard(self, heard: Heard) -> None:
        while self._unheard and self._unheard[0][0] <= heard.wants:
            self._unheard.popleft()
        event = heard.event
        if isinstance(event, status.SETTLING) and self._unheard:
            # The child did not know yet what else is wanted: it is not the last word.
            event = msgspec.structs.replace(event, pending=event.pending + sum(n for _, n in self._unheard))
        elif isinstance(event, status.Loss):
            self._gaps.told(event)
        elif isinstance(event, status.Disconnected):
            self._held = event.evicted
        elif event.connection is None:  # a sink's; there is one in each process
            event = msgspec.structs.replace(event, connection=self.id)
        elif isinstance(event, status.Failed):
            self._failed = True
        self._hear(event)

    def _unable(self, word: Unable) -> None:
        self._failed = True
        self._trouble = word.reason
        self._hear(status.Failed(connection=self.id, at_ns=self._clock(), reason=word.reason))

    def _columns_over(self, word: ColumnsOver) -> None:
        feed = self._feeds.pop(word.name, None)
        if feed is not None:
            feed.fail(ImportError(word.reason) if word.missing else BufferOverflow(word.reason))

    def _bury(self, words: str) -> None:
        self._child = None
        lived_s = self._monotonic() - self._since_s
        self._gaps.died(self.id, self.ledger.settled_ns)
        asked = self._failed or self.ledger.said_goodbye
        if not asked:
            self._declare(words)
        self.ledger.bury(self._trouble if asked else words)
        if self._failed or self._closing:
            self._end(Phase.FAILED if self._failed else Phase.CLOSED)
            return
        self._backoff.session_lasted(lived_s)
        if self._backoff.exhausted:
            self._failed = True
            reason = f"the retries are used up; last: {words}"
            self._hear(status.Failed(connection=self.id, at_ns=self._clock(), reason=reason))
            self._end(Phase.FAILED)
        elif self._held:
            self.ledger.phase = Phase.HELD
        else:
            delay_s, attempt = self._backoff.delay_s(), self._backoff.attempt + 1
            self.ledger.phase = Phase.BACKING_OFF
            self._hear(
                status.BackOff(connection=self.id, at_ns=self._clock(), delay_s=delay_s, attempt=attempt)
            )
            self._timer.disposable = self._scheduler.schedule_relative(delay_s, lambda *_: self._start())

    def _waits(self) -> bool:
        return self._child is None and self.ledger.phase in {Phase.BACKING_OFF, Phase.HELD}

    def _declare(self, words: str) -> None:
        """Tell that the connection is lost, and what was in flight with it."""
        now_ns, settled_ns = self._clock(), self.ledger.settled_ns
        self._hear(
            status.Disconnected(connection=self.id, at_ns=now_ns, reason=words, last_frame_ns=settled_ns)
        )
        self._hear(
            status.Loss(
                connection=self.id,
                at_ns=now_ns,
                where="process",
                reason="process_ended",
                count=None,
                from_ns=min(settled_ns, now_ns),
                to_ns=now_ns,
                tickers=tuple(dict.fromkeys(channel.partition(".")[2] for channel in self._wanted)),
            )
        )

    def _close(self, timeout_s: float) -> None:
        self._closing = True
        self._timer.disposable = Disposable()
        if self._child is not None:
            self._send(End(timeout_s))
        else:
            self._end(Phase.FAILED if self._failed else Phase.CLOSED)

    def _end(self, phase: Phase) -> None:
        if not self._over:
            self._over = True
            self.ledger.phase = phase
            self._on_over()

    # -- orders ---------------------------------------------------------------------------------------------

    def _want(self, channels: tuple[str, ...]) -> None:
        self._wanted |= dict.fromkeys(channels)
        if self._child is not None:
            self._send_want(channels)

    def _give_up(self, channels: tuple[str, ...]) -> None:
        for channel in channels:
            self._wanted.pop(channel, None)
        if channels:
            self._send(GiveUp(channels))

    def _feed(self, feed: Feed) -> None:
        self._feeds[feed.name] = feed
        self._hand(feed)

    def _hand(self, feed: Feed) -> None:
        if self._child is not None and (its := feed.open(self.id)) is not None:
            self._child.send(HandColumns(feed.name, feed.columns), its)

    def _starve(self, feed: Feed) -> None:
        if self._feeds.get(feed.name) is feed:
            del self._feeds[feed.name]
        self._send(StopColumns(feed.name))

    def _send_want(self, channels: tuple[str, ...]) -> None:
        self._wants += 1
        self._unheard.append((self._wants, len(channels)))
        self._send(Want(channels))

    def _send(self, order: Order) -> None:
        if self._child is not None:
            self._child.send(order)

    def _soon(self, action: Callable[[], None]) -> None:
        self._scheduler.schedule(lambda *_: action())
