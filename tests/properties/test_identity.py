"""Dedupe against a plain set of (trading day, identity), over any days and any ways that copies may come."""

from bisect import bisect_right

import msgspec
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.identity import Seen
from pipeline.ticks import FairMarketValue, LimitUpLimitDown, Quote, SecondAggregate, Trade
from pipeline.tracks import Tracks
from tests.test_trading_day import ms_of

MIDNIGHTS = [
    ms_of(*date, offset_h=offset_h)
    for *date, offset_h in [
        (2026, 3, 6, 5),
        (2026, 3, 7, 5),
        (2026, 3, 8, 5),  # clocks go forward
        (2026, 3, 9, 4),
        (2026, 3, 10, 4),
        (2026, 3, 11, 4),
        (2026, 10, 30, 4),
        (2026, 10, 31, 4),
        (2026, 11, 1, 4),  # clocks go back
        (2026, 11, 2, 5),
        (2026, 11, 3, 5),
    ]
]
"""Of New York, written down here one by one: the code reckons them."""
NEXT_TO = MIDNIGHTS[:5] + MIDNIGHTS[7:]
"""Those with a day on either side here."""
JUNK = [0, -5, -1e308, 1e308, 2**63, 10**30]
MOMENTS = st.one_of(
    st.sampled_from([edge + by for edge in NEXT_TO for by in (-3_600_000, -1, 0, 1, 3_600_000)]),
    st.integers(MIDNIGHTS[0], MIDNIGHTS[0] + 86_400_000),
    st.sampled_from(JUNK),
)


def day_of(ms):
    """Return a name for the day of one of these moments."""
    if not MIDNIGHTS[0] - 3_600_000 <= ms < MIDNIGHTS[-1] + 7_200_000:
        return "before" if ms < MIDNIGHTS[0] else "after"
    return bisect_right(MIDNIGHTS, ms)


TICKERS = st.sampled_from(["A", "O:A", "BRK.B"])
SIZES = st.none() | st.integers(0, 1)
QUOTES = st.builds(
    Quote,
    ticker=TICKERS,
    event_ms=MOMENTS,
    bid=SIZES,
    indicators=st.none() | st.just([1]),
    sequence=st.none() | st.integers(0, 12) | st.integers(-(2**63), 2**64) | st.just(2**62),
)
TRADES = st.builds(
    Trade,
    ticker=TICKERS,
    price=st.integers(1, 2),
    event_ms=MOMENTS,
    exchange=st.none() | st.integers(0, 2),
    size=SIZES,
    sequence=st.none() | st.integers(0, 2),
    trf_id=st.none() | st.integers(1, 2),
    trade_id=st.none() | st.sampled_from(["", "1", "2", 1, 2]),
)
BARS = st.builds(SecondAggregate, ticker=TICKERS, event_ms=st.integers(0, 2), tick_close=st.integers(0, 1))
VALUES = st.builds(FairMarketValue, ticker=TICKERS, event_ms=st.integers(0, 2), price=st.integers(0, 1))
BANDS = st.builds(LimitUpLimitDown, ticker=TICKERS, event_ms=MOMENTS, indicators=st.none() | st.just([1]))
TICKS = st.one_of(QUOTES, QUOTES, TRADES, TRADES, BARS, VALUES, BANDS)


def identity(tick):
    """Say what the documentation says of a tick's identity, as slowly as may be."""
    ticker = tick.ticker
    if isinstance(tick, Trade):
        if tick.trade_id:
            return ("id", day_of(tick.event_ms), ticker, tick.exchange, tick.trf_id, tick.trade_id)
        alike = (ticker, tick.sequence, tick.event_ms, tick.price, tick.size)
        if tick.sequence and ticker.startswith("O:"):
            return ("option", tick.exchange, *alike)
        return ("future", *alike) if tick.sequence and tick.exchange is None else None
    if isinstance(tick, Quote) and tick.sequence:
        return ("quote", day_of(tick.event_ms), ticker, tick.sequence)
    return repr(tick)  # made with 1, never with 1.0


@given(st.lists(st.lists(TICKS, max_size=10), max_size=20))
@settings(max_examples=200)
def test_each_tick_passes_once(batches):
    """A tick dropped as another's copy is a silent loss; a copy that passes is a trade counted twice."""
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


CONNECTIONS = st.integers(1, 3)
DELAY = st.one_of(st.just(0), st.just(0), st.integers(0, 3), st.integers(0, 40))


@given(st.data())
def test_over_several_connections_and_days_each_comes_once(data):
    """What the exchange made is the record here: no rule of identity, only one object for each event.

    Numbers and ids begin at 1 each day; each connection is late by its own, event by event.
    """
    events = []
    for begin in data.draw(st.lists(st.sampled_from(MIDNIGHTS), unique=True, max_size=5).map(sorted)):
        first = data.draw(st.integers(1, 4))  # who came late today begins in the middle
        for number in range(first, first + data.draw(st.integers(1, 12))):
            ms = begin + number
            kind = data.draw(st.integers(0, 3))
            if kind == 0:
                events.append(Trade(ticker="A", price=1, event_ms=ms, exchange=4, trade_id=str(number)))
            else:
                mad = 2**62 if kind == 3 and data.draw(st.booleans()) else 0
                events.append(Quote(ticker="A", event_ms=ms, sequence=number + mad))
    arrivals = []
    for connection in range(data.draw(CONNECTIONS)):
        for number, event in enumerate(events):
            at = number + data.draw(DELAY)
            arrivals.append((at, connection, number, msgspec.structs.replace(event)))
    arrivals.sort(key=lambda arrival: arrival[:3])
    numbers = {id(copy): number for _, _, number, copy in arrivals}
    ticks, seen, came = [copy for *_, copy in arrivals], Seen(10**6, Tracks()), []
    while ticks:
        size = data.draw(st.integers(1, 20))
        came += [numbers[id(tick)] for tick in seen(ticks[:size])]
        del ticks[:size]
    assert sorted(came) == list(range(len(events)))


BAR = SecondAggregate(ticker="A", event_ms=2000, start_ms=1000, tick_close=5)
QUOTE = Quote(ticker="A", event_ms=1, sequence=None)


def trade(exchange):
    """Make one whose id another exchange uses, too."""
    return Trade(ticker="A", price=1, event_ms=1, exchange=exchange, trade_id="1")


def quote(sequence, ms=MIDNIGHTS[0]):
    """Make a quote of a day."""
    return Quote(ticker="A", event_ms=ms, sequence=sequence)


@given(window=st.integers(1, 12), batches=st.lists(st.lists(TICKS, max_size=6), max_size=40))
@example(window=1, batches=[[BAR, msgspec.structs.replace(BAR)]])
@example(window=2, batches=[[trade(None)], [QUOTE, QUOTE], [QUOTE, trade(0)], [trade(0)]])
@example(
    window=3,
    batches=[[quote(n), quote(2**62 + n), quote(n, MIDNIGHTS[n % 3])] for n in range(1, 20)],
)
@settings(max_examples=200)
def test_at_least_one_window_is_remembered_and_about_two(window, batches):
    """A copy within the window never passes; what is long gone always does, or memory would grow all day."""
    seen = Seen(window, Tracks())
    passed_at = {}
    count = 0
    for ticks in batches:
        fresh = [msgspec.structs.replace(tick) for tick in ticks]  # no object twice, as on the wire
        kept = set(map(id, seen(list(fresh))))
        for tick in fresh:
            count += 1
            its = identity(tick)
            last = passed_at.get(its)
            if its is None or last is None:
                assert id(tick) in kept
            elif id(tick) in kept:
                assert count - last > window, "a copy passed within the window"
            elif not isinstance(tick, Quote):  # a ticker keeps its last quote
                assert count - last <= 3 * (window + 6)
            if its is not None and id(tick) in kept:
                passed_at[its] = count


STEPS = st.one_of(
    st.just("turn"),
    st.tuples(st.just("Q"), st.integers(1, 22), st.integers(0, 1)),
    st.tuples(st.just("T"), st.integers(1, 5), st.integers(0, 1)),
    st.tuples(st.just("T at 7"), st.integers(1, 5), st.integers(0, 1)),
    st.tuples(st.just("V"), st.integers(1, 5), st.just(0)),
)


def tick_of(kind, number, day):
    """Make the tick of a step."""
    ms = MIDNIGHTS[day] + 1
    if kind == "Q":
        return Quote(ticker="A", event_ms=ms, sequence=number)
    if kind == "V":
        return FairMarketValue(ticker="A", event_ms=ms, price=number)
    exchange = 7 if kind == "T at 7" else None
    return Trade(ticker="A", price=1, event_ms=ms, exchange=exchange, trade_id=number)


@given(st.lists(STEPS, max_size=60))
@example([("Q", 1, 0), "turn", ("Q", 20, 0), ("Q", 2, 0), "turn", ("Q", 20, 0)])
@example([("Q", 20, 0), "turn", "turn", ("Q", 21, 0), ("Q", 22, 0), "turn", ("Q", 3, 0), "turn", ("Q", 3, 0)])
@example(
    [
        ("Q", 1, 0),
        ("Q", 20, 0),
        ("Q", 21, 0),
        "turn",
        ("Q", 2, 0),
        ("Q", 3, 0),
        "turn",
        ("Q", 2, 0),
        ("Q", 3, 0),
    ]
)
@settings(max_examples=300)
def test_what_came_since_the_turn_before_last_is_known(steps):
    """A window is what lies between two turns: a copy within it must not pass, whatever was moved about."""
    tracks = Tracks()
    seen, turns, passed_at = Seen(10**6, tracks), 0, {}
    for step in steps:
        if step == "turn":
            turns += 1
            for track in tracks.by_ticker.values():
                track.turn()
        elif seen([tick_of(*step)]):
            assert passed_at.get(step, -2) < turns - 1
            passed_at[step] = turns
        else:
            assert step in passed_at


def kept_by(tracks):
    """Count all identities that are remembered."""
    count = 0
    for track in tracks.by_ticker.values():
        count += len(track.contents or ())
        for day in (track, *track.days.values()):
            count += len(day.sequences) - 1 + len(day.trades) + len(day.aside or ())
    return count


def test_memory_is_bounded_whatever_comes():
    """A feed gone mad with a million tickers, or a clock gone mad, must not cost memory for ever."""
    tracks = Tracks()
    seen = Seen(100, tracks)
    for n in range(2, 4000, 2):
        ms = MIDNIGHTS[0] + n * (n % 3) * 86_400_000
        for ticker in ("A", f"S{n}"):
            quotes = [Quote(ticker=ticker, event_ms=ms, sequence=q) for q in (n, n - 1, 2**62 - n, n)]
            trade = Trade(ticker=ticker, price=1, event_ms=ms, trade_id=str(n))
            seen([*quotes, trade, BAR, SecondAggregate(ticker=ticker, event_ms=n, tick_close=1)])
        if n % 7 == 0:  # looking at all of them each time would be most of the test
            assert kept_by(tracks) <= 500
