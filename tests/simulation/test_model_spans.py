"""How wide a told span may be: what a product that cannot know better may tell, and what it may not."""

import pytest

from tests.simulation.histories import END_NS, SECOND, START_NS, loss_of
from tests.simulation.model import Context, judge
from tests.simulation.record import Made, Record
from tests.simulation.verdicts import Statement


def _at(seconds):
    return START_NS + round(seconds * SECOND)


def _hold(session, channel, from_s, known_s=None):
    session.hold(channel, _at(from_s))
    if known_s is not None:
        offset = session.read_bytes + 1
        session.acknowledge(channel, offset)
        session.read(offset, _at(known_s))


def _tick(record, session, channel, key, event_s, read_s):  # noqa: PLR0917
    made = Made(channel, key, _at(event_s), _at(event_s))
    record.make(made)
    begin = session.read_bytes
    session.send([key], begin, begin + 1, made.market_ns)
    session.read(begin + 1, _at(read_s))


def _is_too_wide(record, channel, from_s, to_s, told_s, **context):
    record.tell(loss_of("connection_1", channel, _at(from_s), _at(to_s), _at(told_s)), _at(told_s))
    verdicts = judge(record, END_NS, {}, Context(start_ns=START_NS, **context))
    return Statement.SPAN in {verdict.statement for verdict in verdicts}


@pytest.mark.parametrize(
    ("from_s", "to_s", "is_too_wide"), [(-5, -1, True), (1, 9, False), (15, 40, True), (20, 40, False)]
)
def test_a_span_is_of_the_time_in_which_its_channel_was_wanted(from_s, to_s, is_too_wide):
    """What was withheld before a channel was given up is told when its session is found dead, long after."""
    record = Record()
    record.want(["T.A"], _at(0))
    record.unwant(["T.A"], _at(10))
    record.want(["T.A"], _at(20))
    assert _is_too_wide(record, "T.A", from_s, to_s, told_s=50) == is_too_wide


@pytest.mark.parametrize(("way_s", "is_too_wide"), [(0.02, True), (0.7, False)])
def test_a_span_begins_by_the_feed_s_time_as_far_as_ticks_tell_it(way_s, is_too_wide):
    """Where all ticks came late, nobody knows when a channel was asked for by the feed's time."""
    record = Record()
    record.want(["T.B"], _at(0))
    _tick(record, record.begin_session(1, "connection_1", _at(0)), "T.B", 1, 1, 1 + way_s)
    record.want(["T.A"], _at(10))
    assert _is_too_wide(record, "T.A", 9.3, 20, told_s=20) == is_too_wide


@pytest.mark.parametrize("sheds", [False, True])
def test_a_tick_that_was_given_up_undecoded_is_within_a_span(sheds):
    """Nobody knows what was in it; that it is missing is told with its count."""
    record = Record()
    record.want(["T.A"], _at(0))
    _tick(record, record.begin_session(1, "connection_1", _at(0)), "T.A", 1, 5, 5.1)
    assert _is_too_wide(record, "T.A", 1, 9, told_s=10, sheds=sheds) == (not sheds)


@pytest.mark.parametrize("is_asked_again", [False, True])
def test_a_tick_does_not_tell_that_a_channel_is_held_anew(is_asked_again):
    """What a session gives back and asks for again still ticks of before until that is acknowledged."""
    record = Record()
    record.want(["T.A"], _at(0))
    session = record.begin_session(1, "connection_1", _at(0))
    if is_asked_again:
        _hold(session, "T.A", 1, known_s=1.1)
        session.release("T.A", _at(5))
    _hold(session, "T.A", 5)
    _tick(record, session, "T.A", 1, 6, 6.1)
    session.acknowledge("T.A", session.read_bytes + 1)
    session.read(session.read_bytes + 1, _at(9))
    _tick(record, session, "T.A", 2, 20, 20.1)
    assert _is_too_wide(record, "T.A", 6, 9.1, told_s=12) == (not is_asked_again)


@pytest.mark.parametrize(("channel", "is_too_wide"), [("T.A", True), ("A.A", False)])
def test_a_bar_that_is_to_come_ended_before_it_is_known_that_its_channel_is_carried(channel, is_too_wide):
    """A bar is sent two seconds after its end, also where none was made yet."""
    record = Record()
    record.want([channel], _at(0))
    session = record.begin_session(1, "connection_1", _at(0))
    _hold(session, channel, 10, known_s=10.1)
    _tick(record, session, "T.B", 1, 20, 20.1)
    assert _is_too_wide(record, channel, 8.1, 12, told_s=20) == is_too_wide


@pytest.mark.parametrize("is_copy", [False, True])
def test_a_copy_does_not_tell_that_a_channel_is_held(is_copy):
    """A server may send again what is old: of what it holds now only new ticks tell, and its word."""
    record = Record()
    record.want(["T.A"], _at(0))
    other, session = (record.begin_session(n, f"connection_{n}", _at(0)) for n in (2, 1))
    if is_copy:
        _hold(other, "T.A", 1, known_s=1.1)
        _tick(record, other, "T.A", 1, 6, 6.05)
    session.hold("T.A", _at(1))
    _tick(record, session, "T.A", 1, 6, 6.1)
    session.acknowledge("T.A", session.read_bytes + 1)
    session.read(session.read_bytes + 1, _at(9))
    _tick(record, session, "T.A", 2, 20, 20.1)
    other.end(_at(7), by_us=False)
    assert _is_too_wide(record, "T.A", 6, 9.1, told_s=12) == (not is_copy)


@pytest.mark.parametrize("window", [1, 100])
def test_a_copy_that_was_forgotten_is_the_last_tick(window):
    """Where the memory is too small for what a server sends again, an old tick counts as the newest."""
    record = Record()
    record.want(["T.A"], _at(0))
    session = record.begin_session(1, "connection_1", _at(0))
    for key, event_s, read_s in ((1, 5, 5.1), (2, 6, 6.1), (1, 5, 7)):
        _tick(record, session, "T.A", key, event_s, read_s)
    assert _is_too_wide(record, "T.A", 5, 9, told_s=10, window=window) == (window == 100)


def _has_cause(record, channel, from_s, to_s, told_s):
    record.tell(loss_of("connection_1", channel, _at(from_s), _at(to_s), _at(told_s)), _at(told_s))
    verdicts = judge(record, END_NS, {}, Context(start_ns=START_NS))
    return Statement.CAUSE not in {verdict.statement for verdict in verdicts}


def _answer(session, sent_s, read_s):
    end = session.read_bytes + 1
    session.answer(end, _at(sent_s))
    session.read(end, _at(read_s))


@pytest.mark.parametrize(
    ("answers", "tick_s", "has_cause"),
    [(2, 12, False), (2, None, True), (1, 12, True), (2, 11.2, True)],
    ids=["a tick behind", "no tick behind", "an answer to an older question", "in one read"],
)
def test_who_ended_lived_until_it_answered_and_brought_a_tick(answers, tick_s, has_cause):
    """Nobody can tell a server that has nothing to say from one that withholds it."""
    record = Record()
    record.want(["T.A", "T.B"], _at(0))
    old, new = (record.begin_session(n, f"connection_{n}", _at(0)) for n in (1, 2))
    _hold(old, "T.A", 1, known_s=1.1)
    _tick(record, old, "T.A", 1, 8, 8.1)
    _hold(new, "T.A", 9)
    _tick(record, new, "T.A", 2, 9.9, 10)
    for _ in range(answers):
        _answer(old, 11, 11.2)
    if tick_s is not None:
        _tick(record, old, "T.B", 3, 11.1, tick_s)
    old.end(_at(20), by_us=False)
    assert _has_cause(record, "T.A", 8, 9.9, told_s=21) == has_cause


@pytest.mark.parametrize("how", ["acknowledged", "by a tick", "by a copy", "given back before"])
def test_the_client_knows_of_a_carrier_by_its_word_or_by_a_tick_that_is_new(how):
    """What it could not know it may tell of, though somebody carried it."""
    record = Record()
    record.want(["T.A"], _at(0))
    old, new = (record.begin_session(n, f"connection_{n}", _at(0)) for n in (1, 2))
    _hold(old, "T.A", 1, known_s=1.1)
    if how == "given back before":
        _hold(new, "T.A", 1, known_s=1.1)
        new.release("T.A", _at(2))
    _hold(new, "T.A", 2, known_s=2.1 if how == "acknowledged" else None)
    first, second = (old, new) if how == "by a copy" else (new, old)
    _tick(record, first, "T.A", 1, 8, 8.1)
    _tick(record, second, "T.A", 1, 8, 8.2)
    old.end(_at(8.5), by_us=False)
    _tick(record, new, "T.A", 2, 9.9, 10)
    assert _has_cause(record, "T.A", 8, 9.9, told_s=10) == (how in {"by a copy", "given back before"})


@pytest.mark.parametrize("answers", [0, 2])
def test_who_ended_before_it_answered_is_not_known_to_have_lived(answers):
    """Over a slow line the answer of a session that ends soon never comes, and what it lacks is not known."""
    record = Record()
    record.want(["T.A"], _at(0))
    session = record.begin_session(1, "connection_1", _at(0))
    _hold(session, "T.A", 9, known_s=10)
    for _ in range(answers):
        _answer(session, 12.5, 12.6)
    _tick(record, session, "T.B", 1, 13, 13.1)
    session.end(_at(14), by_us=False)
    assert _is_too_wide(record, "T.A", 5, 12, told_s=15) == (answers > 0)
