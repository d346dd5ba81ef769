"""What a tick costs, counted and not timed: a machine may be slow, but these numbers must not grow."""

import sys
import threading
import time
from collections import Counter

import msgspec
import pytest
from reactivex import Subject

from pipeline.build import braid_stream
from pipeline.massive.frames import Frames
from pipeline.massive.snapshot import ConnectionSnapshot, Phase
from pipeline.settings import load_settings
from tests.conftest import wait_until

TICKERS = [f"S{number:03d}" for number in range(50)]


class Feed:
    """A source that brings reads when it is told to, on the loop's thread."""

    id = "connection_1"

    def __init__(self, loop):
        self._loop = loop
        self._serial = 0
        self.frames = Subject()

    def bring(self, count):
        """Let a read of so many quotes come."""
        elements = []
        for _ in range(count):
            self._serial += 1
            ticker = TICKERS[self._serial % len(TICKERS)]
            elements.append({"ev": "Q", "sym": ticker, "bp": 1.5, "ap": 2.5, "t": 1.7e12, "q": self._serial})
        message = msgspec.json.encode(elements)
        frames = Frames(self.id, time.time_ns(), [message], len(message))
        self._loop.schedule(lambda *_: self.frames.on_next(frames))

    def close(self):
        self.frames.on_completed()

    def snapshot(self):
        return ConnectionSnapshot(self.id, self.id, "", Phase.LIVE)


@pytest.fixture
def rig():
    """A whole pipeline with one subscriber, whose ticks are counted; and its feed."""
    feeds, count = [], Counter()

    def sources(settings, loop, *_):
        feeds.append(Feed(loop))
        return feeds, None

    stream = braid_stream(load_settings({"SYMBOL_UNIVERSE_KEY": ""}), sources=sources)

    def bring(ticks):
        before = count["ticks"]
        feeds[0].bring(ticks)
        wait_until(lambda: count["ticks"] == before + ticks)

    def on_tick(_):
        count["ticks"] += 1

    with stream:
        yield stream, on_tick, bring


def calls_of(rig, ticks):
    """Return how often each function of Python was called for one read of so many ticks, but the callback."""
    stream, on_tick, bring = rig
    calls = Counter()
    watching = threading.Event()

    def profile(frame, event, _):
        if event == "call" and watching.is_set() and threading.current_thread().name.startswith("tickbraid"):
            calls[frame.f_code.co_qualname] += 1

    threading.setprofile(profile)
    try:
        stream.subscribe(on_tick)
        for _ in range(8):
            bring(ticks)  # until all threads run, and all that is made once is made
    finally:
        threading.setprofile(None)
    watching.set()
    for _ in range(8):
        bring(ticks)
    watching.clear()
    # The thread that stands by looks every 20 ms, whatever comes.
    its_own = {name: n / 8 for name, n in calls.items() if "stand_by" not in name and "on_tick" not in name}
    return Counter(its_own)


def test_python_is_called_by_the_read_and_not_by_the_tick(rig):
    """A function called for each tick costs a tenth of the throughput; it slips in by one innocent line."""
    calls = calls_of(rig, 400)
    assert sum(calls.values()) < 150, calls.most_common(20)
    assert max(calls.values()) <= 15, "something is called for each tick, or each of a sample of them"


def test_a_read_passes_so_many_rx_hops_and_no_more(rig):
    """Each hop costs half a microsecond, whatever it carries; in a quiet market that is each tick."""
    calls = calls_of(rig, 1)
    hops = calls["AutoDetachObserver.on_next"]
    assert 8 <= hops <= 12, hops


def test_a_tick_that_was_delivered_leaves_its_number_behind_and_nothing_else(rig):
    """What is kept of each tick must be what dedupe needs, or memory grows all day."""
    stream, on_tick, bring = rig
    stream.subscribe(on_tick)
    for _ in range(5):
        bring(2000)
    before = sys.getallocatedblocks()
    for _ in range(5):
        bring(2000)
    assert (sys.getallocatedblocks() - before) / 10_000 < 1.2, "blocks a tick"
