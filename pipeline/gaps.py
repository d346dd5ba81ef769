"""What the end of a session cost: for each ticker, the span from the last tick before to the first after."""

from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Final

from reactivex import Observable, abc

from . import status
from .symbols import WILDCARD, other_spellings
from .ticks import Aggregate, Tick, TickBatch
from .tracks import Tracks

__all__ = ["Gaps"]

SETTLE_S: Final = 2.0
"""A ticker that stays silent for so long after its confirmation is not waited for."""
SETTLE_NS: Final = int(SETTLE_S * 1e9)


class _Span:
    """The gap of one ticker; open until ``to_ns`` is known."""

    __slots__ = ("confirmed_ns", "from_ns", "outage", "ticker", "to_ns")

    def __init__(self, ticker: str, outage: "_Outage") -> None:
        self.ticker = ticker
        self.outage = outage
        self.from_ns = 0
        self.to_ns: int | None = None
        self.confirmed_ns: int | None = None

    @property
    def key(self) -> str:
        """What its kind goes by: the ticker; of wildcards, each of which is another, the connection."""
        return self.outage.connection if self.ticker == WILDCARD else self.ticker


class _Outage:
    """One end of a session of one connection, and what it cost that is not told yet.

    Args:
        connection: the connection's id.
        tickers: which it carried.
        cut_ns: when it ended, wall clock.

    Attributes:
        open: how many of ``spans`` are.
        awaited: how many of the open ones are confirmed.
    """

    __slots__ = ("awaited", "connection", "cut_ns", "open", "spans")

    def __init__(self, connection: str, tickers: Iterable[str], cut_ns: int) -> None:
        self.connection = connection
        self.cut_ns = cut_ns
        self.spans = {ticker: _Span(ticker, self) for ticker in tickers}
        self.open = len(self.spans)
        self.awaited = 0


class Gaps:
    """Finds the ends of each gap in the stream and tells them, in one `Loss` an outage where it can.

    Frames of a session that is over may still wait to be decoded, so what is before and what after goes by
    receive time: batches come in the order in which they were received, and each outage,
    confirmation and end of a wait has its place in that order. It never goes by when the pipeline gets there.

    A gap is told once: a ticker that is lost again before it ticked has one gap, told with the later outage.
    Its ends are event times of delivered ticks, in the feed's unit of a ms. But a bar is sent some time after
    its end, so where one comes first after, the gap ends with its receipt, or with the confirmation before.
    The gap of a wildcard is that of all symbols: it begins with the last tick of its connection, and ends
    with its confirmation, or with the event time of the first tick after if that is later.

    `open`, `close` and `forget` may come before ticks that were received earlier, so what they say is carried
    out where the stream has come to it: by the operator that this is, before the ticks of a batch become the
    last of their tickers, and by `see` after the copies are out. All run on the loop's thread, so there is no
    lock.

    Args:
        tracks: of each ticker, the last tick.
        emit: takes the `Loss` events; must not block.
        loop: for the time to wait; its actions run on its thread.
        afterwards: runs an action where `see` is called, after the batches that were received before.
        clock: wall clock, ns.

    Attributes:
        afterwards: as it was given.
        watching: there may be something to find, so that `see` must be called.
        last_of: the last tick of each connection, kept by `Activity`.
    """

    def __init__(
        self,
        tracks: Tracks,
        emit: Callable[[status.StatusEvent], None],
        loop: abc.SchedulerBase,
        afterwards: Callable[[Callable[[], object]], None],
        clock: Callable[[], int],
    ) -> None:
        self.watching = False
        self.last_of: dict[str, Any] = {}
        self.tracks = tracks
        self._emit = emit
        self._loop = loop
        self.afterwards = afterwards
        self._clock = clock
        self._orders: deque[Callable[[], None]] = deque()
        self._outages: list[_Outage] = []
        self._ahead: deque[_Outage] = deque()
        """Outages that the stream has not come to yet."""
        self._missing: dict[str, _Span] = {}
        """Spans that the stream is in, by ticker."""
        self._missing_all: dict[str, _Span] = {}
        """Likewise those of wildcards, by connection."""
        self._spelt: dict[str, str] = {}
        """Other names of pairs that were missing, by which their ticks may come, to the ticker."""
        self._settling: deque[tuple[int, list[_Span]]] = deque()
        """When spans that were confirmed together need not be waited for any more, ns."""
        self._looks = False
        self._began_ns = clock()

    # -- what happens to connections ------------------------------------------------------------------------

    def open(self, connection: str, tickers: Iterable[str], cut_ns: int) -> None:
        """Say that a session ended and that these are carried nowhere now.

        Args:
            connection: whose session.
            tickers: which; one that another connection carries too misses nothing and does not belong here.
            cut_ns: wall clock now; every frame of the session was received by then.
        """
        outage = _Outage(connection, tickers, cut_ns)
        if outage.spans:
            self._order(partial(self._open, outage))

    def close(self, connection: str, tickers: Iterable[str], confirmed_ns: int) -> None:
        """Say that these are confirmed again, there or elsewhere.

        Args:
            connection: the one that they were lost with.
            tickers: which; those that are not missing are passed over.
            confirmed_ns: wall clock of the confirmation.
        """
        if self.watching:
            self._order(partial(self._close, connection, tuple(tickers), confirmed_ns))
            self._look_later()

    def forget(self, tickers: Iterable[str]) -> None:
        """Say that nobody wants these any more."""
        if self.watching:
            self._order(partial(self._forget, tuple(tickers)))

    def _order(self, order: Callable[[], None]) -> None:
        self._orders.append(order)
        self.watching = True

    def _look_later(self, delay_s: float = SETTLE_S) -> None:
        """Have a look when the wait is over: perhaps no batch comes that shows it."""
        if not self._looks:
            self._looks = True
            self._loop.schedule_relative(delay_s, self._look_soon)

    def _look_soon(self, *_: Any) -> None:
        # Frames received until now are handed over before this action: it comes after their batches.
        now_ns = self._clock()
        self.afterwards(lambda: self._look(now_ns))

    # -- what the stream brings -----------------------------------------------------------------------------

    def __call__(self, source: Observable[TickBatch]) -> Observable[TickBatch]:
        """Be the operator: come to each batch's moment and pass it on, on the source's thread."""

        def subscribe(
            observer: abc.ObserverBase[TickBatch], scheduler: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            def on_next(batch: TickBatch) -> None:
                if self.watching:
                    self._advance(batch.received_ns)
                observer.on_next(batch)

            return source.subscribe(on_next, observer.on_error, observer.on_completed, scheduler=scheduler)

        return Observable(subscribe)

    def see(self, batch: TickBatch) -> None:
        """Find in a batch what comes first after."""
        self._advance(batch.received_ns)
        missing, spelt = self._missing, self._spelt
        if missing:
            for tick in batch.ticks:
                ticker = tick.ticker if tick.ticker in missing else spelt.get(tick.ticker)
                if ticker in missing:
                    span = missing[ticker]
                    self._end(span, _sent_by_ns(tick, batch.received_ns, span.confirmed_ns))
        if self._missing_all and batch.ticks:
            # Whatever comes then shows where the feed's clock is, which may be ahead of ours.
            for span in [*self._missing_all.values()]:
                if span.confirmed_ns is not None and span.confirmed_ns <= batch.received_ns:
                    self._end(span, max(batch.ticks[0].event_ns, span.confirmed_ns))
        self._rest()

    def flush(self) -> None:
        """Tell what is open as ending now. From any thread, after the loop's has ended."""
        now_ns = self._clock()
        self._advance(now_ns + 1)
        for outage in tuple(self._outages):
            for span in [span for span in outage.spans.values() if span.to_ns is None]:
                self._end(span, span.confirmed_ns or now_ns)
        self._rest()

    def _look(self, now_ns: int) -> None:
        self._advance(now_ns + 1)
        self._rest()
        self._looks = False
        if self._settling:
            rest_s = (self._settling[0][0] - now_ns) / 1e9
            self._look_later(min(max(rest_s, 0.0), SETTLE_S))  # whatever the wall clock does

    def _rest(self) -> None:
        """Watch on only where something is open."""
        if not self._outages:
            self._settling.clear()
            self.watching = False

    def _advance(self, now_ns: int) -> None:
        """Come to a moment in the stream: what was received before it has been seen."""
        while self._orders:
            self._orders.popleft()()
        while self._ahead and self._ahead[0].cut_ns < now_ns:
            outage = self._ahead.popleft()
            self._settle(outage.cut_ns)
            self._cross(outage)
        self._settle(now_ns)

    def _cross(self, outage: _Outage) -> None:
        """Come to an outage: what was seen last is the last before."""
        # What never ticked is missing since the last tick of its connection at most, which sends in order.
        known = self.last_of.get(outage.connection)
        silent_ns = self._began_ns if known is None else known.event_ns
        for ticker, span in outage.spans.items():
            missing = self._missing_of(span)
            earlier = missing.get(span.key)
            if earlier is not None:
                span.from_ns = earlier.from_ns
                self._drop(earlier)
            elif ticker == WILDCARD:
                span.from_ns = silent_ns - 1  # others may have ticked in the same moment
            else:
                known = self._last_of_ticker(ticker)
                span.from_ns = silent_ns if known is None else known.event_ns
            missing[span.key] = span

    def _last_of_ticker(self, ticker: str) -> Tick | None:
        names = (ticker, *other_spellings(ticker))
        self._spelt |= dict.fromkeys(names[1:], ticker)
        ticks = [tick for tick in map(self.tracks.last_of, names) if tick is not None]
        return max(ticks, key=lambda tick: tick.event_ns, default=None)

    def _missing_of(self, span: _Span) -> dict[str, _Span]:
        return self._missing_all if span.ticker == WILDCARD else self._missing

    def _settle(self, now_ns: int) -> None:
        """End the spans that were waited for long enough: after the confirmation nothing can be missing."""
        while self._settling and self._settling[0][0] < now_ns:
            _, spans = self._settling.popleft()
            for span in spans:
                if self._missing_of(span).get(span.key) is span and span.confirmed_ns is not None:
                    self._end(span, span.confirmed_ns)
            for outage in dict.fromkeys(span.outage for span in spans):
                if not outage.awaited:
                    self._tell(outage)  # the rest may never be confirmed

    def _open(self, outage: _Outage) -> None:
        self._outages.append(outage)
        self._ahead.append(outage)

    def _close(self, connection: str, tickers: tuple[str, ...], confirmed_ns: int) -> None:
        spans = []
        for outage in self._outages:
            if outage.connection == connection:
                held = map(outage.spans.get, tickers)
                back = [span for span in held if span and span.to_ns is None and span.confirmed_ns is None]
                outage.awaited += len(back)
                spans += back
        for span in spans:
            span.confirmed_ns = confirmed_ns
        if spans:
            self._settling.append((confirmed_ns + SETTLE_NS, spans))

    def _forget(self, tickers: tuple[str, ...]) -> None:
        for outage in tuple(self._outages):
            for span in [outage.spans.get(ticker) for ticker in tickers]:
                if span is not None and span.to_ns is None:
                    self._drop(span)

    def _drop(self, span: _Span) -> None:
        """Take an open span out: it is told with another outage, or to nobody."""
        del span.outage.spans[span.ticker]
        self._settled(span)

    def _end(self, span: _Span, to_ns: int) -> None:
        span.to_ns = max(span.from_ns, to_ns)
        self._settled(span)

    def _settled(self, span: _Span) -> None:
        missing = self._missing_of(span)
        if missing.get(span.key) is span:
            del missing[span.key]
        outage = span.outage
        outage.open -= 1
        outage.awaited -= span.confirmed_ns is not None
        if not outage.open:
            self._tell(outage)

    def _tell(self, outage: _Outage) -> None:
        """Tell what has ended of an outage, and keep what has not."""
        ended = [(span, span.to_ns) for span in outage.spans.values() if span.to_ns is not None]
        for span, _ in ended:
            del outage.spans[span.ticker]
        if not outage.open and outage in self._outages:
            self._outages.remove(outage)
        if ended:
            gaps = tuple(status.Gap(span.ticker, span.from_ns, to_ns) for span, to_ns in ended)
            self._emit(status.Loss.of_gaps(outage.connection, self._clock(), gaps))


def _sent_by_ns(tick: Tick, received_ns: int, confirmed_ns: int | None) -> int:
    """Return an event time that nothing sent before a tick can be after."""
    if isinstance(tick, Aggregate):
        return max(tick.event_ns, min(received_ns, confirmed_ns or received_ns))
    return tick.event_ns
