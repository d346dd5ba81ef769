"""A pool with its connections and their servers, in virtual time."""

from dataclasses import replace

from reactivex.disposable import Disposable
from reactivex.scheduler import VirtualTimeScheduler

from operators.runtime import SYSTEM
from pipeline.errors import ConnectFailed
from pipeline.massive.connection import Connection
from pipeline.massive.persistence import Persistence
from pipeline.massive.protocol import ServerStatus
from pipeline.pool import Pool, PoolPolicy
from pipeline.routing.assign import Line, assign
from pipeline.secret import Secret
from tests.massive.virtual import Wire

HOMES = {"c1": ("A", "B"), "c2": ("C", "D"), "c3": ("E", "F")}
TICKERS = [ticker for home in HOMES.values() for ticker in home]


class KindWire(Wire):
    """A server's end that admits, confirms and answers pings at once."""

    def send(self, text):
        super().send(text)
        message = self.sent[-1]
        if message["action"] == "auth":
            self.admitted = True
            self.world.soon(self, lambda: self.status("auth_success"))
            self.world.enforce_limit(self)
        elif message["action"] == "subscribe" and self.world.confirms:
            channels = message["params"].split(",")
            self.held |= set(channels)
            self.world.soon(self, lambda: self.confirm(*channels))
        elif message["action"] == "unsubscribe":
            channels = message["params"].split(",")
            self.held -= set(channels)
            if self.world.confirms:
                self.world.soon(self, lambda: self.say_unsubscribed(*channels))

    def ping(self):
        super().ping()
        self.world.soon(self, self.pong)

    def say_unsubscribed(self, *channels):
        """Confirm as the decoder hands it back, for the connection looks only where it waits for answers."""
        words = [
            ServerStatus(status="success", message=f"unsubscribed to: {channel}") for channel in channels
        ]
        self.world.connections[self.name].take_statuses(self.world.now_ns, words)

    def __init__(self, world):
        super().__init__(world)
        self.held = set()
        self.admitted = False

    def evict(self):
        self.status("max_connections", "Maximum number of websocket connections exceeded.")
        self.end(1008)


class Noted:
    """Notes what the pool says of gaps."""

    def __init__(self):
        self.opened = []
        self.closed = []
        self.is_open = {}

    def open(self, connection, tickers, cut_ns):
        self.opened.append((connection, tuple(tickers), cut_ns))
        for ticker in tickers:
            assert ticker not in self.is_open, "opened twice"
            self.is_open[ticker] = connection

    def close(self, connection, tickers, confirmed_ns):
        self.closed.append((connection, tuple(tickers), confirmed_ns))
        for ticker in tickers:
            assert self.is_open.pop(ticker) == connection

    def forget(self, tickers):
        for ticker in tickers:
            self.is_open.pop(ticker, None)


class PoolWorld:
    """Three real connections and a pool, in virtual time; servers are reached unless they are down."""

    def __init__(self, homes=None, *, limit=99, newest_goes=False, down=(), max_tickers=0, **policy):
        homes = homes or HOMES
        self.scheduler = VirtualTimeScheduler(1000.0)
        self.events = []
        self.down = set(down)
        self.confirms = True
        self.gaps = Noted()
        self.rates = {}
        self.limit = limit
        self.newest_goes = newest_goes
        """Who goes when there are more connections than the limit; else it is the oldest."""
        self.wires = {}
        self.dials = dict.fromkeys(homes, 0)
        self.connections = {name: self._connect(name) for name in homes}
        lines = {
            name: Line(id=name, tickers=tickers, max_tickers=max_tickers) for name, tickers in homes.items()
        }
        wanted = [ticker for tickers in homes.values() for ticker in tickers]
        its_policy = PoolPolicy(**policy)
        self.pool = Pool(
            list(self.connections.values()),
            lines=lines,
            event_types=dict.fromkeys(homes, ("T",)),
            assignment=assign(
                wanted, list(lines.values()), its_policy.strategy, redundant=its_policy.redundant
            ),
            policy=its_policy,
            scheduler=self.scheduler,
            emit=self.events.append,
            gaps=self.gaps,
            measure=lambda: self.rates,
            runtime=replace(SYSTEM, clock=lambda: self.now_ns, monotonic=lambda: float(self.scheduler.clock)),
        )
        self.subscriptions = [c.frames.subscribe(lambda _: None) for c in self.connections.values()]
        self.run(0.1)

    @property
    def now_ns(self):
        return int(float(self.scheduler.clock) * 1e9)

    def _connect(self, name):
        def heard(event):
            self.events.append(event)
            self.pool.hear(event)

        return Connection(
            name,
            name=name,
            url="ws://127.0.0.1/",
            key=Secret("k"),
            opener=lambda deliver: self._open(name, deliver),
            scheduler=self.scheduler,
            on_status=heard,
            persistence=Persistence(base_delay_s=0.1, max_delay_s=0.5),
            clock=lambda: self.now_ns,
            monotonic=lambda: float(self.scheduler.clock),
            uniform=lambda: 0.9,
        )

    def _open(self, name, deliver):
        self.dials[name] += 1

        def answer(*_):
            if name in self.down:
                deliver(ConnectFailed("down"))
                return
            self.wires[name] = KindWire(self)
            self.wires[name].name = name
            self.wires[name].since = sum(self.dials.values())
            deliver(self.wires[name])
            self.soon(self.wires[name], self.wires[name].greet)

        self.scheduler.schedule_relative(0.01, answer)
        return Disposable()

    def enforce_limit(self, newest):
        """Send one away if there are too many; other programs that use the key count, too."""
        ours = [wire for wire in self.wires.values() if wire.admitted and wire.closed is None]
        if len(ours) > self.limit:
            oldest = min(ours, key=lambda wire: wire.since)
            gone = newest if self.newest_goes else oldest
            gone.admitted = False
            self.scheduler.schedule_relative(0.002, lambda *_: gone.evict())

    def soon(self, wire, action):
        self.scheduler.schedule_relative(0.001, lambda *_: action() if wire.closed is None else None)

    def run(self, seconds):
        self.scheduler.advance_by(max(seconds, 1e-6))

    def kill(self, name):
        self.down.add(name)
        if name in self.wires:
            self.wires[name].end(1006)

    def revive(self, name):
        self.down.discard(name)

    def held(self):
        """Tickers by connection, as the living servers hold them."""
        return {
            name: {channel.partition(".")[2] for channel in wire.held}
            for name, wire in self.wires.items()
            if wire.closed is None
        }

    def of(self, kind):
        return [event for event in self.events if isinstance(event, kind)]


def up(world):
    """Return the connections that have a session."""
    return set(world.held())
