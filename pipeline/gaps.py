"""What the ends of sessions cost: puts what happens to channels into the stream, tells what is missing."""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Final

from reactivex import abc

from operators.runtime import SYSTEM, Runtime

from . import status
from .coverage import Coverage
from .feed_time import DAY_NS, FeedTime
from .spans import KIND_OF, Outage, Session, Span, kind_of, symbol_of
from .symbols import WILDCARD, other_spellings
from .ticks import Tick, TickBatch
from .tracks import Tracks

__all__ = ["MARGIN_NS", "Gaps"]

MARGIN_NS: Final = 100_000_000
"""So much later than the confirmation a gap ends where its channel stays silent: the feed's time is known to
the way of a tick. No tick is in it, for by then the channel has been silent for twenty times as long."""
DELAYED_NS: Final = 60_000_000_000
"""A feed that is so far behind our clock is delayed; no line is so slow for long."""
BAR_DELAY_NS: Final = 2_000_000_000
"""A bar is sent so long after its end, on purpose."""


class Gaps:
    """Tells which ticks may be missing, channel by channel, in one `Loss` an outage where it can.

    What happens to channels is told here when it is seen, and carried out where the stream has come to it: by
    `afterwards` it has its exact place between the reads, so that frames of a dead session that wait to be
    decoded are before its end, however late the pipeline is and whatever the wall clock does. Which spans
    there are is `Coverage`'s; this knows what time it is, waits, and tells.

    A gap begins with the event time of the channel's last tick and ends with that of its first, in the feed's
    unit of a ms. Where none comes within two seconds it ends with the confirmation, by the feed's own time
    (`FeedTime`) and a tenth of a second more.

    All but `flush` runs on the loop's thread, so there is no lock.

    Args:
        tracks: of each ticker, the last ticks.
        emit: takes the `Loss` events; must not block.
        loop: for the time to wait; its actions run on its thread.
        afterwards: runs an action after the batches that were received before, and before those received
            later.
        runtime: its clocks.

    Attributes:
        afterwards: as it was given.
        watched: the connections whose batches `see` must be shown.
    """

    def __init__(
        self,
        tracks: Tracks,
        emit: Callable[[status.StatusEvent], None],
        loop: abc.SchedulerBase,
        afterwards: Callable[[Callable[[], object]], None],
        runtime: Runtime = SYSTEM,
    ) -> None:
        self.afterwards = afterwards
        self._tracks = tracks
        self._emit = emit
        self._loop = loop
        self._clock = runtime.clock
        self._monotonic = runtime.monotonic
        self._coverage = Coverage(self._begin_ns, self._end_ns, self._tell)
        self.watched = self._coverage.watched
        self._feed_times: dict[str, FeedTime] = {}
        """By address."""
        self._feeds: dict[str, str] = {}
        """The address of each connection."""
        self._orders: deque[Callable[[], None]] = deque()
        self._looks = False

    # -- what happens to channels ---------------------------------------------------------------------------

    def begin(
        self,
        connection: str,
        feed: str,
        channels: Iterable[str],
        *,
        prove: Callable[[Callable[[], None]], None],
        is_mute: Callable[[], bool],
    ) -> None:
        """Say that a session begins, in which these are asked for.

        Args:
            connection: its id.
            feed: its address.
            channels: which.
            prove: sends a ping, and calls what it is given when it is answered.
            is_mute: tells whether the session has been silent for far longer than ever.
        """

        def ask(mark: int) -> None:
            prove(lambda: self._order(partial(self._coverage.answered, connection, mark)))

        self._feeds[connection] = feed
        at_s, asked = self._monotonic(), tuple(channels)

        def begin() -> None:
            since_ns = self._feed_ns(feed, at_s)
            self._coverage.begin(connection, feed, asked, since_ns=since_ns, prove=ask, is_mute=is_mute)

        self._order(begin)

    def ask(self, connection: str, channels: Iterable[str]) -> None:
        """Say that these are asked for, too."""
        at_s, asked = self._monotonic(), tuple(channels)
        feed = self._feeds.get(connection, "")
        self._order(lambda: self._coverage.ask(connection, asked, self._feed_ns(feed, at_s)))

    def confirm(self, connection: str, channels: Iterable[str]) -> None:
        """Say that the server has confirmed these."""
        self._order(partial(self._coverage.confirm, connection, tuple(channels), self._monotonic()))

    def give_back(self, connection: str, channels: Iterable[str]) -> None:
        """Say that these are being given back."""
        self._order(partial(self._coverage.give_back, connection, tuple(channels)))

    def returned(self, connection: str, channels: Iterable[str]) -> None:
        """Say that the server has taken these back."""
        self._order(partial(self._coverage.returned, connection, tuple(channels)))

    def renew(self, connection: str) -> None:
        """Say that a session fell silent, and that all is given back and asked for again."""
        self._order(partial(self._coverage.renew, connection))

    def end(self, connection: str) -> None:
        """Say that a session ended; every frame of it was received by now."""
        self._order(partial(self._coverage.end, connection))

    def forget(self, channels: Iterable[str]) -> None:
        """Say that nobody wants these any more."""
        at_s, gone = self._monotonic(), tuple(channels)
        self._order(lambda: self._coverage.forget(gone, lambda feed: self._latest_ns(feed, at_s), at_s))

    # -- what the stream brings -----------------------------------------------------------------------------

    def sample(self, batch: TickBatch, at_s: float) -> None:
        """Take from a batch, once in a while, what time it is at the feed."""
        feed = self._feeds.get(batch.connection)
        if feed is not None:
            self._feed_times.setdefault(feed, FeedTime()).note(batch, at_s)

    def see(self, batch: TickBatch, at_s: float) -> None:
        """Look at a batch of one of those in `watched`."""
        session: Session = self.watched[batch.connection]
        is_alive = bool(batch.ticks) or batch.deduplicated > 0
        self._coverage.see(session, batch.ticks, is_alive=is_alive, at_s=at_s)
        self._look_later()

    def flush(self) -> None:
        """Tell what is open as ending now. From any thread, after the loop's has ended."""
        while self._orders:
            self._orders.popleft()()
        self._coverage.flush()

    # -- the order of things --------------------------------------------------------------------------------

    def _order(self, order: Callable[[], None]) -> None:
        self._orders.append(order)
        self.afterwards(self._carry_out)

    def _carry_out(self) -> None:
        if self._orders:
            self._orders.popleft()()
            self._look_later()

    def _look_later(self) -> None:
        """Have a look when the wait is over: perhaps no batch comes that shows it."""
        due_s = None if self._looks else self._coverage.next_look_s
        if due_s is not None:
            self._looks = True
            wait_s = max(0.01, due_s - self._monotonic())  # a timer may be early by a rounding error
            self._loop.schedule_relative(wait_s, self._look_soon)

    def _look_soon(self, *_: Any) -> None:
        # Frames received until now are handed over before this action: it comes after their batches.
        self._order(partial(self._look, self._monotonic()))

    def _look(self, now_s: float) -> None:
        self._looks = False
        self._coverage.look(now_s)

    # -- times ----------------------------------------------------------------------------------------------

    def _begin_ns(self, key: str, connections: Sequence[str], since_ns: int) -> int:
        """Return the event time of a channel's last tick, or where it had none of its connections' last."""
        latest_ns = self._clock() + DAY_NS
        symbol, kind = symbol_of(key), KIND_OF.get(kind_of(key))
        if symbol != WILDCARD and kind is not None:
            names = (symbol, *other_spellings(symbol))
            own = [tick for tick in (self._tracks.last_of_kind(name, kind) for name in names) if tick]
            known = [tick.event_ns for tick in own if tick.event_ns < latest_ns]
            if known:
                return max(known)
        arrivals = [self._tracks.arrivals[name] for name in connections if name in self._tracks.arrivals]
        found = [_last_of(batch.ticks, kind) for batch in arrivals]
        # Others may have ticked in the same moment, and a bar is sent late.
        early_ns = 1 if kind is None or not kind.is_bar else BAR_DELAY_NS
        times = [tick.event_ns - (1 if type(tick) is kind else early_ns) for tick in found]
        return max([since_ns - early_ns, *(each for each in times if each < latest_ns)])

    def _end_ns(self, span: Span, confirmed_s: float | None) -> int:
        """Return by when a channel was confirmed, or now where it is not."""
        if confirmed_s is None:
            return self._latest_ns(span.feed, self._monotonic())
        return self._latest_ns(span.feed, confirmed_s) - (BAR_DELAY_NS if span.is_of_bars else 0)

    def _latest_ns(self, feed: str, at_s: float) -> int:
        """Return what time it was at the feed by a moment of the monotonic clock, at the latest.

        All its ticks may have been long on their way, and then our wall clock knows better; but a feed that
        is delayed by design is far behind that.
        """
        feed_ns = self._feed_ns(feed, at_s)
        our_ns = self._clock() - round((self._monotonic() - at_s) * 1e9)
        return max(feed_ns + MARGIN_NS, our_ns if our_ns - feed_ns < DELAYED_NS else 0)

    def _feed_ns(self, feed: str, at_s: float) -> int:
        """Return the feed's time at a moment of the monotonic clock, or else by our own wall clock."""
        known = self._feed_times[feed].at_ns(at_s) if feed in self._feed_times else None
        return self._clock() - round((self._monotonic() - at_s) * 1e9) if known is None else known

    # -- telling --------------------------------------------------------------------------------------------

    def _tell(self, outage: Outage, spans: list[Span]) -> None:
        gaps = tuple(status.Gap.of(span.channel, span.from_ns, span.to_ns or span.from_ns) for span in spans)
        self._emit(status.Loss.of_gaps(outage.connection, self._clock(), gaps, reason=outage.reason))


def _last_of(ticks: list[Any], kind: type[Tick] | None) -> Tick:
    """Return the last tick of a class, or else that is no bar, or else the last."""
    own = (tick for tick in reversed(ticks) if type(tick) is kind)
    others = (tick for tick in reversed(ticks) if not tick.is_bar)
    return next(own, None) or next(others, None) or ticks[-1]
