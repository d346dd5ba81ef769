"""A feed, its connections, reading and decoding, moved by hand, around a `Gaps` and its `Activity`."""

from collections import defaultdict, deque
from dataclasses import replace

from reactivex import Subject

from operators.dedupe import dedupe
from operators.runtime import SYSTEM
from pipeline import status
from pipeline.activity import Activity
from pipeline.bars import FirstBars
from pipeline.gaps import Gaps
from pipeline.identity import Seen
from pipeline.ticks import Quote, TickBatch
from pipeline.tracks import Tracks

MS = 1_000_000


class Loop:
    """Runs timers when its time is moved."""

    def __init__(self):
        self.now_ms = 1000
        self._timers = []

    def schedule_relative(self, delay_s, action):
        self._timers.append((self.now_ms + round(delay_s * 1000), action))

    def advance(self, by_ms):
        end_ms = self.now_ms + by_ms
        while due := [timer for timer in self._timers if timer[0] <= end_ms]:
            first = min(due, key=lambda timer: timer[0])
            self._timers.remove(first)
            self.now_ms = max(self.now_ms, first[0])
            first[1]()
        self.now_ms = end_ms


class Pipeline:
    """Holds batches and actions in their order, until it is told to go on."""

    def __init__(self):
        self.queue = deque()

    def schedule(self, action):
        self.queue.append(action)

    def go_on(self, most=10_000_000):
        for _ in range(min(most, len(self.queue))):
            self.queue.popleft()()


class World:
    """A feed, three connections, reading, and decoding some time later, all moved by hand."""

    def __init__(self):
        self.loop = Loop()
        self.pipeline = Pipeline()
        self.events = []
        tracks = Tracks()
        self.gaps = Gaps(
            tracks, self.events.append, self.loop, self.pipeline.schedule, lambda: self.loop.now_ms * MS
        )
        self.batches = Subject()
        self.delivered = defaultdict(list)
        self.made = defaultdict(list)
        self.on = {}
        self.lost_with = {}
        self.flying = defaultdict(list)
        activity = Activity(
            self.gaps, FirstBars(), replace(SYSTEM, monotonic=lambda: self.loop.now_ms / 1000)
        )
        self.subscription = self.batches.pipe(
            self.gaps, dedupe(lambda: Seen(1000, tracks)), activity
        ).subscribe(self._deliver)

    def _deliver(self, batch):
        for tick in batch.ticks:
            self.delivered[tick.ticker].append(tick.event_ms * MS)

    def make(self, ticker):
        """Let something happen; whoever is subscribed is sent it."""
        self.loop.advance(1)
        if ticker in self.on or ticker in self.lost_with:
            self.made[ticker].append(self.loop.now_ms * MS)
        if ticker in self.on:
            self.flying[self.on[ticker]].append(Quote(ticker=ticker, event_ms=self.loop.now_ms))

    def read(self, connection):
        """Read what was sent; the pipeline gets it later."""
        self.loop.advance(1)
        ticks, self.flying[connection] = self.flying[connection], []
        self.bring(connection, ticks)

    def bring(self, connection, ticks):
        batch = TickBatch(connection=connection, received_ns=self.loop.now_ms * MS, ticks=ticks)
        self.pipeline.schedule(lambda: self.batches.on_next(batch))

    def subscribe(self, connection, tickers):
        """Carry these there, from now on."""
        self.loop.advance(1)
        lost = defaultdict(list)
        for ticker in tickers:
            if ticker not in self.on:
                self.on[ticker] = connection
                if ticker in self.lost_with:
                    lost[self.lost_with.pop(ticker)].append(ticker)
        for loser, its in lost.items():
            self.gaps.close(loser, its, self.loop.now_ms * MS)

    def cut(self, connection):
        """End a session; what was on its way is lost."""
        self.loop.advance(1)
        self.flying[connection].clear()
        tickers = [ticker for ticker, its in self.on.items() if its == connection]
        for ticker in tickers:
            del self.on[ticker]
            self.lost_with[ticker] = connection
        if tickers:
            self.gaps.open(connection, tickers, self.loop.now_ms * MS)

    def losses(self):
        return [event for event in self.events if isinstance(event, status.Loss)]

    def told(self):
        return [gap for loss in self.losses() for gap in loss.gaps]
