"""The Parquet files of one kind, one after another: by the hour, by rows, by seconds."""

import io
import os
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from .layout import FRAMES, HOUR_NS, TICKS, Folder

__all__ = ["Parts"]

GROUP_ROWS: Final = 65_536
GROUP_BYTES: Final = {FRAMES: 1024 * 1024, TICKS: 16 * 1024 * 1024}
"""A row group is written when it has so much: what is read at once, and what memory the open file takes.

Those of frames are small: measured, a replay reads groups of 1 MiB a third faster than of 8, for the cache.
"""
ZSTD_LEVEL: Final = 1
"""Measured on ticks: level 3 takes half as long again for a twentieth less."""


class Parts:
    """Writes rows into files, each whole or not there; not thread-safe, since one thread owns it.

    A process that is killed loses the rows of the file that is open: at most ``rotate_s`` or ``rotate_rows``.

    Args:
        folder: where.
        kind: ``frames`` or ``ticks``.
        schema: of the rows; it has ``received_ns``.
        rotate_rows: a file with so many rows is finished.
        rotate_s: a file so many seconds old is finished, by the next `append` or `rotate`.
        monotonic: seconds.

    Attributes:
        files: how many are finished.
        rows: in those.
        open_rows: in the one that is not.
    """

    def __init__(
        self,
        folder: Folder,
        kind: str,
        schema: Any,
        *,
        rotate_rows: int,
        rotate_s: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.files = 0
        self.rows = 0
        self.open_rows = 0
        self._folder = folder
        self._kind = kind
        self._schema = schema
        self._rotate_rows = rotate_rows
        self._rotate_s = rotate_s
        self._monotonic = monotonic
        self._open: _OpenPart | None = None

    def append(self, rows: Any) -> None:
        """Write a record batch, to the files of the hours in which its rows were received.

        Raises:
            OSError: the disk is full, or gone.
        """
        for hour, its in _by_hour(rows):
            self.rotate()
            if self._open is not None and self._open.hour_ns != hour:
                self.finish()
            begin = 0
            while begin < its.num_rows:
                begin += self._add(hour, its.slice(begin, self._rotate_rows - self.open_rows))

    def _add(self, hour_ns: int, rows: Any) -> int:
        """Write rows that have room in the open file; return how many."""
        if self._open is None:
            path = self._folder.begin(self._kind, hour_ns, self.files + 1)
            due_s = self._monotonic() + self._rotate_s
            self._open = _OpenPart(path, self._schema, hour_ns, due_s, GROUP_BYTES[self._kind])
        self._open.append(rows)
        self.open_rows += rows.num_rows
        if self.open_rows >= self._rotate_rows:
            self.finish()
        return int(rows.num_rows)

    @property
    def due_s(self) -> float | None:
        """When the open file is to be finished at the latest, monotonic; None without one."""
        return None if self._open is None else self._open.due_s

    def rotate(self) -> None:
        """Finish the open file if it is old enough.

        Raises:
            OSError: as `append`.
        """
        if self._open is not None and self._monotonic() >= self._open.due_s:
            self.finish()

    def finish(self) -> None:
        """Finish the open file: it is on the disk when its name appears.

        Raises:
            OSError: as `append`.
        """
        if self._open is not None:
            self._folder.finish(self._open.path, self._open.finish())
            self._open = None
            self.files += 1
            self.rows += self.open_rows
            self.open_rows = 0

    def abandon(self) -> None:
        """Give up the open file and make room on the disk."""
        part, self._open = self._open, None
        self.open_rows = 0
        if part is not None:
            part.abandon()


class _OpenPart:
    """Is the file that is being written.

    Args:
        due_s: when it is to be finished, monotonic.
        group_bytes: of a row group.
    """

    def __init__(self, path: Path, schema: Any, hour_ns: int, due_s: float, group_bytes: int) -> None:
        self.path = path
        self.hour_ns = hour_ns
        self.due_s = due_s
        self._schema = schema
        self._file = _Checked(path)
        texts = [field.name for field in schema if pa.types.is_string(field.type)]
        whole = [field.name for field in schema if pa.types.is_int64(field.type)]
        self._writer = pq.ParquetWriter(
            pa.PythonFile(self._file, mode="w"),
            schema,
            compression="zstd",
            compression_level=ZSTD_LEVEL,
            use_dictionary=texts,
            column_encoding=dict.fromkeys(whole, "DELTA_BINARY_PACKED"),
        )
        self._group: list[Any] = []
        self._group_rows = 0
        self._group_bytes = 0
        self._group_bytes_max = group_bytes

    def append(self, rows: Any) -> None:
        self._group.append(rows)
        self._group_rows += rows.num_rows
        self._group_bytes += rows.nbytes
        if self._group_rows >= GROUP_ROWS or self._group_bytes >= self._group_bytes_max:
            self._write_group()

    def finish(self) -> int:
        """Complete it, bring it to the disk, and return its checksum."""
        self._write_group()
        self._writer.close()
        return self._file.complete()

    def abandon(self) -> None:
        self._file.abandon()
        self.path.unlink(missing_ok=True)

    def _write_group(self) -> None:
        if self._group:
            self._writer.write_table(pa.Table.from_batches(self._group, self._schema))
        self._group.clear()
        self._group_rows = self._group_bytes = 0


class _Checked(io.RawIOBase):
    """Is a file that is written once, from its beginning to its end, and knows the CRC-32 of its bytes."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._file = path.open("xb")
        self._crc = 0
        self._abandoned = False

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        if not self._abandoned:  # of what is given up, what the writer still has to say goes nowhere
            self._crc = zlib.crc32(data, self._crc)
            self._file.write(data)
        return len(data)

    def complete(self) -> int:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        return self._crc

    def abandon(self) -> None:
        self._abandoned = True
        self._file.raw.close()


def _by_hour(rows: Any) -> Iterator[tuple[int, Any]]:
    """Cut a record batch where the hour of receipt changes, which is nearly never."""
    received = rows.column("received_ns")
    extremes = pc.min_max(received).as_py()
    if extremes["min"] is None:
        return
    first, last = extremes["min"] // HOUR_NS, extremes["max"] // HOUR_NS
    if first == last:
        yield first * HOUR_NS, rows
        return
    hours = [received_ns // HOUR_NS for received_ns in received.to_pylist()]
    begin = 0
    for end in range(1, len(hours) + 1):
        if end == len(hours) or hours[end] != hours[begin]:
            yield hours[begin] * HOUR_NS, rows.slice(begin, end - begin)
            begin = end
