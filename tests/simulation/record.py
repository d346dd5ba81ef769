"""What happened in a world, from where it happened: market, operator, server, socket, subscriber.

Nothing in it comes from what the product says of itself, but what it told of losses and sinks, which is to
be judged. Times are true wall time, ns since the epoch.
"""

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from typing import Any, Final, NamedTuple

__all__ = ["Hold", "Made", "Message", "Record", "Session", "Subscription"]

ANSWERS: Final = 2
"""One may be on its way when another is asked for."""


@cache
def _ticker_of(channel: str) -> str:
    return channel.partition(".")[2]


class Made(NamedTuple):
    """A tick that the market made.

    Args:
        channel: ``TYPE.SYMBOL``.
        key: a number that is in every payload that goes out of it, see `market.key_of`.
        market_ns: when it was made and given to the servers.
        event_ns: when it happened by what it says: of a bar the end, some time before.
    """

    channel: str
    key: int
    market_ns: int
    event_ns: int

    @property
    def ticker(self) -> str:
        """The symbol of its channel."""
        return _ticker_of(self.channel)


class Message(NamedTuple):
    """A message that a server sent: the keys of its ticks, None for what is no tick; and its bytes."""

    begin: int
    end: int
    keys: tuple[int | None, ...]
    sent_ns: int


@dataclass(slots=True)
class Hold:
    """A time in which a server held a channel for a session.

    Args:
        channel: which.
        from_ns: when the server took it.
        to_ns: when it was given back, or the session was over; None until then.
        acknowledged: the offset in the session's bytes behind the acknowledgement; None where none was sent.
    """

    channel: str
    from_ns: int
    to_ns: int | None = None
    acknowledged: int | None = None


class Session:
    """One TCP connection to a server, as the server and the link saw it.

    Args:
        number: its own, in the order of the connections.
        connection: the id of the connection of ours that dialled it.
        began_ns: when the server accepted it.

    Attributes:
        deaf_ns: from when on no ticks that the server sends arrive; None where all do.
        answers: whether all else does, so that nobody can tell it from a session that has no ticks.
        ended_ns: when either side ended it, as far as the server knows.
        left_ns: when the client closed its socket.
        by_us: whether the client did.
    """

    def __init__(self, number: int, connection: str, began_ns: int) -> None:
        self.number = number
        self.connection = connection
        self.began_ns = began_ns
        self.deaf_ns: int | None = None
        self.answers = True
        self.ended_ns: int | None = None
        self.left_ns: int | None = None
        self.by_us = False
        self.messages: list[Message] = []
        self.pongs: list[tuple[int, int]] = []
        """When the server answered whether it lives, and the offset behind that."""
        self.holds: list[Hold] = []
        self._held: dict[str, Hold] = {}
        self._ends: list[int] = []
        self._offsets: list[int] = []
        self._read_ns: list[int] = []

    def hold(self, channel: str, now_ns: int) -> None:
        """Note that the server holds a channel for it."""
        if channel not in self._held:
            hold = self._held[channel] = Hold(channel, now_ns)
            self.holds.append(hold)

    def release(self, channel: str, now_ns: int) -> None:
        """Note that the server holds a channel no more."""
        if hold := self._held.pop(channel, None):
            hold.to_ns = now_ns

    def acknowledge(self, channel: str, end: int) -> None:
        """Note that an acknowledgement ends at an offset of what was sent."""
        if (hold := self._held.get(channel)) and hold.acknowledged is None:
            hold.acknowledged = end

    def send(self, keys: Sequence[int | None], begin: int, end: int, now_ns: int) -> None:
        """Note a message of ticks, and of elements that are none."""
        self.messages.append(Message(begin, end, tuple(keys), now_ns))
        self._ends.append(end)

    def answer(self, end: int, now_ns: int) -> None:
        """Note that the server answers whether it lives, with what ends at an offset."""
        self.pongs.append((now_ns, end))

    def read(self, offset: int, now_ns: int) -> None:
        """Note that the client's socket was read up to an offset."""
        self._offsets.append(offset)
        self._read_ns.append(now_ns)

    def deafen(self, now_ns: int, *, answers: bool = False) -> None:
        """Note that no ticks arrive any more, and whether the server answers still."""
        if self.deaf_ns is None:
            self.deaf_ns = now_ns
        self.answers = answers and self.answers

    def end(self, now_ns: int, *, by_us: bool) -> None:
        """Note that it is over: by the first who ended it."""
        if self.ended_ns is None:
            self.ended_ns, self.by_us = now_ns, by_us
            for channel in tuple(self._held):
                self.release(channel, now_ns)

    @property
    def read_bytes(self) -> int:
        """How much the client has read of it."""
        return self._offsets[-1] if self._offsets else 0

    @property
    def read_messages(self) -> list[Message]:
        """The messages that the client has read to their end."""
        return self.messages[: bisect_right(self._ends, self.read_bytes)]

    @property
    def unread_messages(self) -> list[Message]:
        """The messages of which something is unread."""
        return self.messages[bisect_right(self._ends, self.read_bytes) :]

    @property
    def heard_ns(self) -> int:
        """When the last message of ticks was sent that the client has read; its beginning where none was."""
        read = bisect_right(self._ends, self.read_bytes)
        return self.messages[read - 1].sent_ns if read else self.began_ns

    def is_proven(self, from_ns: int, to_ns: int) -> bool:
        """Tell whether the client knew at a moment that nothing was lost of it before another.

        While it lives nothing is. After its end that is shown by an answer to what the client asked since
        then, and a tick behind it: an answer alone shows that the server lives, and not that its ticks come.
        Of the answers since then the first may be to an older question.

        Args:
            from_ns: the moment before which.
            to_ns: the moment at which.
        """
        ended_ns = min((ns for ns in (self.last_live_ns, self.left_ns) if ns is not None), default=to_ns + 1)
        if to_ns < ended_ns:
            return True
        ends = [end for sent_ns, end in self.pongs if sent_ns > from_ns]
        answered_ns = self.read_ns(ends[ANSWERS - 1]) if len(ends) >= ANSWERS else None
        if answered_ns is None:
            return False
        # What came in one read with the answer may have been before it, as far as the client can tell.
        ticks = (self.read_ns(message.end) for message in self.messages if message.begin >= ends[ANSWERS - 1])
        behind_ns = next((ns for ns in ticks if ns is None or ns > answered_ns), None)
        return behind_ns is not None and behind_ns <= to_ns

    def leave(self, now_ns: int) -> None:
        """Note that the client closed its socket."""
        if self.left_ns is None:
            self.left_ns = now_ns

    def read_ns(self, offset: int) -> int | None:
        """Return when the client had read as much, None where it never had."""
        place = bisect_left(self._offsets, offset)
        return self._read_ns[place] if place < len(self._read_ns) else None

    def is_live(self, at_ns: int) -> bool:
        """Tell whether what the server sends at a moment arrives."""
        ends = [ns for ns in (self.deaf_ns, self.ended_ns) if ns is not None]
        return self.began_ns <= at_ns < min(ends, default=at_ns + 1)

    @property
    def last_live_ns(self) -> int | None:
        """When it was live for the last time; None where it still is."""
        return min((ns for ns in (self.deaf_ns, self.ended_ns) if ns is not None), default=None)


@dataclass(slots=True)
class Subscription:
    """One subscriber of the stream, as its own code saw it.

    Args:
        name: in the stream's account.
        entering_ns: when it asked to be subscribed.
        entered_ns: when it was; what was read later belongs to it.
        leaving_ns: when it asked to leave, or the stream took leave of it.
        kind: ``callback``, ``batches`` or ``redis``.
        blocks: the stream waits for it where it has no room.
        busy: when its own code took its time, as (from, to).
        order: what was delivered, as (key, when); what it raised on is not.
        failed: what it raised on.
        by_connection: how many ticks came by each connection, where it is told.
    """

    name: str
    entering_ns: int
    entered_ns: int | None = None
    leaving_ns: int | None = None
    kind: str = "callback"
    blocks: bool = False
    busy: list[tuple[int, int]] = field(default_factory=list)
    order: list[tuple[int, int]] = field(default_factory=list)
    failed: list[tuple[int, int]] = field(default_factory=list)
    by_connection: Counter[str] = field(default_factory=Counter)

    def deliver(self, key: int, now_ns: int) -> None:
        """Note that its code returned from a tick."""
        self.order.append((key, now_ns))

    def fail(self, key: int, now_ns: int) -> None:
        """Note that its code raised on a tick."""
        self.failed.append((key, now_ns))


class Record:
    """All that happened, to be judged by `model.judge`.

    Attributes:
        made: the ticks by their keys.
        wanted: of each channel the times (from, to) in which the operator wanted it; to is None where it
            still does.
        sessions: by number.
        subscriptions: by name.
        told: status events that say what is lost, with the true time at which they were told.
        published: of each channel of Redis, the keys in each message that the server took, in order.
        clock: of our wall clock, the times from which on it was ahead of the true time by so much, ns.
        closed_ns: when the stream was told to close.
    """

    def __init__(self) -> None:
        self.made: dict[int, Made] = {}
        self.by_channel: dict[str, list[Made]] = {}
        self.wanted: dict[str, list[list[int | None]]] = {}
        self.sessions: dict[int, Session] = {}
        self.subscriptions: dict[str, Subscription] = {}
        self.told: list[tuple[int, Any]] = []
        self.published: dict[str, list[tuple[int, ...]]] = {}
        self.clock: list[tuple[int, int]] = []
        self.closed_ns: int | None = None

    def make(self, made: Made) -> None:
        """Note a tick of the market."""
        self.made[made.key] = made
        self.by_channel.setdefault(made.channel, []).append(made)

    def want(self, channels: Iterable[str], now_ns: int) -> None:
        """Note that the operator wants these."""
        for channel in channels:
            times = self.wanted.setdefault(channel, [])
            if not times or times[-1][1] is not None:
                times.append([now_ns, None])

    def unwant(self, channels: Iterable[str], now_ns: int) -> None:
        """Note that the operator wants these no more."""
        for channel in channels:
            times = self.wanted.get(channel)
            if times and times[-1][1] is None:
                times[-1][1] = now_ns

    def begin_session(self, number: int, connection: str, now_ns: int) -> Session:
        """Note that a server has accepted a connection of ours."""
        session = self.sessions[number] = Session(number, connection, now_ns)
        return session

    def enter(self, name: str, now_ns: int, kind: str = "callback", *, blocks: bool = False) -> Subscription:
        """Note that somebody subscribes."""
        subscription = self.subscriptions[name] = Subscription(name, now_ns, kind=kind, blocks=blocks)
        return subscription

    def tell(self, event: Any, now_ns: int) -> None:
        """Note what the product told."""
        self.told.append((now_ns, event))

    def publish(self, channel: str, *keys: int) -> None:
        """Note a message that Redis took."""
        self.published.setdefault(channel, []).append(keys)

    def set_clock(self, ahead_ns: int, now_ns: int) -> None:
        """Note that our clock is ahead by so much from now on; negative where it is behind."""
        self.clock.append((now_ns, ahead_ns))

    @property
    def ahead_ns(self) -> int:
        """By how much our clock is ahead now."""
        return self.clock[-1][1] if self.clock else 0

    def clock_error_ns(self, from_ns: int, to_ns: int) -> int:
        """Return by how much our clock was wrong at most between two moments."""
        most = 0
        for (since, ahead), (until, _) in pairwise([*self.clock, (1 << 63, 0)]):
            if since <= to_ns and until >= from_ns:
                most = max(most, abs(ahead))
        return most
