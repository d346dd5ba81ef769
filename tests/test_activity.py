from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reactivex import Subject

from operators.runtime import SYSTEM
from pipeline import activity as module
from pipeline import tracks
from pipeline.activity import Activity
from pipeline.bars import FirstBars
from pipeline.gaps import Gaps
from pipeline.ticks import Quote, TickBatch
from pipeline.tracks import Tracks


class Rig:
    """An activity between a subject and a list, and a clock."""

    def __init__(self):
        self.now_s = 100.0
        tracks = Tracks()
        self.gaps = Gaps(tracks, print, None, None)
        self.activity = Activity(
            self.gaps, tracks, FirstBars(), replace(SYSTEM, monotonic=lambda: self.now_s)
        )
        self.source = Subject()
        self.out = []
        self.ends = []
        self.source.pipe(self.activity).subscribe(
            self.out.append, self.ends.append, lambda: self.ends.append(None)
        )

    def bring(self, tickers, connection="one"):
        """Let a batch pass."""
        ticks = [Quote(ticker=ticker, event_ms=0) for ticker in tickers]
        self.source.on_next(TickBatch(connection=connection, received_ns=0, ticks=ticks))
        return ticks


@pytest.fixture
def rig():
    """Nothing has come yet."""
    return Rig()


BATCHES = st.lists(
    st.tuples(st.sampled_from(["one", "two"]), st.text("ABC", max_size=5), st.floats(0, 3)), max_size=30
)


@given(BATCHES)
def test_every_tick_is_counted_once_and_passes(batches):
    """A figure that is off by a tick makes a user doubt the account."""
    rig = Rig()
    brought = Counter()
    for connection, tickers, wait_s in batches:
        rig.bring(tickers, connection)
        brought[connection] += len(tickers)
        rig.now_s += wait_s
    assert [len(batch.ticks) for batch in rig.out] == [len(tickers) for _, tickers, _ in batches]
    assert rig.activity.ticks() == {connection: n for connection, n in brought.items() if n}
    rig.now_s += 1
    counts = Counter("".join(tickers for _, tickers, _ in batches))
    rates = rig.activity.measure()
    assert rates.keys() == counts.keys()
    ratios = [rates[ticker] / counts[ticker] for ticker in counts]
    assert ratios == pytest.approx(ratios[:1] * len(ratios))


@given(st.lists(st.integers(0, 20), min_size=1, max_size=20), st.integers(0, 8))
def test_a_connection_s_rate_is_that_of_its_last_five_full_seconds(per_second, silence_s):
    """The screen shows what comes now, not since the morning; and zero once nothing comes."""
    rig = Rig()
    rig.bring("A")
    for count in per_second:
        rig.now_s += 1
        rig.bring("A" * count)
        rig.bring("A" * count)
    rig.now_s += 1 + silence_s
    rig.bring("AAA")  # of a second that is not over
    full = [1, *(2 * count for count in per_second), *[0] * silence_s][-module.WINDOW_S :]
    assert rig.activity.ticks_per_s()["one"] == sum(full) / len(full)


def test_rates_are_those_since_the_measurement_before(rig):
    """Routing moves tickers by what they bring now; one that has fallen silent weighs nothing."""
    assert rig.activity.measure() == {}
    rig.bring("AAB")
    rig.now_s += 2
    assert rig.activity.measure() == {"A": 1.0, "B": 0.5}
    rig.bring("AC")
    rig.now_s += 0.5
    assert rig.activity.measure() == {"A": 1.0, "B": 0.5}, "half a second is no measurement"
    rig.now_s += 1.5
    assert rig.activity.measure() == {"A": 0.5, "B": 0.0, "C": 0.5}


def test_of_too_many_tickers_those_that_came_first_are_forgotten(rig, monkeypatch):
    """A feed of ever new symbols (options) does not eat the memory, nor give a negative rate."""
    monkeypatch.setattr(tracks, "TICKERS_KEPT", 2)
    monkeypatch.setattr(tracks, "FORGOTTEN_AT_ONCE", 1)
    rig.bring("AAAB")
    rig.now_s += 1
    rig.activity.measure()
    rig.bring("BC")
    rig.bring("A")
    rig.now_s += 1
    assert rig.activity.measure() == {"C": 1.0, "A": 1.0}
    for number in range(100):
        rig.bring([f"F{number}.{each}" for each in range(7)])
        assert len(rig.activity.counts()) == 2


def test_ends_pass_through(rig):
    """The stream ends for its subscribers as it ended for us."""
    rig.source.on_completed()
    assert rig.ends == [None]
    other, error = Rig(), RuntimeError("the end")
    other.source.on_error(error)
    assert other.ends == [error]


def test_large_batches_are_counted_by_sample():
    """The rates that tickers are spread by must come out the same, however the reads fall together."""
    rig = Rig()
    for _ in range(80):
        for connection, tickers in (("one", "A" * 90 + "B" * 10), ("two", "C" * 100)):
            rig.bring(tickers, connection)
    rig.now_s += 10
    assert rig.activity.measure() == {"A": 720.0, "B": 80.0, "C": 800.0}
    assert rig.activity.ticks() == {"one": 8000, "two": 8000}
    rig.bring("A")
    rig.now_s += 10
    assert rig.activity.measure() == {"A": 0.1, "B": 0.0, "C": 0.0}
