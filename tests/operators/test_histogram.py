import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.histogram import LatencyHistogram, edge_at

HOUR_NS = 3600 * 10**9


def _of(*values):
    histogram = LatencyHistogram()
    for value in values:
        histogram.record(value)
    return histogram.snapshot()


def test_without_values_all_is_zero():
    """A connection that brought nothing has no latency, and the table must not divide by it."""
    empty = LatencyHistogram().snapshot()
    assert (empty.count, empty.mean, empty.max, empty.percentile(50), empty.negative) == (0, 0, 0, 0, 0)
    assert empty - empty == empty
    assert empty + empty == empty


def test_small_values_are_exact():
    """Below 64 ns each value has its own bucket."""
    snapshot = _of(*range(64))
    assert [snapshot.percentile(100 * (value + 1) / 64) for value in range(64)] == list(range(64))


def test_negative_values_are_counted_apart():
    """A feed whose clock is ahead shows as such, not as a latency of zero."""
    snapshot = _of(-1, -(10**12), 5)
    assert (snapshot.negative, snapshot.count, snapshot.max, snapshot.mean) == (2, 1, 5, 5)


@given(
    st.lists(st.integers(-(2**41), 2**41), max_size=20),
    st.lists(st.integers(-(2**41), 2**41), max_size=20),
    st.integers(1, 5),
)
def test_the_smallest_are_known_negative_ones_too(before, values, rank):
    """Nobody could tell by how much the clock of the machine is wrong, or that it was, and is right again."""
    histogram = LatencyHistogram()
    for value in before:
        histogram.record(value)
    earlier = histogram.snapshot()
    for value in values:
        histogram.record(value)
    window = histogram.snapshot() - earlier
    if len(values) < rank:
        assert window.smallest(rank) is None
    else:
        right = sorted(values)[rank - 1]
        assert abs(right) * 0.96 - 1 <= abs(window.smallest(rank)) <= abs(right)
        assert window.smallest(rank) * right >= 0
    assert sum(window.below_zero.values()) == window.negative == sum(value < 0 for value in values)
    both = earlier + window
    assert both.smallest(rank) == histogram.snapshot().smallest(rank)


def test_moments_ahead_of_the_clock_are_told_from_one_another():
    """A large read would count how many ticks came before they happened, and not by how much."""
    histogram = LatencyHistogram()
    histogram.record_since([1000.0, 1250, 1500, 1e308], 1_000_000_000, 8)
    snapshot = histogram.snapshot()
    assert snapshot.negative == 24
    assert snapshot.smallest() == -(2**42)
    assert snapshot.smallest(9) == pytest.approx(-500_000_000, rel=0.032)
    assert snapshot.smallest(17) == pytest.approx(-250_000_000, rel=0.032)


def test_values_beyond_the_range_keep_their_maximum():
    """A replay of an old day is years late; the figures say so instead of 73 minutes."""
    decade_ns = 10 * 365 * 24 * HOUR_NS
    snapshot = _of(decade_ns, decade_ns - 5)
    assert (snapshot.max, snapshot.percentile(50), snapshot.count) == (decade_ns, decade_ns, 2)


def test_a_count_weighs():
    """A batch of a hundred ticks counts for a hundred."""
    histogram = LatencyHistogram()
    histogram.record(10, 99)
    histogram.record(50)
    snapshot = histogram.snapshot()
    assert (snapshot.count, snapshot.mean, snapshot.percentile(99), snapshot.percentile(100)) == (
        100,
        10.4,
        10,
        50,
    )


def test_a_window_is_a_difference():
    """The live table shows the last seconds, not the day."""
    histogram = LatencyHistogram()
    histogram.record(HOUR_NS)
    histogram.record(-1)
    earlier = histogram.snapshot()
    histogram.record(1000)
    window = histogram.snapshot() - earlier
    assert (window.count, window.negative, window.mean) == (1, 0, 1000)
    assert window.percentile(99) == pytest.approx(1000, rel=0.016)
    assert window.max == pytest.approx(1000, rel=0.032)
    assert (histogram.snapshot() - histogram.snapshot()).max == 0


def test_the_largest_of_a_window_is_exact_if_it_is_the_largest_ever():
    """A new record of lateness is told as it is, also beyond the range."""
    histogram = LatencyHistogram()
    histogram.record(10)
    earlier = histogram.snapshot()
    histogram.record(123_456_789)
    assert (histogram.snapshot() - earlier).max == 123_456_789
    earlier = histogram.snapshot()
    histogram.record(10**15)
    assert (histogram.snapshot() - earlier).max == 10**15
    earlier = histogram.snapshot()
    histogram.record(10**14)
    assert (histogram.snapshot() - earlier).max == 10**15


@pytest.mark.parametrize("q", [-0.1, 100.1, float("nan")])
def test_a_percentile_is_within_0_and_100(q):
    """0.99 for 99 goes unnoticed, but what cannot be a percentage is refused."""
    with pytest.raises(ValueError, match="q must be"):
        _of(1).percentile(q)


def test_a_snapshot_does_not_change():
    """Health reads it while the pipeline goes on recording."""
    histogram = LatencyHistogram()
    histogram.record(5)
    snapshot = histogram.snapshot()
    histogram.record(7)
    assert (snapshot.count, snapshot.max) == (1, 5)
    with pytest.raises(AttributeError):
        snapshot.max = 3


def test_absurd_moments_cost_nothing():
    """One event with a time before 1970, or beyond any number, must not end the pipeline."""
    histogram = LatencyHistogram()
    histogram.record_since([-1e308, -5, 1e308, 10**30, 1000], 1_000_000_500)
    snapshot = histogram.snapshot()
    assert (snapshot.negative, snapshot.count, snapshot.max) == (2, 3, 1_000_000_500)
    assert snapshot.percentile(1) == pytest.approx(500, rel=0.016)


def test_moments_of_sub_milliseconds():
    """A feed that gives fractions of a millisecond gets them, as far as a float holds them."""
    histogram = LatencyHistogram()
    now_ns = 1_700_000_000_000_000_000
    histogram.record_since([now_ns / 1e6 - 0.5, now_ns / 1e6 + 0.5], now_ns)
    snapshot = histogram.snapshot()
    assert (snapshot.count, snapshot.negative) == (1, 1)
    assert snapshot.max == pytest.approx(500_000, abs=300)


@given(st.lists(st.integers(0, 2**41)), st.lists(st.integers(0, 2**41), max_size=5))
def test_values_below_an_edge_are_counted_exactly(values, limits):
    """A bucket of an exported histogram would hold what is slower than it says, or not all that is not."""
    histogram = LatencyHistogram()
    for value in values:
        histogram.record(value)
    edges = [edge_at(limit) for limit in limits]
    assert all(limit <= edge <= limit * 1.04 for limit, edge in zip(limits, edges, strict=True))
    assert histogram.snapshot().below(edges) == [sum(value < edge for value in values) for edge in edges]
