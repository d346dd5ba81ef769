"""A field of another type costs nothing but itself."""

import json
import logging
from dataclasses import replace
from typing import get_origin

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reactivex import from_iterable

from operators.runtime import SYSTEM
from pipeline.massive.decode import Element, RejectLog, decode, decode_message
from pipeline.massive.frames import Frames
from pipeline.massive.lenient import Reject, decode_element, types_of
from pipeline.tick import TEXT_MOST
from pipeline.ticks import TICK_KINDS, Trade
from tests.feed_examples import EXAMPLES, NAMES

KINDS = {kind.event_type: kind for kind in TICK_KINDS}
NEIGHBOUR = {"ev": "T", "sym": "OK", "p": 1.5, "t": 1}
TRADE = {"ev": "T", "sym": "A", "x": 4, "i": "7", "z": 3, "p": 100.5, "s": 100, "c": [12], "t": 1, "q": 2}

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=6),
    st.sampled_from(["", "nan", "inf", "Infinity", "1e999", "1_000", "٣", " 15 ", "0x10", "-", ".", "100"]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
)
HARD = [
    *(b"1e999", b"-1e999", b"NaN", b"-Infinity", b"9" * 5000),
    *(b"[" * 40 + b"]" * 40, b'"\\ud800"', b'"\xff"'),
]
"""What only the text of JSON can say."""


def encode(*elements) -> bytes:
    """Encode a message."""
    return json.dumps(elements).encode()


def essential(wire):
    """Return the names on the wire of what a tick cannot be without, if it is there."""
    kind = KINDS[wire["ev"]]
    fields = msgspec.structs.fields(kind)
    prices = {"price", "bid", "ask", "bids", "asks"}
    return {field.encode_name for field in fields if field.required or field.name in prices} & set(wire)


def names_of(fields, event_type):
    """Return attributes for names on the wire."""
    return {NAMES[event_type][field] for field in fields}


def others(tick, without):
    """Return what a tick holds, but for some fields."""
    return {name: getattr(tick, name) for name in tick.__struct_fields__ if name not in without}


@pytest.mark.parametrize(
    ("field", "came", "attribute", "value"),
    [
        ("s", "100", "size", 100),
        ("s", "0.5", "size", 0.5),
        ("s", " 100 ", "size", 100),
        ("x", "4", "exchange", 4),
        ("x", 15.0, "exchange", 15),
        ("x", "15.0", "exchange", 15),
        ("c", 12, "conditions", [12]),
        ("c", ["12", 37.0], "conditions", [12, 37]),
        ("c", "12", "conditions", [12]),
        ("z", None, "tape", None),
        ("i", 12345, "trade_id", "12345"),
        ("i", "", "trade_id", ""),
        ("ds", 0.25, "decimal_size", "0.25"),
        ("p", "100.5", "price", 100.5),
        ("p", "1e2", "price", 100.0),
        ("t", "1629820676333", "event_ms", 1629820676333),
        ("q", "9", "sequence", 9),
        ("q", 2**63, "sequence", 2**63),
        ("q", 2**70, "sequence", 2**70),
        ("q", str(2**64), "sequence", 2**64),
        ("sym", 7203, "ticker", "7203"),
    ],
)
def test_a_value_of_another_type_is_converted_where_that_loses_nothing(field, came, attribute, value):
    """A feed that writes a size as a text one day would lose a day of trades."""
    ticks, rejects = decode_message(encode(NEIGHBOUR, TRADE | {field: came}, NEIGHBOUR))
    assert not rejects
    assert getattr(ticks[1], attribute) == value
    assert type(getattr(ticks[1], attribute)) is type(value)
    assert decode_element(json.dumps(TRADE | {field: came}).encode()).unreadable == ()


@pytest.mark.parametrize(
    ("field", "came"),
    [
        ("s", True), ("s", "many"), ("s", [100]), ("s", {}), ("x", 4.5), ("x", "NYSE"), ("x", 1e30),
        ("c", [12, {}]), ("c", "12,37"), ("z", [3]), ("i", False), ("q", "nan"), ("pt", "inf"),
    ],
)  # fmt: skip
def test_a_value_that_cannot_be_converted_costs_its_field_alone_and_is_counted(field, came):
    """A trade without its tape is a trade; a trade that is dropped for its tape is lost."""
    patient = decode_element(json.dumps(TRADE | {field: came}).encode())
    name = NAMES["T"][field]
    assert patient.unreadable == (f"T.{name}",)
    assert getattr(patient.element, name) is None
    assert others(patient.element, {name}) == others(decode_message(encode(TRADE))[0][0], {name})


@given(st.data())
def test_ornamental_fields_of_any_type_cost_only_themselves(data):
    """Whatever a feed writes into what is beside the price, ticker and time have to come through."""
    wire = data.draw(st.sampled_from([example.wire for example in EXAMPLES]))
    ornamental = sorted(set(wire) - essential(wire) - {"ev"})
    chosen = data.draw(st.sets(st.sampled_from(ornamental))) if ornamental else set()
    mutated = wire | {field: data.draw(VALUES) for field in sorted(chosen)}
    ticks, rejects = decode_message(encode(NEIGHBOUR, mutated, NEIGHBOUR))
    assert not rejects
    whole = decode_message(encode(wire))[0][0]
    names = names_of(chosen, wire["ev"])
    assert others(ticks[1], names) == others(whole, names)
    assert ticks[0] == ticks[2] == Trade(ticker="OK", price=1.5, event_ms=1)
    unreadable = decode_element(json.dumps(mutated).encode()).unreadable
    assert {label.partition(".")[2] for label in unreadable} <= names


@given(st.data())
def test_what_a_tick_cannot_be_without_costs_one_reject_and_no_neighbour(data):
    """A price that is none must neither pass nor take the rest of its message along."""
    wire = data.draw(st.sampled_from([example.wire for example in EXAMPLES]))
    field = data.draw(st.sampled_from(sorted(essential(wire))))
    came = data.draw(st.sampled_from([True, {}, "nan", "inf", "1e999", "-", {"a": 1}]))
    if isinstance(came, str) and NAMES[wire["ev"]][field] == "ticker":
        came = False
    ticks, rejects = decode_message(encode(NEIGHBOUR, wire | {field: came}, NEIGHBOUR))
    assert ticks == [Trade(ticker="OK", price=1.5, event_ms=1)] * 2
    assert [reject.reason for reject in rejects] == ["malformed"]


@given(st.data())
def test_the_patient_way_is_the_fast_way(data):
    """A tick must not depend on the company in which it came."""
    wire = data.draw(st.sampled_from([example.wire for example in EXAMPLES]))
    fields = data.draw(st.sets(st.sampled_from(sorted(set(wire) - {"ev"}))))
    raw = json.dumps(wire | {field: data.draw(VALUES) for field in sorted(fields)}).encode()
    try:
        fast = msgspec.json.decode(raw, type=Element)
    except msgspec.ValidationError:
        return
    assert decode_element(raw) == (fast, ())


@pytest.mark.parametrize("hard", HARD, ids=lambda hard: repr(hard[:8]))
@pytest.mark.parametrize("field", ["x", "i", "s", "c", "q", "ds", "pt"])
def test_what_no_number_holds_costs_its_field_alone(hard, field):
    """A number out of all range makes a decoder give up on the whole message."""
    raw = encode(TRADE)[1:-2] + b', "%b": %b}' % (field.encode(), hard)
    ticks, rejects = decode_message(b"[%b,%b]" % (encode(TRADE)[1:-1], raw))
    if hard != HARD[-1]:  # bytes that are no UTF-8 make it no JSON at all
        assert not rejects
        assert others(ticks[1], names_of([field], "T")) == others(ticks[0], names_of([field], "T"))
    assert isinstance(decode_element(raw).element, Trade | Reject)


@given(st.binary(max_size=80) | VALUES.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_an_element_or_a_reject(raw):
    """It is the last to look at an element: what it raised would end the stream."""
    patient = decode_element(raw)
    assert isinstance(patient.element, Reject) or not patient.unreadable


def test_unreadable_fields_are_counted_by_field_and_told_now_and_then(caplog):
    """A feed that changes a type says nothing; its users have to be told, but not 1,000 times."""
    now_s = 100.0
    rejects = RejectLog(runtime=replace(SYSTEM, monotonic=lambda: now_s))
    message = encode(*[TRADE | {"z": {}, "c": "?"}] * 50, TRADE)
    frames = Frames("connection_1", 7, [message], len(message))
    batches = []
    with caplog.at_level(logging.WARNING, "tickbraid.massive.decode"):
        operator = decode(on_reject=rejects, on_unreadable=rejects.count_unreadable)
        from_iterable([frames, frames]).pipe(operator).subscribe(batches.append)
    assert [(len(batch.ticks), batch.rejected) for batch in batches] == [(51, 0)] * 2
    assert rejects.unreadable == {"T.tape": 100, "T.conditions": 100}
    assert sorted(record.args[1] for record in caplog.records) == ["T.conditions", "T.tape"]


@pytest.mark.parametrize("wire", [example.wire for example in EXAMPLES])
def test_what_a_server_writes_has_an_end(wire):
    """The last tick of each ticker is kept: a MiB in each name, id or list would fill the memory."""
    for field in msgspec.structs.fields(KINDS[wire["ev"]]):
        wanted = types_of(field.type)
        if str in wanted:
            value = "x" * (TEXT_MOST + 1)
        elif any(get_origin(its) is list for its in wanted):
            value = [[1, 1] if field.name in {"bids", "asks"} else 1] * 1001
        else:
            continue
        elements, rejects = decode_message(encode(wire | {field.encode_name: value}, NEIGHBOUR))
        assert elements[-1].ticker == "OK"
        if field.name in {"ticker", "bids", "asks"}:
            assert (len(elements), len(rejects)) == (1, 1), field.name
        else:
            assert (len(elements), len(rejects)) == (2, 0), field.name
            assert getattr(elements[0], field.name) == field.default
