"""Recording a stream: its reads as they came, with what happened in between, and its ticks as columns."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
from reactivex import abc
from reactivex.disposable import CompositeDisposable

from pipeline import status
from pipeline.massive.frames import Frames
from pipeline.sinks.sink import CAPTURE, DELIVERED, Outcome
from pipeline.status_stream import StatusStream
from pipeline.stream import TickStream
from pipeline.tap import Tap
from pipeline.ticks import TickBatch

from .columns import TickColumns
from .layout import FRAMES, KINDS, TICKS, Folder
from .parts import Parts
from .schema import FRAME_SCHEMA, STATUS, TICK_SCHEMA, Row, pack_reads
from .writer import Writer

__all__ = ["BUFFER_TICKS", "ROTATE_ROWS", "ROTATE_S", "CaptureSink", "capture"]

ROTATE_S: Final = 60.0
ROTATE_ROWS: Final = 500_000
BUFFER_TICKS: Final = 200_000
FRAMES_BUFFER_BYTES: Final = 64 * 1024 * 1024
ROW_BYTES: Final = 128
"""What a read takes in the buffer beside its messages."""
READY_ROWS: Final = 50_000
"""Ticks, packed, that may wait for their file beside those in the sink's buffer."""
TELL_EVERY_S: Final = 1.0


def capture(
    stream: TickStream,
    path: Path | str,
    *,
    kinds: Collection[str] = KINDS,
    rotate_s: float = ROTATE_S,
    rotate_rows: int = ROTATE_ROWS,
    buffer_ticks: int = BUFFER_TICKS,
) -> abc.DisposableBase:
    """Record a stream into a directory, from now until it is disposed or the stream ends; from any thread.

    It is a subscriber, so it starts a stream that nobody has started: subscribe to ``stream.status`` before.
    It never makes the stream wait: what it has no room for is dropped, counted and announced.

    Args:
        stream: whose.
        path: the directory, made if it is not there; one recording at a time.
        kinds: ``frames`` (for an exact replay; only before the stream runs), ``ticks`` (for queries) or both.
        rotate_s: a file so old is finished; a process that is killed loses so much at most.
        rotate_rows: a file with so many rows is finished.
        buffer_ticks: that may wait.

    Raises:
        CaptureUnusable: somebody else records into the directory, or it cannot be written.
        Closed: the stream was closed.
        ValueError: an argument is out of its range.
    """
    if FRAMES in kinds and stream.tap.flowing:
        raise ValueError(
            "kinds must not have frames, since the stream runs already: capture before, or ticks"
        )
    sink = CaptureSink(
        path, stream.tap, stream.status, kinds=kinds, rotate_s=rotate_s, rotate_rows=rotate_rows
    )
    try:
        return stream.attach(sink, capacity=buffer_ticks, overflow="drop_oldest")
    except BaseException:
        sink.close()
        raise


class CaptureSink:
    """Records reads, status events and ticks; see `capture`. Made before the stream runs.

    Ticks come by `write`, the others from the stream's ``tap`` and its status. Where ticks are not recorded
    those that pass count as delivered.

    Args:
        path: the directory.
        tap: shows the reads.
        status_stream: whose events are recorded, and where losses and failures are told.
        kinds: as `capture` has them.
        rotate_s: as above.
        rotate_rows: as above.
        waits: a read waits for room, on ``tickbraid-io``: for a replay only, where there is no socket.
        clock: wall clock, ns.

    Raises:
        CaptureUnusable: somebody else records into the directory, or it cannot be written.
        ValueError: an argument is out of its range.
    """

    def __init__(
        self,
        path: Path | str,
        tap: Tap,
        status_stream: StatusStream,
        *,
        kinds: Collection[str] = KINDS,
        rotate_s: float = ROTATE_S,
        rotate_rows: int = ROTATE_ROWS,
        waits: bool = False,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        if not kinds or not set(kinds) <= set(KINDS):
            raise ValueError(f"kinds must be of {', '.join(KINDS)}, not {', '.join(kinds) or 'nothing'}")
        if not rotate_s > 0 or rotate_rows < 1:
            raise ValueError("rotate_s and rotate_rows must be above 0")
        self.name = CAPTURE
        self._status = status_stream
        self._clock = clock
        self._columns = TickColumns(clock)
        self._failed: dict[str, str] = {}
        self._sources = CompositeDisposable()
        self._folder = Folder(path)
        self._ticks: Writer[Any] | None = None
        self._frames: _FrameRecorder | None = None

        def parts(kind: str, schema: Any) -> Parts:
            return Parts(self._folder, kind, schema, rotate_rows=rotate_rows, rotate_s=rotate_s)

        try:
            self._begin(kinds, parts, tap, waits=waits)
        except BaseException:
            self.close()  # there was no thread for the second, say: the first must not keep the directory
            raise

    def _begin(
        self, kinds: Collection[str], parts: Callable[[str, Any], Parts], tap: Tap, *, waits: bool
    ) -> None:
        if TICKS in kinds:
            self._ticks = Writer(
                TICKS,
                parts(TICKS, TICK_SCHEMA),
                self._columns.join,
                capacity=READY_ROWS,
                on_failure=lambda error, rows: self._fail(TICKS, error, rows),
            )
        if FRAMES in kinds:
            self._frames = _FrameRecorder(
                parts(FRAMES, FRAME_SCHEMA), self._fail, self._status.emit, waits=waits, clock=self._clock
            )
            self._sources.add(tap.look(self._frames.see))
            self._sources.add(self._status.overhear(self._frames.hear))

    def write(self, batches: Sequence[TickBatch]) -> Outcome:
        """Make columns of the ticks and hand them to the thread that writes them."""
        if self._ticks is None:
            return DELIVERED
        if not self._ticks.stopped:
            rows, rejected = self._columns.make(batches)
            if not rows.num_rows or self._ticks.put(rows, rows.num_rows):
                return Outcome(rejected) if rejected else DELIVERED
        dropped: Counter[str] = Counter()
        for batch in batches:
            dropped[batch.connection] += len(batch.ticks)
        return Outcome(dropped=dropped)

    def stop(self) -> None:
        """Take no more ticks; those taken are still written."""
        if self._ticks is not None:
            self._ticks.stop()

    def close(self) -> None:
        """Write what waits, finish the files and let go of the directory."""
        self._sources.dispose()
        if self._ticks is not None:
            self._ticks.close()
        if self._frames is not None:
            self._frames.writer.close()
        self._folder.close()

    def snapshot(self) -> dict[str, Any]:
        """Return where it records to, what is finished there, and what went wrong.

        ``unfit`` counts values that their column could not hold: null stands in their place.
        """
        writers = {TICKS: self._ticks, FRAMES: self._frames and self._frames.writer}
        return {
            "state": "down" if self._failed else "up",
            "path": str(self._folder.path),
            "session": self._folder.session,
            "set_aside": len(self._folder.set_aside),
            "files": {kind: writer.parts.files for kind, writer in writers.items() if writer},
            "rows": {kind: writer.parts.rows for kind, writer in writers.items() if writer},
            "failed": dict(self._failed),
            "unfit": dict(self._columns.unfit),
        }

    def _fail(self, kind: str, error: BaseException, rows: int) -> None:
        words = getattr(error, "strerror", None) or str(error)
        self._failed[kind] = words
        reason = f"{words}; no more {kind} are recorded, and the last {rows:,} rows are lost"
        self._status.emit(status.SinkDown(at_ns=self._clock(), sink=self.name, reason=reason))


class _FrameRecorder:
    """Records reads and status events, in the order in which they happened.

    `see` runs on ``tickbraid-io``, `hear` on whatever thread emits.
    """

    def __init__(
        self,
        parts: Parts,
        on_failure: Callable[[str, BaseException, int], None],
        emit: Callable[[status.StatusEvent], None],
        *,
        waits: bool,
        clock: Callable[[], int],
    ) -> None:
        self._emit = emit
        self._clock = clock
        self._lock = threading.Lock()
        self._lost: dict[str, tuple[int, int, int]] = {}
        self._next_s = 0.0
        self.writer: Writer[Row] = Writer(
            FRAMES,
            parts,
            pack_reads,
            capacity=FRAMES_BUFFER_BYTES,
            on_failure=lambda error, rows: on_failure(FRAMES, error, rows),
            at_rest=self._tell,
        )
        self._take = self.writer.put if waits else self.writer.offer

    def see(self, frames: Frames) -> None:
        row = (FRAMES, frames.connection, frames.received_ns, frames.messages)
        if not self._take(row, frames.size_bytes + ROW_BYTES) and not self.writer.stopped:
            at_ns = frames.received_ns
            with self._lock:
                count, from_ns, _ = self._lost.get(frames.connection, (0, at_ns, at_ns))
                self._lost[frames.connection] = (count + frames.count_elements(), from_ns, at_ns)

    def hear(self, event: status.StatusEvent) -> None:
        message = msgspec.json.encode(event)
        self.writer.offer((STATUS, event.connection, event.at_ns, [message]), len(message) + ROW_BYTES)

    def _tell(self) -> None:
        """Announce what was dropped, once a second; on the writer's thread."""
        if not self._lost or (time.monotonic() < self._next_s and not self.writer.stopped):
            return
        self._next_s = time.monotonic() + TELL_EVERY_S
        with self._lock:
            lost, self._lost = self._lost, {}
        for connection, (count, from_ns, to_ns) in lost.items():
            self._emit(
                status.Loss(
                    connection=connection,
                    at_ns=self._clock(),
                    where=CAPTURE,
                    reason="frames_overflow",
                    count=count,
                    from_ns=from_ns,
                    to_ns=to_ns,
                )
            )
