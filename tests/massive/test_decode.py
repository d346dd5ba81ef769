import json
import logging
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reactivex import from_iterable

from operators.runtime import SYSTEM
from pipeline.massive.decode import Reject, RejectLog, decode, decode_message, statuses_in
from pipeline.massive.frames import Frames
from pipeline.ticks import LimitUpLimitDown, MinuteAggregate, Quote, SecondAggregate, Trade

GOOD = {"ev": "T", "sym": "A", "p": 1.5, "t": 1}
STATUS = {"ev": "status", "status": "success", "message": "subscribed to: T.A"}
BAD = [
    ({"ev": "T", "sym": "A", "t": 1}, "malformed"),
    ({"ev": "T", "sym": "A", "p": "1.5 USD", "t": 1}, "malformed"),
    ({"ev": "T", "sym": True, "p": 1.5, "t": 1}, "malformed"),
    ({"sym": "A", "p": 1.5, "t": 1}, "malformed"),
    ({"ev": None, "sym": "A"}, "malformed"),
    ({"ev": "XYZ", "sym": "A"}, "unknown_event"),
    ({"ev": "XYZ", "sym": 7}, "unknown_event"),
    (None, "malformed"),
    (17, "malformed"),
    ("a text", "malformed"),
    ([GOOD], "malformed"),
]


def frames(*messages: bytes, connection="connection_1", inspected=False, lost=0) -> Frames:
    """Build what a read brings."""
    size_bytes = sum(map(len, messages))
    return Frames(connection, 1, list(messages), size_bytes, inspected=inspected, lost=lost, read=7)


def run(*items: Frames, **options):
    """Decode and return the batches."""
    batches = []
    from_iterable(items).pipe(decode(**options)).subscribe(batches.append)
    return batches


def message(*elements) -> bytes:
    """Encode a message."""
    return json.dumps(elements).encode()


def test_every_event_type_is_decoded_with_its_own_names():
    """Massive names a bar's close c and a trade's conditions c; one mixed up is a wrong price."""
    elements = [
        {"ev": "T", "sym": "BRK.B", "x": 4, "i": "7", "z": 3, "p": 100, "s": 5, "c": [1], "t": 9, "q": 2},
        {"ev": "Q", "sym": "A", "bp": 1, "bs": 2, "bx": 3, "ap": 4.5, "as": 5, "ax": 6, "c": 1, "t": 8},
        {"ev": "A", "sym": "A", "v": 1.0, "av": 2, "op": 3, "vw": 4, "o": 5, "c": 6, "h": 7, "l": 8, "a": 9,
         "z": 10, "s": 1000, "e": 2000, "otc": True, "dv": "1.0"},
        {"ev": "AM", "sym": "A", "c": 6, "e": 2000},
        {"ev": "LULD", "T": "A", "h": 2, "l": 1, "i": [5], "z": 1, "t": 1_700_000_000_000_000_000, "q": 3},
    ]  # fmt: skip
    (trade, quote, second, minute, band), rejects = decode_message(message(*elements))
    assert not rejects
    assert trade == Trade(
        ticker="BRK.B", exchange=4, trade_id="7", tape=3, price=100, size=5, conditions=[1], event_ms=9,
        sequence=2,
    )  # fmt: skip
    assert quote == Quote(
        ticker="A", bid=1, bid_size=2, bid_exchange=3, ask=4.5, ask_size=5, ask_exchange=6, conditions=1,
        event_ms=8,
    )  # fmt: skip
    assert second == SecondAggregate(
        ticker="A", tick_volume=1.0, accumulated_volume=2, open_price=3, tick_vwap=4, tick_open=5,
        tick_close=6, tick_high=7, tick_low=8, vwap=9, tick_trade_size=10, start_ms=1000, event_ms=2000,
        otc=True, decimal_volume="1.0",
    )  # fmt: skip
    assert minute == MinuteAggregate(ticker="A", tick_close=6, event_ms=2000)
    assert band == LimitUpLimitDown(
        ticker="A", high_limit=2, low_limit=1, indicators=[5], tape=1, event_ms=1_700_000_000_000, sequence=3
    )
    assert [t.event_type for t in (trade, quote, second, minute, band)] == ["T", "Q", "A", "AM", "LULD"]


@pytest.mark.parametrize("field", ["x", "i", "z", "s", "c", "pt", "q", "trfi", "trft", "ds"])
def test_null_is_as_good_as_absent(field):
    """Every field but the symbol, the price and the time may be null; one null must not cost the trade."""
    (trade,), rejects = decode_message(message({**GOOD, field: None}))
    assert not rejects
    assert trade == Trade(ticker="A", price=1.5, event_ms=1)


@pytest.mark.parametrize(("element", "reason"), BAD)
def test_a_bad_element_costs_only_itself(element, reason):
    """One element without ev kills the whole stream of other clients."""
    ticks, rejects = decode_message(message(GOOD, element, STATUS, GOOD))
    assert [type(t).__name__ for t in ticks] == ["Trade", "ServerStatus", "Trade"]
    assert [r.reason for r in rejects] == [reason]


def test_a_torn_message_keeps_what_is_whole():
    """A truncated frame still brings the ticks before the tear."""
    whole = message(GOOD, GOOD, GOOD)
    ticks, rejects = decode_message(whole[:-10])
    assert len(ticks) == 2
    assert [r.reason for r in rejects] == ["torn"]


@settings(max_examples=300)
@given(st.lists(st.one_of(st.binary(max_size=60), st.sampled_from([message(GOOD), message(STATUS), b"[]"]))))
def test_any_bytes_decode_without_raising(messages):
    """Whatever comes, the stream lives and the account of each batch balances."""
    for batch in run(frames(*messages)):
        assert batch.received == len(batch.ticks) + batch.rejected
    good = messages.count(message(GOOD))
    assert sum(len(batch.ticks) for batch in run(frames(*messages))) >= good


ELEMENTS = st.one_of(
    st.just((GOOD, "tick")),
    st.just((STATUS, "status")),
    st.sampled_from([(element, "reject") for element, _ in BAD]),
)


@given(st.lists(st.lists(ELEMENTS, max_size=5), max_size=5))
def test_every_element_is_counted_once(messages):
    """Decoding many small messages at once must count exactly what one at a time would."""
    wire = [message(*(element for element, _ in elements)) for elements in messages]
    kinds = [kind for elements in messages for _, kind in elements]
    handed_back = []
    batches = run(frames(*wire), on_statuses=lambda _c, _read, statuses: handed_back.extend(statuses))
    assert sum(len(b.ticks) for b in batches) == kinds.count("tick")
    assert sum(b.rejected for b in batches) == kinds.count("reject")
    assert sum(b.received for b in batches) == kinds.count("tick") + kinds.count("reject")
    assert len(handed_back) == kinds.count("status")


def test_statuses_are_handed_back_only_if_nobody_has_seen_them():
    """An acknowledgement handled twice would confirm a channel that was given up in between."""
    seen = []
    options = {"on_statuses": lambda *args: seen.append(args)}
    run(frames(message(STATUS), inspected=True), **options)
    assert seen == []
    run(frames(message(STATUS)), **options)
    assert [(connection, read, len(found)) for connection, read, found in seen] == [("connection_1", 7, 1)]


def test_a_batch_of_losses_flows_without_ticks():
    """What the ingest buffer dropped is accounted for even if nothing comes after it."""
    (batch,) = run(frames(lost=5))
    assert (batch.received, batch.lost, batch.ticks) == (5, 5, [])


def test_a_frame_with_nothing_in_it_makes_no_batch():
    """Greetings and acknowledgements are no ticks; an empty batch would wake every subscriber."""
    assert run(frames(b"[]"), frames(message(STATUS))) == []


def test_statuses_in_survives_bad_neighbours():
    """A malformed tick in the frame of an acknowledgement must not hide it from the connection."""
    statuses, others = statuses_in(message({"ev": "T"}, STATUS))
    assert (len(statuses), others) == (1, True)
    assert len(statuses_in(message(STATUS))[0]) == 1
    assert statuses_in(message(STATUS))[1] is False
    assert statuses_in(message(GOOD)) == ([], True)
    assert statuses_in(b"[]") == ([], False)
    assert statuses_in(b'"status') == ([], True)


def test_rejects_are_counted_and_sampled_at_most_every_ten_seconds(caplog):
    """A feed gone bad would otherwise fill the disk with log lines at 100,000 a second."""
    now_s = 100.0
    reject_log = RejectLog(runtime=replace(SYSTEM, monotonic=lambda: now_s))
    with caplog.at_level(logging.WARNING, "tickbraid.massive.decode"):
        for _ in range(1000):
            reject_log("connection_1", Reject("malformed", b"sample"))
        assert len(caplog.records) == 1
        now_s = 110.0
        reject_log("connection_1", Reject("malformed", b"sample"))
    assert len(caplog.records) == 2
    assert reject_log.by_reason == {"malformed": 1001}
    assert reject_log.by_connection == {"connection_1": 1001}
