"""A connection in virtual time: a scripted transport in the place of the socket, a clock that we turn."""

import json

import reactivex as rx
from reactivex.disposable import Disposable
from reactivex.scheduler import VirtualTimeScheduler

from pipeline import status
from pipeline.errors import ConnectFailed, PeerClosed
from pipeline.massive.connection import Connection
from pipeline.massive.decode import decode
from pipeline.massive.persistence import Persistence
from pipeline.secret import Secret


class Wire:
    """The transport of one session, as the connection sees it; `say` and `end` are the server's side."""

    def __init__(self, world):
        self.world = world
        self.sent = []
        self.pings = 0
        self.payload = b""
        self.unfinished_bytes = 0
        self.closed = None
        self.approved = False
        self.on_read = self.on_trouble = self.on_pong = None

    def start(self, on_read, on_trouble, on_pong):
        self.on_read, self.on_trouble, self.on_pong = on_read, on_trouble, on_pong

    def approve(self):
        self.approved = True

    def let_hold(self):
        assert self.closed is None

    def send(self, text):
        assert self.closed is None, "sent on a closed socket"
        self.sent.append(json.loads(text))

    def ping(self, payload=b""):
        assert self.closed is None, "pinged on a closed socket"
        self.pings += 1
        self.payload = payload

    def close(self, code=1000):
        if self.closed is None:
            self.closed = code

    # -- the server's side

    def say(self, *elements):
        """Send one frame of these elements; a real transport calls nothing back once it is closed."""
        if self.closed is None:
            message = json.dumps(elements).encode()
            self.on_read(self.world.now_ns, [message], 1, len(message))

    def raw(self, message):
        if self.closed is None:
            self.on_read(self.world.now_ns, [message], 1, len(message))

    def trickle(self, size_bytes):
        """Send so many bytes of a message that is not whole."""
        if self.closed is None:
            self.unfinished_bytes += size_bytes
            self.on_read(self.world.now_ns, [], 0, size_bytes)

    def pong(self, payload=b""):
        if self.closed is None:
            self.on_read(self.world.now_ns, [], 0, 2)
            self.on_pong(payload)

    def end(self, code=None, reason=""):
        if self.closed is None:
            self.closed = code or 1006
            self.on_trouble(PeerClosed(code, reason))

    def status(self, word, message=""):
        self.say({"ev": "status", "status": word, "message": message})

    def greet(self):
        self.status("connected", "Connected Successfully")

    def admit(self):
        self.greet()
        self.status("auth_success", "authenticated")

    def confirm(self, *channels):
        self.say(*({"ev": "status", "status": "success", "message": f"subscribed to: {c}"} for c in channels))

    def subscriptions(self):
        """All channels asked for in this session, in order, one list a request."""
        return [m["params"].split(",") for m in self.sent if m["action"] == "subscribe"]

    def confirm_all(self):
        for request in self.subscriptions():
            self.confirm(*request)


class World:
    """A connection and all that it touches; nothing happens until `run` turns the clock."""

    def __init__(self, *, persistence=None, uniform=lambda: 0.5, channels=("T.A", "Q.A")):
        self.scheduler = VirtualTimeScheduler(1000.0)
        self.events = []
        self.frames = []
        self.completed = False
        self.wires = []
        self.dials = 0
        self.hang = False
        self.refuse = 0
        self.refusal = ConnectFailed("refused")
        self.called_off = 0
        self.wrong_s = 0.0
        """How much the wall clock is off."""
        self.connection = Connection(
            "connection_1",
            name="primary",
            url="ws://127.0.0.1/stocks",
            key=Secret("the-key"),
            opener=self._open,
            scheduler=self.scheduler,
            on_status=self.events.append,
            persistence=persistence or Persistence(),
            clock=lambda: self.now_ns,
            monotonic=lambda: float(self.scheduler.clock),
            uniform=uniform,
        )
        self.connection.want(channels)
        self.subscription = None

    @property
    def now_ns(self):
        return int((float(self.scheduler.clock) + self.wrong_s) * 1e9)

    @property
    def wire(self):
        return self.wires[-1]

    def _open(self, deliver):
        self.dials += 1

        def call_off():
            self.called_off += 1

        if self.hang:
            return Disposable(call_off)
        if self.refuse:
            self.refuse -= 1
            self.scheduler.schedule(lambda *_: deliver(self.refusal))
        else:
            wire = Wire(self)
            self.wires.append(wire)
            self.scheduler.schedule(lambda *_: deliver(wire))
        return Disposable(call_off)

    def start(self):
        def completed():
            self.completed = True

        self.subscription = self.connection.frames.subscribe(self.frames.append, on_completed=completed)
        self.run(0)
        return self

    def run(self, seconds):
        self.scheduler.advance_by(max(seconds, 1e-6))  # by 0 it would run nothing

    def redial(self, within_s=31.0):
        """Turn the clock until the connection has dialled again, and a moment more."""
        dials, limit_s = self.dials, float(self.scheduler.clock) + within_s
        while self.dials == dials:
            assert float(self.scheduler.clock) < limit_s, "no new attempt"
            self.run(0.1)
        self.run(0)

    def go_live(self):
        """Start, admit and confirm everything."""
        self.start()
        self.wire.admit()
        self.wire.confirm_all()
        return self

    def decode(self):
        """Decode all that was read, as late as this, and hand back what is the connection's."""
        rx.from_iterable(self.frames).pipe(
            decode(lambda _, read, found: self.connection.take_statuses(read, found))
        ).subscribe()
        self.run(0)

    def kinds(self):
        return [type(event) for event in self.events]

    def of(self, kind):
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def phase(self):
        return self.connection.snapshot().phase


TRADE = {"ev": "T", "sym": "A", "p": 1.5, "t": 1}

__all__ = ["TRADE", "Wire", "World", "status"]
