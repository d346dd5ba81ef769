"""The contenders: each connects to the sender and counts ticks in a callback, called tick by tick.

Run by `benchmarks.turns`, each in a process of its own.
"""

import asyncio
import json
import sys
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from benchmarks import peers
from benchmarks.templates import TICKERS
from benchmarks.turns import CLIENT_CORE, Turn, measure, pin

__all__ = ["CLIENTS", "Client"]

KEY: Final = "key"
AUTH: Final = json.dumps({"action": "auth", "params": KEY})
SUBSCRIBE: Final = json.dumps({"action": "subscribe", "params": "T.*,Q.*"})


def counter() -> tuple[Callable[[Any], None], Callable[[], int]]:
    """Return a callback for ticks and what reads its count."""
    count = 0

    def on_tick(_: Any) -> None:
        nonlocal count
        count += 1

    return on_tick, lambda: count


def raw(turn: Turn) -> None:
    """Only read: what no client can exceed."""
    import websocket

    size = 0
    measure(turn, lambda: size / turn.bytes_a_tick)
    connection = websocket.create_connection(f"ws://127.0.0.1:{turn.port}/stocks")
    connection.recv()
    connection.send(AUTH)
    connection.send(SUBSCRIBE)
    buffer = bytearray(1 << 16)
    sock: Any = connection.sock
    while got := sock.recv_into(buffer):
        size += got


def limit(turn: Turn) -> None:
    """Put the fastest pieces together bare: picows, msgspec into our types, a callback."""
    import msgspec
    import picows

    from pipeline.massive.decode import Element

    on_tick, read = counter()
    decode = msgspec.json.Decoder(list[Element]).decode

    class Listener(picows.WSListener):  # type: ignore[misc]  # it ships no types
        def on_ws_connected(self, transport: Any) -> None:
            transport.send(picows.WSMsgType.TEXT, AUTH.encode())
            transport.send(picows.WSMsgType.TEXT, SUBSCRIBE.encode())

        def on_ws_frame(self, _: Any, frame: Any) -> None:
            for tick in decode(frame.get_payload_as_memoryview()):
                on_tick(tick)

    async def run() -> None:
        transport, _ = await picows.ws_connect(Listener, f"ws://127.0.0.1:{turn.port}/stocks")
        await transport.wait_disconnected()

    measure(turn, read)
    asyncio.run(run())


def official(turn: Turn) -> None:
    """Run Massive's own client."""
    from massive import WebSocketClient

    on_tick, read = counter()

    def handle(messages: list[Any]) -> None:
        for message in messages:
            on_tick(message)

    measure(turn, read)
    feed = f"127.0.0.1:{turn.port}"
    subscriptions = ["T.*", "Q.*"]
    WebSocketClient(KEY, feed=feed, market="stocks", secure=False, subscriptions=subscriptions).run(handle)


def naive(turn: Turn) -> None:
    """Do as most scripts do: WebSocketApp, json, a Subject that is given tick by tick."""
    import websocket
    from reactivex import Subject

    on_tick, read = counter()
    subject: Subject[Any] = Subject()
    subject.subscribe(on_tick)

    def on_open(app: Any) -> None:
        app.send(AUTH)
        app.send(SUBSCRIBE)

    def on_message(_: Any, message: str) -> None:
        for event in json.loads(message):
            if event["ev"] != "status":
                subject.on_next(event)

    measure(turn, read)
    url = f"ws://127.0.0.1:{turn.port}/stocks"
    websocket.WebSocketApp(url, on_open=on_open, on_message=on_message).run_forever()


def config_for(port: int, connections: int, **more: Any) -> dict[str, Any]:
    """Return the settings of a stream over so many connections, each with its part of the tickers."""
    config: dict[str, Any] = {
        "USE_MASSIVE_API": True,
        "MASSIVE_API_KEY": KEY,
        "MASSIVE_WEBSOCKET_URL": f"ws://127.0.0.1:{port}/stocks",
        "MASSIVE_EVENT_TYPES": "T,Q",
        "USE_MULTI_CONNECTION": True,
        "WEBSOCKET_CONNECTIONS_MAX": 3,
        "SUBSCRIBER_OVERFLOW": "block",
    }
    for number in range(connections):
        config[f"WEBSOCKET_CONNECTION_{number + 1}_ENABLED"] = True
        config[f"WEBSOCKET_CONNECTION_{number + 1}_SYMBOLS"] = list(TICKERS[number::connections])
    return config | more


def tickbraid(turn: Turn, connections: int, *, batches: bool = False) -> None:
    """Run the whole pipeline, everything on, with one subscriber."""
    import threading

    from pipeline import build_pipeline

    on_tick, read = counter()
    count = 0

    def on_batch(batch: Any) -> None:
        nonlocal count
        count += len(batch.ticks)

    stream = build_pipeline(config_for(turn.port, connections))

    def finish() -> dict[str, Any]:
        account = stream.account()
        lost = account.deduplicated + account.dropped + account.rejected + abs(account.imbalance)
        if lost:
            raise AssertionError(f"not every tick was delivered once: {account}")
        return {"account": str(account)}

    measure(turn, (lambda: count) if batches else read, finish, tells=True)
    if batches:
        stream.batches.subscribe(on_batch)
    else:
        stream.subscribe(on_tick)
    threading.Event().wait()


class Client(NamedTuple):
    """Says how a contender is run and what of a feed it reads."""

    run: Callable[[Turn], None]
    title: str
    dialect: str = "massive"
    sizes: tuple[int, ...] = (1, 10, 100)
    """Events a frame that its feed can carry."""


CLIENTS: Final = {
    "raw": Client(raw, "a bare `recv` loop: what the sender can do"),
    "limit": Client(limit, "the limit: picows + msgspec + callback, nothing else"),
    "official": Client(official, "`massive`, the official client"),
    "naive": Client(naive, "WebSocketApp + json + Subject"),
    "alpaca": Client(peers.alpaca, "alpaca-py", "alpaca"),
    "cryptofeed": Client(peers.cryptofeed, "cryptofeed (BitMEX trades)", "bitmex"),
    "unicorn": Client(peers.unicorn, "unicorn-binance on picows", "binance", sizes=(1,)),
    "ours": Client(lambda turn: tickbraid(turn, 3), "**Tickbraid**, three connections"),
    "ours-1": Client(lambda turn: tickbraid(turn, 1), "**Tickbraid**, one connection"),
    "batches": Client(lambda turn: tickbraid(turn, 3, batches=True), "**Tickbraid**, `stream.batches`"),
}


def main() -> None:
    """Run a client."""
    _, name, turn = sys.argv
    pin(CLIENT_CORE)
    CLIENTS[name].run(Turn(**json.loads(turn)))


if __name__ == "__main__":
    main()
