"""A seeded synthetic market that speaks Massive's wire format, for the simulator and the synthetic source.

Prices are whole cents and sizes ten-thousandths of a share inside, so that a bar is exactly what its trades
add up to. The caller's clock makes the event times; the market has no thread and no clock of its own.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from itertools import accumulate
from random import Random
from typing import Final

from .markets import EVENT_TYPES

__all__ = ["EVENT_TYPES", "Element", "SyntheticMarket"]

Element = tuple[str, bytes]
"""A channel (``T.AAPL``) and the JSON object that goes out on it."""

SHARE: Final = 10_000
"""Parts of a share that sizes are counted in."""
SIZES: Final = (100, 100, 100, 100, 100, 200, 300, 500, 1000, 1, 5, 10, 17, 25, 50, 73)
"""Shares of a trade: round lots and, as on the real tape, many odd ones."""
EXCHANGES: Final = (4, 4, 4, 8, 10, 11, 12, 12, 12, 12, 15, 16, 17, 19, 20, 21)
"""Exchange ids by share of volume; 4 is FINRA, whose trades carry a reporting facility."""
FINRA: Final = 4
WINDOWS_MS: Final = {
    "A": 1000,
    "AM": 60_000,
    "CAS": 1000,
    "CA": 60_000,
    "XAS": 1000,
    "XA": 60_000,
}
"""Lengths of the bars."""
DAY_MS: Final = 86_400_000
WEIGHTS: Final = {"T": 20.0, "Q": 80.0, "C": 80.0, "XT": 20.0, "XQ": 80.0}
"""How often a type happens; any other is `RARE`."""
RARE: Final = 1.0

_EXCHANGES: Final = tuple(str(exchange) for exchange in EXCHANGES)
_LOTS: Final = tuple(str(100 * lots) for lots in range(1, 17))


class _Bar:
    """Adds up the trades of one window."""

    __slots__ = ("close", "count", "high", "low", "notional", "open", "start_ms", "volume")

    def __init__(self, start_ms: int, cents: int) -> None:
        self.start_ms = start_ms
        self.open = self.high = self.low = self.close = cents
        self.volume = self.notional = self.count = 0


class _Book:
    """Is the state of one ticker; each method makes one event as JSON.

    The makers take the time twice, as a number and as its text: one formatting serves a whole batch.
    """

    def __init__(self, ticker: str, seed: int, now_ms: int, tail: str, bars: Mapping[str, int]) -> None:
        self._bits = Random(f"{seed}:{ticker}").getrandbits  # noqa: S311  # a market, not a secret
        self._name = json.dumps(ticker)
        self._tail = tail
        self._mid = self._official_open = 1500 + self._bits(16) % (2000 << self._bits(8) % 5)
        # A ticker that is listed again must not use the same identities again.
        self._q = self._trades = now_ms % DAY_MS * 16
        self._day_volume = self._day_notional = 0
        self._windows_ms = bars
        self._bars: dict[str, _Bar] = {}
        self.channels = {kind: f"{kind}.{ticker}" for kind in EVENT_TYPES}

    def _walk(self, bits: int) -> int:
        """Move the mid by 16 random bits: evenly, at most a cent and a hundredth of a per cent."""
        span = self._mid // 10_000
        self._mid += bits * (3 + 2 * span) // 65_536 - 1 - span
        self._mid = max(self._mid, 100)
        return self._mid

    def _sequence(self, jump: int) -> int:
        self._q += 1 + jump
        return self._q

    def quote(self, _now_ms: int, now: str) -> str:
        bits = self._bits(40)
        mid = self._walk(bits & 0xFFFF)
        half = 1 + mid // 20_000
        return (
            f'{{"ev":"Q","sym":{self._name},"bx":{_EXCHANGES[bits >> 16 & 15]},"bp":{_price(mid - half)},'
            f'"bs":{_LOTS[bits >> 20 & 15]},"ax":{_EXCHANGES[bits >> 24 & 15]},"ap":{_price(mid + half)},'
            f'"as":{_LOTS[bits >> 28 & 15]},"c":1,"t":{now},"q":{self._sequence(bits >> 37)},'
            f'"z":3{self._tail}'
        )

    def trade(self, now_ms: int, now: str) -> str:
        bits = self._bits(48)
        mid = self._walk(bits & 0xFFFF)
        half = 1 + mid // 20_000
        cents = mid + half if bits & 0x10000 else mid - half
        if bits >> 17 & 63:
            shares = SIZES[bits >> 23 & 15]
            volume = shares * SHARE
            size = f'"s":{shares},"c":[{14 if shares >= 100 else 37}]'
        else:
            volume = 1 + (bits >> 23) % (SHARE - 1)
            size = f'"s":0,"ds":"{_shares(volume)}","c":[37]'
        self._count(now_ms, cents, volume)
        self._trades += 1
        exchange = EXCHANGES[bits >> 40 & 15]
        facility = f',"trfi":{201 + (bits >> 44 & 1)},"trft":{now}' if exchange == FINRA else ""
        return (
            f'{{"ev":"T","sym":{self._name},"x":{exchange},"i":"{self._trades}","z":3,"p":{_price(cents)},'
            f'{size},"t":{now},"pt":{now},"q":{self._sequence(bits >> 45)}{facility}{self._tail}'
        )

    def _count(self, now_ms: int, cents: int, volume: int) -> None:
        for kind, length_ms in self._windows_ms.items():
            bar = self._bars.get(kind)
            if bar is None:
                bar = self._bars[kind] = _Bar(now_ms - now_ms % length_ms, cents)
            bar.close = cents
            bar.high = max(bar.high, cents)
            bar.low = min(bar.low, cents)
            bar.volume += volume
            bar.notional += cents * volume
            bar.count += 1
        self._day_volume += volume
        self._day_notional += cents * volume

    def close_bar(self, kind: str) -> str | None:
        """Return the open bar of a kind and forget it, None if nothing was traded."""
        bar = self._bars.pop(kind, None)
        if bar is None:
            return None
        if kind not in {"A", "AM"}:
            return self._pair_bar(kind, bar)
        day = self._day_volume
        fractions = ""
        if bar.volume % SHARE or day % SHARE:
            fractions = f',"dv":"{_shares(bar.volume)}","dav":"{_shares(day)}"'
        return (
            f'{{"ev":"{kind}","sym":{self._name},"v":{bar.volume // SHARE},"av":{day // SHARE},'
            f'"op":{_price(self._official_open)},"vw":{_vwap(bar.notional, bar.volume)},'
            f'"o":{_price(bar.open)},"c":{_price(bar.close)},"h":{_price(bar.high)},"l":{_price(bar.low)},'
            f'"a":{_vwap(self._day_notional, day)},"z":{bar.volume // SHARE // bar.count},'
            f'"s":{bar.start_ms},"e":{bar.start_ms + WINDOWS_MS[kind]}{fractions}{self._tail}'
        )

    def _pair_bar(self, kind: str, bar: _Bar) -> str:
        end = f',"e":{bar.start_ms + WINDOWS_MS[kind]}' if kind in {"XA", "XAS"} else ""
        volume = _shares(bar.volume) if end else str(bar.count)  # of forex the number of quotes
        return (
            f'{{"ev":"{kind}","pair":{self._name},"v":{volume},"vw":{_vwap(bar.notional, bar.volume)},'
            f'"z":{bar.volume // SHARE // bar.count},"o":{_price(bar.open)},"c":{_price(bar.close)},'
            f'"h":{_price(bar.high)},"l":{_price(bar.low)},"s":{bar.start_ms}{end}{self._tail}'
        )

    def currency_quote(self, _now_ms: int, now: str) -> str:
        mid = self._walk(self._bits(16))
        half = 1 + mid // 20_000
        return (
            f'{{"ev":"C","p":{self._name},"x":44,"a":{_price(mid + half)},"b":{_price(mid - half)},'
            f'"t":{now}{self._tail}'
        )

    def crypto_trade(self, now_ms: int, now: str) -> str:
        bits = self._bits(38)
        cents = self._walk(bits & 0xFFFF)
        volume = 1 + (bits >> 18)
        self._count(now_ms, cents, volume)
        self._trades += 1
        return (
            f'{{"ev":"XT","pair":{self._name},"p":{_price(cents)},"t":{now},"s":{_shares(volume)},'
            f'"c":[{1 + (bits >> 16 & 1)}],"i":{self._trades},"x":1,"r":{now_ms + 5}{self._tail}'
        )

    def crypto_quote(self, now_ms: int, now: str) -> str:
        bits = self._bits(32)
        mid = self._walk(bits & 0xFFFF)
        half = 1 + mid // 20_000
        sizes = _shares(1 + (bits >> 16 & 0xFF)), _shares(1 + (bits >> 24))
        return (
            f'{{"ev":"XQ","pair":{self._name},"bp":{_price(mid - half)},"bs":{sizes[0]},'
            f'"ap":{_price(mid + half)},"as":{sizes[1]},"t":{now},"x":1,"r":{now_ms + 5}{self._tail}'
        )

    def luld(self, _now_ms: int, now: str) -> str:
        return (
            f'{{"ev":"LULD","T":{self._name},"h":{_price(self._mid * 105 // 100)},'
            f'"l":{_price(self._mid * 95 // 100)},"i":[21],"z":3,"t":{now},"q":{self._sequence(0)}'
            f"{self._tail}"
        )

    def imbalance(self, _now_ms: int, now: str) -> str:
        lots = self._bits(8)
        return (
            f'{{"ev":"NOI","T":{self._name},"t":{now},"at":1600,"a":"C","i":{self._sequence(0)},"x":10,'
            f'"o":{100 * lots},"p":{300 * lots},"b":{_price(self._mid)}{self._tail}'
        )

    def fair_value(self, now_ms: int, _now: str) -> str:
        # Nanoseconds, as on the real feed: the reader has to infer the unit.
        return (
            f'{{"ev":"FMV","fmv":{_price(self._mid)},"sym":{self._name},"t":{now_ms * 1_000_000}{self._tail}'
        )

    def launchpad(self, _now_ms: int, now: str) -> str:
        return f'{{"ev":"LV","val":{_price(self._mid)},"sym":{self._name},"t":{now}{self._tail}'

    def index(self, _now_ms: int, now: str) -> str:
        return f'{{"ev":"V","val":{_price(self._mid)},"T":{self._name},"t":{now}{self._tail}'


_MAKERS: Final[dict[str, Callable[[_Book, int, str], str]]] = {
    "T": _Book.trade,
    "Q": _Book.quote,
    "LULD": _Book.luld,
    "NOI": _Book.imbalance,
    "FMV": _Book.fair_value,
    "LV": _Book.launchpad,
    "V": _Book.index,
    "C": _Book.currency_quote,
    "XT": _Book.crypto_trade,
    "XQ": _Book.crypto_quote,
}


class SyntheticMarket:
    """Generates the events of some tickers, reproducibly from a seed; one thread at a time.

    Quotes walk at random around a mid, trades hit the bid or the ask (odd lots and parts of a share among
    them), and bars are what the trades of their window add up to. Sequences grow with jumps; a trade's id is
    unique for its ticker.

    Args:
        tickers: the first is the most active (Zipf).
        seed: the same seed, tickers and calls give the same bytes.
        start_ms: Unix ms; bars begin with the window it is in.
        event_types: what comes out, of `EVENT_TYPES`. Trades happen unseen where only bars are asked for.
        source: goes into each element as ``source``, for readers that tell the real from the made.

    Raises:
        ValueError: an unknown event type, an empty ticker.
    """

    def __init__(
        self,
        tickers: Iterable[str],
        *,
        seed: int = 0,
        start_ms: int,
        event_types: Iterable[str] = ("T", "Q", "A", "AM"),
        source: str | None = None,
    ) -> None:
        self._wanted = frozenset(event_types)
        if unknown := self._wanted - set(EVENT_TYPES):
            raise ValueError(f"event_types must be of {', '.join(EVENT_TYPES)}, not {sorted(unknown)}")
        self._kinds = [kind for kind in _MAKERS if kind in self._wanted]
        self._windows_ms = {kind: length_ms for kind, length_ms in WINDOWS_MS.items() if kind in self._wanted}
        if self._windows_ms and not {"T", "XT"} & set(self._kinds):
            self._kinds.append("T")
        self._kind_weights = list(accumulate(WEIGHTS.get(kind, RARE) for kind in self._kinds))
        self._random = Random(seed)  # noqa: S311  # a market, not a secret
        self._seed = seed
        self._tail = f',"source":{json.dumps(source)}}}' if source else "}"
        self._window_ends_ms = {
            kind: start_ms - start_ms % length_ms + length_ms for kind, length_ms in self._windows_ms.items()
        }
        self._books: dict[str, _Book] = {}
        self._ranked: tuple[_Book, ...] = ()
        self._activity: list[float] = []
        self.add(tickers, start_ms)

    @property
    def tickers(self) -> tuple[str, ...]:
        """Return the tickers, the most active first."""
        return tuple(self._books)

    def add(self, tickers: Iterable[str], now_ms: int) -> None:
        """List more tickers, as the least active; those listed stay as they are."""
        for ticker in tickers:
            if not ticker:
                raise ValueError("tickers must not be empty")
            if ticker not in self._books:
                self._books[ticker] = _Book(ticker, self._seed, now_ms, self._tail, self._windows_ms)
        self._rank()

    def remove(self, tickers: Iterable[str]) -> None:
        """Delist tickers; their open bars never come out."""
        for ticker in tickers:
            self._books.pop(ticker, None)
        self._rank()

    def _rank(self) -> None:
        self._ranked = tuple(self._books.values())
        self._activity = list(accumulate(1 / rank for rank in range(1, len(self._ranked) + 1)))

    def events(self, count: int, now_ms: int) -> list[Element]:
        """Let so many things happen at a time, and return what there is to tell, closed bars first."""
        out = self.close_bars(now_ms)
        if self._ranked and self._kinds:
            now = str(now_ms)
            books = self._random.choices(self._ranked, cum_weights=self._activity, k=count)
            kinds = self._random.choices(self._kinds, cum_weights=self._kind_weights, k=count)
            for book, kind in zip(books, kinds, strict=True):
                text = _MAKERS[kind](book, now_ms, now)
                if kind in self._wanted:
                    out.append((book.channels[kind], text.encode()))
        return out

    def round(self, now_ms: int) -> list[Element]:
        """Let everything happen once for each ticker, a ms ago, then close the bars that end now."""
        out: list[Element] = []
        then_ms = now_ms - 1
        then = str(then_ms)
        for book in self._ranked:
            for kind in self._kinds:
                text = _MAKERS[kind](book, then_ms, then)
                if kind in self._wanted:
                    out.append((book.channels[kind], text.encode()))
        return out + self.close_bars(now_ms)

    def close_bars(self, now_ms: int) -> list[Element]:
        """Return the bars of windows that ended, of tickers that traded in them."""
        out: list[Element] = []
        for kind, end_ms in self._window_ends_ms.items():
            if now_ms < end_ms:
                continue
            self._window_ends_ms[kind] = now_ms - now_ms % WINDOWS_MS[kind] + WINDOWS_MS[kind]
            for book in self._ranked:
                text = book.close_bar(kind)
                if text and kind in self._wanted:
                    out.append((book.channels[kind], text.encode()))
        return out


def _shares(volume: int) -> str:
    whole, part = divmod(volume, SHARE)
    return f"{whole}.{part:04d}".rstrip("0").rstrip(".")


def _vwap(notional: int, volume: int) -> float:
    return round(notional / volume / 100, 4)


@lru_cache(maxsize=65_536)
def _price(cents: int) -> str:
    """Return USD as text; formatting a float anew costs more than all the rest of an event."""
    return repr(cents / 100)
