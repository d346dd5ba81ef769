"""A queue of batches with a limit in ticks: what stays and what goes, without threads."""

from collections import deque
from collections.abc import Hashable, Mapping, MutableSequence
from typing import Any, Final

from operators.batch import Batch

from .accounting import Dropped

__all__ = ["Segment", "TickQueue"]

_GONE: Final = object()
"""Stands where a newer tick of the same key made an older one worthless."""


class Segment:
    """Holds what is left of one batch in the queue.

    Args:
        batch: as it came; other subscribers have it too, so it is never changed.
        ahead_ns: by so much the clock that says when it was received was ahead of the one that tells ages.
    """

    __slots__ = ("ahead_ns", "batch", "keys", "live", "start", "ticks")

    def __init__(self, batch: Batch, ahead_ns: int) -> None:
        self.batch = batch
        self.ahead_ns = ahead_ns
        self.ticks: MutableSequence[Any] = batch.ticks
        self.keys: list[Hashable | None] = []
        """Of its ticks; empty until a conflation asked for them."""
        self.start = 0
        """Ticks before it have left the queue."""
        self.live = len(batch.ticks)
        """Ticks still in the queue: those from ``start`` on that are not gone."""

    @property
    def since_ns(self) -> int:
        """When it was received, by the clock that tells ages."""
        return self.batch.received_ns - self.ahead_ns

    def remaining(self) -> Batch:
        """Return what is in the queue as a batch."""
        if self.live == len(self.batch.ticks):
            return self.batch
        return self.batch.with_ticks([tick for tick in self.ticks[self.start :] if tick is not _GONE])

    def skip(self, count: int) -> None:
        """Let the first live ticks leave the queue."""
        self.live -= count
        if not self.keys:
            self.start += count
            return
        while count:
            count -= self.ticks[self.start] is not _GONE
            self.start += 1

    def compact(self) -> None:
        """Let go of what is gone, and of the batch that holds it."""
        if not self.keys or self.live == len(self.ticks):
            return
        left = [
            (tick, key)
            for tick, key in zip(self.ticks[self.start :], self.keys[self.start :], strict=True)
            if tick is not _GONE
        ]
        self.ticks = [tick for tick, _ in left]
        self.keys = [key for _, key in left]
        self.start = 0
        self.batch = self.batch.with_ticks(())


class TickQueue:
    """Queue batches, counting and cutting them by the tick.

    Not thread-safe: `buffered` calls it under its lock. A batch leaves as the object it came as, unless
    some of its ticks went before it; then as ``batch.with_ticks(...)``.

    Args:
        capacity: ticks that may wait; `append` goes over it, and the caller sees to that.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.size = 0
        """Ticks in the queue."""
        self._segments: deque[Segment] = deque()
        self._newest: dict[Hashable, tuple[Segment, int]] = {}
        self._gone = 0
        self._losses: dict[tuple[str, str], list[int]] = {}

    def append(self, batch: Batch, ahead_ns: int = 0) -> None:
        """Put in a batch, whether it fits or not; see `Segment`."""
        self._segments.append(Segment(batch, ahead_ns))
        self.size += len(batch.ticks)

    def put(self, batch: Batch, ahead_ns: int = 0) -> int:
        """Put in as many of its first ticks as fit, and return how many."""
        room = max(self.capacity - self.size, 0)
        if room >= len(batch.ticks):
            self.append(batch, ahead_ns)
        elif room:
            self.append(batch.with_ticks(batch.ticks[:room]), ahead_ns)
        return min(room, len(batch.ticks))

    def take(self, ticks: int) -> list[Batch]:
        """Take the oldest batch, and those after it that make no more than ``ticks`` together."""
        taken: list[Batch] = []
        while self._segments:
            segment = self._segments[0]
            ticks -= segment.live
            if taken and ticks < 0:
                break
            if segment.live:
                taken.append(segment.remaining())
            self._pop()
        return taken

    def drop_oldest(self) -> None:
        """Drop the oldest ticks until the rest fits."""
        while (excess := self.size - self.capacity) > 0:
            segment = self._segments[0]
            self.lose(segment.batch, min(excess, segment.live), "overflow")
            if segment.live <= excess:
                self._pop()
            else:
                segment.skip(excess)
                self.size -= excess

    def drop_older(self, than_ns: int) -> None:
        """Drop the oldest batches as long as they came before a moment, by the clock that tells ages."""
        while self._segments and self._segments[0].since_ns < than_ns:
            self.lose(self._segments[0].batch, self._segments[0].live, "aged")
            self._pop()

    def clear(self) -> None:
        """Drop all, because the subscriber left."""
        while self._segments:
            self.lose(self._segments[0].batch, self._segments[0].live, "closed")
            self._pop()

    def lose(self, batch: Batch, count: int, reason: str) -> None:
        """Note that ticks of a batch are lost."""
        if not count:
            return
        at_ns = batch.received_ns
        loss = self._losses.setdefault((batch.connection, reason), [0, at_ns, at_ns])
        loss[0] += count
        loss[1] = min(loss[1], at_ns)
        loss[2] = max(loss[2], at_ns)

    def losses(self) -> list[Dropped]:
        """Return what was lost since the call before, one entry a connection and reason."""
        if not self._losses:
            return []
        losses, self._losses = self._losses, {}
        return [Dropped(connection, reason, *loss) for (connection, reason), loss in losses.items()]

    def unkeyed(self) -> list[Segment]:
        """Return the newest segments, those whose keys no conflation knows yet, oldest first."""
        found = []
        for segment in reversed(self._segments):
            if segment.keys:
                break
            found.append(segment)
        return found[::-1]

    def conflate(self, keys: Mapping[Segment, list[Hashable | None]]) -> None:
        """Keep only the newest tick of each key, in all segments whose keys are or were given.

        What went is marked, and an index leads to the newest of each key: a tick is looked at once, when
        its keys are given, not each time that the queue is full. Marks and index are swept when they
        outgrow the capacity, so the cost a tick stays constant and the memory bounded.

        Args:
            keys: of all the ticks of each segment that was `unkeyed`; None is never conflated.
        """
        newest = self._newest
        gone: dict[Segment, int] = {}
        for segment, its_keys in keys.items():
            if segment.keys or not segment.live:
                continue  # another thread gave its keys, or it was taken, while these were being found
            segment.keys = its_keys
            segment.ticks = list(segment.ticks)
            for index in range(segment.start, len(its_keys)):
                key = its_keys[index]
                if key is None:
                    continue
                older, at = newest.get(key, (segment, -1))
                newest[key] = segment, index
                if older.live and at >= older.start:  # else it has left the queue
                    older.ticks[at] = _GONE
                    older.live -= 1
                    gone[older] = gone.get(older, 0) + 1
        for segment, count in gone.items():
            self.size -= count
            self._gone += count
            self.lose(segment.batch, count, "conflated")
        if self._gone > self.capacity or len(newest) > 2 * self.capacity:
            self._sweep()

    def _sweep(self) -> None:
        self._segments = deque(segment for segment in self._segments if segment.live)
        self._gone = 0
        self._newest = {}
        for segment in self._segments:
            segment.compact()
            for index, key in enumerate(segment.keys):
                if key is not None:
                    self._newest[key] = segment, index

    def _pop(self) -> None:
        segment = self._segments.popleft()
        self.size -= segment.live
        segment.live = 0
        segment.ticks, segment.keys = [], []
        if self._newest and not self._segments:
            self._newest = {}
