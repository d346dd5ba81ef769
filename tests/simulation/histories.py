"""Histories without a world: what a perfect product would have done, to be damaged in one place."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from random import Random
from typing import Final

from operators.account import Account
from pipeline.status import Gap, Loss, SubscriberFailed
from tests.simulation.market import Market, Tick
from tests.simulation.model import Context
from tests.simulation.record import Record, Session

__all__ = ["START_NS", "History", "perfect_history"]

START_NS: Final = 1_764_600_000_000_000_000
SECOND: Final = 1_000_000_000
MS: Final = 1_000_000
END_NS: Final = START_NS + 120 * SECOND
SETTLE_NS: Final = 2 * SECOND


@dataclass(slots=True)
class History:
    """A record, and what the product says beside it."""

    record: Record = field(default_factory=Record)
    accounts: dict[str, dict[str, Account]] = field(default_factory=dict)
    context: Context = field(default_factory=lambda: Context(start_ns=START_NS))
    now_ns: int = END_NS


class _Line:
    """A connection that carries some channels over one session after the other."""

    def __init__(self, record: Record, name: str, channels: list[str], random: Random) -> None:
        self.record, self.name, self.channels, self.random = record, name, channels, random
        self.session: Session | None = None
        self.back_ns = START_NS + random.randrange(SECOND)
        self.cut_ns = 0
        self.lost: dict[str, int] = {}
        """Of each channel that is missing, from when on."""
        self.known_ns = 0
        self.last_ns: dict[str, int] = {}
        self.offset = 0
        self.withheld = False

    def go_to(self, now_ns: int) -> None:
        if self.session is not None and now_ns >= self.cut_ns:
            self._cut()
        if self.session is None and now_ns >= self.back_ns:
            self._begin()
        if self.session is not None and now_ns >= self.known_ns + SETTLE_NS:
            for channel in [*self.lost]:
                self._tell(channel, self.known_ns, now_ns)

    def give(self, tick: Tick) -> bool:
        """Send a tick; return whether it was read."""
        session, made = self.session, tick.made
        if session is None or made.channel not in self.channels:
            return False
        begin, self.offset = self.offset, self.offset + len(tick.element)
        session.send([made.key], begin, self.offset, made.market_ns)
        if made.market_ns > self.cut_ns - SECOND // 2:
            self.withheld = True
        if self.withheld:
            return False
        session.read(self.offset, made.market_ns + 5 * MS)
        if made.channel in self.lost:
            known_ns = self.known_ns
            to_ns = max(made.event_ns, min(made.market_ns + 5 * MS, known_ns))
            is_bar = made.channel.startswith("A.")
            self._tell(made.channel, to_ns if is_bar else made.event_ns, made.market_ns + SECOND)
        self.last_ns[made.channel] = max(made.event_ns, self.last_ns.get(made.channel, 0))
        return True

    def _begin(self) -> None:
        number = len(self.record.sessions) + 1
        session = self.session = self.record.begin_session(number, self.name, self.back_ns)
        self.offset, self.withheld = 100, False
        self.known_ns = self.back_ns + 4 * MS
        for channel in self.channels:
            session.hold(channel, self.back_ns)
            session.acknowledge(channel, self.offset)
        session.read(self.offset, self.known_ns)
        self.cut_ns = self.back_ns + self.random.randrange(5 * SECOND, 40 * SECOND)

    def _cut(self) -> None:
        session, self.session = self.session, None
        if session is None:
            return
        session.end(self.cut_ns, by_us=False)
        for channel in self.channels:
            self.lost.setdefault(channel, self.last_ns.get(channel, session.began_ns))
        self.back_ns = self.cut_ns + self.random.randrange(SECOND // 10, 4 * SECOND)

    def _tell(self, channel: str, to_ns: int, now_ns: int) -> None:
        from_ns = self.lost.pop(channel)
        self.record.tell(loss_of(self.name, channel, from_ns, max(from_ns, to_ns), now_ns), now_ns)

    def finish(self) -> None:
        """Come to the end: what is on its way then arrives, and what is missing is told."""
        if self.session is not None:
            self.session.end(END_NS, by_us=True)
            unread = self.session.unread_messages
            if unread:  # it would have been cut: let it be so
                self.session.ended_ns, self.session.by_us = END_NS - 1, False
                for channel in self.channels:
                    self.lost.setdefault(channel, self.last_ns.get(channel, self.session.began_ns))
        for channel in [*self.lost]:
            self._tell(channel, END_NS, END_NS)


class _GapOfChannel(Gap, frozen=True, kw_only=True):
    channel: str


def loss_of(connection: str, channel: str, from_ns: int, to_ns: int, now_ns: int) -> Loss:
    """Return the event that tells a span of a channel."""
    gap = _GapOfChannel(channel.partition(".")[2], from_ns, to_ns, channel=channel)
    return Loss.of_gaps(connection, now_ns, (gap,))


def perfect_history(seed: int) -> History:
    """Make two minutes of two connections that break, and of subscribers that fail, overflow, come and go."""
    random = Random(seed)
    history = History()
    record = history.record
    symbols = ("AAPL", "BRK.B", "MSFT", "T")
    kinds = ("T", "Q", "A", "LULD")
    market = Market(symbols, kinds, 12.0, random, burst=2)
    groups = symbols[:2], symbols[1:]  # the second is carried twice
    lines = [
        _Line(record, f"connection_{n}", [f"{kind}.{symbol}" for kind in kinds for symbol in group], random)
        for n, group in enumerate(groups, 1)
    ]
    record.want([f"{kind}.{symbol}" for kind in kinds for symbol in symbols], START_NS)
    now_ns = START_NS
    while (now_ns := now_ns + int(market.wait_s(now_ns) * 1e9)) < END_NS - SECOND:
        for line in lines:
            line.go_to(now_ns)
        for tick in market.make(now_ns):
            record.make(tick.made)
            for line in lines:
                line.give(tick)
    for line in lines:
        line.finish()
    record.closed_ns = END_NS
    _forgive_what_the_other_carried(record, symbols[1])
    _subscribe(history, "all", random)
    _subscribe(history, "late", random, from_ns=START_NS + 30 * SECOND)
    _subscribe(history, "gone", random, to_ns=START_NS + 80 * SECOND)
    return history


def _forgive_what_the_other_carried(record: Record, symbol: str) -> None:
    """Take out the spans of what is carried twice, and what was lost in them: the other line had it."""
    record.told[:] = [told for told in record.told if told[1].gaps[0].ticker != symbol]
    read = {key for session in record.sessions.values() for m in session.read_messages for key in m.keys}
    for channel, ticks in record.by_channel.items():
        if channel.endswith(f".{symbol}"):
            ticks[:] = [made for made in ticks if made.key in read]


def _subscribe(history: History, name: str, random: Random, from_ns: int = 0, to_ns: int = END_NS) -> None:
    record = history.record
    subscription = record.enter(name, from_ns or START_NS - 1)
    subscription.entered_ns = from_ns or START_NS
    subscription.leaving_ns = to_ns if to_ns < END_NS else None
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    seen: set[int] = set()
    for read_ns, connection, key in _reads(record):
        is_copy = key in seen
        seen.add(key)
        if not from_ns <= read_ns < to_ns:
            continue
        fate = random.choices(("delivered", "failed", "dropped"), (90, 3, 3))[0]
        counts[connection].update(("received", "deduplicated" if is_copy else fate))
        if is_copy:
            continue
        if fate == "delivered":
            subscription.deliver(key, read_ns + MS)
        elif fate == "failed":
            subscription.fail(key, read_ns + MS)
            record.tell(SubscriberFailed(at_ns=read_ns, subscriber=name, count=1, error="no"), read_ns)
        else:
            record.tell(dropped(name, connection, read_ns), read_ns)
    history.accounts[name] = {connection: Account(**count) for connection, count in counts.items()}


def _reads(record: Record) -> list[tuple[int, str, int]]:
    """Return what was read: when, by which connection, and its key."""
    reads = [
        (session.read_ns(message.end) or 0, session.connection, key)
        for session in record.sessions.values()
        for message in session.read_messages
        for key in message.keys
        if key is not None
    ]
    return sorted(reads)


def dropped(name: str, connection: str, at_ns: int) -> Loss:
    """Return the event that tells that a subscriber's buffer gave up one tick."""
    return Loss(
        connection=connection, at_ns=at_ns, where=name, reason="overflow", count=1, from_ns=at_ns, to_ns=at_ns
    )
