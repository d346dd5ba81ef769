"""More than one trading day over the same connections: ids and sequence numbers begin anew with each."""

import gzip
import json
import os
import random
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from reactivex import Subject

from operators.dedupe import dedupe
from operators.latency_stamp import Latencies, latency_stamp
from pipeline.identity import Seen
from pipeline.market import SyntheticMarket
from pipeline.massive.decode import decode
from pipeline.massive.frames import Frames
from pipeline.massive.simulator import Options, ReplayFeed, Simulator
from pipeline.massive.simulator.feeds import read_recording
from pipeline.tracks import Track, Tracks
from tests.conftest import wait_until
from tests.integration.harness import KEY, Run, config_for
from tests.test_trading_day import ms_of

SESSION = os.environ.get("TICKBRAID_SESSION_FILE", "")
"""A recorded session of real market data, JSON lines of ``at_us`` and ``frame``; may be gzipped."""
DAY_MS = 86_400_000
TICKERS = ("AAPL", "MSFT", "BRK.B")


def element(ev, ticker, number, ms):
    """Make an element that nothing but its day and number tells from others."""
    if ev == "T":
        return {"ev": "T", "sym": ticker, "x": 4, "i": str(number), "p": 10, "s": 100, "t": ms, "q": number}
    return {"ev": "Q", "sym": ticker, "bp": 9, "ap": 10, "t": ms, "q": number}


class Soak:
    """Two connections that carry the same tickers, from read to stamp, in virtual time.

    The second is late by some messages, and reads of the one day's end come after the next day's beginning.
    """

    def __init__(self, window):
        self.now_ns = 0
        self.frames = Subject()
        self.tracks = Tracks()
        self.delivered, self.counts = [], Counter()
        self.frames.pipe(
            decode(),
            dedupe(lambda: Seen(window, self.tracks)),
            latency_stamp(lambda: self.now_ns, Latencies()),
        ).subscribe(self._take)

    def read(self, connection, elements, at_ms):
        self.now_ns = max(self.now_ns, at_ms * 1_000_000)
        message = json.dumps(elements).encode()
        self.counts["made"] += len(elements)
        self.frames.on_next(Frames(connection, self.now_ns, [message], len(message)))

    def _take(self, batch):
        self.delivered += [(t.event_type, t.ticker, t.sequence, t.event_ms) for t in batch.ticks]
        assert batch.received == len(batch.ticks) + batch.deduplicated
        self.counts["deduplicated"] += batch.deduplicated

    def remembered(self):
        return sum(
            len(day.sequences) + len(day.trades)
            for track in self.tracks.by_ticker.values()
            for day in (track, *track.days.values())
        )


def sessions():
    """Give when five sessions open: over a night, two weekends and both changes of the clocks."""
    yield ms_of(2026, 3, 6, 9, 30, offset_h=5)
    yield ms_of(2026, 3, 9, 9, 30, offset_h=4)
    yield ms_of(2026, 10, 30, 9, 30, offset_h=4)
    yield ms_of(2026, 11, 2, 9, 30, offset_h=5)
    yield ms_of(2026, 11, 3, 9, 30, offset_h=5)


def test_five_sessions_over_nights_weekends_and_both_changes_of_the_clocks(monkeypatch):
    """The whole second day was taken for copies of the first; whoever runs overnight got nothing any more."""
    late = Counter()
    add_late = Track.add_late
    monkeypatch.setattr(
        Track, "add_late", lambda track, sequence: (late.update(["searched"]), add_late(track, sequence))[1]
    )
    draw = random.Random(4)
    soak, made, behind, most = Soak(window=2000), [], [], 0
    for opens_ms in sessions():
        numbers = Counter()
        prints = []  # of this day, which come when the next has begun
        for step in range(300):
            at_ms = (
                opens_ms + step * 60_000
            )  # from 9:30 over midnight would be 14.5 hours: it closes at 14:30
            elements = []
            for _ in range(draw.randint(1, 20)):
                ev, ticker = draw.choice("TQQQ"), draw.choice(TICKERS)
                numbers[ticker] += 1
                elements.append(element(ev, ticker, numbers[ticker], at_ms))
            made += elements
            if step == 299:
                prints = elements
            else:
                soak.read("connection_1", elements, at_ms)
            behind.append(elements)
            if len(behind) > draw.randint(0, 5):
                soak.read("connection_2", behind.pop(0), at_ms)
            most = max(most, soak.remembered())
        # After midnight, by either connection, though the day is another now; then the next session opens.
        soak.read("connection_1", prints, opens_ms + 15 * 3_600_000)
    for elements in behind:
        soak.read("connection_2", elements, opens_ms)
    wanted = [(e["ev"], e["sym"], e["q"], e["t"]) for e in made]
    assert len(soak.delivered) == len(wanted)
    assert set(soak.delivered) == set(wanted)
    assert soak.counts["made"] == 2 * len(made) == 2 * soak.counts["deduplicated"]
    assert most <= 8 * 2000
    assert late["searched"] <= len(made)  # the copies, and never the first of a quote


def in_days(frames, days):
    """Cut a session into days, each with its numbers and ids from 1; give all frames."""
    size = len(frames) // days + 1
    for day in range(days):
        number = 0
        for at_us, frame in frames[day * size : (day + 1) * size]:
            for its in frame:
                number += 1
                its["q"] = number
                if "i" in its and its["ev"] == "T":
                    its["i"] = str(number)
                for name in {"t", "pt", "trft"} & its.keys():
                    its[name] += day * DAY_MS
            yield at_us, frame


def check_exactly_once(frames, path, timeout_s):
    """Serve frames to two connections that carry the same tickers, and hold what came against them."""
    elements = [its for _, frame in frames for its in frame]
    with path.open("w") as file:
        file.writelines(json.dumps({"at_us": at_us, "frame": frame}) + "\n" for at_us, frame in frames)
    wanted = defaultdict(list)
    for its in elements:
        wanted[its["ev"], its["sym"]].append((its["q"], its["t"]))
    symbols = sorted({its["sym"] for its in elements})
    feed = ReplayFeed(read_recording(path), speed=float("inf"))
    options = Options(keys=frozenset({KEY}), start_after=None)
    more = {"WEBSOCKET_REDUNDANT_SYMBOLS": symbols}
    with Simulator([feed], options) as simulator, Run(config_for(simulator, symbols, symbols, **more)) as run:
        run.wait_confirmed(4 * len(symbols))
        simulator.start_feeds()
        received = 2 * len(elements)
        wait_until(lambda: run.stream.account("callback").received == received, timeout_s, "all being read")
        wait_until(lambda: run.stream.account("callback").queued == 0, timeout_s, "all being delivered")
        account = run.stream.account("callback")
    assert (account.delivered, account.deduplicated) == (len(elements), len(elements))
    got = {key: sorted((tick.sequence, tick.event_ms) for tick in ticks) for key, ticks in run.ticks.items()}
    assert got == {key: sorted(its) for key, its in wanted.items()}


def some_frames(count=400):
    """Make frames as they are recorded, of a morning in New York."""
    start_ms = ms_of(2026, 3, 6, 9, 30, offset_h=5)
    market = SyntheticMarket(TICKERS, seed=2, start_ms=start_ms, event_types=("T", "Q"))
    for number in range(count):
        at_ms = start_ms + 7 * number
        yield at_ms * 1000, [json.loads(made) for _, made in market.events(1 + number % 9, at_ms)]


@pytest.mark.parametrize("days", [1, 3])
def test_days_with_the_same_numbers_over_two_connections(tmp_path, days):
    """Each event once, whichever connection brought it first, and though yesterday had its number, too."""
    check_exactly_once(list(in_days(list(some_frames()), days)), tmp_path / "days.jsonl", 20)


@pytest.mark.skipif(not SESSION, reason="TICKBRAID_SESSION_FILE names no recorded session")
@pytest.mark.timeout(300)
@pytest.mark.parametrize("days", [1, 3])
def test_days_of_a_real_session_over_two_connections(tmp_path, days):
    """What holds for made data might not for what a market really does."""
    path = Path(SESSION)
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as lines:
        recorded = [json.loads(line) for line in lines]
    frames = [(line["at_us"], line["frame"]) for line in recorded]
    check_exactly_once(list(in_days(frames, days)) if days > 1 else frames, tmp_path / "days.jsonl", 120)
