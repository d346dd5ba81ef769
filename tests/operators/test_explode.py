from operators.explode import explode
from tests.operators.fakes import FakeBatch, Recorder, Source


def _subscribe(recorder, *arguments, **options):
    source = Source()
    source.pipe(explode(*arguments, **options)).subscribe(recorder)
    return source


def test_ticks_come_one_by_one_in_order():
    """A callback takes ticks, not batches; a batch that is empty is nothing to it."""
    recorder = Recorder()
    source = _subscribe(recorder)
    source.emit(FakeBatch([1, 2]))
    source.emit(FakeBatch(deduplicated=3))
    source.emit(FakeBatch([3]))
    source.complete()
    assert (recorder.items, recorder.completions) == ([1, 2, 3], 1)


def test_a_tick_that_raises_costs_only_itself():
    """One callback exception must not end the stream, nor the rest of its batch."""
    raised = []
    recorder = Recorder(lambda tick: tick % 2 or 1 / 0)
    _subscribe(recorder, raised.append).emit(FakeBatch([1, 2, 3, 4, 5]))
    assert recorder.items == [1, 2, 3, 4, 5]
    assert [type(error) for error in raised] == [ZeroDivisionError] * 2


def test_exceptions_are_logged_at_most_once_in_ten_seconds(caplog):
    """A callback that always raises must not fill the disk; the log says how many it left out."""
    now_s = [0.0]
    source = _subscribe(Recorder(lambda tick: 1 / 0), monotonic=lambda: now_s[0])
    source.emit(FakeBatch([1, 2, 3]))
    now_s[0] = 9.9
    source.emit(FakeBatch([4]))
    assert len(caplog.records) == 1
    now_s[0] = 10.0
    source.emit(FakeBatch([5]))
    assert len(caplog.records) == 2
    assert "3 more since the last line" in caplog.records[1].message


def test_a_report_that_raises_costs_nothing_either(caplog):
    """A defect in the error handler is logged, and the ticks still come."""
    recorder = Recorder(lambda tick: 1 / 0)

    def report(error):
        raise LookupError("report")

    _subscribe(recorder, report).emit(FakeBatch([1, 2]))
    assert recorder.items == [1, 2]
    assert "LookupError: report" in caplog.text
