from collections import Counter

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.identity import Seen, conflation_key
from pipeline.ticks import (
    FairMarketValue,
    IndexValue,
    LimitUpLimitDown,
    MinuteAggregate,
    Quote,
    SecondAggregate,
    Trade,
)
from pipeline.tracks import Track, Tracks

TRADE = {"ticker": "A", "price": 1, "event_ms": 1, "exchange": 4, "trade_id": "9", "trf_id": 2}
BAR = SecondAggregate(ticker="A", event_ms=2000, start_ms=1000, tick_close=5, tick_volume=10, received_ns=1)
QUOTE = Quote(ticker="A", event_ms=1)

TICKERS = st.sampled_from(["A", "B", "BRK.B"])
QUOTES = st.builds(
    Quote,
    ticker=TICKERS,
    event_ms=st.just(1),
    sequence=st.none() | st.integers(0, 20) | st.integers(-(2**63), 2**63 - 1),
)
TRADES = st.builds(
    Trade,
    ticker=TICKERS,
    price=st.just(1),
    event_ms=st.just(1),
    exchange=st.none() | st.integers(0, 2),
    trf_id=st.none() | st.integers(1, 2),
    trade_id=st.none() | st.sampled_from(["1", "2", 1, 2]),
)
BARS = st.builds(SecondAggregate, ticker=TICKERS, event_ms=st.integers(0, 2), tick_close=st.integers(0, 1))
TICKS = st.one_of(QUOTES, TRADES, BARS)


def trade(exchange):
    """Make one whose id another exchange uses, too."""
    return Trade(ticker="A", price=1, event_ms=1, exchange=exchange, trade_id="1")


def identity(tick):
    """Say what the documentation says of a tick's identity, as slowly as may be."""
    if isinstance(tick, Quote):
        return None if tick.sequence is None else ("Q", tick.ticker, tick.sequence)
    if isinstance(tick, Trade):
        its = ("T", tick.ticker, tick.exchange, tick.trf_id, tick.trade_id)
        return None if tick.trade_id is None else its
    return (tick.event_type, tick.ticker, tick.event_ms, tick.tick_close)


@given(st.lists(st.lists(TICKS, max_size=10), max_size=20))
def test_each_tick_passes_once(batches):
    """A quote dropped as another's copy is a silent loss; a copy that passes is a trade counted twice."""
    seen, known = Seen(10**6, Tracks()), set()
    for ticks in batches:
        expected = []
        for tick in ticks:
            its = identity(tick)
            if its is None or its not in known:
                expected.append(tick)
            known.add(its)
        kept = seen(list(ticks))
        assert list(map(id, kept)) == list(map(id, expected))


@given(window=st.integers(1, 12), batches=st.lists(st.lists(TICKS, max_size=6), max_size=40))
@example(window=1, batches=[[BAR, msgspec.structs.replace(BAR)]])
@example(window=2, batches=[[trade(None)], [QUOTE, QUOTE], [QUOTE, trade(0)], [trade(0)]])
@settings(max_examples=200)
def test_at_least_one_window_is_remembered_and_about_two(window, batches):
    """A copy within the window never passes; what is long gone always does, or memory would grow all day."""
    seen = Seen(window, Tracks())
    passed_at = {}
    count = 0
    for ticks in batches:
        kept = set(map(id, seen(list(ticks))))
        for tick in ticks:
            count += 1
            its = identity(tick)
            last = passed_at.get(its)
            if its is None or last is None:
                assert id(tick) in kept
            elif id(tick) in kept:
                assert count - last > window, "a copy passed within the window"
            # A bar that comes again is young again, a ticker keeps its last quote.
            elif isinstance(tick, Trade):
                assert count - last <= 3 * (window + 6)
            if its is not None and id(tick) in kept:
                passed_at[its] = count


def test_memory_is_bounded_whatever_comes():
    """A feed gone mad with a million tickers must not cost memory for ever."""
    tracks = Tracks()
    seen = Seen(100, tracks)
    for n in range(0, 4000, 2):
        quote = Quote(ticker=f"S{n}", event_ms=1, sequence=n)
        trade = Trade(ticker=f"S{n}", price=1, event_ms=1, trade_id=str(n))
        late = Quote(ticker=f"S{n}", event_ms=1, sequence=n - 1)
        seen([quote, trade, late])
        if n % 7 == 0:  # looking at all of them each time would be most of the test
            kept = tracks.by_ticker.values()
            assert sum(len(track.sequences) - 1 + len(track.trades) for track in kept) <= 500
        assert len(seen._others._younger) + len(seen._others._older) <= 250


def test_tickers_forget_a_few_at_a_time(monkeypatch):
    """All in one batch would stop the stream for 10 ms, three times a second at the open."""
    turns = Counter()
    monkeypatch.setattr(Track, "turn", lambda track: turns.update([track]))
    seen, most = Seen(1000, Tracks()), 0
    for number in range(6000):
        before = turns.total()
        seen([Quote(ticker=f"S{number % 500}", event_ms=1, sequence=number)])
        most = max(most, turns.total() - before)
    assert most <= 3
    assert len(turns) == 500
    assert {4, 5} >= set(turns.values())


def test_a_late_quote_passes_once():
    """The second line brings what the first left out: it is news, though newer quotes came before it."""
    seen = Seen(1000, Tracks())
    quotes = [Quote(ticker="A", event_ms=1, sequence=q) for q in (1, 2, 5, 3, 3, 5, 4, 6)]
    assert [quote.sequence for quote in seen(quotes)] == [1, 2, 5, 3, 4, 6]


@pytest.mark.parametrize("name", ["ticker", "exchange", "trade_id", "trf_id"])
def test_trades_that_differ_in_their_identity_are_two(name):
    """Two venues number their trades alike; dropping one as a duplicate is a silent loss."""
    other = Trade(**TRADE | {name: "B" if name == "ticker" else 99})
    again = Trade(**TRADE | {"price": 2, "sequence": 5})
    one = Trade(**TRADE)
    assert Seen(100, Tracks())([one, other, again, msgspec.structs.replace(other)]) == [one, other]


def test_a_revised_bar_is_not_a_duplicate():
    """The same window with other numbers is a correction and must pass."""
    revised = msgspec.structs.replace(BAR, tick_volume=11)
    stamped = msgspec.structs.replace(BAR, received_ns=5)
    minute = MinuteAggregate(**{name: getattr(BAR, name) for name in BAR.__struct_fields__})
    assert Seen(100, Tracks())([BAR, revised, stamped, minute]) == [BAR, revised, minute]


def test_what_has_no_identity_is_never_dropped():
    """No i, no q: nobody can know, so it passes."""
    ticks = [
        Trade(ticker="A", price=1, event_ms=1, sequence=3),
        Quote(ticker="A", event_ms=1),
        LimitUpLimitDown(ticker="A", event_ms=1, sequence=3),
        FairMarketValue(ticker="A", event_ms=1, price=1),
        IndexValue(ticker="A", event_ms=1, price=1),
    ]
    assert Seen(100, Tracks())(ticks * 2) == ticks * 2


def test_the_window_is_checked():
    """A window of nothing would dedupe nothing, in silence."""
    with pytest.raises(ValueError, match="window"):
        Seen(0, Tracks())


def test_trades_are_never_conflated():
    """A newer quote makes an older one worthless; a trade happened."""
    quote, bar = Quote(ticker="A", event_ms=1), BAR
    assert conflation_key(Trade(**TRADE)) is None
    assert conflation_key(quote) == conflation_key(Quote(ticker="A", event_ms=2)) != conflation_key(bar)
