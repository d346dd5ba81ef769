import contextlib
import json
import socket
import struct
import threading

from reactivex.disposable import Disposable

from operators.runtime import SYSTEM
from pipeline import status
from pipeline.massive.connection import Connection
from pipeline.massive.loop import SocketLoop
from pipeline.massive.persistence import Persistence
from pipeline.massive.snapshot import Phase
from pipeline.massive.socket import WireSocket
from pipeline.secret import Secret
from tests.conftest import wait_until
from tests.massive.naive_framing import frame


def say(**element) -> bytes:
    """Build a message of one status element."""
    return frame(json.dumps([{"ev": "status", **element}]).encode())


def test_a_server_that_sends_bytes_and_no_message_is_left(monkeypatch):
    """Over a socket: it answers each ping, and a message of which bytes come for ever is never whole."""
    monkeypatch.setattr("pipeline.massive.watch.SLOWEST_BYTES_S", 10_000_000)
    ours, server = socket.socketpair()
    server.settimeout(5)
    loop, events = SocketLoop(), []

    def open_once(deliver):
        loop.schedule(lambda *_: deliver(WireSocket(ours, loop, clock=SYSTEM.clock)))
        return Disposable()

    connection = Connection(
        "connection_1",
        name="primary",
        url="ws://127.0.0.1/stocks",
        key=Secret("the-key"),
        opener=open_once,
        scheduler=loop,
        on_status=events.append,
        clock=SYSTEM.clock,
        monotonic=SYSTEM.monotonic,
        uniform=SYSTEM.uniform,
        persistence=Persistence(ping_interval_s=0.2, ping_timeout_s=0.1, base_delay_s=60.0),
    )
    subscription = connection.frames.subscribe()
    gone = threading.Event()

    def serve():
        server.sendall(say(status="connected", message="Connected Successfully"))
        server.sendall(say(status="auth_success", message="authenticated"))
        server.sendall(b"\x81\x7f" + struct.pack("!Q", 1_000_000))
        with contextlib.suppress(OSError):  # the other side has closed
            while not gone.wait(0.02):
                server.sendall(b"xxxx")

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        (lost,) = wait_until(lambda: [e for e in list(events) if isinstance(e, status.Disconnected)])
        assert "not whole after" in lost.reason
        assert connection.snapshot().phase is Phase.BACKING_OFF
    finally:
        gone.set()
        subscription.dispose()
        loop.dispose()
        server.close()
        thread.join(5)
