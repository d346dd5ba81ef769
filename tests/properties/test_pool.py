from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.pool_world import HOMES, TICKERS, PoolWorld, up


class PoolMachine(RuleBasedStateMachine):
    """Connections die, return and are refused; tickers come and go: in the end all are where they belong."""

    @initialize(
        strategy=st.sampled_from(["manual", "round-robin", "hash", "load-balanced"]),
        more=st.sampled_from([{}, {"redundant": frozenset({"A"})}]),
    )
    def begin(self, strategy, more):
        self.world = PoolWorld(strategy=strategy, **more)
        redundant = more.get("redundant", frozenset())
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

    @rule(limit=st.integers(1, 4), newest_goes=st.booleans())
    def allow(self, limit, newest_goes):
        self.world.limit, self.world.newest_goes = limit, newest_goes

    @rule(name=st.sampled_from(list(HOMES)))
    def evict(self, name):
        """Another program that uses the key."""
        if name in self.world.wires:
            self.world.wires[name].evict()

    @rule(name=st.sampled_from(list(HOMES)))
    def reconnect(self, name):
        self.world.pool.reconnect(name)

    @rule(ticker=st.sampled_from([*TICKERS, "G", "H"]), name=st.sampled_from(list(HOMES)))
    def move(self, ticker, name):
        self.world.pool.move_ticker(ticker, name)
        self.wanted.add(ticker)

    @rule(rates=st.dictionaries(st.sampled_from(TICKERS), st.floats(0, 1000)))
    def rebalance(self, rates):
        self.world.rates = rates
        self.world.pool.rebalance(lambda _: None)

    @rule(seconds=st.floats(0, 400))
    def wait_long(self, seconds):
        self.world.run(seconds)

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
        world.limit = 99
        world.run(60)
        for name in set(HOMES) - up(world):
            world.pool.reconnect(name)  # one that was evicted may be waiting for five minutes, or to be asked
        world.run(60)
        held = world.held()
        assert set(held) == set(HOMES)
        world.tick(*TICKERS, "G", "H")
        world.run(10)
        assert not world.gaps.watched, "what flows again has no open gap"
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
