from collections import defaultdict

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.health.late_tickers import CONFIRM_SIGHTINGS, SUSPECTS_MAX, LateTickers, Sighting
from pipeline.status import Late

SECOND = 1_000_000_000
MS = 1_000_000
TICKERS = [f"T{number}" for number in range(20)]
HOMES = {ticker: "ab"[number % 2] for number, ticker in enumerate(TICKERS)}


class World:
    """Each second, each ticker has a new tick, 40 ms late."""

    def __init__(self, homes=HOMES):
        self.tickers = LateTickers(self._homes)
        self.homes = homes
        self.asked = 0
        self.now_s = 0.0
        self.at_ns = 0

    def _homes(self):
        self.asked += 1
        return self.homes

    def look(self, times=1, *, late_s=(), silent=(), floors=None):
        """Look so many times, and return the events; ``late_s`` is by ticker."""
        events = []
        for _ in range(times):
            self.now_s += 1.0
            self.at_ns += SECOND
            seen = [
                Sighting(ticker, self.at_ns, int(dict(late_s).get(ticker, 0.04) * SECOND))
                for ticker in TICKERS
                if ticker not in silent
            ]
            floors = {"a": 40 * MS, "b": 40 * MS} if floors is None else floors
            events += self.tickers.look(seen, floors, now_s=self.now_s, at_ns=self.at_ns)
        return events


def test_tickers_late_by_themselves_are_told_by_connection_and_so_is_their_end():
    """A source that hangs for some symbols would stay hidden behind the others, which are on time."""
    world = World()
    assert not world.look(5)
    assert not world.asked, "where all is well nobody is asked"
    slow = {"T0": 4.0, "T2": 3.0, "T1": 2.0}
    assert not world.look(CONFIRM_SIGHTINGS - 1, late_s=slow)
    events = world.look(5, late_s=slow)
    told = {event.connection: (event.tickers, event.late_s, event.usually_s) for event in events}
    assert told == {"a": (("T0", "T2"), 4.0, 0.04), "b": (("T1",), 2.0, 0.04)}
    assert sorted(world.tickers.late) == ["T0", "T1", "T2"]
    ended = world.look(5, late_s={"T0": 4.0})
    assert {event.connection: event.tickers for event in ended} == {"a": ("T2",), "b": ("T1",)}
    assert world.tickers.suspects == ("T0",)


def test_a_late_ticker_that_nobody_names_is_the_wildcard_s():
    """Of all that comes over a connection that carries everything, nothing could be late."""
    world = World({"*": "a", "T1": "b"})
    events = world.look(2 * CONFIRM_SIGHTINGS, late_s={"T0": 4.0, "T1": 2.0})
    assert {event.connection: event.tickers for event in events} == {"a": ("T0",), "b": ("T1",)}


def test_one_late_tick_is_chance():
    """Each late report of a trade would be an alert."""
    world = World()
    for _ in range(20):
        assert not world.look(late_s={"T3": 9.0})
        assert not world.look()
    assert world.tickers.suspects == ()


def test_the_same_tick_seen_again_proves_nothing():
    """A ticker that trades once a minute would be late for that minute."""
    world = World()
    sightings = [Sighting(ticker, 1, 40 * MS) for ticker in TICKERS[1:]] + [Sighting("T0", 1, 5 * SECOND)]
    for _ in range(10):
        assert not world.tickers.look(sightings, {"a": 40 * MS}, now_s=5.0, at_ns=5 * SECOND)


def test_a_late_connection_is_not_the_doing_of_its_tickers():
    """Thousands of tickers would be blamed for a slow line."""
    world = World()
    late = {ticker: 3.0 for ticker in TICKERS if HOMES[ticker] == "a"}
    assert not world.look(10, late_s=late, floors={"a": 3 * SECOND, "b": 40 * MS})
    few = {"T0": 3.0, "T2": 3.0}
    assert not world.look(10, late_s=few, floors={"a": 3 * SECOND, "b": 40 * MS}), "as all on its line"


def test_where_many_are_late_it_is_not_the_tickers():
    """An outage of a whole exchange would be told as a list of thousands."""
    world = World()
    assert not world.look(10, late_s=dict.fromkeys(TICKERS[:6], 4.0))
    assert world.look(10, late_s=dict.fromkeys(TICKERS[:5], 4.0))


def test_a_late_ticker_that_falls_silent_is_forgotten():
    """It would be late for ever."""
    world = World()
    world.look(5, late_s={"T0": 4.0})
    assert not world.look(59, silent=["T0"])
    (end,) = world.look(3, silent=["T0"])
    assert (end.tickers, world.tickers.late) == (("T0",), ())


def test_a_clock_that_is_set_changes_no_time():
    """Each late ticker was on time at once, after minus an hour."""
    for step_s in (-3600, 3600):
        world = World()
        world.look(5, late_s={"T0": 4.0})
        world.at_ns += step_s * SECOND
        assert not world.look(5, late_s={"T0": 4.0})
        (end,) = world.look(CONFIRM_SIGHTINGS)
        assert end.late_for_s == 10


def test_with_too_few_to_compare_or_nothing_known_it_says_nothing():
    """Of two tickers nobody can tell which one is odd."""
    world = World()
    assert not world.look(9, late_s={"T0": 4.0}, silent=TICKERS[7:])
    assert not world.look(9, late_s={"T0": 4.0}, floors={})


def test_where_there_is_one_connection_it_is_that_one():
    """In a process of one connection nobody knows who carries what, nor needs to."""
    world = World()
    (late,) = world.look(5, late_s={"T1": 4.0}, floors={"c": 40 * MS})
    assert (late.connection, world.asked) == ("c", 0)


def test_suspects_are_bounded():
    """A feed gone mad would fill the memory with suspects."""
    world = LateTickers(dict)
    sightings = [
        Sighting(f"S{number}", 1, (40 if number % 5 else 4000) * MS) for number in range(6 * SUSPECTS_MAX)
    ]
    world.look(sightings, {"a": 40 * MS}, now_s=1.0, at_ns=1)
    assert len(world.suspects) == SUSPECTS_MAX


@given(st.lists(st.tuples(st.integers(1, 5), st.sets(st.sampled_from(TICKERS), max_size=7)), max_size=20))
@settings(max_examples=60)
def test_late_and_on_time_take_turns_for_each_ticker(steps):
    """A list of late tickers kept by the events would never be right again."""
    world, late = World(), defaultdict(bool)
    for times, slow in steps:
        for event in world.look(times, late_s=dict.fromkeys(slow, 4.0)):
            for ticker in event.tickers:
                assert late[ticker] is not isinstance(event, Late)
                late[ticker] = isinstance(event, Late)
    assert {ticker for ticker, is_late in late.items() if is_late} == set(world.tickers.late)
