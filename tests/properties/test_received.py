"""What was received only grows, and the account balances, whenever anybody looks; on real threads."""

import threading
import time
from types import SimpleNamespace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from reactivex import Subject

from operators.runtime import SYSTEM
from pipeline.build import braid_stream
from pipeline.massive.frames import Frames
from pipeline.massive.snapshot import ConnectionSnapshot, Phase
from pipeline.settings import load_settings
from tests.conftest import wait_until
from tests.massive.odd_messages import MESSAGES, received, small_bites

CONNECTIONS = ("a", "b")
STATUS = b'{"ev":"status","status":"success","message":"subscribed to: T.A"}'
TRADE = b'{"ev":"T","sym":"A","p":1,"t":1}'
QUOTE = b'{"ev":"Q","sym":"A","bp":1,"t":1}'


class Source:
    """A connection that brings what it is told to."""

    def __init__(self, name):
        self.id = name
        self.frames = Subject()

    def snapshot(self):
        return ConnectionSnapshot(self.id, self.id, "ws://127.0.0.1", Phase.LIVE)

    def close(self):
        self.frames.on_completed()


class World:
    """A stream with one subscriber, of what it is told to read."""

    def __init__(self, on_tick=lambda _: None, **extra):
        self.sources = [Source(name) for name in CONNECTIONS]
        carriage = SimpleNamespace(tickers=dict, dispose=lambda: None)
        self.stream = braid_stream(
            load_settings({"SYMBOL_UNIVERSE_KEY": "", "DEDUPE_WINDOW": 1000} | extra),
            SYSTEM,
            lambda *_: (self.sources, carriage),
        )
        self._lock = threading.Lock()
        self.most = {}
        self.wrong = []
        self.reads = self.brought = 0
        self.stream.subscribe(on_tick)

    def read(self, source, messages):
        """Bring a read, as from a socket: on the loop's thread."""
        frames = Frames(self.sources[source].id, time.time_ns(), messages, sum(map(len, messages)))

        def bring(*_):
            self.sources[source].frames.on_next(frames)
            self.look()  # now it waits, undecoded
            self.brought += 1

        self.reads += 1
        self.stream._engine.loop.schedule(bring)
        return frames

    def look(self):
        """Read the accounts, and note what is wrong; return how many were received in all. Any thread."""
        with self._lock:
            accounts = {
                (subscriber, connection): account
                for subscriber, by_connection in self.stream.accounts().items()
                for connection, account in by_connection.items()
            }
            for key, account in accounts.items():
                if account.imbalance or min(account.to_dict().values()) < 0:
                    self.wrong.append(("unbalanced", key, account))
                if account.received < self.most.get(key, 0):
                    self.wrong.append(("fell", key, account, self.most[key]))
                self.most[key] = account.received
            return sum(self.most.values())

    @property
    def undecoded_bytes(self):
        return self.stream._engine.ingest.queued_bytes

    @property
    def idle(self):
        """Whether all is decoded."""
        return self.brought == self.reads and not self.undecoded_bytes and self.stream.beats(1)


reads = st.tuples(st.integers(0, 1), st.lists(MESSAGES, min_size=1, max_size=3))


histories = st.lists(reads, min_size=1, max_size=8)


def hold_against_the_decoder(history, bite_bytes):
    """Expect of reads what the decoder makes of them, and that it never was another number."""
    with small_bites(bite_bytes):
        world = World()
        try:
            expected = 0
            for source, messages in history:
                frames = world.read(source, messages)
                expected += received(frames)
                world.look()
            wait_until(lambda: (world.look(), world.idle)[1])
            assert world.look() == expected
        finally:
            world.stream.close()
        assert world.look() == expected
        assert world.wrong == []


@settings(max_examples=60, deadline=None)
@given(history=histories, bite_bytes=st.sampled_from([40, 72 * 1024]))
@example(history=[(0, [b"[%b,%b]" % (STATUS, TRADE)])], bite_bytes=40)
@example(history=[(0, [b"[%b]" % b",".join([STATUS] * 5)])], bite_bytes=72 * 1024)
def test_what_was_received_is_what_the_decoder_makes_of_it(history, bite_bytes):
    """A status element counted as queued while it waited, and then as nothing: what was received fell.

    Whoever computes a rate from it sees ticks come that never came, and then a negative number.
    """
    hold_against_the_decoder(history, bite_bytes)


@pytest.mark.heavy
@pytest.mark.timeout(300)
@settings(max_examples=600, deadline=None)
@given(history=histories, bite_bytes=st.sampled_from([40, 400, 72 * 1024]))
def test_it_is_so_for_many_histories(history, bite_bytes):
    """A spelling that is counted one way and decoded another is met once in a thousand messages."""
    hold_against_the_decoder(history, bite_bytes)


def test_it_only_grows_while_others_read_and_decode():
    """What is being decoded is neither waiting nor decoded: who looks then missed it, or saw it twice."""
    world = World(SUBSCRIBER_BUFFER_TICKS=100_000)
    message = b"[%b]" % b",".join([TRADE, QUOTE, STATUS] * 300)
    reads, over = 300, threading.Event()
    seen = []

    def look():
        while not over.is_set():
            seen.append(world.look())

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        for number in range(reads):
            world.read(number % 2, [message])
            wait_until(lambda n=number: world.brought > n - 4 and world.undecoded_bytes < 4 * len(message))
        wait_until(lambda: world.idle)
    finally:
        over.set()
        watcher.join()
        world.stream.close()
    assert world.look() == reads * 600
    assert world.wrong == []
    assert len(set(seen)) > 5, "it has looked while ticks came"


def test_who_leaves_has_had_what_waited_then():
    """It was his, and counted as queued: when he left it had never been received, by his account."""
    let_go = threading.Event()
    world = World(lambda _: let_go.wait(10), SUBSCRIBER_OVERFLOW="block", SUBSCRIBER_BUFFER_TICKS=1)
    try:
        leaving = world.stream.batches.subscribe(lambda _: None)

        def is_behind():
            world.read(world.reads % 2, [b'[{"ev":"T","sym":"A","p":1,"t":%d},%b]' % (world.reads, QUOTE)])
            return sum(world.stream._engine.ingest.waiting().values()) > 10

        wait_until(is_behind)
        wait_until(lambda: world.brought == world.reads and world.stream.beats(1))
        waiting = sum(world.stream._engine.ingest.waiting().values())
        world.look()
        world.stream.batches.subscribe(lambda _: None)
        world.look()
        leaving.dispose()
        world.look()
        left = world.stream.account("batches")
        assert (left.received, left.dropped, left.queued) == (2 * world.reads, waiting, 0)
    finally:
        let_go.set()
        world.stream.close()
    world.look()
    assert world.stream.account("callback").received == 2 * world.reads
    assert world.wrong == []
