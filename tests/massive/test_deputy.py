import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.massive.deputy import DEBT_S, FREE_S, MOST_DEBT_S, PART, Deputy


class Loop:
    """Counts who asks for what."""

    def __init__(self):
        self.led = self.stepped_in = self.recalled = 0

    def lead(self, until):
        self.led += 1

    def step_in(self):
        self.stepped_in += 1

    def recall(self):
        self.recalled += 1


class Rig:
    """A deputy whose callback takes as long as told, in virtual time."""

    def __init__(self):
        self.now_s = 100.0
        self.loop = Loop()
        self.deputy = Deputy(lambda: self.loop, lambda: self.now_s)

    def turn(self, busy_s, idle_s=0.0):
        """Let it lead, if it may, and then call back; return whether it led."""
        led = self.loop.led
        self.deputy.lend(lambda: True)
        self.now_s += idle_s
        self.deputy.begin()
        self.now_s += busy_s
        return self.loop.led > led


@pytest.fixture
def rig():
    """Nothing has come yet."""
    return Rig()


def test_a_quick_callback_leads_for_ever(rig):
    """Whatever the time between two ticks: waiting for a socket is no delay of it."""
    assert all(rig.turn(FREE_S * 0.99, idle_s=5.0) for _ in range(1000))
    assert rig.loop.stepped_in == 0


def test_one_long_pause_is_forgiven_later(rig):
    """A garbage collection must not cost the low latency of the rest of the day."""
    assert rig.turn(FREE_S + 2 * DEBT_S)
    assert not rig.turn(0)
    assert rig.loop.stepped_in == 1, "the loop's own thread leads at once, not at its next look"
    rig.now_s += DEBT_S / PART * 1.01
    assert rig.turn(0)


def test_the_debt_has_an_end(rig):
    """A callback that hung for an hour must not be punished for the rest of the day."""
    rig.turn(3600)
    assert not rig.turn(0)
    rig.now_s += MOST_DEBT_S / PART
    assert rig.turn(0)


@given(st.lists(st.tuples(st.floats(0, 0.5), st.floats(0, 0.1)), min_size=1, max_size=200))
def test_sockets_wait_a_small_part_of_the_time(turns):
    """Whatever the callback does, other subscribers and Massive must hardly feel it."""
    rig, waited_s, worst_s = Rig(), 0.0, 0.0
    for busy_s, idle_s in turns:
        if rig.turn(busy_s, idle_s):
            late_s = max(0.0, busy_s - FREE_S)
            waited_s += min(late_s, MOST_DEBT_S)
            worst_s = max(worst_s, late_s)
    passed_s = rig.now_s - 100
    assert waited_s <= PART * passed_s + DEBT_S + min(worst_s, MOST_DEBT_S) + 1e-6


def test_without_a_loop_it_does_nothing():
    """A subscriber may wait before the stream runs, and after it has ended."""
    deputy = Deputy(lambda: None, lambda: 0.0)
    deputy.lend(lambda: False)
    deputy.begin()
    deputy.recall()


def test_a_recall_reaches_the_loop(rig):
    """What is scheduled for the subscriber must not wait for the next tick."""
    rig.deputy.recall()
    assert rig.loop.recalled == 1
