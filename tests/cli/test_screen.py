from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.account import Account
from pipeline.cli.screen import (
    account_lines,
    account_values,
    event_line,
    event_or_bar,
    reading_values,
    summary,
)
from pipeline.health.meter import ConnectionLine, Reading, SubscriberLine
from pipeline.status import Subscribed

PRIMARY = ConnectionLine(
    id="connection_1",
    name="primary",
    phase="live",
    ticks_per_s=4221.6,
    p50_ms=1.654,
    p99_ms=14.55,
    bars_p50_ms=None,
    bars_p99_ms=None,
    duplicates=1408,
    rejected=27,
    dropped=0,
)
CALLBACK = SubscriberLine(
    name="callback",
    state="",
    delivered_per_s=10234.4,
    queued=12,
    dropped=3,
    failed=0,
    rejected=56,
    p50_ms=0.81,
    p99_ms=14.02,
    messages_per_s=None,
    sink_p50_ms=None,
    sink_p99_ms=None,
)
READING = Reading(
    connections=(
        PRIMARY,
        replace(PRIMARY, id="connection_2", name="secondary", phase="backing_off", p50_ms=None, p99_ms=None),
    ),
    subscribers=(CALLBACK, replace(CALLBACK, name="redis", state="up", messages_per_s=20468.0)),
    feed_p50_ms=1.92,
    feed_p99_ms=1861.2,
    bars_p50_ms=None,
    bars_p99_ms=None,
)


def test_a_reading_is_one_line_where_there_is_no_terminal():
    """Logs would fill with tables."""
    assert summary(READING) == (
        "8,443 ticks/s on 1 of 2 connections; feed p50 1.92 p99 1,861 ms; "
        "callback 10,234 ticks/s p99 14.02 ms, 12 queued, 3 dropped; "
        "redis up 10,234 ticks/s (20,468 messages/s) p99 14.02 ms, 12 queued, 3 dropped"
    )


def test_bars_have_their_own_latency_and_its_floor_is_said():
    """By default only bars come: there would be no latency at all, or one of two seconds that alarms."""
    bars = replace(READING, bars_p50_ms=2004.0, bars_p99_ms=2010.0)
    told = "bars p50 2,004 p99 2,010 ms after their end (Massive waits 2,000); callback"
    assert f"feed p50 1.92 p99 1,861 ms; {told}" in summary(bars)
    only = replace(bars, feed_p50_ms=None, feed_p99_ms=None)
    assert f"connections; {told}" in summary(only)
    assert (event_or_bar(1.5, 2004.0), event_or_bar(None, 2004.0)) == ("1.50", "2,004 b")


def test_a_reading_before_anything_came_can_be_shown():
    """The first second would end in a traceback."""
    nothing = Reading((), (), None, None, None, None)
    assert summary(nothing) == "0 ticks/s on 0 of 0 connections; feed p50 - p99 - ms"
    assert reading_values(nothing)["ticks_per_s"] == 0


def test_an_event_has_the_time_of_day():
    """Nobody could tell when a connection was lost."""
    event = Subscribed(connection="connection_1", at_ns=5_025_000_000_000, channels=("T.A", "T.B"), pending=0)
    clock, words = event_line(event).split(" ", 1)
    assert clock.endswith("23:45"), "minutes and seconds are the same in nearly every time zone"
    assert words == "connection_1: 2 channels confirmed"


def test_the_account_is_told_by_subscriber_and_connection():
    """The promise of the whole project would not be seen kept."""
    accounts = {
        "callback": {
            "connection_2": Account(1000, 900, 50, 0, 20, 30),
            "connection_1": Account(1_000_000, 999_000, 900, 60, 7, 23, 10),
        }
    }
    assert [*account_lines(accounts, {"connection_1": "primary", "connection_2": "secondary"})] == [
        "              received = delivered + deduplicated + dropped + failed + rejected + queued",
        "callback     1,001,000 =   999,900 +          950 +      60 +     27 +       53 +     10",
        "  primary    1,000,000 =   999,000 +          900 +      60 +      7 +       23 +     10",
        "  secondary      1,000 =       900 +           50 +       0 +     20 +       30 +      0",
    ]


@pytest.mark.parametrize("accounts", [{}, {"callback": {}}])
def test_an_account_of_nothing_can_be_told(accounts):
    """A run that is stopped before its first tick would end in a traceback."""
    assert len([*account_lines(accounts, {})]) == 1 + len(accounts)


@given(st.lists(st.builds(Account, *[st.integers(0, 10**12)] * 7), max_size=3))
def test_plain_values_add_up_and_hold_the_imbalance(accounts):
    """A script that watches the imbalance would watch another number."""
    by_connection = {f"connection_{n}": account for n, account in enumerate(accounts)}
    values = account_values({"callback": by_connection})["callback"]
    assert values["imbalance"] == sum(account.imbalance for account in accounts)
    assert values["received"] == sum(each["received"] for each in values["connections"].values())
