import re
import subprocess
import sys

import pytest

from pipeline.capture.layout import HOUR_NS, TICKS, UNFINISHED, Folder, leftovers, parts
from pipeline.errors import CaptureUnusable

HOLD = """
import sys
from pipeline.capture.layout import Folder
folder = Folder(sys.argv[1])
print("locked", flush=True)
sys.stdin.read()
"""
NOON_NS = 1_763_985_600_000_000_000  # 2025-11-24 12:00 UTC


def test_files_are_found_by_day_and_hour_of_receipt_in_utc_in_the_order_of_the_recording(tmp_path):
    """A query for an hour would open other files, or give yesterday's ticks after today's."""
    for hours in ([1, 0], [2]):  # a clock that was set back in the first session
        folder = Folder(tmp_path)
        for number, hour in enumerate(hours, start=1):
            writing = folder.begin(TICKS, NOON_NS + hour * HOUR_NS, number)
            writing.write_bytes(b"")
            folder.finish(writing, 0xABC)
        folder.close()
    found = parts(tmp_path, TICKS)
    assert [(p.session, p.number, p.crc, p.hour_ns) for p in found] == [
        (1, 1, 0xABC, NOON_NS + HOUR_NS),
        (1, 2, 0xABC, NOON_NS),
        (2, 1, 0xABC, NOON_NS + 2 * HOUR_NS),
    ]
    assert str(found[0].path.relative_to(tmp_path)) == (
        "ticks/date=2025-11-24/hour=13/0001-000001-00000abc.parquet"
    )


def test_what_a_killed_process_left_is_set_aside_and_its_number_not_used_again(tmp_path):
    """The rest of a file would be taken for a whole one, or be overwritten before anyone looked at it."""
    killed = Folder(tmp_path)
    killed.begin(TICKS, NOON_NS, 1).write_bytes(b"PAR1 and no more")
    killed.close()
    assert len(leftovers(tmp_path)) == 1
    folder = Folder(tmp_path)
    (aside,) = folder.set_aside
    assert (aside.suffix, aside.exists(), leftovers(tmp_path)) == (UNFINISHED, True, [])
    assert (folder.session, parts(tmp_path, TICKS)) == (2, [])
    folder.close()


def test_a_directory_is_recorded_into_by_one_at_a_time(tmp_path):
    """Two recordings would mix, and each would set the other's open file aside."""
    with subprocess.Popen(  # noqa: S603  # our own interpreter
        [
            sys.executable,
            "-c",
            HOLD,
            str(tmp_path),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout.readline() == "locked\n"
        with pytest.raises(CaptureUnusable, match=re.escape(f"records into {tmp_path} already")):
            Folder(tmp_path)
        other.kill()
    Folder(tmp_path).close()


def test_what_cannot_be_a_directory_is_named(tmp_path):
    """A typing mistake would come as a traceback, or as an empty capture."""
    (tmp_path / "file").touch()
    with pytest.raises(CaptureUnusable, match="cannot record into"):
        Folder(tmp_path / "file")
    with pytest.raises(CaptureUnusable, match="no directory"):
        parts(tmp_path / "none", TICKS)


def test_other_files_in_it_are_left_alone(tmp_path):
    """A note beside the data, or a file that somebody renamed, would break every query."""
    hour = tmp_path / TICKS / "date=2025-11-24" / "hour=12"
    hour.mkdir(parents=True)
    for name in ("notes.txt", "mine.parquet", "0001-000001-xyz.parquet"):
        (hour / name).touch()
    assert parts(tmp_path, TICKS) == []
