import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.histogram import LatencyHistogram
from pipeline.health import clock_offset
from pipeline.health.clock_offset import RANK, WINDOW_LOOKS, ClockOffset, kernel_error_ms

MS = 1_000_000


def brought(*late_ms):
    """Return a histogram of so many ticks."""
    histogram = LatencyHistogram()
    for late in late_ms:
        histogram.record(int(late * MS))
    return histogram.snapshot()


@given(
    ahead_ms=st.integers(-5000, 5000),
    ways_ms=st.lists(st.lists(st.integers(1, 3000), max_size=8), min_size=1, max_size=5),
)
@settings(max_examples=60)
def test_the_clock_is_never_further_ahead_than_told(ahead_ms, ways_ms):
    """Who sets the clock by it would set it wrong: each way takes time, and nobody knows how much."""
    offset = ClockOffset()
    for ways in ways_ms:
        offset.look([brought(*(ahead_ms + way for way in ways))])
    values = offset.values()
    ticks = sum(map(len, ways_ms))
    assert values["ticks"] == ticks
    assert values["negative"] == sum(ahead_ms + way < 0 for ways in ways_ms for way in ways)
    enough = [ways for ways in ways_ms if len(ways) >= RANK]
    if enough:
        least = min(ahead_ms + sorted(ways)[RANK - 1] for ways in enough)
        assert values["offset_at_most_ms"] == pytest.approx(least, rel=0.032, abs=1e-6)
    else:
        assert values["offset_at_most_ms"] is None


def test_the_fastest_connection_decides_and_the_last_minute():
    """A clock that was set right would be called wrong for the rest of the day."""
    offset = ClockOffset()
    offset.look([brought(-900, -900, -900), brought(40, 40, 40)])
    assert offset.values()["offset_at_most_ms"] == pytest.approx(-900, rel=0.032)
    for _ in range(WINDOW_LOOKS):
        offset.look([brought(40, 41, 42)])
    assert offset.values()["offset_at_most_ms"] == pytest.approx(42, rel=0.032)
    assert offset.values()["negative"] == 0


def test_a_single_event_from_another_age_proves_nothing():
    """One exchange that sends the time of tomorrow would put our clock a day back."""
    offset = ClockOffset()
    offset.look([brought(-86_400_000, -86_400_000, *[40] * 50)])
    assert offset.values()["offset_at_most_ms"] == pytest.approx(40, rel=0.032)


class Kernel:
    """Stands for the C library."""

    def __init__(self, state, max_error_us):
        self._state = state
        self._max_error_us = max_error_us

    def adjtimex(self, timex):
        timex._obj.maxerror_us = self._max_error_us
        return self._state


@pytest.mark.parametrize(
    ("state", "known"), [(0, 1.5), (4, 1.5), (clock_offset._NOT_SYNCHRONIZED, None), (-1, None)]
)
def test_the_kernels_word_counts_only_where_something_disciplines_the_clock(monkeypatch, state, known):
    """A machine without NTP would be told to be right to the millisecond."""
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(clock_offset, "_libc", lambda: Kernel(state, 1500))
    assert kernel_error_ms() == known


def test_elsewhere_nothing_is_known_and_nothing_fails(monkeypatch):
    """Health would fail on a Mac, or where the C library has no such call."""
    kernel_error_ms()  # whatever it is here
    monkeypatch.setattr(clock_offset, "_libc", object)
    assert kernel_error_ms() is None
    monkeypatch.setattr(clock_offset.platform, "system", lambda: "Darwin")
    assert kernel_error_ms() is None
