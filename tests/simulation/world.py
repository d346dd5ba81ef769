"""One world put together and run: the real stream on a simulated system, and what the oracle says of it."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Final
from unittest.mock import patch

import msgspec
from reactivex import abc

from pipeline import status
from pipeline.build import braid_stream
from pipeline.errors import Closed
from pipeline.massive.protocol import ACK_TIMEOUT_S
from pipeline.massive.simulator import Acks, Eviction, Options
from pipeline.seating import OVERLAP_S
from pipeline.settings import Settings, load_settings
from tests.simulation.actions import ACTIONS, Actions
from tests.simulation.carriage import Carriage
from tests.simulation.kernel import Died, Kernel, Livelock
from tests.simulation.market import Hours, Market, key_of_price
from tests.simulation.massive import Massive
from tests.simulation.massive_faults import MassiveFaults
from tests.simulation.model import Accounts, Context, judge, judge_liveness, judge_telling
from tests.simulation.network import Link, Name, Network, Obstacle, ServerEnd, runtime_of
from tests.simulation.phases import Phases
from tests.simulation.record import Record, Session
from tests.simulation.redis import Redis
from tests.simulation.redis_faults import RedisFaults
from tests.simulation.schedule import Fault, Schedule, World
from tests.simulation.users import Callback, TakesBatches
from tests.simulation.verdicts import Statement, Verdict

__all__ = ["Outcome", "Run", "bound_s", "judge_world"]

KEY: Final = "key"
PER_TICKER: Final = "ticks."
_ALL: Final = {
    "REDIS_CHANNEL_TICKER_PREFIX": PER_TICKER,
    "REDIS_CHANNEL_ALL": "all",
    "REDIS_CHANNEL_RAW_BATCH": "raw.batch",
}
REDIS_CHANNELS: Final[dict[str, dict[str, str]]] = {
    "usual": {},
    "all": _ALL,
    "batch": {"REDIS_CHANNEL_RAW": "", "REDIS_CHANNEL_MARKET": "", "REDIS_CHANNEL_RAW_BATCH": "raw.batch"},
}
HOST: Final = "feed.example"
HERE: Final = Name(("2001:db8::1", "192.0.2.1"))
DIALS: Final = "tickbraid-dial-"
"""Begins the name of the thread that opens a connection's socket."""
PORT: Final = 8765
REDIS_PORT: Final = 6379
DELIVERY_S: Final = 1.5
"""What was sent has come after so long, over the slowest link of a quiet world."""
TRIES_MOST: Final = 50
TRY_AGAIN_S: Final = 0.1
TELL_S: Final = 3.0
"""What was dropped is told within so long: drops of a second are told together."""
CLOSE_S: Final = 10.0
"""The drain takes 5 s at most, and each subscriber that hangs 2 s more, all of them at once."""
FIRST_USERS: Final = 3
HANG_S: Final = 40.0
"""User code hangs for less."""
SMALL_INGEST_BYTES: Final = 1_000_000
TOLD: Final = (status.Loss, status.SubscriberFailed, status.SinkDown, status.SinkUp)
"""Events that are told of what was lost; nothing else that the product says is looked at."""
STALE_S: Final = 15.0
"""A feed that stopped is found and asked for anew within so long after a look at it."""


@dataclass(slots=True)
class Outcome:
    """What came of a run.

    Args:
        schedule: what was run.
        verdicts: what is wrong, by time.
        digest: of everything that could be observed.
        effects: what faults did, by (fault, what).
        pairs: in which phase of the pool a fault hit something, by (fault, phase).
        lines: the trace, where it is kept.
        made: ticks that the market made.
        delivered: calls of subscribers.
        missed: due ticks that no socket read.
    """

    schedule: Schedule
    verdicts: list[Verdict] = field(default_factory=list)
    digest: str = ""
    effects: Counter[tuple[str, str]] = field(default_factory=Counter)
    pairs: Counter[tuple[str, str]] = field(default_factory=Counter)
    lines: list[tuple[Any, ...]] = field(default_factory=list)
    made: int = 0
    delivered: int = 0
    missed: int = 0


def config_of(world: World) -> dict[str, Any]:
    """Return the settings of a world, as a user would write them."""
    config: dict[str, Any] = {
        "USE_MASSIVE_API": True,
        "MASSIVE_API_KEY": KEY,
        "MASSIVE_WEBSOCKET_URL": f"ws://127.0.0.1:{PORT}/{world.market}",
        "MASSIVE_EVENT_TYPES": ",".join(world.kinds),
        "USE_MULTI_CONNECTION": world.connections > 1,
        "WEBSOCKET_CONNECTIONS_MAX": world.connections,
        "WEBSOCKET_ROUTING_STRATEGY": world.strategy,
        "WEBSOCKET_FAILOVER_ENABLED": world.failover,
        "WEBSOCKET_AUTO_REBALANCE": world.rebalance,
        "WEBSOCKET_REDUNDANT_SYMBOLS": ",".join(world.names[: world.redundant]),
        "WEBSOCKET_START_EMPTY": True,
        "SUBSCRIBER_BUFFER_TICKS": world.buffer_ticks,
        "SUBSCRIBER_OVERFLOW": world.overflow,
        "SUBSCRIBER_MAX_AGE_MS": 0 if world.overflow == "block" else world.max_age_ms,
        "INGEST_BUFFER_BYTES": world.ingest_bytes,
        "DEDUPE_WINDOW": world.dedupe_window,
        "REDIS_ENABLED": world.redis,
    }
    if world.redis:
        config |= {"REDIS_URL": f"redis://127.0.0.1:{REDIS_PORT}/0", **REDIS_CHANNELS[world.channels]}
    for number in range(1, world.connections + 1):
        config[f"WEBSOCKET_CONNECTION_{number}_ENABLED"] = True
        config[f"WEBSOCKET_CONNECTION_{number}_SYMBOLS"] = list(world.names[number - 1 :: world.connections])
    if world.quick:
        config |= {
            "MASSIVE_PING_INTERVAL": 2,
            "MASSIVE_PING_TIMEOUT": 2,
            "MASSIVE_WEBSOCKET_RECONNECT_DELAY": 0.5,
            "MASSIVE_WEBSOCKET_RECONNECT_MAX_DELAY": 3,
            "WEBSOCKET_HEALTH_CHECK_INTERVAL": 3,
            "WEBSOCKET_FAILOVER_AFTER": 0.5,
        }
    return config


def settings_of(world: World) -> Settings:
    """Return the settings of a world, with a host that name servers are asked about.

    Settings refuse such a host without TLS, and TLS is nothing for sockets that are made up.
    """
    settings = load_settings(config_of(world), environ={}, directory="/nonexistent")
    connections = (replace(each, url=each.url.replace("127.0.0.1", HOST)) for each in settings.connections)
    return replace(settings, connections=tuple(connections))


def bound_s(settings: Settings) -> float:
    """Return within how long a wanted channel is carried again after the last fault, by the settings."""
    dead_s = settings.massive_ping_interval + settings.massive_ping_timeout
    again_s = settings.massive_websocket_reconnect_max_delay + 11.0 + 10.0 + 2 * ACK_TIMEOUT_S
    return dead_s + again_s + 2 * settings.websocket_failover_after + OVERLAP_S


def _group(channel: str) -> str:
    """Return a channel of Redis, those of single tickers as one."""
    return f"{PER_TICKER}*" if channel.startswith(PER_TICKER) else channel


class _Door:
    """The network as the server has it: some of those who knock never get in.

    Args:
        network: the real one.
        dead: threads whose connections are reset as soon as they are there.
    """

    def __init__(self, network: Network, dead: set[str]) -> None:
        self._network = network
        self._dead = dead
        self.refusals = network.refusals
        self.unlisten = network.unlisten

    def listen(self, port: int, on_accept: Callable[[ServerEnd], None]) -> None:
        """Accept connections to a port."""

        def accept(end: ServerEnd) -> None:
            if end.dialled_by in self._dead:
                end.abort()
            else:
                on_accept(end)

        self._network.listen(port, accept)


class Run:
    """A world while it runs; see `actions` for what may be done to it.

    Args:
        schedule: the world, and what happens in it.
        log: keep the trace, to be read.
    """

    def __init__(self, schedule: Schedule, *, log: bool = False) -> None:
        world = self.world = schedule.world
        self.schedule = schedule
        self.kernel = Kernel(schedule.seed, start_ns=world.start_ns, preempt=world.preempt, log=log)
        self.kernel.arm(*world.buggify)
        link = Link(latency_s=world.latency_s, jitter_s=world.jitter_s, rough=world.rough)
        self.network = Network(self.kernel, link)
        self.runtime = runtime_of(self.kernel, self.network)
        self.network.names[HOST] = HERE
        self.settings = settings_of(world)
        self.record = Record()
        self.result = Outcome(schedule)
        self.effects = self.result.effects
        self.names = world.names
        self.wanted = dict.fromkeys(self.names)
        self.users: list[Any] = []
        self.callback: abc.DisposableBase | None = None
        """The subscription of the callback, while it has one."""
        self.sinks: dict[str, tuple[TakesBatches, Any]] = {}
        self.stream: Any = None
        self.dead: set[str] = set()
        self.massive = Massive(
            self.kernel,
            _Door(self.network, self.dead),
            port=PORT,
            options=self._options(),
            begin_session=self._begin_session,
        )
        self.redis = Redis(self.kernel, self.network, port=REDIS_PORT)
        self.redis_faults = RedisFaults(self.redis)
        self._forbidden: set[str] = set()
        self._denied: set[str] = set()
        self._note_denied()
        self._published = 0
        self.market = Market(
            self.names,
            world.kinds,
            world.rate,
            self.kernel.random("market"),
            burst=world.burst,
            hours=Hours(4.0, 20.0, weekends=False) if world.nights else Hours(),
        )
        self.actions = Actions(self)
        self.massive_faults = MassiveFaults(self.massive)
        self.phases = Phases(
            lambda: self.kernel.now_ns,
            lambda: [link.held for link in self.massive.links.values()],
            frozenset(self._channels_of(self.names[: world.redundant])),
        )
        self._may_block = world.overflow == "block"
        self._market_is_open = True
        self._drifts = False
        self._pending: list[tuple[str, tuple[str, ...], Any]] = []

    def _options(self) -> Options:
        world = self.world
        channels = [*self._channels_of(self.names)]
        return Options(
            keys=frozenset({KEY}),
            max_connections=world.allowed or None,
            eviction=Eviction(world.eviction),
            acks=Acks(world.acks),
            unauthorized=frozenset(channels[: world.unauthorized]),
            seed=self.schedule.seed,
        )

    # -- from beginning to end ------------------------------------------------------------------------------

    def go(self) -> Outcome:
        """Run the world to its end, and judge it."""
        with patch.dict(os.environ, {"NO_PROXY": "*"}):
            return self._go()

    def _go(self) -> Outcome:
        self.begin()
        self.kernel.at(0.5, self._trade)
        for fault in self.schedule.faults:
            self.kernel.at(fault.at_s, self._apply, fault)
        self.kernel.run(self.world.seconds)
        if self.world.mode == "abrupt":
            self.record.unwant(self._channels_of(self.names), self.true_ns)  # what is not noticed yet is lost
            self._market_is_open = False
            self._close()
            return self._finish()
        healed_ns = self.true_ns
        self._heal()
        self.kernel.run(bound_s(self.settings) + STALE_S - TELL_S)
        before: Accounts = self.ask(self.stream.accounts)
        self.kernel.run(TELL_S)
        self._judge_liveness(healed_ns)
        self._judge()
        self.result.verdicts += judge_telling(self.record, self.true_ns, before, self._context)
        self._market_is_open = False
        self.kernel.run(DELIVERY_S)
        self._close()
        return self._finish()

    def begin(self) -> None:
        """Let everybody subscribe, without a market."""
        self.record.want(self._channels_of(self.names), self.true_ns)
        self.spawn(self._subscribe, "main")

    def _subscribe(self) -> None:
        now_ns = self.true_ns
        self.stream = braid_stream(self.settings, self.runtime)
        self.stream.status.subscribe(self._hear)
        blocks = self.world.overflow == "block"
        if self.world.redis:
            self.record.enter("redis", now_ns, kind="redis", blocks=blocks).entered_ns = now_ns
        taken = self.record.enter("callback", now_ns, blocks=blocks)
        callback = Callback(taken, self.runtime, lambda: self.true_ns)
        batches = self._takes_batches("batches", blocks=blocks)
        self.users += [callback, batches]
        self.callback = self._insist(lambda: self.stream.subscribe(callback, self._ends(callback)))
        callback.subscription.entered_ns = self.true_ns
        self._insist(lambda: self.stream.batches.subscribe(batches, self._ends(batches)))
        batches.subscription.entered_ns = self.true_ns
        keeper = self._takes_batches("keeper")  # the stream lives as long as anybody is subscribed
        self.users.append(keeper)
        self._insist(lambda: self.stream.attach(keeper, capacity=100_000, overflow="drop_oldest"))
        keeper.subscription.entered_ns = self.true_ns

    def _insist(self, function: Callable[[], Any]) -> Any:
        """Try until there is a thread to be had, as who is refused one has changed nothing."""
        for _ in range(TRIES_MOST):
            try:
                return function()
            except RuntimeError:
                self.kernel.sleep(TRY_AGAIN_S)
        return function()

    def _trade(self) -> None:
        """Let the market make what happens now, and go on."""
        if not self._market_is_open:
            return
        now_ns = self.true_ns
        ticks = self.market.make(now_ns)
        for made, _ in ticks:
            self.record.make(made)
        self.massive.publish([(made.channel, element, made.key) for made, element in ticks])
        self.kernel.at(self.market.wait_s(now_ns), self._trade)

    def _apply(self, fault: Fault) -> None:
        if len(self.users) < FIRST_USERS:
            return  # nobody has subscribed yet
        phases = tuple(self.phases.now())
        self.kernel.note("fault", fault.kind, fault.x, fault.y)
        if fault.kind in ACTIONS:
            did: Any = ACTIONS[fault.kind](self.actions, fault.x, fault.y)
        elif fault.kind.startswith("redis_"):
            did = self.redis_faults.inject(fault.kind.removeprefix("redis_"), fault.x, fault.y)
            self._forbidden |= {_group(channel) for channel in self.redis.forbidden}
        else:
            did = self.massive_faults.inject(fault.kind, fault.x, fault.y)
            self._note_denied()
        self._pending.append((fault.kind, phases, did))

    def _heal(self) -> None:
        """Let nothing go wrong any more; what is half-open is for the product to find."""
        self.massive_faults.heal()
        self.redis_faults.heal()
        self.network.clear(PORT)
        self.network.names[HOST] = HERE
        self.kernel.disarm()
        self.drift(0)
        self.set_clock(0)

    def _note_denied(self) -> None:
        """Note which channels the server may refuse, or never answer for: nobody asks again in a session."""
        options = self.massive.options
        self._denied |= options.unauthorized | options.unanswered

    def _close(self) -> None:
        self.phases.is_closing = True
        self.record.closed_ns = self.true_ns
        closer = self.spawn(self.stream.close, "closer")
        if not self.kernel.run_until(lambda: closer.is_over, CLOSE_S):
            self._say(Statement.CLOSED, f"close takes more than {CLOSE_S:g} s")
        self.kernel.run(HANG_S)
        if left := self.kernel.left():
            self._say(Statement.CLOSED, f"threads are left: {', '.join(left)}")
        if count := len(self.network.descriptors.open):
            self._say(Statement.CLOSED, f"{count} sockets are left open")
        self._judge()

    def wakeups(self, seconds: float) -> Counter[str]:
        """Return how often each thread wakes while so much time passes."""
        before = Counter(self.kernel.wakeups)
        self.kernel.run(seconds)
        counts: Counter[str] = Counter()
        for (name, _), count in (self.kernel.wakeups - before).items():
            counts[name] += count
        return counts

    def _finish(self) -> Outcome:
        result = self.result
        for kind, phases, did in self._pending:
            counts = {did: 1} if isinstance(did, str) else did.counts
            for what, count in counts.items():
                if what:
                    self.effects[kind, what] += count
            if any(counts) or (not isinstance(did, str) and did):
                result.pairs.update((kind, phase) for phase in phases)
        for site, count in self.kernel.effects.items():
            self.effects[site, "struck"] += count
        result.made = len(self.record.made)
        result.delivered = sum(len(s.order) for s in self.record.subscriptions.values())
        result.missed = len(Carriage(self.record, self.true_ns).unread)
        result.digest = self.kernel.trace()
        result.lines = self.kernel.lines or []
        result.verdicts.sort(key=lambda verdict: verdict.at_ns)
        return result

    def break_off(self, statement: Statement, why: str) -> Outcome:
        """Return what came of a run that could not go on."""
        self._say(statement, why)
        return self._finish()

    # -- judging --------------------------------------------------------------------------------------------

    def _judge(self) -> None:
        if self.stream is None:
            return
        accounts: Accounts = self.ask(self.stream.accounts)
        self._take_published()
        known = {(verdict.statement, verdict.detail) for verdict in self.result.verdicts}
        self.result.verdicts += [
            verdict
            for verdict in judge(self.record, self.true_ns, accounts, self._context)
            if (verdict.statement, verdict.detail) not in known
        ]

    @property
    def _context(self) -> Context:
        holds = self._may_block or self.world.ingest_bytes < SMALL_INGEST_BYTES
        return Context(
            start_ns=self.world.start_ns,
            window=self.world.dedupe_window,
            forbidden=frozenset(self._forbidden),
            sheds=self.world.ingest_bytes < SMALL_INGEST_BYTES or self.world.max_age_ms > 0,
            refuses=any(fault.kind == "redis_refuses" for fault in self.schedule.faults),
            holds=holds,
            decode_ns=int((HANG_S if holds else 1.0) * 1e9),
        )

    def _take_published(self) -> None:
        published = self.redis.published
        for one in published[self._published :]:
            message = msgspec.json.decode(one.message)
            messages = message if isinstance(message, list) else [message]
            self.record.publish(_group(one.channel), *(key_of_price(each["price"]) for each in messages))
        self._published = len(published)

    def _judge_liveness(self, healed_ns: int) -> None:
        if self.world.allowed:
            return  # who was evicted waits for minutes before he tries again
        self.result.verdicts += judge_liveness(
            self.record,
            healed_ns,
            self.true_ns,
            int(bound_s(self.settings) * 1e9),
            self._context,
            excused=self._denied,
        )

    def _say(self, statement: Statement, detail: str) -> None:
        self.result.verdicts.append(Verdict(statement, self.true_ns, detail))

    # -- what is asked of it --------------------------------------------------------------------------------

    @property
    def true_ns(self) -> int:
        """True wall time."""
        return self.kernel.true_ns

    def spawn(self, target: Callable[[], object], name: str) -> Any:
        """Run something on a thread of its own."""
        return self.kernel.spawn(target, name)

    def ask(self, question: Callable[[], Any]) -> Any:
        """Ask the stream something, on a thread: the driver itself may not wait."""
        return self.kernel.call(question, name="asker")

    def want(self, name: str) -> None:
        """Note that the operator wants a ticker."""
        self.wanted[name] = None
        self.record.want(self._channels_of([name]), self.true_ns)

    def unwant(self, name: str) -> None:
        """Note that the operator wants a ticker no more."""
        del self.wanted[name]
        self.record.unwant(self._channels_of([name]), self.true_ns)

    def attach(self, name: str, overflow: str, capacity: int) -> None:
        """Let a sink join."""
        self._may_block = self._may_block or overflow == "block"
        sink = self._takes_batches(name, blocks=overflow == "block")
        self.users.append(sink)

        def join() -> None:
            try:
                handle = self._insist(
                    lambda: self.stream.attach(
                        sink, capacity=capacity, overflow=overflow, on_error=self._ends(sink)
                    )
                )
            except Closed:
                del self.record.subscriptions[name]
                return
            sink.subscription.entered_ns = self.true_ns
            self.sinks[name] = sink, handle

        self.spawn(join, "operator")

    def detach(self, name: str) -> None:
        """Let a sink leave."""
        sink, handle = self.sinks.pop(name)
        self._ends(sink)()
        self.spawn(handle.dispose, "operator")

    def quit(self) -> bool:
        """Let the callback leave for good; return whether it was there."""
        subscription, self.callback = self.callback, None
        if subscription is None:
            return False
        self._ends(self.users[0])()
        self.spawn(subscription.dispose, "operator")
        return True

    def set_clock(self, ahead_ns: int) -> None:
        """Set our clock, so much ahead of the true time."""
        self.kernel.set_clock(ahead_ns)
        self.record.set_clock(ahead_ns, self.true_ns)

    def drift(self, ppm: int) -> None:
        """Let our clock run too fast, or too slowly, from now on."""
        is_first, self._drifts = not self._drifts, bool(ppm)
        self.kernel.set_clock(self.kernel.ahead_ns, ppm)
        if is_first and ppm:
            self._note_drift()

    def _note_drift(self) -> None:
        if self._drifts:
            self.record.set_clock(self.kernel.ahead_ns, self.true_ns)
            self.kernel.at(1.0, self._note_drift)

    def slow_links(self, latency_s: float, seconds: float) -> None:
        """Let all links be slow for a while."""
        usual = self.network.link
        self._set_links(replace(usual, latency_s=latency_s))
        self.kernel.at(seconds, self._set_links, usual)

    def _set_links(self, link: Link) -> None:
        self.network.link = link
        for end in self.network.ends:
            end.link = link

    def fail_lookups(self, name: Name, seconds: float) -> None:
        """Let name servers say something else for a while."""
        self.network.names[HOST] = name
        self.kernel.at(seconds, self.network.names.__setitem__, HOST, HERE)

    def obstruct(self, obstacle: Obstacle, seconds: float) -> None:
        """Let nobody get through to the server for a while."""
        self.network.obstruct(PORT, obstacle)
        self.kernel.at(seconds, self.network.clear, PORT)

    def kill(self, connection: str) -> None:
        """Let a connection never come about again."""
        self.dead.add(DIALS + connection)
        for link in [*self.massive.links.values()]:
            if link.tcp.dialled_by in self.dead:
                link.conversation.abort("dead")

    def _takes_batches(self, name: str, *, blocks: bool = False) -> TakesBatches:
        subscription = self.record.enter(name, self.true_ns, kind="batches", blocks=blocks)
        return TakesBatches(subscription, self.runtime, lambda: self.true_ns)

    def _ends(self, user: Any) -> Callable[..., None]:
        def end(*_: object) -> None:
            if user.subscription.leaving_ns is None:
                user.subscription.leaving_ns = self.true_ns

        return end

    def _hear(self, event: status.StatusEvent) -> None:
        self.kernel.note("event", event.describe())
        self.phases.hear(event)
        if isinstance(event, TOLD):
            self.record.tell(event, self.true_ns)

    def _begin_session(self, number: int, now_ns: int) -> Session:
        end = self.network.ends[number - 1]
        session = self.record.begin_session(number, end.dialled_by.removeprefix(DIALS), now_ns)
        end.on_read = lambda offset: session.read(offset, self.true_ns)
        leave = end.leave

        def left(*, abruptly: bool) -> None:
            session.leave(self.true_ns)
            leave(abruptly=abruptly)

        end.leave = left
        return session

    def _channels_of(self, names: Iterable[str]) -> Iterator[str]:
        return (f"{kind}.{name}" for name in names for kind in self.world.kinds)


def judge_world(schedule: Schedule, *, log: bool = False) -> Outcome:
    """Run a world to its end; where that is not possible, say why.

    Args:
        schedule: the world, and what happens in it.
        log: keep the trace.
    """
    run = Run(schedule, log=log)
    try:
        return run.go()
    except (Died, Livelock) as broken:
        return run.break_off(Statement.CRASH, str(broken))
    finally:
        run.kernel.close()
