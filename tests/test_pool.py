import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from reactivex.disposable import Disposable
from reactivex.scheduler import VirtualTimeScheduler

from pipeline import status
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
            self.world.soon(self, lambda: self.status("auth_success"))
        elif message["action"] == "subscribe" and self.world.confirms:
            channels = message["params"].split(",")
            self.held |= set(channels)
            self.world.soon(self, lambda: self.confirm(*channels))
        elif message["action"] == "unsubscribe":
            self.held -= set(message["params"].split(","))

    def ping(self):
        super().ping()
        self.world.soon(self, self.pong)

    def __init__(self, world):
        super().__init__(world)
        self.held = set()


class PoolWorld:
    """Three real connections and a pool, in virtual time; servers are reached unless they are down."""

    def __init__(self, homes=None, **policy):
        homes = homes or HOMES
        self.scheduler = VirtualTimeScheduler(1000.0)
        self.events = []
        self.down = set()
        self.confirms = True
        self.wires = {}
        self.dials = dict.fromkeys(homes, 0)
        self.connections = {name: self._connect(name) for name in homes}
        lines = {name: Line(id=name, tickers=tickers) for name, tickers in homes.items()}
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
            clock=lambda: self.now_ns,
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
            deliver(self.wires[name])
            self.soon(self.wires[name], self.wires[name].greet)

        self.scheduler.schedule_relative(0.01, answer)
        return Disposable()

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


def test_each_ticker_starts_on_its_own_connection():
    """The settings say what goes where; nothing may move without a reason."""
    world = PoolWorld()
    assert world.held() == {name: set(home) for name, home in HOMES.items()}
    world.run(120)
    assert not world.of(status.Moved)


def test_a_connection_that_is_back_in_time_keeps_its_tickers():
    """A hiccup of a second is no reason to move a hundred tickers there and back."""
    world = PoolWorld()
    world.kill("c1")
    world.run(1)
    world.revive("c1")
    world.run(60)
    assert not world.of(status.Moved)
    assert world.held()["c1"] == {"A", "B"}
    (loss,) = world.of(status.Loss)
    assert (loss.tickers, loss.reason, loss.connection) == (("A", "B"), "disconnected", "c1")


def test_a_dead_connection_s_tickers_flow_elsewhere_after_two_seconds():
    """A third of the market dark until lunch is what a dead socket costs other clients."""
    world = PoolWorld()
    world.run(5)
    dead_ns = world.now_ns
    world.kill("c1")
    world.run(1.9)
    assert not world.of(status.Moved)
    world.run(0.2)
    held = world.held()
    assert held["c2"] | held["c3"] == set(TICKERS)
    assert {ticker for event in world.of(status.Moved) for ticker in event.tickers} == {"A", "B"}
    assert {event.source for event in world.of(status.Moved)} == {"c1"}
    losses = world.of(status.Loss)
    assert {ticker for loss in losses for ticker in loss.tickers} == {"A", "B"}
    assert all(loss.from_ns <= dead_ns < loss.to_ns for loss in losses)


def test_they_come_home_when_it_is_stable_and_overlap_on_the_way():
    """Make before break: no tick is lost by coming home, the copies are taken out by dedupe."""
    world = PoolWorld()
    world.kill("c1")
    world.run(10)
    world.revive("c1")
    world.run(1)
    assert world.held()["c1"] == set()
    world.run(2)
    held = world.held()
    assert held["c1"] == {"A", "B"}
    assert held["c2"] | held["c3"] == set(TICKERS)
    world.run(3)
    assert world.held() == {name: set(home) for name, home in HOMES.items()}
    assert [e.reason for e in world.of(status.Moved) if e.connection == "c1"] == ["return"] * 2


def test_they_stay_away_if_coming_home_is_switched_off():
    """WEBSOCKET_AUTO_REBALANCE=false: every move costs something, some want none that is not needed."""
    world = PoolWorld(come_home=False)
    world.kill("c1")
    world.run(10)
    world.revive("c1")
    world.run(60)
    assert world.held()["c1"] == set()
    assert world.held()["c2"] | world.held()["c3"] == set(TICKERS)


def test_nothing_moves_if_failover_is_switched_off():
    """WEBSOCKET_FAILOVER_ENABLED=false: the old behaviour."""
    world = PoolWorld(failover=False)
    world.kill("c1")
    world.run(60)
    assert not world.of(status.Moved)
    world.revive("c1")
    world.run(5)
    assert world.held()["c1"] == {"A", "B"}


def test_all_down_and_one_back_carries_everything():
    """After a network outage the first socket that comes up must not wait for the others."""
    world = PoolWorld()
    for name in HOMES:
        world.kill(name)
    world.run(30)
    world.revive("c2")
    world.run(3)
    assert world.held()["c2"] == set(TICKERS)
    for name in HOMES:
        world.revive(name)
    world.run(30)
    assert world.held() == {name: set(home) for name, home in HOMES.items()}


def test_a_refused_key_on_one_connection_moves_its_tickers_at_once():
    """What will never come back needs no waiting."""
    world = PoolWorld()
    revoked = ServerStatus(status="auth_failed", message="revoked")
    world.connections["c1"].take_statuses(world.now_ns, [revoked])
    world.run(0.1)
    assert world.held()["c2"] | world.held()["c3"] == set(TICKERS)


def test_the_old_place_is_kept_until_the_new_one_is_sure():
    """If the new place never confirms, the ticker must not fall between the two."""
    world = PoolWorld()
    world.kill("c1")
    world.run(10)
    world.revive("c1")
    world.confirms = False
    world.run(8)
    assert world.held()["c2"] | world.held()["c3"] == set(TICKERS)


def test_redundant_tickers_lose_nothing_and_say_so():
    """A/B arbitration: a ticker that also flows over another socket has no gap to announce."""
    world = PoolWorld(redundant=frozenset({"A"}))
    assert sum("A" in held for held in world.held().values()) == 2
    world.kill("c1")
    world.run(10)
    assert {t for loss in world.of(status.Loss) for t in loss.tickers} == {"B"}


def test_tickers_added_and_removed_at_run_time():
    """A watchlist changes during the day; what is added while all are down flows when one returns."""
    world = PoolWorld()
    world.pool.add_tickers(["G", "A"])
    world.run(1)
    assert sum("G" in held for held in world.held().values()) == 1
    world.pool.remove_tickers(["A", "G"])
    world.run(1)
    assert set().union(*world.held().values()) == set(TICKERS) - {"A"}
    for name in HOMES:
        world.kill(name)
    world.run(10)
    world.pool.add_tickers(["H"])
    world.pool.remove_tickers(["C"])
    for name in HOMES:
        world.revive(name)
    world.run(30)
    assert set().union(*world.held().values()) == set(TICKERS) - {"A", "C"} | {"H"}
    assert {t for its in world.pool.tickers().values() for t in its} == set(TICKERS) - {"A", "C"} | {"H"}


def test_nothing_moves_after_dispose():
    """A stream that closes its connections must not see their tickers fail over."""
    world = PoolWorld()
    world.pool.dispose()
    world.kill("c1")
    world.run(30)
    assert not world.of(status.Moved)


@pytest.mark.parametrize("strategy", ["round-robin", "hash", "load-balanced", "priority"])
def test_every_strategy_fails_over_and_comes_home(strategy):
    """The strategy is the user's choice; that no ticker is lost is ours."""
    world = PoolWorld(strategy=strategy)
    before = world.held()
    world.kill("c3")
    world.run(10)
    assert set().union(*(world.held()[name] for name in ("c1", "c2"))) == set(TICKERS)
    world.revive("c3")
    world.run(30)
    after = world.held()
    assert set().union(*after.values()) == set(TICKERS)
    assert {name: len(its) for name, its in after.items()} == {name: len(its) for name, its in before.items()}


class PoolMachine(RuleBasedStateMachine):
    """Connections die, return and are refused; tickers come and go: in the end all are where they belong."""

    @initialize(
        strategy=st.sampled_from(["manual", "round-robin", "hash"]),
        redundant=st.sampled_from([frozenset(), frozenset({"A"})]),
    )
    def begin(self, strategy, redundant):
        self.world = PoolWorld(strategy=strategy, redundant=redundant)
        self.redundant = redundant
        self.wanted = set(TICKERS)

    @rule(name=st.sampled_from(list(HOMES)))
    def kill(self, name):
        self.world.kill(name)

    @rule(name=st.sampled_from(list(HOMES)))
    def revive(self, name):
        self.world.revive(name)

    @rule(name=st.sampled_from(list(HOMES)), code=st.sampled_from([1000, 1006, 1011]))
    def drop(self, name, code):
        if name in self.world.wires:
            self.world.wires[name].end(code)

    @rule(seconds=st.floats(0, 6))
    def wait(self, seconds):
        self.world.run(seconds)

    @rule(ticker=st.sampled_from([*TICKERS, "G", "H"]))
    def add(self, ticker):
        self.world.pool.add_tickers([ticker])
        self.wanted.add(ticker)

    @rule(ticker=st.sampled_from([*TICKERS, "G", "H"]))
    def remove(self, ticker):
        self.world.pool.remove_tickers([ticker])
        self.wanted.discard(ticker)

    @invariant()
    def no_wanted_ticker_is_wanted_nowhere(self):
        world = getattr(self, "world", None)
        if world is not None:
            world.run(0)
            carried = {ticker for its in world.pool.tickers().values() for ticker in its}
            assert carried == self.wanted

    def teardown(self):
        world = getattr(self, "world", None)
        if world is None:
            return
        for name in HOMES:
            world.revive(name)
        world.run(60)
        held = world.held()
        assert set(held) == set(HOMES)
        for ticker in self.wanted:
            copies = 2 if ticker in self.redundant else 1
            assert sum(ticker in its for its in held.values()) == copies, (ticker, held)
        assert set().union(*held.values()) == self.wanted
        for name, its in world.pool.tickers().items():
            assert set(its) == held[name]
            snapshot = world.connections[name].snapshot()
            assert (snapshot.pending, snapshot.confirmed) == (0, len(its))


PoolMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
TestPool = PoolMachine.TestCase
