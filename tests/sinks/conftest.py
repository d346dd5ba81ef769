"""A real server, somebody who listens to it, and a network that breaks where a test wants it to."""

import contextlib
import select
import socket
import threading
import time
from dataclasses import replace
from functools import partial

import hiredis
import pytest

from operators.runtime import SYSTEM
from pipeline.embedded import RedisServer
from pipeline.sinks.redis import RedisSink
from pipeline.status import SinkDown

DEADLINE_S = 15.0


class Listener:
    """Subscribes to every channel, and tells what came."""

    def __init__(self, port):
        self._socket = socket.create_connection(("127.0.0.1", port), DEADLINE_S)
        self._reader = hiredis.Reader(notEnoughData=...)
        self._socket.sendall(b"PSUBSCRIBE *\r\n")
        assert self._next()[0] == b"psubscribe"

    def messages(self):
        """Return (channel, message) of all that were published since, in order."""
        self._socket.sendall(b"PING\r\n")
        got = []
        while (reply := self._next())[0] != b"pong":
            got.append((reply[2].decode(), reply[3]))
        return got

    def close(self):
        self._socket.close()

    def _next(self):
        while (reply := self._reader.gets()) is ...:
            data = self._socket.recv(1 << 20)
            assert data, "the server closed the listener's connection"
            self._reader.feed(data)
        return reply


class Network:
    """Stands between the sink and the server, and cuts one connection after some bytes.

    Args:
        port: the server's.
        commands_bytes: how many bytes of the first connection reach the server.
        replies_bytes: how many bytes of its replies come back.
        context: of TLS, which then ends here.
    """

    def __init__(self, port, *, commands_bytes=1 << 60, replies_bytes=1 << 60, context=None):
        self._context = context
        self._to = ("127.0.0.1", port)
        self._budgets = [commands_bytes, replies_bytes]
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.connections = 0
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="tickbraid-test-network", daemon=True)
        self._thread.start()

    def close(self):
        self._closed = True
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive()

    def _run(self):
        with self._listening:
            while not self._closed:
                client, _ = self._listening.accept()
                self.connections += 1
                with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
                    stack.enter_context(client)
                    if self._context:
                        client = stack.enter_context(self._context.wrap_socket(client, server_side=True))
                    server = stack.enter_context(socket.create_connection(self._to, 5))
                    self._carry(client, server)
                self._budgets = [1 << 60, 1 << 60]

    def _carry(self, client, server):
        ways = {client: (server, 0), server: (client, 1)}
        while not self._closed:
            for source in select.select([client, server], [], [], 0.05)[0]:
                target, way = ways[source]
                data = source.recv(min(65_536, self._budgets[way]))
                target.sendall(data)
                self._budgets[way] -= len(data)
                if not data or not self._budgets[way]:
                    return


class Slept(threading.Event):
    """An event for which nobody waits: a function is told for how long somebody would have."""

    def __init__(self, sleep):
        super().__init__()
        self._sleep = sleep

    def wait(self, timeout=None):
        self._sleep(timeout)
        return self.is_set()


@pytest.fixture
def eventually():
    """Return a function that waits for a condition, and fails after a deadline."""

    def eventually(condition):
        deadline = time.monotonic() + DEADLINE_S
        while not condition():
            assert time.monotonic() < deadline, "it did not happen"
            time.sleep(0.005)

    return eventually


@pytest.fixture
def server():
    """Run a server for one test, which may do to it whatever it likes."""
    with RedisServer.start() as running:
        yield running


@pytest.fixture
def listen():
    """Return a function that subscribes to a server's channels."""
    with contextlib.ExitStack() as stack:

        def listen(server):
            listener = Listener(server.port)
            stack.callback(listener.close)
            return listener

        yield listen


@pytest.fixture
def network():
    """Return a function that puts a network before a server."""
    with contextlib.ExitStack() as stack:

        def network(server, **limits):
            made = Network(server.port, **limits)
            stack.callback(made.close)
            return made

        yield network


@pytest.fixture
def make_sink():
    """Return a function that makes a sink which is closed after the test; its events are in ``.events``."""
    made = []

    def make(url, **settings):
        events = []
        on_down, on_up = settings.pop("on_down", None), settings.pop("on_up", None)

        def on_status(event):
            events.append(event)
            act = on_down if isinstance(event, SinkDown) else on_up
            if act:
                act()

        parts = {name: settings.pop(name) for name in ("monotonic", "uniform") if name in settings}
        if "sleep" in settings:
            parts["event"] = partial(Slept, settings.pop("sleep"))
        sink = RedisSink(
            url, on_status=on_status, runtime=replace(SYSTEM, clock=lambda: 42, **parts), **settings
        )
        sink.events = events
        made.append(sink)
        return sink

    yield make
    for sink in made:
        sink.close()
