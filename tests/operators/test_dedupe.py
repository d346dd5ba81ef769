import pytest

from operators.dedupe import dedupe
from tests.operators.fakes import FakeBatch, FakeTick, Recorder, Source


def by_name(ticks):
    """Tell fakes apart by their name; what is no fake has no identity."""
    return [getattr(tick, "name", None) for tick in ticks]


def _run(batches, window=100):
    source, recorder = Source(), Recorder()
    source.pipe(dedupe(window, by_name)).subscribe(recorder)
    for batch in batches:
        source.emit(batch)
    return recorder


def _batch(*names, **counts):
    return FakeBatch([FakeTick(name) for name in names], **counts)


def _names(recorder):
    return [[tick.name for tick in batch.ticks] for batch in recorder.items]


def test_duplicates_are_taken_out_and_counted():
    """Two connections that carry one ticker give each tick once, within a batch and across batches."""
    recorder = _run([_batch("x", "y", "x"), _batch("y", "z")])
    assert _names(recorder) == [["x", "y"], ["z"]]
    assert [batch.deduplicated for batch in recorder.items] == [1, 1]
    assert [batch.received for batch in recorder.items] == [3, 2]


def test_what_was_counted_before_stays_counted():
    """The count is added to, so that the batch still balances."""
    (batch,) = _run([_batch("x", "x", deduplicated=2, rejected=1, lost=4)]).items
    assert (batch.deduplicated, batch.rejected, batch.lost) == (3, 1, 4)
    assert batch.received == len(batch.ticks) + batch.deduplicated + batch.rejected + batch.lost


def test_a_batch_of_duplicates_flows_on():
    """Its counts would be missing from the account."""
    recorder = _run([_batch("x"), _batch("x")])
    assert _names(recorder) == [["x"], []]
    assert recorder.items[1].deduplicated == 1


def test_what_has_no_identity_passes():
    """A tick without an id is never dropped, and its neighbours are known all the same."""
    ticks = [FakeTick(None), FakeTick("x"), FakeTick(None), "unknown", "unknown"]
    first, second = _run([FakeBatch(list(ticks)), _batch("x", None)]).items
    assert first.ticks == ticks
    assert [tick.name for tick in second.ticks] == [None]


def test_a_window_of_one():
    """The smallest window still knows the tick before."""
    assert _names(_run([_batch("x", "x", "y", "y", "z", "z")], window=1)) == [["x", "y", "z"]]


def test_an_identity_seen_again_counts_as_new():
    """A bar that is repeated all day long is remembered all day long."""
    batches = [_batch("x", number, number + 1) for number in range(0, 100, 2)]
    recorder = _run(batches, window=4)
    assert sum(name == "x" for names in _names(recorder) for name in names) == 1


@pytest.mark.parametrize("size", [1, 7, 50])
def test_memory_is_bounded(size, monkeypatch):
    """A day of ticks must not be remembered: at most two windows. White-box."""
    import operators.dedupe as module

    memories = []
    original = module._Memory

    class Watched(original):
        def __init__(self, *arguments):
            memories.append(self)
            super().__init__(*arguments)

    monkeypatch.setattr(module, "_Memory", Watched)
    source = Source()
    source.pipe(dedupe(10, by_name)).subscribe(Recorder())
    for start in range(0, 500, size):
        source.emit(_batch(*range(start, start + size)))
        (memory,) = memories
        assert len(memory._younger) <= 10
        assert len(memory._older) <= 10


def test_an_identity_that_raises_ends_the_stream():
    """It is a defect of ours; hiding it would let duplicates through in silence."""
    recorder = _run([_batch([]), _batch("x")])
    assert [type(error) for error in recorder.errors] == [TypeError]
    assert recorder.items == []


def test_a_subscriber_that_raises_is_not_taken_for_an_identity():
    """What is raised downstream is not this operator's to turn into an end."""
    source = Source()
    errors = []
    source.pipe(dedupe(10, by_name)).subscribe(lambda batch: 1 / 0, errors.append)
    with pytest.raises(ZeroDivisionError):
        source.emit(_batch("x"))
    assert errors == []


def test_the_window_is_checked():
    """A window of nothing would dedupe nothing, in silence."""
    with pytest.raises(ValueError, match="window"):
        dedupe(0, by_name)
