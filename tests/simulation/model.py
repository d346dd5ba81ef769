"""The oracle: holds what a product told and delivered against the record of what really happened."""

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from operator import itemgetter
from typing import Any, Final

from operators.account import Account
from pipeline.status import Loss, SinkDown, SinkUp, SubscriberFailed
from tests.simulation.carriage import STATED_NS, Carriage, Read, Span
from tests.simulation.record import Made, Record, Subscription
from tests.simulation.verdicts import Statement, Verdict

__all__ = ["Accounts", "Context", "judge", "judge_liveness", "judge_telling", "judge_wakeups"]

MS: Final = 1_000_000
SECOND: Final = 1_000_000_000
SETTLE_NS: Final = 2 * SECOND
"""A channel that stays silent for so long after its confirmation is not waited for."""
SOON_NS: Final = 8 * SECOND
"""Within so long a loss is told, after somebody carries its channel again: less than it takes to find that
another channel stays unanswered."""
PROMPT_NS: Final = 10 * SECOND
"""What is sent has come after so long over the slowest link, and is read then."""
TELL_NS: Final = 60 * SECOND
"""What failed is told after so long, whatever else a subscriber does in the same turn."""
SHOWN: Final = 3
"""Examples in a verdict."""

Accounts = Mapping[str, Mapping[str, Account]]
"""Of each subscriber, its account of each connection."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What a judge has to know of a world beside its record.

    Args:
        start_ns: when it began, for the texts.
        window: elements, by which a copy may be behind and is taken out still.
        sheds: something may be given up before it is decoded: then nobody knows what of it was a copy.
        margin_ns: of event times, which are floored to the ms.
        decode_ns: what was read may wait so long until it is decoded: as long as user code that blocks hangs.
        forbidden: channels of Redis that take nothing.
        refuses: Redis refused something: what it took meanwhile comes before that.
        holds: reads may be held back, by who blocks or where there is little room.
    """

    start_ns: int
    window: int = 65_536
    sheds: bool = False
    margin_ns: int = MS
    decode_ns: int = SECOND
    forbidden: frozenset[str] = field(default_factory=frozenset)
    refuses: bool = False
    holds: bool = False

    def at(self, ns: int) -> str:
        """Return a time as seconds since the beginning."""
        return f"{(ns - self.start_ns) / SECOND:.3f}"


def judge(record: Record, now_ns: int, accounts: Accounts, context: Context) -> list[Verdict]:
    """Return every breach that can be seen at a quiet moment: nothing is on its way, or the stream is closed.

    Args:
        record: of the world.
        now_ns: the moment, true time.
        accounts: as the product gives them.
        context: what else is to be known.
    """
    carriage = Carriage(record, now_ns)
    verdicts = [*_judge_losses(carriage, context), *_judge_spans(carriage, context)]
    verdicts += _judge_reads(carriage, context)
    for subscription in record.subscriptions.values():
        judges = (_judge_deliveries, _judge_order, _judge_failures) if subscription.kind != "redis" else ()
        for judge_one in judges:
            verdicts += judge_one(carriage, subscription, context)
        verdicts += _judge_account(carriage, subscription, accounts.get(subscription.name, {}), context)
    if "redis" in record.subscriptions:
        account = sum(accounts.get("redis", {}).values(), Account())
        verdicts += _judge_redis(carriage, account, context)
    return verdicts


# -- what no socket has read --------------------------------------------------------------------------------


def _judge_losses(carriage: Carriage, context: Context) -> Iterator[Verdict]:
    untold: dict[str, list[Made]] = defaultdict(list)
    late: dict[str, list[tuple[Made, Span]]] = defaultdict(list)
    for made in carriage.unread:
        spans = [s for s in carriage.spans.get(made.channel, ()) if s.covers(made, context.margin_ns)]
        back_ns = _back_ns(carriage, made)
        if not spans:
            # What is not over, or begins again before it could be told, is told at its end.
            if back_ns is not None or carriage.record.closed_ns is not None:
                untold[made.channel].append(made)
            continue
        first = min(spans, key=lambda span: span.told_ns)
        soon_ns = SOON_NS + context.decode_ns  # what was read before comes first
        if back_ns is not None and first.told_ns > max(back_ns, _left_ns(carriage, made)) + soon_ns:
            late[made.channel].append((made, first))
    for channel, ticks in untold.items():
        made = ticks[0]
        words = f"{len(ticks)} of {channel}, the first made at {context.at(made.market_ns)}"
        near = _near(carriage.spans.get(channel, ()), made, context)
        yield Verdict(Statement.TOLD, made.market_ns, f"{words}; {near}", len(ticks))
    for channel, told in late.items():
        made, span = told[0]
        words = f"{channel} at {context.at(made.market_ns)} was told at {context.at(span.told_ns)}"
        yield Verdict(Statement.SOON, made.market_ns, words, len(told))


def _back_ns(carriage: Carriage, made: Made) -> int | None:
    """Return when the client knew that a channel is carried again for good after a tick was lost."""
    known = [
        known_ns
        for from_ns, known_ns, lasted_ns in carriage.returns.get(made.channel, ())
        if from_ns > made.market_ns and lasted_ns >= SETTLE_NS + SECOND
    ]
    return min(known, default=None)


def _left_ns(carriage: Carriage, made: Made) -> int:
    """Return when the client had left all sessions that carried a tick as far as it could know."""
    ends = (
        session.left_ns or session.ended_ns or 0
        for session in carriage.record.sessions.values()
        for hold in session.holds
        if hold.channel == made.channel
        and hold.from_ns <= made.market_ns
        and (session.left_ns is None or made.market_ns <= session.left_ns)
    )
    return max(ends, default=0)


def _near(spans: Iterable[Span], made: Made, context: Context) -> str:
    nearest = min(spans, key=lambda span: abs(span.from_ns - made.event_ns), default=None)
    if nearest is None:
        return "nothing is told of it"
    return f"the nearest span is {context.at(nearest.from_ns)} to {context.at(nearest.to_ns)}"


def _judge_reads(carriage: Carriage, context: Context) -> Iterator[Verdict]:
    """Judge that no subscriber keeps the sockets waiting by what it does, unless it is one that blocks."""
    longest = carriage.longest_wait
    if longest is not None and longest[0] > PROMPT_NS and not context.holds:
        wait_ns, message = longest
        words = f"what was sent at {context.at(message.sent_ns)} was read {wait_ns / SECOND:.1f} s later"
        yield Verdict(Statement.PROMPT, message.sent_ns + PROMPT_NS, words)
    for subscription in carriage.record.subscriptions.values():
        yield from _judge_hand_over(carriage, subscription, context)


def _judge_hand_over(carriage: Carriage, subscription: Subscription, context: Context) -> Iterator[Verdict]:
    """Judge that what was read comes soon, where its subscriber has time, and nobody is there who blocks."""
    waits = subscription.busy + [
        (each.entering_ns, carriage.now_ns if each.leaving_ns is None else each.leaving_ns)
        for each in carriage.record.subscriptions.values()
        if each.blocks
    ]
    calls = sorted([*subscription.order, *subscription.failed], key=itemgetter(1), reverse=True)
    for key, at_ns in dict(calls).items():  # the first of each; a copy from beyond the window comes again
        read = carriage.first_reads.get(key)
        if read is None or at_ns <= read.read_ns + PROMPT_NS:
            continue
        due_ns = read.read_ns
        for from_ns, to_ns in sorted(waits):
            if from_ns <= at_ns and due_ns <= to_ns:
                due_ns = to_ns
        if at_ns > due_ns + PROMPT_NS:
            words = f"{read.made.channel} read at {context.at(read.read_ns)} came to {subscription.name}"
            yield Verdict(Statement.PROMPT, due_ns + PROMPT_NS, f"{words} at {context.at(at_ns)}")
            return


# -- what was told of it ------------------------------------------------------------------------------------


def _judge_spans(carriage: Carriage, context: Context) -> Iterator[Verdict]:
    for channel, spans in carriage.spans.items():
        for span in spans:
            # Of bars nobody can say when they were sent by their time: they come late, and come again.
            error_ns = carriage.record.clock_error_ns(span.from_ns, span.told_ns) + context.margin_ns
            error_ns += carriage.lag_ns(channel)
            words = f"{channel}, {context.at(span.from_ns)} to {context.at(span.to_ns)}"
            inside = [
                read
                for read in carriage.reads_of(channel)
                if span.has_inside(read, error_ns) and not (context.sheds and _was_shed(carriage, read))
            ]
            if inside and not _begins_with_a_forgotten_copy(carriage, span, context):
                shown = ", ".join(context.at(read.made.event_ns) for read in inside[:SHOWN])
                detail = f"{words}: {len(inside)} ticks within were delivered ({shown})"
                yield Verdict(Statement.SPAN, span.told_ns, detail)
            elif (begins_ns := _wanted_after_its_begin(carriage, span, error_ns)) is not None:
                detail = f"{words}: it was not wanted before {context.at(begins_ns)}"
                yield Verdict(Statement.SPAN, span.told_ns, detail)
            elif (known_ns := _known_before_its_end(carriage, span, error_ns)) is not None:
                detail = f"{words}: carried and known since {context.at(known_ns)}"
                yield Verdict(Statement.SPAN, span.told_ns, detail)
            if not _has_cause(carriage, span, error_ns):
                yield Verdict(Statement.CAUSE, span.told_ns, words)


def _was_shed(carriage: Carriage, read: Read) -> bool:
    """Tell whether a tick came to nobody: then it may have been given up undecoded, and nobody knew of it."""
    return read.made.key not in carriage.taken


def _begins_with_a_forgotten_copy(carriage: Carriage, span: Span, context: Context) -> bool:
    """Tell whether the last tick before a span was one that nobody could know to have come before."""
    return any(
        abs(read.made.event_ns - span.from_ns) <= context.margin_ns
        and carriage.far_copies(read.made.key, context.window)
        for read in carriage.reads_of(span.channel)
    )


def _wanted_after_its_begin(carriage: Carriage, span: Span, error_ns: int) -> int | None:
    """Return since when a channel was wanted, at the end of a span, if that was too long after its begin.

    A begin at a tick is one at the last before. Of another the feed's time is known by its ticks alone.
    """
    if any(read.made.event_ns <= span.from_ns for read in carriage.reads_of(span.channel)):
        return None
    times = [ns for ns, _ in carriage.record.wanted.get(span.channel, ()) if ns is not None]
    begins_ns = max((ns for ns in times if ns <= span.to_ns + error_ns), default=min(times, default=None))
    if begins_ns is None or span.from_ns >= begins_ns - STATED_NS - error_ns:
        return None
    return begins_ns if span.from_ns < begins_ns - STATED_NS - error_ns - carriage.way_ns(begins_ns) else None


def _known_before_its_end(carriage: Carriage, span: Span, error_ns: int) -> int | None:
    """Return since when a channel was known to be carried, if that was too long before the span's end.

    An end at a tick is one at the first after, however long that took.
    """
    for read in carriage.reads_of(span.channel):
        if abs(read.made.event_ns - span.to_ns) <= error_ns or abs(read.read_ns - span.to_ns) <= error_ns:
            return None
    for proof in carriage.proofs.get(span.channel, ()):
        ends = [ns for ns in (proof.hold.to_ns, proof.session.last_live_ns) if ns is not None]
        lasts = min(ends, default=carriage.now_ns) >= span.to_ns + error_ns
        # Of a session that brought no tick since, nobody knows that it would have.
        spoke = proof.hold.acknowledged is not None and proof.session.heard_ns > span.to_ns + error_ns
        known_ns = carriage.certain_ns(proof)
        too_wide = span.from_ns < (known_ns or 0) < span.to_ns - STATED_NS - error_ns
        # Of one that ended before that was told, an answer must have shown that it lived.
        if too_wide and lasts and spoke and proof.session.is_proven(span.to_ns, span.told_ns):
            return known_ns
    return None


def _has_cause(carriage: Carriage, span: Span, error_ns: int) -> bool:
    """Tell whether there was a time in a span in which the client knew of nobody who carried its channel.

    It knows of those that lived when it knew of the next, by their own proof: what one that ended without had
    sent and nobody read was lost by that.
    """
    known = sorted(proof.known_ns for proof in carriage.proofs.get(span.channel, ()))
    next_ns = next((ns for ns in known if ns >= span.to_ns - STATED_NS - error_ns), span.to_ns)
    at_ns = max([span.to_ns, *(ns for ns in known if next_ns <= ns <= next_ns + SETTLE_NS)])
    relied_on = carriage.relied_on(span.channel, at_ns, span.told_ns)
    return not any(
        since <= span.from_ns + MS and span.to_ns + error_ns <= until for since, until in relied_on
    )


# -- what came to subscribers -------------------------------------------------------------------------------


def _judge_deliveries(carriage: Carriage, subscription: Subscription, context: Context) -> Iterator[Verdict]:
    all_made, first_reads, name = carriage.record.made, carriage.first_reads, subscription.name
    seen: Counter[int] = Counter()
    for key, at_ns in sorted([*subscription.order, *subscription.failed], key=itemgetter(1)):
        read = first_reads.get(key)
        if key not in all_made or read is None or read.read_ns > at_ns:
            yield Verdict(Statement.MADE, at_ns, f"{name}: tick {key} at {context.at(at_ns)}")
            continue
        seen[key] += 1
        if seen[key] > 1 and seen[key] > 1 + carriage.far_copies(key, context.window):
            yield Verdict(Statement.ONCE, at_ns, f"{name}: {read.made.channel} {key} at {context.at(at_ns)}")


def _judge_order(carriage: Carriage, subscription: Subscription, context: Context) -> Iterator[Verdict]:
    turned = carriage.find_turned(key for key, _ in subscription.order)
    if turned is not None:
        before, key = turned
        at_ns = next(at_ns for each, at_ns in subscription.order if each == key)
        detail = f"{subscription.name}: {carriage.record.made[key].channel} {key} after {before}"
        yield Verdict(Statement.ORDER, at_ns, detail)


def _judge_failures(carriage: Carriage, subscription: Subscription, context: Context) -> Iterator[Verdict]:
    """Judge that failures are told while they can be mended, and not when all is over."""
    name, told = subscription.name, 0
    events = iter(
        [
            (told_ns, event.count)
            for told_ns, event in carriage.record.told
            if isinstance(event, SubscriberFailed) and event.subscriber == name
        ]
    )
    told_ns, count = next(events, (1 << 62, 0))
    for failed, (_, at_ns) in enumerate(sorted(subscription.failed, key=lambda call: call[1]), 1):
        until_ns = at_ns + TELL_NS
        while told_ns <= until_ns:
            told += count
            told_ns, count = next(events, (1 << 62, 0))
        if told < failed and until_ns < (carriage.record.closed_ns or carriage.now_ns):
            detail = f"{name}: failed at {context.at(at_ns)}, {failed} so far; {told} told a minute later"
            yield Verdict(Statement.COUNTED, until_ns, detail)
            return


# -- what was counted ---------------------------------------------------------------------------------------


def _judge_account(
    carriage: Carriage, subscription: Subscription, account: Mapping[str, Account], context: Context
) -> Iterator[Verdict]:
    now_ns, name = carriage.now_ns, subscription.name
    for connection, each in account.items():
        if each.imbalance:
            yield Verdict(Statement.BALANCE, now_ns, f"{name}, {connection}: {each}")
    books = _Books(carriage, subscription, context)
    for connection in dict.fromkeys([*account, *books.received]):
        got = account.get(connection, Account()).received
        lo, hi = books.received.get(connection, (0, 0))
        if not lo <= got <= hi:
            detail = f"{name}, {connection}: received {got}, read {lo} to {hi} elements"
            yield Verdict(Statement.EQUAL, now_ns, detail)
    total = sum(account.values(), Account())
    told = _told(carriage.record)
    yield from _judge_counts(books, total, told, now_ns)
    if carriage.record.closed_ns is None:
        return  # what was dropped in the last second is told at its end
    if total.queued:
        yield Verdict(Statement.EQUAL, now_ns, f"{name}: {total.queued} queued after the end")
    dropped, failed = told[name, "dropped"], told[name, "failed"]
    shed = told["ingest", "dropped"]
    if not dropped <= total.dropped <= dropped + shed:
        detail = f"{name}: {total.dropped} dropped, told {dropped}, and {shed} undecoded"
        yield Verdict(Statement.COUNTED, now_ns, detail)
    if failed != total.failed:
        yield Verdict(Statement.COUNTED, now_ns, f"{name}: {total.failed} failed, told {failed}")


def _judge_counts(books: "_Books", total: Account, told: Counter[Any], now_ns: int) -> Iterator[Verdict]:
    subscription, context = books.subscription, books.context
    if subscription.kind == "redis":
        return
    name = subscription.name
    exact = {"delivered": len(subscription.order), "failed": len(subscription.failed)}
    for word, count in exact.items():
        if getattr(total, word) != count:
            detail = f"{name}: {getattr(total, word)} {word} in the account, {count} in truth"
            yield Verdict(Statement.EQUAL, now_ns, detail)
    shed = told["ingest", "dropped"] if context.sheds else 0
    lo, hi = books.missing
    waits = total.queued
    # Where something was shed, copies may be among it, which cost nobody anything.
    if not lo <= total.dropped + waits <= hi + shed:
        detail = (
            f"{name}: {lo} to {hi} ticks that were read did not come, {total.dropped} dropped"
            f" and {waits} queued in the account; {books.examples()}"
        )
        yield Verdict(Statement.READ, books.first_missing_ns or now_ns, detail)


class _Books:
    """What an account of a subscriber has to say by the record: exactly, or from least to most.

    Not exactly only where it came later or left before: what was read then may or may not be its own.
    """

    def __init__(self, carriage: Carriage, subscription: Subscription, context: Context) -> None:
        self.carriage = carriage
        self.subscription = subscription
        self.context = context
        record = carriage.record
        began_ns = min((session.began_ns for session in record.sessions.values()), default=0)
        entered_ns = subscription.entered_ns or carriage.now_ns
        joins = subscription.entering_ns > began_ns
        self._from = (subscription.entering_ns - context.decode_ns, entered_ns) if joins else (0, 0)
        leaving_ns, closed_ns = subscription.leaving_ns, record.closed_ns
        leaves = leaving_ns is not None and (closed_ns is None or leaving_ns < closed_ns)
        about_ns = (leaving_ns or 0) - context.decode_ns, (leaving_ns or 0) + context.decode_ns
        self._to = about_ns if leaves else (1 << 62, 1 << 62)
        self.received = self._count_received()
        called = {key for key, _ in (*subscription.order, *subscription.failed)}
        missing = [(key, read.read_ns) for key, read in carriage.first_reads.items() if key not in called]
        self._missing = {key: read_ns for key, read_ns in missing if self._is_its(read_ns)}
        most = sum(self._may_be_its(read_ns) for _, read_ns in missing)
        self.missing = len(self._missing), most

    @property
    def first_missing_ns(self) -> int | None:
        """When the first tick was read that did not come."""
        return min(self._missing.values(), default=None)

    def examples(self) -> str:
        """Return some of what did not come, in words."""
        made = self.carriage.record.made
        shown = (
            f"{made[key].channel} {key} read at {self.context.at(ns)}" for key, ns in self._missing.items()
        )
        return "such as " + "; ".join([word for word, _ in zip(shown, range(SHOWN), strict=False)])

    def _is_its(self, read_ns: int) -> bool:
        return self._from[1] <= read_ns < self._to[0]

    def _may_be_its(self, read_ns: int) -> bool:
        return self._from[0] <= read_ns <= self._to[1]

    def _count_received(self) -> dict[str, tuple[int, int]]:
        least: Counter[str] = Counter()
        most: Counter[str] = Counter()
        (may_from_ns, from_ns), (to_ns, may_to_ns) = self._from, self._to
        for read_ns, connection, keys in self.carriage.elements:
            if may_from_ns <= read_ns <= may_to_ns:
                most[connection] += len(keys)
                if from_ns <= read_ns < to_ns:
                    least[connection] += len(keys)
        return {connection: (least[connection], count) for connection, count in most.items()}


def _told(record: Record) -> Counter[Any]:
    """Return what was told to be dropped or to have failed, by (where, which of both)."""
    told: Counter[Any] = Counter()
    for _, event in record.told:
        if isinstance(event, Loss) and event.count is not None:
            told[event.where, "dropped"] += event.count
        elif isinstance(event, SubscriberFailed):
            told[event.subscriber, "failed"] += event.count
    return told


# -- Redis --------------------------------------------------------------------------------------------------


def _judge_redis(carriage: Carriage, account: Account, context: Context) -> Iterator[Verdict]:
    """Judge the sink's promise: each tick once to each channel, in order; again only after a break."""
    record, now_ns = carriage.record, carriage.now_ns
    troubles = [event for _, event in record.told if isinstance(event, SinkDown | SinkUp)]
    resent = sum(event.resent for event in troubles if isinstance(event, SinkUp))
    is_known = not troubles or isinstance(troubles[-1], SinkUp)  # else it has not told yet
    for channel, messages in record.published.items():
        seen: Counter[int] = Counter()
        repeated = 0
        for keys in messages:
            repeated += any(seen[key] > carriage.far_copies(key, context.window) for key in keys if seen[key])
            seen.update(keys)
        unknown = [key for key in seen if key not in carriage.first_reads]
        # A copy from beyond the window of dedupe was delivered again.
        taken = sum(
            1 if count == 1 else min(count, 1 + carriage.far_copies(key, context.window))
            for key, count in seen.items()
        )
        if unknown:
            yield Verdict(Statement.REDIS, now_ns, f"{channel}: {len(unknown)} messages of no tick")
        if channel not in context.forbidden and taken < account.delivered:
            detail = f"{channel}: {taken} ticks, {account.delivered} delivered"
            yield Verdict(Statement.REDIS, now_ns, detail)
        if len(seen) > account.delivered + account.dropped + account.failed + account.queued:
            detail = f"{channel}: {len(seen)} ticks, of which only {account} is counted"
            yield Verdict(Statement.REDIS, now_ns, detail)
        turned = carriage.find_turned(dict.fromkeys(key for keys in messages for key in keys))
        if turned is not None and not context.refuses:
            yield Verdict(Statement.REDIS, now_ns, f"{channel}: {turned[1]} after {turned[0]}")
        if is_known and repeated > resent:
            detail = f"{channel}: {repeated} messages came twice, {resent} were told"
            yield Verdict(Statement.REDIS, now_ns, detail)


def judge_telling(record: Record, now_ns: int, before: Accounts, context: Context) -> Iterator[Verdict]:
    """Judge that drops are told soon, and not when all is over.

    Args:
        record: of the world.
        now_ns: the moment, true time.
        before: the accounts as they were when what they count had to be told by now.
        context: for the texts.
    """
    told = _told(record)
    for name, account in before.items():
        dropped = sum(account.values(), Account()).dropped
        most = told[name, "dropped"] + told["ingest", "dropped"]
        if dropped > most:
            detail = f"{name}: {dropped} dropped for seconds, {most} told by {context.at(now_ns)}"
            yield Verdict(Statement.COUNTED, now_ns, detail)


# -- modes and moments of their own -------------------------------------------------------------------------


def judge_liveness(
    record: Record, from_ns: int, to_ns: int, bound_ns: int, context: Context, *, excused: Iterable[str] = ()
) -> Iterator[Verdict]:
    """Judge that nobody waits for a channel longer than the settings say, once no new fault comes.

    Args:
        record: of the world.
        from_ns: when the last fault came.
        to_ns: until when nothing else happened.
        bound_ns: how long it may take.
        context: for the texts.
        excused: channels that no server gives.
    """
    carriage = Carriage(record, to_ns)
    for channel, times in record.wanted.items():
        if channel in excused or not times or times[-1][1] is not None:
            continue
        since_ns = max(from_ns, times[-1][0] or 0)
        edges = [(since_ns, since_ns), *carriage.carriers(channel), (to_ns, to_ns)]
        within = [(max(a, since_ns), min(b, to_ns)) for a, b in edges if b >= since_ns and a <= to_ns]
        for (_, lost_ns), (back_ns, _) in pairwise(sorted(within)):
            if back_ns - lost_ns > bound_ns:
                detail = f"{channel} by nobody from {context.at(lost_ns)} to {context.at(back_ns)}"
                yield Verdict(Statement.ALIVE, lost_ns + bound_ns, detail)
                break


def judge_wakeups(
    counts: Mapping[str, int], budget: Mapping[str, int], minutes: float, now_ns: int
) -> Iterator[Verdict]:
    """Judge how often each thread woke in a time in which nothing happened.

    Args:
        counts: by name.
        budget: what each may in a minute; a name stands for all that begin with it.
        minutes: how long that was.
        now_ns: its end.
    """
    names = sorted(budget)
    for name, count in counts.items():
        place = bisect_right(names, name)
        known = next((known for known in reversed(names[:place]) if name.startswith(known)), None)
        limit = 0 if known is None else budget[known] * minutes
        if count > limit:
            yield Verdict(Statement.IDLE, now_ns, f"{name} woke {count} times, {limit:.0f} at most")
