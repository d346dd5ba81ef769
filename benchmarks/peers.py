"""Contenders that speak another feed's protocol: the sender speaks it too, with ticks like those of ours.

Each is run as its documentation shows, with its own decoding and its own types.
"""

import asyncio
from typing import Any

from benchmarks.turns import Turn, measure

__all__ = ["alpaca", "cryptofeed", "unicorn"]


class _Count:
    """Counts what its coroutine is given."""

    def __init__(self) -> None:
        self.value = 0

    async def __call__(self, *_: Any) -> None:
        self.value += 1


def alpaca(turn: Turn) -> None:
    """Run Alpaca's client: MessagePack into pydantic models, a coroutine a tick."""
    from alpaca.data.live import StockDataStream

    count = _Count()
    measure(turn, lambda: count.value)
    stream = StockDataStream("key", "secret", url_override=f"ws://127.0.0.1:{turn.port}")

    async def on_tick(_: Any) -> None:
        count.value += 1

    stream.subscribe_trades(on_tick, "*")
    stream.subscribe_quotes(on_tick, "*")
    stream.run()


def cryptofeed(turn: Turn) -> None:
    """Run cryptofeed on BitMEX's trades: JSON into its own C types, a coroutine a trade."""
    import uvloop
    from cryptofeed import FeedHandler
    from cryptofeed.connection import WebsocketEndpoint
    from cryptofeed.defines import TRADES
    from cryptofeed.exchanges import Bitmex
    from cryptofeed.symbols import Symbols

    count = _Count()
    measure(turn, lambda: count.value)
    # In the place of what it would ask the exchange for.
    instrument = {"rootSymbol": "XBT", "quoteCurrency": "USD", "typ": "FFWCSX", "symbol": "XBTUSD"}
    Symbols.set(Bitmex.id, *Bitmex._parse_symbol_data([instrument | {"tickSize": 0.5, "isQuanto": False}]))  # noqa: SLF001  # it has no public way

    class Loopback(Bitmex):  # type: ignore[misc]  # it ships no types
        address = f"127.0.0.1:{turn.port}"
        websocket_endpoints = (WebsocketEndpoint(f"wss://{address}", authentication=True),)

        async def _ws_authentication(self, _: str, options: dict[str, Any]) -> tuple[str, dict[str, Any]]:
            return f"ws://{self.address}", options  # it refuses ws:// anywhere but here

    asyncio.set_event_loop(uvloop.new_event_loop())  # it expects one to be there
    handler = FeedHandler(config={"log": {"disabled": True}})
    handler.add_feed(Loopback(symbols=["BTC-USD-PERP"], channels=[TRADES], callbacks={TRADES: count}))
    handler.run()


def unicorn(turn: Turn) -> None:
    """Run unicorn-binance-websocket-api on picows, its faster library: JSON into dicts, a call a trade."""
    from unicorn_binance_websocket_api import BinanceWebSocketApiManager

    count = 0

    def on_trade(_: Any) -> None:
        nonlocal count
        count += 1

    measure(turn, lambda: count)
    manager = BinanceWebSocketApiManager(
        process_stream_data=on_trade,
        output_default="dict",
        websocket_library="picows",
        websocket_base_uri=f"ws://127.0.0.1:{turn.port}/",
        high_performance=True,
        warn_on_update=False,
        disable_colorama=True,
    )
    manager.create_stream("trade", "btcusdt")
    asyncio.run(asyncio.sleep(3600))
