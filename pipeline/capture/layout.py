"""Where the files of a capture are and what their names say.

::

    DIR/capture.lock                              held while something is recorded into DIR
    DIR/ticks/date=2026-11-23/hour=14/0001-000042-5f3a2b1c.parquet
        │          └ UTC, of receipt          session ┘    │       └ CRC-32 of the file
        └ or frames                                   number of the file in its session

Sessions and numbers grow, so the order of the names is the order of the recording, whatever a clock did. A
file that is not finished begins with a dot and ends in ``.writing``; one that a killed process left behind
is found at the next start and renamed to end in ``.unfinished``.
"""

import os
import re
import threading
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Final, NamedTuple

from pipeline.errors import CaptureUnusable

from .lock import lock

__all__ = [
    "FRAMES",
    "HOUR_NS",
    "KINDS",
    "TICKS",
    "Folder",
    "Part",
    "check_folder",
    "leftovers",
    "parts",
    "parts_of",
]

FRAMES: Final = "frames"
TICKS: Final = "ticks"
KINDS: Final = (FRAMES, TICKS)
HOUR_NS: Final = 3_600_000_000_000
WRITING: Final = ".writing"
UNFINISHED: Final = ".unfinished"
LOCK: Final = "capture.lock"

_NAME: Final = re.compile(r"(\d{4,})-(\d{6,})-([0-9a-f]{8})\.parquet")
_SESSION: Final = re.compile(r"\.?(\d{4,})-")
_HOUR: Final = re.compile(r"date=(\d{4}-\d\d-\d\d)/hour=(\d\d)")


class Part(NamedTuple):
    """Is one finished file; the fields are in the order of the recording.

    Args:
        session: the run that wrote it, 1 for the first into its directory.
        number: of the file in its session and kind, 1 for the first.
        crc: CRC-32 of the whole file.
        hour_ns: when the hour began in which its rows were received, ns since the epoch.
    """

    session: int
    number: int
    crc: int
    hour_ns: int
    path: Path


class Folder:
    """Is a directory that is recorded into: by one process at a time, until `close`.

    Args:
        path: is made if it is not there.

    Raises:
        CaptureUnusable: somebody else records into it, or it cannot be written; says which.

    Attributes:
        session: the number of this run.
        set_aside: unfinished files that an earlier run left, under their new names.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._closing = threading.Lock()
        _check_place(self.path)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = _locked(self.path)
        except OSError as error:
            raise CaptureUnusable(f"cannot record into {self.path}: {error.strerror}") from error
        self.set_aside = tuple(_set_aside(path) for path in leftovers(self.path))
        self.session = 1 + max(map(_session, self.path.glob("*/date=*/hour=*/*")), default=0)

    def begin(self, kind: str, hour_ns: int, number: int) -> Path:
        """Return where to write a file of rows received in an hour; its directory is there."""
        at = datetime.fromtimestamp(hour_ns // 1_000_000_000, UTC)
        directory = self.path / kind / f"date={at:%Y-%m-%d}" / f"hour={at:%H}"
        directory.mkdir(parents=True, exist_ok=True)
        return directory / f".{self.session:04}-{number:06}{WRITING}"

    def finish(self, writing: Path, crc: int) -> Path:
        """Give a file that is complete, and on the disk, its name; return it."""
        path = writing.with_name(f"{writing.name.removesuffix(WRITING)[1:]}-{crc:08x}.parquet")
        writing.rename(path)
        if hasattr(os, "O_DIRECTORY"):  # Windows opens no directory
            descriptor = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        return path

    def close(self) -> None:
        """Let others record into it; idempotent, and done when it returns, whichever thread was first."""
        with self._closing:  # a file says that it is closed when it is about to be
            self._lock.close()


def check_folder(path: Path | str) -> None:
    """Raise what a `Folder` would, and leave everything as it is.

    Raises:
        CaptureUnusable: as there.
    """
    place = Path(path)
    _check_place(place)
    try:
        if (place / LOCK).exists():
            _locked(place).close()
    except OSError as error:
        raise CaptureUnusable(f"cannot record into {place}: {error.strerror}") from error


def _check_place(place: Path) -> None:
    """Raise `CaptureUnusable` where no directory is or can be made, or nothing in it."""
    try:
        nearest = next(there for there in (place, *place.absolute().parents) if there.exists())
        reason = None if nearest.is_dir() else f"{nearest} is no directory"
    except OSError as error:
        reason = error.strerror or type(error).__name__
    else:
        if reason is None and not os.access(nearest, os.W_OK | os.X_OK):
            reason = f"nothing can be written into {nearest}"
    if reason is not None:
        raise CaptureUnusable(f"cannot record into {place}: {reason}")


def _locked(place: Path) -> IO[str]:
    file = (place / LOCK).open("a")
    if lock(file):
        return file
    file.close()
    raise CaptureUnusable(
        f"somebody records into {place} already: give each recording a directory of its own"
    )


def parts(directory: Path | str, kind: str) -> list[Part]:
    """List the finished files of a kind, in the order of the recording.

    Raises:
        CaptureUnusable: there is no such directory.
    """
    root = Path(directory)
    if not root.is_dir():
        raise CaptureUnusable(f"there is no capture in {root}: it is no directory")
    return parts_of((root / kind).glob("date=*/hour=*/*.parquet"))


def parts_of(paths: Iterable[Path]) -> list[Part]:
    """Return those files that have the name and the place of a part, in the order of the recording."""
    return sorted(part for path in paths if (part := _part(path)))


def leftovers(directory: Path) -> list[Path]:
    """List the files that are not finished: being written, or left behind by a process that was killed."""
    return sorted(directory.glob(f"*/date=*/hour=*/.*{WRITING}"))


def _set_aside(path: Path) -> Path:
    aside = path.with_name(path.name.removesuffix(WRITING)[1:] + UNFINISHED)
    path.rename(aside)
    return aside


def _session(path: Path) -> int:
    match = _SESSION.match(path.name)
    return int(match[1]) if match else 0


def _part(path: Path) -> Part | None:
    name, hour = _NAME.fullmatch(path.name), _HOUR.fullmatch(f"{path.parent.parent.name}/{path.parent.name}")
    if not name or not hour:
        return None
    at = datetime.fromisoformat(f"{hour[1]}T{hour[2]}:00:00+00:00")
    return Part(int(name[1]), int(name[2]), int(name[3], 16), int(at.timestamp()) * 1_000_000_000, path)
