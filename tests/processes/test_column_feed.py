import contextlib
import socket
import threading

import pyarrow as pa
import pytest
from reactivex.observer import AutoDetachObserver

from pipeline.processes.column_feed import ColumnFeed
from pipeline.processes.column_wire import framed, send
from tests.conftest import our_threads, wait_until

SCHEMA = pa.schema([("n", pa.int64())])
NOW_NS = 5_000


def batch(*numbers):
    """Return a record batch with these numbers."""
    return pa.RecordBatch.from_arrays([pa.array(numbers, pa.int64())], schema=SCHEMA)


class World:
    """A feed with a subscriber that notes what it is given, and children that are mere sockets."""

    def __init__(self, on_next=None):
        self.numbers, self.threads, self.ends, self.losses, self.left = [], set(), [], [], []
        self.held = threading.Event()
        self.held.set()
        self._more = on_next or (lambda: None)
        self._sockets = contextlib.ExitStack()
        self.observer = AutoDetachObserver(self._take, self.ends.append, lambda: self.ends.append("over"))
        self.feed = ColumnFeed(
            "columns",
            (),
            self.observer,
            emit=self.losses.append,
            on_end=self.left.append,
            clock=lambda: NOW_NS,
        )
        self.observer.subscription = self.feed

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.held.set()
        self.feed.dispose()
        self._sockets.close()

    def child(self, connection="c"):
        """Return a child's socket, on which the schema was sent."""
        sock = self._sockets.enter_context(self.feed.open(connection))
        send(sock, framed(SCHEMA))
        return sock

    def wait(self, count):
        wait_until(lambda: len(self.numbers) >= count, 5, f"{count} rows")

    def hold(self):
        """Let the subscriber hang in its next call, until ``held`` is set."""
        self.held.clear()

    def _take(self, columns):
        self.threads.add(threading.current_thread().name)
        self.numbers += columns["n"].to_pylist()
        self.held.wait(10)
        self._more()


def hand(sock, *numbers, received_ns=1_000):
    """Send a record batch."""
    send(sock, framed(batch(*numbers), received_ns))


def test_what_children_hand_over_is_merged_in_the_order_of_each():
    """Subscribers would have to lock, or see a connection's ticks out of order."""
    with World() as world:
        children = world.child("a"), world.child("b")
        for number in range(50):
            hand(children[number % 2], number)
        world.wait(50)
        wait_until(lambda: world.feed.taken() == {"a": (0, 25), "b": (0, 25)}, 5)
        world.feed.finish()
        wait_until(world.feed.ended.is_set, 5, "the end")
    assert [n for n in world.numbers if not n % 2] == list(range(0, 50, 2))
    assert [n for n in world.numbers if n % 2] == list(range(1, 50, 2))
    assert world.threads == {"tickbraid-columns"}
    assert (world.ends, world.left, world.losses) == (["over"], [world.feed], [])
    snapshot = world.feed.latency.snapshot()
    assert (snapshot.count, snapshot.max) == (50, NOW_NS - 1_000)


def test_a_new_process_goes_on_and_what_the_old_left_still_comes():
    """After a crash columns would end, or what had been handed over would be lost with the process."""
    with World() as world:
        world.hold()
        old = world.child()
        hand(old, 1)
        hand(old, 2, 3)
        world.wait(1)
        old.close()
        hand(world.child(), 4)
        assert world.feed.taken() == {"c": (0, 0)}, "it is in the subscriber's hand"
        world.held.set()
        world.wait(4)
        wait_until(lambda: world.feed.taken() == {"c": (3, 1)}, 5, "each counted where it came from")
        world.child()
        assert world.feed.taken() == {"c": (4, 0)}


@pytest.mark.parametrize("how", ["finish", "fail"])
def test_what_is_in_the_sockets_comes_before_the_end(how):
    """The last ticks of a day would be missing, and a full buffer would cost more than what it dropped."""
    with World() as world:
        world.hold()
        child = world.child()
        for number in range(10):
            hand(child, number)
        world.wait(1)
        error = ValueError("full")
        world.feed.finish() if how == "finish" else world.feed.fail(error)
        assert not world.ends
        if how == "fail":
            with pytest.raises(OSError, match="pipe"):
                child.sendall(b"a child that lives on must not wait")
        world.held.set()
        wait_until(world.feed.ended.is_set, 5, "the end")
        assert world.feed.open("c") is None
    assert world.numbers == list(range(10))
    assert world.ends == (["over"] if how == "finish" else [error])
    assert not world.losses


def test_who_leaves_gets_nothing_more_and_what_was_in_the_sockets_is_told():
    """A notebook's cell is interrupted: threads and sockets would be left, and rows be missing."""
    with World() as world:
        world.hold()
        child = world.child()
        for number in range(5):
            hand(child, number, -number, received_ns=number)
        world.wait(2)
        leaving = threading.Thread(target=world.feed.dispose)
        leaving.start()
        wait_until(lambda: world.feed._disposed, 5)
        with world.feed._lock, pytest.raises(OSError, match="pipe"):
            child.sendall(b"it must not wait for a subscriber that hangs")
        world.held.set()
        leaving.join(5)
        assert world.feed.ended.is_set()
        assert "tickbraid-columns" not in our_threads()
    (loss,) = world.losses
    assert (loss.where, loss.reason, loss.connection) == ("columns", "closed", "c")
    assert (loss.count, loss.from_ns, loss.to_ns) == (8, 1, 4)
    assert (world.numbers, world.ends) == ([0, 0], [])
    assert world.feed.taken() == {"c": (0, 2)}


def test_a_subscriber_may_leave_while_it_is_called():
    """`take(3)` would wait two seconds for its own thread, or be given a fourth."""
    with World() as world:
        world._more = world.observer.dispose
        child = world.child()
        hand(child, 1)
        wait_until(world.feed.ended.is_set, 5, "the end")
        assert (world.numbers, world.feed.taken()) == ([1], {"c": (0, 1)})


def test_what_a_subscriber_raises_costs_it_one_record_batch(caplog):
    """An exception in a notebook's function must not end the stream, and must be seen."""
    with World(lambda: 1 / 0) as world:
        child = world.child()
        hand(child, 1)
        hand(child, 2)
        world.wait(2)
        wait_until(lambda: world.feed.errors == 2, 5)
        assert (world.feed.calls, world.feed.taken()) == (2, {"c": (0, 2)})
    assert "ZeroDivisionError" in caplog.text


def test_what_is_no_frame_ends_its_socket_only(caplog):
    """A defect in one process would stop what the others bring."""
    with World() as world:
        broken, sound = world.child("a"), world.child("b")
        broken.sendall(b"\xff" * 64)
        wait_until(lambda: "of a could not be read" in caplog.text, 5)
        hand(sound, 1)
        world.wait(1)
        with pytest.raises(OSError, match="pipe"):
            broken.sendall(b"x")


def test_a_slow_subscriber_costs_no_memory_here():
    """A queue in the parent would grow: what is not taken must stop the child's write instead."""
    with World() as world:
        world.hold()
        child = world.child()
        hand(child, 1)
        world.wait(1)
        child.setblocking(False)
        with pytest.raises(BlockingIOError):
            child.sendall(bytes(64 << 20))
        child.shutdown(socket.SHUT_WR)
