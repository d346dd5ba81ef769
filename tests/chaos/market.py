"""A market that keeps a record of every tick it makes: its channel, its id, when it was made."""

import heapq
import itertools
import json
from collections import defaultdict
from typing import NamedTuple

MS_NS = 1_000_000
S_NS = 1_000_000_000
BAR_LATE_NS = 2 * S_NS  # the feed sends a bar two seconds after its end on purpose

BUSY = ("AAPL", "SPY")
USUAL = ("MSFT", "NVDA", "BRK.B", "TSLA", "AMZN", "BACpL", "META", "QQQ")
QUIET = ("ABCw", "XLE", "GE", "KO", "WFC")
PAIRS = {"EUR/USD": "C", "USD/JPY": "C", "BTC-USD": "XT", "ETH-USD": "XT"}
TICKERS = (*BUSY, *USUAL, *QUIET, *PAIRS)
EVENT_TYPES = ("T", "Q", "A", "LULD", "C", "XT")
_BY_TYPE = {
    BUSY: {"Q": 60.0, "T": 25.0, "LULD": 0.3, "A": 1.0},
    USUAL: {"Q": 8.0, "T": 3.0, "LULD": 0.2, "A": 1.0},
    QUIET: {"Q": 0.4, "T": 0.1, "LULD": 0.05, "A": 0.2},
}
RATES = {
    f"{kind}.{ticker}": rate
    for tickers, rates in _BY_TYPE.items()
    for ticker in tickers
    for kind, rate in rates.items()
} | {f"{kind}.{pair}": 5.0 for pair, kind in PAIRS.items()}
"""Ticks/s by channel; of bars, the chance that a second has one."""
BURST_EVERY_S = 4.0
BURST_MOST = 900


class Made(NamedTuple):
    """A tick as it was made.

    Args:
        serial: its number among all ticks; its price, or what stands for it, is the same.
        channel: ``TYPE.TICKER``.
        event_ns: its time as it stands on the wire.
        made_ns: when it was made, true time.
    """

    serial: int
    channel: str
    event_ns: int
    made_ns: int


class Element(NamedTuple):
    """A tick on its way: its channel and its JSON."""

    channel: str
    text: str


class Market:
    """Makes ticks at random times, and bursts of quotes.

    Args:
        chance: seeded.
        now_ns: when it opens.
        midnight_ns: ids and sequence numbers begin at 1 again from then on; None: never.
    """

    def __init__(self, chance, now_ns, midnight_ns=None):
        self.made = {}
        """Serial to tick."""
        self.by_channel = defaultdict(list)
        self.days = 1
        self._chance = chance
        self._midnight_ns = midnight_ns
        self._serials = itertools.count(1)
        self._numbers = defaultdict(int)
        self._due = []
        for channel, rate in RATES.items():
            self._plan(now_ns, channel, rate)
        self._burst_ns = now_ns + round(self._wait_s(1 / BURST_EVERY_S) * S_NS)

    def step(self, now_ns):
        """Return what was made since the last step, in order, as made now."""
        if self._midnight_ns is not None and now_ns >= self._midnight_ns:
            self._midnight_ns = None
            self._numbers.clear()
            self.days += 1
        elements = []
        while self._due[0][0] <= now_ns:
            due_ns, channel, rate = heapq.heappop(self._due)
            elements += self._make(channel, due_ns, now_ns, rate)
            self._plan(due_ns, channel, rate)
        if now_ns >= self._burst_ns:
            self._burst_ns = now_ns + round(self._wait_s(1 / BURST_EVERY_S) * S_NS)
            channels = [f"Q.{ticker}" for ticker in (*BUSY, *USUAL)]
            count = self._chance.choice((5, 40, 300, BURST_MOST))
            for channel in self._chance.choices(channels, k=count):
                elements += self._make(channel, now_ns, now_ns, 1.0)
        return elements

    def _plan(self, after_ns, channel, rate):
        if channel.startswith("A."):
            end_ns = after_ns // S_NS * S_NS + S_NS
            due_ns = end_ns + self._chance.randrange(50) * MS_NS
        else:
            due_ns = after_ns + round(self._wait_s(rate) * S_NS)
        heapq.heappush(self._due, (due_ns, channel, rate))

    def _wait_s(self, rate):
        return self._chance.expovariate(rate)

    def _make(self, channel, due_ns, now_ns, rate):
        kind, ticker = channel.split(".", 1)
        event_ns = now_ns // MS_NS * MS_NS
        if kind == "A":
            if self._chance.random() > rate:
                return []
            event_ns = due_ns // S_NS * S_NS - BAR_LATE_NS
        elif kind == "LULD":
            event_ns = now_ns
        number = self._numbers[channel] = self._numbers[channel] + self._chance.choice((1, 1, 1, 2, 7))
        made = Made(next(self._serials), channel, event_ns, now_ns)
        self.made[made.serial] = made
        self.by_channel[channel].append(made)
        fields = WIRE[kind](ticker, made.serial, number, event_ns)
        return [Element(channel, json.dumps({"ev": kind} | fields, separators=(",", ":")))]


def _trade(ticker, serial, number, event_ns):
    at = {"t": event_ns // MS_NS, "q": number}
    return {"sym": ticker, "x": 4, "i": str(number), "z": 3, "p": serial, "s": 100, "c": [14]} | at


def _quote(ticker, serial, number, event_ns):
    at = {"t": event_ns // MS_NS, "q": number, "z": 3}
    return {"sym": ticker, "bx": 4, "bp": serial, "bs": 1, "ax": 7, "ap": serial, "as": 2} | at


def _bar(ticker, serial, number, event_ns):
    end = event_ns // MS_NS
    prices = dict.fromkeys(("vw", "o", "c", "h", "l", "a"), serial)
    return {"sym": ticker, "v": 100, "av": number, "op": 1.5} | prices | {"z": 10, "s": end - 1000, "e": end}


def _band(ticker, serial, number, event_ns):
    return {"T": ticker, "h": serial, "l": serial - 0.5, "i": [21], "z": 3, "t": event_ns, "q": number}


def _forex(ticker, serial, number, event_ns):
    return {"p": ticker, "x": 48, "a": serial, "b": serial, "t": event_ns // MS_NS}


def _crypto(ticker, serial, number, event_ns):
    ms = event_ns // MS_NS
    return {"pair": ticker, "p": serial, "t": ms, "s": 0.25, "c": [2], "i": str(number), "x": 1, "r": ms}


WIRE = {"T": _trade, "Q": _quote, "A": _bar, "LULD": _band, "C": _forex, "XT": _crypto}


def serial_of(tick):
    """Return the serial of a delivered tick."""
    return int(tick.high_limit if tick.event_type == "LULD" else tick.price)
