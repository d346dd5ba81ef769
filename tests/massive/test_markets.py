"""Every event of every market becomes a tick that has all of it."""

import json
import os
from pathlib import Path

import msgspec
import pytest

from pipeline.massive.decode import decode_message
from pipeline.massive.lenient import decode_element
from pipeline.tick_data import TICK_DATA_FIELDS, TickData
from pipeline.ticks import TICK_KINDS, Aggregate, TwoSided
from tests.feed_examples import EXAMPLES, NAMES

SPEC = os.environ.get("TICKBRAID_SPEC_FILE", "")
"""Massive's WebSocket specification, as it publishes it: an example of each event stands in it."""

by_name = pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)


def encode(*elements) -> bytes:
    """Encode a message."""
    return json.dumps(elements).encode()


def decode_one(wire):
    """Decode an element on the fast path and on the patient one, which have to agree."""
    ticks, rejects = decode_message(encode(wire))
    assert not rejects
    patient = decode_element(json.dumps(wire).encode())
    assert patient.element == ticks[0]
    assert patient.unreadable == ()
    return ticks[0]


@by_name
def test_an_event_of_any_market_says_all_it_says_on_the_wire(example):
    """A market without its class of ticks is paid for and rejected as unknown."""
    tick = decode_one(example.wire)
    assert {name: getattr(tick, name) for name in example.says} == example.says
    assert set(example.wire) - {"ev"} <= set(NAMES[tick.event_type])


@by_name
def test_an_event_of_any_market_answers_what_tickstock_asks(example):
    """TickStock reads the same attributes of every tick; one that is missing ends its handler."""
    tick = decode_one(example.wire)
    for name in TICK_DATA_FIELDS:
        getattr(tick, name)
    assert tick.event_type == example.wire["ev"]
    if tick.price:
        data = tick.to_tick_data()
        assert isinstance(data, TickData)
        assert (data.ticker, data.price, data.event_type) == (tick.ticker, tick.price, tick.event_type)
    if isinstance(tick, Aggregate):
        assert tick.tick_start_timestamp == tick.start_ms / 1000


@by_name
def test_an_event_of_any_market_outlives_being_written_again(example):
    """Who stores ticks as JSON and reads them back would otherwise lose their ns."""
    tick = decode_one(example.wire)
    assert msgspec.json.decode(msgspec.json.encode(tick), type=type(tick)) == tick
    assert msgspec.structs.replace(tick, received_ns=5).event_ns == tick.event_ns


def test_every_class_of_ticks_has_its_example():
    """A class without an example has nothing that shows it is read rightly."""
    assert {example.wire["ev"] for example in EXAMPLES} == {kind.event_type for kind in TICK_KINDS}
    assert len(NAMES) == len(TICK_KINDS)


@pytest.mark.parametrize("event_type", ["C", "XQ"])
@pytest.mark.parametrize(("bid", "ask", "price"), [(2, 3, 2.5), (None, 3, 3), (2, 0, 2), (None, None, None)])
def test_the_price_of_a_currency_quote_is_the_midpoint_or_the_one_side(event_type, bid, ask, price):
    """A missing side must not halve a price."""
    names = {"C": ("p", "b", "a"), "XQ": ("pair", "bp", "ap")}[event_type]
    tick = decode_one({"ev": event_type, "t": 1, **dict(zip(names, ("EUR/USD", bid, ask), strict=True))})
    assert isinstance(tick, TwoSided)
    assert tick.price == price


@pytest.mark.skipif(not SPEC, reason="TICKBRAID_SPEC_FILE names no specification")
def test_every_documented_example_is_read_whole():
    """The table of examples here could have forgotten what Massive documents."""
    paths = json.loads(Path(SPEC).read_text("utf-8"))["paths"]
    examples = {
        path: body["get"]["responses"]["200"]["content"]["application/json"]["example"]
        for path, body in paths.items()
    }
    assert len(examples) >= 33
    for path, wire in examples.items():
        tick = decode_one(wire)
        for field, value in wire.items():
            if field == "ev":
                continue
            name = NAMES[tick.event_type][field]
            if (tick.event_type, field) == ("C", "x"):
                value = int(value)  # noqa: PLW2901  # documented as an integer, shown as a text
            if name == "trade_id":
                value = str(value)  # noqa: PLW2901  # of any market a text
            if name == "event_ms" and value > 1e14:
                assert tick.event_ns == (value if value > 1e17 else value * 1000), path
                continue
            got = getattr(tick, name)
            assert (list(map(list, got)) if name in {"bids", "asks"} else got) == value, (path, field)
