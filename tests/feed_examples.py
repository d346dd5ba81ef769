"""What the feed sends, by market: an event as it stands on the wire, and the attributes its tick must have.

The kinds, field names and shapes are the documented ones (https://massive.com/docs/websocket); the values are
made up. ``None`` as a market: the same in several.
"""

from typing import Any, NamedTuple

import msgspec

from pipeline.ticks import TICK_KINDS

MS = 1_768_000_000_000
NS = 1_768_000_000_123_456_789


class Example(NamedTuple):
    """An event of a market, and what its tick must say."""

    name: str
    wire: dict[str, Any]
    says: dict[str, Any]

    @property
    def ticker(self) -> str:
        return self.says["ticker"]

    @property
    def channel(self) -> str:
        return f"{self.wire['ev']}.{self.ticker}"


def _bar(event_type: str, ticker: str, *, volumes: bool = True, **more: Any) -> tuple[dict, dict]:
    volume = {"v": 40, "av": 900.5, "a": 11.25, "vw": 11.5, "z": 8} if volumes else {}
    wire = {"ev": event_type, "sym": ticker, "op": 10.5, "o": 11, "c": 12.25, "h": 13, "l": 10} | volume
    wire |= {"s": MS, "e": MS + 1000} | more
    says = {
        "ticker": ticker, "open_price": 10.5, "tick_open": 11, "tick_close": 12.25, "tick_high": 13,
        "tick_low": 10, "start_ms": MS, "event_ms": MS + 1000, "price": 12.25, "timestamp": MS / 1000 + 1,
        "tick_volume": 40 if volumes else None, "accumulated_volume": 900.5 if volumes else None,
        "vwap": 11.25 if volumes else None, "tick_vwap": 11.5 if volumes else None,
        "tick_trade_size": 8 if volumes else None, "volume": 40 if volumes else 0,
    }  # fmt: skip
    return wire, says


def _pair_bar(event_type: str, pair: str, window_ms: int, **more: Any) -> tuple[dict, dict]:
    wire = {"ev": event_type, "pair": pair, "o": 1.25, "c": 1.5, "h": 1.75, "l": 1, "v": 30, "s": MS} | more
    says = {
        "ticker": pair, "tick_open": 1.25, "tick_close": 1.5, "tick_high": 1.75, "tick_low": 1,
        "tick_volume": 30, "start_ms": MS, "event_ms": MS + window_ms, "price": 1.5, "volume": 30,
        "end_ms": more.get("e"), "tick_vwap": more.get("vw"), "tick_trade_size": more.get("z"),
        "tick_end_timestamp": (MS + window_ms) / 1000,
    }  # fmt: skip
    return wire, says


def _value(event_type: str, field: str, symbol: str, ticker: str, moment: int) -> tuple[dict, dict]:
    wire = {"ev": event_type, field: 7.25, symbol: ticker, "t": moment}
    exact_ns = moment if moment > 10**17 else moment * 10**6
    return wire, {"ticker": ticker, "price": 7.25, "event_ns": exact_ns, "event_ms": exact_ns / 10**6}


def _values(name: str, ticker: str) -> list[Example]:
    return [
        Example(f"business {name} FMV, ns", *_value("FMV", "fmv", "sym", ticker, NS)),
        Example(f"business {name} FMV, ms", *_value("FMV", "fmv", "sym", ticker, MS)),
        Example(f"launchpad {name} LV", *_value("LV", "val", "sym", ticker, NS)),
        Example(f"launchpad {name} AM", *_bar("AM", ticker)),
    ]


EXAMPLES = [
    Example(
        "stocks T",
        {"ev": "T", "sym": "BACpL", "x": 11, "i": "71", "z": 1, "p": 20.5, "s": 7, "c": [14, 41], "t": MS,
         "q": 9, "pt": MS - 3, "trfi": 201, "trft": MS - 2, "ds": "7.25"},
        {"ticker": "BACpL", "exchange": 11, "trade_id": "71", "tape": 1, "price": 20.5, "size": 7,
         "conditions": [14, 41], "event_ms": MS, "sequence": 9, "participant_ms": MS - 3, "trf_id": 201,
         "trf_ms": MS - 2, "decimal_size": "7.25", "volume": 7, "event_ns": MS * 10**6},
    ),
    Example(
        "stocks Q",
        {"ev": "Q", "sym": "ABCw", "bx": 4, "bp": 2.5, "bs": 3, "ax": 7, "ap": 3.5, "as": 5, "c": 1,
         "i": [604], "t": MS, "q": 8, "z": 2, "pt": MS - 1},
        {"ticker": "ABCw", "bid_exchange": 4, "bid": 2.5, "bid_size": 3, "ask_exchange": 7, "ask": 3.5,
         "ask_size": 5, "conditions": 1, "indicators": [604], "event_ms": MS, "sequence": 8, "tape": 2,
         "participant_ms": MS - 1, "price": 3.0, "volume": 0},
    ),
    Example("stocks A", *(_bar("A", "SPY", otc=False, dv="40.5", dav="900.25"))),
    Example("stocks AM", *_bar("AM", "SPY")),
    Example(
        "stocks LULD",
        {"ev": "LULD", "T": "SPY", "h": 21.5, "l": 19.5, "i": [21], "z": 3, "t": NS, "q": 77},
        {"ticker": "SPY", "high_limit": 21.5, "low_limit": 19.5, "indicators": [21], "tape": 3,
         "event_ns": NS, "sequence": 77, "price": None},
    ),
    Example(
        "stocks LULD, µs",
        {"ev": "LULD", "T": "SPY", "h": 21.5, "l": 19.5, "i": [21], "z": 3, "t": NS // 1000, "q": 77},
        {"ticker": "SPY", "event_ns": NS // 1000 * 1000},
    ),
    Example(
        "stocks NOI",
        {"ev": "NOI", "T": "SPY", "t": NS, "at": 1600, "a": "C", "i": 5, "x": 10, "o": 48, "p": 44, "b": 2.5},
        {"ticker": "SPY", "event_ns": NS, "auction_time": 1600, "auction_type": "C", "symbol_sequence": 5,
         "exchange": 10, "imbalance": 48, "paired": 44, "price": 2.5},
    ),
    *_values("stocks", "SPY"),
    Example(
        "options T",
        {"ev": "T", "sym": "O:SPY261218C00650000", "x": 65, "p": 1.5, "s": 2, "c": [233], "t": MS, "q": 651},
        {"ticker": "O:SPY261218C00650000", "exchange": 65, "price": 1.5, "size": 2, "conditions": [233],
         "event_ms": MS, "sequence": 651, "trade_id": None, "volume": 2},
    ),
    Example(
        "options Q",
        {"ev": "Q", "sym": "O:SPY261218P00650000", "bx": 302, "ax": 303, "bp": 9.5, "ap": 10, "bs": 17,
         "as": 24, "t": MS, "q": 844},
        {"ticker": "O:SPY261218P00650000", "bid_exchange": 302, "ask_exchange": 303, "bid": 9.5, "ask": 10,
         "bid_size": 17, "ask_size": 24, "event_ms": MS, "sequence": 844, "price": 9.75},
    ),
    Example("options A", *_bar("A", "O:SPY261218C00650000")),
    Example("options AM", *_bar("AM", "O:SPY261218C00650000")),
    *_values("options", "O:SPY261218C00650000"),
    Example(
        "forex C, exchange a text",
        {"ev": "C", "p": "EUR/USD", "x": "44", "a": 1.25, "b": 1.125, "t": MS},
        {"ticker": "EUR/USD", "exchange": 44, "ask": 1.25, "bid": 1.125, "event_ms": MS, "price": 1.1875},
    ),
    Example(
        "forex C, exchange a number",
        {"ev": "C", "p": "EUR/USD", "x": 48, "a": 1.25, "b": 1.125, "t": MS},
        {"ticker": "EUR/USD", "exchange": 48},
    ),
    Example("forex CA", *_pair_bar("CA", "EUR/USD", 60_000)),
    Example("forex CA, with its end", *_pair_bar("CA", "EUR/USD", 60_000, e=MS + 60_000, vw=1.3, z=4)),
    Example("forex CAS", *_pair_bar("CAS", "EUR/USD", 1000)),
    *_values("forex", "C:EUR-USD"),
    Example(
        "crypto XT",
        {"ev": "XT", "pair": "BTC-USD", "p": 33021.5, "t": MS, "s": 0.01616617, "c": [2], "i": 14272084,
         "x": 3, "r": MS + 151},
        {"ticker": "BTC-USD", "price": 33021.5, "event_ms": MS, "size": 0.01616617, "conditions": [2],
         "trade_id": "14272084", "exchange": 3, "feed_received_ms": MS + 151, "volume": 0.01616617},
    ),
    Example(
        "crypto XT, id a text",
        {"ev": "XT", "pair": "BTC-USD", "p": 1, "t": MS, "s": 2, "c": [], "i": "a-1", "x": 3, "r": MS},
        {"ticker": "BTC-USD", "trade_id": "a-1", "conditions": []},
    ),
    Example(
        "crypto XQ",
        {"ev": "XQ", "pair": "BTC-USD", "bp": 33052.5, "bs": 0.48, "ap": 33073.5, "as": 0.601, "t": MS,
         "x": 1, "r": MS + 13},
        {"ticker": "BTC-USD", "bid": 33052.5, "bid_size": 0.48, "ask": 33073.5, "ask_size": 0.601,
         "event_ms": MS, "exchange": 1, "feed_received_ms": MS + 13, "price": 33063.0, "volume": 0},
    ),
    Example(
        "crypto XL2",
        {"ev": "XL2", "pair": "BTC-USD", "t": MS, "r": MS + 1, "x": 1, "b": [[2.5, 0.5], [2.25, 7]],
         "a": [[3.5, 4]]},
        {"ticker": "BTC-USD", "event_ms": MS, "feed_received_ms": MS + 1, "exchange": 1,
         "bids": [(2.5, 0.5), (2.25, 7)], "asks": [(3.5, 4)], "bid": 2.5, "ask": 3.5, "price": 3.0},
    ),
    Example("crypto XA", *_pair_bar("XA", "BTC-USD", 60_000, e=MS + 60_000, vw=0.75, z=73)),
    Example("crypto XAS", *_pair_bar("XAS", "BTC-USD", 1000, e=MS + 1000, vw=0.75, z=73)),
    *_values("crypto", "X:BTC-USD"),
    Example("indices A", *_bar("A", "I:SPX", volumes=False)),
    Example("indices AM", *_bar("AM", "I:SPX", volumes=False)),
    Example("indices V", *_value("V", "val", "T", "I:SPX", MS)),
    Example(
        "futures T",
        {"ev": "T", "sym": "ESZ6", "p": 6000.25, "s": 3, "t": MS, "q": 12},
        {"ticker": "ESZ6", "price": 6000.25, "size": 3, "event_ms": MS, "sequence": 12, "trade_id": None},
    ),
    Example(
        "futures Q",
        {"ev": "Q", "sym": "ESZ6", "bp": 6000, "bs": 4, "bt": MS - 7, "ap": 6000.25, "as": 5, "at": MS - 9,
         "t": MS},
        {"ticker": "ESZ6", "bid": 6000, "bid_size": 4, "bid_ms": MS - 7, "ask": 6000.25, "ask_size": 5,
         "ask_ms": MS - 9, "event_ms": MS, "sequence": None, "price": 6000.125},
    ),
    *(
        Example(
            f"futures {event_type}",
            {"ev": event_type, "sym": "ESZ6", "v": 3, "dv": 123456.5, "n": 2, "o": 1, "c": 1.5, "h": 2,
             "l": 0.5, "s": MS, "e": MS + 1000},
            {"ticker": "ESZ6", "tick_volume": 3, "dollar_volume": 123456.5, "transactions": 2,
             "tick_open": 1, "tick_close": 1.5, "tick_high": 2, "tick_low": 0.5, "start_ms": MS,
             "event_ms": MS + 1000, "price": 1.5, "volume": 3},
        )
        for event_type in ("A", "AM")
    ),
]  # fmt: skip

NAMES = {
    kind.event_type: {field.encode_name: field.name for field in msgspec.structs.fields(kind)}
    for kind in TICK_KINDS
}
"""Event type to its wire names and the attributes they become."""
