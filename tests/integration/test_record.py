"""What we deliver, held against what the other side made: a server of the library `websockets`, not ours."""

import json
import random
import threading
from collections import Counter

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import serve

from pipeline import build_pipeline
from tests.conftest import wait_until
from tests.integration.harness import KEY

DAY_MS = 86_400_000
NOON_MS = 1_772_553_600_000  # 2026-03-03, in the morning of New York
LENGTHS = (1, 1, 2, 3, 8, 40, 400, 900)
"""Elements a message: from 100 bytes to 90 KB, so that every length class of a frame comes, in any order."""


class Feed:
    """Makes trades and quotes for two days, and keeps a record of each; sends them over any connection."""

    def __init__(self, seed, count):
        self.random = random.Random(seed)
        self.made = Counter()
        self.days = [self._day(day, count) for day in range(2)]

    def _day(self, day, count):
        """Return the messages of a day; ids and sequences begin at 1 each day."""
        elements = []
        for number in range(1, count + 1):
            ticker = self.random.choice(["AAPL", "BRK.B", "BACpL"])
            at_ms = NOON_MS + day * DAY_MS + number
            common = {"sym": ticker, "t": at_ms, "q": number}
            if self.random.random() < 0.3:
                self.made["T", ticker, day, number] += 1
                element = {"ev": "T", "x": 4, "i": str(number), "p": 1.5, "s": 10} | common
            else:
                self.made["Q", ticker, day, number] += 1
                element = {"ev": "Q", "bp": 1.5, "bs": 1, "ap": 1.6, "as": 2} | common
            elements.append(self._spelled(element))
        messages = []
        while elements:
            size = self.random.choice(LENGTHS)
            messages.append("[" + ",".join(elements[:size]) + "]")
            del elements[:size]
        return messages

    def _spelled(self, element):
        """Write an element as some encoder would: with spaces, in another order, with an unknown field."""
        way = self.random.random()
        if way < 0.7:
            return json.dumps(element, separators=(",", ":"))
        if way < 0.8:
            return json.dumps(element)
        if way < 0.9:
            return json.dumps(dict(reversed(element.items())), separators=(",", ":"))
        return json.dumps(element | {"new": {"ev": "Q", "x": ["}", "]", "\u2028"]}}, separators=(",", ":"))


class Server:
    """Speaks Massive's protocol on `websockets`; each connection gets the days of a feed."""

    def __init__(self, feed, *, copies):
        self.feed = feed
        self.copies = copies
        self.sent = 0
        self._go_on = threading.Event()
        self._server = serve(self._serve, "127.0.0.1", 0, compression=None)
        self.port = self._server.socket.getsockname()[1]
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._thread.join(5)

    def _serve(self, connection):
        def say(status, message):
            connection.send(json.dumps([{"ev": "status", "status": status, "message": message}]))

        try:
            say("connected", "Connected Successfully")
            while json.loads(asked := connection.recv())["action"] != "subscribe":
                say("auth_success", "authenticated")
            for channel in json.loads(asked)["params"].split(","):
                say("success", f"subscribed to: {channel}")
            chance = random.Random(connection.local_address[1])
            for day in self.feed.days:
                for message in day:
                    connection.send(message)
                    if self.copies and chance.random() < 0.2:
                        connection.send(message)
            self.sent += 1
            connection.recv()
        except ConnectionClosed:
            pass


@pytest.mark.parametrize("connections", [1, 2])
@pytest.mark.parametrize("seed", range(3))
def test_each_tick_that_was_made_is_delivered_once(seed, connections):
    """An account that balances says nothing of ticks that none of our counters ever saw."""
    feed, got = Feed(seed, 6_000), Counter()

    def on_tick(tick):
        day = (tick.event_ms - NOON_MS) // DAY_MS
        number = int(tick.trade_id) if tick.event_type == "T" else tick.sequence
        got[tick.event_type, tick.ticker, day, number] += 1

    config = {
        "USE_MASSIVE_API": True,
        "MASSIVE_API_KEY": KEY,
        "MASSIVE_EVENT_TYPES": "T,Q",
        "USE_MULTI_CONNECTION": True,
        "SUBSCRIBER_OVERFLOW": "block",
        "WEBSOCKET_REDUNDANT_SYMBOLS": "AAPL,BRK.B,BACpL" if connections == 2 else "",
    }
    with Server(feed, copies=True) as server:
        for number in range(1, connections + 1):
            config[f"WEBSOCKET_CONNECTION_{number}_ENABLED"] = True
            config[f"WEBSOCKET_CONNECTION_{number}_URL"] = f"ws://127.0.0.1:{server.port}/stocks"
            config[f"WEBSOCKET_CONNECTION_{number}_SYMBOLS"] = "AAPL,BRK.B,BACpL"
        with build_pipeline(config) as stream:
            stream.subscribe(on_tick)
            wait_until(lambda: server.sent == connections, 40, "the end of what is sent")
            wait_until(lambda: got.total() >= feed.made.total() and not stream.account().queued, 20)
            account = stream.account()
    assert got == feed.made
    assert (account.rejected, account.dropped, account.imbalance) == (0, 0, 0)
