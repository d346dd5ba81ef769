"""What weighs how much: a tick in flight, and what `dedupe` remembers.

    python -m benchmarks.memory

Counted by tracemalloc, so without what the allocator keeps in reserve.
"""

import itertools
import tracemalloc
from collections.abc import Iterator
from typing import Any, Final

from benchmarks.stages import Source
from benchmarks.table import print_table
from benchmarks.templates import CHUNK_BYTES, TICKERS, massive
from operators.dedupe import dedupe
from pipeline.identity import Seen
from pipeline.massive.decode import decode_message
from pipeline.massive.framing import FrameSplitter
from pipeline.ticks import TickBatch
from pipeline.tracks import Tracks

__all__ = ["lines"]

EVENTS: Final = 100
IN_FLIGHT: Final = 100_000
KEYS: Final = (100_000, 1_000_000)


def lines() -> Iterator[str]:
    """Measure and tell, a Markdown line at a time."""
    yield "| memory | bytes a tick | MB |"
    yield "|---|--:|--:|"
    messages, wire_bytes = [], 0
    for batch in itertools.islice(_messages(), IN_FLIGHT // EVENTS):
        messages.append(batch)
        wire_bytes += len(batch)
    yield _row(f"{IN_FLIGHT:,} ticks not yet decoded", wire_bytes, IN_FLIGHT)
    tracemalloc.start()
    ticks = [decode_message(message)[0] for message in messages]
    yield _row(f"{IN_FLIGHT:,} ticks in flight", tracemalloc.get_traced_memory()[0], IN_FLIGHT)
    tracemalloc.stop()
    del ticks, messages
    for keys in KEYS:
        yield _row(f"`dedupe` that remembers {keys:,} ticks", _dedupe_bytes(keys), keys)


def _dedupe_bytes(keys: int) -> int:
    """Return what its memory weighs once a window of so many ticks is full; it grows to about twice that."""
    source = Source()
    source.pipe(dedupe(lambda: Seen(keys, Tracks()))).subscribe(lambda _: None)
    tracemalloc.start()
    for message in itertools.islice(_messages(), keys // EVENTS):
        ticks: list[Any] = decode_message(message)[0]
        source.observer.on_next(TickBatch(connection="primary", received_ns=1, ticks=ticks))
    del ticks, message
    weight = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return weight


def _messages() -> Iterator[bytes]:
    """Yield messages in which no identity comes twice."""
    for serial in itertools.count(100_000):
        for chunk in massive(TICKERS, EVENTS, CHUNK_BYTES):
            yield from FrameSplitter().feed(bytes(chunk.fill(serial)))


def _row(what: str, weight: int, ticks: int) -> str:
    return f"| {what} | {weight / ticks:,.0f} | {weight / 1e6:,.1f} |"


def main() -> None:
    """Print the table."""
    print_table(__doc__, lines())


if __name__ == "__main__":
    main()
