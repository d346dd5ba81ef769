import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.health.backlog import Backlogs, Flow
from pipeline.status import CaughtUp, FallingBehind

MB = 1_000_000
SECOND = 1_000_000_000


class World:
    """Looks once a second."""

    def __init__(self, server_bytes=None):
        self.backlogs = Backlogs(100 * MB, server_bytes)
        self.now_s = 0.0
        self.wrong_s = 0
        self.events = []

    def look(self, floor_s=None, queued_bytes=0, bytes_per_s=1 * MB):
        """Look once at one connection and at what waits here."""
        self.now_s += 1
        flows = {} if floor_s is None else {"a": Flow(int(floor_s * SECOND), bytes_per_s)}
        at_ns = int((self.now_s + self.wrong_s) * SECOND)
        new = self.backlogs.look(flows, {None: queued_bytes}, now_s=self.now_s, at_ns=at_ns)
        self.events += new
        return new


def test_a_clock_that_is_set_changes_no_time():
    """It had been behind for minus an hour."""
    for step_s in (-3600, 3600):
        world = World()
        for second in range(20):
            world.look(queued_bytes=second * 4 * MB)
        begun_s, world.wrong_s = world.now_s, step_s
        (over,) = world.look(queued_bytes=0)
        assert 0 < over.behind_for_s <= begun_s + 1


def test_a_backlog_at_the_server_is_told_with_the_time_that_is_left():
    """The first that anybody hears of it is the cut, with all that the server had kept lost."""
    world = World(server_bytes=20 * MB)
    for _ in range(20):
        assert not world.look(0.05)
    for second in range(1, 10):  # of 2 MB a second we take 1
        world.look(0.05 + 0.5 * second)
    (event,) = world.events
    assert (event.connection, event.where, event.queued_bytes) == ("a", "server", 0)
    behind_s = event.backlog_s
    assert behind_s == pytest.approx(2.0)
    # It keeps 2 MB/s x behind_s and has room for 1 MB/s more.
    assert event.overflow_in_s == pytest.approx((20 - 2 * behind_s) / 1, rel=0.05)
    assert world.backlogs.behind == ("a",)


def test_where_nobody_knows_the_servers_limit_none_is_invented():
    """A time that is made up is worse than none."""
    world = World()
    for second in range(10):
        world.look(0.5 * second)
    assert [event.overflow_in_s for event in world.events] == [None]


def test_it_is_over_when_it_shrinks_or_stands_still():
    """The warning would stand while the backlog has long been read."""
    for later in ([3.0 - 0.5 * n for n in range(7)], [5.0] * 12):
        world = World()
        for second in range(11):
            world.look(0.5 * second)
        for floor_s in later:
            world.look(floor_s)
        began, ended = world.events
        assert isinstance(began, FallingBehind)
        assert isinstance(ended, CaughtUp)
        assert ended.behind_for_s > 0
        assert world.backlogs.behind == ()


def test_a_swing_or_a_step_is_no_backlog():
    """A single late second, or a clock that was set, would be reported as the end."""
    world = World()
    for second in range(100):
        world.look(0.05 if second % 4 else 1.5)
    for _ in range(50):
        world.look(3.0)
    assert not world.events


def test_a_session_begins_without_a_backlog():
    """After the cut the new session would still be called behind."""
    world = World()
    for second in range(10):
        world.look(0.5 * second)
    world.backlogs.forget("a")
    assert world.backlogs.behind == ()
    for _ in range(20):
        assert not world.look(0.05)


def test_what_waits_here_is_told_before_it_is_dropped():
    """The first that anybody hears of a slow callback under block is the loss."""
    world = World()
    for second in range(10):
        world.look(queued_bytes=second * 4 * MB)
    (event,) = world.events
    assert (event.where, event.connection, event.queued_bytes) == ("ingest", None, 12 * MB)
    assert event.overflow_in_s == pytest.approx(22, rel=0.01)
    assert world.backlogs.behind == ("ingest",)
    for queued_bytes in (50 * MB, 50 * MB, 50 * MB, 6 * MB):
        assert not world.look(queued_bytes=queued_bytes), "it is still there"
    (over,) = world.look(queued_bytes=4 * MB)
    assert (over.where, over.connection) == ("ingest", None)


def test_a_backlog_of_less_than_half_a_second_comes_and_goes():
    """Each burst of an opening market would be the announcement of a cut."""
    world = World(server_bytes=20 * MB)
    for second in range(9):
        world.look(0.05 + 0.06 * second)
    assert not world.events


def test_a_small_queue_and_a_slow_one_are_no_concern():
    """Each burst would be reported."""
    world = World()
    for second in range(40):
        world.look(queued_bytes=second * MB // 5)
    world = World()
    for second in range(5):  # it would be full in half a minute, but it has not even begun to fill
        world.look(queued_bytes=2 * second * MB)
    assert not world.events
    world = World()
    for second in range(200):
        world.look(queued_bytes=20 * MB + second * 1000)
    assert not world.events


@given(
    floors=st.lists(st.floats(-1, 20), max_size=80),
    queues=st.lists(st.integers(0, 100 * MB), min_size=80, max_size=80),
    server_bytes=st.none() | st.integers(1, 50 * MB),
)
@settings(max_examples=60)
def test_whatever_comes_each_warning_has_one_end_and_a_time_that_can_be(floors, queues, server_bytes):
    """A dashboard would count down below zero, or show two backlogs where there is one."""
    world = World(server_bytes)
    open_ones = set()
    for floor_s, queued_bytes in zip(floors, queues, strict=False):
        for event in world.look(floor_s, queued_bytes):
            if isinstance(event, FallingBehind):
                assert event.where not in open_ones
                assert event.overflow_in_s is None or event.overflow_in_s >= 0
                open_ones.add(event.where)
            else:
                open_ones.remove(event.where)
    assert len(world.backlogs.behind) == len(open_ones)
