import json
from collections import Counter, defaultdict
from fractions import Fraction
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.identity import Seen
from pipeline.market import EVENT_TYPES, SyntheticMarket
from pipeline.massive.decode import TickElement
from pipeline.tick import TEXT_MOST
from pipeline.ticks import MinuteAggregate, Quote, SecondAggregate, Trade
from pipeline.tracks import Tracks

START_MS = 1_700_000_000_000
decode = msgspec.json.Decoder(TickElement).decode


def run(market, steps, *, count=50, step_ms=250):
    """Return everything a market tells over some steps, decoded as the pipeline does."""
    ticks = []
    for step in range(steps):
        for channel, element in market.events(count, START_MS + step * step_ms):
            tick = decode(element)
            assert channel == f"{tick.event_type}.{tick.ticker}"
            ticks.append(tick)
    return ticks


@given(
    seed=st.integers(),
    types=st.sets(st.sampled_from(EVENT_TYPES)),
    tickers=st.sets(st.text(min_size=1, max_size=TEXT_MOST)),
)
@settings(max_examples=40, deadline=None)
def test_every_element_decodes_as_the_type_of_its_channel(seed, types, tickers):
    """Users of the simulator would see ticks rejected that a real feed never sends."""
    market = SyntheticMarket(tickers, seed=seed, start_ms=START_MS, event_types=types)
    ticks = run(market, 8, count=20)
    assert {tick.event_type for tick in ticks} <= types
    assert {tick.ticker for tick in ticks} <= tickers


def test_every_type_comes_when_asked_for():
    """A subscription to a rare type would stay silent for ever."""
    market = SyntheticMarket(["AAPL", "MSFT"], start_ms=START_MS, event_types=EVENT_TYPES)
    ticks = run(market, 260)
    assert {tick.event_type for tick in ticks} == set(EVENT_TYPES)


@pytest.mark.parametrize(("bars", "window_ms"), [("XAS", 1000), ("XA", 60_000)])
def test_bars_of_crypto_are_what_its_trades_add_up_to(bars, window_ms):
    """A test of bars against trades would fail on a market that does not keep its own books."""
    market = SyntheticMarket(["BTC-USD"], start_ms=START_MS, event_types=["XT", bars])
    windows = defaultdict(list)
    seen = 0
    for tick in run(market, 600, count=3):
        if tick.event_type == "XT":
            windows[tick.event_ms // window_ms].append(tick)
            continue
        trades = windows[tick.start_ms // window_ms]
        assert (tick.tick_open, tick.tick_close) == (trades[0].price, trades[-1].price)
        assert tick.tick_high == max(trade.price for trade in trades)
        assert tick.tick_volume == pytest.approx(sum(trade.size for trade in trades))
        assert tick.event_ms == tick.start_ms + window_ms
        seen += 1
    assert seen > 1


def test_same_seed_gives_same_bytes_and_another_does_not():
    """A failing run could not be repeated."""

    def bytes_of(seed):
        market = SyntheticMarket(["A", "B", "C"], seed=seed, start_ms=START_MS)
        return [market.events(30, START_MS + ms) for ms in range(0, 3000, 500)]

    assert bytes_of(1) == bytes_of(1) != bytes_of(2)


def test_identities_are_unique_and_sequences_grow_with_jumps():
    """Dedupe would throw good ticks away, or a test of gaps would prove nothing."""
    ticks = run(SyntheticMarket(["AAPL", "MSFT"], start_ms=START_MS), 80)
    assert Seen(10**9, Tracks())(ticks) is ticks
    jumps = defaultdict(list)
    for tick in ticks:
        if tick.event_type in {"T", "Q"}:
            jumps[tick.ticker].append(tick.sequence)
    for sequences in jumps.values():
        steps = {after - before for before, after in pairwise(sequences)}
        assert min(steps) > 0
        assert max(steps) > 1


def test_ticker_listed_again_uses_no_identity_twice():
    """A ticker moved away and back would lose its ticks as duplicates."""
    market = SyntheticMarket(["AAPL"], start_ms=START_MS)
    seen = Seen(10**9, Tracks())
    seen(run(market, 4, count=100))
    market.remove(["AAPL", "NEVER"])
    assert market.events(10, START_MS + 1000) == []
    market.add(["AAPL"], START_MS + 2000)
    again = [decode(element) for _, element in market.events(200, START_MS + 2000)]
    assert again
    assert seen(again) is again


def test_bars_are_what_their_trades_add_up_to():
    """Volumes and prices derived from bars would contradict the trades beside them."""
    ticks = run(SyntheticMarket(["AAPL", "MSFT"], start_ms=START_MS), 260, count=20)
    for bar_type, length_ms in ((SecondAggregate, 1000), (MinuteAggregate, 60_000)):
        bars = [tick for tick in ticks if isinstance(tick, bar_type)]
        assert bars
        for bar in bars:
            trades = [
                tick
                for tick in ticks
                if isinstance(tick, Trade)
                and tick.ticker == bar.ticker
                and bar.start_ms <= tick.event_ms < bar.event_ms
            ]
            assert bar.event_ms - bar.start_ms == length_ms
            volume = sum(Fraction(trade.decimal_size or trade.size) for trade in trades)
            assert int(volume) == bar.tick_volume
            if bar.decimal_volume is not None:
                assert Fraction(bar.decimal_volume) == volume
            prices = [trade.price for trade in trades]
            assert (bar.tick_open, bar.tick_close) == (prices[0], prices[-1])
            assert (bar.tick_high, bar.tick_low) == (max(prices), min(prices))
            assert bar.tick_low - 1e-4 <= bar.tick_vwap <= bar.tick_high + 1e-4


def test_day_volume_is_the_sum_of_the_seconds():
    """`accumulated_volume` would not accumulate."""
    ticks = run(SyntheticMarket(["AAPL"], start_ms=START_MS), 100)
    bars = [tick for tick in ticks if isinstance(tick, SecondAggregate)]
    total = Fraction(0)
    for bar in bars:
        total += Fraction(bar.decimal_volume or bar.tick_volume)
        assert bar.accumulated_volume == int(total)


def test_tape_has_odd_lots_and_parts_of_a_share_and_two_sided_quotes():
    """What real feeds send and clients stumble over would never be tried."""
    ticks = run(SyntheticMarket(["AAPL"], start_ms=START_MS), 100)
    trades = [tick for tick in ticks if isinstance(tick, Trade)]
    assert any(0 < trade.size < 100 for trade in trades)
    parts = [trade for trade in trades if trade.size == 0]
    assert parts
    assert all(0 < float(trade.decimal_size) < 1 for trade in parts)
    assert all((trade.trf_id is not None) == (trade.exchange == 4) for trade in trades)
    assert all(quote.bid < quote.ask for quote in ticks if isinstance(quote, Quote))


def test_price_neither_drifts_away_nor_reaches_zero():
    """A demo left running would show stocks at 0 or at millions."""
    market = SyntheticMarket(["A", "B", "C", "D"], start_ms=START_MS, event_types=["Q"])
    first = {}
    for step in range(200):
        for _, element in market.events(200, START_MS + step):
            quote = decode(element)
            first.setdefault(quote.ticker, quote.price)
            assert first[quote.ticker] / 3 < quote.price < first[quote.ticker] * 3


def test_penny_stock_stays_above_zero():
    """A tick without a price above 0 is rejected, and never sent by a real feed (white-box: the mid)."""
    market = SyntheticMarket(["A"], start_ms=START_MS, event_types=["T", "Q"])
    market._books["A"]._mid = 100
    for tick in run(market, 20, count=500):
        assert tick.price > 0.9


def test_first_tickers_are_the_most_active():
    """A synthetic open would load all connections alike, as no market does."""
    tickers = [f"S{n}" for n in range(50)]
    ticks = run(SyntheticMarket(tickers, start_ms=START_MS), 40)
    counts = Counter(tick.ticker for tick in ticks)
    assert counts["S0"] > 5 * counts["S40"]


def test_round_gives_each_ticker_each_of_its_types_once():
    """The synthetic source would starve rare tickers."""
    market = SyntheticMarket(["A", "B"], start_ms=START_MS, event_types=["T", "Q", "A"], source="synthetic")
    elements = market.round(START_MS + 1000)
    assert sorted(channel for channel, _ in elements) == ["A.A", "A.B", "Q.A", "Q.B", "T.A", "T.B"]
    ticks = [json.loads(element) for _, element in elements]
    assert {tick["source"] for tick in ticks} == {"synthetic"}
    assert {tick["e"] for tick in ticks if tick["ev"] == "A"} == {START_MS + 1000}
    assert {tick["t"] for tick in ticks if tick["ev"] != "A"} == {START_MS + 999}


def test_bars_alone_still_have_trades_behind_them():
    """The default `MASSIVE_EVENT_TYPES=A` would give no bars at all."""
    market = SyntheticMarket(["A"], start_ms=START_MS, event_types=["A"])
    ticks = run(market, 20)
    assert ticks
    assert {type(tick) for tick in ticks} == {SecondAggregate}


@pytest.mark.parametrize(
    ("arguments", "named"), [({"event_types": ["X"]}, "event_types"), ({"tickers": [""]}, "tickers")]
)
def test_bad_arguments_are_named(arguments, named):
    """A typing mistake would start a silent market."""
    with pytest.raises(ValueError, match=named):
        SyntheticMarket(**{"tickers": ["A"], "start_ms": START_MS} | arguments)
