import pytest

from operators.dedupe import dedupe
from tests.operators.fakes import FakeBatch, FakeTick, Names, Recorder, Source


def _run(batches):
    source, recorder = Source(), Recorder()
    source.pipe(dedupe(Names)).subscribe(recorder)
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


def test_a_second_subscription_starts_clean():
    """State that outlives a subscription would take the first ticks of the next one for copies."""
    source = Source()
    chain = source.pipe(dedupe(Names))
    for _ in range(2):
        recorder = Recorder()
        with chain.subscribe(recorder):
            source.emit(_batch("x"))
        assert _names(recorder) == [["x"]]


def test_a_memory_that_raises_ends_the_stream():
    """It is a defect of ours; hiding it would let duplicates through in silence."""
    recorder = _run([_batch([]), _batch("x")])
    assert [type(error) for error in recorder.errors] == [TypeError]
    assert recorder.items == []


def test_a_subscriber_that_raises_is_not_taken_for_an_identity():
    """What is raised downstream is not this operator's to turn into an end."""
    source = Source()
    errors = []
    source.pipe(dedupe(Names)).subscribe(lambda batch: 1 / 0, errors.append)
    with pytest.raises(ZeroDivisionError):
        source.emit(_batch("x"))
    assert errors == []
