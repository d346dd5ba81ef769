"""Where the shared stream is left: one subscriber, its bounded buffer, its account and its latency."""

import contextlib
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from reactivex import Observable, abc

from operators._buffer.accounting import BufferAccounting
from operators.account import Account
from operators.buffered import Dropped, Overflow, buffered
from operators.isolation import ends_the_program
from operators.latency_stamp import Latencies
from operators.runtime import SYSTEM, Runtime
from operators.scheduler import Pastime
from operators.throttled_log import ThrottledLog

from .callables import refuse_unrun
from .errors import words_of
from .identity import conflation_key
from .sinks.sink import DELIVERED, Acknowledged, Outcome, Sink
from .subscriber_log import subscriber_log
from .ticks import TickBatch

__all__ = ["Outlet", "Outlets", "Reading", "dispose_all", "numbered"]

Part = Callable[[Callable[[Sequence[Dropped]], None]], object]

ENDED_OUTLETS_KEPT: Final = 16
GATHER_TICKS: Final = 2000
"""About how many ticks a sink gets at once when they have piled up."""


class Outlet(abc.DisposableBase):
    """Feeds one sink from the shared stream, on the thread ``tickbraid-NAME``.

    Args:
        sink: gets the batches.
        capacity: ticks that may wait in front of it.
        overflow: what happens to more.
        max_age_ms: what was received longer ago is dropped when its turn comes; 0 for any age.
        on_drop: told outlet name and what was dropped.
        on_failure: told outlet name, how many ticks failed, and why.
        on_room: called when it may be `full` no more.
        latencies: the time from receipt to the end of the sink's write is recorded here; where the sink has a
            server, to its begin, and from there to the server's answer.
        part: runs at one moment, between two reads that are decoded, what takes leave of all that waits
            undecoded; it is given what that is.
        pastime: what its thread does while it has nothing to do.
        runtime: its thread and clocks.
    """

    def __init__(
        self,
        sink: Sink,
        *,
        capacity: int,
        overflow: Overflow,
        max_age_ms: float = 0,
        on_drop: Callable[[str, Dropped], None],
        on_failure: Callable[[str, int, BaseException], None],
        on_room: Callable[[], None],
        latencies: Latencies,
        part: Part = lambda leave: leave(()),
        pastime: Pastime | None = None,
        runtime: Runtime = SYSTEM,
    ) -> None:
        self.name = sink.name
        self.sink = sink
        self.overflow = overflow
        self.blocks = overflow == "block"
        self.max_age_ms = max_age_ms
        self.gauge = BufferAccounting(runtime)
        self.ended = runtime.event()
        """Set once the sink has had all there was, or nothing will come any more."""
        self.errors = 0
        """Exceptions that came out of the sink's `write`; those that it counts itself are not among them."""
        self.last_error: str | None = None
        """Why ticks failed the last time."""
        self.completed = False
        """Whether it ended because the stream did, and not because its subscriber left or failed."""
        self._capacity = capacity
        self._on_drop = on_drop
        self._on_failure = on_failure
        self._log = ThrottledLog(
            f"{self.name} raised; it gets what comes next", logger=subscriber_log.name, runtime=runtime
        )
        self._on_room = on_room
        self._delivered = latencies.delivered[self.name]
        self._acknowledged = sink if isinstance(sink, Acknowledged) else None
        if self._acknowledged is not None:
            self._acknowledged.acknowledged = latencies.sink[self.name]
        self._runtime = runtime
        self._clock = runtime.clock
        self._ident = runtime.ident
        self._subscription: abc.DisposableBase | None = None
        self._thread: int | None = None
        self._part = part
        self._is_awaiting = False
        """What waits undecoded is its, too."""
        self._operator = buffered(
            capacity,
            overflow,
            self._dropped,
            name=self.name,
            pastime=pastime,
            conflate_key=conflation_key if overflow == "conflate" else None,
            gather=GATHER_TICKS,
            waits=False,
            max_age_ms=max_age_ms,
            gauge=self.gauge,
            runtime=runtime,
        )

    @property
    def full(self) -> bool:
        """Whether nothing more must be brought until there is room. From any thread."""
        return self.blocks and not self.ended.is_set() and self.gauge.waiting >= self._capacity

    @property
    def is_settled(self) -> bool:
        """Whether it has ended, and has nothing in hand of which something may still become."""
        return self.ended.is_set() and not self.gauge.queued

    def connect(
        self,
        batches: Observable[TickBatch],
        on_error: Callable[[Exception], None] | None = None,
        on_completed: Callable[[], None] | None = None,
    ) -> None:
        """Begin to take batches; how they end is told on the outlet's thread.

        Raises:
            RuntimeError: the outlet's thread cannot be started. So is whatever else makes it impossible.
        """
        caller: int | None = self._ident()
        refused: list[Exception] = []

        def failed(error: Exception) -> None:
            self._end()
            if self._ident() == caller:
                refused.append(error)
            elif on_error is not None:
                on_error(error)

        def completed() -> None:
            self.completed = True
            self._end()
            if on_completed is not None:
                on_completed()

        self._subscription = batches.pipe(self._operator).subscribe(self._write, failed, completed)
        self._is_awaiting = not self.ended.is_set()
        caller = None
        if refused:
            raise refused[0]

    def dispose(self) -> None:
        """Stop now, from any thread, within 2 s; what waits is dropped and counted. Idempotent."""
        try:
            self._call(self.sink.stop)
        finally:
            self._leave()
            if self._subscription is not None:
                self._subscription.dispose()
            self._end()
            self._call(self.sink.close)

    def wait(self, timeout_s: float) -> None:
        """Wait until it has ended, but not on its own thread: a callback may close the stream."""
        if self._thread != self._ident():
            self.ended.wait(timeout_s)

    def _leave(self) -> None:
        """Give up what waits undecoded, and be offered nothing more. The first time."""
        left: list[Dropped] = []

        def leave(waiting: Sequence[Dropped]) -> None:
            if self._is_awaiting:
                left.extend(waiting)
                self.gauge.shut(left)
                self._is_awaiting = False

        self._part(leave)
        for dropped in left:
            if dropped.reason != "lost":
                self._dropped(dropped)

    def read(self) -> "Reading":
        """Return its accounts as they are now."""
        return Reading(self, self.gauge.accounts(), self._is_awaiting)

    def snapshot(self) -> dict[str, Any]:
        """Return what the sink tells of itself, or why it does not; from any thread."""
        try:
            told: object = self.sink.snapshot()
            if isinstance(told, dict):
                return told
            refuse_unrun(told, f"the snapshot of {self.name}")
            raise TypeError(f"the snapshot of {self.name} is {told!r:.100} and no dict")  # noqa: TRY301  # told below
        except BaseException as error:
            if ends_the_program(error, self._runtime):
                raise
            self._log(error)
            return {"snapshot_error": words_of(error)}

    def _call(self, what: Callable[[], object]) -> None:
        """Call what has no outcome; what it raises is logged, for the others have to be stopped, too."""
        try:
            what()
        except BaseException as error:
            self._log(error)
            if ends_the_program(error, self._runtime):
                raise

    def _write(self, batches: Sequence[TickBatch]) -> None:
        self._thread = self._ident()
        try:
            self._give(batches)
        finally:
            if self.blocks:
                self._on_room()

    def _give(self, batches: Sequence[TickBatch]) -> None:
        try:
            outcome = self.sink.write(batches)
            if outcome is not None and outcome is not DELIVERED:
                self._count(outcome, batches)
        except BaseException as error:  # noqa: BLE001  # user code; SystemExit would only end this thread
            self.errors += 1
            self._fail(batches, error)
            return
        now_ns = self._clock() if self._acknowledged is None else self._acknowledged.taken_ns
        for batch in batches:
            self._delivered.record(now_ns - batch.received_ns, len(batch.ticks))

    def _count(self, outcome: object, batches: Sequence[TickBatch]) -> None:
        """Count what was not delivered, and tell what was given up and what failed.

        Raises:
            TypeError: it is no `Outcome`.
            ValueError: it has more ticks, or others, than it was given.
        """
        if not isinstance(outcome, Outcome):
            refuse_unrun(outcome, f"the write of {self.name}")
            raise TypeError(
                f"the write of {self.name} returned {outcome!r:.100}; it has to return an Outcome, or None"
                " where it took everything"
            )
        for connection, count in outcome.rejected.items():
            self.gauge.reject(connection, count)
        for connection, count in outcome.dropped.items():
            self.gauge.drop(connection, count, "closed")
            received_ns = [b.received_ns for b in batches if b.connection == connection]
            self._on_drop(self.name, Dropped(connection, "closed", count, min(received_ns), max(received_ns)))

        for connection, count in outcome.failed.items():
            self.gauge.fail(connection, count)
        if failed := sum(outcome.failed.values()):
            self._tell_failure(failed, outcome.error or RuntimeError("it does not say why"))

    def _fail(self, batches: Sequence[TickBatch], error: BaseException) -> None:
        """Count as failed all that is still in the sink's hand."""
        failed = 0
        for connection in dict.fromkeys(batch.connection for batch in batches):
            failed += self.gauge.fail_rest(connection)
        self._tell_failure(failed, error)

    def _tell_failure(self, count: int, error: BaseException) -> None:
        self.last_error = words_of(error)
        self._log(error)
        self._on_failure(self.name, count, error)

    def _end(self) -> None:
        self._leave()
        self.ended.set()
        self._on_room()

    def _dropped(self, dropped: Dropped) -> None:
        self._on_drop(self.name, dropped)


@dataclass(frozen=True, slots=True)
class Reading:
    """The accounts of an outlet at a moment.

    Args:
        outlet: whose they are.
        decoded: by connection, without what waits undecoded.
        is_awaiting: whether that is the outlet's, too.
    """

    outlet: Outlet
    decoded: Mapping[str, Account]
    is_awaiting: bool

    def accounts(self, waiting: Mapping[str, int]) -> dict[str, Account]:
        """Return the account of each connection.

        Args:
            waiting: elements by connection that waited undecoded at that moment; they count as queued.
        """
        accounts = dict(self.decoded)
        if self.is_awaiting:
            for name, count in waiting.items():
                accounts[name] = accounts.get(name, Account()) + Account(count, queued=count)
        return accounts


@dataclass(frozen=True, slots=True)
class Outlets:
    """The outlets of a stream, for its account.

    Args:
        known: those that are there, and of those that have ended the last.
        forgotten: what the others had counted when all of it was settled; it is one value with the known, so
            that each is in one of both.
    """

    known: tuple[Outlet, ...] = ()
    forgotten: Account = Account()  # noqa: RUF009  # frozen

    def with_new(self, new: Outlet) -> "Outlets":
        """Return them with a new one; its namesake is forgotten, and of those that have ended the oldest."""
        settled = [old for old in self.known if old.is_settled]
        kept = [old for old in settled if old.name != new.name][-ENDED_OUTLETS_KEPT:]
        gone = [old for old in settled if old not in kept]
        present = [old for old in self.known if old not in settled]
        counted = (account for old in gone for account in old.read().decoded.values())
        return Outlets((*kept, *present, new), sum(counted, self.forgotten))


def dispose_all(*outlets: Outlet) -> None:
    """Dispose all, though one may be interrupted by Ctrl-C, or by a sink that exits the program."""
    with contextlib.ExitStack() as stack:
        for outlet in reversed(outlets):
            stack.callback(outlet.dispose)


def numbered(kind: str) -> Iterator[str]:
    """Yield the names that subscribers of a kind may have: ``callback``, ``callback-2`` and so on."""
    yield kind
    yield from (f"{kind}-{number}" for number in itertools.count(2))
