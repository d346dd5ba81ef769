"""The two ends of a bounded hand-off: one thread offers batches, another is given them."""

from collections.abc import Callable, Hashable
from functools import partial
from typing import Any, Final, Literal

from reactivex import abc

from operators.batch import Batch, refuse
from operators.errors import BufferOverflow
from operators.isolation import ends_the_program
from operators.runtime import Runtime
from operators.throttled_log import ThrottledLog

from .accounting import BufferAccounting, Dropped
from .tick_queue import Segment, TickQueue

__all__ = ["Buffer", "Overflow"]

Overflow = Literal["block", "drop_oldest", "drop_newest", "conflate", "error"]
BITE: Final = 64
"""Deliveries in one turn on the scheduler, which may serve others too."""


class Buffer:
    """Is one subscription of `buffered`, which says what the parameters mean.

    The source's thread calls ``on_next`` and its like, the scheduler runs ``_drain``, anyone calls ``close``.

    Everything that changes does so under one lock, the gauge's, so that the account is exact. The loop
    that delivers is running or scheduled exactly while ``_draining`` is true.
    """

    def __init__(
        self,
        observer: abc.ObserverBase[Any],
        scheduler: Any,
        gauge: BufferAccounting,
        *,
        capacity: int,
        overflow: Overflow,
        on_drop: Callable[[Dropped], object] | None,
        conflate_key: Callable[[Any], Hashable | None] | None,
        gather: int,
        waits: bool,
        max_age_ns: int,
        name: str,
        runtime: Runtime,
    ) -> None:
        self._observer = observer
        self._scheduler = scheduler
        self._queue = TickQueue(capacity)
        self._overflow = overflow
        self._on_drop = on_drop
        self._conflate_key = conflate_key
        self._gather = gather
        self._waits = waits
        self._max_age_ns = max_age_ns
        self._clock = runtime.clock
        self._monotonic = runtime.monotonic
        self._ident = runtime.ident
        self._runtime = runtime
        self._gauge = gauge
        self._lock = gauge.lock
        self._room = runtime.condition(gauge.lock)
        self._waiting = 0
        self._draining = False
        self._consumer: int | None = None
        self._end: Callable[[], None] | None = None
        self._closed = False
        self._log = ThrottledLog(
            f"the subscriber behind {name!r} raised; it gets the next batch", runtime=runtime
        )
        self._drop_log = ThrottledLog(f"on_drop of {name!r} raised", runtime=runtime)

    def on_next(self, batch: Batch) -> None:
        """Take in a batch; with ``block``, wait until all of it is in."""
        try:
            rest = self._offer(batch, fresh=True)
        except AttributeError as error:
            self.on_error(refuse(batch, "buffered", error))
            return
        while rest is not None:
            rest = self._offer(rest, fresh=False)

    def on_error(self, error: Exception) -> None:
        """End with an error after what is queued."""
        self._finish(partial(self._observer.on_error, error))

    def on_completed(self) -> None:
        """End after what is queued."""
        self._finish(self._observer.on_completed)

    def _finish(self, end: Callable[[], None]) -> None:
        with self._lock:
            self._end = self._end or end
            wake = self._wake()
        if wake:
            self._schedule()

    def close(self) -> None:
        """Drop what is queued and let waiting threads go."""
        with self._lock:
            self._closed = True
            self._queue.clear()
            losses = self._settle()
            self._room.notify_all()
        self._report(losses)

    def _offer(self, batch: Batch, *, fresh: bool) -> Batch | None:
        """Take in a batch as the policy says; return what has to wait for another turn."""
        with self._lock:
            if self._gauge.is_shut:
                return None
            if fresh:
                self._gauge.offered(batch)
            if not batch.ticks:
                return None
            done = self._admit(batch)
            over = self._conflate_key is not None and self._queue.size > self._queue.capacity
            unkeyed = self._queue.unkeyed() if over else []
            losses = self._settle()
            wake = self._wake()
        if wake:
            self._schedule()
        if unkeyed:
            losses += self._conflate(unkeyed)
        self._report(losses)
        return batch.with_ticks(batch.ticks[done:]) if done < len(batch.ticks) else None

    def _admit(self, batch: Batch) -> int:
        """Queue or drop the first ticks of a batch, and return how many that were. Called under the lock."""
        queue = self._queue
        count = len(batch.ticks)
        ahead_ns = self._ahead_ns() if self._max_age_ns else 0
        may_wait = self._overflow == "block" and self._waits and self._wait_for_room(count)
        if self._closed or self._end:
            queue.lose(batch, count, "closed" if self._closed else "overflow")
        elif self._overflow == "drop_oldest":
            queue.append(batch, ahead_ns)
            queue.drop_oldest()
        elif self._overflow == "conflate" or (self._overflow == "block" and not self._waits):
            queue.append(batch, ahead_ns)
        else:
            fits = queue.put(batch, ahead_ns)
            if may_wait:
                return fits
            queue.lose(batch, count - fits, "overflow")
            if fits < count and self._overflow == "error":
                self._end = partial(
                    self._observer.on_error, BufferOverflow(f"more than {queue.capacity} ticks waited")
                )
        return count

    def _ahead_ns(self) -> int:
        """Return by how much the wall clock is ahead of the monotonic one now.

        It may be set while a batch waits: by it all that waits would be too old at once, or nothing.
        """
        return self._clock() - round(self._monotonic() * 1e9)

    def _wait_for_room(self, count: int) -> bool:
        """Wait until the batch, or a good part of it, fits; return False where that would be for ever."""
        queue = self._queue
        fits = queue.capacity - min(count, queue.capacity)
        if queue.size > fits:
            # Once it has to wait it waits for half a queue, or the two threads would take turns tick by tick.
            fits = min(fits, queue.capacity // 2)
            self._waiting += 1
            try:
                while queue.size > fits and not self._closed:
                    if self._consumer == self._ident():
                        return False
                    self._room.wait()
            finally:
                self._waiting -= 1
        return True

    def _conflate(self, unkeyed: list[Segment]) -> list[Dropped]:
        """Bring the queue back under its capacity; only the keys are found without the lock."""
        key_of: Any = self._conflate_key
        try:
            keys = {segment: [key_of(tick) for tick in segment.ticks] for segment in unkeyed}
        except BaseException as error:  # noqa: BLE001 - the end of the stream, as in any operator with a selector
            keys = {}
            self._finish(partial(self._observer.on_error, error))  # type: ignore[arg-type]  # reactivex's
        with self._lock:
            self._queue.conflate(keys)
            self._queue.drop_oldest()
            return self._settle()

    def _settle(self) -> list[Dropped]:
        losses = self._queue.losses()
        if losses:
            self._gauge.dropped(losses)
        return losses

    def _report(self, losses: list[Dropped]) -> None:
        if self._on_drop is None:
            return
        for loss in losses:
            try:
                self._on_drop(loss)
            except BaseException as error:  # noqa: BLE001 - a defect in the accounting must not stop the ticks
                self._drop_log(error)

    def _wake(self) -> bool:
        """Tell whether the loop has to be scheduled, and note that it is. Called under the lock."""
        if self._draining or self._closed or not (self._queue.size or self._end):
            return False
        self._draining = True
        return True

    def _schedule(self) -> None:
        try:
            self._scheduler.schedule(self._drain)
        except Exception as error:  # noqa: BLE001 - a full or disposed scheduler: nobody will ever deliver
            if not self._closed:
                self.close()
                self._observer.on_error(error)

    def _drain(self, _scheduler: abc.SchedulerBase, _state: object = None) -> None:
        try:
            end = self._deliver()
        except BaseException:
            # Thrown into this thread between two deliveries (a time-out of gevent's), or it ends the program.
            with self._lock:
                self._consumer = None
                self._draining = False
                wake = self._wake()
            if wake:
                self._schedule()
            raise
        if end:
            end()

    def _deliver(self) -> Callable[[], None] | None:
        """Deliver for one turn; return how to end, if that is all there ever was."""
        observer = self._observer
        for _ in range(BITE):
            if getattr(observer, "is_stopped", False):
                self.close()  # it left, and takes nothing more; whoever disposes it is about to tell us
            with self._lock:
                batches, losses = self._take()
                end = None if self._draining or self._closed else self._end
            self._report(losses)
            if not batches:
                return end
            try:
                observer.on_next(batches if self._gather else batches[0])
            except BaseException as error:
                with self._lock:
                    self._gauge.failed()
                self._log(error)
                if ends_the_program(error, self._runtime):
                    raise
        with self._lock:
            self._gauge.delivered()
            self._consumer = None
        self._schedule()
        return None

    def _take(self) -> tuple[list[Batch], list[Dropped]]:
        """Count what was in hand as delivered and take more; without more, note that the loop ends.

        What is too old to be taken comes with it, to be reported.
        """
        self._gauge.delivered()
        if self._max_age_ns:
            self._queue.drop_older(round(self._monotonic() * 1e9) - self._max_age_ns)
        losses = self._settle()
        batches = self._queue.take(self._gather)
        if batches:
            self._gauge.taken(batches)
            if self._waiting and self._queue.size <= self._queue.capacity // 2:
                self._room.notify_all()
        self._consumer = self._ident() if batches else None
        self._draining = bool(batches)
        return batches, losses
