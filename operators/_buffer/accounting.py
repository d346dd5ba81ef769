"""What a buffer knows of its ticks: where each one is, at any moment."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, fields

from operators.account import Account
from operators.batch import Batch
from operators.runtime import SYSTEM, Runtime

__all__ = ["BufferAccounting", "Dropped"]


@dataclass(frozen=True, slots=True)
class Dropped:
    """Ticks that a buffer gave up.

    Args:
        connection: the id of the connection that brought them.
        reason: ``overflow``, ``conflated``, ``aged`` or ``closed``; ``lost`` where that was told already.
        count: how many.
        from_ns: when the first of them was received, ns since the epoch.
        to_ns: when the last of them was.
    """

    connection: str
    reason: str
    count: int
    from_ns: int
    to_ns: int


@dataclass(slots=True)
class _Tally:
    """The fields of `Account`, to be added to."""

    received: int = 0
    delivered: int = 0
    deduplicated: int = 0
    dropped: int = 0
    failed: int = 0
    rejected: int = 0
    queued: int = 0

    def account(self) -> Account:
        return Account(*(getattr(self, each.name) for each in fields(self)))


class BufferAccounting:
    """Account for every tick of one `buffered`, exactly and at any moment.

    Whatever moves a tick moves it here under the lock of the buffer, so every reading balances to zero. Read
    it from any thread. ``reject``, ``drop`` and ``fail`` are for the subscriber, while its ``on_next`` runs.
    """

    def __init__(self, runtime: Runtime = SYSTEM) -> None:
        self.lock = runtime.lock()
        """The buffer's own; `buffered` holds it when it calls the methods that say so."""
        self.errors = 0
        """Exceptions that came out of the subscriber; what was in its hand then counts as failed."""
        self.is_shut = False
        """The buffer is to take in nothing more."""
        self._tallies: dict[str, _Tally] = {}
        self._reasons: Counter[str] = Counter()
        self._in_hand: dict[str, int] = {}
        self._claimed = False

    @property
    def queued(self) -> int:
        """Ticks that wait or are in the subscriber's hand, of all connections."""
        with self.lock:
            return sum(tally.queued for tally in self._tallies.values())

    @property
    def waiting(self) -> int:
        """Ticks that wait, without those in the subscriber's hand."""
        with self.lock:
            return sum(tally.queued for tally in self._tallies.values()) - sum(self._in_hand.values())

    def accounts(self) -> dict[str, Account]:
        """Return the account of each connection that brought something."""
        with self.lock:
            return {connection: tally.account() for connection, tally in self._tallies.items()}

    def dropped_by_reason(self) -> dict[str, int]:
        """Return how many ticks were dropped for each reason."""
        with self.lock:
            return dict(self._reasons)

    def reject(self, connection: str, count: int) -> None:
        """Say that ticks of the batch in hand are no ticks for this subscriber.

        Raises:
            ValueError: ``count`` is negative, or more than is in hand from this connection.
        """
        with self.lock:
            self._take_from_hand(connection, count).rejected += count

    def drop(self, connection: str, count: int, reason: str) -> None:
        """Say that ticks of the batch in hand were given up.

        Raises:
            ValueError: ``count`` is negative, or more than is in hand from this connection.
        """
        with self.lock:
            self._take_from_hand(connection, count).dropped += count
            if count:
                self._reasons[reason] += count

    def fail(self, connection: str, count: int) -> None:
        """Say that the subscriber raised on ticks of the batch in hand, or that they were refused.

        Raises:
            ValueError: ``count`` is negative, or more than is in hand from this connection.
        """
        with self.lock:
            self._take_from_hand(connection, count).failed += count

    def fail_rest(self, connection: str) -> int:
        """Say that the subscriber raised on all that is still in hand from a connection; return how many."""
        with self.lock:
            count = self._in_hand.get(connection, 0)
            self._take_from_hand(connection, count).failed += count
            return count

    def _take_from_hand(self, connection: str, count: int) -> _Tally:
        in_hand = self._in_hand.get(connection, 0)
        if not 0 <= count <= in_hand:
            raise ValueError(
                f"count must be 0 to {in_hand}, what is in hand from {connection!r}, not {count}"
            )
        if not count:
            return _Tally()
        self._in_hand[connection] = in_hand - count
        tally = self._tallies[connection]
        tally.queued -= count
        return tally

    def _tally(self, connection: str) -> _Tally:
        tally = self._tallies.get(connection)
        if tally is None:
            tally = self._tallies[connection] = _Tally()
        return tally

    def claim(self) -> None:
        """Take it for one subscription.

        Raises:
            ValueError: it is another's.
        """
        with self.lock:
            if self._claimed:
                raise ValueError("gauge must be a new one: it already counts for another subscription")
            self._claimed = True

    def shut(self, left: Iterable[Dropped] = ()) -> None:
        """Take no more batches into account: whatever still comes is not this subscriber's any more.

        Args:
            left: what was on its way to it; it counts as received and dropped.
        """
        with self.lock:
            self.is_shut = True
            for loss in left:
                tally = self._tally(loss.connection)
                tally.received += loss.count
                tally.dropped += loss.count
                self._reasons[loss.reason] += loss.count

    def offered(self, batch: Batch) -> None:
        """Count a batch that arrives; its ticks are queued. Called under the lock."""
        tally = self._tally(batch.connection)
        tally.received += batch.received
        tally.queued += len(batch.ticks)
        tally.deduplicated += batch.deduplicated
        tally.rejected += batch.rejected
        if batch.lost:
            tally.dropped += batch.lost
            self._reasons["lost"] += batch.lost

    def dropped(self, losses: Iterable[Dropped]) -> None:
        """Count queued ticks that were given up. Called under the lock."""
        for loss in losses:
            tally = self._tally(loss.connection)
            tally.queued -= loss.count
            tally.dropped += loss.count
            self._reasons[loss.reason] += loss.count

    def taken(self, batches: Iterable[Batch]) -> None:
        """Put batches into the subscriber's hand. Called under the lock."""
        in_hand = self._in_hand
        for batch in batches:
            connection = batch.connection
            in_hand[connection] = in_hand.get(connection, 0) + len(batch.ticks)

    def delivered(self) -> None:
        """Count what is still in the subscriber's hand as delivered. Called under the lock."""
        for connection, count in self._in_hand.items():
            tally = self._tallies[connection]
            tally.queued -= count
            tally.delivered += count
        self._in_hand.clear()

    def failed(self) -> None:
        """Count an exception, and what is still in the subscriber's hand as failed. Called under the lock."""
        self.errors += 1
        for connection, count in self._in_hand.items():
            tally = self._tallies[connection]
            tally.queued -= count
            tally.failed += count
        self._in_hand.clear()
