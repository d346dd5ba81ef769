from hypothesis import given
from hypothesis import strategies as st

from pipeline.pace import SILENCE_MAX_NS, Pace

S = 1_000_000_000
gaps_ns = st.lists(st.integers(0, SILENCE_MAX_NS), min_size=1, max_size=40)


def paced(times_ns):
    """Return when each is due."""
    pace = Pace()
    return [pace.advance(at_ns) for at_ns in times_ns]


def times(gaps, start_ns=1_790_000_000 * S):
    """Return the times of a clock that nobody sets."""
    return [start_ns + sum(gaps[:n]) for n in range(len(gaps) + 1)]


@given(gaps_ns)
def test_a_recording_takes_as_long_as_it_took(gaps):
    """The distances of ticks would be others than they were."""
    at_ns = times(gaps)
    assert paced(at_ns) == [moment - at_ns[0] for moment in at_ns]


@given(
    gaps_ns,
    st.integers(0, 40),
    st.one_of(st.integers(-(10**6) * S, -2 * S - SILENCE_MAX_NS), st.integers(2, 10**6)),
)
def test_a_clock_that_is_set_costs_no_time(gaps, place, shift_ns):
    """A replay would wait for seconds, or for an hour, in which nothing was recorded."""
    place = min(place, len(gaps))
    if shift_ns > 0:
        shift_ns *= S
    at_ns = times(gaps)
    as_shown = at_ns[:place] + [moment + shift_ns for moment in at_ns[place:]]
    due = paced(as_shown)
    assert due == sorted(due)
    true = [moment - at_ns[0] for moment in at_ns]
    assert all(abs(one - other) <= SILENCE_MAX_NS for one, other in zip(due, true, strict=True))


@given(st.lists(st.integers(-S, S), min_size=1, max_size=60))
def test_what_two_threads_noted_adds_up_to_no_time(jitter_ns):
    """Each event that stands a little before or behind its neighbours would make the replay slower."""
    at_ns = [n * S + shift for n, shift in enumerate(jitter_ns)]
    assert paced(at_ns)[-1] <= len(jitter_ns) * S + S
