import functools
import math

import msgspec
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.columns import COLUMNS, DEFAULT_COLUMNS, ColumnMaker
from pipeline.massive.decode import Element
from pipeline.ticks import Aggregate, FairMarketValue, Quote, Tick, TickBatch, Trade

KINDS = [kind for kind in Element.__args__ if issubclass(kind, Tick)]
# What JSON can say: ints of any size, floats without NaN and infinity.
NUMBERS = st.integers(0, 2**53) | st.floats(0, 1e9) | st.sampled_from([0, 0.0, -1.5])
HUGE = st.sampled_from([2**53 + 1, 2**63, 2**64, 10**400, 1e300])
EXACT_FLOATS = 2**53


@functools.cache
def ticks(numbers=NUMBERS):
    """Any ticks of any kinds, optional fields present, absent or null."""
    return st.lists(st.one_of([_tick(kind, numbers) for kind in KINDS]), max_size=12)


def _tick(kind, numbers):
    values = {}
    for field in msgspec.structs.fields(kind):
        if field.name == "ticker":
            values[field.name] = st.sampled_from(["AAPL", "BRK.B", "Ω"])
        elif field.name == "event_ms":
            values[field.name] = st.integers(0, 2**63) | st.floats(0, 4e12)
        elif field.name == "sequence":
            values[field.name] = st.none() | st.integers(0, 2**63 - 1) | numbers.filter(_is_int)
        elif field.type in (int | float, int | float | None):
            values[field.name] = numbers if field.required else numbers | st.none()
    return st.builds(kind, **values)


def _is_int(value):
    return type(value) is int


def batches(numbers=NUMBERS):
    """Some batches of three connections."""
    return st.lists(
        st.builds(
            lambda connection, received_ns, its: TickBatch(
                connection=connection,
                received_ns=received_ns,
                decoded_ns=received_ns + 1,
                ticks=its,
                received=len(its),
            ),
            st.sampled_from(["connection_1", "connection_2", "connection_3"]),
            st.integers(0, 2**62),
            ticks(numbers),
        ),
        min_size=1,
        max_size=4,
    )


def expected(batch, tick):
    """Return the row of a tick, as the object lane tells its values."""
    row = {name: getattr(tick, name, None) for name in COLUMNS}
    return row | {
        "connection": batch.connection,
        "received_ns": batch.received_ns,
        "decoded_ns": batch.decoded_ns,
        "event_ns": round(tick.event_ms * 10**6),
        "size": tick.volume if isinstance(tick, Trade | Aggregate) else None,
    }


def fits(row):
    """Tell whether Arrow's columns can hold the values: floats exactly, whole numbers in 64 bits."""
    whole = {"received_ns", "decoded_ns", "event_ns", "sequence"}
    floats = COLUMNS - whole - {"connection", "ticker", "event_type"}
    return all(
        row[name] is None or type(row[name]) is float or abs(row[name]) <= EXACT_FLOATS for name in floats
    ) and all(row[name] is None or -(2**63) <= row[name] < 2**63 for name in ("event_ns", "sequence"))


@settings(max_examples=40)
@given(batches())
def test_columns_say_what_the_ticks_say(some):
    """A backtest on columns and a bot on ticks must see the same prices, whatever the feed mixes."""
    columns, rejected = ColumnMaker(sorted(COLUMNS)).make(some)
    columns.validate(full=True)
    rows = [expected(batch, tick) for batch in some for tick in batch.ticks]
    good = [row for row in rows if fits(row)]
    assert columns.to_pylist() == good
    assert sum(rejected.values()) == len(rows) - len(good)


@settings(max_examples=40)
@given(batches(NUMBERS | HUGE))
def test_a_value_that_no_column_holds_costs_its_tick_alone(some):
    """One garbled price must not cost the batch, and the account must say whose it was."""
    columns, rejected = ColumnMaker(sorted(COLUMNS)).make(some)
    kept = {}
    for row in columns.to_pylist():
        kept[row["connection"]] = kept.get(row["connection"], 0) + 1
    for connection in {batch.connection for batch in some}:
        received = sum(len(batch.ticks) for batch in some if batch.connection == connection)
        assert kept.get(connection, 0) + rejected.get(connection, 0) == received
    rows = [expected(batch, tick) for batch in some for tick in batch.ticks if _tellable(tick)]
    assert columns.to_pylist() == [row for row in rows if fits(row)]


def _tellable(tick):
    """Tell whether the midpoint of a quote is a number at all."""
    try:
        return math.isfinite(tick.price or 0)
    except OverflowError:
        return False


@settings(max_examples=15)
@given(batches(), st.lists(st.sampled_from(sorted(COLUMNS)), unique=True, min_size=1))
def test_the_columns_asked_for_come_in_their_order_and_no_others(some, names):
    """Each column costs time: who wants three must not pay for nineteen."""
    columns, _ = ColumnMaker(names).make(some)
    everything, _ = ColumnMaker(sorted(COLUMNS)).make(some)
    if columns.num_rows == everything.num_rows:
        assert columns == everything.select(names)
    assert columns.schema.names == names


def test_types_do_not_depend_on_what_came():
    """Batches are put together into one table: a batch without trades must have the same types."""
    maker = ColumnMaker()
    schemas = [
        maker.make([TickBatch(connection="1", received_ns=1, ticks=its)])[0].schema
        for its in (
            [],
            [Quote(ticker="A", event_ms=1)],
            [Trade(ticker="A", event_ms=1, price=5, size=1, sequence=1)],
        )
    ]
    assert schemas[0].names == list(DEFAULT_COLUMNS)
    assert schemas[0] == schemas[1] == schemas[2]


def test_times_are_exact_nanoseconds():
    """Half a microsecond off is what a float of nanoseconds would be."""
    late = FairMarketValue(ticker="A", event_ms=1_718_971_200_123_456_789, price=1)
    assert late.event_ms == pytest.approx(1_718_971_200_123.4568)  # the feed's ns, as float ms
    its = [Quote(ticker="A", event_ms=1_718_971_200_123), late]
    columns, _ = ColumnMaker(["event_ns"]).make([TickBatch(connection="1", received_ns=1, ticks=its)])
    assert columns["event_ns"][0].as_py() == 1_718_971_200_123_000_000
    assert abs(columns["event_ns"][1].as_py() - 1_718_971_200_123_456_789) < 500


@pytest.mark.parametrize("names", [["prize"], ["price", "price"], [""]])
def test_unknown_names_fail_at_once(names):
    """A typing error must fail where it is written, not in a thread an hour later."""
    with pytest.raises(ValueError, match=r"names must be of .*price"):
        ColumnMaker(names)


def test_it_is_arrow():
    """Polars, pandas and DuckDB take it over only if it is what they know."""
    columns, _ = ColumnMaker().make([TickBatch(connection="1", received_ns=1, ticks=[])])
    assert isinstance(columns, pa.RecordBatch)
