"""The pool: keeps every wanted ticker on a living connection; decides when one moves.

Where it moves is `pipeline.routing.assign`, how is `pipeline.seating`, and how many connections there may be
is `pipeline.allowance`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Final

from reactivex import abc
from reactivex.disposable import Disposable, SerialDisposable

from operators.runtime import SYSTEM, Runtime

from . import status
from .allowance import Allowance, Verdict
from .gaps import Gaps
from .massive.protocol import channels_for
from .massive.rhythm import STALE_AT_LEAST_S
from .routing.assign import Assignment, Line
from .routing.loads import loads_of
from .seating import Carrier, Seat, Seating
from .staleness import judge
from .symbols import near_symbols

__all__ = ["Carrier", "Pool", "PoolPolicy"]

UNEVEN: Final = 1.5
"""So many times the mean is too much for one connection."""
UNEVEN_CHECKS: Final = 2
"""So many times in a row, before tickers move."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolPolicy:
    """Says how tickers are spread and when they move.

    Args:
        strategy: WEBSOCKET_ROUTING_STRATEGY.
        redundant: tickers carried twice.
        failover: move the tickers of a connection that is down.
        failover_after_s: for so long it must be down; and up again, before they come home.
        auto_rebalance: move them back when it returns, and away from a busy one.
        check_every_s: between two looks at load and silence.
    """

    strategy: str = "manual"
    redundant: frozenset[str] = frozenset()
    failover: bool = True
    failover_after_s: float = 2.0
    auto_rebalance: bool = True
    check_every_s: float = 30.0


class Pool:
    """Moves tickers between connections as these die, return, are evicted or have too much to do.

    `hear` and all timers run on the loop's thread, so only what waits for it takes a lock; the other methods
    may be called from any thread.

    Args:
        carriers: the connections, in the order of their numbers.
        lines: how routing sees each, by id.
        event_types: of each, by id.
        assignment: what each carries at the start.
        policy: as above.
        scheduler: the loop, or virtual time.
        emit: takes status events; must not block.
        gaps: is told what happens to channels.
        measure: returns ticks/s by ticker, as measured until now.
        market_open: tells whether the exchange is open at a wall-clock time, ns.
        runtime: its clocks, and what waits for it.
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
        gaps: Gaps,
        measure: Callable[[], Mapping[str, float]],
        market_open: Callable[[int], bool] = lambda _ns: True,
        runtime: Runtime = SYSTEM,
    ) -> None:
        self._seats = {c.id: Seat(c, lines[c.id], event_types[c.id]) for c in carriers}
        self._policy = policy
        self._scheduler = scheduler
        self._emit = emit
        self._gaps = gaps
        self._measure = measure
        self._market_open = market_open
        self._clock = runtime.clock
        self._monotonic = runtime.monotonic
        self._seating = Seating(
            tuple(self._seats.values()),
            assignment,
            strategy=policy.strategy,
            redundant=policy.redundant,
            scheduler=scheduler,
            emit=emit,
            gaps=gaps,
            clock=runtime.clock,
        )
        self._allowances = {c.url: Allowance() for c in carriers}
        self._uneven_checks = 0
        self._undecided = set(self._seats)
        """Connections that have been neither up nor sent away."""
        self._decision = runtime.condition(runtime.lock())
        self._try_timer = SerialDisposable()
        self._check_timer = SerialDisposable()
        self._disposed = False
        self._check_later()

    # -- from any thread ------------------------------------------------------------------------------------

    def add_tickers(self, tickers: Iterable[str]) -> None:
        """Carry these too, each where the strategy puts it."""
        new = tuple(tickers)
        self._soon(lambda: self._seating.add(new))

    def remove_tickers(self, tickers: Iterable[str]) -> None:
        """Carry these no more; what is not carried is told."""
        gone = tuple(tickers)
        self._soon(lambda: self._remove(gone))

    def move_ticker(self, ticker: str, connection: str) -> None:
        """Carry this on that connection whenever it is up; a ticker not carried yet is added.

        Raises:
            ValueError: there is no such connection.
        """
        self._seat(connection)
        self._soon(lambda: self._seating.move(ticker, connection))

    def rebalance(self, tell: Callable[[tuple[status.Moved, ...]], None]) -> None:
        """Spread the tickers anew by what is measured; ``tell`` is given what moved, on the loop's thread."""
        self._soon(lambda: tell(self._rebalance()))

    def reconnect(self, connection: str) -> None:
        """End a connection's session and begin another; one that was evicted tries now.

        Raises:
            ValueError: there is no such connection.
        """
        self._seat(connection).carrier.reconnect("asked for")

    def tickers(self) -> dict[str, tuple[str, ...]]:
        """Return what each connection is to carry."""
        return {name: tuple(seat.carries) for name, seat in self._seats.items()}

    def wait_connected(self, timeout_s: float) -> tuple[str, ...]:
        """Wait until every connection is up, evicted or given up; return the ids of those that are up."""
        with self._decision:
            self._decision.wait_for(lambda: not self._undecided or self._disposed, timeout_s)
        return tuple(name for name, seat in self._seats.items() if seat.up)

    def dispose(self) -> None:
        """Move nothing any more."""
        with self._decision:
            self._disposed = True
            self._decision.notify_all()
        self._try_timer.dispose()
        self._check_timer.dispose()
        self._seating.dispose()
        for seat in self._seats.values():
            seat.timer.dispose()

    # -- what happens to connections ------------------------------------------------------------------------

    def hear(self, event: status.StatusEvent) -> None:
        """Take a status event of one of the connections, on the loop's thread."""
        seat = self._seats.get(event.connection or "")
        if seat is None or self._disposed:
            return
        allowance, now_s = self._allowances[seat.carrier.url], self._monotonic()
        self._tell_of_channels(seat, event)
        if isinstance(event, status.SETTLING):
            seat.settle(event)
            return
        if isinstance(event, status.Connected):
            allowance.comes(seat.carrier.id)
        elif isinstance(event, status.Authenticated):
            allowance.enters(seat.carrier.id, now_s)
            self._returned(seat)
        elif isinstance(event, status.Disconnected) and event.evicted:
            self._evicted(seat, allowance.evict(seat.carrier.id, now_s))
        elif isinstance(event, status.Disconnected):
            allowance.leaves(seat.carrier.id, now_s)
            self._lost(seat)
        elif isinstance(event, status.Failed):
            allowance.gives_up(seat.carrier.id, now_s)
            self._decided(seat)
            self._down(seat)
        self._try_later()

    def _tell_of_channels(self, seat: Seat, event: status.StatusEvent) -> None:
        name = seat.carrier.id
        match event:
            case status.Authenticated():
                self._gaps.begin(
                    name,
                    seat.carrier.url,
                    seat.channels(seat.holds),
                    prove=seat.carrier.prove,
                    is_mute=lambda: self._is_mute(seat),
                )
            case status.Subscribed(channels=channels):
                self._gaps.confirm(name, channels)
            case status.Unsubscribed(channels=channels):
                self._gaps.returned(name, channels)
            case status.Stale():
                self._gaps.renew(name)
            case status.Disconnected() if seat.up:
                self._gaps.end(name)

    def _is_mute(self, seat: Seat) -> bool:
        """Tell whether a connection has been silent for far too long while others brought ticks."""
        silent_s = seat.carrier.last_ticks_s
        if silent_s is None or not seat.carrier.is_mute():
            return False
        heard_s = [each.carrier.last_ticks_s for each in self._seats.values()]
        return any(each_s is not None and each_s > silent_s + STALE_AT_LEAST_S for each_s in heard_s)

    def _evicted(self, seat: Seat, verdict: Verdict) -> None:
        self._emit(
            status.Crowded(
                connection=seat.carrier.id,
                at_ns=self._clock(),
                places=verdict.places,
                by=verdict.by,
                other_program=verdict.other_program,
                next_try_s=verdict.next_try_s,
            )
        )
        self._decided(seat)
        self._lost(seat)
        self._down(seat)

    def _lost(self, seat: Seat) -> None:
        was_up, seat.up = seat.up, False
        seat.confirmed = False
        seat.refused.clear()
        self._seating.let_go(seat)
        if not seat.counted:
            seat.timer.disposable = Disposable()
        elif was_up or not seat.failing:  # an attempt that fails meanwhile does not begin the wait anew
            seat.failing = True
            self._after(seat, self._policy.failover_after_s, lambda: self._down(seat))

    def _down(self, seat: Seat) -> None:
        """Count on it no more, and move its tickers to those that are left."""
        seat.timer.disposable = Disposable()
        seat.counted = seat.failing = False
        if not any(other.counted for other in self._seats.values()):
            for other in self._seats.values():
                other.counted = other.up  # there is nobody else, so it need not prove itself first
        if self._policy.failover:
            self._seating.route("failover")

    def _returned(self, seat: Seat) -> None:
        seat.up = True
        seat.failing = False
        self._decided(seat)
        if seat.counted:
            seat.timer.disposable = Disposable()
        elif not any(other.counted for other in self._seats.values()):
            self._up(seat)  # nobody carries anything: there is nothing to wait for
        else:
            self._after(seat, self._policy.failover_after_s, lambda: self._up(seat))

    def _up(self, seat: Seat) -> None:
        """Count on it again."""
        seat.counted = True
        carried = any(other.carries for other in self._seats.values() if other.counted and other.up)
        if self._policy.auto_rebalance or self._seating.overflow or not carried:
            self._seating.route("return")

    def _remove(self, tickers: tuple[str, ...]) -> None:
        unknown = tuple(ticker for ticker in tickers if ticker not in self._seating.wanted)
        if unknown:
            near = near_symbols(unknown, self._seating.wanted)
            self._emit(status.TickersNotCarried(at_ns=self._clock(), tickers=unknown, near=near))
        types = dict.fromkeys(kind for seat in self._seats.values() for kind in seat.event_types)
        self._gaps.forget(channels_for(tickers, types))
        self._seating.remove(tickers)

    # -- looking after them ---------------------------------------------------------------------------------

    def _check(self) -> None:
        """Look whether one is silent and should not be, or has much more to do than the others."""
        self._check_later()
        live = [seat.carrier.snapshot() for seat in self._seats.values() if seat.up]
        for name in judge(live, market_open=self._market_open(self._clock())):
            self._seats[name].carrier.probe()
        self._seating.rates = self._loads()
        self._uneven_checks = self._uneven_checks + 1 if self._is_uneven() else 0
        if self._uneven_checks >= UNEVEN_CHECKS and self._policy.auto_rebalance:
            self._uneven_checks = 0
            self._seating.route("rebalance")

    def _loads(self) -> Mapping[str, float]:
        return loads_of(self._measure(), self._seating.wanted)

    def _is_uneven(self) -> bool:
        counted = [seat for seat in self._seats.values() if seat.counted]
        rates = self._seating.rates
        loads = [sum(rates.get(ticker, 0.0) for ticker in seat.carries) for seat in counted]
        limits = [seat.line.max_ticks_per_s or inf for seat in counted]
        over = any(load > limit for load, limit in zip(loads, limits, strict=True))
        return over or max(loads, default=0.0) * len(loads) > UNEVEN * sum(loads)

    def _rebalance(self) -> tuple[status.Moved, ...]:
        self._seating.rates = self._loads()
        return self._seating.route("rebalance")

    def _try(self) -> None:
        """Let an evicted connection try again, if its time has come."""
        for allowance in self._allowances.values():
            name = allowance.look(self._monotonic())
            if name is not None:
                self._seats[name].carrier.resume()
        self._try_later()

    def _try_later(self) -> None:
        looks_s = [look_s for a in self._allowances.values() if (look_s := a.next_look_s()) is not None]
        # A timer may be early by a rounding error, and must not be set for it again and again.
        wait_s = max(0.01, min(looks_s) - self._monotonic()) if looks_s else None
        self._try_timer.disposable = Disposable() if wait_s is None else self._later(wait_s, self._try)

    def _check_later(self) -> None:
        self._check_timer.disposable = self._later(self._policy.check_every_s, self._check)

    def _decided(self, seat: Seat) -> None:
        with self._decision:
            self._undecided.discard(seat.carrier.id)
            self._decision.notify_all()

    def _seat(self, connection: str) -> Seat:
        try:
            return self._seats[connection]
        except KeyError:
            known = ", ".join(self._seats)
            raise ValueError(f"connection must be one of {known}, not {connection!r}") from None

    def _soon(self, action: Callable[[], None]) -> None:
        self._scheduler.schedule(lambda *_: action())

    def _after(self, seat: Seat, delay_s: float, action: Callable[[], None]) -> None:
        seat.timer.disposable = self._later(delay_s, action)

    def _later(self, delay_s: float, action: Callable[[], None]) -> abc.DisposableBase:
        return self._scheduler.schedule_relative(delay_s, lambda *_: action())
