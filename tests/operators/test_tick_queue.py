from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from operators._buffer.tick_queue import TickQueue
from tests.operators.fakes import FakeBatch

BATCHES = st.lists(st.sampled_from("xyz-"), min_size=1, max_size=6)
"""Each letter is a tick's key; "-" has none."""


class AgainstAList(RuleBasedStateMachine):
    """The queue does what a plain list of ticks would, looked through from end to end each time."""

    capacity = 5

    def __init__(self):
        super().__init__()
        self.queue = TickQueue(self.capacity)
        self.model = []  # (batch number, connection, key, tick number)
        self.lost = Counter()
        self.batches = 0
        self.ticks = 0
        self.asked = set()

    def batch(self, keys):
        """Make a batch, and what the model holds of it."""
        ticks = [(key, self.ticks + index) for index, key in enumerate(keys)]
        self.ticks += len(ticks)
        self.batches += 1
        connection = "ab"[self.batches % 2]
        return (
            FakeBatch(ticks, connection, self.batches),
            [(self.batches, connection, *tick) for tick in ticks],
        )

    def lose(self, entries, reason):
        """Note in the model what the queue has to report."""
        self.lost.update((connection, reason) for _, connection, _, _ in entries)

    def cut(self):
        """Drop the oldest of the model."""
        excess = max(len(self.model) - self.capacity, 0)
        self.lose(self.model[:excess], "overflow")
        del self.model[:excess]

    @rule(keys=BATCHES)
    def keep_the_newest(self, keys):
        """Offer as `drop_oldest` does."""
        batch, entries = self.batch(keys)
        self.queue.append(batch)
        self.queue.drop_oldest()
        self.model += entries
        self.cut()

    @rule(keys=BATCHES)
    def keep_the_oldest(self, keys):
        """Offer as `drop_newest` does."""
        batch, entries = self.batch(keys)
        room = max(self.capacity - len(self.model), 0)
        assert self.queue.put(batch) == min(room, len(entries))
        self.model += entries[:room]

    @rule(keys=BATCHES)
    def conflate(self, keys):
        """Offer as `conflate` does."""
        batch, entries = self.batch(keys)
        self.queue.append(batch)
        self.model += entries
        if self.queue.size > self.capacity:
            segments = self.queue.unkeyed()
            numbers = [number for segment in segments for _, number in segment.ticks[segment.start :]]
            assert not self.asked & set(numbers), "a key is asked for once"
            self.asked |= set(numbers)
            key_of = {"-": None}
            self.queue.conflate(
                {segment: [key_of.get(key, key) for key, _ in segment.ticks] for segment in segments}
            )
            newest = {key: number for _, _, key, number in self.model if key != "-"}
            old = [entry for entry in self.model if newest.get(entry[2], entry[3]) != entry[3]]
            self.lose(old, "conflated")
            self.model = [entry for entry in self.model if entry not in old]
            self.queue.drop_oldest()
            self.cut()

    @rule(ticks=st.integers(0, 8))
    def take(self, ticks):
        """Deliver."""
        taken = self.queue.take(ticks)
        expected = []
        while self.model:
            first = [entry for entry in self.model if entry[0] == self.model[0][0]]
            if expected and sum(map(len, expected)) + len(first) > ticks:
                break
            expected.append(first)
            del self.model[: len(first)]
        assert [
            [(batch.received_ns, batch.connection, *tick) for tick in batch.ticks] for batch in taken
        ] == expected

    @rule(behind=st.integers(0, 4))
    def forget_the_old(self, behind):
        """Drop what was received before the last few batches."""
        than = self.batches - behind
        self.queue.drop_older(than)
        old = [entry for entry in self.model if entry[0] < than]
        self.lose(old, "aged")
        del self.model[: len(old)]

    @precondition(lambda self: self.model)
    @rule()
    def clear(self):
        """Leave."""
        self.queue.clear()
        self.lose(self.model, "closed")
        self.model.clear()

    @invariant()
    def agrees(self):
        """Compare size, losses and what is kept in memory."""
        assert self.queue.size == len(self.model)
        losses = self.queue.losses()
        assert {(loss.connection, loss.reason): loss.count for loss in losses} == self.lost
        assert all(loss.from_ns <= loss.to_ns <= self.batches for loss in losses)
        self.lost.clear()
        held = sum(len(segment.ticks) for segment in self.queue._segments)
        assert held <= 3 * self.capacity + 2 * 6, "marks are swept"
        assert len(self.queue._newest) <= 2 * self.capacity + 3, "the index is swept"


TestAgainstAList = AgainstAList.TestCase
TestAgainstAList.__doc__ = "A queue that kept or dropped another tick than it says would bend every account."
TestAgainstAList.settings = settings(max_examples=60, stateful_step_count=25)


def test_an_untouched_batch_leaves_as_it_came():
    """The common case copies nothing, and a sink sees the very batch with all its counts."""
    queue, batch = TickQueue(10), FakeBatch([1, 2], rejected=3)
    queue.append(batch)
    assert queue.take(0) == [batch]
    assert queue.take(0) == []


def test_a_shared_batch_is_never_changed():
    """Other subscribers have the same list of ticks."""
    queue, batch = TickQueue(2), FakeBatch(["x", "x", "y", "z"])
    queue.append(batch)
    queue.conflate({segment: list(segment.ticks) for segment in queue.unkeyed()})
    queue.drop_oldest()
    assert [taken.ticks for taken in queue.take(0)] == [["y", "z"]]
    assert batch.ticks == ["x", "x", "y", "z"]


def test_keys_that_come_late_change_nothing():
    """Two threads may look for the keys of one batch at once, or a batch may leave meanwhile."""
    queue = TickQueue(2)
    for ticks in (["x"], ["x", "y"], ["x", "z"]):
        queue.append(FakeBatch(ticks))
    keys = {segment: list(segment.ticks) for segment in queue.unkeyed()}
    late = {segment: list(its_keys) for segment, its_keys in keys.items()}
    assert queue.take(0)[0].ticks == ["x"]
    queue.conflate(keys)
    queue._sweep()
    queue.conflate(late)
    assert queue.size == 3
    assert [batch.ticks for batch in queue.take(9)] == [["y"], ["x", "z"]]
    assert sum(loss.count for loss in queue.losses()) == 1


def test_a_loss_spans_what_was_lost():
    """The announcement says from when until when ticks are missing, for each connection."""
    queue = TickQueue(2)
    for connection, received_ns in (("a", 10), ("b", 20), ("a", 5), ("a", 40), ("a", 50)):
        queue.append(FakeBatch(["x"], connection, received_ns))
    queue.drop_oldest()
    first, second = queue.losses()
    assert (first.connection, first.count, first.from_ns, first.to_ns) == ("a", 2, 5, 10)
    assert (second.connection, second.count, second.from_ns, second.to_ns) == ("b", 1, 20, 20)
    assert queue.losses() == []


def test_keys_that_come_once_do_not_pile_up():
    """The index of a queue that is always full, and always taken from, must not grow with the day."""
    queue = TickQueue(10)
    for number in range(0, 5000, 10):
        queue.append(FakeBatch([*range(number, number + 11)]))
        if queue.size > 10:
            queue.conflate({segment: list(segment.ticks) for segment in queue.unkeyed()})
        queue.drop_oldest()
        queue.append(FakeBatch(["last"]))
        queue.take(0)
        assert len(queue._newest) <= 2 * 10 + 11


def test_one_old_tick_does_not_hold_up_the_sweep():
    """A trade at the front that nobody takes must not keep a morning of conflated quotes in memory."""
    queue = TickQueue(100)
    queue.append(FakeBatch(["trade"]))
    for number in range(500):
        queue.append(FakeBatch([(number, index) for index in range(50)]))
        if queue.size > 100:
            queue.conflate({s: [None if t == "trade" else t[1] for t in s.ticks] for s in queue.unkeyed()})
    assert queue.size == 51
    assert sum(len(segment.ticks) for segment in queue._segments) <= 300
    assert [len(batch.ticks) for batch in queue.take(1000)] == [1, 50]
