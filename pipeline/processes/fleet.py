"""The parent's part of a stream in processes: the pool, the children, and what they report."""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import reduce
from operator import add
from typing import Final

from pipeline import status
from pipeline.health.attribution import Attribution, Sample
from pipeline.health.figures import Figures
from pipeline.massive.loop import SocketLoop
from pipeline.pool import Pool
from pipeline.settings import ConnectionSettings, Settings
from pipeline.sources import make_pool, persistence
from pipeline.status_stream import StatusStream

from .connection import ChildConnection, Feed
from .gaps import ProcessGaps
from .handover import Part
from .messages import Begin

__all__ = ["Fleet"]

REFRESH_S: Final = 0.25
"""A child that does not answer within so long counts as it was last reported."""
GRACE_S: Final = 3.0
"""A child may take so much longer than it was given to drain, before it is killed."""
KILLED_WITHIN_S: Final = 2.0


class Fleet:
    """Owns the thread ``tickbraid-io``, the pool and its children, from start to close.

    Args:
        settings: as loaded; the providers of its universes are asked, on the caller's thread.
        status_stream: where events go.
        clock: wall clock, ns.
        on_over: called when no child is left, and none will be, on the loop's thread.
    """

    def __init__(
        self,
        settings: Settings,
        status_stream: StatusStream,
        clock: Callable[[], int],
        on_over: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._on_over = on_over
        self.loop = SocketLoop()
        self._gaps = ProcessGaps(status_stream.emit, clock)
        self._over = threading.Event()
        self._left = 0
        self._asked = 0
        self._lock = threading.Lock()
        self.connections: list[ChildConnection]
        self.pool: Pool
        self.connections, self.pool = make_pool(
            settings,
            self._connect,
            scheduler=self.loop,
            emit=status_stream.emit,
            gaps=self._gaps,
            measure=self._rates,
            clock=clock,
            overlap_s=0.0,  # no process takes out the copies of another
        )

        self.attribution = Attribution(
            self._sample,
            emit=status_stream.emit,
            scheduler=self.loop,
            ingest_bytes=settings.ingest_buffer_bytes,
            server_bytes=settings.massive_server_buffer_bytes or None,
            clock=clock,
        )

    def start(self) -> None:
        """Start the children. Once, from any thread."""
        self._left = len(self.connections)
        if not self.connections:
            self._none_left()
        for connection in self.connections:
            connection.start()
        self.attribution.start()

    def figures(self, *, rates: bool = False) -> Figures:
        """Ask the children, wait 0.25 s at most, and return what all have counted; from any thread.

        Args:
            rates: let them measure the ticks/s of each ticker anew.
        """
        with self._lock:
            self._asked += 1
            number = self._asked
        asked = [connection for connection in self.connections if connection.is_reporting]
        for connection in asked:
            connection.ask(number, rates=rates)
        deadline_s = time.monotonic() + REFRESH_S
        for connection in asked:
            ledger = connection.ledger
            with ledger.news:
                ledger.news.wait_for(
                    lambda each=connection: each.ledger.answered >= number or not each.is_reporting,  # type: ignore[misc]
                    max(0.0, deadline_s - time.monotonic()),
                )
        figures = self._reported()
        return replace(figures, findings=figures.findings + self.attribution.findings())

    def feed(self, feed: Feed) -> None:
        """Have columns handed to a subscriber by all children, now and to come; from any thread."""
        for connection in self.connections:
            connection.ledger.forget(feed.name)
            connection.feed(feed)

    def starve(self, feed: Feed) -> None:
        """Have nothing handed to it any more; from any thread."""
        for connection in self.connections:
            connection.starve(feed)

    def parts(self, subscriber: str, taken: Mapping[str, tuple[int, int]]) -> Iterator[Part]:
        """Yield what is known here of a subscriber of columns.

        Args:
            subscriber: its name.
            taken: connection to the rows that it was given: of the processes before, and of the last one.
        """
        for connection in self.connections:
            before, now = connection.ledger.of_subscriber(subscriber)
            taken_before, taken_now = taken.get(connection.id, (0, 0))
            if now is None:  # it is buried, or has not reported yet
                taken_before, taken_now = taken_before + taken_now, 0
            yield Part(connection.id, before, taken_before)
            yield Part(connection.id, now, taken_now)

    def close(self, timeout_s: float) -> None:
        """Let the children drain for so long and end them all; from any thread but the loop's."""
        self.pool.dispose()
        for connection in self.connections:
            connection.close(timeout_s)
        if not self._over.wait(timeout_s + GRACE_S):
            for connection in self.connections:
                connection.kill()
            self._over.wait(KILLED_WITHIN_S)
        self.loop.dispose()
        self._gaps.flush()

    def _connect(
        self, connection: ConnectionSettings, hear: Callable[[status.StatusEvent], None]
    ) -> ChildConnection:
        alone = replace(
            self._settings,
            connections=(connection,),
            universes={},
            provenance={},
            websocket_execution="threads",
        )
        return ChildConnection(
            Begin(alone, logging.getLogger().getEffectiveLevel()),
            hear=hear,
            gaps=self._gaps,
            on_over=self._one_over,
            scheduler=self.loop,
            persistence=persistence(self._settings),
            clock=self._clock,
        )

    def _reported(self) -> Figures:
        return reduce(add, (connection.ledger.figures() for connection in self.connections), Figures())

    def _sample(self) -> Sample:
        """Return what the children said last; each compares nothing, as it knows itself only."""
        figures = {connection.id: connection.ledger.figures() for connection in self.connections}
        feed = {name: late for each in figures.values() for name, late in each.latencies.feed.items()}
        connections = [its.snapshot for each in figures.values() for its in each.connections.values()]
        return Sample(connections, feed, {name: each.queued_bytes for name, each in figures.items()})

    def _rates(self) -> Mapping[str, float]:
        rates: dict[str, float] = {}
        for connection in self.connections:
            rates |= {t: rate for t, rate in connection.ledger.rates.items() if rate or t not in rates}
        return rates

    def _one_over(self) -> None:
        self._left -= 1
        if not self._left:
            self._none_left()

    def _none_left(self) -> None:
        self._over.set()
        self._on_over()
