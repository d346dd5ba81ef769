"""A channel that is carried by one after the other while its first tick is waited for: where its gap ends."""

from tests.coverage_world import MS
from tests.properties.test_coverage import begun

T, Q = "T.A", "Q.A"


def _carry(world, name, *channels):
    """Let a session carry channels, and return when it was known, ns."""
    world.begin(name)
    for channel in channels:
        world.ask(name, channel)
    world.answer(name)
    return world.now * MS


def _told_of(world, channel):
    world.wait(2500)
    world.wait(4500)
    world.look()
    return [(a, b) for told, a, b, *_ in world.told if told == channel]


def _prove(world, name):
    world.answer(name)
    world.make(Q)
    world.read(name)


def test_a_gap_ends_where_it_was_carried_from_on_by_one_or_the_other():
    """Each end of a connection soon after a return would add to what is fetched again, for nothing."""
    world = begun((T, Q))
    for name in ("two", "three"):
        world.cut(name)
    last_ns = world.last[T] * MS
    world.cut("one")
    known_ns = _carry(world, "two", T, Q)
    world.wait(300)
    _carry(world, "three", T, Q)
    _prove(world, "two")
    world.cut("two")
    world.wait(300)
    _carry(world, "two")
    _prove(world, "three")
    assert _told_of(world, T) == [(last_ns, known_ns)]


def test_who_gave_a_channel_back_carries_it_no_further():
    """What only a dead socket carried would be believed to have come over the one it was moved from."""
    world = begun((T, Q))
    world.cut("one")
    _carry(world, "two", T, Q)
    world.wait(300)
    _carry(world, "three", T)
    world.half("three")
    world.give_back("two", T)
    world.answer("two")
    world.make(T)
    lost_ms = world.now
    _carry(world, "one")
    _prove(world, "two")
    _prove(world, "one")
    world.cut("three")
    assert any(a < lost_ms * MS < b for a, b in _told_of(world, T))
    assert not world.undeclared()


def test_whoever_carried_a_channel_meanwhile_proves_it():
    """A place that it had for a moment would have it told at that one's end, though another had it all."""
    world = begun((T, Q))
    last_ns = world.last[T] * MS
    world.cut("one")
    known_ns = _carry(world, "two", T, Q)
    world.wait(300)
    _carry(world, "three", T)
    world.wait(300)
    _carry(world, "one")
    assert _told_of(world, T) == [(last_ns, known_ns)]
    world.answer("three")
    _prove(world, "two")
    world.cut("three")
    assert _told_of(world, T) == [(last_ns, known_ns)]
