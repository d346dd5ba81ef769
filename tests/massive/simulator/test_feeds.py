import gzip
import json
import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.massive.simulator import Bursts, Packet, ReplayFeed, SyntheticFeed, read_recording
from pipeline.massive.simulator.feeds import PACKETS_A_TAKE

NOW_NS = 1_700_000_000_000_000_000


def packets_at(*times_us):
    """Return packets of one trade each."""
    return [Packet([("T.A", f'{{"ev":"T","sym":"A","t":{at}}}'.encode())], at) for at in times_us]


def play(feed, *, step_s=0.05, steps=10_000):
    """Pull a feed by a clock of steps until it is over, return (elapsed, packet) pairs."""
    played = []
    for step in range(steps):
        if feed.wait_s(step * step_s) is None:
            return played
        played += [(step * step_s, packet) for packet in feed.take(step * step_s)]
    return played


@given(
    gaps_us=st.lists(st.integers(0, 500_000), min_size=1, max_size=60),
    speed=st.sampled_from([0.5, 1.0, 10.0, math.inf]),
)
@settings(max_examples=50, deadline=None)
def test_replay_is_whole_in_order_and_never_early(gaps_us, speed):
    """A recording would come with other bursts than it was made with, or not whole."""
    times_us = [sum(gaps_us[: n + 1]) for n in range(len(gaps_us))]
    packets = packets_at(*times_us)
    feed = ReplayFeed(packets, speed=speed)
    assert feed.patient == math.isinf(speed)
    played = play(feed, step_s=0.1)
    assert [packet for _, packet in played] == packets
    for elapsed_s, packet in played:
        due_s = (packet.at_us - times_us[0]) / 1e6 / speed
        assert due_s <= elapsed_s
        assert elapsed_s <= due_s + 0.1 + 0.1 * len(packets) // PACKETS_A_TAKE + 1e-6


def test_replay_tells_how_long_nothing_is_due():
    """The server would poll, or be late for every packet."""
    feed = ReplayFeed(packets_at(5_000_000, 7_000_000), speed=2.0)
    assert feed.wait_s(0) == 0
    assert len(list(feed.take(0))) == 1
    assert feed.wait_s(0.25) == 0.75
    assert list(feed.take(0.99)) == []
    assert len(list(feed.take(1.0))) == 1
    assert feed.wait_s(1.0) is None


def test_one_take_is_bounded():
    """One feed at full speed would keep the loop from its clients."""
    feed = ReplayFeed(packets_at(*range(1000)), speed=math.inf)
    assert len(list(feed.take(0))) == PACKETS_A_TAKE


def test_rebase_moves_times_and_nothing_else():
    """Latencies of a replay would be ten years; or sizes, also called s, would be moved."""
    elements = [
        ("T.A", {"ev": "T", "sym": "A", "s": 100, "p": 1.5, "t": 1000, "pt": 999, "trft": None}),
        ("A.A", {"ev": "A", "sym": "A", "s": 0, "e": 1000, "c": 1.5}),
        ("FMV.A", {"ev": "FMV", "sym": "A", "fmv": 1.5, "t": 1_500_000_000_000_000_000}),
        ("NOI.A", {"ev": "NOI", "T": "A", "at": 1600, "t": 1_500_000_000_000_000}),
    ]
    packet = Packet([(channel, json.dumps(fields).encode()) for channel, fields in elements], 1_000_000)
    feed = ReplayFeed([packet], rebase=True, clock_ns=lambda: 61_000_000_000)
    (moved,) = feed.take(0)
    assert moved.channels == packet.channels
    assert [json.loads(element) for element in moved.elements] == [
        {"ev": "T", "sym": "A", "s": 100, "p": 1.5, "t": 61_000, "pt": 60_999, "trft": None},
        {"ev": "A", "sym": "A", "s": 60_000, "e": 61_000, "c": 1.5},
        {"ev": "FMV", "sym": "A", "fmv": 1.5, "t": 1_500_000_060_000_000_000},
        {"ev": "NOI", "T": "A", "at": 1600, "t": 1_500_000_060_000_000},
    ]


@pytest.mark.parametrize("name", ["session.jsonl", "session.jsonl.gz"])
def test_recording_is_read_byte_for_byte_without_status(tmp_path, name):
    """A price would be written anew and differ from what was recorded."""
    frame = b'[{"ev":"status","status":"connected"},{"ev":"T","sym":"A","p":1.50},{"ev":"LULD","T":"B.C"}]'
    path = tmp_path / name
    with gzip.open(path, "wb") if name.endswith("gz") else path.open("wb") as file:
        file.write(b'{"at_us":7,"frame":' + frame + b"}\n")
    (packet,) = read_recording(path)
    assert packet.at_us == 7
    assert packet.channels == ("T.A", "LULD.B.C")
    assert packet.elements == (b'{"ev":"T","sym":"A","p":1.50}', b'{"ev":"LULD","T":"B.C"}')


def test_a_byte_order_mark_before_a_recording_costs_nothing(tmp_path):
    """A recording that went through an editor on Windows could not be replayed."""
    path = tmp_path / "frames.jsonl"
    path.write_text('{"at_us": 1, "frame": [{"ev": "T", "sym": "A"}]}\n', encoding="utf-8-sig")
    assert [packet.channels for packet in read_recording(path)] == [("T.A",)]


@pytest.mark.parametrize(
    "line", [b"rubbish", b'{"at_us":1}', b'{"at_us":1,"frame":[{"ev":"T"}]}', b'{"at_us":1,"frame":[null]}']
)
def test_bad_line_is_named(tmp_path, line):
    """The user would have to look for it in megabytes."""
    path = tmp_path / "bad.jsonl"
    path.write_bytes(b'{"at_us":1,"frame":[]}\n' + line + b"\n")
    with pytest.raises(ValueError, match="line 2"):
        list(read_recording(path))


@given(count=st.integers(0, 3000), rate=st.sampled_from([100.0, 50_000.0, math.inf]))
@settings(max_examples=20, deadline=None)
def test_finite_feed_gives_exactly_its_count(count, rate):
    """A test would wait for ticks that never come."""
    feed = SyntheticFeed(["A", "B"], rate=rate, count=count, clock_ns=lambda: NOW_NS)
    assert feed.finite
    assert sum(len(packet.elements) for _, packet in play(feed)) == count


def test_feed_that_was_held_up_catches_up_in_steps():
    """A process that was suspended would come back with one burst of minutes."""
    feed = SyntheticFeed(["A"], rate=1000.0, event_types=["T"], clock_ns=lambda: NOW_NS)
    taken = [packet for _ in range(3) for packet in feed.take(10.0)]
    assert sum(len(packet.elements) for packet in taken) == 10_000
    assert feed.wait_s(10.0) > 0
    held_up = SyntheticFeed(["A"], rate=1000.0, event_types=["T"], clock_ns=lambda: NOW_NS)
    assert len(list(held_up.take(3600.0))) == PACKETS_A_TAKE
    assert held_up.wait_s(3600.0) == 0


def test_synthetic_rate_and_times():
    """The rate asked for would not be the rate sent, or event times would not be now."""
    now_ns = NOW_NS
    feed = SyntheticFeed(["A"], rate=200.0, event_types=["T"], clock_ns=lambda: now_ns)
    elements = []
    for step in range(101):
        now_ns = NOW_NS + step * 50_000_000
        for packet in feed.take(step * 0.05):
            for element in packet.elements:
                tick = json.loads(element)
                assert tick["t"] == now_ns // 1_000_000
                elements.append(tick)
    assert len(elements) == 1000
    assert not feed.finite
    assert feed.wait_s(5.0) > 0


@given(
    factor=st.floats(1, 50),
    every_s=st.floats(1, 100),
    decay_s=st.floats(0.1, 20),
    times=st.lists(st.floats(0, 500), min_size=2),
)
@settings(max_examples=50, deadline=None)
def test_bursts_never_turn_time_back(factor, every_s, decay_s, times):
    """The feed would stall, or flood, when a burst begins."""
    stretch = Bursts(factor=factor, every_s=every_s, decay_s=decay_s).stretch
    assert stretch(0) == 0
    for before, after in pairwise(sorted(times)):
        grown = stretch(after) - stretch(before)
        assert after - before - 1e-6 <= grown <= factor * (after - before) + 1e-6


def test_burst_begins_at_its_factor():
    """A burst ten times as fast would be none."""
    stretch = Bursts(factor=10, every_s=60, decay_s=5).stretch
    for opening_s in (0, 60, 120):
        assert (stretch(opening_s + 0.01) - stretch(opening_s)) / 0.01 == pytest.approx(10, rel=0.01)


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: ReplayFeed([], speed=0), "speed"),
        (lambda: ReplayFeed([], speed=math.nan), "speed"),
        (lambda: SyntheticFeed(["A"], rate=0), "rate"),
        (lambda: SyntheticFeed(["A"], count=-1), "count"),
        (lambda: SyntheticFeed(["A"], slot_s=0), "slot_s"),
        (lambda: SyntheticFeed(["A"], event_types=["X"]), "event_types"),
        (lambda: Bursts(factor=0.5), "factor"),
        (lambda: Bursts(every_s=0), "every_s"),
    ],
)
def test_bad_arguments_are_named(make, named):
    """A simulator would start and send nothing."""
    with pytest.raises(ValueError, match=named):
        make()
