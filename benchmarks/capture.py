"""What recording costs, and how fast a capture is replayed, in one run.

    python -m benchmarks.capture

Recording: ticks in batches of 100, as columns into zstd Parquet files on this disk, beside the straight way
(a dict a tick, `RecordBatch.from_pylist`, one `ParquetWriter`). Replay: at full speed through the whole
stream, beside decoding the same messages alone. Shown are the least time of the rounds and the least CPU time
of the whole process, which other programs on the machine disturb least.
"""

import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import build_pipeline
from pipeline.capture.layout import FRAMES, TICKS, Folder
from pipeline.capture.parts import Parts
from pipeline.capture.record import CaptureSink
from pipeline.capture.schema import FRAME_SCHEMA, TICK_SCHEMA, pack_reads
from pipeline.market import SyntheticMarket
from pipeline.massive.decode import decode_message
from pipeline.status_stream import StatusStream
from pipeline.tap import Tap
from pipeline.ticks import TickBatch

__all__ = ["main"]

ROUNDS: Final = 3
TOTAL: Final = 1_000_000
EVENTS: Final = 100
MESSAGES: Final = 5
"""In a read, which is then about 64 KiB."""
START_MS: Final = 1_763_985_600_000


def make_reads() -> list[tuple[str, str, int, list[bytes]]]:
    """Return reads of three busy connections."""
    market = SyntheticMarket([f"SIM{n:03}" for n in range(100)], start_ms=START_MS, event_types=("T", "Q"))
    reads = []
    for number in range(TOTAL // (EVENTS * MESSAGES)):
        messages = [
            b"[" + b",".join(element for _, element in market.events(EVENTS, START_MS + number)) + b"]"
            for _ in range(MESSAGES)
        ]
        reads.append((FRAMES, f"connection_{number % 3 + 1}", (START_MS + number) * 1_000_000, messages))
    return reads


def ticks_of(reads: list[tuple[str, str, int, list[bytes]]]) -> list[TickBatch]:
    """Return the ticks, a batch a message."""
    return [
        TickBatch(
            connection=connection, received_ns=at_ns, decoded_ns=at_ns, ticks=decode_message(message)[0]
        )
        for _, connection, at_ns, messages in reads
        for message in messages
    ]


def record(batches: list[TickBatch], path: Path) -> None:
    """Record them as the sink of a stream is given them, up to 2,000 ticks at once."""
    sink = CaptureSink(path, Tap(), StatusStream(), kinds=[TICKS])
    for start in range(0, len(batches), 20):
        sink.write(batches[start : start + 20])
    sink.close()


def record_by_hand(batches: list[TickBatch], path: Path) -> None:
    """Record them the straight way, up to 2,000 ticks at once."""
    names = [name for name in TICK_SCHEMA.names if name not in {"connection", "size", "event_ns"}]
    with pq.ParquetWriter(path / "by_hand.parquet", TICK_SCHEMA, compression="zstd") as writer:
        for start in range(0, len(batches), 20):
            rows: list[dict[str, Any]] = [
                {name: getattr(tick, name, None) for name in names}
                | {"connection": batch.connection, "size": tick.volume, "event_ns": tick.event_ms * 1_000_000}
                for batch in batches[start : start + 20]
                for tick in batch.ticks
            ]
            writer.write_batch(pa.RecordBatch.from_pylist(rows, schema=TICK_SCHEMA))


def replay(path: Path) -> None:
    """Replay a capture as fast as possible."""
    done = threading.Event()
    with build_pipeline({"REPLAY_PATH": str(path), "REPLAY_SPEED": "max"}) as stream:
        stream.batches.subscribe(on_completed=done.set)
        done.wait()
        account = stream.account()
    if (account.delivered, account.imbalance) != (TOTAL, 0):
        raise AssertionError(f"not every tick was delivered once: {account}")


def best(action: Callable[[], None]) -> tuple[float, float]:
    """Return the least time and the least CPU time of the rounds, s."""
    times, cpu_times = [], []
    for _ in range(ROUNDS):
        began_s, cpu_s = time.perf_counter(), time.process_time()
        action()
        times.append(time.perf_counter() - began_s)
        cpu_times.append(time.process_time() - cpu_s)
    return min(times), min(cpu_times)


def main() -> None:
    """Measure and print."""
    reads = make_reads()
    batches = ticks_of(reads)

    def decode() -> None:
        for _, _, _, messages in reads:
            for message in messages:
                decode_message(message)

    def recording(how: Callable[[list[TickBatch], Path], None]) -> Callable[[], None]:
        def action() -> None:
            with tempfile.TemporaryDirectory(dir=".") as directory:
                how(batches, Path(directory))

        return action

    with tempfile.TemporaryDirectory(dir=".") as directory:
        folder = Folder(directory)
        parts = Parts(folder, FRAMES, FRAME_SCHEMA, rotate_rows=500_000, rotate_s=3600)
        for start in range(0, len(reads), 20):
            parts.append(pack_reads(reads[start : start + 20]))
        parts.finish()
        folder.close()
        figures = {
            "record ticks": best(recording(record)),
            "record ticks by hand": best(recording(record_by_hand)),
            "replay frames at max": best(lambda: replay(Path(directory))),
            "decode the same, alone": best(decode),
        }
    for name, (seconds, cpu_s) in figures.items():
        print(f"{name:26}{TOTAL / seconds:>14,.0f} ticks/s{cpu_s / TOTAL * 1e6:>10.2f} CPU µs/tick")


if __name__ == "__main__":
    main()
