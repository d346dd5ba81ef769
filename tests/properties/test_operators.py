"""What holds for any input: a buffer's account, dedupe and the histogram, against naive models."""

import math
from asyncio import CancelledError
from collections import Counter, defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.account import Account
from operators.buffered import BufferAccounting, buffered
from operators.dedupe import dedupe
from operators.histogram import LatencyHistogram
from operators.latency_stamp import Latencies, latency_stamp
from operators.merge import merge
from operators.share import share
from tests.operators.fakes import ByHand, FakeBatch, FakeTick, Names, Recorder, Source

POLICIES = ("block", "drop_oldest", "drop_newest", "conflate", "error")

ARRIVE = st.tuples(
    st.just("arrive"),
    st.sampled_from("ab"),
    st.lists(st.sampled_from("xyz-"), max_size=7),
    st.tuples(*[st.integers(0, 2)] * 3),
)
GIVE_UP = st.tuples(st.sampled_from(["reject", "drop", "fail"]), st.sampled_from("ab"), st.integers(0, 3))
RAISED = (ValueError, BaseException, CancelledError, GeneratorExit, StopIteration)
RAISE = st.tuples(st.just("raise"), st.sampled_from(RAISED))
OTHER = st.sampled_from([("run",), ("run",), ("return",), ("return",), ("complete",), ("dispose",)])
SCRIPTS = st.lists(st.one_of(ARRIVE, ARRIVE, GIVE_UP, RAISE, OTHER), max_size=25)


class BufferedAgainstAList:
    """Plays a script on a `buffered` and on a list of ticks, and compares the accounts after each step.

    "run" lets the buffer deliver; the steps after it happen inside the subscriber, up to "return" or "raise".
    """

    def __init__(self, capacity, policy, gather, script):
        self.capacity, self.policy, self.gather = capacity, policy, gather
        self.script = iter(script)
        self.waiting = []  # (batch, connection, key, number)
        self.in_hand = Counter()
        self.accounts = defaultdict(Counter)
        self.reasons, self.told, self.expected_told = Counter(), Counter(), Counter()
        self.out, self.expected_out = [], []
        self.closed = self.failed = self.completed = self.inside = False
        self.batches = self.errors = 0
        self.trouble = []
        self.source, self.scheduler, self.gauge = Source(), ByHand(), BufferAccounting()
        key = (lambda tick: None if tick[0] == "-" else tick[0]) if policy == "conflate" else None
        stream = self.source.pipe(
            buffered(
                capacity,
                policy,
                self.on_drop,
                scheduler=self.scheduler,
                conflate_key=key,
                gather=gather,
                gauge=self.gauge,
            )
        )
        self.recorder = Recorder(self.on_item)
        self.subscription = stream.subscribe(self.recorder)

    def on_drop(self, dropped):
        assert dropped.from_ns <= dropped.to_ns
        self.told[dropped.connection, dropped.reason] += dropped.count

    def on_item(self, item):
        raises = None
        try:
            raises = self.serve(item)
        except BaseException as error:  # the buffer isolates it, as it should: `run` raises it again
            self.trouble.append(error)
        if raises:
            self.errors += 1
            raise raises("the subscriber")

    def serve(self, item):
        batches = item if self.gather else [item]
        self.out.append([(batch.connection, tick) for batch in batches for tick in batch.ticks])
        self.take()
        self.compare()
        self.inside = True
        raises = self.play()
        self.inside = False
        for connection, count in self.in_hand.items():
            self.accounts[connection]["failed" if raises else "delivered"] += count
        self.in_hand.clear()
        return raises

    def take(self):
        """Take out of the model what the buffer has just delivered."""
        taken, room = [], self.gather
        while self.waiting:
            first = [entry for entry in self.waiting if entry[0] == self.waiting[0][0]]
            room -= len(first)
            if taken and room < 0:
                break
            taken += first
            del self.waiting[: len(first)]
        self.expected_out.append([(connection, tick) for _, connection, tick in taken])
        self.in_hand.update(connection for _, connection, _ in taken)

    def lose(self, entries, reason):
        for _, connection, _ in entries:
            self.accounts[connection]["dropped"] += 1
            self.reasons[reason] += 1
            self.expected_told[connection, reason] += 1

    def play(self):
        """Do the steps that are left, inside the subscriber only those up to its end."""
        for step in self.script:
            kind, *arguments = step
            if self.inside and kind in {"return", "raise"}:
                return arguments[0] if arguments else None
            getattr(self, kind, lambda *_: None)(*arguments)
            self.compare()
        return None

    def run(self):
        if self.inside:
            return
        self.scheduler.run()
        for error in self.trouble:
            raise error
        assert not self.waiting, "all that was queued is delivered"
        if not self.closed:
            assert self.recorder.done.is_set() == (self.failed or self.completed)

    def arrive(self, connection, keys, counts):
        full = len(self.waiting) + len(keys) > self.capacity
        if self.recorder.done.is_set() or self.completed or self.closed:
            return  # the source is gone
        if self.policy == "block" and full and not self.inside:
            return  # it would wait for a thread that there is not
        self.batches += 1
        entries = [(self.batches, connection, (key, self.batches, n)) for n, key in enumerate(keys)]
        account = self.accounts[connection]
        deduplicated, rejected, lost = counts
        account["received"] += len(keys) + sum(counts)
        account["deduplicated"] += deduplicated
        account["rejected"] += rejected
        account["dropped"] += lost
        self.reasons["lost"] += lost
        if self.failed:
            self.lose(entries, "overflow")
        elif self.policy == "drop_oldest":
            self.waiting += entries
            self.drop_oldest()
        elif self.policy == "conflate":
            self.waiting += entries
            if full:
                newest = {tick[0]: tick for _, _, tick in self.waiting if tick[0] != "-"}
                old = [e for e in self.waiting if newest.get(e[2][0], e[2]) != e[2]]
                self.lose(old, "conflated")
                self.waiting = [entry for entry in self.waiting if entry not in old]
                self.drop_oldest()
        else:
            room = self.capacity - len(self.waiting)
            self.waiting += entries[:room]
            self.lose(entries[room:], "overflow")
            self.failed = self.policy == "error" and full and bool(keys)
        ticks = [tick for _, _, tick in entries]
        self.source.emit(FakeBatch(ticks, connection, self.batches, -1, *counts))

    def drop_oldest(self):
        excess = max(len(self.waiting) - self.capacity, 0)
        self.lose(self.waiting[:excess], "overflow")
        del self.waiting[:excess]

    def reject(self, connection, count):
        self.give_up(connection, count, "rejected", lambda: self.gauge.reject(connection, count))

    def drop(self, connection, count):
        self.give_up(connection, count, "dropped", lambda: self.gauge.drop(connection, count, "sink"))

    def fail(self, connection, count):
        self.give_up(connection, count, "failed", lambda: self.gauge.fail(connection, count))

    def give_up(self, connection, count, field, call):
        if count > self.in_hand[connection]:
            with pytest.raises(ValueError, match="count"):
                call()
            return
        call()
        if not count:
            return
        self.in_hand[connection] -= count
        self.accounts[connection][field] += count
        if field == "dropped":
            self.reasons["sink"] += count

    def complete(self):
        self.completed = True
        self.source.complete()

    def dispose(self):
        self.closed = True
        self.lose(self.waiting, "closed")
        self.waiting = []
        self.subscription.dispose()

    def compare(self):
        queued = self.in_hand + Counter(connection for _, connection, _ in self.waiting)
        accounts = self.gauge.accounts()
        assert all(account.imbalance == 0 for account in accounts.values())
        assert accounts == {
            connection: Account(**counts, queued=queued[connection])
            for connection, counts in self.accounts.items()
        }
        assert self.gauge.queued == sum(queued.values())
        assert Counter(self.gauge.dropped_by_reason()) == +self.reasons
        assert self.told == +self.expected_told
        assert self.gauge.errors == self.errors

    def finish(self):
        """Play on to the end and compare what came out."""
        self.play()
        self.run()
        self.compare()
        assert self.out == self.expected_out
        assert self.recorder.violations == []
        self.subscription.dispose()
        assert self.gauge.queued == 0


@pytest.mark.parametrize("policy", POLICIES)
@given(capacity=st.integers(1, 6), gather=st.sampled_from([0, 0, 1, 4]), script=SCRIPTS)
@settings(max_examples=60)
def test_the_account_balances_after_and_during_any_interleaving(policy, capacity, gather, script):
    """No order of arrivals, deliveries, defects and disposals makes a tick that is nowhere, or twice."""
    BufferedAgainstAList(capacity, policy, gather, script).finish()


VALUES = st.lists(
    st.one_of(st.integers(-(10**9), 10**13), st.integers(0, 5000), st.integers(10**6, 10**9)), max_size=60
)


@given(values=VALUES, more=VALUES, q=st.floats(0, 100))
@settings(max_examples=100)
def test_percentiles_are_those_of_a_sorted_list(values, more, q):
    """The p99 on the screen is within 1.6 % of the real one, of all, of a window, and of two together."""
    first, second = LatencyHistogram(), LatencyHistogram()
    for value in values:
        first.record(value)
    earlier = first.snapshot()
    for value in more:
        first.record(value)
        second.record(value)
    whole, window, both = first.snapshot(), first.snapshot() - earlier, earlier + second.snapshot()
    assert both == whole
    for snapshot, numbers in ((whole, values + more), (window, more)):
        ordered = sorted(value for value in numbers if value >= 0)
        assert snapshot.count == len(ordered)
        assert snapshot.negative == len(numbers) - len(ordered)
        if not ordered:
            continue
        assert snapshot.mean == pytest.approx(sum(ordered) / len(ordered))
        exact = ordered[max(math.ceil(len(ordered) * q / 100), 1) - 1]
        told = snapshot.percentile(q)
        if exact < 1 << 42:
            assert abs(told - exact) <= exact / 64 + 1
        else:
            assert told == snapshot.max >= exact
        assert snapshot.max >= ordered[-1] * 63 / 64 - 1
    assert whole.max == max((value for value in values + more if value >= 0), default=0)


NOW_NS = 1_700_000_000_123_456_789


@given(
    ages_us=st.lists(st.one_of(st.integers(-(10**5), 10**6), st.integers(0, 10**10)), max_size=60),
    whole_ms=st.booleans(),
)
@settings(max_examples=100)
def test_moments_are_recorded_as_one_by_one(ages_us, whole_ms):
    """Counting a whole batch at once gives what counting tick by tick gives."""
    moments = [NOW_NS / 1e6 - age / 1e3 for age in ages_us]
    if whole_ms:
        moments = [int(moment) for moment in moments]
    at_once, by_one = LatencyHistogram(), LatencyHistogram()
    for moment in moments:
        age_ns = NOW_NS - int(moment * 1_000_000)
        by_one.record(age_ns if age_ns >= 0 or moment > NOW_NS / 1e6 else 0)
    at_once.record_since(list(moments), NOW_NS)
    a, b = at_once.snapshot(), by_one.snapshot()
    assert (a.buckets, a.negative, a.max) == (b.buckets, b.negative, b.max)
    assert abs(a.total - b.total) <= 1000 * (len(moments) + 1)  # sums of floats near now


@given(st.lists(st.tuples(st.integers(0, 2), st.lists(st.integers(0, 50), max_size=5)), max_size=40))
@settings(max_examples=50)
def test_the_chain_keeps_every_tick_in_order(arrivals):
    """merge, dedupe, latency_stamp, share: what each connection sent comes out once, in its order."""
    sources = [Source() for _ in range(3)]
    latencies = Latencies()
    chain = merge(*sources).pipe(
        dedupe(Names),
        latency_stamp(lambda: 7, latencies),
        share(),
    )
    recorders = [Recorder(), Recorder()]
    for recorder in recorders:
        chain.subscribe(recorder)
    for which, names in arrivals:
        ticks = [FakeTick((which, name)) for name in names]
        sources[which].emit(FakeBatch(ticks, str(which), 5))
    for source in sources:
        source.complete()
    for which in range(3):
        sent = dict.fromkeys((which, name) for where, names in arrivals if where == which for name in names)
        for recorder in recorders:
            assert [tick.name for tick in recorder.ticks if tick.name[0] == which] == list(sent)
    first = recorders[0]
    assert recorders[1].items == first.items
    assert all(tick.received_ns == 5 for tick in first.ticks)
    received = sum(len(names) for _, names in arrivals)
    assert received == len(first.ticks) + sum(batch.deduplicated for batch in first.items)
    assert sum(snapshot.count for snapshot in latencies.snapshot().decode.values()) == len(first.ticks)
    assert first.completions == 1
