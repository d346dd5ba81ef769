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
        self._timers.append((self.now_ms + max(1, round(delay_s * 1000)), action))

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
    """A feed of quotes, three connections, reading, and decoding some time later, all moved by hand."""

    def __init__(self):
        self.loop = Loop()
        self.pipeline = Pipeline()
        self.events = []
        self.wrong_ms = 0
        """How much our wall clock is off."""
        tracks = Tracks()
        runtime = replace(
            SYSTEM,
            clock=lambda: (self.loop.now_ms + self.wrong_ms) * MS,
            monotonic=lambda: self.loop.now_ms / 1000,
        )
        self.gaps = Gaps(tracks, self.events.append, self.loop, self.pipeline.schedule, runtime)
        self.batches = Subject()
        self.delivered = defaultdict(list)
        self.made = defaultdict(list)
        self.on = {}
        self.lost = set()
        self.sessions = set()
        self.pings = []
        self.flying = defaultdict(list)
        activity = Activity(self.gaps, tracks, FirstBars(), runtime)
        self.subscription = self.batches.pipe(dedupe(lambda: Seen(1000, tracks)), activity).subscribe(
            self._deliver
        )

    def _deliver(self, batch):
        for tick in batch.ticks:
            self.delivered[tick.ticker].append(tick.event_ms * MS)

    @property
    def now_ns(self):
        return self.loop.now_ms * MS

    def make(self, ticker):
        """Let something happen; whoever is subscribed is sent it."""
        self.loop.advance(1)
        if ticker in self.on or ticker in self.lost:
            self.made[ticker].append(self.loop.now_ms * MS)
        if ticker in self.on:
            self.flying[self.on[ticker]].append(Quote(ticker=ticker, event_ms=self.loop.now_ms))

    def read(self, connection):
        """Read what was sent; the pipeline gets it later."""
        self.loop.advance(1)
        ticks, self.flying[connection] = self.flying[connection], []
        self.bring(connection, ticks)

    def bring(self, connection, ticks):
        received_ns = self.gaps._clock()
        batch = TickBatch(connection=connection, received_ns=received_ns, ticks=ticks)

        def go_on():
            batch.decoded_ns = max(received_ns, self.gaps._clock())
            self.batches.on_next(batch)

        self.pipeline.schedule(go_on)

    def subscribe(self, connection, tickers):
        """Carry these there, from now on."""
        self.loop.advance(1)
        new = [ticker for ticker in tickers if ticker not in self.on]
        channels = [f"Q.{ticker}" for ticker in new]
        if connection in self.sessions:
            self.gaps.ask(connection, channels)
        else:
            self.sessions.add(connection)
            self.gaps.begin(connection, "feed", channels, prove=self.pings.append, is_mute=lambda: False)
        self.on |= dict.fromkeys(new, connection)
        self.lost -= set(new)
        self.gaps.confirm(connection, channels)

    def cut(self, connection):
        """End a session; what was on its way is lost."""
        self.loop.advance(1)
        self.flying[connection].clear()
        lost = {ticker for ticker, its in self.on.items() if its == connection}
        self.on = {ticker: its for ticker, its in self.on.items() if ticker not in lost}
        self.lost |= lost
        self.sessions.discard(connection)
        self.gaps.end(connection)

    def losses(self):
        return [event for event in self.events if isinstance(event, status.Loss)]

    def told(self):
        return [gap for loss in self.losses() for gap in loss.gaps]
