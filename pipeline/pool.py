"""The pool: keeps every wanted ticker on a living connection; decides when one moves.

Where it moves is `pipeline.routing.assign`. Everything here runs on the reading thread, so there is no lock;
the methods marked so may be called from any thread.
"""

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Final, Protocol

from reactivex import abc
from reactivex.disposable import Disposable, SerialDisposable

from . import status
from .massive.protocol import channels_for
from .routing.assign import Assignment, Line, assign

__all__ = ["Carrier", "Pool", "PoolPolicy"]

log = logging.getLogger("tickbraid.pool")

OVERLAP_S: Final = 2.0
"""A ticker that moves between two living connections is on both for so long; dedupe takes the copies out."""

_SETTLING: Final = (status.Subscribed, status.Refused, status.Unanswered)
"""After one of these with nothing pending, a connection carries all that it ever will."""


class Carrier(Protocol):
    """Is what the pool needs of a connection."""

    id: str

    def want(self, channels: Iterable[str]) -> None:
        """Subscribe now if live, and on every session from now on."""
        ...

    def give_up(self, channels: Iterable[str]) -> None:
        """Unsubscribe, and forget."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolPolicy:
    """Says how tickers are spread and when they move.

    Args:
        strategy: WEBSOCKET_ROUTING_STRATEGY.
        redundant: tickers carried twice.
        failover: move the tickers of a connection that is down.
        failover_after_s: for so long it must be down; and up again, before they come home.
        come_home: move them back when it returns.
    """

    strategy: str = "manual"
    redundant: frozenset[str] = frozenset()
    failover: bool = True
    failover_after_s: float = 2.0
    come_home: bool = True


@dataclass(slots=True)
class _Seat:
    """What the pool knows of one connection."""

    carrier: Carrier
    line: Line
    event_types: tuple[str, ...]
    carries: dict[str, None] = field(default_factory=dict)
    releasing: dict[str, None] = field(default_factory=dict)
    """Tickers that have moved away and are still subscribed here until the overlap is over."""
    counted: bool = True
    """Routing counts on it."""
    failing: bool = False
    """It is down, and will not be counted on if it stays so."""
    up: bool = False
    confirmed: bool = False
    """All that it was asked to carry is confirmed."""
    timer: SerialDisposable = field(default_factory=SerialDisposable)
    gap_from_ns: int | None = None
    gap_tickers: dict[str, None] = field(default_factory=dict)


class Pool:
    """Moves tickers between connections as these die and return.

    Args:
        carriers: the connections, in the order of their numbers.
        lines: how routing sees each, by id.
        event_types: of each, by id.
        assignment: what each carries at the start.
        policy: as above.
        scheduler: the loop, or virtual time.
        emit: takes status events; must not block.
        loads: measured ticks/s by ticker, for ``load-balanced``; asked at each move.
        clock: wall clock, ns.
    """

    def __init__(
        self,
        carriers: Sequence[Carrier],
        *,
        lines: Mapping[str, Line],
        event_types: Mapping[str, tuple[str, ...]],
        assignment: Assignment,
        policy: PoolPolicy,
        scheduler: abc.SchedulerBase,
        emit: Callable[[status.StatusEvent], None],
        loads: Callable[[], Mapping[str, float]] = dict,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._seats = {c.id: _Seat(c, lines[c.id], event_types[c.id]) for c in carriers}
        self._policy = policy
        self._scheduler = scheduler
        self._emit = emit
        self._loads = loads
        self._clock = clock
        self._overflow: tuple[str, ...] = ()
        self._wanted = dict.fromkeys(chain(*assignment.tickers.values(), assignment.overflow))
        self._disposed = False
        for seat in self._seats.values():
            self._carry(seat, assignment.tickers.get(seat.carrier.id, ()))

    # -- from any thread ------------------------------------------------------------------------------------

    def add_tickers(self, tickers: Iterable[str]) -> None:
        """Carry these too, each where the strategy puts it. From any thread."""
        new = dict.fromkeys(tickers)
        self._soon(lambda: self._change(self._wanted | new))

    def remove_tickers(self, tickers: Iterable[str]) -> None:
        """Carry these no more. From any thread."""
        gone = frozenset(tickers)
        self._soon(lambda: self._change({t: None for t in self._wanted if t not in gone}))

    def dispose(self) -> None:
        """Move nothing any more. From any thread."""
        self._disposed = True
        for seat in self._seats.values():
            seat.timer.dispose()

    def tickers(self) -> dict[str, tuple[str, ...]]:
        """Return what each connection is to carry. From any thread."""
        return {name: tuple(seat.carries) for name, seat in self._seats.items()}

    # -- what happens to connections ------------------------------------------------------------------------

    def hear(self, event: status.StatusEvent) -> None:
        """Take a status event of one of the connections, on the loop's thread."""
        seat = self._seats.get(event.connection or "")
        if seat is None or self._disposed:
            return
        if isinstance(event, status.Disconnected):
            self._lost(seat, event)
        elif isinstance(event, status.Failed):
            self._down(seat)
        elif isinstance(event, status.Authenticated):
            self._returned(seat)
        elif isinstance(event, _SETTLING) and not event.pending:
            self._confirmed(seat)

    def _lost(self, seat: _Seat, event: status.Disconnected) -> None:
        if seat.up and seat.carries:
            if seat.gap_from_ns is None:
                seat.gap_from_ns = event.last_frame_ns or event.at_ns
            seat.gap_tickers |= seat.carries
        was_up, seat.up, seat.confirmed = seat.up, False, False
        self._let_go(seat)
        if not seat.counted:
            seat.timer.disposable = Disposable()
        elif was_up or not seat.failing:  # an attempt that fails meanwhile does not begin the wait anew
            seat.failing = True
            self._after(seat, self._policy.failover_after_s, lambda: self._down(seat))

    def _down(self, seat: _Seat) -> None:
        """Count on it no more, and move its tickers to those that are left."""
        seat.timer.disposable = Disposable()
        seat.counted = seat.failing = False
        if self._policy.failover:
            self._route("failover")

    def _returned(self, seat: _Seat) -> None:
        seat.up = True
        seat.failing = False
        if seat.counted:
            seat.timer.disposable = Disposable()
        elif not any(other.counted for other in self._seats.values()):
            self._up(seat)  # nobody carries anything: there is nothing to wait for
        else:
            self._after(seat, self._policy.failover_after_s, lambda: self._up(seat))

    def _up(self, seat: _Seat) -> None:
        """Count on it again."""
        seat.counted = True
        if self._policy.come_home or self._overflow or not self._carried():
            self._route("return")

    def _confirmed(self, seat: _Seat) -> None:
        seat.confirmed = True
        for lost in self._seats.values():
            back = [ticker for ticker in lost.gap_tickers if ticker in seat.carries]
            if back and lost.gap_from_ns is not None:
                self._tell_gap(lost, back, lost.gap_from_ns)

    def _tell_gap(self, seat: _Seat, tickers: list[str], from_ns: int) -> None:
        """Say that ticks may be missing from the last frame before until now."""
        for ticker in tickers:
            del seat.gap_tickers[ticker]
        # What goes on over another connection at the same time has missed nothing.
        missed = tuple(t for t in tickers if t not in self._policy.redundant or not self._has_twin(seat, t))
        if not seat.gap_tickers:
            seat.gap_from_ns = None
        if missed:
            self._emit(
                status.Loss(
                    connection=seat.carrier.id,
                    at_ns=self._clock(),
                    where="feed",
                    reason="disconnected",
                    count=None,
                    tickers=missed,
                    from_ns=from_ns,
                    to_ns=self._clock(),
                )
            )

    def _has_twin(self, seat: _Seat, ticker: str) -> bool:
        others = (other for other in self._seats.values() if other is not seat)
        return any(other.up and other.gap_from_ns is None and ticker in other.carries for other in others)

    # -- moving ---------------------------------------------------------------------------------------------

    def _change(self, wanted: dict[str, None]) -> None:
        gone = [ticker for ticker in self._wanted if ticker not in wanted]
        self._wanted = wanted
        for seat in self._seats.values():
            held = [t for t in gone if t in seat.carries or t in seat.releasing]
            for ticker in held:
                seat.carries.pop(ticker, None)
                seat.releasing.pop(ticker, None)
                seat.gap_tickers.pop(ticker, None)
            seat.carrier.give_up(channels_for(held, seat.event_types))
        self._route("wanted")

    def _route(self, reason: str) -> None:
        """Ask routing anew and carry out the difference: first the new places, then the old ones."""
        nobody = not any(seat.counted for seat in self._seats.values())
        if nobody and reason != "wanted":
            return  # all stay where they are, and come back with it
        lines = [replace(seat.line, alive=seat.counted or nobody) for seat in self._seats.values()]
        current = {name: (*seat.carries, *seat.releasing) for name, seat in self._seats.items()}
        result = assign(
            self._wanted,
            lines,
            self._policy.strategy,
            self._loads(),
            current,
            redundant=self._policy.redundant,
        )
        if result.overflow != self._overflow:
            self._overflow = result.overflow
            for warning in result.warnings:
                log.warning("%s", warning)
        before = {name: tuple(seat.carries) for name, seat in self._seats.items()}
        for name, seat in self._seats.items():
            kept = dict.fromkeys(result.tickers.get(name, ()))
            for ticker in [t for t in seat.carries if t not in kept]:
                del seat.carries[ticker]
                seat.releasing[ticker] = None
            self._carry(seat, kept)
        self._tell_moves(before, reason)
        for seat in self._seats.values():
            if seat.releasing and not seat.up:
                self._let_go(seat)
            elif seat.releasing:
                self._scheduler.schedule_relative(OVERLAP_S, lambda *_, seat=seat: self._release(seat))

    def _carry(self, seat: _Seat, tickers: Iterable[str]) -> None:
        new = [ticker for ticker in tickers if ticker not in seat.carries]
        fresh = [ticker for ticker in new if ticker not in seat.releasing]
        for ticker in new:
            seat.releasing.pop(ticker, None)
            seat.carries[ticker] = None
        if fresh:
            seat.confirmed = False
            seat.carrier.want(channels_for(fresh, seat.event_types))

    def _release(self, seat: _Seat) -> None:
        """End the overlap of those tickers whose new place is sure; the others wait for it."""
        sure = {t for other in self._seats.values() if other.up and other.confirmed for t in other.carries}
        self._let_go(seat, sure)
        if seat.releasing and seat.up and not self._disposed:
            self._scheduler.schedule_relative(OVERLAP_S, lambda *_: self._release(seat))

    def _let_go(self, seat: _Seat, tickers: Iterable[str] | None = None) -> None:
        chosen = seat.releasing if tickers is None else set(tickers)
        gone = [ticker for ticker in seat.releasing if ticker in chosen]
        for ticker in gone:
            del seat.releasing[ticker]
        if gone:
            seat.carrier.give_up(channels_for(gone, seat.event_types))

    def _tell_moves(self, before: Mapping[str, tuple[str, ...]], reason: str) -> None:
        origin = {ticker: name for name, tickers in before.items() for ticker in tickers}
        for name, seat in self._seats.items():
            had = set(before[name])
            moved: dict[str, list[str]] = {}
            for ticker in seat.carries:
                if ticker not in had and ticker in origin:
                    moved.setdefault(origin[ticker], []).append(ticker)
            for source, tickers in moved.items():
                self._emit(
                    status.Moved(
                        connection=name,
                        at_ns=self._clock(),
                        source=source,
                        tickers=tuple(tickers),
                        reason=reason,
                    )
                )

    def _carried(self) -> bool:
        return any(seat.carries for seat in self._seats.values() if seat.counted and seat.up)

    def _soon(self, action: Callable[[], None]) -> None:
        self._scheduler.schedule(lambda *_: action())

    def _after(self, seat: _Seat, delay_s: float, action: Callable[[], None]) -> None:
        seat.timer.disposable = self._scheduler.schedule_relative(delay_s, lambda *_: action())
