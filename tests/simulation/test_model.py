from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.account import Account
from pipeline.status import Loss, SinkDown, SinkUp, SubscriberFailed
from tests.simulation.carriage import Carriage
from tests.simulation.histories import END_NS, MS, SECOND, START_NS, loss_of, perfect_history
from tests.simulation.model import (
    PROMPT_NS,
    SOON_NS,
    Context,
    judge,
    judge_liveness,
    judge_telling,
    judge_wakeups,
)
from tests.simulation.record import Made, Record
from tests.simulation.verdicts import Statement, first


def _judged(history):
    verdicts = judge(history.record, history.now_ns, history.accounts, history.context)
    return {verdict.statement for verdict in verdicts}


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32))
def test_a_perfect_product_breaks_no_promise(seed):
    """An oracle that cries wolf would have its findings ignored."""
    assert _judged(perfect_history(seed)) == set()


# -- one thing is wrong -------------------------------------------------------------------------------------


def _lose_a_delivery(history, random):
    order = history.record.subscriptions["all"].order
    del order[random.randrange(len(order))]


def _lose_it_and_its_count(history, random):
    _lose_a_delivery(history, random)
    _change(history, "all", delivered=-1, received=-1)


def _count_a_loss_that_is_told(history, random):
    _lose_a_delivery(history, random)
    _change(history, "all", delivered=-1, dropped=1)


def _deliver_twice(history, random):
    order = history.record.subscriptions["all"].order
    key, at_ns = random.choice(order)
    order.append((key, at_ns + SECOND))


def _deliver_what_nobody_made(history, random):
    history.record.subscriptions["all"].order.append((10**9, END_NS))


def _deliver_what_no_socket_read(history, random):
    made = random.choice(Carriage(history.record, END_NS).unread)
    history.record.subscriptions["all"].order.append((made.key, END_NS))


def _deliver_out_of_order(history, random):
    order = history.record.subscriptions["all"].order
    made = history.record.made
    copies = Carriage(history.record, END_NS).copies
    place = next(
        n
        for n in range(random.randrange(len(order) // 2), len(order) - 1)
        if made[order[n][0]].ticker == made[order[n + 1][0]].ticker
        and copies[order[n][0]] == copies[order[n + 1][0]] == 1
    )
    (first_key, at_ns), (second_key, _) = order[place : place + 2]
    order[place : place + 2] = [(second_key, at_ns + SECOND), (first_key, at_ns + SECOND)]


def _tell_nothing(history, random):
    told, _ = _a_loss_of_something(history, random)
    history.record.told.remove(told)


def _end_too_early(history, random):
    (told_ns, loss), lost = _a_loss_of_something(history, random)
    gap = loss.gaps[0]
    to_ns = max(gap.from_ns, min(lost[-1].event_ns, lost[-1].market_ns) - 20 * MS)
    _retell(history, (told_ns, loss), gap.from_ns, to_ns)


def _begin_too_late(history, random):
    (told_ns, loss), lost = _a_loss_of_something(history, random)
    from_ns = max(lost[0].event_ns, lost[0].market_ns) + 20 * MS
    _retell(history, (told_ns, loss), from_ns, max(from_ns, loss.gaps[0].to_ns))


def _tell_late(history, random):
    told, _ = _a_loss_of_something(history, random, before_ns=END_NS - 30 * SECOND)
    history.record.told[history.record.told.index(told)] = (told[0] + SOON_NS + 6 * SECOND, told[1])


def _begin_too_early(history, random):
    for told in history.record.told:
        if isinstance(told[1], Loss) and told[1].gaps and not told[1].gaps[0].channel.startswith("A."):
            gap = told[1].gaps[0]
            read = [r.made for r in Carriage(history.record, END_NS).reads_of(gap.channel)]
            if any(START_NS < made.event_ns == gap.from_ns for made in read):
                _retell(history, told, gap.from_ns - 20 * MS, gap.to_ns)
                return


def _end_too_late(history, random):
    carriage = Carriage(history.record, END_NS)
    for told in history.record.told:
        if isinstance(told[1], Loss) and told[1].gaps and not told[1].gaps[0].channel.startswith("A."):
            gap = told[1].gaps[0]
            later = [r for r in carriage.reads_of(gap.channel) if r.made.event_ns >= gap.to_ns]
            known = [p.known_ns for p in carriage.proofs[gap.channel] if p.known_ns == gap.to_ns]
            if known and later and later[0].made.event_ns > gap.to_ns + SECOND:
                _retell(history, told, gap.from_ns, gap.to_ns + SECOND // 2)
                return


def _tell_of_no_outage(history, random):
    carriage = Carriage(history.record, END_NS)
    before, after = (read.made for read in carriage.reads_of("Q.AAPL")[:2])
    loss = loss_of("connection_1", "Q.AAPL", before.event_ns, after.event_ns, after.event_ns + SECOND)
    history.record.tell(loss, after.event_ns + SECOND)


def _lose_an_element(history, random):
    _change(history, "all", received=1)


def _count_what_never_was(history, random):
    _change(history, "late", received=10**4, deduplicated=10**4)


def _call_a_failure_a_delivery(history, random):
    _change(history, "all", failed=-1, delivered=1)


def _tell_of_no_drop(history, random):
    _forget_told(history, lambda event: isinstance(event, Loss) and event.where == "all")


def _tell_of_no_failure(history, random):
    _forget_told(history, lambda event: isinstance(event, SubscriberFailed) and event.subscriber == "all")


def _tell_of_failures_at_the_end(history, random):
    told = history.record.told
    told[:] = sorted(
        [(END_NS if isinstance(event, SubscriberFailed) else at_ns, event) for at_ns, event in told],
        key=lambda each: each[0],
    )


def _leave_it_queued(history, random):
    _change(history, "all", dropped=-1, queued=1)


def _read_late(history, random):
    session = next(session for session in history.record.sessions.values() if session.read_messages)
    place = random.randrange(len(session.read_messages))
    message = session.messages[place]
    session.messages[place] = message._replace(sent_ns=message.sent_ns - PROMPT_NS)


def _hand_over_late(history, random):
    order = history.record.subscriptions["all"].order
    place = random.randrange(len(order))
    key, at_ns = order[place]
    order[place] = key, at_ns + PROMPT_NS + SECOND


DAMAGES = {
    _lose_a_delivery: Statement.READ,
    _lose_it_and_its_count: Statement.READ,
    _count_a_loss_that_is_told: Statement.COUNTED,
    _deliver_twice: Statement.ONCE,
    _deliver_what_nobody_made: Statement.MADE,
    _deliver_what_no_socket_read: Statement.MADE,
    _deliver_out_of_order: Statement.ORDER,
    _tell_nothing: Statement.TOLD,
    _end_too_early: Statement.TOLD,
    _begin_too_late: Statement.TOLD,
    _tell_late: Statement.SOON,
    _begin_too_early: Statement.SPAN,
    _end_too_late: Statement.SPAN,
    _tell_of_no_outage: Statement.CAUSE,
    _lose_an_element: Statement.BALANCE,
    _count_what_never_was: Statement.EQUAL,
    _call_a_failure_a_delivery: Statement.EQUAL,
    _tell_of_no_drop: Statement.COUNTED,
    _tell_of_no_failure: Statement.COUNTED,
    _tell_of_failures_at_the_end: Statement.COUNTED,
    _leave_it_queued: Statement.EQUAL,
    _read_late: Statement.PROMPT,
    _hand_over_late: Statement.PROMPT,
}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__.strip("_"))
def test_each_kind_of_damage_breaks_its_promise(damage, seed):
    """What the oracle cannot see may be broken for years while all seeds are green."""
    history = perfect_history(seed)
    damage(history, Random(seed))
    assert DAMAGES[damage] in _judged(history)


def test_who_was_busy_or_had_to_wait_for_another_gets_it_later():
    """Who hangs himself, or beside one that blocks, is promised nothing sooner."""
    for is_busy in (True, False):
        history = perfect_history(1)
        _hand_over_late(history, Random(1))
        if is_busy:
            history.record.subscriptions["all"].busy.append((START_NS, END_NS))
        else:
            history.record.enter("blocker", START_NS, blocks=True)
        assert Statement.PROMPT not in _judged(history)


def _change(history, name, **changes):
    account = history.accounts[name]["connection_1"]
    values = {word: getattr(account, word) + change for word, change in changes.items()}
    history.accounts[name]["connection_1"] = replace(account, **values)


def _a_loss_of_something(history, random, before_ns=END_NS):
    lost = Carriage(history.record, END_NS).unread
    losses = [told for told in history.record.told if isinstance(told[1], Loss) and told[1].gaps]
    random.shuffle(losses)
    for told_ns, loss in losses:
        gap = loss.gaps[0]
        spans = Carriage(history.record, END_NS).spans[gap.channel]
        span = next(span for span in spans if span.from_ns == gap.from_ns)
        its = [made for made in lost if made.channel == gap.channel and span.covers(made, 0)]
        others = [made for made in its if sum(span.covers(made, MS) for span in spans) > 1]
        if its and not others and told_ns < before_ns:
            return (told_ns, loss), its
    raise AssertionError("nothing was lost")


def _retell(history, told, from_ns, to_ns):
    told_ns, loss = told
    channel = loss.gaps[0].channel
    new = loss_of(loss.connection, channel, from_ns, to_ns, told_ns)
    history.record.told[history.record.told.index(told)] = told_ns, new


def _forget_told(history, predicate):
    told = history.record.told
    del told[next(n for n, (_, event) in enumerate(told) if predicate(event))]


# -- what needs no history ----------------------------------------------------------------------------------


def test_the_first_breach_is_the_one_that_came_first():
    """What came first is the cause of what follows, and is to be shown."""
    history = perfect_history(1)
    _tell_nothing(history, Random(1))
    _lose_a_delivery(history, Random(1))
    verdicts = judge(history.record, history.now_ns, history.accounts, history.context)
    assert first(verdicts).at_ns == min(verdict.at_ns for verdict in verdicts)


def test_a_channel_that_nobody_carries_for_too_long_is_found():
    """A pool that forgets a ticker loses all of it, and every other statement holds: it was told."""
    record = Record()
    record.want(["T.A", "T.B"], START_NS)
    session = record.begin_session(1, "connection_1", START_NS)
    for channel in ("T.A", "T.B"):
        session.hold(channel, START_NS)
    session.release("T.B", START_NS + 10 * SECOND)
    verdicts = list(judge_liveness(record, START_NS, END_NS, 30 * SECOND, Context(start_ns=START_NS)))
    assert [verdict.statement for verdict in verdicts] == [Statement.ALIVE]
    assert "T.B" in verdicts[0].detail
    assert not list(judge_liveness(record, START_NS, END_NS, 111 * SECOND, Context(start_ns=START_NS)))


@pytest.mark.parametrize("ago_s", [1, 60])
def test_a_client_that_reads_no_more_loses_what_is_sent(ago_s):
    """All that it never read would be on its way for ever: a stream that stands still would break nothing."""
    record = Record()
    record.want(["T.A"], START_NS)
    session = record.begin_session(1, "connection_1", START_NS)
    session.hold("T.A", START_NS)
    session.acknowledge("T.A", 1)
    session.read(1, START_NS + 1)
    sent_ns = END_NS - ago_s * SECOND
    record.make(Made("T.A", 1, sent_ns, sent_ns))
    session.send([1], 1, 2, sent_ns)
    record.closed_ns = END_NS
    found = {verdict.statement for verdict in judge(record, END_NS, {}, Context(start_ns=START_NS))}
    assert found == ({Statement.TOLD} if ago_s > 10 else set())


def test_a_half_open_session_carries_nothing():
    """It holds its channels on paper, and a pool that never looks leaves them there for ever."""
    record = Record()
    record.want(["T.A"], START_NS)
    session = record.begin_session(1, "connection_1", START_NS)
    session.hold("T.A", START_NS)
    session.deafen(START_NS + SECOND)
    assert list(judge_liveness(record, START_NS, END_NS, 60 * SECOND, Context(start_ns=START_NS)))


def test_a_thread_that_turns_for_nothing_is_found():
    """A poll of 20 ms is 4 million wake-ups a day on every user's machine."""
    budget = {"tickbraid-": 0, "tickbraid-io": 10}
    assert not list(judge_wakeups({"tickbraid-io": 20}, budget, 2, END_NS))
    over = list(judge_wakeups({"tickbraid-io": 21, "tickbraid-callback": 1}, budget, 2, END_NS))
    assert [verdict.statement for verdict in over] == [Statement.IDLE] * 2


def _redis(published, *told, **account):
    record = Record()
    session = record.begin_session(1, "connection_1", START_NS)
    for key in range(1, 6):
        record.make(Made("T.A", key, START_NS + key, START_NS + key))
        session.send([key], key, key + 1, START_NS + key)
    session.read(6, START_NS + 10)
    record.enter("redis", START_NS - 1, kind="redis").entered_ns = START_NS - 1
    for key in published:
        record.publish("raw", key)
    for event in told:
        record.tell(event, START_NS + 20)
    accounts = {"redis": {"connection_1": Account(received=5, **account)}}
    verdicts = judge(record, END_NS, accounts, Context(start_ns=START_NS))
    return {verdict.statement for verdict in verdicts}


def test_redis_has_what_was_delivered_to_its_sink():
    """A message that Redis never had is lost, whatever the account says."""
    assert Statement.REDIS not in _redis([1, 2, 3, 4, 5], delivered=5)
    assert Statement.REDIS in _redis([1, 2, 4, 5], delivered=5)
    assert Statement.REDIS in _redis([1, 2, 3, 4, 5, 9], delivered=5)
    assert Statement.REDIS in _redis([1, 2, 3, 4, 5], delivered=3, queued=1)


def test_redis_has_again_what_dedupe_no_longer_knew():
    """A copy from beyond the window is delivered as a tick of its own, and so published."""
    record = Record()
    session = record.begin_session(1, "connection_1", START_NS)
    for key in (1, 2, 3, 1):
        record.make(Made("T.A", key, START_NS + key, START_NS + key))
    for place, key in enumerate((1, 2, 3, 1), 1):
        session.send([key], place, place + 1, START_NS + place)
    session.read(9, START_NS + 10)
    record.enter("redis", START_NS - 1, kind="redis").entered_ns = START_NS - 1
    for key in (1, 2, 3, 1):
        record.publish("raw", key)
    accounts = {"redis": {"connection_1": Account(received=4, delivered=4)}}

    def broken(window):
        verdicts = judge(record, END_NS, accounts, Context(start_ns=START_NS, window=window))
        return Statement.REDIS in {verdict.statement for verdict in verdicts}

    assert (broken(window=3), broken(window=4)) == (False, True)


def test_redis_has_it_in_the_order_of_the_stream():
    """A consumer of a channel would see an old price after a new one; what comes again is no news."""
    assert Statement.REDIS in _redis([1, 3, 2, 4, 5], delivered=5)
    down = SinkDown(at_ns=START_NS, sink="redis", reason="gone")
    up = SinkUp(at_ns=START_NS, sink="redis", down_s=1.0, resent=2)
    assert Statement.REDIS not in _redis([1, 2, 3, 2, 3, 4, 5], down, up, delivered=5)


def test_a_drop_that_is_told_at_the_end_only_is_found():
    """Who hears of a drop when the stream is closed could do nothing about it."""
    history = perfect_history(1)
    accounts = {"all": {"a": Account(received=3, dropped=3)}}
    history.record.told.clear()

    def verdicts():
        return [*judge_telling(history.record, END_NS, accounts, history.context)]

    assert [verdict.statement for verdict in verdicts()] == [Statement.COUNTED]
    loss = Loss(connection="a", at_ns=0, where="all", reason="overflow", count=3, from_ns=0, to_ns=0)
    history.record.tell(loss, END_NS)
    assert verdicts() == []


def test_redis_has_a_message_twice_only_after_a_break_that_was_told():
    """Whoever adds volumes up from Redis counts a copy twice."""
    down = SinkDown(at_ns=START_NS, sink="redis", reason="gone")
    up = SinkUp(at_ns=START_NS, sink="redis", down_s=1.0, resent=1)
    assert Statement.REDIS in _redis([1, 2, 2, 3, 4, 5], delivered=5)
    assert Statement.REDIS not in _redis([1, 2, 2, 3, 4, 5], down, up, delivered=5)
    assert Statement.REDIS in _redis([1, 2, 2, 3, 3, 4, 5], down, up, delivered=5)
