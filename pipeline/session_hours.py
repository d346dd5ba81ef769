"""When an exchange is in session, as a kept calendar library says; it needs the extra ``calendar``."""

from bisect import bisect_right
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Final

from .setting_kinds import nearest

__all__ = ["session_hours", "week_before"]

SEEN_BACK: Final = timedelta(days=7)


def week_before(now_ns: int) -> date:
    """Return the day, in UTC, a week before a wall-clock time, ns."""
    return datetime.fromtimestamp(now_ns / 1e9, UTC).date() - SEEN_BACK


@lru_cache(maxsize=8)
def session_hours(name: str, first_day: date) -> Callable[[int], bool]:
    """Return what tells, for a wall-clock time in ns, whether an exchange is in session, in 0.6 µs.

    Where nobody knows, before the first day and after what the library has recorded (about a year from now),
    the answer is yes. With a name, the first call takes a second or two, on the caller's thread: it imports
    pandas. What it returns may be called from any thread.

    Args:
        name: of `exchange_calendars`, such as ``XNYS``; "" for an exchange that never closes.
        first_day: from when on.

    Raises:
        ImportError: the extra ``calendar`` is not installed.
        ValueError: there is no calendar of this name. Both say what was expected instead.
    """
    if not name:
        return lambda _now_ns: True
    try:
        import exchange_calendars  # noqa: PLC0415  # it imports pandas: only who names an exchange pays for it
    except ImportError as error:
        raise ImportError(
            "the library exchange_calendars, which comes with: pip install tickbraid[calendar]"
        ) from error
    names = exchange_calendars.get_calendar_names()
    if name not in names:
        raise ValueError(f"an exchange of the library exchange_calendars, such as XNYS{nearest(name, names)}")
    try:
        calendar = exchange_calendars.get_calendar(name, start=first_day)
    except (NotImplementedError, ValueError) as error:
        raise ValueError(f"an exchange whose hours are recorded ({error})") from error
    columns = (
        calendar.opens_nanos,
        calendar.break_starts_nanos,
        calendar.break_ends_nanos,
        calendar.closes_nanos,
    )
    # A day without a break has NaT, the least of all numbers, in its place.
    edges = [edge for day in zip(*(c.tolist() for c in columns), strict=True) for edge in day if edge > 0]

    def is_open(now_ns: int) -> bool:
        known = edges[0] <= now_ns < edges[-1]
        return not known or bisect_right(edges, now_ns) % 2 == 1

    return is_open
