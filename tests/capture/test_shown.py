"""What captures promise, end to end: a session over real sockets, recorded, replayed and recorded again."""

import gzip
import json
import os
from pathlib import Path

import pytest

from pipeline import build_pipeline
from pipeline.capture import load_ticks
from pipeline.capture.survey import survey
from pipeline.massive.simulator import Options, ReplayFeed, Simulator
from pipeline.massive.simulator.feeds import read_recording
from tests.capture.worlds import of_feed, recorded_frames, replay, row_of, write_session
from tests.conftest import wait_until
from tests.integration.harness import config_for

SESSION = os.environ.get("TICKBRAID_SESSION_FILE", "")
"""A recorded session of real market data, as `write_session` makes one; may be gzipped."""


def elements_of(path):
    """Return the elements of a session, in their order."""
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as lines:
        return [element for line in lines for element in json.loads(line)["frame"]]


def record(session, directory, speed, timeout_s=30.0):
    """Serve a session to a stream that records, and return the elements of the session."""
    elements = elements_of(session)
    symbols = sorted({element["sym"] for element in elements})
    with Simulator([ReplayFeed(read_recording(session), speed=speed)], Options(start_after=1)) as simulator:
        config = config_for(simulator, symbols, CAPTURE_PATH=str(directory))
        with build_pipeline(config) as stream:
            stream.batches.subscribe()
            assert simulator.finished.wait(timeout_s)
            wait_until(
                lambda: stream.account("capture").delivered == len(elements), 20, "every tick recorded"
            )
    return elements


def check(elements, first, second):
    """Compare a capture with its session one by one, and the capture of its replay with it."""
    ticks = load_ticks(first)
    wanted = [row_of(element) for element in elements]
    assert ticks.select(list(wanted[0])).rows() == [tuple(row.values()) for row in wanted]
    assert ticks["received_ns"].is_sorted()
    assert (ticks["decoded_ns"] >= ticks["received_ns"]).all()
    assert (ticks["delivered_ns"] >= ticks["decoded_ns"]).all()
    _, accounts, _ = replay(first, CAPTURE_PATH=str(second))
    assert {account.delivered for each in accounts.values() for account in each.values()} == {len(elements)}
    assert of_feed(second).equals(of_feed(first))
    assert recorded_frames(second).equals(recorded_frames(first))
    assert not survey(first).damage
    assert not survey(second).damage


def test_a_session_is_recorded_tick_by_tick_and_replayed_to_the_same_capture(tmp_path):
    """A quant would compute on prices, sizes, times or an order that the feed never sent."""
    write_session(session := tmp_path / "session.jsonl")
    elements = record(session, tmp_path / "first", speed=50)
    check(elements, tmp_path / "first", tmp_path / "second")


@pytest.mark.skipif(not SESSION, reason="TICKBRAID_SESSION_FILE names no recorded session")
@pytest.mark.timeout(600)
def test_a_real_session_is_recorded_tick_by_tick_and_replayed_to_the_same_capture(tmp_path):
    """What holds for made data might not for what a market really does."""
    speed = float(os.environ.get("TICKBRAID_SESSION_SPEED", "50"))
    session = Path(SESSION)
    packets = list(read_recording(session))
    seconds = (packets[-1].at_us - packets[0].at_us) / 1e6 / speed
    elements = record(session, tmp_path / "first", speed, seconds + 60)
    check(elements, tmp_path / "first", tmp_path / "second")
