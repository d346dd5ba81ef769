from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st

from operators.histogram import LatencyHistogram
from operators.latency_stamp import LatenciesSnapshot
from pipeline.health.meter import Meter, Sample, compare

COUNTS = st.integers(0, 10**6)


def histogram(*values_ms):
    """Return what a histogram holds after these."""
    filled = LatencyHistogram()
    for value_ms in values_ms:
        filled.record(int(value_ms * 1e6))
    return filled.snapshot()


def subscriber(received, *, delivered=0, rejected=0, dropped=0, failed=0, sink=None):
    """Return a subscriber as `health()` has it."""
    account = {
        "received": received,
        "delivered": delivered,
        "deduplicated": 7,
        "dropped": dropped,
        "failed": failed,
        "rejected": rejected,
        "queued": 3,
    }
    return {
        "account": account,
        "connections": {"connection_1": account},
        "sink": sink or {"calls": delivered, "errors": 0},
    }


def sample(at_s, subscribers, feed=(), delivered=None, sink=None):
    """Return a sample of a stream with one connection; ``feed`` are its latencies, ms."""
    return Sample(
        at_s,
        {
            "connections": [{"id": "connection_1", "name": "primary", "phase": "live"}],
            "subscribers": subscribers,
        },
        LatenciesSnapshot({"connection_1": histogram(*feed)}, {}, delivered or {}, sink or {}),
    )


@given(COUNTS, COUNTS, st.integers(1, 1000))
def test_rates_are_differences_over_time(before, more, seconds):
    """The table would show the average since the start, and a feed that stopped would look alive."""
    earlier = sample(10, {"callback": subscriber(before, delivered=before)})
    later = sample(10 + seconds, {"callback": subscriber(before + more, delivered=before + more)})
    reading = compare(earlier, later)
    assert reading.ticks_per_s == reading.connections[0].ticks_per_s == more / seconds
    assert reading.subscribers[0].delivered_per_s == more / seconds


def test_an_estimate_that_was_too_high_is_no_rate_below_zero():
    """A quiet line would show -0 ticks a second while the server says something about itself."""
    reading = compare(sample(10, {"callback": subscriber(8)}), sample(11, {"callback": subscriber(7)}))
    assert reading.ticks_per_s == 0


def test_latencies_are_those_of_the_window():
    """One slow second at the open would colour the figures all day."""
    earlier = sample(
        0, {}, feed=[900, 900], delivered={"callback": histogram(500)}, sink={"callback": histogram(70)}
    )
    later = sample(
        1,
        {"callback": subscriber(1)},
        feed=[900, 900, 2, 2, 2],
        delivered={"callback": histogram(500, 1)},
        sink={"callback": histogram(70, 4)},
    )
    reading = compare(earlier, later)
    assert 1.9 < reading.connections[0].p50_ms == reading.feed_p50_ms < 2.1
    assert 0.9 < reading.subscribers[0].p99_ms < 1.1
    assert 3.9 < reading.subscribers[0].sink_p50_ms == reading.subscribers[0].sink_p99_ms < 4.1


def test_where_nothing_came_there_is_no_latency_and_no_division_by_zero():
    """The first picture would fail, or show 0.00 ms as if that were measured."""
    first = sample(5, {"callback": subscriber(0)})
    reading = compare(first, first)
    assert reading.connections[0].p50_ms is reading.feed_p99_ms is reading.subscribers[0].p50_ms is None
    assert reading.ticks_per_s == 0


def test_a_connection_counts_as_whoever_saw_most_and_loses_as_whoever_lost_most():
    """Quotes that only Redis rejects would be blamed on the feed, or a drop be hidden."""
    now = sample(
        1,
        {
            "callback": subscriber(100, rejected=1, dropped=0),
            "redis": subscriber(100, rejected=50, dropped=9),
            "late": subscriber(10, rejected=0, dropped=2),
        },
    )
    line = compare(now, now).connections[0]
    assert (line.rejected, line.duplicates, line.dropped) == (1, 7, 9)


def test_a_subscriber_tells_its_state_its_messages_or_its_failures():
    """Redis could be away, or a callback raise all day, and the table would not show it."""
    up = {"state": "up", "acknowledged": 100, "errors": 0}
    earlier = sample(0, {"redis": subscriber(1, sink=up)})
    later = sample(
        2,
        {
            "redis": subscriber(1, sink=up | {"state": "down", "acknowledged": 300}),
            "callback": subscriber(1, failed=1234),
        },
    )
    redis, callback = compare(earlier, later).subscribers
    assert (redis.state, redis.messages_per_s) == ("down", 100)
    assert (callback.state, callback.messages_per_s) == ("1,234 failed", None)


def test_a_meter_looks_back_over_its_window_and_forgets_what_is_older():
    """Memory would grow with every picture, all day."""
    times = iter(range(1000))
    counts = iter(range(0, 100_000, 10))
    stream = SimpleNamespace(
        health=lambda: sample(0, {"callback": subscriber(next(counts))}).health,
        latencies=SimpleNamespace(snapshot=lambda: LatenciesSnapshot({}, {}, {})),
    )
    meter = Meter(stream, window_s=3, monotonic=lambda: next(times))
    assert [meter.read().ticks_per_s for _ in range(100)] == [10] * 100
    assert len(meter._samples) <= 5
