import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import TickRejected
from pipeline.massive.decode import decode_message
from pipeline.tick_data import TickData
from pipeline.ticks import Quote, SecondAggregate, Trade

FIELDS = (  # noqa: SIM905  # forty lines of quotes would hide the names
    "ticker price volume timestamp source event_type bid ask market_status tick_open tick_high tick_low "
    "tick_close day_high day_low open_price market_open_price previous_close tick_volume tick_trade_size "
    "accumulated_volume tick_vwap vwap tick_start_timestamp tick_end_timestamp processed_at effective_volume "
    "effective_vwap"
).split()

BAR = SecondAggregate(
    ticker="A", event_ms=2000, start_ms=1000, tick_open=1, tick_high=3, tick_low=0.5, tick_close=2,
    tick_volume=10, accumulated_volume=100, tick_vwap=1.75, vwap=1.5, open_price=1.25, tick_trade_size=5,
)  # fmt: skip


def only(element: dict):
    """Decode one element that must be good."""
    (tick,), rejects = decode_message(msgspec.json.encode([element]))
    assert not rejects
    return tick


def test_tick_data_has_the_fields_of_tickstock_in_order():
    """TickStock reads these names; one missing is an AttributeError in its hot loop."""
    data = TickData(ticker="A", price=1, volume=0, timestamp=1.5)
    assert list(data.to_dict()) == FIELDS
    assert data.to_dict()["price"] == 1


@pytest.mark.parametrize("tick", [Trade(ticker="A", price=1, event_ms=1), BAR, Quote(ticker="A", event_ms=1)])
@pytest.mark.parametrize("name", FIELDS)
def test_native_ticks_answer_the_whole_interface(tick, name):
    """Code written for TickData must run on native ticks without a conversion."""
    getattr(tick, name)


@pytest.mark.parametrize("price", [0, -1, math.nan, math.inf, "1", None, True])
def test_tick_data_refuses_a_price_that_is_none(price):
    """A zero or NaN price in TickStock's averages would poison them for the day."""
    with pytest.raises(ValueError, match="price"):
        TickData(ticker="A", price=price, volume=0, timestamp=1)


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"ticker": ""}, "ticker"),
        ({"ticker": "  "}, "ticker"),
        ({"ticker": 5}, "ticker"),
        ({"volume": -1}, "volume"),
        ({"volume": math.nan}, "volume"),
        ({"timestamp": 0}, "timestamp"),
        ({"timestamp": "now"}, "timestamp"),
    ],
)
def test_tick_data_names_what_is_wrong(changes, name):
    """The message must say which field, or nobody finds the source."""
    with pytest.raises(ValueError, match=name):
        TickData(**{"ticker": "A", "price": 1, "volume": 1, "timestamp": 1} | changes)


def test_a_trade_becomes_tick_data():
    """A trade's volume is its size, its time is in float seconds."""
    tick = only({"ev": "T", "sym": "A", "p": 1.5, "s": 7, "t": 1500})
    data = tick.to_tick_data()
    assert (data.ticker, data.price, data.volume, data.timestamp) == ("A", 1.5, 7, 1.5)
    assert (data.source, data.event_type, data.effective_volume) == ("massive", "T", 7)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ({"s": 0, "ds": "0.25"}, 0.25),
        ({"ds": "0.25"}, 0.25),
        ({"s": 3, "ds": "3.0"}, 3),
        ({}, 0),
        ({"s": 0, "ds": "no number"}, 0),
        ({"s": 2.5}, 2.5),
    ],
)
def test_sub_share_trades_have_a_volume(size, expected):
    """Massive sends s=0 for less than a share; the decimal string says how much."""
    assert only({"ev": "T", "sym": "A", "p": 1, "t": 1, **size}).volume == expected


@pytest.mark.parametrize(
    ("sides", "price"),
    [
        ({"bp": 1, "ap": 2}, 1.5),
        ({"bp": 1}, 1),
        ({"ap": 2}, 2),
        ({"bp": 0, "ap": 2}, 2),
        ({"bp": 1, "ap": 0}, 1),
    ],
)
def test_the_price_of_a_quote_is_the_midpoint_or_the_one_side(sides, price):
    """A missing side must not halve the price."""
    tick = only({"ev": "Q", "sym": "A", "t": 1, **sides})
    assert tick.price == price
    assert tick.to_tick_data().price == price
    assert tick.to_tick_data().volume == 0


@pytest.mark.parametrize("tick", [Quote(ticker="A", event_ms=1), Quote(ticker="A", event_ms=1, bid=0, ask=0)])
def test_a_quote_without_a_side_is_rejected_with_its_reason(tick):
    """It has no price; an exception of another kind would surface in a thread of ours."""
    assert tick.price is None
    with pytest.raises(TickRejected) as caught:
        tick.to_tick_data()
    assert caught.value.reason == "no_price"


def test_a_tick_that_cannot_be_tick_data_says_why():
    """A price of zero passes on the wire and is refused at the boundary, with the field named."""
    with pytest.raises(TickRejected, match="price") as caught:
        Trade(ticker="A", price=0, event_ms=1).to_tick_data()
    assert caught.value.reason == "invalid"


def test_a_bar_becomes_tick_data():
    """Its time is its end, tick_vwap is vw, vwap is a: swapped, every VWAP of TickStock is wrong."""
    data = BAR.to_tick_data()
    assert (data.price, data.volume, data.timestamp) == (2, 10, 2.0)
    assert (data.tick_open, data.tick_high, data.tick_low, data.tick_close) == (1, 3, 0.5, 2)
    assert (data.tick_vwap, data.vwap, data.effective_vwap, data.effective_volume) == (1.75, 1.5, 1.75, 10)
    assert (data.tick_start_timestamp, data.tick_end_timestamp) == (1.0, 2.0)
    assert (data.open_price, data.market_open_price, data.accumulated_volume) == (1.25, 1.25, 100)
    assert data.tick_trade_size == 5


@pytest.mark.parametrize("moment", [1_700_000_000_123, 1_700_000_000_123_000, 1_700_000_000_123_000_000])
@pytest.mark.parametrize("kind", ["LULD", "FMV", "V"])
def test_odd_times_are_told_by_their_magnitude(kind, moment):
    """These types come in ms, µs or ns, by the source; read wrongly they lie in the year 50,000."""
    names = {"LULD": {"T": "A"}, "FMV": {"sym": "A", "fmv": 1}, "V": {"T": "A", "val": 1}}
    tick = only({"ev": kind, "t": moment, **names[kind]})
    assert tick.timestamp == pytest.approx(1_700_000_000.123)


@given(st.integers(1, 2**40), st.floats(0.01, 1e6), st.integers(0, 10**9))
def test_numbers_stay_as_they_came(moment, price, size):
    """An int on the wire is an int in the message to Redis, a float a float: byte for byte as before."""
    tick = only({"ev": "T", "sym": "A", "p": price, "s": size, "t": moment})
    assert (tick.price, tick.size, tick.event_ms) == (price, size, moment)
    assert isinstance(tick.size, int)
