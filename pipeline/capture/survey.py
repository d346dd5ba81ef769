"""What is in a capture, and whether all of it is still there."""

import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import status
from pipeline.errors import CaptureUnusable

from .layout import FRAMES, KINDS, TICKS, UNFINISHED, Part, leftovers, parts
from .queries import scan
from .schema import STATUS

__all__ = ["Session", "Survey", "captures_in", "survey"]

READ_BYTES: Final = 1024 * 1024


class Session(NamedTuple):
    """Is what one run recorded of one kind.

    Args:
        first_ns: when the first row was received, ns since the epoch; ``last_ns`` the last.
        missing: numbers of files that are not there, though later ones are.
    """

    kind: str
    number: int
    files: int
    rows: int
    size_bytes: int
    first_ns: int
    last_ns: int
    missing: tuple[int, ...]


class Survey(NamedTuple):
    """Says what a capture holds.

    Args:
        sessions: in their order, frames before ticks.
        ticks: by connection and event type.
        losses: what the stream announced as lost while it was recorded.
        unfinished: files that a killed process left behind; they hold nothing that can be read.
        damage: a sentence for each file that is not as it was written, or gone.
    """

    sessions: tuple[Session, ...]
    ticks: Mapping[tuple[str, str], int]
    losses: tuple[status.Loss, ...]
    unfinished: tuple[Path, ...]
    damage: tuple[str, ...]


def captures_in(path: Path) -> tuple[Path, ...]:
    """Return the captures directly in a folder, by name; the folder itself where it is one, or has none."""
    if _is_capture(path) or not path.is_dir():
        return (path,)
    return tuple(folder for folder in sorted(path.iterdir()) if _is_capture(folder)) or (path,)


def _is_capture(folder: Path) -> bool:
    return any(any((folder / kind).glob("date=*")) for kind in KINDS)


def survey(path: Path | str) -> Survey:
    """Read a capture from the beginning to the end and say what is in it.

    Each file is compared with the checksum in its name, and its rows are read. Takes about as long as
    copying it. Runs on the caller's thread.

    Raises:
        CaptureUnusable: there is no capture in ``path``.
    """
    root = Path(path)
    by_kind = {kind: parts(root, kind) for kind in KINDS}
    unfinished = (*leftovers(root), *sorted(root.glob(f"*/date=*/hour=*/*{UNFINISHED}")))
    if not any(by_kind.values()) and not unfinished:
        raise CaptureUnusable(f"there is no capture in {root}")
    damage: list[str] = []
    good = {kind: [part for part in its if _is_whole(part, damage)] for kind, its in by_kind.items()}
    sessions = [
        _session(kind, number, [part for part in its if part.session == number])
        for kind, its in good.items()
        for number in sorted({part.session for part in its})
    ]
    for session in sessions:
        known = {part.number for part in by_kind[session.kind] if part.session == session.number}
        damage += [
            f"{root}: file {number} of the {session.kind} of session {session.number} is not there"
            for number in session.missing
            if number not in known
        ]
    return Survey(
        tuple(sessions), _ticks(good[TICKS]), tuple(_losses(good[FRAMES])), unfinished, tuple(damage)
    )


def _is_whole(part: Part, damage: list[str]) -> bool:
    """Compare a file with its checksum, and read it; say what is wrong with it."""
    crc = 0
    try:
        with part.path.open("rb") as file:
            while data := file.read(READ_BYTES):
                crc = zlib.crc32(data, crc)
        if crc != part.crc:
            damage.append(f"{part.path}: its checksum is {crc:08x} and not that of its name: it was changed")
            return False
        with pq.ParquetFile(part.path) as parquet:
            rows = sum(batch.num_rows for batch in parquet.iter_batches(columns=["received_ns"]))
            if rows != parquet.metadata.num_rows:
                damage.append(f"{part.path}: it has {rows:,} rows and says {parquet.metadata.num_rows:,}")
                return False
    except (OSError, pa.ArrowException) as error:
        damage.append(f"{part.path}: {error}")
        return False
    return True


def _session(kind: str, number: int, its: list[Part]) -> Session:
    numbers = {part.number for part in its}
    counted = scan(part.path for part in its).select(
        pl.len(), pl.col("received_ns").min().alias("first"), pl.col("received_ns").max().alias("last")
    )
    rows, first_ns, last_ns = counted.collect().row(0)
    size_bytes = sum(part.path.stat().st_size for part in its)
    missing = tuple(sorted(set(range(1, max(numbers) + 1)) - numbers))
    return Session(kind, number, len(its), rows, size_bytes, first_ns, last_ns, missing)


def _ticks(its: Iterable[Part]) -> dict[tuple[str, str], int]:
    files = [part.path for part in its]
    if not files:
        return {}
    ticks = scan(files)
    counted = ticks.group_by("connection", "event_type").len().sort("connection", "event_type").collect()
    return {(connection, kind): count for connection, kind, count in counted.rows()}


def _losses(its: Iterable[Part]) -> Iterable[status.Loss]:
    for part in its:
        events = scan([part.path]).filter(pl.col("kind") == STATUS)
        for (messages,) in events.select("messages").collect().iter_rows():
            if b'"Loss"' in messages[0]:
                yield msgspec.json.decode(messages[0], type=status.Loss)
