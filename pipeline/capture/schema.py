"""The columns of a capture, of either kind, as Arrow types. Rows stand in the order of the stream."""

from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise
from typing import Any, Final

import pyarrow as pa

from pipeline.columns import COLUMN_TYPES, FIELD_COLUMNS

__all__ = [
    "BAR_COLUMNS",
    "FRAME_SCHEMA",
    "STATUS",
    "STREAM_COLUMNS",
    "TICK_SCHEMA",
    "Row",
    "messages_in",
    "pack_reads",
]

BAR_COLUMNS: Final = (
    *("tick_open", "tick_high", "tick_low", "tick_vwap", "tick_trade_size", "vwap", "accumulated_volume"),
)
"""Of bars only; a bar's close is its ``price``, its volume its ``size``."""
STREAM_COLUMNS: Final = (
    *("connection", "ticker", "event_type", "price", "size", "bid", "bid_size", "ask", "ask_size"),
    *("event_ns", "received_ns", "decoded_ns", "sequence"),
)
"""What every tick may have; ``delivered_ns`` comes to it when the capture is given the tick."""
REST_COLUMNS: Final = tuple(name for name in FIELD_COLUMNS if name not in BAR_COLUMNS)
"""The other fields of some kind of tick."""

TICK_SCHEMA: Final = pa.schema(
    [
        (name, COLUMN_TYPES.get(name, pa.int64()))
        for name in (*STREAM_COLUMNS[:-1], "delivered_ns", "sequence", *BAR_COLUMNS, *REST_COLUMNS)
    ]
)
"""A row a tick. Times are ns since the epoch: of the event by the feed, of receipt, of decoding, and of
delivery to the capture; those that end in ``_ms`` are ms, as a tick has them. Null stands where a column has
no meaning for a kind of tick."""

STATUS: Final = "status"
FRAME_SCHEMA: Final = pa.schema(
    [
        ("kind", pa.string()),
        ("connection", pa.string()),
        ("received_ns", pa.int64()),
        ("messages", pa.list_(pa.binary())),
    ]
)
"""A row a read (``kind`` is ``frames``): its messages as they came. Or a row a status event (``status``): its
JSON is the one message, and ``received_ns`` is when it happened."""

Row = tuple[str, str | None, int, Sequence[bytes]]
"""The columns of a frames capture."""


def pack_reads(rows: Sequence[Row]) -> pa.RecordBatch:
    """Return rows as a record batch of `FRAME_SCHEMA`."""
    kinds, connections, times, messages = zip(*rows, strict=True)
    ends = [0, *accumulate(map(len, messages))]
    # The messages flat: of lists of lists Arrow makes an array at a third of the speed.
    flat = pa.array([message for its in messages for message in its], pa.binary())
    nested = pa.ListArray.from_arrays(pa.array(ends, pa.int32()), flat)
    columns = [pa.array(kinds), pa.array(connections, pa.string()), pa.array(times, pa.int64()), nested]
    return pa.RecordBatch.from_arrays(columns, schema=FRAME_SCHEMA)


def messages_in(column: Any) -> Iterable[list[bytes]]:
    """Yield the messages of each row of an array as `pack_reads` makes it.

    They are cut out of the one buffer that Arrow holds them in: a fifth of what ``to_pylist`` takes. No
    function of ``pyarrow.compute`` is called: each gives up the interpreter, and beside a thread that decodes
    it takes milliseconds to have it back.
    """
    flat = column.values
    _, offsets, data = flat.buffers()
    cuts = memoryview(offsets).cast("i")[flat.offset : flat.offset + len(flat) + 1].tolist()
    payload = b"" if data is None else data.to_pybytes()
    messages = [payload[begin:end] for begin, end in pairwise(cuts)]
    for begin, end in pairwise(column.offsets.to_pylist()):
        yield messages[begin:end]
