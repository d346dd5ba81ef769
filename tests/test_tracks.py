from pipeline import tracks as module
from pipeline.gaps import Gaps
from pipeline.identity import Seen
from pipeline.ticks import Quote
from pipeline.tracks import Tracks


def quote(ticker, sequence=None):
    """Make a tick with nothing else in it."""
    return Quote(ticker=ticker, event_ms=1, sequence=sequence)


def test_the_last_tick_that_passed_is_kept():
    """A gap begins with it: a copy that was taken out, or came late from another line, is not it."""
    tracks = Tracks()
    seen = Seen(100, tracks)
    first, copy, second = quote("A", 5), quote("A", 5), quote("B", 1)
    seen([first, copy, second])
    assert tracks.last() == {"A": first, "B": second}
    assert tracks.last()["A"] is first


def test_without_dedupe_the_last_is_kept_all_the_same():
    """Gaps are told whether or not copies pass."""
    tracks = Tracks()
    ticks = [quote("A", 5), quote("A", 5)]
    assert tracks.note(ticks) is ticks
    assert tracks.last()["A"] is ticks[1]


def test_too_many_silent_tickers_are_forgotten(monkeypatch):
    """A feed of ever new symbols (options) does not eat the memory; what is remembered of others stays."""
    monkeypatch.setattr(module, "TICKERS_KEPT", 5)
    tracks = Tracks()
    seen = Seen(10, tracks)
    for number in range(100):
        seen([quote(f"S{number}", 1), quote("A", number)])
    assert len(tracks.by_ticker) < 30
    assert seen([quote("A", 99), quote("S99", 1)]) == []
    for number in range(100):
        tracks.note([quote(f"T{number}")])
    assert len(tracks.by_ticker) <= 7


def test_a_track_of_a_ticker_that_nobody_asked_for_is_not_made_by_looking():
    """Asking for the gap of a ticker that never ticked must not count it as one that did."""
    tracks = Tracks()
    gaps = Gaps(tracks, [].append, None, lambda action: action(), lambda: 5)
    gaps.open("one", ["A"], 5)
    gaps.flush()
    assert tracks.last() == {}
