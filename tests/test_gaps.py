import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.gaps import SETTLE_S
from pipeline.status import Gap
from pipeline.ticks import Quote, SecondAggregate
from tests.gaps_world import MS, World

SETTLE_MS = int(SETTLE_S * 1000)


@pytest.fixture
def world():
    """Two tickers on one connection, each of which has ticked."""
    world = World()
    world.subscribe("one", ["A", "B"])
    world.make("A")
    world.make("B")
    world.read("one")
    world.pipeline.go_on()
    return world


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
)


@settings(max_examples=400)
@given(st.lists(STEPS, min_size=5, max_size=60), st.booleans())
def test_the_gaps_cover_exactly_what_is_missing(steps, in_peace):
    """Whoever fills the gaps from another source fetches all that is missing, and nothing twice."""
    world = World()
    world.subscribe("one", "ABC")
    moves = {"advance": world.loop.advance, "go_on": world.pipeline.go_on}
    for name, *arguments in steps:
        (moves.get(name) or getattr(world, name))(*arguments)
    if in_peace:
        world.subscribe("two", "ABCD")
        for _ in range(2):
            world.loop.advance(SETTLE_MS + 1)
            world.pipeline.go_on()
        assert not world.gaps.watching, "it watches for ever, which costs every batch"
    for connection in ("one", "two"):
        world.read(connection)
    world.pipeline.go_on()
    world.loop.advance(1)
    world.gaps.flush()
    for ticker in "ABCD":
        gaps = [gap for gap in world.told() if gap.ticker == ticker]
        for event_ns in world.made[ticker]:
            inside = any(gap.from_ns < event_ns < gap.to_ns for gap in gaps)
            assert inside != (event_ns in world.delivered[ticker])
    for loss in world.losses():
        assert loss.tickers == tuple(gap.ticker for gap in loss.gaps)
        assert (loss.from_ns, loss.to_ns) == (
            min(gap.from_ns for gap in loss.gaps),
            max(gap.to_ns for gap in loss.gaps),
        )
    assert not world.gaps.watching


def test_an_outage_is_one_event(world):
    """A status subscriber, and a phone, hear of a dead socket once, with each ticker's own span."""
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
    assert loss.gaps == (Gap("A", a, world.made["A"][-1]), Gap("B", b, world.made["B"][-1]))
    assert (loss.connection, loss.where, loss.reason, loss.count) == ("one", "feed", "disconnected", None)
    assert (loss.from_ns, loss.to_ns, loss.tickers) == (a, world.made["B"][-1], ("A", "B"))
    assert not world.gaps.watching


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
    assert world.told()[0] == Gap("A", waiting, world.made["A"][-1])


def test_a_quiet_ticker_s_gap_ends_with_its_confirmation(world):
    """A ticker that trades once an hour is not reported as missing for an hour; nor is it never told."""
    b = world.made["B"][-1]
    world.cut("one")
    world.subscribe("two", "AB")
    confirmed = world.loop.now_ms * MS
    world.make("A")
    world.read("two")
    world.pipeline.go_on()
    world.loop.advance(SETTLE_MS - 3)
    world.pipeline.go_on()
    assert not world.losses()
    world.loop.advance(1)
    world.pipeline.go_on()
    (loss,) = world.losses()
    assert loss.gaps[1] == Gap("B", b, confirmed)
    assert not world.gaps.watching


def test_a_backlog_does_not_make_a_ticker_quiet(world):
    """A pipeline that is seconds behind still finds the first tick after: it goes by when it was received."""
    world.cut("one")
    world.subscribe("two", "AB")
    world.make("A")
    world.make("B")
    world.read("two")
    world.loop.advance(3 * SETTLE_MS)
    world.pipeline.go_on()
    assert [gap.to_ns for gap in world.told()] == [world.made["A"][-1], world.made["B"][-1]]


def test_a_stream_of_others_shows_that_a_ticker_stays_quiet(world):
    """Where the pipeline is never idle its batches tell the time."""
    world.cut("one")
    world.subscribe("two", "AB")
    confirmed = world.loop.now_ms * MS
    world.pipeline.queue.clear()
    world.loop.now_ms += SETTLE_MS  # no timer fires
    world.bring("three", [])
    world.pipeline.go_on()
    assert not world.losses(), "its first tick may still come"
    world.loop.now_ms += 1
    world.bring("three", [])
    world.pipeline.go_on()
    assert [gap.to_ns for gap in world.told()] == [confirmed] * 2


def test_tickers_that_find_no_place_do_not_hold_up_the_others(world):
    """One refused channel of 500 must not keep the other gaps from being told."""
    world.cut("one")
    world.subscribe("two", "A")
    world.make("A")
    world.read("two")
    world.loop.advance(SETTLE_MS + 1)
    world.pipeline.go_on()
    assert [loss.tickers for loss in world.losses()] == [("A",)]
    world.subscribe("three", "B")
    world.make("B")
    world.read("three")
    world.pipeline.go_on()
    assert [loss.tickers for loss in world.losses()] == [("A",), ("B",)]


def test_confirmations_in_portions_are_one_event(world):
    """500 channels a request: what a first portion cost waits for the last, if that is soon confirmed."""
    world.cut("one")
    world.subscribe("two", "A")
    world.make("A")
    world.read("two")
    world.loop.advance(SETTLE_MS - 100)
    world.subscribe("three", "B")
    world.loop.advance(200)
    world.pipeline.go_on()
    assert not world.losses()
    world.make("B")
    world.read("three")
    world.pipeline.go_on()
    assert [loss.tickers for loss in world.losses()] == [("A", "B")]


def test_the_first_confirmation_counts(world):
    """A connection confirms what it carries more than once; nothing is missing after the first time."""
    world.cut("one")
    world.gaps.close("two", ["A"], 1)  # it was not lost with this one
    world.subscribe("two", "AB")
    confirmed = world.loop.now_ms * MS
    world.loop.advance(100)
    world.gaps.close("one", ["A", "B"], world.loop.now_ms * MS)
    for _ in range(2):
        world.loop.advance(SETTLE_MS - 50)
        world.pipeline.go_on()
    assert [gap.to_ns for gap in world.told()] == [confirmed] * 2


def test_a_late_pipeline_tells_the_same(world):
    """What is told does not depend on how fast the machine is."""
    a = world.made["A"][-1]
    world.cut("one")
    world.subscribe("two", "A")
    confirmed = world.loop.now_ms * MS
    world.loop.advance(2 * SETTLE_MS)
    world.cut("two")
    world.subscribe("one", "A")
    world.make("A")
    world.pipeline.queue.clear()  # the look at the right time
    world.read("one")
    world.pipeline.go_on()
    assert [(gap.from_ns, gap.to_ns) for gap in world.told()] == [(a, confirmed), (a, world.made["A"][-1])]


def test_a_feed_whose_clock_is_ahead_makes_no_gap_that_ends_before_it_begins(world):
    """Clocks disagree by some ms; a REST query with from after to is an error."""
    ahead_ms = world.loop.now_ms + 60_000
    world.bring("one", [Quote(ticker="A", event_ms=ahead_ms)])
    world.cut("one")
    world.subscribe("two", "AB")
    world.loop.advance(2 * SETTLE_MS)
    world.pipeline.go_on()
    assert Gap("A", ahead_ms * MS, ahead_ms * MS) in world.told()


def test_a_time_beyond_all_times_ends_nothing(world):
    """One tick with a nonsense time would end the stream when its connection is lost, or is back."""
    for event_ms in (1e308, -1e308):
        world.bring("one", [Quote(ticker="A", event_ms=event_ms)])
        world.cut("one")
        world.bring("one", [Quote(ticker="B", event_ms=event_ms)])
        world.subscribe("one", "AB")
        world.loop.advance(2 * SETTLE_MS)
        world.pipeline.go_on()
    assert {gap.ticker for gap in world.told()} == {"A", "B"}


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
    assert not world.gaps.watching


def test_removed_tickers_are_not_missed(world):
    """Whoever removes a ticker during an outage is not told of it for ever."""
    world.cut("one")
    world.gaps.forget(["A", "unknown"])
    world.subscribe("two", "B")
    world.make("B")
    world.read("two")
    world.pipeline.go_on()
    assert [loss.tickers for loss in world.losses()] == [("B",)]
    assert not world.gaps.watching


def test_what_is_open_at_the_end_is_told(world):
    """Closing the stream during an outage does not hide it."""
    a, b = (world.made[ticker][-1] for ticker in "AB")
    world.cut("one")
    world.subscribe("two", "A")
    confirmed = world.loop.now_ms * MS
    world.loop.advance(10)
    world.gaps.flush()
    assert world.told() == [Gap("A", a, confirmed), Gap("B", b, world.loop.now_ms * MS)]


def test_a_ticker_that_never_ticked_is_missing_since_its_connection_s_last_tick(world):
    """A ticker subscribed a moment ago has lost what the dead socket had not brought, and not more."""
    last = world.made["B"][-1]
    world.subscribe("one", "C")
    world.cut("one")
    world.subscribe("two", "ABC")
    world.make("C")
    world.read("two")
    world.pipeline.go_on()
    world.gaps.flush()
    assert [gap for gap in world.told() if gap.ticker == "C"] == [Gap("C", last, world.made["C"][-1])]


def test_a_bar_does_not_end_a_gap_before_it_was_sent(world):
    """A bar ends at a full second and comes later: trades in between are missing too."""
    world.cut("one")
    world.loop.advance(500)
    world.subscribe("two", "AB")
    confirmed = world.loop.now_ms * MS
    end_ms = world.loop.now_ms - 100
    world.loop.advance(50)
    world.bring("two", [SecondAggregate(ticker="A", event_ms=end_ms, tick_close=1)])
    world.pipeline.go_on()
    world.gaps.flush()
    assert next(gap for gap in world.told() if gap.ticker == "A").to_ns == confirmed


def test_nothing_is_done_while_all_is_well(world):
    """A stream without trouble pays one test a batch, and confirmations of a start cost nothing."""
    world.gaps.open("one", [], 0)
    world.gaps.close("one", ["A"], 0)
    world.gaps.forget(["A"])
    assert not world.gaps.watching
    world.gaps.flush()
    assert not world.events


class WholeMarket(World):
    """A feed of which one connection at a time has all symbols, and one may have some by name."""

    def make(self, ticker):
        self.loop.advance(1)
        if {ticker, "*"} & (self.on.keys() | self.lost_with.keys()):
            self.made[ticker].append(self.loop.now_ms * MS)
        for connection in {self.on[name] for name in (ticker, "*") if name in self.on}:
            self.flying[connection].append(Quote(ticker=ticker, event_ms=self.loop.now_ms))

    def subscribe(self, connection, tickers):
        # What was lost by name comes over the wildcard, too.
        super().subscribe(connection, [*tickers, *self.lost_with] if "*" in tickers else tickers)

    def cut(self, connection):
        if self.on.get("*", connection) == connection:
            super().cut(connection)
        else:  # what it had by name goes on over the wildcard, and so is no loss
            self.flying[connection].clear()
            self.on = {ticker: its for ticker, its in self.on.items() if its != connection}


MARKET_STEPS = st.one_of(
    st.tuples(st.just("make"), TICKERS),
    st.tuples(st.just("make"), TICKERS),
    st.tuples(st.just("read"), CONNECTIONS),
    st.tuples(st.just("cut"), CONNECTIONS),
    st.tuples(st.just("subscribe"), CONNECTIONS, st.sets(st.sampled_from("*A"), min_size=1)),
    st.tuples(st.just("advance"), st.integers(1, 2 * SETTLE_MS)),
    st.tuples(st.just("go_on"), st.integers(1, 10)),
)


@settings(max_examples=300)
@given(st.lists(MARKET_STEPS, min_size=5, max_size=60), st.booleans())
def test_what_is_missing_of_all_symbols_lies_in_the_wildcard_s_gaps(steps, in_peace):
    """A lost connection that carried everything would be no loss of anything, or one without an end."""
    world = WholeMarket()
    world.subscribe("one", "*")
    moves = {"advance": world.loop.advance, "go_on": world.pipeline.go_on}
    for name, *arguments in steps:
        (moves.get(name) or getattr(world, name))(*arguments)
    if in_peace:
        world.subscribe("two", "*A")
        for _ in range(2):
            world.loop.advance(SETTLE_MS + 1)
            world.pipeline.go_on()
        assert not world.gaps.watching, "it watches for ever, which costs every batch"
    for connection in ("one", "two"):
        world.read(connection)
    world.pipeline.go_on()
    world.loop.advance(1)
    world.gaps.flush()
    for ticker in "ABCD":
        gaps = [gap for gap in world.told() if gap.ticker in {ticker, "*"}]
        for event_ns in set(world.made[ticker]) - set(world.delivered[ticker]):
            assert any(gap.from_ns < event_ns < gap.to_ns for gap in gaps)
    assert not world.gaps.watching


def test_a_wildcard_s_gap_ends_with_its_confirmation_though_others_tick():
    """A ticker that goes on over another socket would end the gap of all the others."""
    world = WholeMarket()
    world.subscribe("one", "*")
    world.subscribe("two", "A")
    for ticker in "ABA":
        world.make(ticker)
    last_ns = world.made["A"][-1]
    world.read("one")
    world.cut("one")
    for _ in range(3):
        world.make("A")
        world.read("two")
    world.pipeline.go_on()
    assert not world.losses()
    world.make("B")
    world.subscribe("two", "*")
    confirmed_ns = world.loop.now_ms * MS
    world.make("C")
    world.read("two")
    world.pipeline.go_on()
    (loss,) = world.losses()
    assert (loss.connection, loss.tickers) == ("one", ("*",))
    ((gap),) = loss.gaps
    assert gap.from_ns == last_ns - 1, "another may have ticked in the same ms"
    assert confirmed_ns <= gap.to_ns <= world.made["C"][-1]
    assert not world.gaps.watching


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
    assert world.told() == [Gap(asked, before_ns, after_ns)]
