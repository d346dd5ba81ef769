"""How far our clock may be off the feed's, and what cannot be known of it from here.

A tick's lateness is its way plus how far our clock is ahead of the feed's. The way takes more than nothing,
so the least lateness of a minute is the most that our clock can be ahead; where it is negative, our clock is
behind by that much at least. How the two share what is left nobody can tell from one end. What the kernel
knows of its own clock (from NTP or PTP) is the better half: it bounds our side of the difference.
"""

import ctypes
import platform
from collections import deque
from collections.abc import Iterable
from functools import cache
from typing import Any, Final, NamedTuple

from operators.histogram import HistogramSnapshot

__all__ = ["ClockOffset", "kernel_error_ms"]

WINDOW_LOOKS: Final = 60
RANK: Final = 3
"""The third smallest lateness counts as the least: the time of a single event may be anything."""


class _Look(NamedTuple):
    """Is what came between two looks."""

    least_ns: int | None
    ticks: int
    negative: int
    by_bars: bool


class ClockOffset:
    """Keeps the least lateness of the last minute, over all connections. One thread looks, any reads."""

    def __init__(self) -> None:
        self._looks: deque[_Look] = deque(maxlen=WINDOW_LOOKS)

    def look(self, brought: Iterable[HistogramSnapshot], *, by_bars: bool = False) -> None:
        """Take the lateness of what each connection brought since the last look.

        Args:
            brought: of each connection.
            by_bars: it is that of bars, for want of events; a bar is sent some time after its end by design.
        """
        least: int | None = None
        ticks = negative = 0
        for histogram in brought:
            smallest = histogram.smallest(RANK)
            if smallest is not None and (least is None or smallest < least):
                least = smallest
            ticks += histogram.count + histogram.negative
            negative += histogram.negative
        self._looks.append(_Look(least, ticks, negative, by_bars))

    def values(self) -> dict[str, Any]:
        """Return what is known, in plain values.

        ``offset_at_most_ms``: our clock minus the feed's is no more; None where nothing came. ``ticks``: from
        so many of the last minute. ``negative``: so many of them came before they happened. ``by_bars``:
        they were bars only, which come seconds after their end by design, so that it may be seconds less.
        ``kernel_error_ms``: the most that our clock is off, as the kernel says; None where it does not know.
        """
        looks = tuple(self._looks)
        if any(look.least_ns is not None and not look.by_bars for look in looks):
            looks = tuple(look for look in looks if not look.by_bars)
        least = [look.least_ns for look in looks if look.least_ns is not None]
        return {
            "offset_at_most_ms": min(least) / 1e6 if least else None,
            "ticks": sum(look.ticks for look in looks),
            "negative": sum(look.negative for look in looks),
            "by_bars": any(look.by_bars for look in looks),
            "kernel_error_ms": kernel_error_ms(),
        }


class _Timex(ctypes.Structure):
    """The head of ``struct timex`` of Linux on 64 bits, see adjtimex(2)."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror_us", ctypes.c_long),
        ("esterror_us", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_char * 256),
    )


_NOT_SYNCHRONIZED: Final = 5
"""TIME_ERROR, what adjtimex returns; -1 where a container forbids to ask."""


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)


def kernel_error_ms() -> float | None:
    """Return the most that the kernel thinks this machine's clock is off, ms.

    None where nothing disciplines the clock, or the system is not Linux, or does not tell. From any thread;
    it is one system call.
    """
    if platform.system() != "Linux" or ctypes.sizeof(ctypes.c_long) != 8:
        return None
    timex = _Timex()
    try:
        state = _libc().adjtimex(ctypes.byref(timex))
    except (AttributeError, OSError):
        return None
    return timex.maxerror_us / 1000 if 0 <= state < _NOT_SYNCHRONIZED else None
