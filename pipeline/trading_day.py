"""Which trading day something belongs to: the date in New York, by which the feed counts."""

from datetime import date
from functools import lru_cache
from typing import Final

from .tick_data import Number

__all__ = ["trading_day"]

HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS
EPOCH_DAY: Final = date(1970, 1, 1).toordinal()
FIRST_MS: Final = 5 * HOUR_MS
"""When 1970 began in New York."""
LAST_MS: Final = (date(9999, 1, 1).toordinal() - EPOCH_DAY) * DAY_MS + FIRST_MS
MARCH_8: Final = (3, 8)
"""The earliest second Sunday of March, when clocks go forward."""
NOVEMBER_1: Final = (11, 1)
"""The earliest first Sunday of November, when they go back."""


def trading_day(event_ms: Number) -> tuple[Number, Number]:
    """Return when the date in New York that a time falls on begins and ends, ms since the epoch.

    The clocks change by the rule of 2007, in every year: neither a calendar nor a time zone database is
    asked, since all that is needed is that every connection and every later day say the same of a tick. All
    times before 1970 are one day, and all from the year 9999 on: a feed can say anything.

    Args:
        event_ms: ms since the epoch.
    """
    if not FIRST_MS <= event_ms < LAST_MS:
        return (float("-inf"), FIRST_MS) if event_ms < FIRST_MS else (LAST_MS, float("inf"))
    number = int(event_ms - FIRST_MS) // DAY_MS
    bounds = _bounds(number)
    return bounds if event_ms < bounds[1] else _bounds(number + 1)  # in summer midnight is an hour earlier


@lru_cache(maxsize=16)
def _bounds(number: int) -> tuple[int, int]:
    return _midnight_ms(number), _midnight_ms(number + 1)


def _midnight_ms(number: int) -> int:
    """Return when a date begins, by its number of days since the epoch."""
    ordinal = EPOCH_DAY + number
    year = date.fromordinal(ordinal).year
    # Clocks change at two in the morning: the day of the change begins by the time that was.
    is_summer = _sunday(year, MARCH_8) < ordinal <= _sunday(year, NOVEMBER_1)
    return number * DAY_MS + (4 if is_summer else 5) * HOUR_MS


def _sunday(year: int, earliest: tuple[int, int]) -> int:
    """Return the ordinal of the first Sunday from a date on."""
    day = date(year, *earliest).toordinal()
    return day + -day % 7  # ordinals of Sundays are multiples of seven
