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
from pipeline.errors import CaptureUnusable
from pipeline.massive.frames import Frames

from .layout import FRAMES, HOUR_NS, TICKS, Part, parts
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
    ticks, reads are made of them: what a column holds comes back as it was, and what none holds (trade ids,
    conditions, exchanges, rejected elements, duplicates, status events) does not.

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
        rows = pl.scan_parquet([part.path for part in self._parts], hive_partitioning=False).filter(
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


_BAR: Final = (
    "sym=ticker v=size av=accumulated_volume vw=tick_vwap o=tick_open c=price h=tick_high l=tick_low"
)
_ELEMENTS: Final = {
    kind: dict(pair.split("=") for pair in fields.split())
    for kind, fields in {
        "T": "sym=ticker p=price s=size q=sequence t=event_ns",
        "Q": "sym=ticker bp=bid bs=bid_size ap=ask as=ask_size q=sequence t=event_ns",
        "A": f"{_BAR} a=vwap z=tick_trade_size e=event_ns",
        "AM": f"{_BAR} a=vwap z=tick_trade_size e=event_ns",
        "LULD": "T=ticker q=sequence t=event_ns",
        "NOI": "T=ticker b=price t=event_ns",
        "FMV": "sym=ticker fmv=price t=event_ns",
        "LV": "sym=ticker val=price t=event_ns",
        "V": "T=ticker val=price t=event_ns",
    }.items()
}
"""Event type to the fields of the wire and the columns that hold them."""


def _element(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row as an element of the feed."""
    fields = _ELEMENTS[row["event_type"]]
    element = {"ev": row["event_type"]} | {
        field: row[column] for field, column in fields.items() if row[column] is not None
    }
    for field, column in fields.items():
        if column == "event_ns":
            element[field] = _ms(row[column])
    if row["event_type"] == "T" and (size := row["size"]) is not None and size % 1:
        element |= {"s": 0, "ds": repr(size)}
    return element


def _ms(event_ns: int) -> int | float:
    """Return ms, whole ones as the feed has them."""
    return event_ns // 1_000_000 if event_ns % 1_000_000 == 0 else event_ns / 1e6
