from types import SimpleNamespace

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.health.leaders import Leaders

NOW_NS = 1_790_000_000_000_000_000
NAMES = st.text("ABCDEF", min_size=1, max_size=4)
COUNTS = st.dictionaries(NAMES, st.integers(0, 10**6), max_size=60)


class World:
    """Is a stream whose activity a test sets, and its time."""

    def __init__(self):
        self.now_s = 50.0
        self.counts = {}
        self.last = {}
        self.bars = []
        self.activity = SimpleNamespace(
            counts=lambda: dict(self.counts),
            last_ticks=lambda: dict(self.last),
            newest_bars=lambda: list(self.bars),
        )
        self.leaders = Leaders(self, clock=lambda: NOW_NS, monotonic=lambda: self.now_s)

    def tickers(self):
        return {
            "connection_1": tuple(sorted(self.counts))[::2],
            "connection_2": tuple(sorted(self.counts))[1::2],
        }

    def after(self, seconds, counts):
        """Let time pass and ticks come."""
        self.leaders.sample()
        self.now_s += seconds
        for ticker, count in counts.items():
            self.counts[ticker] = self.counts.get(ticker, 0) + count
        self.leaders.sample()


def tick(latency_ms, age_s=0.0, ticker="?", event_type="T", *, is_bar=False):
    """Return a tick as it was received so long ago, so late."""
    received_ns = NOW_NS - int(age_s * 1e9)
    event_ms = received_ns / 1e6 - latency_ms
    return SimpleNamespace(
        ticker=ticker, event_type=event_type, is_bar=is_bar, received_ns=received_ns, event_ms=event_ms
    )


@settings(max_examples=50)
@given(
    st.dictionaries(NAMES, st.integers(0, 10**6), max_size=60), st.dictionaries(NAMES, st.integers(0, 10**6))
)
def test_the_busiest_are_those_that_ticked_most_lately(before, lately):
    """What was busy at the open would lead all day."""
    world = World()
    world.counts = dict(before)
    world.after(10, lately)
    answer = world.leaders.read()
    rates = {ticker: count / 10 for ticker, count in lately.items() if count}
    assert [busy.ticks_per_s for busy in answer.busiest] == sorted(rates.values(), reverse=True)[:20]
    assert all(rates[busy.ticker] == busy.ticks_per_s for busy in answer.busiest)
    assert (answer.window_s, answer.known) == (10, len(world.counts))


@settings(max_examples=50)
@given(st.dictionaries(NAMES, st.tuples(st.integers(-50, 5000), st.integers(0, 120)), max_size=60))
def test_the_slowest_are_those_whose_newest_tick_was_latest_within_a_minute(ticks):
    """A tick of this morning would stay the slowest all day; a clock that is off would be hidden."""
    world = World()
    world.last = {name: tick(*both, ticker=name) for name, both in ticks.items()}
    slowest = world.leaders.read().slowest
    late = sorted((latency_ms for latency_ms, age_s in ticks.values() if age_s < 60), reverse=True)
    assert [round(slow.latency_ms) for slow in slowest] == late[:20]
    assert all(round(slow.latency_ms) == ticks[slow.ticker][0] for slow in slowest)


def test_bars_are_slow_only_where_nothing_else_comes():
    """Each bar is two seconds late by design: the one slow trade would be below twenty of them."""
    world = World()
    world.bars = [tick(2004, ticker=f"B{n}", event_type="A", is_bar=True) for n in range(30)]
    world.last = {"B": tick(900_000, is_bar=True), "T": tick(70, ticker="T")}
    assert [(slow.ticker, slow.event_type) for slow in world.leaders.read().slowest] == [("T", "T")]
    del world.last["T"]
    slowest = world.leaders.read().slowest
    assert {(slow.event_type, round(slow.latency_ms)) for slow in slowest} == {("A", 2004)}


def test_each_is_told_with_the_connection_that_carries_it():
    """Twenty slow tickers of one connection would look like a slow exchange."""
    world = World()
    world.after(10, {"A": 30, "B": 20, "C": 10})
    assert [(busy.ticker, busy.connections) for busy in world.leaders.read().busiest] == [
        ("A", ["connection_1"]),
        ("B", ["connection_2"]),
        ("C", ["connection_1"]),
    ]


def test_where_nothing_was_counted_yet_nobody_leads():
    """The page would fail in its first second or before a subscriber."""
    world = World()
    assert world.leaders.read().busiest == []
    world.after(0.1, {"A": 5})
    assert world.leaders.read().busiest == [], "a rate of a tenth of a second is none"
    world.activity = None
    world.leaders.sample()
    assert (world.leaders.read().known, world.leaders.read().slowest) == (0, [])


def test_counts_are_copied_every_five_seconds_and_three_copies_are_kept():
    """Copying all counts each second would cost more than the page may, and keeping them the memory."""
    world = World()
    copies = []
    world.activity.counts = lambda: copies.append(world.now_s) or {}
    for _ in range(600):
        world.leaders.sample()
        world.now_s += 0.1
    assert len(copies) == 12
    assert len(world.leaders._copies) == 3
