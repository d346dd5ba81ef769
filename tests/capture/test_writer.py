import errno
import threading

import pytest

from pipeline.capture.writer import Writer
from tests.conftest import our_threads, wait_until


class Rows(list):
    """Are items packed together."""

    @property
    def num_rows(self):
        return len(self)


class FakeParts:
    """Notes what it is given; waits at a gate, or fails, where a test wants it."""

    def __init__(self):
        self.written = []
        self.rows = 0
        self.due_s = None
        self.finished = 0
        self.abandoned = 0
        self.rotations = 0
        self.open = threading.Event()
        self.open.set()
        self.error = None

    def append(self, rows):
        self.open.wait(10)
        if self.error:
            raise self.error
        self.written += rows

    def rotate(self):
        self.rotations += 1

    def finish(self):
        self.finished += 1
        self.rows = len(self.written)

    def abandon(self):
        self.abandoned += 1


@pytest.fixture
def files():
    """Where the writer writes."""
    return FakeParts()


@pytest.fixture
def failures():
    """What the writer said went wrong."""
    return []


@pytest.fixture
def writer(files, failures):
    """A writer with room for ten."""
    writer = Writer(
        "test", files, Rows, capacity=10, on_failure=lambda error, rows: failures.append((error, rows))
    )
    yield writer
    files.open.set()
    writer.close()


def test_all_that_was_taken_is_written_in_order_before_the_end(writer, files):
    """Closing a stream would lose the last seconds of its capture."""
    for number in range(500):
        assert writer.put(number, 1)
    writer.close()
    assert files.written == list(range(500))
    assert (files.finished, files.abandoned) == (1, 0)
    assert not writer.put(0, 1)
    assert not writer.offer(0, 1)
    wait_until(lambda: "tickbraid-capture-test" not in our_threads(), 3)


def test_what_has_no_room_is_refused_at_once_or_waits(writer, files):
    """The thread that reads the sockets would wait for a disk, or memory would grow without end."""
    files.open.clear()
    writer.put("in hand", 1)
    wait_until(lambda: not writer._items)
    assert writer.offer("waits", 8)
    assert not writer.offer("too much", 3)
    put = threading.Thread(target=writer.put, args=("later", 3))
    put.start()
    put.join(0.05)
    assert put.is_alive()
    files.open.set()
    put.join(10)
    writer.close()
    assert files.written == ["in hand", "waits", "later"]


def test_what_is_larger_than_the_buffer_is_taken_alone(writer, files):
    """A single huge read would never be recorded, and a `put` of it wait for ever."""
    assert writer.put("huge", 1000)
    writer.close()
    assert files.written == ["huge"]


def test_a_stop_lets_go_who_waits(writer, files):
    """Closing a stream would hang on a disk that hangs."""
    files.open.clear()
    writer.put("in hand", 1)
    wait_until(lambda: not writer._items)
    writer.put("waits", 10)
    took = []
    put = threading.Thread(target=lambda: took.append(writer.put("never", 10)))
    put.start()
    writer.stop()
    put.join(10)
    assert took == [False]


def test_a_full_disk_ends_it_once_and_says_what_was_lost(writer, files, failures):
    """A capture would die in silence, or its failure end the stream."""
    writer.put("good", 1)
    wait_until(lambda: files.written)
    files.open.clear()
    files.error = OSError(errno.ENOSPC, "No space left on device")
    writer.put("in hand", 1)
    wait_until(lambda: not writer._items)
    writer.put("waits", 1)
    files.open.set()
    wait_until(lambda: failures)
    assert failures == [(files.error, 3)]  # the one that was in the open file, too
    assert (files.abandoned, files.finished) == (1, 0)
    wait_until(lambda: writer.stopped)
    assert not writer.put("more", 1)


def test_a_quiet_stream_has_its_file_finished_in_time(files):
    """What came before a silence would stay in an open file, and be lost with a kill hours later."""
    now = [0.0]
    files.due_s = 0.2
    writer = Writer("test", files, Rows, capacity=10, on_failure=print, monotonic=lambda: now[0])
    before = files.rotations
    now[0] = 1.0
    wait_until(lambda: files.rotations > before)
    files.due_s = None
    writer.close()
