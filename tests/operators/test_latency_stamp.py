import pytest

from operators.latency_stamp import Latencies, latency_stamp
from tests.operators.fakes import FakeBatch, FakeTick, Recorder, Source, in_threads

NOW_NS = 1_700_000_000_000_000_000


def _run(*batches, delay_ns=3000):
    latencies, source, recorder = Latencies(), Source(), Recorder()
    source.pipe(latency_stamp(lambda: NOW_NS + delay_ns, latencies)).subscribe(recorder)
    for batch in batches:
        source.emit(batch)
    return latencies, recorder


def _batch(*ages_ms, connection="a"):
    return FakeBatch([FakeTick("x", NOW_NS // 10**6 - age) for age in ages_ms], connection, NOW_NS)


def test_each_tick_gets_the_time_of_its_read():
    """A subscriber sees on the tick when it was received."""
    _, recorder = _run(_batch(1, 2))
    assert [tick.received_ns for tick in recorder.ticks] == [NOW_NS, NOW_NS]


def test_each_batch_gets_the_time_of_its_stamp():
    """A capture could not tell what decoding took from what waiting for the sink did."""
    _, recorder = _run(batch := _batch(1, 2))
    assert recorder.items == [batch]
    assert batch.decoded_ns == NOW_NS + 3000


def test_the_way_from_the_event_is_measured_by_connection():
    """One connection that lags must show as that one, with each tick counted."""
    latencies, _ = _run(_batch(20, 20, 50, 50.5), _batch(-7, connection="b"))
    feed = latencies.snapshot().feed
    assert (feed["a"].count, feed["a"].negative) == (4, 0)
    assert feed["a"].mean == pytest.approx(35.125e6, rel=1e-4)
    assert feed["a"].percentile(50) == pytest.approx(20e6, rel=0.016)
    assert feed["a"].max == pytest.approx(50.5e6, rel=1e-4)
    assert (feed["b"].count, feed["b"].negative) == (0, 1)


@pytest.mark.parametrize("count", [1, 5, 6, 64])
@pytest.mark.parametrize("event_ms", [1e308, -1e308, 1e300, -1e300, 2**63, -(2**63)])
def test_a_time_beyond_all_times_ends_nothing(event_ms, count):
    """One tick with a nonsense time would end the stream of all."""
    ticks = [FakeTick(number, event_ms) for number in range(count)]
    latencies, recorder = _run(FakeBatch(ticks, "a", NOW_NS), _batch(20))
    feed = latencies.snapshot().feed["a"]
    assert (len(recorder.items), feed.count + feed.negative) == (2, count + 1)
    assert feed.negative == (count if event_ms > 0 else 0)


def test_the_way_from_the_read_is_measured_once_a_batch():
    """What decoding costs is weighted by the ticks that waited for it."""
    latencies, _ = _run(_batch(1, 2, 3))
    decode = latencies.snapshot().decode["a"]
    assert (decode.count, decode.max) == (3, 3000)


def test_a_batch_without_ticks_flows_on():
    """It carries counts, and has no latency."""
    latencies, recorder = _run(FakeBatch(rejected=2))
    assert len(recorder.items) == 1
    assert latencies.snapshot().feed == latencies.snapshot().decode == {}


def test_subscribers_record_by_name():
    """Each sink shows its own delay; the same name is the same histogram, whichever thread asks first."""
    latencies = Latencies()
    found = []
    in_threads(*[lambda: found.append(latencies.delivered["redis"])] * 3)
    assert len({id(histogram) for histogram in found}) == 1
    latencies.delivered["redis"].record(5)
    assert latencies.snapshot().delivered["redis"].count == 1


def test_a_snapshot_while_connections_come(eager_switching):
    """Health reads at any moment, also while a first batch of a new connection makes its histogram."""
    latencies = Latencies()

    def write():
        for number in range(2000):
            latencies.feed[str(number % 500)].record(number)

    def read():
        for _ in range(20):
            latencies.snapshot()

    in_threads(write, read)
    assert sum(snapshot.count for snapshot in latencies.snapshot().feed.values()) == 2000


def test_of_a_large_batch_a_sample_stands_for_all():
    """The p99 of a busy connection must weigh as much as its ticks do."""
    latencies = Latencies()
    source = Source()
    source.pipe(latency_stamp(lambda: 0, latencies)).subscribe(Recorder())
    source.emit(FakeBatch([FakeTick(n, event_ms=1) for n in range(800)], "a", 3_000_000))
    source.emit(FakeBatch([FakeTick(n, event_ms=2) for n in range(8)], "a", 3_000_000))
    feed = latencies.feed["a"].snapshot()
    assert (feed.count, feed.negative, feed.max) == (808, 0, 2_000_000)
    assert feed.total == 800 * 2_000_000 + 8 * 1_000_000


def _mixed(points, bars, *, late_bar_ms=2000):
    now_ms = NOW_NS // 10**6
    ticks = [FakeTick("T", now_ms - 20) for _ in range(points)]
    ticks += [FakeTick("A", now_ms - late_bar_ms, is_bar=True) for _ in range(bars)]
    return FakeBatch(ticks, "a", NOW_NS)


@pytest.mark.parametrize("bars", [0, 1, 7, 208])
@pytest.mark.parametrize("points", [0, 1, 7, 208])
def test_bars_are_measured_apart_in_a_batch_of_any_size(points, bars):
    """An hour of bars would look two seconds late, and trades would look as late beside them."""
    latencies, _ = _run(_mixed(1, 1), _mixed(points, bars))
    snapshot = latencies.snapshot()
    feed, its_bars = snapshot.feed["a"], snapshot.bars["a"]
    assert (feed.count, feed.max) == (points + 1, 20_000_000)
    assert (its_bars.count, its_bars.max) == (bars + 1, 2_000_000_000)


def test_where_only_bars_come_there_is_no_series_of_events():
    """The page would show a latency of nothing instead of that of the bars."""
    latencies, _ = _run(_mixed(0, 3), _mixed(0, 100))
    assert latencies.snapshot().feed == {}


def test_only_bars_that_are_named_first_are_measured():
    """A revision 15 minutes later is no latency at all."""
    latencies, source = Latencies(), Source()
    source.pipe(latency_stamp(lambda: 0, latencies, lambda bars: bars[:1])).subscribe(Recorder())
    source.emit(_mixed(0, 3))
    source.emit(_mixed(9, 3, late_bar_ms=900_000))
    assert latencies.snapshot().bars["a"].count == 2
    assert latencies.snapshot().feed["a"].count == 9


def test_of_a_large_batch_no_more_is_looked_at_than_is_measured():
    """Looking for bars where none come would cost each trade and quote 15 ns."""
    looks = 0

    class Counted(FakeTick):
        @property
        def is_bar(self):
            nonlocal looks
            looks += 1
            return False

        @is_bar.setter
        def is_bar(self, _):
            pass

    _run(FakeBatch([Counted(n) for n in range(640)], "a", NOW_NS))
    assert looks == 16
