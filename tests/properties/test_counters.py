"""Whatever happens to a stream, no counter of its metrics goes down; real threads, scripted sockets."""

import json
import threading
import time
from dataclasses import replace
from types import SimpleNamespace

from hypothesis import given, settings
from hypothesis import strategies as st
from reactivex import Subject

from pipeline import status
from pipeline.build import braid_stream
from pipeline.health.metrics import StreamCollector
from pipeline.massive.frames import Frames
from pipeline.massive.snapshot import ConnectionSnapshot, Phase
from pipeline.settings import load_settings
from tests.conftest import wait_until

CONNECTIONS = ("a", "b")
ELEMENTS = {
    "trade": {"ev": "T", "sym": "AAPL", "p": 1.0, "t": 1},
    "quote": {"ev": "Q", "sym": "MSFT", "bp": 1.0, "ap": 2.0, "t": 1, "q": 7},  # the second is a duplicate
    "status": {"ev": "status", "status": "success", "message": "subscribed to: T.AAPL"},
    "unknown": {"ev": "X9", "sym": "AAPL"},
    "broken": {"ev": "T", "sym": "AAPL", "p": "dear", "t": 1},
}
EVENTS = (
    status.Authenticated(connection="a", at_ns=1),
    status.Disconnected(connection="a", at_ns=1, reason="reset", last_frame_ns=1),
    status.Moved(connection="b", at_ns=1, source="a", tickers=("AAPL",), reason="failover"),
)
GROWING = ("_total", "_bucket", "_count")


class Scripted:
    """Is a source that brings what it is told to."""

    def __init__(self, name):
        self.id = name
        self.frames = Subject()
        self._state = ConnectionSnapshot(name, name, "ws://127.0.0.1", Phase.LIVE, connects=1)

    def snapshot(self):
        return self._state

    def close(self):
        self.frames.on_completed()

    def bring(self, kinds):
        message = json.dumps([ELEMENTS[kind] for kind in kinds]).encode()
        self._state = replace(self._state, messages=self._state.messages + 1)
        self.frames.on_next(Frames(self.id, time.time_ns(), [message], len(message)))


class World:
    """Is a stream whose subscriber takes a tick when it is let, and its metrics."""

    def __init__(self, overflow):
        self.sources = {name: Scripted(name) for name in CONNECTIONS}
        carriage = SimpleNamespace(tickers=dict, dispose=lambda: None)
        self.stream = braid_stream(
            load_settings(
                {
                    "SYMBOL_UNIVERSE_KEY": "",
                    "SUBSCRIBER_OVERFLOW": overflow,
                    "SUBSCRIBER_BUFFER_TICKS": 4,
                    "INGEST_BUFFER_BYTES": 65536,
                }
            ),
            sources=lambda *_: ([*self.sources.values()], carriage),
        )
        self.collector = StreamCollector(self.stream)
        self.seen = {}
        self._let = threading.Semaphore(0)
        self._free = False
        self.stream.subscribe(self._take)

    def _take(self, _tick):
        if not self._free:
            self._let.acquire()

    def let(self, ticks):
        """Let the subscriber have some."""
        self._let.release(ticks)

    def settle(self):
        """Wait until all is decoded, or the subscriber holds it up."""
        ingest, (outlet,) = self.stream._engine.ingest, self.stream._outlets.known
        wait_until(lambda: outlet.full or not ingest.waiting())

    def look(self):
        """Scrape; return what has become less since the last scrape."""
        now = {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in self.collector.collect()
            for sample in family.samples
            if sample.name.endswith(GROWING)
        }
        less = {key: (before, now[key]) for key, before in self.seen.items() if now.get(key, 0) < before}
        self.seen = now
        return less

    def close(self):
        self._free = True
        self._let.release()
        self.stream.close()


reads = st.tuples(
    st.sampled_from(CONNECTIONS), st.lists(st.sampled_from(sorted(ELEMENTS)), min_size=1, max_size=8)
)
steps = st.lists(
    st.one_of(
        reads,
        st.lists(reads, min_size=2, max_size=6),  # so many at once that some are still undecoded at the look
        st.integers(1, 10),
        st.sampled_from(EVENTS),
        st.just("settle"),
    ),
    min_size=1,
    max_size=12,
)


@given(steps, st.sampled_from(["block", "drop_oldest", "drop_newest", "conflate"]))
@settings(max_examples=30)
def test_no_counter_ever_goes_down(history, overflow):
    """Prometheus would take it for a restart, and its rate for a burst of all there ever was."""
    world = World(overflow)
    try:
        for step in history:
            if isinstance(step, int):
                world.let(step)
            elif isinstance(step, status.StatusEvent):
                world.stream.status.emit(step)
            elif step == "settle":
                world.settle()
            else:
                for name, kinds in [step] if isinstance(step, tuple) else step:
                    world.sources[name].bring(kinds)
            assert world.look() == {}
    finally:
        world.close()
    assert world.look() == {}
    world.collector.close()


COUNTED = ("received", "delivered", "deduplicated", "dropped", "failed", "rejected")


class Crowd(World):
    """Is a stream with subscribers that come and go; the first stays."""

    def __init__(self):
        super().__init__("drop_oldest")
        self._free = True
        self._let.release(1000)
        self._others = []
        self.total = self.stream.account()

    def join(self):
        """Let another come."""
        self._others.append(self.stream.subscribe(lambda _: None))

    def leave(self):
        """Let the one go that came last, if there is any: the next takes its name."""
        if self._others:
            self._others.pop().dispose()

    def check(self):
        """Hold the sum of all accounts against what it was before."""
        now = self.stream.account()
        less = [name for name in COUNTED if getattr(now, name) < getattr(self.total, name)]
        assert not less, (less, self.total, now)
        assert now.imbalance == 0
        self.total = now


@given(st.lists(st.one_of(reads, st.sampled_from(["join", "leave"])), max_size=40))
@settings(max_examples=30)
def test_the_sum_of_all_accounts_never_falls(history):
    """Whoever bills or alarms by the sum would see ticks come back that were counted long ago."""
    crowd = Crowd()
    try:
        for step in history:
            if isinstance(step, tuple):
                crowd.sources[step[0]].bring(step[1])
            else:
                getattr(crowd, step)()
            crowd.check()
    finally:
        crowd.close()
    crowd.check()
    crowd.collector.close()


def test_the_sum_counts_subscribers_that_are_forgotten():
    """A stream lives for months, and of those that looked in for a moment only the last few are kept."""
    crowd = Crowd()
    try:
        for number in range(1, 31):
            crowd.join()
            crowd.sources["a"].bring(["trade"])
            wait_until(lambda now=number: crowd.stream.account().delivered == now * (now + 3) // 2)
            crowd.check()
        for _ in range(30):
            crowd.leave()
            crowd.check()
        crowd.join()
        crowd.check()
        assert len(crowd.stream.accounts()) < 30
        assert crowd.total.received == 30 * 33 // 2
    finally:
        crowd.close()
    crowd.collector.close()
