"""Generates ticks where there is no Massive account, on the same way as real ones: as JSON frames."""

import logging
from collections.abc import Callable, Iterable
from typing import Any, Final

from reactivex import Observable, abc
from reactivex.disposable import Disposable, SerialDisposable

from operators.runtime import SYSTEM, Runtime

from .market import SyntheticMarket
from .massive.frames import Frames
from .setting_keys import DEFAULT_TICKERS
from .symbols import WILDCARD

__all__ = ["SyntheticSource"]

log = logging.getLogger("tickbraid.synthetic")

MESSAGE_ELEMENTS: Final = 200
"""Elements in a message, of which each read brings one: about 40 KiB."""
JOIN_TIMEOUT_S: Final = 2.0
FAILED_S: Final = 1.0
"""Until the next round after one that raised."""


class SyntheticSource:
    """Is a connection without a socket: ``frames`` brings what a feed would.

    At each multiple of the interval every ticker gets what its event types ask for: a quote, a trade and,
    when a second (a minute) is over, its bar. Each element carries ``"source":"synthetic"``. A subscription
    has a market of its own, and with none the source costs nothing.

    ::

        interval   |-----1-----2-----3---->
        frames     ------f-----f-----f---->

    Args:
        connection_id: goes into the `Frames`.
        tickers: what is generated; `add_tickers` and `remove_tickers` change it at run time. The wildcard
            stands for `DEFAULT_TICKERS`.
        event_types: of `pipeline.market.EVENT_TYPES`.
        interval_s: seconds between two rounds (``SYNTHETIC_UPDATE_INTERVAL``), at least 0.001.
        seed: the same seed gives the same prices.
        scheduler: wakes the source, for virtual time; without one a thread ``tickbraid-synthetic`` does, a
            thread a subscription, which ends within 2 s of its disposal.
        runtime: that thread; its wall clock makes the event times, and the receive times.

    Raises:
        ValueError: an argument is out of its range; the message names it.
    """

    def __init__(
        self,
        connection_id: str,
        tickers: Iterable[str],
        *,
        event_types: Iterable[str] = ("A",),
        interval_s: float = 1.0,
        seed: int = 0,
        scheduler: abc.SchedulerBase | None = None,
        runtime: Runtime = SYSTEM,
    ) -> None:
        if not interval_s >= 0.001:
            raise ValueError(f"interval_s must be at least 0.001, not {interval_s!r}")
        self._connection_id = connection_id
        self._event_types = frozenset(event_types)
        self._interval_ms = round(interval_s * 1000)
        self._seed = seed
        self._runtime = runtime
        self._clock = runtime.clock
        self._scheduler = scheduler
        self._lock = runtime.lock()
        self._tickers: dict[str, None] = dict.fromkeys(tickers)
        self._open_market()  # checks the arguments now rather than at the first subscription
        self.frames: Observable[Frames] = Observable(self._subscribe)

    @property
    def tickers(self) -> tuple[str, ...]:
        """The tickers of the next round."""
        with self._lock:
            return tuple(self._tickers)

    def add_tickers(self, tickers: Iterable[str]) -> None:
        """Generate these, too, from the next round on; any thread."""
        with self._lock:
            self._tickers |= dict.fromkeys(tickers)

    def remove_tickers(self, tickers: Iterable[str]) -> None:
        """Generate these no more from the next round on; any thread."""
        with self._lock:
            for ticker in tickers:
                self._tickers.pop(ticker, None)

    def _listed(self) -> tuple[str, ...]:
        """Return the tickers that the market has: those by name, and its own where all are wanted."""
        listed: dict[str, None] = {}
        for ticker in self.tickers:
            listed |= dict.fromkeys(DEFAULT_TICKERS if ticker == WILDCARD else (ticker,))
        return tuple(listed)

    def _open_market(self) -> SyntheticMarket:
        return SyntheticMarket(
            self._listed(),
            seed=self._seed,
            start_ms=self._clock() // 1_000_000,
            event_types=self._event_types,
            source="synthetic",
        )

    def _subscribe(
        self, observer: abc.ObserverBase[Frames], _scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        market = self._open_market()
        interval_ms = self._interval_ms
        last_ms = self._clock() // 1_000_000 // interval_ms * interval_ms

        def wake() -> float:
            """Do the round that is due, if one is, and return the seconds until the next."""
            nonlocal last_ms
            # A timer may be early by a hair, and the wall clock may be set back.
            due_ms = (self._clock() // 1_000_000 + 1) // interval_ms * interval_ms
            is_due, last_ms = due_ms > last_ms, due_ms  # first: a round that fails is not done twice
            if is_due:
                self._emit(market, due_ms, observer)
            return max(0.0, (due_ms + interval_ms) / 1e3 - self._clock() / 1e9)

        if self._scheduler is None:
            return _run_on_thread(wake, self._runtime)
        return _run_on(self._scheduler, wake)

    def _emit(self, market: SyntheticMarket, now_ms: int, observer: abc.ObserverBase[Frames]) -> None:
        wanted, listed = self._listed(), market.tickers
        if wanted != listed:
            market.remove(set(listed).difference(wanted))
            market.add(wanted, now_ms)
        elements = [element for _, element in market.round(now_ms)]
        for start in range(0, len(elements), MESSAGE_ELEMENTS):
            message = b"[" + b",".join(elements[start : start + MESSAGE_ELEMENTS]) + b"]"
            observer.on_next(Frames(self._connection_id, self._clock(), [message], len(message)))


def _run_on_thread(wake: Callable[[], float], runtime: Runtime) -> abc.DisposableBase:
    ended = runtime.event()

    def run() -> None:
        delay_s = 0.0
        while not ended.wait(delay_s):
            try:
                delay_s = wake()
            except BaseException:
                delay_s = FAILED_S
                log.exception("a round of synthetic ticks failed; the next one comes in %g s", FAILED_S)

    def end() -> None:
        ended.set()
        if thread.ident != runtime.ident():
            thread.join(JOIN_TIMEOUT_S)

    thread = runtime.spawn(run, "tickbraid-synthetic")
    return Disposable(end)


def _run_on(scheduler: abc.SchedulerBase, wake: Callable[[], float]) -> abc.DisposableBase:
    scheduled = SerialDisposable()

    def act(_: abc.SchedulerBase, __: Any = None) -> None:
        scheduled.disposable = scheduler.schedule_relative(wake(), act)

    scheduled.disposable = scheduler.schedule(act)
    return scheduled
