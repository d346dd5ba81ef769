"""What happens to the stream, as values: one frozen event each, in words and as a dict.

Events are made on whatever thread sees the thing happen and reach subscribers of ``stream.status`` on the
thread ``tickbraid-status``, in the order in which they were published.
"""

from typing import Final

import msgspec

from .status_event import StatusEvent, counted, some_of
from .status_lateness import CaughtUp, FallingBehind, Late, OnTime
from .status_tickers import TickersDoubtful, TickersNotCarried, TickersRefused

__all__ = [
    "Authenticated",
    "BackOff",
    "CaughtUp",
    "ChannelRefused",
    "Closed",
    "Connected",
    "Connecting",
    "Crowded",
    "Disconnected",
    "Evicted",
    "Failed",
    "FallingBehind",
    "Fresh",
    "Gap",
    "Late",
    "Loss",
    "Moved",
    "OnTime",
    "Refused",
    "ServerMessage",
    "SinkDown",
    "SinkUp",
    "Skipped",
    "Stale",
    "StatusEvent",
    "Subscribed",
    "SubscriberFailed",
    "TickersDoubtful",
    "TickersNotCarried",
    "TickersRefused",
    "Unanswered",
    "Unplaced",
    "Unsubscribed",
]


class Connecting(StatusEvent, frozen=True):
    """A socket is being opened."""

    url: str
    attempt: int

    def _words(self) -> str:
        return f"connecting to {self.url}" + (f", attempt {self.attempt}" if self.attempt > 1 else "")


class Connected(StatusEvent, frozen=True):
    """The WebSocket is open; the key goes out next."""

    url: str

    def _words(self) -> str:
        return f"connected to {self.url}"


class Authenticated(StatusEvent, frozen=True):
    """The server took the key."""


class Subscribed(StatusEvent, frozen=True):
    """The server confirmed channels; with ``pending`` 0 it confirmed all that were asked for."""

    channels: tuple[str, ...]
    pending: int

    def _words(self) -> str:
        rest = f", {self.pending} pending" if self.pending else ""
        return f"{counted(len(self.channels), 'channel')} confirmed{rest}"


class Unsubscribed(StatusEvent, frozen=True):
    """Channels were given back."""

    channels: tuple[str, ...]

    def _words(self) -> str:
        return f"{counted(len(self.channels), 'channel')} given back"


class Refused(StatusEvent, frozen=True):
    """The server refused some of what was asked for; it names none, so these are all it did not confirm."""

    channels: tuple[str, ...]
    pending: int
    message: str

    def _words(self) -> str:
        return f"refused ({self.message}): {some_of(self.channels)}"


class Unanswered(StatusEvent, frozen=True):
    """Channels that the server did not confirm, though asked twice; they may still bring ticks."""

    channels: tuple[str, ...]
    pending: int

    def _words(self) -> str:
        return f"no answer to the subscription of {some_of(self.channels)}"


SETTLING: Final = (Subscribed, Refused, Unanswered)
"""After one of these with nothing pending, a connection carries all that it ever will."""


class ServerMessage(StatusEvent, frozen=True):
    """The server said something else: ``slow_consumer``, ``force_disconnect``, or a word we do not know.

    Args:
        held: how many more it said in the same second that are told with this one, the last of them.
    """

    status: str
    message: str
    held: int = 0

    def _words(self) -> str:
        return f"the server says {self.status}: {self.message}{_more(self.held)}"


class Evicted(StatusEvent, frozen=True):
    """The account has more connections than it is allowed (``max_connections``).

    Args:
        held: how often more the server said so in the same second.
    """

    message: str
    held: int = 0

    def _words(self) -> str:
        return f"evicted, too many connections with this key: {self.message}{_more(self.held)}"


def _more(held: int) -> str:
    return f" (and {held:,} times more in this second)" if held else ""


class Crowded(StatusEvent, frozen=True):
    """Why a connection was evicted, as far as ours can tell; its tickers go over those that are left.

    Args:
        places: how many connections of ours are left.
        by: the connection of ours that took its place, None if none did.
        other_program: our own connections are not too many: somebody else uses the same key.
        next_try_s: in how long one of those that were evicted tries again, None if none does by itself.
    """

    places: int
    by: str | None
    other_program: bool
    next_try_s: float | None

    def _words(self) -> str:
        left = f"{self.places} of our connections" if self.places else "none of our connections"
        if self.other_program:
            why = (
                "another program uses the same key (or the server still counts a connection of ours that has"
                f" died), which leaves {left}"
            )
        else:
            why = f"the account allows {left}" + (f", and {self.by} took its place" if self.by else "")
        again = "" if self.next_try_s is None else f" in {self.next_try_s:g} s"
        return f"{why}; one more is tried{again or ' only when asked for'}"


class Disconnected(StatusEvent, frozen=True):
    """The connection ended, or never came about.

    Args:
        reason: the trouble in words.
        code: the WebSocket close code, None without one.
        last_frame_ns: when the last bytes came, None if none did; ticks after it may be missing.
        evicted: the server sent it away since there are too many; it waits until it may try again.
    """

    reason: str
    code: int | None = None
    last_frame_ns: int | None = None
    evicted: bool = False

    def _words(self) -> str:
        return f"disconnected: {self.reason}"


class BackOff(StatusEvent, frozen=True):
    """The next attempt is ``delay_s`` away.

    Args:
        delay_s: from now.
        attempt: its number.
        retry_after_s: how long the server asked to be left alone, of which five minutes are heeded; None if
            it did not.
    """

    delay_s: float
    attempt: int
    retry_after_s: float | None = None

    def _words(self) -> str:
        asked = f"; the server asked for {self.retry_after_s:.0f} s" if self.retry_after_s is not None else ""
        return f"connecting again in {self.delay_s:.1f} s (attempt {self.attempt}{asked})"


class Failed(StatusEvent, frozen=True):
    """The connection will not be tried again: the key was refused, or the attempts are used up."""

    reason: str

    def _words(self) -> str:
        return f"given up: {self.reason}"


class Skipped(StatusEvent, frozen=True):
    """A configured connection was not started."""

    reason: str

    def _words(self) -> str:
        return f"not started: {self.reason}"


class Closed(StatusEvent, frozen=True):
    """The connection was closed by us."""


class Moved(StatusEvent, frozen=True):
    """Tickers have another connection than before.

    Args:
        source: the id of the connection that carried them.
        tickers: which.
        reason: ``failover``, ``return``, ``rebalance``, ``moved`` by hand, or ``wanted`` after tickers were
            added or removed.
    """

    source: str
    tickers: tuple[str, ...]
    reason: str

    def _words(self) -> str:
        return f"takes over from {self.source} ({self.reason}): {some_of(self.tickers)}"


class Stale(StatusEvent, frozen=True):
    """No ticks come, though the server answers pings; the channels are asked for anew.

    What comes of it is told by `Fresh`, or by `Disconnected` and a new connection.

    Args:
        silent_for_s: since the last ticks.
        usually_s: the longest silence of the minutes before.
    """

    silent_for_s: float
    usually_s: float

    def _words(self) -> str:
        return f"stale: no ticks for {self.silent_for_s:.1f} s, usually {self.usually_s:.1f} s at most"


class Fresh(StatusEvent, frozen=True):
    """A stale connection brings ticks again."""

    silent_for_s: float

    def _words(self) -> str:
        return f"ticks flow again after {self.silent_for_s:.1f} s"


class Gap(msgspec.Struct, frozen=True):
    """Says what may be missing of a channel: what happened after ``from_ns`` and before ``to_ns``.

    Args:
        ticker: its symbol; ``*`` for all those which its connection carries under no name of their own.
        from_ns: event time of the channel's last tick before, ns since the epoch; where it had none, of its
            connection's last; where that had none, when it was confirmed first.
        to_ns: event time of its first tick after; where none came soon, a tenth of a second after the
            confirmation by the feed's own time.
        channel: as it is asked for, ``T.AAPL``; empty in what was recorded before there was any.
    """

    ticker: str
    from_ns: int
    to_ns: int
    channel: str = ""

    @classmethod
    def of(cls, channel: str, from_ns: int, to_ns: int) -> "Gap":
        """Return what may be missing of a channel."""
        return cls(channel.partition(".")[2], from_ns, to_ns, channel)

    @property
    def event_type(self) -> str:
        """What is missing, ``T`` for trades; empty where it is not known."""
        return self.channel.partition(".")[0]


class Unplaced(StatusEvent, frozen=True):
    """Wanted tickers that no connection carries, for want of room; without tickers: all are carried again."""

    tickers: tuple[str, ...]

    def _words(self) -> str:
        if not self.tickers:
            return "every wanted ticker is carried again"
        return f"carried by no connection, since none has room: {some_of(self.tickers)}"


class Loss(StatusEvent, frozen=True):
    """Ticks are missing, and this is how many.

    Args:
        where: the stage or the subscriber's name.
        reason: the account's word: ``overflow``, ``conflated``, ``aged``, ``ingest_overflow``, ``closed``, …
        count: how many elements; None where nobody can know (a gap between two connections).
        from_ns: receive time of the first, ns; where there are gaps, the begin of the first.
        to_ns: receive time of the last, ns; where there are gaps, the end of the last.
        tickers: whose, where it is known; empty for all.
        gaps: what is missing of each channel, where it was measured.
    """

    where: str
    reason: str
    count: int | None
    from_ns: int
    to_ns: int
    tickers: tuple[str, ...] = ()
    gaps: tuple[Gap, ...] = ()

    @classmethod
    def of_gaps(
        cls, connection: str, at_ns: int, gaps: tuple[Gap, ...], *, reason: str = "disconnected"
    ) -> "Loss":
        """Return what an outage cost: these gaps, of which there is at least one.

        Args:
            connection: whose.
            at_ns: wall clock.
            gaps: of its channels.
            reason: ``disconnected``; ``stale`` where a session brought nothing for far too long; ``moved``
                where the new place did not confirm.
        """
        return cls(
            connection=connection,
            at_ns=at_ns,
            where="feed",
            reason=reason,
            count=None,
            tickers=tuple(dict.fromkeys(gap.ticker for gap in gaps)),
            from_ns=min(gap.from_ns for gap in gaps),
            to_ns=max(gap.to_ns for gap in gaps),
            gaps=gaps,
        )

    def _words(self) -> str:
        span = (self.to_ns - self.from_ns) / 1e9
        if self.count is None:
            whose = some_of(self.tickers) or "all"
            return f"ticks may be missing of {span:.3f} s ({self.reason}): {whose}"
        lost = counted(self.count, "tick")
        return f"lost {lost} at {self.where} ({self.reason}), received within {span:.3f} s"


class SinkDown(StatusEvent, frozen=True):
    """A sink cannot write; ticks wait in its backlog."""

    sink: str
    reason: str

    def _words(self) -> str:
        return f"{self.sink} is away: {self.reason}"


class SinkUp(StatusEvent, frozen=True):
    """A sink writes again.

    Args:
        down_s: how long it did not.
        resent: messages sent a second time because their first fate is unknown.
    """

    sink: str
    down_s: float
    resent: int = 0

    def _words(self) -> str:
        again = f", {counted(self.resent, 'message')} sent again" if self.resent else ""
        return f"{self.sink} is back after {self.down_s:.1f} s{again}"


class ChannelRefused(StatusEvent, frozen=True):
    """A sink's server forbids a channel; the others flow. Told at once, then at most every 10 s.

    Args:
        channel: its name.
        count: how many messages, since the event before.
        reason: the server's words.
    """

    sink: str
    channel: str
    count: int
    reason: str

    def _words(self) -> str:
        messages = counted(self.count, "message")
        return f"{self.sink} may not send to {self.channel}: {messages} refused ({self.reason})"


class SubscriberFailed(StatusEvent, frozen=True):
    """Ticks on which a subscriber's code raised, or that its server refused; it gets those that come next.

    At most one a second and subscriber; the counts add up.

    Args:
        subscriber: its name in the account.
        count: how many ticks, since the event before.
        error: the last exception, its type and message.
    """

    subscriber: str
    count: int
    error: str

    def _words(self) -> str:
        return f"{self.subscriber} failed on {counted(self.count, 'tick')}: {self.error}"
