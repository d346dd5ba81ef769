import functools
import json
from collections import Counter

import msgspec
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.columns import COLUMNS, DEFAULT_COLUMNS, ColumnMaker, holders
from pipeline.massive.decode import decode_message
from pipeline.massive.lenient import types_of
from pipeline.ticks import TICK_KINDS, TRADES, FairMarketValue, Quote, TickBatch, Trade
from tests.feed_examples import EXAMPLES

KINDS = TICK_KINDS
# What JSON can say: ints of any size, floats without NaN and infinity.
NUMBERS = st.integers(0, 2**53) | st.floats(0, 1e9) | st.sampled_from([0, 0.0, -1.5])
HUGE_WHOLES = [2**53 + 1, 2**63, 2**64, 10**400]
HUGE = st.sampled_from([*HUGE_WHOLES, 1e300])
NUMBERS_OR_HUGE = NUMBERS | HUGE
EXACT_FLOATS = 2**53


@functools.cache
def ticks(numbers=NUMBERS):
    """Any ticks of any kinds, optional fields present, absent or null."""
    return st.lists(st.one_of([_tick(kind, numbers) for kind in KINDS]), max_size=4)


def _tick(kind, numbers):
    wholes = st.integers(0, 2**53) | (st.nothing() if numbers is NUMBERS else st.sampled_from(HUGE_WHOLES))
    of_type = {
        frozenset({int}): wholes,
        frozenset({int, float}): numbers,
        frozenset({str}): st.text(max_size=3),
        frozenset({str, int}): st.text(max_size=3) | wholes,
        frozenset({str, int, float}): st.text(max_size=3) | numbers,
        frozenset({bool}): st.booleans(),
        frozenset({list[int]}): st.lists(wholes, max_size=3),
        frozenset({list[int], int}): st.lists(wholes, max_size=3) | wholes,
        frozenset({list[tuple[int | float, int | float]]}): st.lists(st.tuples(numbers, numbers), max_size=2),
    }
    values = {}
    for field in msgspec.structs.fields(kind):
        if field.name == "ticker":
            values[field.name] = st.sampled_from(["AAPL", "BRK.B", "Ω"])
        elif field.name == "event_ms" or (field.name == "start_ms" and field.required):
            values[field.name] = st.integers(0, 2**63) | st.floats(0, 4e12)
        elif field.name not in {"received_ns", "source", "event_ns"}:
            strategy = of_type[types_of(field.type)]
            values[field.name] = strategy if field.required else strategy | st.none()
    return st.builds(kind, **values)


@st.composite
def mixes(draw):
    """Many ticks of a few kinds: of one mostly, or of each about as many."""
    kinds = draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=3, unique=True))
    weighed = [kind for kind in kinds for _ in range(draw(st.sampled_from([1, 1, 5])))]
    one = st.sampled_from(weighed).flatmap(lambda kind: _tick(kind, NUMBERS_OR_HUGE))
    return draw(st.lists(one, min_size=1, max_size=12))


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


WHOLE = {
    *("received_ns", "decoded_ns", "event_ns", "sequence", "symbol_sequence", "transactions"),
    *("exchange", "bid_exchange", "ask_exchange", "tape", "trf_id", "conditions", "indicators"),
}
TEXTS = {
    *("connection", "ticker", "event_type", "source", "trade_id", "auction_type"),
    *("decimal_size", "decimal_volume", "decimal_accumulated_volume"),
}


def expected(batch, tick):
    """Return the row of a tick, as the object lane tells its values; None where a column cannot hold one."""
    row = {name: getattr(tick, name, None) for name in COLUMNS}
    row |= {
        "connection": batch.connection,
        "received_ns": batch.received_ns,
        "decoded_ns": batch.decoded_ns,
        "event_ns": tick.event_ms * 10**6 if _is_int(tick.event_ms) else tick.event_ns,
        "size": tick.volume if type(tick) in TRADES else getattr(tick, "tick_volume", None),
        "reported_size": tick.size if type(tick) in TRADES else None,
        "listed_conditions": True if type(tick) is Quote and isinstance(tick.conditions, list) else None,
    }
    if not isinstance(row["decimal_volume"], str):
        row["decimal_volume"] = None
    if type(tick) in holders("event_ns"):
        row["event_ns"] = tick.event_ns
    if isinstance(row["conditions"], int):
        row["conditions"] = [row["conditions"]]
    return {name: value if _fits(name, value) else None for name, value in row.items()}


def _fits(name, value):
    """Tell whether Arrow's columns can hold a value: floats exactly, whole numbers in 64 bits."""
    if isinstance(value, list | tuple):
        return all(_fits(name, each) for each in value)
    if value is None or isinstance(value, bool) or name in TEXTS:
        return True
    if name in WHOLE:
        return type(value) is int and -(2**63) <= value < 2**63
    return type(value) is float or abs(value) <= EXACT_FLOATS


def plain(row):
    """Return a row with the levels of a book as lists."""
    levels = {
        name: [list(map(float, level)) for level in row[name]] for name in ("bids", "asks") if row[name]
    }
    return row | levels


@settings(max_examples=40)
@given(batches())
def test_columns_say_what_the_ticks_say(some):
    """A backtest on columns and a bot on ticks must see the same values, whatever the feed mixes."""
    columns, rejected = ColumnMaker(sorted(COLUMNS)).make(some)
    columns.validate(full=True)
    rows = [plain(expected(batch, tick)) for batch in some for tick in batch.ticks]
    assert columns.to_pylist() == rows
    assert not rejected


@settings(max_examples=40)
@given(batches(NUMBERS_OR_HUGE))
def test_a_value_that_no_column_holds_costs_its_column_alone(some):
    """One absurd sequence number must not cost the trade, let alone the batch, and has to be told."""
    maker = ColumnMaker(sorted(COLUMNS))
    columns, rejected = maker.make(some)
    kept = Counter(row["connection"] for row in columns.to_pylist())
    for connection in {batch.connection for batch in some}:
        received = sum(len(batch.ticks) for batch in some if batch.connection == connection)
        assert kept[connection] + rejected.get(connection, 0) == received
    tellable = [(batch, tick) for batch in some for tick in batch.ticks if _tellable(tick)]
    assert columns.to_pylist() == [plain(expected(batch, tick)) for batch, tick in tellable]
    assert sum(rejected.values()) == sum(len(batch.ticks) for batch in some) - len(tellable)
    odd = Counter(
        name
        for batch, tick in tellable
        for name, value in expected(batch, tick).items()
        if value is None and name not in {"decimal_volume", "size"} and getattr(tick, name, None) is not None
    )
    assert {name: maker.unfit[name] for name in odd} == dict(odd)


@settings(max_examples=40)
@given(mixes(), st.lists(st.sampled_from(sorted(COLUMNS)), unique=True) | st.just(sorted(COLUMNS)))
def test_a_row_is_the_same_whatever_is_beside_it(its, names):
    """The ways of many ticks at once, of one kind mostly or of several, must not be seen in a backtest."""
    batch = TickBatch(connection="1", received_ns=1, decoded_ns=2, ticks=its)
    maker, alone = ColumnMaker(names), ColumnMaker(names)
    columns, rejected = maker.make([batch])
    rows = [alone.make([batch.with_ticks([tick])]) for tick in its]
    assert columns == pa.concat_batches([row for row, _ in rows])
    assert rejected.get("1", 0) == sum(lost.get("1", 0) for _, lost in rows)
    assert maker.unfit == alone.unfit


def test_columns_of_other_markets_share_one_array_of_nulls():
    """Most of the columns are of other markets: each cost as much as one of this, in time and in memory."""
    columns, _ = ColumnMaker(sorted(COLUMNS)).make(
        [TickBatch(connection="1", received_ns=1, ticks=[Trade(ticker="A", event_ms=1, price=5)] * 100)]
    )
    floats = [column for column in columns.columns if column.type == pa.float64() and column.null_count]
    assert len({column.buffers()[0].address for column in floats if column.null_count == 100}) == 1


def _tellable(tick):
    """Tell whether there is a midpoint at all, of a quote with absurd sides."""
    try:
        return (tick.price, True)[1]
    except OverflowError:
        return False


def test_every_field_of_every_kind_of_tick_is_a_column():
    """A field that a market has and no column says is there for the stream's users only."""
    elsewhere = {"tick_volume", "tick_close", "event_ms"}
    fields = {name for kind in KINDS for name in kind.__struct_fields__}
    assert fields - COLUMNS == elsewhere


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_columns_say_what_an_event_of_any_market_says(example):
    """What is paid for has to be in the table, too."""
    (tick,), _ = decode_message(json.dumps([example.wire]).encode())
    columns, _ = ColumnMaker(sorted(COLUMNS)).make([TickBatch(connection="1", received_ns=1, ticks=[tick])])
    (row,) = columns.to_pylist()
    says = {name: value for name, value in example.says.items() if name in COLUMNS}
    if isinstance(says.get("conditions"), int):
        says["conditions"] = [says["conditions"]]
    says |= {name: [list(level) for level in says[name]] for name in ("bids", "asks") if name in says}
    assert {name: row[name] for name in says} == says


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
    assert columns["event_ns"][1].as_py() == 1_718_971_200_123_456_789


@pytest.mark.parametrize("names", [["prize"], ["price", "price"], [""]])
def test_unknown_names_fail_at_once(names):
    """A typing error must fail where it is written, not in a thread an hour later."""
    with pytest.raises(ValueError, match=r"names must be of .*price"):
        ColumnMaker(names)


def test_it_is_arrow():
    """Polars, pandas and DuckDB take it over only if it is what they know."""
    columns, _ = ColumnMaker().make([TickBatch(connection="1", received_ns=1, ticks=[])])
    assert isinstance(columns, pa.RecordBatch)
