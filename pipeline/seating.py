"""Which ticker sits on which connection: asks routing, and carries out the difference without a break."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Final, Protocol

from reactivex import abc
from reactivex.disposable import Disposable, SerialDisposable

from . import status
from .gaps import Gaps
from .massive.protocol import channels_for
from .massive.snapshot import ConnectionSnapshot
from .routing.assign import Assignment, Line, assign
from .symbols import WILDCARD

__all__ = ["OVERLAP_S", "Carrier", "Seat", "Seating"]

log = logging.getLogger("tickbraid.pool")

OVERLAP_S: Final = 2.0
"""A ticker that moves between two living connections is on both for so long; dedupe takes the copies out."""


class Carrier(Protocol):
    """Is what the pool needs of a connection; all from any thread."""

    id: str
    url: str

    def want(self, channels: Iterable[str]) -> None:
        """Subscribe now if live, and on every session from now on."""
        ...

    def give_up(self, channels: Iterable[str]) -> None:
        """Unsubscribe, and forget."""
        ...

    def resume(self) -> None:
        """Connect again after an eviction."""
        ...

    def reconnect(self, reason: str) -> None:
        """End the session, if there is one, and connect again."""
        ...

    def prove(self, answered: Callable[[], None]) -> None:
        """Ping the server of a live session, and call ``answered`` when it answers."""
        ...

    def is_mute(self) -> bool:
        """Tell whether a session has brought no ticks for far longer than ever."""
        ...

    @property
    def last_ticks_s(self) -> float | None:
        """When ticks came last, in whatever session, by the monotonic clock; None while none did."""
        ...

    def probe(self) -> None:
        """Find out whether a silent session is dead, and end it if it is."""
        ...

    def snapshot(self) -> ConnectionSnapshot:
        """Say how it is doing."""
        ...


@dataclass(slots=True, eq=False)
class Seat:
    """What the pool knows of one connection."""

    carrier: Carrier
    line: Line
    event_types: tuple[str, ...]
    carries: dict[str, None] = field(default_factory=dict)
    releasing: dict[str, None] = field(default_factory=dict)
    """Tickers that have moved away and are still subscribed here until the overlap is over."""
    overlap: SerialDisposable = field(default_factory=SerialDisposable)
    counted: bool = True
    """Routing counts on it."""
    failing: bool = False
    """It is down, and will not be counted on if it stays so."""
    timer: SerialDisposable = field(default_factory=SerialDisposable)
    """Ends the wait for its return, or for its being stable."""
    up: bool = False
    confirmed: bool = False
    """All that it was asked to carry is confirmed, or will not be."""
    refused: set[str] = field(default_factory=set)
    """Channels that the server refused in this session."""

    def settle(self, event: status.Subscribed | status.Refused | status.Unanswered) -> None:
        """Take what the server said, or did not say, to some of its channels."""
        self.confirmed = self.confirmed or not event.pending
        if isinstance(event, status.Refused):
            self.refused.update(event.channels)
        else:
            self.refused.difference_update(event.channels)

    def key(self, ticker: str) -> tuple[str, str]:
        """Return what tells a ticker from others: a wildcard is another one on a line of another kind."""
        return ticker, self.line.feed if ticker == WILDCARD else ""

    def channels(self, tickers: Iterable[str]) -> list[str]:
        """Return the channels of tickers on it."""
        return channels_for(tickers, self.event_types)

    @property
    def holds(self) -> dict[str, None]:
        """What is subscribed on it, or will be as soon as it is up."""
        return self.carries | self.releasing


class Seating:
    """Holds what each connection carries, and changes it.

    A ticker that moves between living connections is subscribed in its new place first; in the old one it is
    given back when the new one is confirmed, and the overlap is over. Everything runs on the loop's thread.

    Args:
        seats: of the connections, in the order of their numbers.
        assignment: what each carries at the start.
        strategy: one of `pipeline.routing.assign.STRATEGIES`.
        redundant: tickers carried twice.
        scheduler: the loop, or virtual time.
        emit: takes status events; must not block.
        gaps: is told what is asked for and given back in a session.
        clock: wall clock, ns.
    """

    def __init__(
        self,
        seats: Sequence[Seat],
        assignment: Assignment,
        *,
        strategy: str,
        redundant: frozenset[str],
        scheduler: abc.SchedulerBase,
        emit: Callable[[status.StatusEvent], None],
        gaps: Gaps,
        clock: Callable[[], int],
    ) -> None:
        self.wanted = dict.fromkeys(chain(*assignment.tickers.values(), assignment.overflow))
        self.overflow = assignment.overflow
        """Tickers that fit nowhere at present."""
        self.rates: Mapping[str, float] = {}
        """Measured ticks/s by ticker; those of unknown rate are not in it."""
        self._seats = seats
        self._strategy = strategy
        self._redundant = redundant
        self._scheduler = scheduler
        self._emit = emit
        self._gaps = gaps
        self._clock = clock
        self._pinned: dict[str, str] = {}
        if self.overflow:
            self._tell_overflow()
        for seat in seats:
            self._carry(seat, assignment.tickers.get(seat.carrier.id, ()))

    def add(self, tickers: Iterable[str]) -> None:
        """Carry these too."""
        self.wanted |= dict.fromkeys(tickers)
        self.route("wanted")

    def remove(self, tickers: Iterable[str]) -> None:
        """Carry these no more, and forget where they were moved to."""
        gone = frozenset(tickers)
        self.wanted = {ticker: None for ticker in self.wanted if ticker not in gone}
        self._pinned = {ticker: id_ for ticker, id_ in self._pinned.items() if ticker not in gone}
        for seat in self._seats:
            held = [ticker for ticker in seat.holds if ticker in gone]
            for ticker in held:
                seat.carries.pop(ticker, None)
                seat.releasing.pop(ticker, None)
            self._give_up(seat, held)
        self.route("wanted")

    def move(self, ticker: str, connection: str) -> None:
        """Carry this on that connection whenever it is up; a ticker not carried yet is added."""
        self.wanted[ticker] = None
        self._pinned[ticker] = connection
        self.route("moved")

    def route(self, reason: str) -> tuple[status.Moved, ...]:
        """Ask routing anew and carry out the difference.

        Args:
            reason: goes into the events.

        Returns:
            What moved, as it was told on the status stream.
        """
        nobody = not any(seat.counted for seat in self._seats)
        if nobody and reason not in {"wanted", "moved"}:
            return ()  # all stay where they are, and come back with it
        result = assign(
            self.wanted,
            [replace(seat.line, alive=seat.counted or nobody) for seat in self._seats],
            self._strategy,
            self.rates,
            {seat.carrier.id: tuple(seat.holds) for seat in self._seats},
            redundant=self._redundant,
            pinned=self._pinned,
        )
        if result.overflow != self.overflow:
            self.overflow = result.overflow
            for warning in result.warnings:
                log.warning("%s", warning)
            self._tell_overflow()
        before = {seat.carrier.id: tuple(seat.carries) for seat in self._seats}
        changes = []
        for seat in self._seats:
            kept = dict.fromkeys(result.tickers.get(seat.carrier.id, ()))
            leaving = [ticker for ticker in seat.carries if ticker not in kept]
            for ticker in leaving:
                del seat.carries[ticker]
                seat.releasing[ticker] = None
            changes.append((seat, kept, leaving))
        for seat, kept, leaving in changes:
            self._carry(seat, kept)
            if leaving:
                self._overlap(seat)
        moves = tuple(self._moves(before, reason))
        for move in moves:
            self._emit(move)
        return moves

    def let_go(self, seat: Seat, tickers: Iterable[str] | None = None) -> None:
        """End the overlap of these, of all by default."""
        chosen = seat.releasing if tickers is None else set(tickers)
        gone = [ticker for ticker in seat.releasing if ticker in chosen]
        for ticker in gone:
            del seat.releasing[ticker]
        if gone:
            self._give_up(seat, gone)

    def dispose(self) -> None:
        """End no overlap any more. From any thread."""
        for seat in self._seats:
            seat.overlap.dispose()

    def _tell_overflow(self) -> None:
        self._emit(status.Unplaced(at_ns=self._clock(), tickers=self.overflow))

    def _carry(self, seat: Seat, tickers: Iterable[str]) -> None:
        new = [ticker for ticker in tickers if ticker not in seat.carries]
        fresh = [ticker for ticker in new if ticker not in seat.releasing]
        for ticker in new:
            seat.releasing.pop(ticker, None)
            seat.carries[ticker] = None
        if fresh:
            seat.confirmed = False
            channels = seat.channels(fresh)
            if seat.up:
                self._gaps.ask(seat.carrier.id, channels)
            seat.carrier.want(channels)

    def _give_up(self, seat: Seat, tickers: Iterable[str]) -> None:
        channels = seat.channels(tickers)
        seat.refused.difference_update(channels)
        if seat.up:
            self._gaps.give_back(seat.carrier.id, channels)
        seat.carrier.give_up(channels)

    def _overlap(self, seat: Seat) -> None:
        if seat.up:
            release = self._scheduler.schedule_relative(OVERLAP_S, lambda *_: self._release(seat))
            seat.overlap.disposable = release
        else:
            self.let_go(seat)

    def _release(self, seat: Seat) -> None:
        """End the overlap of those tickers whose new place is sure; the others wait for it.

        A place is sure of a ticker of which it refuses no more than the old one does.
        """
        seat.overlap.disposable = Disposable()
        places = [other for other in self._seats if other.up and other.confirmed]

        def is_sure(ticker: str) -> bool:
            key = seat.key(ticker)
            own = (other for other in places if ticker in other.carries and other.key(ticker) == key)
            return any(other.refused.intersection(other.channels([ticker])) <= seat.refused for other in own)

        self.let_go(seat, {ticker for ticker in seat.releasing if is_sure(ticker)})
        if seat.releasing:
            self._overlap(seat)

    def _moves(self, before: Mapping[str, tuple[str, ...]], reason: str) -> Iterable[status.Moved]:
        origin = {s.key(ticker): s.carrier.id for s in self._seats for ticker in before[s.carrier.id]}
        for seat in self._seats:
            had = set(before[seat.carrier.id])
            moved: dict[str, list[str]] = {}
            for ticker in seat.carries:
                if ticker not in had and seat.key(ticker) in origin:
                    moved.setdefault(origin[seat.key(ticker)], []).append(ticker)
            for source, tickers in moved.items():
                yield status.Moved(
                    connection=seat.carrier.id,
                    at_ns=self._clock(),
                    source=source,
                    tickers=tuple(tickers),
                    reason=reason,
                )
