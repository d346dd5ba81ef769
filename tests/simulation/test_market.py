import datetime as dt
from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.identity import Seen
from pipeline.massive.decode import decode_message
from pipeline.tracks import Tracks
from pipeline.trading_day import trading_day
from tests.simulation.market import KINDS, SYMBOLS, Hours, Market, key_of, trading_date

SECOND = 1_000_000_000
NOON_NS = 1_764_608_400 * SECOND


def _run(market, start_ns, seconds):
    now_ns, ticks = start_ns, []
    while now_ns < start_ns + seconds * SECOND:
        now_ns += int(market.wait_s(now_ns) * SECOND)
        ticks += market.make(now_ns)
    return ticks


@pytest.mark.parametrize("name", KINDS)
def test_every_tick_decodes_and_has_its_key_and_its_time(name):
    """A model that cannot tell two ticks apart takes a loss and a copy for one tick each."""
    market = Market(SYMBOLS[name], KINDS[name], 20.0, Random(1), burst=20)
    ticks = _run(market, NOON_NS, 60)
    for made, element in ticks:
        (tick,), rejects = decode_message(b"[" + element + b"]")
        assert not rejects
        assert key_of(tick) == made.key
        assert f"{tick.event_type}.{tick.ticker}" == made.channel
        assert tick.event_ns == made.event_ns
        assert made.event_ns <= made.market_ns
    assert len({made.key for made, _ in ticks}) == len(ticks) > 1000


@pytest.mark.parametrize("name", KINDS)
def test_no_tick_is_a_copy_of_another_over_days(name):
    """Ids begin anew each day; what the feed never repeats must not be taken for a copy."""
    market = Market(SYMBOLS[name], KINDS[name], 0.02, Random(2), burst=8)
    ticks = _run(market, NOON_NS, 4 * 86_400)
    seen = Seen(10**6, Tracks())
    assert len(ticks) > 5000
    for _, element in ticks:
        elements, _ = decode_message(b"[" + element + b"]")
        assert len(seen(elements)) == 1


def test_numbers_begin_anew_each_day():
    """A dedupe that knows no days takes tomorrow's ticks for copies: only such a market shows it."""
    market = Market(["AAPL"], ["T"], 1.0, Random(3))
    days = [_run(market, NOON_NS + day * 86_400 * SECOND, 600) for day in (0, 1)]
    ids = [{msgspec.json.decode(element)["i"] for _, element in day} for day in days]
    assert ids[0] & ids[1] > {"1", "2", "3"}


@settings(max_examples=200)
@given(st.integers(1_000_000_000, 2_500_000_000))
def test_the_day_is_the_day_of_the_product_by_another_way(at_s):
    """Computed the same way, both would be wrong alike."""
    assume_rule = at_s >= dt.datetime(2007, 1, 1, tzinfo=dt.UTC).timestamp()
    begins_ms, ends_ms = trading_day(at_s * 1000)
    if assume_rule:
        assert trading_date(int(begins_ms) * 1_000_000) == trading_date(at_s * SECOND)
        assert trading_date(int(ends_ms) * 1_000_000) == trading_date(at_s * SECOND) + dt.timedelta(days=1)


def test_nights_and_weekends_are_silent():
    """A feed that is silent for two days is where staleness and timers go wrong."""
    hours = Hours(4.0, 20.0, weekends=False)
    market = Market(["AAPL"], ["T", "Q"], 0.01, Random(4), hours=hours)
    ticks = _run(market, NOON_NS, 14 * 86_400)
    assert len(ticks) > 3000
    assert all(hours.is_open(made.market_ns) for made, _ in ticks)
    dates = {trading_date(made.market_ns) for made, _ in ticks}
    assert {date.weekday() for date in dates} == {0, 1, 2, 3, 4}


def test_the_same_seed_makes_the_same_market():
    """A schedule shrinks only where the market does not change with what is taken out."""
    one, other = (_run(Market(SYMBOLS["stocks"], KINDS["stocks"], 9.0, Random(5)), NOON_NS, 30) for _ in "ab")
    assert one == other
