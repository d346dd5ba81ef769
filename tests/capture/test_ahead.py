import threading

import pytest

from pipeline.capture.ahead import CHUNKS, Ahead
from tests.conftest import our_threads, wait_until


def test_items_come_in_order_and_the_thread_ends():
    """A replay would mix its reads, or leave a thread behind."""
    ahead = Ahead(iter([[1, 2], [], [3], [4, 5, 6]]))
    assert "tickbraid-replay" not in our_threads()
    assert list(ahead) == [1, 2, 3, 4, 5, 6]
    wait_until(lambda: "tickbraid-replay" not in our_threads(), 3)


def test_it_reads_only_so_far_ahead():
    """A replay at the speed of the day would read the whole capture into memory at its beginning."""
    made = []

    def chunks():
        for number in range(100):
            made.append(number)
            yield [number]

    ahead = Ahead(chunks())
    assert next(ahead) == 0
    wait_until(lambda: len(made) == CHUNKS + 2)
    assert next(ahead) == 1
    wait_until(lambda: len(made) == CHUNKS + 3)
    ahead.close()


def test_an_error_comes_in_its_place():
    """A damaged file would end a replay early, as if the capture were over."""

    def chunks():
        yield [1]
        raise OSError("torn")

    ahead = Ahead(chunks())
    assert next(ahead) == 1
    with pytest.raises(OSError, match="torn"):
        next(ahead)
    assert list(ahead) == []


def test_closing_it_lets_go_who_waits():
    """Closing a stream would wait for a disk that hangs."""
    reached, gate = threading.Event(), threading.Event()

    def chunks():
        reached.set()
        gate.wait(10)
        yield [1]

    ahead, got = Ahead(chunks()), []
    reader = threading.Thread(target=lambda: got.extend(ahead))
    reader.start()
    assert reached.wait(10)
    gate.set()
    ahead.close()
    reader.join(10)
    assert not reader.is_alive()
