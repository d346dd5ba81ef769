"""The bounded buffer between reading and decoding, in bytes."""

import logging
import math
from collections import Counter, deque
from collections.abc import Callable
from typing import Final, NamedTuple

from msgspec.structs import replace
from reactivex import Observable, abc
from reactivex.disposable import Disposable

from operators._buffer.accounting import Dropped
from operators.runtime import SYSTEM, Runtime

from .frames import Frames
from .gate import Gate
from .patience import Patience
from .salvage import LARGE_BYTES

__all__ = ["Ingest"]

log = logging.getLogger("tickbraid.massive.ingest")


BITE_BYTES: Final = 64 * 1024
"""So much is decoded before the sockets have their turn, or the frames of one read: less than a ms."""


HOLD_BYTES: Final = 1024 * 1024
"""Where so much waits, reads are held back as long as the server has patience: it stays in the cache."""
CALM: Final = 0.5
"""They go on when less than this part of it waits."""
THIN_PART: Final = 16
"""Where so much of the buffer is full and the server's patience is spent, new quotes are given up at once."""
SPARE_BYTES: Final = 64 * 1024 * 1024
"""Where a subscriber blocks so much more may wait: what was on its way when reads were held."""

HURRY_S: Final = 1.0
"""A stream that is being closed waits so long for the rest of a large message."""
UNSALVAGED: Final = "unsalvaged"


class _Lost(NamedTuple):
    elements: int
    from_ns: int
    to_ns: int


class Ingest:
    """Holds frames back until the pipeline has time for them; when it is full the oldest are given up.

    First the quotes among them, for a newer one replaces an older; only where that is not enough, all. So in
    an opening burst the trades come through, late, as long as there is time to decode these. Where the server
    will not wait and the buffer fills, quotes are given up as they come.

    Reading and decoding take turns on one thread, a bite of frames after another. (A second thread would do
    worse: measured, two that take turns under the GIL decode a fifth less.) Where more comes than can be
    decoded, it is first left where it is, in the kernels' buffers and at the server: reading what must be
    given up later takes the time in which other ticks could be decoded. That lasts as long as the server's
    patience, for it cuts off who is too slow, and then everything is lost; where a subscriber blocks, for
    ever. After that all is read, and waits here; and when this is full, some is given up. A large message
    goes on in bites too, and after each the rest of it lets pass what other connections have brought.

    Args:
        capacity_bytes: of message payloads waiting.
        scheduler: on whose thread the frames go on; what else it has to do comes in between.
        on_drop: given connection id, reason (``ingest_overflow``, ``aged``, ``unsalvaged``), elements given
            up and the receive times (ns) of the first and last of them; on the thread that did so, under no
            lock.
        ready: asked before each read's frames; where it says no they wait until `resume` is called.
        max_age_ns: returns how long ago what is decoded may have been received, None for any age. With such a
            limit reads are not held back: who wants nothing old is not served by what waits elsewhere.
        blocks: tells whether nothing may be given up, however long the server has to wait.
        patience: how much of the feed may wait unread.
        hold: told whether reads are to be held back.
        runtime: its clocks and lock.
    """

    def __init__(
        self,
        capacity_bytes: int,
        scheduler: abc.SchedulerBase,
        on_drop: Callable[[str, str, int, int, int], None],
        ready: Callable[[], bool] = lambda: True,
        *,
        max_age_ns: Callable[[], int | None] = lambda: None,
        blocks: Callable[[], bool] = lambda: False,
        patience: Patience | None = None,
        hold: Callable[[bool], None] = lambda _: None,
        runtime: Runtime = SYSTEM,
    ) -> None:
        if capacity_bytes < 1:
            raise ValueError(f"capacity_bytes must be 1 or more, not {capacity_bytes}")
        self._capacity_bytes = capacity_bytes
        self._scheduler = scheduler
        self._on_drop = on_drop
        self._clock = runtime.clock
        self._ready = ready
        self._max_age_ns = max_age_ns
        self._blocks = blocks
        self._patience = patience or Patience()
        self._hold = hold
        self._monotonic = runtime.monotonic
        self._holding = False
        self._thinning = False
        self._hold_bytes = min(HOLD_BYTES, capacity_bytes // 2)
        self._thin_bytes = capacity_bytes // THIN_PART
        self._lock = runtime.lock()
        self._gate = Gate(runtime)
        self._queue: deque[Frames] = deque()
        self._thinned: deque[Frames] = deque()
        """Those before the queue, without their quotes."""
        self._queued_bytes = 0
        self._lost: Counter[str] = Counter()
        self._offered = 0
        """So many reads were offered."""
        self._afterwards: deque[tuple[int, Callable[[], object]]] = deque()
        """What is to be done between the reads, and how many come before."""
        self._drain: Callable[..., None] = _nothing
        self._draining = False
        """A turn is scheduled or running, or it waits for `resume`."""
        self._paused = False
        self._completed = False
        self._patient_until_s = math.inf
        self._untold: list[tuple[str, str, int, int, int]] = []
        self._disposed = False

    @property
    def queued_bytes(self) -> int:
        """Bytes that wait. From any thread."""
        return self._queued_bytes

    def waiting(
        self, look_at_bytes: float = math.inf, at_once: Callable[[], object] = lambda: None
    ) -> Counter[str]:
        """Count the elements that wait, by connection. From any thread.

        Args:
            look_at_bytes: about so much of each connection is looked at, and the rest goes by that. To look
                at all takes a ms and more for each MB, and there is most when there is the least time.
            at_once: run at the moment of which the counts are, between two turns of decoding: all that
                has come until then either waits or has been through. It must not take long.
        """
        with self._gate.between_steps():
            frames, elements = self._look()
            at_once()
        return self._count(frames, elements, look_at_bytes, given_up=self._disposed)

    def part(self, leave: Callable[[list[Dropped]], object]) -> None:
        """Run at one moment, as above, what takes leave of all that waits, and is given what that is."""
        self._to_be_left()  # the frames remember it: now it is soon counted
        with self._gate.between_steps():
            leave(self._to_be_left())

    def _to_be_left(self) -> list[Dropped]:
        """Return what waits, and what was lost before it and is told already."""
        frames, lost = self._look()
        given_up = self._disposed or self._patient_until_s < math.inf
        left, now_ns = [], self._clock()
        for connection, count in self._count(frames, Counter(), math.inf, given_up=given_up).items():
            times_ns = [waiting.received_ns for waiting in frames if waiting.connection == connection]
            left.append(Dropped(connection, "closed", count, min(times_ns), max(times_ns)))
        left += [Dropped(connection, "lost", count, now_ns, now_ns) for connection, count in lost.items()]
        return [dropped for dropped in left if dropped.count]

    def _look(self) -> tuple[list[Frames], Counter[str]]:
        """Return the frames that wait, and how many elements were lost before them."""
        with self._lock:
            frames = [*self._thinned, *self._queue]
            if self._queue and frames[-1].thinned:
                frames[-1] = replace(frames[-1])  # it may be extended meanwhile
            return frames, Counter(self._lost)

    def _count(
        self, frames: list[Frames], elements: Counter[str], look_at_bytes: float, *, given_up: bool
    ) -> Counter[str]:
        """Add up the elements of frames."""
        counted, looked_at, all_bytes = Counter[str](), Counter[str](), Counter[str]()
        for waiting in frames:
            connection = waiting.connection
            all_bytes[connection] += waiting.size_bytes
            if looked_at[connection] < look_at_bytes:
                look_at = waiting if look_at_bytes == math.inf else waiting.split_off()[0]
                looked_at[connection] += look_at.size_bytes
                counted[connection] += look_at.count_given_up() if given_up else look_at.count_elements()
        for connection, count in counted.items():
            unseen = all_bytes[connection] - looked_at[connection]
            elements[connection] += count + (count * unseen // looked_at[connection] if unseen else 0)
        return elements

    def resume(self) -> None:
        """Go on, if it waits until ``ready`` says yes. From any thread."""
        if self._paused:
            with self._lock:
                paused, self._paused = self._paused, False
            if paused:
                self._scheduler.schedule(self._drain)

    def hurry(self) -> None:
        """Give up what is left of a large message in a second. From any thread.

        By then the largest has gone on, unless it has to be salvaged; then hardly any tick is in it.
        """
        self._patient_until_s = self._monotonic() + HURRY_S

    def afterwards(self, action: Callable[[], object]) -> None:
        """Run an action once all that was received until now has gone on, before what comes later.

        From any thread. Its place is exact: nothing passes it.
        """
        with self._lock:
            self._afterwards.append((self._offered, action))
            idle, self._draining = not self._draining, True
        if idle:
            self._scheduler.schedule(self._drain)

    def __call__(self, source: Observable[Frames]) -> Observable[Frames]:
        """Be the operator: emit the frames of ``source`` on the scheduler's thread. One subscriber."""

        def subscribe(
            observer: abc.ObserverBase[Frames], _scheduler: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            self._drain = lambda *_: self._take_turn(observer)

            def on_next(frames: Frames) -> None:
                if self._offer(frames):
                    self._scheduler.schedule(self._drain)

            def on_completed() -> None:
                with self._lock:
                    self._completed = True
                    idle, self._draining = not self._draining, True
                if idle:
                    self._scheduler.schedule(self._drain)

            subscription = source.subscribe(on_next, observer.on_error, on_completed)

            def dispose() -> None:
                self._disposed = True
                subscription.dispose()

            return Disposable(dispose)

        return Observable(subscribe)

    def _take_turn(self, observer: abc.ObserverBase[Frames]) -> None:
        """Let a bite of frames go on, and come back for the next."""
        if (self._queue or self._thinned) and not self._ready():
            self._paused = True
            if self._ready():  # meanwhile, and nobody has seen that it waits
                self.resume()
            self._review()
            return
        self._give_up_old()
        if self._gate.is_asked:
            self._gate.let_look()
        left_bytes: int | None = BITE_BYTES
        while left_bytes:
            self._reach()
            left_bytes = self._step(observer, left_bytes)
        if left_bytes == 0:
            self._scheduler.schedule(self._drain)
        while self._untold:
            self._on_drop(*self._untold.pop())
        self._review()
        if left_bytes == 0:
            return
        self._reach()
        if self._completed and not self._disposed:
            observer.on_completed()

    def _step(self, observer: abc.ObserverBase[Frames], bite_bytes: int) -> int | None:
        """Let frames go on up to where something is to be done between them.

        Returns:
            How much of the bite is left, 0 where it is over though there is more, None where there is none.
        """
        with self._gate.step:
            while not self._is_due():
                frames = self._take()
                if frames is None:
                    return None
                self._emit(frames, observer)
                bite_bytes -= frames.size_bytes
                if bite_bytes <= 0 and (self._queue or self._thinned):
                    return 0
        return bite_bytes or 1

    def _is_due(self) -> bool:
        """Tell whether something is to be done before the next frames."""
        if not self._afterwards or self._disposed:
            return False
        waiting = self._thinned or self._queue
        return not waiting or waiting[0].number > self._afterwards[0][0]

    def _reach(self) -> None:
        """Do what is to be done before the next frames."""
        while self._is_due():
            self._afterwards.popleft()[1]()

    def _emit(self, frames: Frames, observer: abc.ObserverBase[Frames]) -> None:
        try:
            observer.on_next(frames)
        except BaseException:
            log.exception("the pipeline failed on frames of %s; this is a defect", frames.connection)
            if frames.messages:
                with self._lock:
                    self._lost[frames.connection] += frames.lost + frames.count_elements()

    def _offer(self, frames: Frames) -> bool:
        """Append; return whether the drain must be scheduled."""
        losses: dict[str, _Lost] = {}
        closely = self._queued_bytes > self._hold_bytes * CALM
        offered_s = self._monotonic()
        self._patience.read(frames, offered_s, closely=closely)
        limit_bytes = self._capacity_bytes + (SPARE_BYTES if self._blocks() else 0)
        kept = self._thin(frames)
        with self._lock:
            self._offered += 1
            kept.number, kept.offered_s = self._offered, offered_s
            if kept is not frames:
                self._note(losses, frames, frames.count_given_up() - kept.counted)
            if kept.messages or kept.counted:
                self._queued_bytes += kept.size_bytes
                if not (kept.thinned and self._may_extend() and self._queue[-1].extend(kept)):
                    self._queue.append(kept)
            while self._queued_bytes > limit_bytes:
                self._give_up(losses)
            idle, self._draining = not self._draining, True
        self._report("ingest_overflow", losses)
        if not self._holding and self._must_hold():
            self._scheduler.schedule(self._review)
        return idle

    def _may_extend(self) -> bool:
        """Tell whether nothing is to be done between the last frames and the next. Under the lock."""
        if not self._queue:
            return False
        return not self._afterwards or self._afterwards[-1][0] < self._queue[-1].number

    def _thin(self, frames: Frames) -> Frames:
        """Return frames as they come, or without their quotes while too much waits here and at the server.

        It takes half the time while they are in the cache; and the buffer is left to the trades.
        """
        waiting_bytes = self._queued_bytes + frames.size_bytes
        enough_bytes = self._thin_bytes * (CALM if self._thinning else 1.0)
        self._thinning = waiting_bytes > enough_bytes and self._patience.is_spent and not self._blocks()
        if not self._thinning or frames.is_slow or not frames.messages:
            return frames
        return frames.without_quotes()[0]

    def _report(self, reason: str, losses: dict[str, _Lost]) -> None:
        for connection, lost in losses.items():
            self._on_drop(connection, reason, lost.elements, lost.from_ns, lost.to_ns)

    def _give_up_old(self) -> None:
        """Give up what would be too old for everybody once it is decoded."""
        max_age_ns = self._max_age_ns()
        if max_age_ns is None:
            return
        oldest_s = self._monotonic() - max_age_ns / 1e9
        losses: dict[str, _Lost] = {}
        with self._lock:
            for queue in (self._thinned, self._queue):
                while queue and queue[0].offered_s < oldest_s:
                    old = queue.popleft()
                    self._queued_bytes -= old.size_bytes
                    self._note(losses, old, old.count_given_up())
        self._report("aged", losses)

    def _must_hold(self) -> bool:
        """Tell whether what comes is better left unread, as much as waits here and at the server."""
        enough_bytes = self._hold_bytes * (CALM if self._holding else 1.0)
        waiting_bytes = self._queued_bytes
        if self._queue and self._queue[0].is_large:
            # One message, which may have to be salvaged for seconds: the other sockets do not wait for that.
            waiting_bytes -= self._queue[0].size_bytes
        if waiting_bytes <= enough_bytes:
            return False
        return self._blocks() or not (self._patience.is_spent or self._max_age_ns() is not None)

    def _review(self, *_: object) -> None:
        """Hold reads back, or no more. On the scheduler's thread."""
        hold = self._must_hold()
        if hold is not self._holding:
            self._holding = hold
            self._hold(hold)

    def _give_up(self, losses: dict[str, _Lost]) -> None:
        """Give up the quotes of the oldest frames that may have any, or else the oldest. Under the lock."""
        while self._queue and self._queue[0].thinned:
            self._thinned.append(self._queue.popleft())  # those behind it may still have quotes
        oldest = (self._queue or self._thinned).popleft()
        self._queued_bytes -= oldest.size_bytes
        kept, count = (None, 0) if oldest.thinned or oldest.is_slow else oldest.without_quotes()
        if kept and (kept.messages or count):
            self._thinned.append(kept)
            self._queued_bytes += kept.size_bytes
        self._note(losses, oldest, oldest.count_given_up() - count)

    def _note(self, losses: dict[str, _Lost], frames: Frames, elements: int) -> None:
        """Note that so many elements of these frames are lost. Under the lock."""
        if elements:
            self._lost[frames.connection] += elements
            before = losses.get(frames.connection, _Lost(0, frames.received_ns, 0))
            losses[frames.connection] = _Lost(
                before.elements + elements, before.from_ns, max(before.to_ns, frames.received_ns)
            )

    def _take(self) -> Frames | None:
        """Return the next frames, with what was lost before them; None ends the drain."""
        with self._lock:
            if self._disposed:
                return None
            if self._queue or self._thinned:
                frames = self._take_next(self._thinned or self._queue)
                if self._lost:
                    frames.lost += self._lost.pop(frames.connection, 0)
                return frames
            for connection in list(self._lost):
                # Nothing comes after them, so what was lost travels alone.
                return Frames(connection, self._clock(), [], 0, lost=self._lost.pop(connection))
            self._draining = False
            return None

    def _take_next(self, queue: deque[Frames]) -> Frames:
        """Return the first frames, or of large ones a bite. Under the lock."""
        frames = queue[0]
        if frames.size_bytes <= LARGE_BYTES and not frames.position:
            self._queued_bytes -= frames.size_bytes
            return queue.popleft()
        bite, rest = frames.split_off()
        if rest is not None and self._monotonic() > self._patient_until_s:
            elements = rest.count_given_up()
            self._lost[rest.connection] += elements
            self._untold.append((rest.connection, UNSALVAGED, elements, rest.received_ns, rest.received_ns))
            rest = None
        # In one step: others read it without the lock.
        self._queued_bytes -= frames.size_bytes - (rest.size_bytes if rest else 0)
        if rest is None:
            queue.popleft()
        else:
            queue[0] = rest
            _let_pass(queue, rest.connection, self._afterwards[0][0] if self._afterwards else self._offered)
        return bite


def _let_pass(queue: deque[Frames], connection: str, until: int) -> None:
    """Put what waits of other connections before what waits of this one, each in its order, up to a read."""
    others = [frames for frames in queue if frames.connection != connection and frames.number <= until]
    if others:
        own = [frames for frames in queue if frames.connection == connection and frames.number <= until]
        later = [frames for frames in queue if frames.number > until]
        queue.clear()
        queue.extend(others)
        queue.extend(own)
        queue.extend(later)


def _nothing(*_: object) -> None:
    """Drain nothing: nobody has subscribed yet."""
