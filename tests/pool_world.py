"""A pool with its connections and their servers, in virtual time."""

from collections import defaultdict
from dataclasses import replace

from reactivex import Subject
from reactivex.disposable import Disposable
from reactivex.scheduler import VirtualTimeScheduler

from operators.dedupe import dedupe
from operators.runtime import SYSTEM
from pipeline import status
from pipeline.activity import Activity
from pipeline.bars import FirstBars
from pipeline.errors import ConnectFailed
from pipeline.gaps import Gaps
from pipeline.identity import Seen
from pipeline.massive.connection import Connection
from pipeline.massive.decode import decode
from pipeline.massive.persistence import Persistence
from pipeline.pool import Pool, PoolPolicy
from pipeline.routing.assign import Line, assign
from pipeline.secret import Secret
from pipeline.tracks import Tracks
from tests.massive.virtual import Wire

HOMES = {"c1": ("A", "B"), "c2": ("C", "D"), "c3": ("E", "F")}
TICKERS = [ticker for home in HOMES.values() for ticker in home]


class KindWire(Wire):
    """A server's end that admits, confirms and answers pings at once."""

    def send(self, text):
        super().send(text)
        message = self.sent[-1]
        if self.half:
            return
        if message["action"] == "auth":
            self.admitted = True
            self.world.soon(self, lambda: self.status("auth_success"))
            self.world.enforce_limit(self)
        elif message["action"] == "subscribe" and self.world.confirms:
            refused = self.world.refused.get(self.name, frozenset())
            channels = [channel for channel in message["params"].split(",") if channel not in refused]
            self.held |= set(channels)
            answered = [channel for channel in channels if channel not in self.world.unanswered]
            self.world.soon(self, lambda: self.confirm(*answered))
            if not refused.isdisjoint(message["params"].split(",")):
                self.world.soon(self, lambda: self.status("error", "not authorized"))
        elif message["action"] == "unsubscribe":
            channels = message["params"].split(",")
            self.held -= set(channels)
            if self.world.confirms:
                self.world.soon(self, lambda: self.say_unsubscribed(*channels))

    def ping(self, payload=b""):
        super().ping(payload)
        if not self.half:
            self.world.soon(self, lambda: self.pong(payload))

    def say_unsubscribed(self, *channels):
        self.say(
            *({"ev": "status", "status": "success", "message": f"unsubscribed to: {c}"} for c in channels)
        )

    def __init__(self, world):
        super().__init__(world)
        self.held = set()
        self.admitted = False
        self.half = False
        """Nothing goes either way any more, and nobody is told."""
        self.mute = False
        """It answers, and brings no ticks."""

    def evict(self):
        self.status("max_connections", "Maximum number of websocket connections exceeded.")
        self.end(1008)


class PoolWorld:
    """Three real connections and a pool, in virtual time; servers are reached unless they are down."""

    def __init__(self, homes=None, *, limit=99, newest_goes=False, down=(), max_tickers=0, **policy):
        homes = homes or HOMES
        self.scheduler = VirtualTimeScheduler(1000.0)
        self.events = []
        self.down = set(down)
        self.confirms = True
        self.wrong_s = 0.0
        """How much our wall clock is off."""
        self.unanswered = set()
        """Channels whose acknowledgements are lost."""
        self.refused = {}
        """By connection, channels that its server does not allow."""
        self.made = defaultdict(list)
        self.delivered = defaultdict(list)
        self.runtime = replace(
            SYSTEM, clock=lambda: self.now_ns, monotonic=lambda: float(self.scheduler.clock)
        )
        tracks = Tracks()
        # Nothing waits here to be decoded, so what comes after the reads until now comes now.
        self.gaps = Gaps(tracks, self.events.append, self.scheduler, lambda action: action(), self.runtime)
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
            runtime=self.runtime,
        )
        frames = Subject()
        frames.pipe(
            decode(lambda name, read, found: self.connections[name].take_statuses(read, found)),
            dedupe(lambda: Seen(1000, tracks)),
            Activity(self.gaps, tracks, FirstBars(), self.runtime),
        ).subscribe(self._deliver)
        self.subscriptions = [c.frames.subscribe(frames.on_next) for c in self.connections.values()]
        self.run(0.1)

    @property
    def now_ns(self):
        """What our clock says."""
        return self.true_ns + round(self.wrong_s * 1e9)

    @property
    def true_ns(self):
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

    def _deliver(self, batch):
        for tick in batch.ticks:
            self.delivered[f"{tick.event_type}.{tick.ticker}"].append(tick.event_ns)

    def tick(self, *tickers):
        """Let each of these be traded; whose server knows it and lives is sent it."""
        for ticker in tickers:
            self.run(0.002)
            channel, event_ms = f"T.{ticker}", self.true_ns // 1_000_000
            self.made[channel].append(event_ms * 1_000_000)
            trade = {"ev": "T", "sym": ticker, "p": 1.5, "i": str(event_ms), "x": 4, "t": event_ms}
            for wire in list(self.wires.values()):
                if {channel, "T.*"} & wire.held and not wire.half and not wire.mute:
                    wire.say(trade)

    def tick_for(self, seconds, *tickers, every_s=0.1):
        """Let these be traded for so long."""
        for _ in range(round(seconds / every_s)):
            self.tick(*tickers)
            self.run(every_s - 0.002 * len(tickers))

    def told(self):
        """Return the gaps told: the connection, the reason and the gap."""
        return [(loss.connection, loss.reason, gap) for loss in self.of(status.Loss) for gap in loss.gaps]

    def told_of(self):
        """Return whose gaps were told."""
        return sorted((connection, gap.ticker) for connection, _, gap in self.told())

    def undeclared(self):
        """Return what was made, not delivered, and in no gap told."""
        gaps = [gap for _, _, gap in self.told()]
        return [
            (channel, at_ns)
            for channel, times in self.made.items()
            for at_ns in times
            if at_ns not in self.delivered[channel]
            and not any(gap.channel in {channel, "T.*"} and gap.from_ns < at_ns < gap.to_ns for gap in gaps)
        ]

    def inside(self):
        """Return what was delivered inside a gap told."""
        return [
            (gap, at_ns)
            for _, _, gap in self.told()
            for at_ns in self.delivered[gap.channel]
            if gap.from_ns < at_ns < gap.to_ns
        ]

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
