"""What the tests of reports share: ticks with latencies, and a capture of a session with a gap."""

import random

import msgspec
import polars as pl

from pipeline import status
from pipeline.capture.layout import FRAMES, Folder
from pipeline.capture.parts import Parts
from pipeline.capture.schema import FRAME_SCHEMA, STATUS, pack_reads
from tests.capture.worlds import START_MS, replay, some_reads

MS = 1_000_000
START_NS = START_MS * MS
GAPS = (
    status.Gap("AAPL", START_NS + 20 * MS, START_NS + 70 * MS),
    status.Gap("MSFT", START_NS + 30 * MS, START_NS + 60 * MS),
)


def some_ticks(count=3000, seed=5):
    """Return ticks of three connections and six tickers, the first of which has the most."""
    random_source = random.Random(seed)
    rows = []
    for number in range(count):
        event_ns = START_NS + number * 4 * MS
        times = [event_ns]
        for mean_ms in (8, 0.4, 1):
            times.append(times[-1] + round(random_source.expovariate(1 / mean_ms) * MS))
        ticker = f"T{min(random_source.randrange(6), random_source.randrange(6))}"
        rows.append((f"connection_{number % 3 + 1}", ticker, *times))
    names = ["connection", "ticker", "event_ns", "received_ns", "decoded_ns", "delivered_ns"]
    return pl.DataFrame(rows, schema=names, orient="row")


def some_bars(seconds=120, apart_s=1, tickers=5):
    """Return bars as they come by default: two seconds after their end, some again a minute later."""
    rows = []
    for second in range(0, seconds, apart_s):
        for number in range(tickers):
            end_ns = START_NS + second * 1000 * MS
            rows.append(("connection_1", f"T{number}", "A", end_ns, end_ns + 2000 * MS + number * MS))
            if second >= 60:
                revised_ns = end_ns - 60_000 * MS
                rows.append(("connection_1", f"T{number}", "A", revised_ns, end_ns + 2000 * MS))
    names = ["connection", "ticker", "event_type", "event_ns", "received_ns"]
    return pl.DataFrame(rows, schema=names, orient="row").with_columns(
        decoded_ns=pl.col("received_ns") + MS, delivered_ns=pl.col("received_ns") + 2 * MS
    )


def record_frames(path):
    """Write a frames capture of two connections, some of it twice, with one loss."""
    folder = Folder(path)
    parts = Parts(folder, FRAMES, FRAME_SCHEMA, rotate_rows=1000, rotate_s=3600)
    for connection, received_ns, messages in some_reads():
        parts.append(pack_reads([(FRAMES, connection, received_ns, messages)]))
    loss = status.Loss.of_gaps("connection_1", received_ns + MS, GAPS)
    parts.append(pack_reads([(STATUS, loss.connection, loss.at_ns, [msgspec.json.encode(loss)])]))
    parts.finish()
    folder.close()


def record_session(path):
    """Write a capture of frames and ticks, and return the account of its ticks, by connection."""
    source = path.with_name(f"{path.name}-source")
    record_frames(source)
    _, accounts, _ = replay(source, CAPTURE_PATH=str(path))
    return accounts["capture"]


def ticks_file(path):
    """Return the only file of ticks of a capture."""
    (file,) = (path / "ticks").rglob("*.parquet")
    return file
