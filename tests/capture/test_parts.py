import zlib

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.capture.layout import FRAMES, HOUR_NS, TICKS, Folder, leftovers, parts
from pipeline.capture.parts import Parts
from pipeline.capture.schema import FRAME_SCHEMA, TICK_SCHEMA, messages_in, pack_reads

NOON_NS = 1_763_985_600_000_000_000


def rows_at(*times_ns):
    """Return ticks of which nothing is known but their receipt and their number in it."""
    columns = {
        "received_ns": pa.array(times_ns, pa.int64()),
        "sequence": pa.array(range(len(times_ns)), pa.int64()),
    }
    empty = [columns.get(field.name, pa.nulls(len(times_ns), field.type)) for field in TICK_SCHEMA]
    return pa.RecordBatch.from_arrays(empty, schema=TICK_SCHEMA)


class Clock:
    """Stands still until a test moves it."""

    def __init__(self):
        self.now_s = 100.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def clock():
    """A clock of seconds."""
    return Clock()


@pytest.fixture
def make(tmp_path, clock):
    """Make the files of ticks, with limits."""
    folder = Folder(tmp_path)

    def begin(rotate_rows=1000, rotate_s=60.0):
        return Parts(folder, TICKS, TICK_SCHEMA, rotate_rows=rotate_rows, rotate_s=rotate_s, monotonic=clock)

    yield begin
    folder.close()


def received(path):
    """Return when the rows of each file were received."""
    return [
        pq.read_table(part.path, partitioning=None)["received_ns"].to_pylist() for part in parts(path, TICKS)
    ]


def test_a_file_has_the_checksum_that_its_name_says(make, tmp_path):
    """A disk that turns a bit would go unnoticed, or every good file would be called damaged."""
    its = make()
    its.append(rows_at(NOON_NS, NOON_NS + 1))
    assert parts(tmp_path, TICKS) == []
    assert len(leftovers(tmp_path)) == 1
    its.finish()
    (part,) = parts(tmp_path, TICKS)
    assert zlib.crc32(part.path.read_bytes()) == part.crc
    assert leftovers(tmp_path) == []


@settings(max_examples=25)
@given(st.lists(st.integers(0, 3 * 3600), min_size=1, max_size=30))
def test_rows_stay_in_order_and_each_is_in_the_hour_of_its_receipt(tmp_path_factory, seconds):
    """A query that opens only some hours would miss rows, or a replay would turn them round."""
    path = tmp_path_factory.mktemp("parts")
    folder = Folder(path)
    its = Parts(folder, TICKS, TICK_SCHEMA, rotate_rows=1000, rotate_s=60)
    times = [NOON_NS + second * 1_000_000_000 for second in seconds]
    its.append(rows_at(*times))
    its.finish()
    folder.close()
    assert [at for file in received(path) for at in file] == times
    for part, file in zip(parts(path, TICKS), received(path), strict=True):
        assert {at // HOUR_NS * HOUR_NS for at in file} == {part.hour_ns}


def test_a_file_ends_with_its_rows_or_its_seconds(make, clock, tmp_path):
    """A killed process would lose more than it was said to."""
    its = make(rotate_rows=3)
    its.append(rows_at(NOON_NS, NOON_NS))
    its.append(rows_at(NOON_NS, NOON_NS))
    assert (its.files, its.rows, its.open_rows) == (1, 3, 1)
    its.append(rows_at(NOON_NS, NOON_NS))
    assert (its.files, its.open_rows, its.due_s) == (2, 0, None)
    its.append(rows_at(NOON_NS))
    assert its.due_s == clock.now_s + 60
    clock.now_s += 59
    its.rotate()
    assert its.files == 2
    clock.now_s += 1
    its.rotate()
    assert (its.files, its.open_rows) == (3, 0)
    assert list(map(len, received(tmp_path))) == [3, 3, 1]


def test_what_is_given_up_leaves_nothing(make, tmp_path):
    """A full disk would stay full of a file that nobody can read."""
    its = make()
    its.append(rows_at(NOON_NS))
    its.abandon()
    assert (leftovers(tmp_path), parts(tmp_path, TICKS), its.open_rows) == ([], [], 0)
    its.finish()
    assert its.files == 0


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([FRAMES, "status"]),
            st.sampled_from(["connection_1", "connection_2", None]),
            st.integers(0, 2**62),
            st.lists(st.binary(max_size=20), max_size=4),
        ),
        min_size=1,
        max_size=20,
    ),
    st.integers(0, 19),
)
def test_reads_come_back_as_they_were(rows, begin):
    """A replay would decode other bytes than the feed sent."""
    batch = pack_reads(rows)
    batch.validate(full=True)
    assert batch.schema == FRAME_SCHEMA
    assert list(messages_in(batch.column("messages"))) == [row[3] for row in rows]
    rest = batch.slice(min(begin, len(rows)))
    assert list(messages_in(rest.column("messages"))) == [row[3] for row in rows[begin:]]
