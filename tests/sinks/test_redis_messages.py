"""TickStock's consumers read exactly what TickStock's own pipeline would have written."""

import json
import math

import hiredis
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.sinks.redis_messages import CACHED_LENGTHS, Channels, Packer
from pipeline.tick_data import TickData
from pipeline.ticks import FairMarketValue, LimitUpLimitDown, MinuteAggregate, Quote, SecondAggregate, Trade

ALL = Channels(per_ticker="tickstock.ticks.", all_ticks="tickstock.all_ticks")

RAW_KEYS = ["ticker", "price", "volume", "timestamp", "event_type", "source", "tick_open", "tick_high"]
RAW_KEYS += ["tick_low", "tick_close", "tick_volume", "tick_vwap", "bid", "ask"]

numbers = st.integers(-(2**70), 2**70) | st.floats(-1e300, 1e300)
maybe = st.none() | numbers
text = st.text(max_size=20) | st.sampled_from(
    ["AAPL", "BRK.B", 'quo"te', "back\\slash", "new\nline", "Ünï🚀"]
)
times = st.integers(1, 2**53) | st.floats(1, 1e16)
sources = st.sampled_from(["massive", "synthetic"])
ticks = st.one_of(
    st.builds(Trade, ticker=text, price=numbers, event_ms=times, size=maybe, source=sources),
    st.builds(Quote, ticker=text, event_ms=times, bid=maybe, ask=maybe),
    st.builds(
        SecondAggregate,
        ticker=text,
        event_ms=times,
        tick_close=numbers,
        tick_open=maybe,
        tick_high=maybe,
        tick_low=maybe,
        tick_volume=maybe,
        tick_vwap=maybe,
    ),
    st.builds(MinuteAggregate, ticker=text, event_ms=times, tick_close=numbers, source=sources),
    st.builds(LimitUpLimitDown, ticker=text, event_ms=times, high_limit=maybe),
    st.builds(FairMarketValue, ticker=text, event_ms=times, price=numbers),
    st.builds(
        TickData,
        ticker=text.filter(str.strip),
        price=st.floats(0.01, 1e6),
        volume=st.integers(0, 10**9),
        timestamp=st.floats(1, 1e10),
        source=st.none() | text,
        event_type=st.none() | text,
        market_status=st.none() | text,
        bid=maybe,
    ),
)


def commands(packed):
    """Read commands as a server does."""
    reader = hiredis.Reader(notEnoughData=...)
    reader.feed(packed)
    return list(iter(reader.gets, ...))


def expected(tick):
    """Return what TickStock would publish, in the order of `ALL`."""
    raw = {key: getattr(tick, key) for key in RAW_KEYS}
    common = {key: raw[key] for key in ("ticker", "price", "volume", "timestamp", "source")}
    market = {"type": "market_tick", "symbol": tick.ticker, **common}
    general = {"event_type": "tick_data", **common, "market_status": tick.market_status}
    per_ticker = "tickstock.ticks." + tick.ticker
    return [
        ("tickstock.data.raw", raw),
        ("tickstock:market:ticks", market),
        (per_ticker, general),
        ("tickstock.all_ticks", general),
    ]


def in_detail(message):
    """Return a message with the order of its keys and the types of its numbers."""
    return repr(json.loads(message, object_pairs_hook=list))


@settings(max_examples=150)
@given(st.lists(ticks, max_size=8))
def test_any_ticks_arrive_as_json_dumps_would_have_written_them(some):
    """TickStock's consumers would read other keys, another order, or 100.0 for 100."""
    parcel, rejected = Packer(ALL).pack("1", some)
    good = [tick for tick in some if tick.price is not None]
    assert rejected.get("no_price", 0) == len(some) - len(good)
    wanted = [pair for tick in good for pair in expected(tick)]
    got = commands(parcel.pack())
    assert [command[:2] for command in got] == [[b"PUBLISH", channel.encode()] for channel, _ in wanted]
    for (_, _, message), (_, fields) in zip(got, wanted, strict=True):
        assert in_detail(message) == in_detail(json.dumps(fields))


@settings(max_examples=60)
@given(st.lists(ticks, max_size=12), st.integers(1, 2000), st.booleans())
def test_messages_of_many_are_arrays_of_the_messages_of_one(some, limit_bytes, alone):
    """A consumer that changes to the batched channel must find the same messages, each once, in order."""
    channels = Channels(raw="" if alone else "raw", market="", raw_batch="raw.batch")
    packer = Packer(channels)
    parcel, rejected = packer.pack("1", some)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.sinks.redis_messages.BATCH_BYTES", limit_bytes)
        parcels, left_out = packer.pack_gathered("1")
    ones = commands(Packer(Channels(raw="raw", market="")).pack("1", some)[0].pack())
    assert commands(parcel.pack()) == ([] if alone else ones)
    got = [command for parcel in parcels for command in commands(parcel.pack())]
    assert all(command[:2] == [b"PUBLISH", b"raw.batch"] for command in got)
    assert [in_detail(json.dumps(each)) for _, _, message in got for each in json.loads(message)] == [
        in_detail(message) for _, _, message in ones
    ]
    for each, (_, _, message) in zip(parcels, got, strict=True):
        assert each.many == len(json.loads(message))
        assert len(message) <= limit_bytes or each.many == 1
    numbers = [number for each in parcels for number in sorted(each.ticks(1))]
    assert numbers == sorted(set(numbers))
    if not alone:
        assert numbers == sorted(parcel.ticks(1)), "known as the same ticks in both"
    assert sum((rejected + left_out).values()) == len(some) - len(ones)
    assert packer.pack_gathered("1") == ([], {})


def test_a_tick_that_cannot_be_written_is_in_no_array():
    """One tick of a caller's own making would cost all the others of its message."""
    bad = Trade(ticker=object(), price=2, event_ms=1000)
    good = [Trade(ticker="A", price=n, event_ms=1000) for n in range(3)]
    for channels in (Channels(raw_batch="batch"), Channels(raw="", market="", raw_batch="batch")):
        packer = Packer(channels)
        _, rejected = packer.pack("1", [bad, *good, bad])
        parcels, left_out = packer.pack_gathered("1")
        assert rejected + left_out == {"unwritable": 2}
        messages = [json.loads(message) for each in parcels for _, _, message in commands(each.pack())]
        assert [tick["price"] for message in messages for tick in message] == [0, 1, 2]


def test_the_switches_of_the_channels():
    """A user would get messages on channels that were switched off, or none on those that were not."""
    trade = Trade(ticker="AAPL", price=1, event_ms=1000)

    def channels_of(channels):
        return [command[1].decode() for command in commands(Packer(channels).pack("1", [trade])[0].pack())]

    assert channels_of(Channels()) == ["tickstock.data.raw", "tickstock:market:ticks"]
    assert channels_of(Channels(raw="")) == ["tickstock:market:ticks"]
    assert channels_of(Channels(market="", all_ticks="everything")) == ["tickstock.data.raw", "everything"]
    assert channels_of(Channels(raw="", market="", per_ticker="t.")) == ["t.AAPL"]
    assert ALL.names == (
        "tickstock.data.raw",
        "tickstock:market:ticks",
        "tickstock.ticks.*",
        "tickstock.all_ticks",
    )
    with pytest.raises(ValueError, match="one name at least"):
        Channels(raw="", market="")


class Broken:
    """Is what a caller's own tick may be."""

    ticker = "AAPL"
    price = 1.0

    @property
    def volume(self):
        raise OSError("no volume today")


def test_what_cannot_be_written_costs_its_neighbours_nothing():
    """One bad tick would end the sink's thread, or take the batch with it."""
    good = [Trade(ticker=name, price=1, event_ms=1000) for name in ("A", "B", "C")]
    bad = [
        Quote(ticker="A", event_ms=1000, bid=0, ask=None),
        Trade(ticker="\ud800", price=1, event_ms=1000),
        Broken(),
        TickData("half", 1, 1, 1, market_status=object()),  # fails after two messages of it were made
    ]
    mixed = [good[0], bad[0], bad[1], good[1], bad[2], bad[3], good[2]]
    parcel, rejected = Packer(ALL).pack("1", mixed)
    assert rejected == {"no_price": 1, "unwritable": 3}
    assert [json.loads(message)["ticker"] for _, _, message in commands(parcel.pack())] == list(
        "AAAABBBBCCCC"
    )
    assert len(parcel.numbers) == 12


def test_what_is_no_json_number_becomes_null():
    """Consumers in other languages cannot read NaN."""
    bar = SecondAggregate(ticker="A", event_ms=1000, tick_close=1, tick_vwap=math.nan, tick_high=math.inf)
    parcel, _ = Packer(Channels(market="")).pack("1", [bar])
    message = json.loads(commands(parcel.pack())[0][2])
    assert (message["tick_vwap"], message["tick_high"]) == (None, None)


@pytest.mark.parametrize("length", [CACHED_LENGTHS - 500, CACHED_LENGTHS, 3 * CACHED_LENGTHS])
def test_messages_of_any_length_have_the_right_header_twice(length):
    """The header found ready-made would be that of another length."""
    packer = Packer(Channels(market=""))
    for ticker in ("A" * length, "B" * length):
        parcel, _ = packer.pack("1", [Trade(ticker=ticker, price=1, event_ms=1000)])
        assert json.loads(commands(parcel.pack())[0][2])["ticker"] == ticker
    assert all(size < CACHED_LENGTHS for size in packer._raw), "what is kept ready is bounded"


@settings(max_examples=60)
@given(st.integers(0, 5), st.data())
def test_a_parcel_is_split_picked_and_counted_at_message_borders(count, data):
    """After a broken connection, a message would be sent in part, or lost."""
    packer = Packer(Channels())
    packer.pack("0", [Trade(ticker="other", price=1, event_ms=1)])
    some = [Trade(ticker=data.draw(text), price=n, event_ms=1) for n in range(count)]
    parcel, _ = packer.pack("1", some)
    parcel.doubtful = data.draw(st.integers(0, 2 * count))
    assert list(parcel.numbers) == list(range(2, 2 + 2 * count)), (
        "numbers go on where the parcel before ended"
    )
    at = data.draw(st.integers(0, 2 * count))
    head, tail = parcel.split(at)
    assert head.pack() + tail.pack() == parcel.pack()
    assert [*head.numbers, *tail.numbers] == list(parcel.numbers)
    assert len(head.numbers) == at
    assert head.doubtful + tail.doubtful == parcel.doubtful
    assert tail.doubtful == 0 or head.doubtful == at
    places = sorted(data.draw(st.sets(st.sampled_from(range(2 * count))))) if count else []
    picked = parcel.pick(places)
    assert commands(picked.pack()) == [commands(parcel.pack())[place] for place in places]
    assert picked.numbers == [parcel.numbers[place] for place in places]
    left = data.draw(st.integers(0, len(parcel.pack())))
    whole = len(commands(parcel.pack()[:left]))
    assert parcel.count_behind(len(parcel.pack()) - left) == 2 * count - whole
