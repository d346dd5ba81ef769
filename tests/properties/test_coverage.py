import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.coverage_world import CoverageWorld

NAMES = ("one", "two", "three")
CHANNELS = ("T.A", "Q.A", "T.B")
NAME, CHANNEL = st.sampled_from(NAMES), st.sampled_from(CHANNELS)
STEPS = st.one_of(
    *[st.tuples(st.just("make"), CHANNEL)] * 4,
    *[st.tuples(st.just("read"), NAME, st.integers(1, 4))] * 3,
    *[st.tuples(st.just("serve"), NAME)] * 3,
    st.tuples(st.just("answer"), NAME),
    st.tuples(st.just("serve_badly"), NAME, st.booleans(), st.booleans()),
    st.tuples(st.just("ask"), NAME, CHANNEL),
    st.tuples(st.just("ask"), NAME, CHANNEL),
    st.tuples(st.just("give_back"), NAME, CHANNEL),
    st.tuples(st.just("begin"), NAME),
    st.tuples(st.just("cut"), NAME),
    st.tuples(st.just("half"), NAME),
    st.tuples(st.just("mute"), NAME),
    st.tuples(st.just("renew"), NAME),
    st.tuples(st.just("forget"), CHANNEL),
    st.tuples(st.just("wait"), st.integers(1, 3000)),
)


def play(world, steps):
    """Let these happen."""
    for name, *arguments in steps:
        getattr(world, name)(*arguments)


def begun(channels=CHANNELS, **more):
    """Return a world in which each channel flows over the first connection."""
    world = CoverageWorld(**more)
    for name in NAMES:
        world.begin(name)
    for channel in channels:
        world.ask("one", channel)
        world.serve("one")
        world.read("one")
        world.make(channel.replace("*", "A"))
        world.read("one")
    return world


@settings(max_examples=800, deadline=None)
@given(st.lists(STEPS, min_size=5, max_size=80))
def test_what_is_missing_is_told_once_and_nothing_else(steps):
    """Whoever fills the gaps from a REST history would miss ticks, or fetch what was delivered."""
    world = begun()
    play(world, steps)
    world.quiet(NAMES, CHANNELS)
    world.coverage.flush()
    assert not world.undeclared()
    assert not world.inside()
    assert not world.coverage.has_spans


HEALTHY = st.one_of(
    *[st.tuples(st.just("make"), CHANNEL)] * 3,
    st.tuples(st.just("move"), NAME, CHANNEL),
    st.tuples(st.just("read"), NAME, st.integers(1, 4)),
    st.tuples(st.just("serve"), NAME),
    st.tuples(st.just("wait"), st.integers(1, 3000)),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(HEALTHY, min_size=5, max_size=40))
def test_moves_between_healthy_connections_tell_nothing(steps):
    """A rebalance would have every ticker that moved fetched from a REST history, for nothing."""
    world = begun()
    for name, *arguments in steps:
        getattr(world, name)(*arguments)
    world.settle_moves()
    world.quiet(NAMES, CHANNELS)
    world.coverage.flush()
    assert not world.told


STARS = ("T.*", "Q.*", "T.A", "Q.B")
SYMBOLS = st.sampled_from(["T.A", "T.B", "Q.A", "Q.B"])
STAR = st.sampled_from(STARS)
STAR_STEPS = st.one_of(
    *[st.tuples(st.just("make"), SYMBOLS)] * 4,
    *[st.tuples(st.just("read"), NAME, st.integers(1, 4))] * 3,
    *[st.tuples(st.just("serve"), NAME)] * 3,
    st.tuples(st.just("ask"), NAME, STAR),
    st.tuples(st.just("give_back"), NAME, STAR),
    st.tuples(st.just("begin"), NAME),
    st.tuples(st.just("cut"), NAME),
    st.tuples(st.just("half"), NAME),
    st.tuples(st.just("mute"), NAME),
    st.tuples(st.just("wait"), st.integers(1, 3000)),
)


@settings(max_examples=500, deadline=None)
@given(st.lists(STAR_STEPS, min_size=5, max_size=60), st.booleans())
def test_what_is_missing_of_all_symbols_lies_in_a_span(steps, apart):
    """Whoever takes a whole market would lose what no channel names."""
    world = begun(STARS, feeds={"three": "another"} if apart else {})
    play(world, steps)
    world.quiet(NAMES, ("T.A", "T.B", "Q.A", "Q.B"))
    world.coverage.flush()
    assert not world.undeclared()
    assert not world.coverage.has_spans


def handed_over(how):
    """Return a world with an outage, in which an unconfirmed carrier's tick comes when it gives back."""
    world = begun(("T.A",))
    world.cut("one")
    world.ask("two", "T.A")
    world.serve("two", lost=True)
    if how == "moved":
        world.ask("three", "T.A")
        world.answer("three")
    world.make("T.A")
    at_ns = world.made["T.A"][-1] * 1_000_000
    world.forget("T.A") if how == "forgotten" else world.give_back("two", "T.A")
    world.read("two")
    return world, at_ns


@pytest.mark.parametrize("how", ["moved", "forgotten"])
def test_who_brings_a_tick_carries_its_channel_until_it_gives_it_back(how):
    """A gap was told from the last tick of the old place to where the new one had begun long before."""
    world, at_ns = handed_over(how)
    world.answer("two")
    world.wait(5000)
    world.coverage.flush()
    assert [to_ns for _, _, to_ns, *_ in world.told] == [at_ns]


@pytest.mark.parametrize("how", ["forgotten", "given back"])
def test_what_a_place_that_gives_back_did_not_live_to_bring_is_told(how):
    """Its death is all that is known of the time after its last tick."""
    world, at_ns = handed_over(how)
    world.make("T.A")
    world.cut("two")
    world.wait(5000)
    world.coverage.flush()
    assert [from_ns for _, from_ns, *_ in world.told][1:] == [at_ns]


def test_no_span_without_a_time_is_told():
    """The last tick of the old place came when the new one had begun: nothing can be missing."""
    world = begun(("T.A",))
    world.ask("two", "T.A")
    world.answer("two")
    world.make("T.A")
    world.read("one")
    world.cut("one")
    world.wait(5000)
    world.coverage.flush()
    assert not world.told
