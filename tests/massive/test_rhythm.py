import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.massive import rhythm
from pipeline.massive.rhythm import Rhythm

GAPS_S = st.lists(st.floats(0.001, 100.0), min_size=1, max_size=120)


def play(gaps_s, begun_s=1000.0):
    """Return a rhythm that heard ticks after each of these gaps, and the time of the last."""
    subject, now_s = Rhythm(), begun_s
    subject.begin(now_s)
    for gap_s in gaps_s:
        now_s += gap_s
        subject.heard(now_s)
    return subject, now_s


def every(gap_s, for_s):
    """Return equal gaps that fill so much time."""
    return [gap_s] * round(for_s / gap_s)


@given(GAPS_S)
@settings(max_examples=200)
def test_no_silence_of_the_last_five_minutes_would_be_too_long_again(gaps_s):
    """A market that breathes slowly would be reconnected at every breath."""
    subject, now_s = play(gaps_s)
    limit_s = subject.limit_s(now_s)
    age_s = 0.0
    for gap_s in reversed(gaps_s):
        if limit_s is not None and age_s <= rhythm.GENERATION_S:
            assert limit_s >= rhythm.FAR * gap_s - 1e-6
        age_s += gap_s


@given(GAPS_S)
@settings(max_examples=200)
def test_the_limit_is_never_below_the_least_nor_above_what_was_heard(gaps_s):
    """A busy feed would be stale within milliseconds; a limit out of nothing would never be reached."""
    subject, now_s = play(gaps_s)
    limit_s = subject.limit_s(now_s)
    if limit_s is not None:
        heard_s = max(rhythm.STALE_AT_LEAST_S, rhythm.FAR * max(gaps_s))
        assert rhythm.STALE_AT_LEAST_S <= limit_s <= heard_s + 1e-6


@given(GAPS_S, st.floats(0.0, 1000.0))
@settings(max_examples=200)
def test_nobody_can_tell_before_enough_was_heard(gaps_s, later_s):
    """A connection would be judged by the three ticks of its first second."""
    subject, now_s = play(gaps_s)
    enough = len(gaps_s) >= rhythm.LEARN_READS and sum(gaps_s) + later_s >= rhythm.LEARN_S
    assert (subject.limit_s(now_s + later_s + 1e-6) is not None) >= enough
    assert subject.limit_s(now_s) is None or len(gaps_s) >= rhythm.LEARN_READS


@given(GAPS_S, st.floats(0.0, 1000.0))
@settings(max_examples=50)
def test_silence_is_counted_from_the_last_ticks(gaps_s, later_s):
    """The status page would show the age of something else."""
    subject, now_s = play(gaps_s)
    assert subject.silent_for_s(now_s + later_s) == pytest.approx(later_s, abs=1e-6)


@given(GAPS_S)
@settings(max_examples=50)
def test_a_new_session_knows_nothing_of_the_old(gaps_s):
    """After a reconnect into a quiet market the old rhythm would reconnect again, for ever."""
    subject, now_s = play(gaps_s)
    subject.begin(now_s + 1)
    assert subject.silent_for_s(now_s + 500) is None
    assert subject.limit_s(now_s + 500) is None
    assert subject.usually_s == 0


@given(st.floats(1.05, 9.0), st.floats(0.001, 1.0))
@settings(max_examples=50)
def test_a_lull_that_grows_raises_its_own_limit(factor, first_s):
    """The hour before the closing bell, when each silence is longer than the last, would look like an end."""
    subject, now_s = play(every(1.0, 200))
    gap_s = first_s
    while gap_s < 3600:
        assert gap_s < subject.limit_s(now_s)
        now_s += gap_s
        subject.heard(now_s)
        gap_s *= factor


def test_second_bars_have_the_least_limit():
    """Bars once a second are missed after ten seconds, not sooner."""
    subject, now_s = play(every(1.0, 200))
    assert subject.limit_s(now_s) == pytest.approx(10.0)


@pytest.mark.parametrize("begun_before_s", [0.1, 1.0, 30.0, 59.0])
def test_minute_bars_in_one_burst_are_never_stale(begun_before_s):
    """Five hundred bars within a second, then nothing for a minute: most users of AM see just that."""
    gaps_s = [begun_before_s, *([0.01] * 30), *(([59.7] + [0.01] * 30) * 5)]
    subject, now_s = Rhythm(), 0.0
    subject.begin(now_s)
    for gap_s in gaps_s:
        limit_s = subject.limit_s(now_s + gap_s)
        assert limit_s is None or limit_s > gap_s
        now_s += gap_s
        subject.heard(now_s)
    assert subject.limit_s(now_s) == pytest.approx(597.0)


def test_what_fell_silent_before_enough_time_is_judged_in_the_end():
    """A feed that stops half a minute after the start would cost the day."""
    subject, now_s = play(every(0.1, 30))
    assert subject.limit_s(now_s + 100) is None
    assert subject.limit_s(now_s + 130) == rhythm.STALE_AT_LEAST_S


def test_a_halt_is_forgotten_in_ten_minutes():
    """One halt of five minutes would let an outage of fifty pass for the rest of the day."""
    subject, now_s = play([*every(1.0, 200), 300.0])
    assert subject.limit_s(now_s) == pytest.approx(3000.0)
    for _ in range(2 * round(rhythm.GENERATION_S) + 2):
        now_s += 1.0
        subject.heard(now_s)
    assert subject.limit_s(now_s) == pytest.approx(10.0)
