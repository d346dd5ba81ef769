"""From the record: what was read, when each channel was due, who carried it, and what was told of it."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple

from pipeline.status import Loss
from pipeline.symbols import WILDCARD, other_spellings
from tests.simulation.market import BAR_DELAY_NS
from tests.simulation.record import Hold, Made, Message, Record, Session

__all__ = ["STATED_NS", "Carriage", "Due", "Proof", "Read", "Span"]

FEED = "feed"
STATED_NS = 100_000_000
"""A span that begins or ends with a confirmation has its edge so far beyond it: clocks are not exact."""
WAY_NS = 10_000_000_000
"""What is sent has come after so long, wherever somebody reads."""


class Read(NamedTuple):
    """One copy of a tick that the client's socket has read."""

    made: Made
    session: int
    place: int
    """Of its message among those of its session."""
    read_ns: int


class Due(NamedTuple):
    """A time in which nothing of a channel may be missing untold."""

    from_ns: int
    to_ns: int


class Proof(NamedTuple):
    """A hold of a channel that the client knows of: since when."""

    hold: Hold
    session: Session
    known_ns: int


@dataclass(frozen=True, slots=True)
class Span:
    """What was told of a channel: that something may be missing of it.

    Args:
        channel: of which; one loss may be told of many.
        connection: which had carried it.
        from_ns: event time after which something may be missing.
        to_ns: before which.
        told_ns: true time at which it was told.
    """

    channel: str
    connection: str
    from_ns: int
    to_ns: int
    told_ns: int

    def covers(self, made: Made, margin_ns: int) -> bool:
        """Tell whether a tick lies in it: when it happened, or as if it had been sent on time.

        A revision is of a bar long before: what is told is which bars were to come then.
        """
        on_time_ns = made.market_ns - _delay_ns(made.channel)
        return any(
            self.from_ns - margin_ns <= each_ns <= self.to_ns + margin_ns
            for each_ns in (made.event_ns, on_time_ns)
        )

    def has_inside(self, read: Read, margin_ns: int) -> bool:
        """Tell whether a tick happened in it, and came in it: a bar is sent some time after its end."""
        event_ns = read.made.event_ns
        return self.from_ns + margin_ns < event_ns and max(event_ns, read.read_ns) < self.to_ns - margin_ns


@dataclass(slots=True)
class _Index:
    reads: dict[str, list[Read]] = field(default_factory=lambda: defaultdict(list))
    first: dict[int, Read] = field(default_factory=dict)
    ties: set[int] = field(default_factory=set)
    """Ticks that two sessions brought first, in the same moment."""
    copies: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    times: dict[tuple[str, int], list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))
    """When the ticks of a channel were sent and read, by (channel, session)."""
    elements: list[tuple[int, str, tuple[int | None, ...]]] = field(default_factory=list)
    waits: list[tuple[int, Message]] = field(default_factory=list)


class Carriage:
    """What follows from a record at one moment, each found once.

    Args:
        record: of the world.
        now_ns: the moment.
    """

    def __init__(self, record: Record, now_ns: int) -> None:
        self.record = record
        self.now_ns = now_ns
        self._keyed: dict[int, list[int]] = defaultdict(list)
        """Of each tick, its places among all elements that were read."""

    @cached_property
    def _index(self) -> _Index:
        index, all_made = _Index(), self.record.made
        first = index.first
        for session in self.record.sessions.values():
            for place, message in enumerate(session.read_messages):
                read_ns = session.read_ns(message.end) or 0
                index.elements.append((read_ns, session.connection, message.keys))
                index.waits.append((read_ns - message.sent_ns, message))
                for key in message.keys:
                    if key is not None:
                        made = all_made[key]
                        read = Read(made, session.number, place, read_ns)
                        index.reads[made.channel].append(read)
                        index.times[made.channel, session.number].append((message.sent_ns, read_ns))
                        index.copies[key] += 1
                        if key not in first or read_ns < first[key].read_ns:
                            first[key] = read
                        elif read_ns == first[key].read_ns and session.number != first[key].session:
                            index.ties.add(key)
        for reads in index.reads.values():
            reads.sort(key=lambda read: read.read_ns)
        return index

    @cached_property
    def first_reads(self) -> dict[int, Read]:
        """Of each tick that was read, the first copy."""
        return self._index.first

    @cached_property
    def taken(self) -> frozenset[int]:
        """The ticks that came to anybody: of others that were read, some were given up undecoded."""
        subscriptions = self.record.subscriptions.values()
        calls = [call for each in subscriptions for call in (*each.order, *each.failed)]
        published = [keys for messages in self.record.published.values() for keys in messages]
        return frozenset([key for key, _ in calls]).union(*published)

    @cached_property
    def copies(self) -> dict[int, int]:
        """Of each tick that was read, how often."""
        return self._index.copies

    @cached_property
    def elements(self) -> list[tuple[int, str, tuple[int | None, ...]]]:
        """All messages that were read: when, by which connection, and what is in them."""
        return self._index.elements

    def find_turned(self, keys: Iterable[int]) -> tuple[int, int] | None:
        """Return the first two ticks of a ticker that came the other way round than over their session.

        Only of what came over one socket: of a copy nobody knows which one it was.
        """
        last: dict[tuple[int, str], tuple[int, int]] = {}
        copies, first_reads = self.copies, self.first_reads
        for key in keys:
            if copies.get(key) != 1:
                continue
            read = first_reads[key]
            where = read.session, read.made.ticker
            place = read.place, key
            if place < last.get(where, place):
                return last[where][1], key
            last[where] = place
        return None

    @property
    def longest_wait(self) -> tuple[int, Message] | None:
        """How long at most a message was under way and waited to be read, ns, and which."""
        return max(self._index.waits, key=lambda wait: wait[0], default=None)

    def far_copies(self, key: int, window: int) -> int:
        """Return how many copies of a tick were read when so many other elements had come since it."""
        if not self._keyed:
            count = 0
            for _, _, keys in sorted(self.elements, key=lambda message: message[0]):
                for its in keys:
                    count += 1
                    if its is not None:
                        self._keyed[its].append(count)
        places = self._keyed[key]
        return sum(later - earlier >= window for earlier, later in pairwise(places))

    def reads_of(self, channel: str) -> list[Read]:
        """Return the ticks of a channel that were read, in the order of reading."""
        return self._index.reads.get(channel, [])

    @cached_property
    def proofs(self) -> dict[str, list[Proof]]:
        """Of each channel, the holds that the client knows of: by their acknowledgement, or by a tick."""
        proofs: dict[str, list[Proof]] = defaultdict(list)
        times = self._index.times
        for session in self.record.sessions.values():
            for hold in session.holds:
                known = [ns for ns in (self._acknowledged_ns(session, hold),) if ns is not None]
                known += [
                    read_ns
                    for sent_ns, read_ns in times.get((hold.channel, session.number), ())
                    if hold.from_ns <= sent_ns and (hold.to_ns is None or sent_ns <= hold.to_ns)
                ][:1]
                if known:
                    proofs[hold.channel].append(Proof(hold, session, min(known)))
        return proofs

    def certain_ns(self, proof: Proof) -> int | None:
        """Return since when a hold was known for certain; None where it never was."""
        return min((known_ns for _, known_ns in self._certainties(proof)), default=None)

    def _certainties(self, proof: Proof) -> Iterator[tuple[int, int]]:
        """Yield from when on a hold is certain, if all is sent on time, and when that was known.

        A copy may be of any time, and what a session has given back and asked for again may still tick of
        before: then only the acknowledgement tells that it is held.
        """
        hold, session = proof.hold, proof.session
        acknowledged_ns = self._acknowledged_ns(session, hold)
        if acknowledged_ns is not None:
            yield acknowledged_ns + STATED_NS, acknowledged_ns
        if hold is next(each for each in session.holds if each.channel == hold.channel):
            delay_ns = _delay_ns(hold.channel)
            for read in self.reads_of(hold.channel):
                is_first = read.session == session.number and self.first_reads[read.made.key] is read
                if is_first and read.made.key not in self._index.ties:
                    yield read.made.market_ns - delay_ns, read.read_ns
                    return

    def relied_on(self, channel: str, at_ns: int, told_ns: int) -> list[tuple[int, int]]:
        """Return when the client knew that somebody carried a channel, in order, overlaps joined.

        Args:
            channel: which.
            at_ns: until when who carried it must have lived,
            told_ns: and when at the latest that was known.
        """
        times, delay_ns = [], _delay_ns(channel)
        for proof in self.proofs.get(channel, ()):
            since_ns = min((ns for ns, _ in self._certainties(proof)), default=None)
            if since_ns is not None and proof.session.is_proven(at_ns, told_ns):
                to_ns = proof.hold.to_ns
                times.append((since_ns, (self.now_ns if to_ns is None else to_ns) - delay_ns))
        return _joined(times)

    @cached_property
    def returns(self) -> dict[str, list[tuple[int, int, int]]]:
        """Of each channel, since when somebody held it, when that was known, and for how long it lasted."""
        returns: dict[str, list[tuple[int, int, int]]] = {}
        for channel, proofs in self.proofs.items():
            entries = returns[channel] = []
            for hold, session, known_ns in proofs:
                ends = [ns for ns in (hold.to_ns, session.last_live_ns) if ns is not None]
                entries.append((hold.from_ns, known_ns, min(ends, default=self.now_ns) - known_ns))
        return returns

    @staticmethod
    def _acknowledged_ns(session: Session, hold: Hold) -> int | None:
        return None if hold.acknowledged is None else session.read_ns(hold.acknowledged)

    def due(self, channel: str) -> Iterator[Due]:
        """Yield when a channel was due.

        From when the client first knew that it is held, after the operator wanted it, until he wanted it no
        more. Of what he gave up, only until the last that was known of it: nobody waits for its return.
        """
        end_ns = self.record.closed_ns or self.now_ns
        for from_ns, to_ns in self.record.wanted.get(channel, ()):
            limit_ns = end_ns if to_ns is None else min(to_ns, end_ns)
            known = [
                proof.known_ns
                for proof in self.proofs.get(channel, ())
                if proof.hold.from_ns >= from_ns and proof.known_ns <= limit_ns
            ]
            if not known:
                continue
            if to_ns is not None and to_ns <= end_ns:
                # By when it was made: a copy of an old tick tells nothing of what was sent since.
                seen = [read.made.market_ns for read in self.reads_of(channel) if read.read_ns <= limit_ns]
                limit_ns = max(known + seen)
            yield Due(min(known), limit_ns)

    def lag_ns(self, channel: str) -> int:
        """Return how long after it happened a tick of a channel is sent at most, as a bar is."""
        made = self.record.by_channel.get(channel, ())
        return max((each.market_ns - each.event_ns for each in made), default=_delay_ns(channel))

    def way_ns(self, at_ns: int) -> int:
        """Return how long the quickest tick was under way that had come by a moment: 0 where none had.

        So late may be what is known of the feed's time by its ticks alone.
        """
        reads = (read for read in self.first_reads.values() if read.read_ns <= at_ns)
        return min((read.read_ns - read.made.event_ns for read in reads), default=0)

    @cached_property
    def unread(self) -> list[Made]:
        """The due ticks that no socket has read, but for those on their way at the end.

        What was sent long before was on its way to a client that reads no more.
        """
        under_way = {
            key
            for session in self.record.sessions.values()
            if session.deaf_ns is None and self._lives_at_the_end(session)
            for message in session.unread_messages
            if message.sent_ns > (self.record.closed_ns or self.now_ns) - WAY_NS
            for key in message.keys
        }
        lost, first_reads = [], self.first_reads
        for channel, ticks in self.record.by_channel.items():
            for due in self.due(channel):
                lost += [
                    made
                    for made in ticks
                    if due.from_ns <= made.market_ns < due.to_ns
                    and made.key not in first_reads
                    and made.key not in under_way
                    and not self._went_unseen(made)
                ]
        return lost

    def _went_unseen(self, made: Made) -> bool:
        """Tell whether a tick was withheld by a session that answered, and that gave its channel back.

        A session that stays silent is found to be stale; of one that was left meanwhile nobody can know.
        """
        for session in self.record.sessions.values():
            if session.deaf_ns is None or not session.answers or made.market_ns < session.deaf_ns:
                continue
            for hold in session.holds:
                if hold.channel == made.channel and hold.from_ns <= made.market_ns:
                    given_back = hold.to_ns is not None and hold.to_ns != session.ended_ns
                    if given_back and made.market_ns <= (hold.to_ns or 0):
                        return True
        return False

    def _lives_at_the_end(self, session: Session) -> bool:
        ended_ns, closed_ns = session.ended_ns, self.record.closed_ns
        return ended_ns is None or (session.by_us and closed_ns is not None and ended_ns >= closed_ns)

    @cached_property
    def spans(self) -> dict[str, list[Span]]:
        """What was told of each channel."""
        spans: dict[str, list[Span]] = defaultdict(list)
        channels = [*dict.fromkeys([*self.record.wanted, *self.record.by_channel])]
        for told_ns, event in self.record.told:
            if isinstance(event, Loss) and event.where == FEED:
                for channel, from_ns, to_ns in self._told_of(event, channels):
                    span = Span(channel, event.connection or "", from_ns, to_ns, told_ns)
                    spans[channel].append(span)
        return spans

    def _told_of(self, loss: Loss, channels: list[str]) -> Iterator[tuple[str, int, int]]:
        for gap in loss.gaps:
            for channel in channels:
                if _is_of(gap, channel):
                    yield channel, gap.from_ns, gap.to_ns
        if not loss.gaps:  # of all that its connection carries
            carried = {
                hold.channel
                for session in self.record.sessions.values()
                if session.connection == loss.connection
                for hold in session.holds
            }
            for channel in channels:
                if channel in carried:
                    yield channel, loss.from_ns, loss.to_ns

    def carriers(self, channel: str) -> list[tuple[int, int]]:
        """Return when somebody carried a channel whose ticks arrive, in order, overlaps joined."""
        times = []
        for session in self.record.sessions.values():
            for hold in session.holds:
                if hold.channel == channel:
                    ends = [ns for ns in (hold.to_ns, session.last_live_ns) if ns is not None]
                    times.append((hold.from_ns, min(ends, default=self.now_ns)))
        return _joined(times)


def _delay_ns(channel: str) -> int:
    return BAR_DELAY_NS if channel.startswith("A.") else 0


def _joined(times: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    joined: list[tuple[int, int]] = []
    for from_ns, to_ns in sorted(times):
        if joined and from_ns <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(joined[-1][1], to_ns)
        elif to_ns > from_ns:
            joined.append((from_ns, to_ns))
    return joined


def _is_of(gap: Any, channel: str) -> bool:
    """Tell whether a gap is of a channel; gaps of tickers are of all their channels."""
    kind, _, symbol = channel.partition(".")
    told = getattr(gap, "channel", None) or f"{kind}.{gap.ticker}"
    told_kind, _, told_symbol = told.partition(".")
    names = (symbol, WILDCARD, *other_spellings(symbol))
    return told_kind == kind and told_symbol in names
