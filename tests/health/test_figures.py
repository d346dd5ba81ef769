from hypothesis import given, settings
from hypothesis import strategies as st

from operators.account import Account
from operators.histogram import LatencyHistogram
from operators.latency_stamp import LatenciesSnapshot
from pipeline.health.figures import ConnectionFigures, Figures, SubscriberFigures
from pipeline.massive.snapshot import ConnectionSnapshot, Phase

NAMES = st.sampled_from(["a", "b", "c"])
COUNTS = st.integers(0, 1000)


def snapshot(name, phase, count):
    """Return how a connection stands that counted so much of everything."""
    counts = dict.fromkeys(("messages", "received_bytes", "connects", "disconnects", "evictions"), count)
    return ConnectionSnapshot(name, name, "url", phase, confirmed=count, **counts)


def histograms(counts):
    """Return a histogram for each name, with so many values."""
    found = {}
    for name, count in counts.items():
        histogram = LatencyHistogram()
        histogram.record(1000, count)
        found[name] = histogram.snapshot()
    return found


@st.composite
def figures(draw):
    """Return figures of any connections and subscribers."""
    counts = draw(st.dictionaries(NAMES, COUNTS))
    connections = {
        name: ConnectionFigures(snapshot(name, Phase.LIVE, count), count, 1.5, count, count)
        for name, count in counts.items()
    }
    subscribers = {
        name: SubscriberFigures(
            "block", False, {"c": Account(count, count)}, {"x": count}, count, {"calls": count}, {"c": count}
        )
        for name, count in draw(st.dictionaries(NAMES, COUNTS)).items()
    }
    latencies = LatenciesSnapshot(histograms(counts), {}, {})
    return Figures(connections, subscribers, latencies, draw(COUNTS), draw(st.dictionaries(NAMES, COUNTS)))


@given(figures(), figures(), figures())
@settings(max_examples=50)
def test_nothing_is_lost_or_counted_twice_in_a_sum(one, two, three):
    """The account of a stream in processes is the sum of many, in whatever order they are added."""
    assert (one + two) + three == one + (two + three)
    assert one + Figures() == Figures() + one == one
    both = one + two
    for name in {*one.connections, *two.connections}:
        parts = [each.connections[name] for each in (one, two) if name in each.connections]
        assert both.connections[name].ticks == sum(part.ticks for part in parts)
        assert both.connections[name].snapshot.messages == sum(part.snapshot.messages for part in parts)
        assert both.latencies.feed[name].count == sum(part.ticks for part in parts)
    for name in {*one.subscribers, *two.subscribers}:
        parts = [each.accounts[name]["c"] for each in (one, two) if name in each.accounts]
        assert both.accounts[name]["c"] == sum(parts, Account())


def test_what_is_a_state_is_the_later_one_s():
    """A connection whose first process died with it up would seem to be up for ever."""
    dead = ConnectionFigures(snapshot("c", Phase.LIVE, 4), 7, 100.0, 1, 5)
    now = ConnectionFigures(snapshot("c", Phase.CONNECTING, 1), 2, 0.0, 0, 0)
    both = dead + now
    assert (both.snapshot.phase, both.snapshot.confirmed, both.snapshot.connects) == (Phase.CONNECTING, 1, 5)
    assert (both.ticks, both.ticks_per_s, both.rejected, both.queued) == (9, 0.0, 1, 0)


def test_sinks_of_two_processes_stand_side_by_side():
    """One process's Redis is down and the other's is up: neither word alone is true."""
    one = {"state": "up", "url": "u", "messages": {"x": 2}, "last_error": None, "calls": 3}
    other = {"state": "down", "url": "u", "messages": {"x": 5, "y": 1}, "last_error": "gone", "calls": 4}
    figures = [
        SubscriberFigures("block", ended, {}, {}, 0, sink) for ended, sink in ((True, one), (False, other))
    ]
    both = figures[0] + figures[1]
    assert both.sink == {
        "state": "up / down",
        "url": "u",
        "messages": {"x": 7, "y": 1},
        "last_error": "gone",
        "calls": 7,
    }
    assert not both.ended
