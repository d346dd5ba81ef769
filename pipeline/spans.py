"""What `Coverage` keeps: sessions with their channels, and spans in which ticks may be missing."""

from collections.abc import Callable
from math import inf
from typing import Final

from .symbols import WILDCARD, other_spellings
from .ticks import TICK_KINDS, Tick

__all__ = ["KIND_OF", "Finding", "Outage", "Session", "Span", "kind_of", "star_of", "symbol_of"]

KIND_OF: Final[dict[str, type[Tick]]] = {kind.event_type: kind for kind in TICK_KINDS}
"""The class of ticks by event type."""


def kind_of(key: str) -> str:
    """Return the event type of a channel."""
    return key.partition(".")[0]


def symbol_of(key: str) -> str:
    """Return the symbol of a channel."""
    return key.partition(" ")[0].partition(".")[2]


def star_of(key: str, feed: str) -> str:
    """Return the key of the wildcard that brings a channel's ticks, too."""
    return f"{kind_of(key)}.{WILDCARD} {feed}"


class Outage:
    """What one end of carrying cost that is not told yet.

    Args:
        connection: whose.
        reason: why it ended, in a word.

    Attributes:
        spans: those that are certain and not told.
        ended_s: when the last of them ended, monotonic.
        waits_s: since when one that has ended waits for the others to be told with it.
    """

    __slots__ = ("connection", "ended_s", "reason", "spans", "waits_s")

    def __init__(self, connection: str, reason: str) -> None:
        self.connection = connection
        self.reason = reason
        self.spans: dict[Span, None] = {}
        self.ended_s = 0.0
        self.waits_s = inf

    @property
    def has_ended(self) -> bool:
        """Whether any span of it can be told."""
        return any(span.is_final for span in self.spans)

    @property
    def is_over(self) -> bool:
        """Whether all of them can."""
        return all(span.is_final for span in self.spans)


class Finding:
    """What is known of a session that began to carry a channel while ticks of it were missing.

    Args:
        session: which.
        at_s: when, monotonic.
        mark: of that moment.

    Attributes:
        left: the last mark before it carried the channel no more; None while it does.
    """

    __slots__ = ("at_s", "left", "mark", "session")

    def __init__(self, session: "Session", at_s: float, mark: int) -> None:
        self.session = session
        self.at_s = at_s
        self.mark = mark
        self.left: int | None = None

    def may_have_lived_until(self, mark: int, *, lives: bool) -> bool:
        """Tell whether the session carried the channel until then, or may still prove that it did.

        A tick behind its answer proves it. One that brings none more is judged when it answers.
        """
        if self.left is not None and self.left < mark:
            return False
        session = self.session
        return mark <= session.proved or (lives and (bool(session.carried) or session.answered < mark))


class Span:
    """A time in which ticks of a channel may be missing; open until its end is known.

    Args:
        key: the channel; of a wildcard with its feed.
        feed: the address at which it is had.
        from_ns: event time of the last tick before.

    Attributes:
        before: sessions that carried it before, whose ticks move the begin on.
        holders: sessions that were giving it back when it ended: it is not told before they have.
        vouchers: of these, those whose proof of life drops it; none where it is certain.
        gain: the mark of when another session began to carry it, None before.
        found: who began to carry it since, in that order.
        found_mark: the mark of when the last of them did, or nobody wanted it any more.
        ended_s: when its end was known, monotonic.
        outage: what it is told with, None while it is tentative.
    """

    __slots__ = (
        "before",
        "ended_s",
        "feed",
        "found",
        "found_mark",
        "from_ns",
        "gain",
        "holders",
        "key",
        "outage",
        "to_ns",
        "vouchers",
    )

    def __init__(self, key: str, feed: str, from_ns: int) -> None:
        self.key = key
        self.feed = feed
        self.from_ns = from_ns
        self.to_ns: int | None = None
        self.before: dict[Session, None] = {}
        self.holders: dict[Session, None] = {}
        self.vouchers: dict[Session, None] = {}
        self.gain: int | None = None
        self.found: list[Finding] = []
        self.found_mark = 0
        self.ended_s = 0.0
        self.outage: Outage | None = None

    @property
    def channel(self) -> str:
        """The channel as it is asked for."""
        return self.key.partition(" ")[0]

    @property
    def is_star(self) -> bool:
        """Whether it is a wildcard's; then another may have ticked in the same moment."""
        return " " in self.key

    @property
    def is_of_bars(self) -> bool:
        """Whether what is missing are bars: they are sent again later, so that none shows where it ends."""
        kind = KIND_OF.get(kind_of(self.key))
        return kind is not None and kind.is_bar

    @property
    def is_idle(self) -> bool:
        """Whether nothing has happened but that somebody was asked for the channel."""
        return self.outage is None and self.gain is None

    @property
    def is_final(self) -> bool:
        """Whether it has ended, and no session that gives it back may still bring ticks of it."""
        return self.to_ns is not None and not any(self.key in each.leaving for each in self.holders)

    @property
    def is_awaited(self) -> bool:
        """Whether its first tick may come at any moment."""
        return self.to_ns is None and bool(self.found)


class Session:
    """One session of a connection, and where each of its channels stands.

    Args:
        connection: its id.
        feed: its address.
        prove: asks the server for an answer; takes the mark that comes back with it.
        is_mute: tells whether it has been silent for far longer than ever.

    Attributes:
        asked: channels that the server was asked for and has not confirmed, and when it was asked.
        carried: those that it confirmed, or that have ticked.
        leaving: those that are being given back, and the marks when that was asked.
        flowing: those of them that it carried until then: it brings all up to where it stops.
        watch: what is looked for in its ticks: by class and ticker, the channel.
        vouches: tentative spans that its proof of life drops.
        sent: the last mark for which an answer is wanted; ``answered`` and ``proved`` likewise.
    """

    __slots__ = (
        "answered",
        "asked",
        "awaits_answer",
        "carried",
        "connection",
        "feed",
        "flowing",
        "is_mute",
        "leaving",
        "prove",
        "proved",
        "sent",
        "vouches",
        "watch",
    )

    def __init__(
        self, connection: str, feed: str, prove: Callable[[int], None], is_mute: Callable[[], bool]
    ) -> None:
        self.connection = connection
        self.feed = feed
        self.prove = prove
        self.is_mute = is_mute
        self.asked: dict[str, int] = {}
        self.carried: dict[str, None] = {}
        self.leaving: dict[str, tuple[int, ...]] = {}
        self.watch: dict[type[Tick], dict[str, str]] = {}
        self.flowing: dict[str, None] = {}
        self.vouches: dict[Span, None] = {}
        self.awaits_answer = False
        self.sent = self.answered = self.proved = 0

    def key(self, channel: str) -> str:
        """Return what a channel is kept by: a wildcard is another one at each address."""
        return f"{channel} {self.feed}" if channel.endswith(f".{WILDCARD}") else channel

    def key_leaving(self, channel: str) -> str:
        """Return what a channel that is being given back is kept by, whatever spelling it is named by."""
        key = self.key(channel)
        if key in self.leaving:
            return key
        others = (f"{kind_of(channel)}.{symbol}" for symbol in other_spellings(symbol_of(channel)))
        return next((other for other in others if other in self.leaving), key)

    def brings(self, key: str) -> bool:
        """Tell whether it carries a channel, by its name or by a wildcard."""
        return key in self.carried or star_of(key, self.feed) in self.carried

    def leave(self, key: str, mark: int, *, carried: bool) -> None:
        """Note that a channel is being given back, maybe again before the last time was answered."""
        self.leaving[key] = (*self.leaving.get(key, ()), mark)
        if carried:
            self.flowing[key] = None

    def left(self, key: str, marks: tuple[int, ...] = ()) -> None:
        """Note that it was given back, but for those times."""
        self.leaving.pop(key, None)
        self.flowing.pop(key, None)
        if marks:
            self.leaving[key] = marks

    def watch_for(self, key: str, *, wanted: bool) -> None:
        """Look for a channel's ticks, by whatever spelling, or no more."""
        kind = KIND_OF.get(kind_of(key))
        if kind is None:
            return
        its = self.watch.get(kind)
        symbol = symbol_of(key)
        if wanted:
            if its is None:
                its = self.watch[kind] = {}
            its[symbol] = key
            if "-" in symbol or "/" in symbol:
                its |= dict.fromkeys(other_spellings(symbol), key)
        elif its is not None and its.pop(symbol, None) is not None:
            for other in other_spellings(symbol):
                its.pop(other, None)
            if not its:
                del self.watch[kind]
