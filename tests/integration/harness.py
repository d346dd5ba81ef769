"""What the integration tests share: settings for a simulator, a collecting callback, a Redis listener."""

import contextlib
import socket
import threading
from collections import Counter, defaultdict
from urllib.parse import urlsplit

import hiredis
import redis

from pipeline import build_pipeline
from tests.conftest import wait_until

KEY = "the-key-of-the-simulator"


def config_for(simulator, *symbols, **more):
    """Return settings for as many connections as lists of symbols are given."""
    config = {
        "USE_MASSIVE_API": True,
        "MASSIVE_API_KEY": KEY,
        "MASSIVE_WEBSOCKET_URL": simulator.url,
        "MASSIVE_EVENT_TYPES": "T,Q",
        "MASSIVE_WEBSOCKET_RECONNECT_DELAY": 0.1,
        "MASSIVE_WEBSOCKET_RECONNECT_MAX_DELAY": 0.3,
        "USE_MULTI_CONNECTION": True,
        "WEBSOCKET_CONNECTIONS_MAX": max(3, len(symbols)),
        "SUBSCRIBER_OVERFLOW": "block",
    }
    for number, its_symbols in enumerate(symbols, start=1):
        config[f"WEBSOCKET_CONNECTION_{number}_ENABLED"] = True
        config[f"WEBSOCKET_CONNECTION_{number}_SYMBOLS"] = list(its_symbols)
    return config | more


class Run:
    """A stream with a collecting callback and its status events; a context manager that closes it."""

    def __init__(self, config, *, overflow=None):
        self.stream = build_pipeline(config)
        self.ticks = defaultdict(list)
        self.count = 0
        self.events = []
        self.threads = set()
        self.completed = threading.Event()

    def __enter__(self):
        self.stream.status.subscribe(self.events.append)
        self.subscription = self.stream.subscribe(self._take, on_completed=self.completed.set)
        return self

    def __exit__(self, *_):
        self.stream.close()

    def _take(self, tick):
        self.threads.add(threading.current_thread().name)
        self.ticks[tick.event_type, tick.ticker].append(tick)
        self.count += 1

    def of(self, kind, connection=None):
        """Return the status events of a kind, of one connection or all."""
        return [
            event
            for event in list(self.events)
            if isinstance(event, kind) and connection in {None, event.connection}
        ]

    def by_channel(self):
        """Count what the callback got, by channel."""
        return Counter({f"{kind}.{ticker}": len(ticks) for (kind, ticker), ticks in list(self.ticks.items())})

    def wait_confirmed(self, channels):
        """Wait until so many channels are confirmed, on all connections together."""

        def confirmed():
            return sum(c["confirmed"] for c in self.stream.health()["connections"]) >= channels

        wait_until(confirmed, 15, f"{channels} confirmed channels")


class RedisListener:
    """Keeps what a Redis server publishes on channels, read as fast as it comes."""

    def __init__(self, url, *channels):
        with redis.Redis.from_url(url) as client:
            # A subscriber that falls behind is cut off by default; here the count must be exact.
            client.config_set("client-output-buffer-limit", "pubsub 0 0 0")
        self.messages = {channel: [] for channel in channels}
        address = urlsplit(url)
        self._socket = socket.create_connection((address.hostname, address.port))
        self._socket.sendall(f"SUBSCRIBE {' '.join(channels)}\r\n".encode())
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()
        assert self._ready.wait(10)

    def counts(self):
        return {channel: len(messages) for channel, messages in self.messages.items()}

    def close(self):
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)
        self._socket.close()

    def _listen(self):
        reader = hiredis.Reader(notEnoughData=...)
        subscribed = 0
        while data := self._socket.recv(1 << 16):
            reader.feed(data)
            while (reply := reader.gets()) is not ...:
                if reply[0] == b"message":
                    self.messages[reply[1].decode()].append(reply[2])
                else:
                    subscribed += 1
                    if subscribed == len(self.messages):
                        self._ready.set()


class Gate:
    """A TCP proxy on loopback that can be shut: connections are cut and new ones refused until it opens."""

    def __init__(self, port):
        self._to = ("127.0.0.1", port)
        self._listener = None
        self._port = 0
        self._lock = threading.Lock()
        self._socks = set()
        self._threads = []
        self.open()

    @property
    def url(self):
        return f"ws://127.0.0.1:{self._port}/stocks"

    def open(self):
        self._listener = socket.create_server(("127.0.0.1", self._port))
        self._port = self._listener.getsockname()[1]
        self._start(self._accept, self._listener)

    def shut(self):
        # Only a shutdown wakes the thread that waits in accept.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            socks, self._socks = self._socks, set()
        for sock in socks:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
        self._threads.clear()

    def _start(self, target, *arguments):
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener):
        with contextlib.suppress(OSError):
            while True:
                near, _ = listener.accept()
                far = socket.create_connection(self._to)
                with self._lock:
                    self._socks |= {near, far}
                self._start(self._pump, near, far)
                self._start(self._pump, far, near)

    def _pump(self, source, target):
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(data)
        for sock in (source, target):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        source.close()
