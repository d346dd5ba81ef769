import gc
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reactivex import Subject

from pipeline import tracks as module
from pipeline.activity import Activity
from pipeline.bars import FirstBars
from pipeline.gaps import Gaps
from pipeline.identity import PACE, Seen
from pipeline.ticks import IndexValue, Quote, TickBatch, Trade
from pipeline.tracks import DAYS_KEPT, STRAYS, Tracks

NOON_MS = 1_773_072_000_000
"""Of a day in New York."""


def quote(ticker, sequence=None, day=0):
    """Make a tick of a day with nothing else in it."""
    return Quote(ticker=ticker, event_ms=NOON_MS + day * 86_400_000, sequence=sequence)


def test_the_last_tick_that_passed_is_kept():
    """A gap begins with it: a copy that was taken out, or came late from another line, is not it."""
    tracks = Tracks()
    seen = Seen(100, tracks)
    first, copy, second = quote("A", 5), quote("A", 5), quote("B", 1)
    seen([first, copy, second])
    assert tracks.last() == {"A": first, "B": second}
    assert tracks.last()["A"] is first


def test_without_dedupe_the_last_is_kept_all_the_same():
    """Gaps are told whether or not copies pass."""
    tracks = Tracks()
    ticks = [quote("A", 5), quote("A", 5)]
    assert tracks.note(ticks) is ticks
    assert tracks.last()["A"] is ticks[1]


def test_too_many_silent_tickers_are_forgotten(monkeypatch):
    """A feed of ever new symbols (options) does not eat the memory; what is remembered of others stays."""
    monkeypatch.setattr(module, "TICKERS_KEPT", 5)
    monkeypatch.setattr(module, "FORGOTTEN_AT_ONCE", 1)
    tracks = Tracks()
    seen = Seen(10, tracks)
    for number in range(100):
        seen([quote(f"S{number}", 1), quote("A", number)])
    assert len(tracks.by_ticker) < 30
    assert seen([quote("A", 99), quote("S99", 1)]) == []
    for number in range(100):
        tracks.note([quote(f"T{number}")])
    assert len(tracks.by_ticker) <= 7


class Counted(dict):
    """Counts what is taken out of it."""

    gone = 0

    def __delitem__(self, ticker):
        self.gone += 1
        super().__delitem__(ticker)

    def clear(self):
        self.gone += len(self)
        super().clear()


@pytest.mark.parametrize("each", [1, 2, 3])
@pytest.mark.parametrize("size", [1, 90, 450])
@pytest.mark.parametrize("dedupes", [True, False])
def test_a_flood_of_new_tickers_is_bounded_and_forgotten_as_it_comes(monkeypatch, dedupes, size, each):
    """A hostile server would fill the memory, or stop the stream while all are forgotten at once."""
    monkeypatch.setattr(module, "TICKERS_KEPT", 5000)
    monkeypatch.setattr(module, "TRACKS_KEPT", 1000)
    monkeypatch.setattr(module, "FORGOTTEN_AT_ONCE", 100)
    window, tracks = 2500, Tracks()
    tracks._silent = held = Counted()
    see = Seen(window, tracks) if dedupes else tracks.note
    for begin in range(0, 40_000, size):
        before = held.gone
        names = [f"F{number}" for number in range(begin, begin + size)]
        for number in range(each):
            see([Trade(ticker=name, price=1, event_ms=NOON_MS, trade_id=str(number)) for name in names])
        gone, count = held.gone - before, each * size
        assert gone <= 100 + count + PACE * count * (len(held) + gone) // window
        assert len(tracks) <= 5000 + 1000 + 3 * window + 100 + count
        assert len(held) <= 5000 + 100 + size


KINDS = {
    "trades": lambda name: Trade(ticker=name, price=1, event_ms=NOON_MS, trade_id="1"),
    "trades off exchange": lambda name: Trade(
        ticker=name, price=1, event_ms=NOON_MS, trade_id="1", exchange=4, trf_id=2
    ),
    "trades without id": lambda name: Trade(ticker=name, price=1, event_ms=NOON_MS),
    "quotes": lambda name: quote(name, 7),
    "values": lambda name: IndexValue(ticker=name, price=1, event_ms=NOON_MS),
}


@pytest.mark.parametrize(
    ("make", "copies"),
    [pytest.param(make, name != "trades without id", id=name) for name, make in KINDS.items()],
)
@pytest.mark.parametrize("dedupes", [True, False])
def test_new_tickers_are_nothing_to_the_garbage_collector(dedupes, make, copies):
    """It looked at two objects for each of 250,000, which stopped the stream for 200 ms again and again."""
    tracks = Tracks()
    see, count = (
        Seen(1000, tracks) if dedupes else tracks.note,
        Activity(Gaps(tracks, print, None, None), tracks, FirstBars()),
    )
    source = Subject()
    source.pipe(count).subscribe(lambda _: None)
    gc.collect()
    before = len(gc.get_objects())
    for begin in range(0, 5000, 100):
        for _ in range(1 + copies):  # the second time over another connection
            ticks = see([make(f"F{number}") for number in range(begin, begin + 100)])
        source.on_next(TickBatch(connection="one", received_ns=1, ticks=ticks))
    assert len(tracks) == 5000
    gc.collect()
    assert len(gc.get_objects()) - before < 1000  # threads of other tests may make some meanwhile


def test_of_too_many_tracks_those_that_are_empty_give_way_to_their_last_tick(monkeypatch):
    """After a flood of tickers that tick a few times each, the collector would look at them all day."""
    monkeypatch.setattr(module, "TRACKS_KEPT", 10)
    tracks = Tracks()
    seen = Seen(100, tracks)
    for number in range(1, 300):
        seen([quote(f"F{number}", each) for each in (1, 2)] + [quote("A", number)])
        assert len(tracks.by_ticker) < 10 + 150
    for number in range(300, 700):
        seen([quote("A", number)])
    assert len(tracks.by_ticker) <= 10
    assert {ticker: tick.sequence for ticker, tick in tracks.last().items()} == {
        "A": 699,
        **{f"F{number}": 2 for number in range(1, 300)},
    }
    assert seen([quote("A", 699), quote("F9", 2)]) == [quote("F9", 2)]


@given(
    window=st.integers(1, 9),
    batches=st.lists(
        st.lists(st.tuples(st.sampled_from("ABCDEF"), st.integers(1, 9)), max_size=5), max_size=30
    ),
)
def test_wherever_a_ticker_is_kept_its_last_tick_is_known(window, batches):
    """Gaps begin with it, and `last_ticks` shows it, whatever has been forgotten of the ticker meanwhile."""
    tracks, last = Tracks(), {}
    seen = Seen(window, tracks)
    for batch in batches:
        passed = seen([quote(*each) for each in batch])
        last |= {tick.ticker: tick for tick in passed}
        known = tracks.last()
        assert {ticker: id(tick) for ticker, tick in known.items()} == {t: id(last[t]) for t in last}
        assert all(tracks.last_of(ticker) is last.get(ticker) for ticker in "ABCDEF")
        assert set(tracks.tickers()) == set(last)


def test_a_track_of_a_ticker_that_nobody_asked_for_is_not_made_by_looking():
    """Asking for the gap of a ticker that never ticked must not count it as one that did."""
    tracks = Tracks()
    assert tracks.last_of_kind("A", Quote) is None
    assert tracks.last() == {}


KINDS_OF_TICKS = st.sampled_from([Quote, Trade, IndexValue])


@given(
    dedupes=st.booleans(),
    batches=st.lists(
        st.lists(st.tuples(KINDS_OF_TICKS, st.sampled_from("ABC"), st.integers(1, 9)), max_size=5),
        max_size=30,
    ),
)
def test_the_last_tick_of_each_kind_is_known(dedupes, batches):
    """A channel's gap begins with its last tick, not with that of another event type."""
    tracks, last = Tracks(), {}
    see = Seen(1000, tracks) if dedupes else tracks.note
    for batch in batches:
        for tick in see([made(*each) for each in batch]):
            last[tick.ticker, type(tick)] = tick
        for (ticker, kind), tick in last.items():
            assert tracks.last_of_kind(ticker, kind) is tick


def made(kind, ticker, number):
    """Return a tick of a class."""
    if kind is Quote:
        return quote(ticker, number)
    more = {"trade_id": str(number)} if kind is Trade else {}
    return kind(ticker=ticker, price=number, event_ms=NOON_MS, **more)


class Work:
    """Counts what is done besides the comparison and the append that nearly every quote takes."""

    def __init__(self, monkeypatch):
        self.done = Counter()
        for kind, name in [
            (module.TradingDay, "add_late"),
            (module.Track, "enter"),
            (module.Track, "turn"),
        ]:
            monkeypatch.setattr(kind, name, self._counted(name, getattr(kind, name)))
        monkeypatch.setattr(module, "bisect_left", self._counted("search", module.bisect_left))

    def _counted(self, name, function):
        def counted(*arguments):
            self.done[name] += 1
            return function(*arguments)

        return counted

    def of(self, seen, ticks):
        """Let ticks pass; return what that took."""
        self.done.clear()
        assert seen(ticks) is ticks
        return Counter(self.done)


@pytest.mark.parametrize("strays", [1, 3, STRAYS])
def test_numbers_gone_mad_do_not_make_all_those_late_that_come_after(monkeypatch, strays):
    """One absurd number made every quote of its ticker take eight times as long, for the rest of the day."""
    window = 100
    seen, work = Seen(window, Tracks()), Work(monkeypatch)
    seen([quote("A", number) for number in range(1, 50)])
    mad = [2**62 + number for number in range(strays)]
    assert work.of(seen, [quote("A", number) for number in mad])["search"] == 0
    after = [quote("A", number) for number in range(50, 50 + 3 * window)]
    assert work.of(seen, after[:window])["search"] == 1
    assert seen([quote("A", mad[-1]), quote("A", 60)]) == []
    for tick in after[window:]:
        assert seen([tick]) == [tick]
    assert work.of(seen, [quote("A", number) for number in range(500, 500 + window)])["add_late"] == 0


def test_numbers_that_begin_anew_in_the_middle_of_a_day_are_searched_for_two_windows_at_most(monkeypatch):
    """A server that is started again numbers from 1; all its quotes are known to be new as fast as before."""
    window = 100
    seen, work = Seen(window, Tracks()), Work(monkeypatch)
    seen([quote("A", number) for number in range(10_000, 10_080)])
    for number in range(1, 4 * window):
        seen([quote("A", number)])
    assert seen([quote("A", 4 * window - 5)]) == []
    fast = [quote("A", number) for number in range(4 * window, 5 * window)]
    assert work.of(seen, fast)["add_late"] == 0


def test_a_new_day_is_as_fast_as_the_one_before(monkeypatch):
    """Numbers begin anew: every quote of the second day was searched for among those of the first."""
    seen, work = Seen(100_000, Tracks()), Work(monkeypatch)
    for day in range(5):
        ticks = [quote("A", number, day) for number in range(1, 5000)]
        assert work.of(seen, ticks) == {"enter": 1}
    late = [quote("A", 5000, 3), quote("A", 5001, 4), quote("A", 5000, 4)]
    assert work.of(seen, late) == {"enter": 2, "add_late": 1, "search": 1}


def test_ten_thousand_tickers_change_their_day_one_by_one(monkeypatch):
    """Changing them all in the batch that brings the new day would stop the stream for 30 ms."""
    window, size = 65_536, 400
    seen, work = Seen(window, Tracks()), Work(monkeypatch)
    tickers = [f"S{number}" for number in range(10_000)]
    seen([quote(ticker, number, -1) for ticker in tickers for number in (1, 2)])
    for day in range(2):
        for number in range(1, 15):
            for first in range(0, len(tickers), size):
                ticks = [quote(ticker, number, day) for ticker in tickers[first : first + size]]
                done = work.of(seen, ticks)
                assert done["enter"] == (size if number == 1 else 0)
                assert done["turn"] <= 1 + PACE * size * len(tickers) // window
                assert done["add_late"] == 0


def test_a_clock_gone_mad_costs_the_same_each_time():
    """Quotes that say another day each time would fill the memory, and looking them through the time."""
    tracks = Tracks()
    seen = Seen(10**6, tracks)
    for day in range(1000):
        assert len(seen([quote("A", 1, day), quote("A", 1, day), quote("A", 2, day - 1)])) == 2
    assert len(tracks.by_ticker["A"].days) == DAYS_KEPT
    assert seen([quote("A", 1, day) for day in range(1000 - DAYS_KEPT, 1000)]) == []


def test_a_ticker_of_which_only_yesterday_is_known_is_not_silent(monkeypatch):
    """Forgetting it for its silence today would let the copies of its last quotes pass."""
    monkeypatch.setattr(module, "TRACKS_KEPT", 1)
    tracks = Tracks()
    seen = Seen(10, tracks)
    seen([quote(ticker, number, 0) for ticker in "ABC" for number in (1, 2)])
    tracks.by_ticker["A"].enter(quote("A", 1, 1).event_ms)
    _, steps = tracks.turn()
    assert len(tuple(steps)) == 3
    assert seen([quote("A", 1, 0)]) == []
