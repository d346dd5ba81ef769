"""A capture read again: its reads and status events, in their order."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import status
from pipeline.columns import holders
from pipeline.errors import CaptureUnusable
from pipeline.massive.frames import Frames
from pipeline.ticks import NANOSECONDS_FROM, TICK_KINDS, TRADES

from .layout import FRAMES, HOUR_NS, TICKS, Part, parts
from .queries import scan
from .schema import STATUS, messages_in

__all__ = ["Contents", "Item", "Selection"]

READ_TICKS: Final = 8192
"""Rows of a ticks capture that are taken at once."""

Item: TypeAlias = Frames | status.StatusEvent
_KINDS: Final[dict[str, type[status.StatusEvent]]] = {
    name: kind
    for name in status.__all__
    if isinstance(kind := getattr(status, name), type) and issubclass(kind, status.StatusEvent)
}
_kind_of: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class Contents(NamedTuple):
    """Says what a selection holds.

    Args:
        kind: ``frames``, or ``ticks`` where there are no frames.
        connections: ids, sorted.
        reads: how many there are; of ticks, the rows.
        first_ns: when the first was received, ns; ``last_ns`` the last.
    """

    kind: str
    connections: tuple[str, ...]
    reads: int
    first_ns: int
    last_ns: int


class Selection:
    """Is the part of a capture that is to be played.

    Where the directory has frames they are played, each element byte by byte as it came. Where it has only
    ticks, reads are made of them: they come back as they were, and what was no tick (rejected elements,
    duplicates, status events) does not.

    Args:
        path: the capture's directory.
        from_ns: of receipt; 0 for the beginning.
        to_ns: likewise, not included; 0 for the end.
        connections: ids; empty for all.

    Raises:
        CaptureUnusable: it holds nothing, or a file cannot be read.
    """

    def __init__(
        self, path: Path | str, *, from_ns: int = 0, to_ns: int = 0, connections: Sequence[str] = ()
    ) -> None:
        self._from_ns = from_ns
        self._to_ns = to_ns or 2**63 - 1
        self._connections = frozenset(connections)
        kind = FRAMES if parts(path, FRAMES) else TICKS
        self._parts = [
            part
            for part in parts(path, kind)
            if part.hour_ns + HOUR_NS > self._from_ns and part.hour_ns < self._to_ns
        ]
        self.contents = self._survey(kind)
        if not self.contents.reads:
            raise CaptureUnusable(f"there is nothing to replay in {path}{self._words()}")

    def chunks(self) -> Iterator[list[Item]]:
        """Yield reads and status events, about a MiB at a time; reads the files as it goes.

        Raises:
            CaptureUnusable: a file cannot be read; says which.
        """
        make = _recorded if self.contents.kind == FRAMES else _rebuilt
        for part in self._parts:
            try:
                for items in make(part):
                    yield [item for item in items if self._wants(item)]
            except (OSError, pa.ArrowException) as error:
                raise CaptureUnusable(f"{part.path} cannot be read: {error}") from error

    def _wants(self, item: Item) -> bool:
        at_ns = item.received_ns if isinstance(item, Frames) else item.at_ns
        if not self._from_ns <= at_ns < self._to_ns:
            return False
        return not self._connections or item.connection is None or item.connection in self._connections

    def _survey(self, kind: str) -> Contents:
        if not self._parts:
            return Contents(kind, (), 0, 0, 0)
        rows = scan(part.path for part in self._parts).filter(
            pl.col("received_ns").is_between(self._from_ns, self._to_ns, closed="left")
        )
        if kind == FRAMES:
            rows = rows.filter(pl.col("kind") == FRAMES)
        if self._connections:
            rows = rows.filter(pl.col("connection").is_in(list(self._connections)))
        found = rows.group_by("connection").agg(
            pl.len().alias("rows"),
            pl.col("received_ns").min().alias("first"),
            pl.col("received_ns").max().alias("last"),
        )
        try:
            lines = found.sort("connection").collect().rows()
        except pl.exceptions.PolarsError as error:
            raise CaptureUnusable(f"a file of the capture cannot be read: {error}") from error
        if not lines:
            return Contents(kind, (), 0, 0, 0)
        names, counts, firsts, lasts = zip(*lines, strict=True)
        return Contents(kind, names, sum(counts), min(firsts), max(lasts))

    def _words(self) -> str:
        chosen = self._connections or self._from_ns or self._to_ns < 2**63 - 1
        return " of those connections and that time" if chosen else ": no file is finished"


def _recorded(part: Part) -> Iterator[Iterator[Item]]:
    """Yield what is in a file of frames, a row group at a time."""
    with pq.ParquetFile(part.path) as file:
        for group in range(file.num_row_groups):
            table = file.read_row_group(group, use_threads=False).combine_chunks()
            columns = [table.column(name).to_pylist() for name in ("kind", "connection", "received_ns")]
            messages = messages_in(table.column("messages").chunk(0))
            rows = zip(*columns, messages, strict=True)
            yield filter(None, (_item(*row) for row in rows))


def _item(kind: str, connection: str, at_ns: int, messages: list[bytes]) -> Item | None:
    if kind == STATUS:
        return _event(messages[0])
    return Frames(connection, at_ns, messages, sum(map(len, messages)))


def _event(message: bytes) -> status.StatusEvent | None:
    """Return a status event, None for one that this version does not know."""
    kind = _KINDS.get(msgspec.json.decode(_kind_of(message)["event"]))
    return None if kind is None else msgspec.json.decode(message, type=kind)


def _rebuilt(part: Part) -> Iterator[Iterator[Item]]:
    """Yield reads that bring the ticks of a file, some rows at a time."""
    with pq.ParquetFile(part.path) as file:
        for rows in file.iter_batches(READ_TICKS):
            reads = groupby(rows.to_pylist(), itemgetter("connection", "received_ns"))
            yield (_read(connection, at_ns, its) for (connection, at_ns), its in reads)


def _read(connection: str, at_ns: int, rows: Iterable[dict[str, Any]]) -> Frames:
    message = msgspec.json.encode(list(map(_element, rows)))
    return Frames(connection, at_ns, [message], len(message))


_COLUMNS: Final = {
    "size": "reported_size", "tick_volume": "size", "tick_close": "price", "event_ms": "event_ns",
}  # fmt: skip
"""Fields that are columns by another name."""
_ELEMENTS: Final = {
    kind.event_type: {
        field.encode_name: _COLUMNS.get(field.name, field.name)
        for field in msgspec.structs.fields(kind)
        if field.name not in {"received_ns", "event_ns"}
    }
    for kind in TICK_KINDS
}
"""Event type to the fields of the wire and the columns that hold them."""
_TRADES: Final = frozenset(kind.event_type for kind in TRADES)
_NS_TIMED: Final = frozenset(kind.event_type for kind in holders("event_ns"))


def _element(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row as an element of the feed."""
    kind = row["event_type"]
    element: dict[str, Any] = {"ev": kind}
    for field, column in _ELEMENTS[kind].items():
        value = row.get(column)  # what older captures do not have is null
        if value is None:
            continue
        if column == "event_ns":
            value = value if kind in _NS_TIMED and value >= NANOSECONDS_FROM else _ms(value)
        elif column == "conditions" and kind == "Q" and len(value) == 1 and not row.get("listed_conditions"):
            (value,) = value
        element[field] = value
    if kind in _TRADES and "reported_size" not in row:
        _restore_size(element, row)
    elif row.get("dollar_volume") is not None:
        element["dv"] = row["dollar_volume"]
    return element


def _restore_size(element: dict[str, Any], row: dict[str, Any]) -> None:
    """Write the size of a trade of an older capture, which has only its volume, as the feed does."""
    size = row["size"]
    if size is not None:
        element["s"] = size
        if element["ev"] == "T" and size % 1:
            if "decimal_size" not in row:
                element["ds"] = repr(size)
            if "ds" in element:
                element["s"] = 0


def _ms(event_ns: int) -> int | float:
    """Return ms, whole ones as the feed has them."""
    return event_ns // 1_000_000 if event_ns % 1_000_000 == 0 else event_ns / 1e6
