from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.health.lateness import CONFIRM_LOOKS, LEARNING_LOOKS, Lateness
from pipeline.status import Late, OnTime

MS = 1_000_000
SECOND = 1_000_000_000


class World:
    """Looks once a second at connections that are usually 40 ms late."""

    def __init__(self, *names):
        self.lateness = Lateness()
        self.names = names
        self.now_s = 0.0
        self.at_ns = 0
        self.events = []
        self.told = []
        """Events, and whom each is about."""

    def look(self, times=1, *, queued_bytes=0, **late_ms):
        """Look so many times; of connections not named the lateness is the usual."""
        new = []
        for _ in range(times):
            self.now_s += 1.0
            self.at_ns += SECOND
            floors = {name: int(late_ms.get(name, 40) * MS) for name in self.names}
            floors = {name: floor for name, floor in floors.items() if floor >= -SECOND}
            found = self.lateness.look(floors, now_s=self.now_s, at_ns=self.at_ns, queued_bytes=queued_bytes)
            self.told += [(event, [event.connection] if event.connection else [*floors]) for event in found]
            new += found
        self.events += new
        return new


def test_a_clock_that_is_set_changes_no_time():
    """It had been late for minus an hour."""
    for step_s in (-3600, 3600):
        world = World("a", "b")
        world.look(60)
        world.look(30, b=1200)
        world.at_ns += step_s * SECOND
        (on_time,) = world.look(10)
        assert on_time.late_for_s == 30


NOTHING = -5000
"""Of a connection that brought nothing."""


def test_one_connection_late_by_itself_is_told_once_and_so_is_its_end():
    """Nobody would know that a server is slow on one of three sockets, or the log would be full of it."""
    world = World("a", "b", "c")
    assert not world.look(60)
    assert not world.look(CONFIRM_LOOKS - 1, b=1200), "once may be chance"
    (late,) = world.look(30, b=1200)
    assert (late.connection, late.late_s, late.usually_s, late.others) == ("b", 1.2, 0.04, "on time")
    assert world.lateness.late == ("b",)
    assert not world.look(10, b=200), "half way back is not back"
    (on_time,) = world.look(10)
    assert (on_time.connection, on_time.late_for_s) == ("b", 42.0)
    assert world.lateness.late == ()


def test_all_together_are_one_event():
    """Three lines that each blame a server would hide that it is our own line, or the feed."""
    world = World("a", "b", "c")
    world.look(60)
    world.look(1, a=900)
    (late,) = world.look(5, a=900, b=1000, c=1100)
    assert (late.connection, late.others, late.late_s) == (None, "late", 0.9)
    (on_time,) = world.look(5)
    assert (on_time.connection, on_time.late_for_s) == (None, 6.0)


def test_the_second_to_be_late_is_not_told_as_alone():
    """The operator would look for a slow server where the line is slow for all."""
    world = World("a", "b")
    world.look(60)
    (first,) = world.look(5, a=900)
    (second,) = world.look(5, a=900, b=900)
    assert (first.others, second.connection, second.others) == ("on time", "b", "late")
    assert {event.connection for event in world.look(5)} == {None}


def test_a_single_connection_has_nobody_to_be_compared_with():
    """It would be told that others are on time, of which there are none."""
    world = World("a")
    world.look(20)
    (late,) = world.look(5, a=900, queued_bytes=7)
    assert (late.connection, late.others, late.queued_bytes) == ("a", "none", 7)


def test_what_swings_by_itself_is_not_late():
    """A quiet market in which bars and trades take turns would be reported every minute."""
    world = World("a")
    for second in range(300):
        world.look(a=40 if second % 3 else 700)
    assert not world.events


def test_where_lateness_swings_more_is_allowed():
    """A connection that is 40 ms late one moment and 280 ms the next would be late all day."""
    world = World("a", "b")
    for second in range(60):
        world.look(a=280 if second % 10 < 4 else 40)
    assert not world.look(10, a=500)
    assert world.look(10, b=500)


def test_a_delayed_feed_is_as_good_as_any():
    """Who has the 15 minutes' plan would be told of it all day, or of nothing."""
    world = World("a", "b")
    world.look(60, a=900_000, b=900_000)
    assert not world.events
    (late,) = world.look(5, a=901_000, b=900_000)
    assert (late.connection, late.late_s) == ("a", 901.0)


def test_a_clock_that_is_behind_changes_nothing():
    """Negative lateness would count as on time for ever, or as an error."""
    world = World("a", "b")
    world.look(60, a=-500, b=-500)
    (late,) = world.look(5, a=0, b=-500)
    assert (late.connection, late.usually_s) == ("a", -0.5)


def test_what_has_changed_for_good_becomes_usual():
    """After a change of route or a step of the clock the warning would stand for ever."""
    world = World("a", "b")
    world.look(30)
    world.look(600, a=600)
    kinds = [type(event) for event in world.events]
    assert kinds == [Late, OnTime]


def test_silence_decides_nothing_and_the_end_of_a_session_ends_it():
    """A connection that reconnects would be late for as long as it has no ticks."""
    world = World("a", "b")
    world.look(60)
    world.look(5, a=900)
    assert not world.look(20, a=NOTHING)
    assert world.lateness.late == ("a",)
    world.lateness.forget("a")
    world.lateness.forget("never heard of")
    assert world.lateness.late == ()
    assert not world.look(20)
    assert world.look(5, a=900), "what was usual is still known"


def test_nobody_is_judged_before_anybody_knows_what_is_usual():
    """The first seconds, with all the subscriptions' answers, are no measure of anything."""
    world = World("a", "b")
    assert not world.look(LEARNING_LOOKS, a=3000)
    assert world.lateness.usual_ns("a") == 3 * SECOND
    assert world.lateness.usual_ns("c") is None


anything_ms = st.lists(st.sampled_from([40, 45, 300, 2000, NOTHING]), min_size=3, max_size=3)


@given(steps=st.lists(st.tuples(st.integers(1, 8), anything_ms), max_size=30))
@settings(max_examples=60)
def test_late_and_on_time_take_turns_for_each_connection(steps):
    """A dashboard that goes by the events would show a connection as late for ever, or never."""
    world = World("a", "b", "c")
    world.look(20)
    for times, late_ms in steps:
        world.look(times, **dict(zip("abc", late_ms, strict=True)))
    state = defaultdict(bool)
    for event, whom in world.told:
        for name in whom:
            assert state[name] is not isinstance(event, Late)
            state[name] = isinstance(event, Late)
    assert {name for name, late in state.items() if late} == set(world.lateness.late)


@pytest.mark.parametrize("late_ms", [40, 250, 289])
def test_a_little_late_is_nobodys_concern(late_ms):
    """An alert at three in the morning for 200 ms would be switched off, and the next one too."""
    world = World("a", "b")
    world.look(60)
    assert not world.look(20, a=late_ms)
