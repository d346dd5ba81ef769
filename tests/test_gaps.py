from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.gaps import MARGIN_NS
from pipeline.span_book import SETTLE_S
from pipeline.status import Gap
from pipeline.ticks import Quote, SecondAggregate, Trade
from tests.gaps_world import MS, World

SETTLE_MS = int(SETTLE_S * 1000)


@pytest.fixture
def world():
    """Two tickers on one connection, each of which has ticked."""
    return begun()


def begun():
    """Return such a world."""
    world = World()
    world.subscribe("one", ["A", "B"])
    world.make("A")
    world.make("B")
    world.read("one")
    world.pipeline.go_on()
    return world


def gap(ticker, from_ns, to_ns):
    """Return a gap of its quotes."""
    return Gap.of(f"Q.{ticker}", from_ns, to_ns)


def settle(world):
    """Let all be waited for that is."""
    for _ in range(3):
        world.loop.advance(SETTLE_MS + 20)
        world.pipeline.go_on()


TICKERS = st.sampled_from("ABCD")
CONNECTIONS = st.sampled_from(["one", "two"])
STEPS = st.one_of(
    st.tuples(st.just("make"), TICKERS),
    st.tuples(st.just("make"), TICKERS),
    st.tuples(st.just("read"), CONNECTIONS),
    st.tuples(st.just("cut"), CONNECTIONS),
    st.tuples(st.just("subscribe"), CONNECTIONS, st.sets(TICKERS, min_size=1)),
    st.tuples(st.just("advance"), st.integers(1, 2 * SETTLE_MS)),
    st.tuples(st.just("go_on"), st.integers(1, 10)),
    st.tuples(st.just("set_clock"), st.integers(-5000, 0)),
)


@settings(max_examples=400)
@given(st.lists(STEPS, min_size=5, max_size=60), st.booleans())
def test_the_gaps_cover_exactly_what_is_missing(steps, in_peace):
    """Whoever fills the gaps from another source fetches all that is missing, and nothing twice."""
    world = begun()

    def advance(by_ms):
        """Let time pass; nothing is under way for longer than is waited for."""
        for connection in ("one", "two"):
            world.read(connection)
        world.loop.advance(by_ms)

    moves = {
        "advance": advance,
        "go_on": world.pipeline.go_on,
        "set_clock": lambda ms: setattr(world, "wrong_ms", ms),
    }
    for name, *arguments in steps:
        (moves.get(name) or getattr(world, name))(*arguments)
    if in_peace:
        world.subscribe("two", "ABCD")
        for connection in ("one", "two"):
            world.read(connection)
        settle(world)
        assert not world.gaps.watched, "it watches for ever, which costs every batch"
    for connection in ("one", "two"):
        world.read(connection)
    world.pipeline.go_on()
    world.loop.advance(1)
    world.gaps.flush()
    for ticker in "ABCD":
        gaps = [gap for gap in world.told() if gap.channel == f"Q.{ticker}"]
        for event_ns in world.made[ticker]:
            inside = any(gap.from_ns < event_ns < gap.to_ns for gap in gaps)
            assert inside != (event_ns in world.delivered[ticker])
    for loss in world.losses():
        assert (loss.from_ns, loss.to_ns) == (
            min(gap.from_ns for gap in loss.gaps),
            max(gap.to_ns for gap in loss.gaps),
        )


def test_an_outage_is_one_event(world):
    """A status subscriber, and a phone, hear of a dead socket once, with each channel's own span."""
    a, b = (world.made[ticker][-1] for ticker in "AB")
    world.cut("one")
    world.loop.advance(500)
    world.subscribe("two", "A")
    world.subscribe("three", "B")
    world.make("A")
    world.make("B")
    world.read("two")
    world.read("three")
    world.pipeline.go_on()
    (loss,) = world.losses()
    assert loss.gaps == (gap("A", a, world.made["A"][-1]), gap("B", b, world.made["B"][-1]))
    assert [(each.ticker, each.event_type) for each in loss.gaps] == [("A", "Q"), ("B", "Q")]
    assert (loss.connection, loss.where, loss.reason, loss.count) == ("one", "feed", "disconnected", None)
    assert (loss.from_ns, loss.to_ns, loss.tickers) == (a, world.made["B"][-1], ("A", "B"))
    assert not world.gaps.watched


def test_the_event_types_of_a_ticker_have_gaps_of_their_own():
    """Its first quote would end the gap of its trades, of which none had come yet."""
    world = begun()
    world.gaps.ask("one", ["T.A"])
    world.gaps.confirm("one", ["T.A"])
    world.bring("one", [Trade(ticker="A", price=1, event_ms=world.loop.now_ms - 2)])
    world.bring("one", [Quote(ticker="A", event_ms=world.loop.now_ms)])
    before_ms = world.loop.now_ms
    world.cut("one")
    world.loop.advance(100)
    world.gaps.begin("two", "feed", ["T.A", "Q.A"], prove=print, is_mute=lambda: False)
    world.bring("two", [Quote(ticker="A", event_ms=world.loop.now_ms)])
    quote_ms = world.loop.now_ms
    world.loop.advance(100)
    world.bring("two", [Trade(ticker="A", price=1, event_ms=world.loop.now_ms)])
    settle(world)
    told = {each.channel: (each.from_ns, each.to_ns) for each in world.told()}
    assert told["Q.A"] == (before_ms * MS, quote_ms * MS)
    assert told["T.A"] == ((before_ms - 2) * MS, (quote_ms + 100) * MS)


def test_frames_of_a_dead_session_that_wait_are_before(world):
    """Under a backlog the gap does not begin where the pipeline was when the socket died."""
    world.make("A")
    world.read("one")
    waiting = world.made["A"][-1]
    world.cut("one")
    world.subscribe("two", "AB")
    world.make("A")
    world.make("B")
    world.read("two")
    world.pipeline.go_on()
    assert world.told()[0] == gap("A", waiting, world.made["A"][-1])


@pytest.mark.parametrize("wrong_ms", [0, -2600, 2600])
def test_a_quiet_channel_s_gap_ends_with_its_confirmation(world, wrong_ms):
    """A ticker that trades once an hour is not missing for an hour; nor does our clock's error matter."""
    b = world.made["B"][-1]
    world.cut("one")
    world.wrong_ms = wrong_ms
    world.subscribe("two", "AB")
    confirmed = world.now_ns
    world.make("A")
    world.read("two")
    world.pipeline.go_on()
    world.loop.advance(SETTLE_MS - 3)
    world.pipeline.go_on()
    assert not world.losses()
    settle(world)
    (loss,) = world.losses()
    assert loss.gaps[1].from_ns == b
    assert confirmed <= loss.gaps[1].to_ns <= confirmed + MARGIN_NS + max(wrong_ms, 0) * MS
    assert not world.gaps.watched


def test_a_backlog_does_not_make_a_ticker_quiet(world):
    """A pipeline that is seconds behind still finds the first tick after."""
    world.cut("one")
    world.subscribe("two", "AB")
    world.make("A")
    world.make("B")
    world.read("two")
    world.loop.advance(3 * SETTLE_MS)
    world.pipeline.go_on()
    assert [gap.to_ns for gap in world.told()] == [world.made["A"][-1], world.made["B"][-1]]


def test_channels_that_find_no_place_do_not_hold_up_the_others(world):
    """One refused channel of 500 must not keep the other gaps from being told."""
    world.cut("one")
    world.subscribe("two", "A")
    world.make("A")
    world.read("two")
    settle(world)
    assert [loss.tickers for loss in world.losses()] == [("A",)]
    world.subscribe("three", "B")
    world.make("B")
    world.read("three")
    settle(world)
    assert [loss.tickers for loss in world.losses()] == [("A",), ("B",)]


def test_confirmations_in_portions_are_one_event(world):
    """500 channels a request: what a first portion cost waits for the last, if that is soon confirmed."""
    world.cut("one")
    world.subscribe("two", "A")
    world.make("A")
    world.read("two")
    world.loop.advance(SETTLE_MS - 100)
    world.subscribe("three", "B")
    world.loop.advance(90)
    world.pipeline.go_on()
    assert not world.losses()
    world.make("B")
    world.read("three")
    world.pipeline.go_on()
    assert [loss.tickers for loss in world.losses()] == [("A", "B")]


def test_a_session_that_dies_again_and_again_has_one_gap(world):
    """A socket that flaps before anything comes is told as one gap, not one a try."""
    a = world.made["A"][-1]
    for _ in range(3):
        world.cut("one")
        world.subscribe("one", "AB")
    world.make("A")
    world.make("B")
    world.read("one")
    world.pipeline.go_on()
    assert [gap.ticker for gap in world.told()] == ["A", "B"]
    assert world.told()[0].from_ns == a
    assert not world.gaps.watched


def test_what_is_missing_of_a_removed_ticker_ends_there(world):
    """Whoever removes a ticker during an outage is told what it had missed, and not for ever."""
    a = world.made["A"][-1]
    world.cut("one")
    world.loop.advance(100)
    world.gaps.forget(["Q.A", "Q.unknown"])
    world.subscribe("two", "B")
    world.make("B")
    world.read("two")
    settle(world)
    told = {each.channel: each for each in world.told()}
    assert told.keys() == {"Q.A", "Q.B"}
    assert told["Q.A"].from_ns == a
    assert a < told["Q.A"].to_ns < world.made["B"][-1] + MARGIN_NS
    assert not world.gaps.watched


def test_what_is_open_at_the_end_is_told(world):
    """Closing the stream during an outage does not hide it, nor orders that it had not come to."""
    a, b = (world.made[ticker][-1] for ticker in "AB")
    world.cut("one")
    world.subscribe("two", "A")
    world.loop.advance(10)
    world.gaps.flush()
    (first, second) = world.told()
    assert (first.from_ns, second.from_ns) == (a, b)
    assert min(first.to_ns, second.to_ns) >= world.now_ns - 20 * MS


def test_a_channel_that_never_ticked_is_missing_since_its_connection_s_last_tick(world):
    """A ticker that trades once a day has lost what the dead socket had not brought, and not more."""
    world.subscribe("one", "C")
    world.loop.advance(500)
    world.make("B")
    world.read("one")
    last = world.made["B"][-1]
    world.cut("one")
    world.subscribe("two", "ABC")
    world.make("C")
    world.read("two")
    world.pipeline.go_on()
    world.gaps.flush()
    assert [each for each in world.told() if each.ticker == "C"] == [gap("C", last - 1, world.made["C"][-1])]


def test_a_gap_of_bars_ends_two_seconds_before_the_confirmation(world):
    """A bar comes two seconds after its end, and may come again: the first after may be one of long ago."""
    world.gaps.ask("one", ["A.A"])
    world.gaps.confirm("one", ["A.A"])
    world.loop.advance(3000)
    first_ms = world.loop.now_ms - 2000
    world.bring("one", [SecondAggregate(ticker="A", event_ms=first_ms, tick_close=1)])
    world.cut("one")
    world.loop.advance(1500)
    world.gaps.begin("two", "feed", ["A.A"], prove=print, is_mute=lambda: False)
    world.gaps.confirm("two", ["A.A"])
    world.loop.advance(500)
    world.bring("two", [SecondAggregate(ticker="A", event_ms=first_ms + 2000, tick_close=1)])
    settle(world)
    (told,) = [each for each in world.told() if each.channel == "A.A"]
    assert told.from_ns == first_ms * MS
    confirmed_ns = (first_ms + 3501) * MS
    assert confirmed_ns - 2e9 <= told.to_ns <= confirmed_ns - 2e9 + MARGIN_NS


def test_bars_that_came_between_two_ends_are_in_no_gap(world):
    """A socket that dies soon after its first bars would have them told as missing, and fetched again."""
    world.gaps.ask("one", ["A.A"])
    world.gaps.confirm("one", ["A.A"])
    world.loop.advance(3000)
    world.bring("one", [SecondAggregate(ticker="A", event_ms=world.loop.now_ms - 2000, tick_close=1)])
    came_ms = []
    for _ in range(3):
        world.cut("one")
        world.loop.advance(3000)
        world.gaps.begin("one", "feed", ["A.A"], prove=print, is_mute=lambda: False)
        world.gaps.confirm("one", ["A.A"])
        for _ in range(3):
            world.loop.advance(500)
            came_ms.append(world.loop.now_ms - 2000)
            world.bring("one", [SecondAggregate(ticker="A", event_ms=came_ms[-1], tick_close=1)])
            world.pipeline.go_on()
    settle(world)
    spans = [each for each in world.told() if each.channel == "A.A"]
    assert len(spans) == 3
    assert not [ms for ms in came_ms for each in spans if each.from_ns < ms * MS < each.to_ns]


@pytest.mark.parametrize("answers", [True, False])
def test_a_gap_ends_with_the_first_of_two_confirmations_if_that_one_lived(world, answers):
    """A return to its home within two seconds must not make a gap longer; a dead first place must."""
    pings = defaultdict(list)
    a = world.made["A"][-1]
    world.cut("one")
    for name in ("two", "three"):
        world.gaps.begin(name, "feed", ["Q.A"], prove=pings[name].append, is_mute=lambda: False)
        world.loop.advance(100 if name == "two" else 1900)
        world.gaps.confirm(name, ["Q.A"])
        world.pipeline.go_on()
    first_ns, second_ns = world.now_ns - 1900 * MS, world.now_ns
    world.loop.advance(150)  # the answer comes when the first has been confirmed for two seconds
    if answers:
        for answer in pings["two"]:
            answer()
        world.pipeline.go_on()
        world.bring("two", [Quote(ticker="B", event_ms=world.loop.now_ms)])
    settle(world)
    settle(world)
    world.gaps.flush()
    told = [each for each in world.told() if each.channel == "Q.A"]
    ends_ns = [first_ns] if answers else [first_ns, second_ns]
    assert [each.from_ns for each in told] == [a, *(each.to_ns for each in told[:-1])]
    assert all(ns <= each.to_ns <= ns + MARGIN_NS for each, ns in zip(told, ends_ns, strict=True))


def test_a_gap_is_told_though_somebody_never_answers_for_its_channel(world):
    """A session that was asked in vain and is silent would hold up what is known, for a minute."""
    world.cut("one")
    world.gaps.begin("three", "feed", ["Q.A"], prove=print, is_mute=lambda: False)
    world.loop.advance(300)
    world.subscribe("two", "A")
    world.loop.advance(300)
    world.gaps.give_back("three", ["Q.A"])
    for _ in range(8):
        settle(world)
    assert [each.channel for each in world.told() if each.ticker == "A"] == ["Q.A"]


def test_what_has_ended_does_not_wait_for_what_is_found_again_and_again(world):
    """A ticker whose new place dies each second would keep what is known of all others from being told."""
    world.cut("one")
    world.subscribe("two", "A")
    world.make("A")
    world.read("two")
    world.gaps.begin("three", "feed", [], prove=print, is_mute=lambda: False)
    for _ in range(10):
        world.gaps.ask("three", ["Q.B"])
        world.gaps.confirm("three", ["Q.B"])
        world.pipeline.go_on()
        world.loop.advance(1000)
        world.gaps.give_back("three", ["Q.B"])
        world.gaps.returned("three", ["Q.B"])
        world.pipeline.go_on()
    assert [each.channel for each in world.told()] == ["Q.A"]


def test_times_beyond_all_times_end_nothing(world):
    """One tick with a nonsense time would hide what is lost, or declare all until doomsday."""
    a = world.made["A"][-1]
    for event_ms in (1e308, -1e308):
        world.bring("one", [Quote(ticker="B", event_ms=event_ms)])
        world.cut("one")
        world.loop.advance(100)
        world.subscribe("one", "AB")
        world.bring("one", [Quote(ticker="A", event_ms=event_ms)])
        world.make("A")
        world.read("one")
        settle(world)
    told = world.told()
    assert {each.ticker for each in told} == {"A", "B"}
    assert told[0].from_ns == a
    assert all(each.to_ns < world.now_ns + MARGIN_NS for each in told)


def test_nothing_is_done_while_all_is_well(world):
    """A stream without trouble pays one test a batch."""
    assert not world.gaps.watched
    world.gaps.end("unknown")
    world.gaps.forget(["Q.unknown"])
    world.pipeline.go_on()
    assert not world.gaps.watched
    world.gaps.flush()
    assert not world.events


def test_a_move_off_a_dead_socket_is_told_and_one_off_a_living_is_not(world):
    """The death is found out when the ticker has long been elsewhere."""
    a = world.made["A"][-1]
    world.gaps.ask("two", [])
    world.gaps.begin("two", "feed", ["Q.A"], prove=world.pings.append, is_mute=lambda: False)
    world.loop.advance(500)
    world.gaps.confirm("two", ["Q.A"])
    world.loop.advance(5)
    world.bring("two", [Quote(ticker="A", event_ms=world.loop.now_ms)])
    first = world.now_ns
    world.gaps.give_back("one", ["Q.A"])
    settle(world)
    assert len(world.pings) == 1, "the old place is asked whether it lives"
    assert not world.losses()
    world.loop.advance(40_000)
    world.cut("one")
    settle(world)
    world.gaps.flush()
    assert gap("A", a, first) in world.told()


def test_an_answer_without_a_tick_proves_nothing_at_the_end_of_the_stream(world):
    """A server that answers pings and sends no ticks would lose for good what it withheld until the close."""
    a = world.made["A"][-1]
    world.gaps.begin("two", "feed", ["Q.A"], prove=print, is_mute=lambda: False)
    world.loop.advance(500)
    world.gaps.confirm("two", ["Q.A"])
    world.bring("two", [Quote(ticker="A", event_ms=world.loop.now_ms)])
    world.pipeline.go_on()
    (answered,) = world.pings
    answered()
    world.pipeline.go_on()
    world.gaps.flush()
    assert gap("A", a, world.now_ns) in world.told()


def test_what_was_given_back_is_known_to_be_gone_though_its_acknowledgement_was_lost(world):
    """Asked for there again its first ticks would pass for the last of before, and hide what was missing."""
    pings = []
    world.gaps.begin("two", "feed", ["Q.A"], prove=pings.append, is_mute=lambda: False)
    world.gaps.confirm("two", ["Q.A"])
    world.bring("two", [Quote(ticker="A", event_ms=world.loop.now_ms)])
    world.pipeline.go_on()
    last = world.now_ns
    world.gaps.give_back("one", ["Q.A"])
    world.pipeline.go_on()
    while world.pings:
        world.pings.pop()()
        world.pipeline.go_on()
    world.loop.advance(4000)
    world.gaps.ask("one", ["Q.A"])  # and the other was half-open meanwhile
    for _ in range(2):
        world.loop.advance(500)
        world.bring("one", [Quote(ticker="A", event_ms=world.loop.now_ms)])
    world.gaps.end("two")
    world.pipeline.go_on()
    world.gaps.flush()
    assert gap("A", last, last + 4500 * MS) in world.told()


def test_a_bar_that_was_sent_first_of_all_is_missing_from_before_its_channel_was_asked_for():
    """Bars are sent two seconds after their end: those of a session's first moments are of before it."""
    world = World()
    world.loop.advance(10_000)
    begun_ns = world.now_ns
    world.gaps.begin("one", "feed", ["A.A"], prove=print, is_mute=lambda: False)
    world.gaps.confirm("one", ["A.A"])
    world.pipeline.go_on()
    world.cut("one")
    world.pipeline.go_on()
    world.gaps.flush()
    (told,) = world.told()
    assert told.from_ns == begun_ns - 2000 * MS


def test_an_answer_and_a_tick_prove_that_the_old_place_lived(world):
    """An ordinary move would have its tickers fetched from another source."""
    world.gaps.begin("two", "feed", ["Q.A"], prove=print, is_mute=lambda: False)
    world.gaps.confirm("two", ["Q.A"])
    world.pipeline.go_on()
    world.gaps.give_back("one", ["Q.A"])
    world.pipeline.go_on()
    (answered,) = world.pings
    answered()
    world.make("B")
    world.read("one")
    settle(world)
    world.gaps.end("one")
    world.pipeline.go_on()
    world.gaps.flush()
    assert [each.channel for each in world.told()] == ["Q.B"]
    assert not world.gaps.watched


@pytest.mark.parametrize("tick", ["EUR/USD", "EUR-USD", "C:EUR-USD"])
@pytest.mark.parametrize("asked", ["EUR/USD", "EUR-USD", "C:EUR/USD"])
def test_a_pair_is_known_by_whatever_spelling(asked, tick):
    """Asked for by one name and coming by another, its gap would begin with the stream."""
    world = World()
    world.subscribe("one", [asked])

    def bring():
        world.loop.advance(1)
        world.bring("one", [Quote(ticker=tick, event_ms=world.loop.now_ms)])
        world.pipeline.go_on()
        return world.loop.now_ms * MS

    before_ns = bring()
    world.loop.advance(50)
    world.cut("one")
    world.loop.advance(50)
    world.subscribe("one", [asked])
    after_ns = bring()
    assert world.told() == [gap(asked, before_ns, after_ns)]


@pytest.mark.parametrize("answered", ["EUR/USD", "EUR-USD", "C:EUR-USD"])
@pytest.mark.parametrize("asked", ["EUR/USD", "EUR-USD", "C:EUR/USD"])
def test_a_pair_is_given_back_by_whatever_spelling(asked, answered):
    """Where it comes back its first tick would count as one of before, and the outage would go untold."""
    world = World()
    world.subscribe("one", [asked])
    channel = f"Q.{asked}"

    def bring(connection):
        world.loop.advance(1)
        world.bring(connection, [Quote(ticker=asked, event_ms=world.loop.now_ms)])
        world.pipeline.go_on()
        return world.loop.now_ms * MS

    bring("one")
    world.gaps.begin("two", "feed", [channel], prove=print, is_mute=lambda: False)
    world.gaps.confirm("two", [channel])
    world.gaps.give_back("one", [channel])
    world.gaps.returned("one", [f"Q.{answered}"])
    before_ns = bring("two")
    world.loop.advance(50)
    world.gaps.end("two")
    world.loop.advance(50)
    world.gaps.ask("one", [channel])
    after_ns = bring("one")
    bring("one")
    world.gaps.confirm("one", [channel])
    settle(world)
    assert world.told() == [gap(asked, before_ns, after_ns)]
