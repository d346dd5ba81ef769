from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.trading_day import FIRST_MS, LAST_MS, trading_day

HOUR_MS = 3_600_000


def new_york():
    """Return what the time zone database knows, where there is one."""
    try:
        return ZoneInfo("America/New_York")
    except ZoneInfoNotFoundError:
        pytest.skip("no time zone database on this machine")


def ms_of(*moment, offset_h):
    """Return a time of New York in ms, by the hours that it is behind UTC."""
    return round((datetime(*moment, tzinfo=UTC) + timedelta(hours=offset_h)).timestamp() * 1000)


@given(st.integers(ms_of(2007, 1, 1, offset_h=5), ms_of(2060, 1, 1, offset_h=5)))
def test_a_day_is_what_the_time_zone_database_says(ms):
    """A day too early or too late takes tomorrow's ticks for copies, on the nights that nobody tries."""
    begin, end = trading_day(ms)
    assert begin <= ms < end
    today = datetime.fromtimestamp(ms / 1000, new_york()).date()
    for edge in (begin, end):
        local = datetime.fromtimestamp(edge / 1000, new_york())
        assert (local.hour, local.minute, local.second) == (0, 0, 0)
    assert datetime.fromtimestamp(begin / 1000, new_york()).date() == today
    assert datetime.fromtimestamp(end / 1000, new_york()).date() == today + timedelta(days=1)


@pytest.mark.parametrize(
    ("day", "begins_h", "hours"),
    [
        (date(2026, 3, 7), 5, 24),
        (date(2026, 3, 8), 5, 23),  # clocks go forward
        (date(2026, 3, 9), 4, 24),
        (date(2026, 7, 4), 4, 24),
        (date(2026, 10, 31), 4, 24),
        (date(2026, 11, 1), 4, 25),  # clocks go back
        (date(2026, 11, 2), 5, 24),
        (date(2027, 3, 14), 5, 23),
        (date(2027, 11, 7), 4, 25),
        (date(2028, 2, 29), 5, 24),
        (date(2026, 12, 31), 5, 24),
    ],
)
def test_the_days_on_which_clocks_change_have_23_and_25_hours(day, begins_h, hours):
    """An hour of a late print would go to the wrong day, twice a year."""
    begin = ms_of(day.year, day.month, day.day, offset_h=begins_h)
    end = begin + hours * HOUR_MS
    for ms in (begin, begin + 1, (begin + end) // 2, end - 1, begin + 0.5, end - 0.5):
        assert trading_day(ms) == (begin, end)
    assert trading_day(begin - 1)[1] == begin
    assert trading_day(end)[0] == end


@given(
    st.integers()
    | st.floats(allow_nan=False)
    | st.sampled_from([0, -1, 1e308, -1e308, FIRST_MS - 1, FIRST_MS, LAST_MS - 1, LAST_MS, 2**63, 10**400])
)
def test_any_number_has_a_day(event_ms):
    """A server may say 1e308; an error here would end the stream."""
    begin, end = trading_day(event_ms)
    assert begin <= event_ms < end or event_ms == end == float("inf")
    assert trading_day(event_ms) == (begin, end)
