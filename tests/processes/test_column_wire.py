import socket
import threading

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.processes import column_wire
from pipeline.processes.column_wire import HEAD, Lane, framed, send
from tests.conftest import wait_until

SCHEMA = pa.schema([("ticker", pa.string()), ("price", pa.float64())])


def batch(*prices):
    """Return a record batch of these prices, of which None may be one."""
    return pa.RecordBatch.from_arrays([["A"] * len(prices), pa.array(prices, pa.float64())], schema=SCHEMA)


def bytes_of(*batches):
    """Return what a sink sends of record batches that were received at 1, 2, … ns."""
    frames = [framed(SCHEMA), *(framed(each, at) for at, each in enumerate(batches, start=1))]
    return b"".join(bytes(part) for frame in frames for part in frame)


@pytest.fixture
def pair():
    """Both ends of a socket, and the lane on one of them."""
    ours, its = socket.socketpair()
    lane = Lane("connection_1", ours)
    with ours, its:
        yield lane, its


PRICES = st.lists(st.floats(allow_nan=False) | st.none(), min_size=1, max_size=5)


@given(st.lists(PRICES, min_size=1, max_size=4), st.data())
@settings(max_examples=50)
def test_what_is_handed_over_arrives_however_it_is_cut(prices, data):
    """A frame that comes in two reads would be lost, or end the lane."""
    batches = [batch(*each) for each in prices]
    stream = bytes_of(*batches)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=4)))
    ours, its = socket.socketpair()
    lane, arrived = Lane("c", ours), []
    with ours, its:
        for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
            its.sendall(stream[start:end])
            while (one := lane.read()) is not None:
                arrived.append(one)
    assert [one.columns for one in arrived] == batches
    assert [one.received_ns for one in arrived] == list(range(1, len(batches) + 1))


def test_the_end_and_a_torn_frame_are_the_end(pair):
    """A killed child would leave half a record batch, made up of whatever memory held."""
    lane, its = pair
    its.sendall(bytes_of(batch(1.0), batch(2.0))[:-1])
    its.close()
    assert lane.read().columns == batch(1.0)
    with pytest.raises(EOFError):
        lane.read()


def test_a_length_that_cannot_be_is_no_frame(pair):
    """Four wrong bytes would make the parent ask for gigabytes."""
    lane, its = pair
    its.sendall(HEAD.pack(column_wire.FRAME_MAX_BYTES + 1, 0, 0))
    with pytest.raises(ConnectionError, match="bytes"):
        lane.read()


def test_what_was_not_read_is_told_and_the_writer_let_go(pair):
    """A subscriber that leaves would take ticks with it unseen, and a child would wait for it for ever."""
    lane, its = pair
    its.sendall(bytes_of(batch(1.0, 2.0), batch(3.0)))
    assert lane.read().columns.num_rows == 2
    its.sendall(bytes(framed(batch(4.0), 9)[0]))  # the head of one whose body never comes
    assert lane.close() == [(2, 1)]
    with pytest.raises(OSError, match="pipe"):
        its.sendall(b"more")
    assert lane.close() == []


def test_a_schema_alone_is_no_loss(pair):
    """A subscriber that leaves before the first tick would be told that it lost some."""
    lane, its = pair
    its.sendall(bytes_of())
    assert lane.close() == []


def test_a_frame_larger_than_the_socket_goes_through_in_parts(pair):
    """The writer waits for the reader, and the parts must come in order."""
    lane, its = pair
    large = batch(*map(float, range(50_000)))
    writer = threading.Thread(target=send, args=[its, framed(SCHEMA) + framed(large, 1)])
    writer.start()
    arrived = wait_until(lane.read, 5, "all of it")
    writer.join(5)
    assert arrived.columns == large
