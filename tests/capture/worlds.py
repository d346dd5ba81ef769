"""What the tests of captures share: recorded sessions, and streams of them."""

import json
import threading

import polars as pl

from pipeline import build_pipeline
from pipeline.capture import load_ticks
from pipeline.capture.layout import FRAMES, Folder
from pipeline.capture.parts import Parts
from pipeline.capture.schema import FRAME_SCHEMA, pack_reads
from pipeline.market import SyntheticMarket

DEADLINE_S = 30.0
START_MS = 1_763_913_600_000
OURS = ("decoded_ns", "delivered_ns")
"""The times that are of the machine and the run, and not of the feed."""


def write_session(path, frames=300, tickers=("AMZN", "AAPL"), seed=1):
    """Write a session like those of real data: JSON lines with a time and a frame; return its elements."""
    market = SyntheticMarket(tickers, seed=seed, start_ms=START_MS, event_types=("T", "Q"))
    elements = []
    with path.open("w") as file:
        for number in range(frames):
            now_ms = START_MS + 7 * number
            frame = [json.loads(element) for _, element in market.events(1 + number % 5, now_ms)]
            elements += frame
            file.write(json.dumps({"at_us": now_ms * 1000, "frame": frame}) + "\n")
    return elements


def row_of(element):
    """Return what a capture has to hold of an element of a session."""
    trade = element["ev"] == "T"
    bid, ask = element.get("bp"), element.get("ap")
    size = element.get("s") or float(element.get("ds", 0)) if trade else None
    mid = (bid + ask) / 2 if bid and ask else bid or ask
    return {
        "ticker": element["sym"],
        "event_type": element["ev"],
        "price": element["p"] if trade else mid,
        "size": size,
        "bid": bid,
        "bid_size": None if trade else element.get("bs"),
        "ask": ask,
        "ask_size": None if trade else element.get("as"),
        "event_ns": round(element["t"] * 1_000_000),
        "sequence": element.get("q"),
    }


def make_capture(path, reads, rows_a_file=100_000):
    """Write a frames capture of (connection, received_ns, messages) without a stream."""
    folder = Folder(path)
    parts = Parts(folder, FRAMES, FRAME_SCHEMA, rotate_rows=rows_a_file, rotate_s=3600)
    for connection, received_ns, messages in reads:
        parts.append(pack_reads([(FRAMES, connection, received_ns, messages)]))
    parts.finish()
    folder.close()


def some_reads(count=60, connections=2, step_ns=2_000_000, seed=3):
    """Return reads of trades and quotes, every third of which comes twice, as with redundant connections."""
    market = SyntheticMarket(["AAPL", "MSFT", "BRK.B"], seed=seed, start_ms=START_MS)
    reads = []
    for number in range(count):
        now_ns = START_MS * 1_000_000 + number * step_ns
        message = b"[" + b",".join(e for _, e in market.events(1 + number % 7, now_ns // 1_000_000)) + b"]"
        reads.append((f"connection_{number % connections + 1}", now_ns, [message]))
        if number % 3 == 0:
            reads.append((f"connection_{(number + 1) % connections + 1}", now_ns + 1000, [message]))
    return reads


def replay(path, *, speed="max", **settings):
    """Replay a capture to the end; return what a subscriber was given, the account and the events."""
    ticks, events, errors, done = [], [], [], threading.Event()

    def fail(error):
        errors.append(error)
        done.set()

    with build_pipeline({"REPLAY_PATH": str(path), "REPLAY_SPEED": speed, **settings}) as stream:
        stream.status.subscribe(events.append)
        stream.subscribe(ticks.append, fail, done.set)
        assert done.wait(DEADLINE_S)
    if errors:
        raise errors[0]
    return ticks, stream.accounts(), events


def of_feed(path):
    """Return what a ticks capture says of the feed, without what is of the machine that recorded it."""
    return load_ticks(path).drop(OURS)


def recorded_frames(path):
    """Return the rows of the frames of a capture, in their order."""
    files = sorted((path / FRAMES).rglob("*.parquet"), key=lambda file: file.name)
    return pl.read_parquet(files, hive_partitioning=False).filter(pl.col("kind") == FRAMES)
