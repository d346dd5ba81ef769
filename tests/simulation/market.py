"""A market whose every tick can be told from every other, wherever it comes out, and whose time is true."""

import datetime as dt
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import accumulate
from random import Random
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

from pipeline.ticks import LimitUpLimitDown
from tests.simulation.record import Made

__all__ = [
    "BAR_DELAY_NS",
    "KINDS",
    "SYMBOLS",
    "Hours",
    "Market",
    "Tick",
    "key_of",
    "key_of_price",
    "trading_date",
]

NEW_YORK: Final = ZoneInfo("America/New_York")
MS: Final = 1_000_000
SECOND: Final = 1_000_000_000
QUARTER_NS: Final = 900 * SECOND
BAR_DELAY_NS: Final = 2 * SECOND
"""Massive sends a bar of a second so long after its end."""
LATE_BAR: Final = 0.1
"""Chance that a bar is one of a second before: a revision, or one of which no tick came then."""
FACILITIES: Final = (None, 201, 202)
EXCHANGES: Final = (4, 11, 12)

KINDS: Final[dict[str, tuple[str, ...]]] = {
    "stocks": ("T", "Q", "A", "LULD"),
    "options": ("T", "Q"),
    "forex": ("C",),
    "crypto": ("XT", "XQ"),
}
"""The event types of each market that are made here."""

SYMBOLS: Final[dict[str, tuple[str, ...]]] = {
    "stocks": ("AAPL", "BRK.B", "BACpL", "ABCw", "T", "Q", "MSFT", "A", "NVDA", "F", "TSLA", "X"),
    "options": tuple(f"O:SPY26121{day}C00{strike}000" for day in (1, 8) for strike in range(650, 656)),
    "forex": ("EUR/USD", "GBP/USD", "USD/JPY", "AUD/USD", "USD/CHF", "NZD/USD", "USD/CAD", "EUR/GBP"),
    "crypto": ("BTC-USD", "ETH-USD", "SOL-USD", "XRP-USD", "ADA-USD", "DOGE-USD", "LTC-USD", "DOT-USD"),
}
"""Symbols that are written in every way that the market knows."""


@lru_cache(maxsize=4)
def _date_of(quarter: int) -> dt.date:
    return trading_date(quarter * QUARTER_NS)


def trading_date(at_ns: int) -> dt.date:
    """Return the date in New York, by the time zone's own table and not by the product's rule."""
    return dt.datetime.fromtimestamp(at_ns // SECOND, NEW_YORK).date()


def key_of(tick: Any) -> int:
    """Return the key of a tick that was delivered: what is whole of its price, or of its band."""
    return key_of_price(tick.high_limit if isinstance(tick, LimitUpLimitDown) else tick.price)


def key_of_price(price: float) -> int:
    """Return the key of a price in a payload."""
    return math.floor(price)


class Tick(NamedTuple):
    """A tick to be given to the servers: what is to be known of it, and the element that goes out."""

    made: Made
    element: bytes


class Hours(NamedTuple):
    """When a market is open, by the date and the time of day in New York.

    Args:
        opens: hour of the day.
        closes: hour of the day.
        weekends: whether it is open on Saturdays and Sundays.
    """

    opens: float = 0.0
    closes: float = 24.0
    weekends: bool = True

    def is_open(self, at_ns: int) -> bool:
        """Tell whether anything happens at a moment."""
        if self == ALWAYS:
            return True
        local = dt.datetime.fromtimestamp(at_ns // SECOND, NEW_YORK)
        hour = local.hour + local.minute / 60
        return self.opens <= hour < self.closes and (self.weekends or local.weekday() < 5)

    def next_open_ns(self, at_ns: int) -> int:
        """Return the next moment at which it is open, on the quarter of an hour."""
        while not self.is_open(at_ns):
            at_ns = (at_ns // QUARTER_NS + 1) * QUARTER_NS
        return at_ns


ALWAYS: Final = Hours()


@dataclass(slots=True)
class _Numbers:
    """The numbers of one symbol, which begin anew each trading day."""

    date: dt.date
    sequence: int = 0
    ids: dict[tuple[int, int | None], int] = field(default_factory=dict)


class Market:
    """Makes ticks of many symbols, at a rate, in bursts, in the hours in which it is open.

    It is pulled: `wait_s` says when the next ticks are to be made and `make` makes them.

    Args:
        symbols: a few of them tick much, most tick little, one in eight ticks hardly ever.
        kinds: event types.
        rate: ticks a second in all, in the mean.
        random: of this market alone.
        burst: how many ticks happen at once at most.
        hours: when it is open.
    """

    def __init__(
        self,
        symbols: Sequence[str],
        kinds: Iterable[str],
        rate: float,
        random: Random,
        *,
        burst: int = 1,
        hours: Hours | None = None,
    ) -> None:
        self.symbols = tuple(symbols)
        self.kinds = tuple(kinds)
        self._rate = rate
        self._random = random
        self._burst = burst
        self._hours = hours or ALWAYS
        self._key = 0
        self._numbers: dict[str, _Numbers] = {}
        self._sums = list(
            accumulate(0.02 if n % 8 == 7 else 1.0 / (1 + n % 8) for n in range(len(self.symbols)))
        )
        self._kind_sums = list(accumulate(0.1 if kind == "LULD" else 1.0 for kind in self.kinds))
        self._elements: dict[str, Callable[[str, int, int], tuple[bytes, int]]] = {
            "T": self._trade,
            "Q": self._quote,
            "A": self._bar,
            "LULD": self._band,
            "C": self._currency,
            "XT": self._crypto_trade,
            "XQ": self._crypto_quote,
        }

    def wait_s(self, now_ns: int) -> float:
        """Return how long after a moment the next ticks are to be made."""
        wait_s = self._random.expovariate(self._rate / ((1 + self._burst) / 2))
        return wait_s + (self._hours.next_open_ns(now_ns) - now_ns) / SECOND

    def make(self, now_ns: int) -> list[Tick]:
        """Make what happens now; nothing where it is closed."""
        if not self._hours.is_open(now_ns):
            return []
        count = self._random.randint(1, self._burst)
        symbols = self._random.choices(self.symbols, cum_weights=self._sums, k=count)
        kinds = self._random.choices(self.kinds, cum_weights=self._kind_sums, k=count)
        return [self._tick(kind, symbol, now_ns) for kind, symbol in zip(kinds, symbols, strict=True)]

    def _tick(self, kind: str, symbol: str, now_ns: int) -> Tick:
        self._key += 1
        element, event_ns = self._elements[kind](symbol, self._key, now_ns)
        return Tick(Made(f"{kind}.{symbol}", self._key, now_ns, event_ns), element)

    # -- what each says -------------------------------------------------------------------------------------

    def _trade(self, symbol: str, key: int, now_ns: int) -> tuple[bytes, int]:
        numbers, ms = self._numbers_of(symbol, now_ns), now_ns // MS
        exchange = self._random.choice(EXCHANGES)
        if symbol.startswith("O:"):  # an option's trade has no id
            element = b'{"ev":"T","sym":"%b","x":%d,"p":%d.5,"s":1,"c":[209],"t":%d,"q":%d}'
            return element % (symbol.encode(), exchange, key, ms, numbers.sequence), ms * MS
        facility = self._random.choice(FACILITIES) if exchange == 4 else None
        venue = exchange, facility
        number = numbers.ids[venue] = numbers.ids.get(venue, 0) + 1  # the same ids on every exchange
        # Sequence numbers of trades are seen repeated and going backwards.
        sequence = max(1, numbers.sequence - self._random.choice((0, 0, 0, 1, 5)))
        extra = b"" if facility is None else b',"trfi":%d,"trft":%d' % (facility, ms)
        element = b'{"ev":"T","sym":"%b","x":%d,"i":"%d","z":3,"p":%d.5,"s":100,"t":%d,"q":%d%b}'
        return element % (symbol.encode(), exchange, number, key, ms, sequence, extra), ms * MS

    def _quote(self, symbol: str, key: int, now_ns: int) -> tuple[bytes, int]:
        numbers, ms = self._numbers_of(symbol, now_ns), now_ns // MS
        sides = (
            b'"bx":4,"bp":%d.25,"bs":1,"ax":11,"ap":%d.75,"as":2' % (key, key),
            b'"bx":4,"bp":%d.5,"bs":1' % key,
            b'"bx":0,"bp":0,"bs":0,"ax":11,"ap":%d.5,"as":2' % key,
        )[self._random.choice((0, 0, 0, 0, 1, 2))]
        element = b'{"ev":"Q","sym":"%b",%b,"t":%d,"q":%d,"z":3}'
        return element % (symbol.encode(), sides, ms, numbers.sequence), ms * MS

    def _bar(self, symbol: str, key: int, now_ns: int) -> tuple[bytes, int]:
        late_ns = SECOND if self._random.random() < LATE_BAR else 0
        end_ms = (now_ns - BAR_DELAY_NS - late_ns) // SECOND * 1000
        element = (
            b'{"ev":"A","sym":"%b","v":200,"av":%d,"op":1.5,"vw":%d.5,"o":%d.5,"c":%d.5,"h":%d.5,"l":%d.5,'
            b'"a":1.5,"z":100,"s":%d,"e":%d,"dv":"200.0"}'
        )
        prices = key, key, key, key, key
        return element % (symbol.encode(), key, *prices, end_ms - 1000, end_ms), end_ms * MS

    def _band(self, symbol: str, key: int, now_ns: int) -> tuple[bytes, int]:
        numbers = self._numbers_of(symbol, now_ns)
        element = b'{"ev":"LULD","T":"%b","h":%d.5,"l":%d.25,"i":[21],"z":3,"t":%d,"q":%d}'
        return element % (symbol.encode(), key, key, now_ns, numbers.sequence), now_ns

    def _currency(self, symbol: str, key: int, now_ns: int) -> tuple[bytes, int]:
        ms = now_ns // MS
        element = b'{"ev":"C","p":"%b","x":44,"a":%d.75,"b":%d.25,"t":%d}'
        return element % (symbol.encode(), key, key, ms), ms * MS

    def _crypto_trade(self, symbol: str, key: int, now_ns: int) -> tuple[bytes, int]:
        numbers, ms = self._numbers_of(symbol, now_ns), now_ns // MS
        element = b'{"ev":"XT","pair":"%b","p":%d.5,"t":%d,"s":0.5,"c":[2],"i":"%d","x":1,"r":%d}'
        return element % (symbol.encode(), key, ms, numbers.sequence, ms), ms * MS

    def _crypto_quote(self, symbol: str, key: int, now_ns: int) -> tuple[bytes, int]:
        ms = now_ns // MS
        element = b'{"ev":"XQ","pair":"%b","bp":%d.25,"bs":1,"ap":%d.75,"as":2,"t":%d,"x":1,"r":%d}'
        return element % (symbol.encode(), key, key, ms, ms), ms * MS

    def _numbers_of(self, symbol: str, now_ns: int) -> _Numbers:
        """Return a symbol's numbers of today, its sequence number one tick further: not contiguous."""
        today = _date_of(now_ns // QUARTER_NS)
        numbers = self._numbers.get(symbol)
        if numbers is None or numbers.date != today:
            numbers = self._numbers[symbol] = _Numbers(today)
        numbers.sequence += self._random.choice((1, 1, 2, 7))
        return numbers
