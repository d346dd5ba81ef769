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
