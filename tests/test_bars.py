from hypothesis import given
from hypothesis import strategies as st

from pipeline import bars, ticks
from pipeline.bars import FirstBars, bar_types
from pipeline.ticks import Aggregate, MinuteAggregate, SecondAggregate

START_MS = 1_700_000_000_000


def bar(ticker="AAPL", second=0, kind=SecondAggregate, close=1.0, late_ms=2004):
    """Return a bar received so long after its end."""
    made = kind(ticker=ticker, tick_close=close, event_ms=START_MS + 1000 * second)
    made.received_ns = int((made.event_ms + late_ms) * 1_000_000)
    return made


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["A", "B"]),
            st.sampled_from([SecondAggregate, MinuteAggregate]),
            st.integers(0, 9),
        ),
        max_size=60,
    ),
    st.randoms(use_true_random=False),
)
def test_a_bar_is_first_if_it_ends_after_all_before_it(stream, random):
    """A revision 15 minutes later would be a latency of 15 minutes on the page and in the alert."""
    first, newest, wanted, found = FirstBars(), {}, [], []
    for number, (ticker, kind, second) in enumerate(stream):
        one = bar(ticker, second, kind, close=number, late_ms=random.randrange(900_000))
        known = newest.get((ticker, kind))
        if known is not None and second > known:
            wanted.append(one)
        newest[ticker, kind] = second if known is None else max(known, second)
        found += first([one])
    assert list(map(id, found)) == list(map(id, wanted))
    assert {(each.ticker, type(each)) for each in first.newest()} == set(newest)


def test_a_flood_of_tickers_is_bounded_and_forgets_one_at_a_time(monkeypatch):
    """A hostile server would fill the memory, or stop the stream while all are forgotten at once."""
    monkeypatch.setattr(bars, "BARS_KEPT", 50)
    first = FirstBars()
    for number in range(500):
        first([bar(f"X{number}", number), bar("REAL", number)])
        assert len(first.newest()) == min(50, number + 2)
    assert first([bar("REAL", 1000)]), "who ticks on is kept"


def test_an_end_that_no_clock_can_have_does_not_stay():
    """One bar of the year 33658 would be newer than all to come."""
    first = FirstBars()
    mad = bar(second=0)
    mad.event_ms = 1e15
    first([bar(second=1)])
    assert not first([mad])
    assert first([bar(second=2)])


def test_every_kind_of_bar_is_one():
    """A market's bars that were forgotten here would count as trades two seconds late."""
    named = {kind for kind in map(vars(ticks).get, ticks.__all__) if isinstance(kind, type)}
    kinds = {kind for kind in named if issubclass(kind, Aggregate) and kind.event_type}
    assert {kind.event_type for kind in kinds} == bar_types() >= {"A", "AM"}
    assert all(kind.is_bar for kind in kinds)
    assert not any(kind.is_bar for kind in named - kinds - {Aggregate} if issubclass(kind, ticks.Tick))
