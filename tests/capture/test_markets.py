"""What a market sent is in a capture, and comes out of it as it went in."""

import json
from tempfile import TemporaryDirectory

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from msgspec.structs import replace

from pipeline.capture import load_ticks
from pipeline.capture.layout import TICKS, parts
from pipeline.capture.playback import Selection
from pipeline.capture.record import CaptureSink
from pipeline.massive.decode import decode_message
from pipeline.status_stream import StatusStream
from pipeline.tap import Tap
from pipeline.ticks import TickBatch
from tests.capture.worlds import START_MS
from tests.feed_examples import EXAMPLES
from tests.test_columns import ticks as any_ticks

RECEIVED_NS = START_MS * 10**6


def record(path, ticks):
    """Record ticks alone."""
    sink = CaptureSink(path, Tap(), StatusStream(), kinds=[TICKS])
    sink.write([TickBatch(connection="c", received_ns=RECEIVED_NS, decoded_ns=RECEIVED_NS, ticks=ticks)])
    sink.close()


def replayed(path):
    """Return the ticks that a replay of a capture brings."""
    messages = [m for items in Selection(path).chunks() for frames in items for m in frames.messages]
    decoded = [decode_message(message) for message in messages]
    assert not [reject for _, rejects in decoded for reject in rejects]
    return [tick for ticks, _ in decoded for tick in ticks]


def decode_all(elements):
    """Return the ticks of elements."""
    ticks, rejects = decode_message(json.dumps(elements).encode())
    assert not rejects
    return ticks


def test_ticks_of_all_markets_are_replayed_as_they_were_recorded(tmp_path):
    """Who keeps ticks and no frames would compute on other ticks than those that came."""
    ticks = decode_all([example.wire for example in EXAMPLES])
    record(tmp_path, ticks)
    assert replayed(tmp_path) == ticks


@pytest.mark.parametrize(
    "trade",
    [
        *({"s": 0, "ds": "0.25"}, {"s": 2.5}, {"s": 3, "ds": "3.0"}, {"s": 0}, {"s": 7}, {}),
        *(
            {"ds": "0.25"},
            {"ds": "3.0"},
            {"s": 0, "ds": "3.0"},
            {"s": 2.5, "ds": "2.50"},
            {"s": 0, "ds": "?"},
        ),
    ],
    ids=json.dumps,
)
def test_a_size_with_a_part_of_a_share_is_replayed_as_it_was_recorded(tmp_path, trade):
    """A sub-share trade would come back with another size, or with none."""
    ticks = decode_all([{"ev": "T", "sym": "A", "p": 1, "t": START_MS} | trade])
    record(tmp_path, ticks)
    assert replayed(tmp_path) == ticks


@pytest.mark.parametrize("size", [{}, {"s": 0}, {"s": 0.5}], ids=json.dumps)
def test_a_size_of_a_crypto_trade_is_replayed_as_it_was_recorded(tmp_path, size):
    """A trade without a size would come back as one of nothing."""
    ticks = decode_all([{"ev": "XT", "pair": "BTC-USD", "p": 1, "t": START_MS} | size])
    record(tmp_path, ticks)
    assert replayed(tmp_path) == ticks


@pytest.mark.parametrize("conditions", [{}, *({"c": c} for c in (0, 1, [], [1], [1, 2]))], ids=json.dumps)
def test_conditions_of_a_quote_are_replayed_as_they_were_recorded(tmp_path, conditions):
    """Code that takes the first of the list would raise in a replay, where it is a number."""
    ticks = decode_all([{"ev": "Q", "sym": "A", "bp": 1, "ap": 2, "t": START_MS} | conditions])
    trade = decode_all([{"ev": "T", "sym": "A", "p": 1, "s": 1, "c": [1], "t": START_MS}])
    record(tmp_path, ticks + trade)
    assert replayed(tmp_path) == ticks + trade


def _recordable(tick):
    """Tell whether the columns hold all of it: no part of a ms but what a whole number of ns says."""
    return (
        type(tick.event_ms) is int
        and all(abs(ms) * 10**6 < 2**63 for ms in (tick.event_ms, getattr(tick, "start_ms", None) or 0))
        and not isinstance(getattr(tick, "exchange", None), str)
    )


@settings(max_examples=40, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
@given(any_ticks().map(lambda ticks: [tick for tick in ticks if _recordable(tick)]))
def test_any_ticks_are_replayed_as_they_were_recorded(ticks):
    """A field that is lost on the way, or comes back as another, would be seen by who trades on it only."""
    with TemporaryDirectory() as path:
        record(path, ticks)
        assert not ticks or replayed(path) == [replace(tick, received_ns=0) for tick in ticks]


def test_what_was_made_is_not_replayed_as_the_feeds(tmp_path):
    """Made-up prices would be told from real ones in the stream, and no more in its recording."""
    made = [example.wire | {"source": "synthetic"} for example in EXAMPLES]
    ticks = decode_all([*made, EXAMPLES[0].wire])
    record(tmp_path, ticks)
    assert [tick.source for tick in replayed(tmp_path)] == [tick.source for tick in ticks]
    assert replayed(tmp_path) == ticks


def test_a_capture_of_an_older_version_is_read_and_replayed(tmp_path):
    """A year of captures must not be lost to an update, which records more columns."""
    quote = {"ev": "Q", "sym": "A", "bp": 1, "ap": 2, "bs": 3, "as": 4, "bx": 5, "q": 6, "t": START_MS}
    trade = {"ev": "T", "sym": "A", "p": 1.5, "s": 0, "ds": "0.25", "x": 4, "t": START_MS}
    record(tmp_path, decode_all([quote, trade]))
    (part,) = parts(tmp_path, TICKS)
    table = pq.read_table(part.path, partitioning=None)
    pq.write_table(table.select(table.column_names[:21]), part.path)
    record(tmp_path, decode_all([quote]))
    assert load_ticks(tmp_path)["bid_exchange"].to_list() == [None, None, 5]
    del quote["bx"], trade["x"]
    assert replayed(tmp_path)[:2] == decode_all([quote, trade])
