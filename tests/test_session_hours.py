import sys
from datetime import UTC, date, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import load_settings
from pipeline.errors import SettingsError
from pipeline.session_hours import session_hours

FIRST_DAY = date(2026, 11, 16)  # a Monday, so that the tests do not depend on today's date

# The library still reads pandas in ways that pandas 4 will change.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def ns(text):
    """Return a time of day in UTC as ns since the epoch."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1e9)


@pytest.mark.parametrize(
    ("exchange", "when", "is_open"),
    [
        ("XNYS", "2026-11-23 14:29:59", False),
        ("XNYS", "2026-11-23 14:30:00", True),
        ("XNYS", "2026-11-23 20:59:59", True),
        ("XNYS", "2026-11-23 21:00:00", False),
        ("XNYS", "2026-11-22 16:00:00", False),  # a Sunday
        ("XNYS", "2026-11-26 16:00:00", False),  # Thanksgiving
        ("XNYS", "2026-11-27 17:59:00", True),
        ("XNYS", "2026-11-27 18:01:00", False),  # closes early on the day after it
        ("XNYS", "2026-12-25 16:00:00", False),
        ("XHKG", "2026-11-23 03:59:00", True),
        ("XHKG", "2026-11-23 04:30:00", False),  # lunch
        ("XHKG", "2026-11-23 05:00:00", True),
        ("24/7", "2026-11-22 00:00:00", True),
    ],
)
def test_hours_are_those_of_the_exchange(exchange, when, is_open):
    """A holiday taken for a session makes connections reconnect for nothing; a session for one hides all."""
    assert session_hours(exchange, FIRST_DAY)(ns(when)) is is_open


@pytest.mark.parametrize("when", ["1970-01-01 00:00:00", "2026-11-16 00:00:00", "2099-01-01 00:00:00"])
def test_what_is_not_recorded_counts_as_open(when):
    """A process that outlives the library's table would never again notice a feed that stopped."""
    assert session_hours("XNYS", FIRST_DAY)(ns(when))


@given(st.integers(0, 2**62))
@settings(max_examples=30)
def test_without_a_name_it_never_closes(now_ns):
    """Who names no exchange would have a feed that is watched at some hours only."""
    assert session_hours("", FIRST_DAY)(now_ns)


def test_nobody_pays_for_a_calendar_who_names_none(monkeypatch):
    """Every start would take a second longer, and without the extra there would be none."""
    monkeypatch.setitem(sys.modules, "exchange_calendars", None)
    assert load_settings({}, environ={}).market_calendar == ""


def test_a_missing_library_is_a_problem_that_says_what_to_install(monkeypatch):
    """The user would learn of it by an ImportError in the middle of the trading day."""
    monkeypatch.setitem(sys.modules, "exchange_calendars", None)
    session_hours.cache_clear()
    with pytest.raises(SettingsError) as caught:
        load_settings(environ={"MARKET_CALENDAR": "XNYS"})
    (problem,) = caught.value.problems
    assert problem.startswith("MARKET_CALENDAR (environment): got 'XNYS'")
    assert "pip install tickbraid[calendar]" in problem


@pytest.mark.parametrize(
    ("name", "words"),
    [("XNYX", "did you mean XNYS?"), ("xnys", "such as XNYS"), ("XBEL", "whose hours are recorded")],
)
def test_an_unknown_exchange_is_a_problem_with_a_hint(name, words):
    """A typing mistake would make a calendar that explains nothing, or everything."""
    with pytest.raises(SettingsError, match="MARKET_CALENDAR") as caught:
        load_settings({"MARKET_CALENDAR": name}, environ={})
    assert words in str(caught.value)


def test_a_known_exchange_is_taken():
    """The setting would be of no use."""
    assert load_settings({"MARKET_CALENDAR": "XNYS"}, environ={}).market_calendar == "XNYS"
