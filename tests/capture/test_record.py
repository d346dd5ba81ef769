import os
import random
import signal
import subprocess
import sys
import threading

import pytest

from pipeline import build_pipeline, status
from pipeline.capture import capture, load_ticks
from pipeline.capture.layout import FRAMES, TICKS, parts
from pipeline.capture.record import CaptureSink
from pipeline.capture.survey import survey
from pipeline.errors import CaptureUnusable
from pipeline.massive.frames import Frames
from pipeline.sinks.sink import DELIVERED
from pipeline.status_stream import StatusStream
from pipeline.tap import Tap
from pipeline.ticks import Quote, SecondAggregate, TickBatch, Trade
from tests.capture.worlds import (
    DEADLINE_S,
    START_MS,
    make_capture,
    of_feed,
    recorded_frames,
    replay,
    some_reads,
)
from tests.conftest import wait_until

SYNTHETIC = {
    "SYNTHETIC_UPDATE_INTERVAL": 0.005,
    "MASSIVE_EVENT_TYPES": "T,Q,A",
    "WEBSOCKET_CONNECTION_1_SYMBOLS": "AAPL,MSFT",
}
KILLS = 20
RECORDERS = """
import os, sys, time
import pipeline.capture
from pipeline import build_pipeline
config = {"SYNTHETIC_UPDATE_INTERVAL": 0.001, "MASSIVE_EVENT_TYPES": "T,Q", "CAPTURE_PATH": sys.argv[1],
          "WEBSOCKET_CONNECTION_1_SYMBOLS": "AAPL,MSFT,AMZN", "CAPTURE_ROTATE_ROWS": 40}
for line in sys.stdin:
    pid = os.fork()
    if not pid:
        stream = build_pipeline(config | {"SYNTHETIC_SEED": line.strip()})
        stream.batches.subscribe()
        time.sleep(60)
    print(pid, flush=True)
    print(os.waitpid(pid, 0)[1], flush=True)
"""
"""Makes one recorder after the other, without what the start of a process takes."""
FULL_DISK = """
import resource, signal, sys, threading
from pipeline import build_pipeline
from pipeline.status import SinkDown
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
down, ticks, events = threading.Semaphore(0), threading.Event(), []
stream = build_pipeline({"SYNTHETIC_UPDATE_INTERVAL": 0.001, "MASSIVE_EVENT_TYPES": "T,Q",
                         "CAPTURE_PATH": sys.argv[1],
                         "WEBSOCKET_CONNECTION_1_SYMBOLS": "AAPL,MSFT", "CAPTURE_ROTATE_ROWS": 100_000,
                         "CAPTURE_ROTATE_S": 0.3})
stream.status.subscribe(lambda e: (events.append(e), down.release()) if isinstance(e, SinkDown) else None)
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))
stream.batches.subscribe(lambda batch: ticks.set())
assert down.acquire(timeout=20) and down.acquire(timeout=20)
ticks.clear()
assert ticks.wait(20)
print(stream.health()["subscribers"]["capture"]["sink"]["state"])
account = stream.account("capture")
stream.close()
print(account.imbalance, stream.account("batches").dropped, stream.account("capture").dropped > 0)
print("\\n".join(event.describe() for event in events))
"""


def python(program, *arguments, **options):
    """Start a program of ours."""
    return subprocess.Popen(  # noqa: S603  # our own interpreter
        [sys.executable, "-c", program, *map(str, arguments)], stdout=subprocess.PIPE, text=True, **options
    )


def test_twenty_kills_at_random_moments_cost_what_was_open_and_nothing_else(tmp_path):
    """After a power cut a capture would be unreadable, or tell some ticks twice."""
    moments = random.Random(7)
    with python(RECORDERS, tmp_path, stdin=subprocess.PIPE) as recorders:
        for run in range(KILLS):
            known = len(parts(tmp_path, TICKS))
            recorders.stdin.write(f"{run}\n")
            recorders.stdin.flush()
            pid = int(recorders.stdout.readline())
            try:
                # Nobody chose the moment: before the first file, or somewhere in the one after so many.
                files = known + moments.randrange(4)
                wait_until(lambda: len(parts(tmp_path, TICKS)) >= files, DEADLINE_S)  # noqa: B023  # now
                threading.Event().wait(moments.random() / 50)
            finally:
                os.kill(pid, signal.SIGKILL)
            assert int(recorders.stdout.readline()) == signal.SIGKILL
        recorders.stdin.close()
    found = survey(tmp_path)
    assert found.damage == ()
    assert all(session.missing == () for session in found.sessions)
    for kind in (TICKS, FRAMES):
        lost = [path for path in found.unfinished if path.parents[2].name == kind]
        assert len(lost) <= KILLS, "at most one a kill"
    rows = load_ticks(tmp_path)
    assert rows.height >= KILLS
    # Of a market a sequence number is there once, and no two markets ran at the same time.
    assert rows.select("ticker", "event_type", "sequence", "event_ns").is_unique().all()


def test_a_full_disk_is_an_event_and_ends_the_capture_alone(tmp_path):
    """The disk of a trading machine runs full, and with the capture the trading would stop."""
    with python(FULL_DISK, tmp_path, stderr=subprocess.PIPE) as process:
        out, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0, err
    state, account, *events = out.splitlines()
    assert (state, account) == ("down", "0 0 True")
    assert len(events) == 2
    for kind in (FRAMES, TICKS):
        assert any(f"File too large; no more {kind} are recorded" in event for event in events)
    assert survey_or_none(tmp_path) in (None, ())


def survey_or_none(path):
    """Return the damage of a capture, None where there is no file."""
    try:
        return survey(path).damage
    except CaptureUnusable:
        return None


def test_a_capture_joins_a_running_stream_and_leaves_it(tmp_path):
    """A quant who records a quarter of an hour would have to stop trading for it."""
    ticks = []
    with build_pipeline(SYNTHETIC) as stream:
        stream.subscribe(ticks.append)
        wait_until(lambda: ticks)
        with pytest.raises(ValueError, match="kinds must not have frames"):
            capture(stream, tmp_path)
        recording = capture(stream, tmp_path, kinds=["ticks"])
        wait_until(lambda: stream.account("capture").delivered > 10)
        with pytest.raises(CaptureUnusable, match="records into"):
            capture(stream, tmp_path, kinds=["ticks"])
        recording.dispose()
        delivered = stream.account("capture").delivered
        seen = len(ticks)
        wait_until(lambda: len(ticks) > seen)
    assert load_ticks(tmp_path).height == delivered
    assert parts(tmp_path, FRAMES) == []


def test_closing_a_stream_that_has_ended_finishes_its_capture(tmp_path):
    """A capture of a replay would lack all that was in the open file."""
    make_capture(tmp_path / "one", some_reads())
    with build_pipeline({"REPLAY_PATH": str(tmp_path / "one"), "REPLAY_SPEED": "max"}) as stream:
        capture(stream, tmp_path / "two")
        (outlet,) = stream._outlets.known
        assert outlet.ended.wait(DEADLINE_S)
    assert load_ticks(tmp_path / "two").height == stream.account("capture").delivered > 0


def test_reads_and_events_are_recorded_in_their_order(tmp_path):
    """A replay would tell of a disconnection before the ticks that came ahead of it."""
    tap, events = Tap(), StatusStream()
    sink = CaptureSink(tmp_path, tap, events, kinds=[FRAMES])
    for number in range(0, 100, 2):
        see(tap, Frames("connection_1", number, [b"[]"], 2))
        events.emit(status.BackOff(connection="connection_1", at_ns=number + 1, delay_s=1.0, attempt=1))
    assert sink.write([TickBatch(connection="connection_1", received_ns=1, ticks=[])]) == DELIVERED
    sink.close()
    sink.close()
    (session,) = survey(tmp_path).sessions
    assert (session.rows, session.kind) == (100, FRAMES)
    events.complete()
    wait_until(lambda: not events._delivering)
    assert recorded_frames(tmp_path)["received_ns"].to_list() == list(range(0, 100, 2))


def see(tap, frames):
    """Let a read go by."""
    for look in tap._seers:
        look(frames)


def test_reads_that_find_no_room_are_counted_and_announced(tmp_path, monkeypatch):
    """An exact replay would lack ticks, and nobody would know that it does."""
    monkeypatch.setattr("pipeline.capture.record.FRAMES_BUFFER_BYTES", 1000)
    tap, events, told = Tap(), StatusStream(), []
    events.subscribe(told.append)
    gate = threading.Event()
    monkeypatch.setattr("pipeline.capture.parts.Parts.append", lambda *_: gate.wait(10))
    sink = CaptureSink(tmp_path, tap, events, kinds=[FRAMES])
    for number in range(50):
        see(tap, Frames("connection_1", 100 + number, [b'[{"ev":"T"}]'], 900))
    gate.set()
    sink.close()
    wait_until(lambda: told)
    events.complete()
    losses = [(e.where, e.reason, e.connection) for e in told]
    assert set(losses) == {("capture", "frames_overflow", "connection_1")}
    assert sum(e.count for e in told) in (48, 49)
    assert told[-1].to_ns == 149


def test_a_value_that_no_column_holds_is_null_and_counted_and_the_rest_recorded(tmp_path):
    """One garbled number would cost a capture all that came with it."""
    sink = CaptureSink(tmp_path, Tap(), StatusStream(), kinds=[TICKS], clock=lambda: 7)
    good = Trade(ticker="AAPL", price=1.5, size=10, event_ms=START_MS, sequence=1)
    huge = Quote(ticker="AAPL", bid=1, ask=2, event_ms=START_MS, sequence=2**70)
    outcome = sink.write(
        [TickBatch(connection="c", received_ns=START_MS * 10**6, decoded_ns=5, ticks=[good, huge, good])]
    )
    assert (outcome.rejected, outcome.dropped) == ({}, {})
    assert sink.snapshot()["unfit"] == {"sequence": 1}
    sink.stop()
    outcome = sink.write([TickBatch(connection="c", received_ns=1, ticks=[good])])
    assert outcome.dropped == {"c": 1}
    sink.close()
    rows = load_ticks(tmp_path)
    assert rows["sequence"].to_list() == [1, None, 1]
    assert set(rows["delivered_ns"]) == {7}
    assert set(rows["decoded_ns"]) == {5}


def test_bars_have_their_columns_beside_trades_that_have_none(tmp_path):
    """A chart of the capture would have no high and low, or a trade those of a bar."""
    sink = CaptureSink(tmp_path, Tap(), StatusStream(), kinds=[TICKS])
    trade = Trade(ticker="AAPL", price=1.5, size=10, event_ms=START_MS)
    bar = SecondAggregate(ticker="AAPL", tick_close=2, tick_high=3, event_ms=START_MS, tick_volume=70)
    for ticks in ([trade], [trade, bar]):
        sink.write([TickBatch(connection="c", received_ns=START_MS * 10**6, ticks=ticks)])
    sink.close()
    rows = load_ticks(tmp_path, columns=["event_type", "price", "size", "tick_high", "tick_low"])
    assert rows.rows() == [("T", 1.5, 10, None, None)] * 2 + [("A", 2, 70, 3, None)]


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"kinds": []}, "kinds"),
        ({"kinds": ["quotes"]}, "kinds"),
        ({"rotate_s": 0}, "rotate_s"),
        ({"rotate_rows": 0}, "rotate_rows"),
    ],
)
def test_wrong_arguments_are_named_before_anything_is_locked(tmp_path, wrong, word):
    """A typing mistake would record nothing, all day long."""
    with build_pipeline(SYNTHETIC) as stream, pytest.raises(ValueError, match=word):
        capture(stream, tmp_path, **wrong)
    assert list(tmp_path.iterdir()) == []


def test_a_directory_in_use_ends_the_subscription_with_a_sentence(tmp_path):
    """A second `tickbraid run --record` would run on and record nothing, or run without saying why not."""
    errors = []
    with build_pipeline(SYNTHETIC | {"CAPTURE_PATH": str(tmp_path)}) as first:
        first.batches.subscribe()
        with build_pipeline(SYNTHETIC | {"CAPTURE_PATH": str(tmp_path)}) as second:
            second.subscribe(print, errors.append)
            assert second.accounts() == {} or not second.account("callback").received
    assert "already" in str(errors[0])
    assert isinstance(errors[0], CaptureUnusable)


def test_the_capture_of_a_fast_replay_is_whole_though_its_buffer_is_small(tmp_path):
    """A capture of a replay would lack what the disk was too slow for, another part each time."""
    make_capture(tmp_path / "one", some_reads(400))
    replay(tmp_path / "one", CAPTURE_PATH=str(tmp_path / "two"), CAPTURE_BUFFER_TICKS=10)
    replay(tmp_path / "one", CAPTURE_PATH=str(tmp_path / "three"))
    assert of_feed(tmp_path / "two").equals(of_feed(tmp_path / "three"))
