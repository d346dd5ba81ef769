import pytest

from pipeline import status
from pipeline.status_stream import is_warning
from pipeline.tickstock.words import in_words

LATE = {"connection": "connection_2", "at_ns": 1, "late_s": 1.25, "usually_s": 0.04}


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (
            status.Late(**LATE, others="on time"),
            (
                "connection_2: all ticks come 1.25 s late, usually 0.04 s, while other connections are on"
                " time: we or the server are slow on connection_2; nothing waits here, so it is the server or"
                " the line to it"
            ),
        ),
        (
            status.Late(**LATE, others="on time", queued_bytes=5 << 20),
            "connection_2: all ticks come 1.25 s late, usually 0.04 s; 5.0 MiB wait here, so we are slow",
        ),
        (
            status.Late(**LATE),
            (
                "connection_2: all ticks come 1.25 s late, usually 0.04 s;"
                " there is no other connection to compare with"
            ),
        ),
        (
            status.Late(**LATE | {"connection": None}, others="late"),
            (
                "all ticks come 1.25 s late, usually 0.04 s, on every connection:"
                " our line, this machine, or the feed itself is slow"
            ),
        ),
        (
            status.Late(**LATE, tickers=("AAPL", "MSFT")),
            (
                "connection_2: ticks of AAPL, MSFT come 1.25 s late, those of the other tickers 0.04 s:"
                " the source of these is slow"
            ),
        ),
        (
            status.OnTime(connection="connection_2", at_ns=1, late_for_s=61.3),
            "connection_2: ticks come on time again after 61 s",
        ),
        (
            status.OnTime(at_ns=1, late_for_s=3.0, tickers=("AAPL",)),
            "ticks of AAPL come on time again after 3 s",
        ),
        (
            status.FallingBehind(
                at_ns=1, where="ingest", backlog_s=0.0, queued_bytes=3 << 20, overflow_in_s=41.6
            ),
            "we fall behind: 3.0 MiB wait undecoded and grow; ticks are dropped in about 42 s",
        ),
        (
            status.FallingBehind(
                connection="c", at_ns=1, where="server", backlog_s=2.0, queued_bytes=0, overflow_in_s=None
            ),
            "c: the server's backlog for us grows, 2.0 s by now: it cuts us off when its buffer is full",
        ),
        (
            status.FallingBehind(
                connection="c", at_ns=1, where="server", backlog_s=2.0, queued_bytes=0, overflow_in_s=9.0
            ),
            (
                "c: the server's backlog for us grows, 2.0 s by now: it cuts us off when its buffer is full"
                " in about 9 s"
            ),
        ),
        (
            status.CaughtUp(connection="c", at_ns=1, where="server", behind_for_s=7.0),
            "c: the server's backlog for us grows no more, after 7 s",
        ),
        (
            status.CaughtUp(at_ns=1, where="ingest", behind_for_s=7.0),
            "what waits undecoded grows no more, after 7 s",
        ),
    ],
)
def test_what_is_late_and_whose_doing_it_is_are_plain_sentences(event, words):
    """An operator at three in the morning reads one line, and must know where to look."""
    assert event.describe() == words


def test_trouble_is_a_warning_and_its_end_is_not():
    """At the level of warnings an operator would not hear of it, or would hear twice."""
    late = status.Late(**LATE)
    behind = status.FallingBehind(at_ns=1, where="ingest", backlog_s=0.0, queued_bytes=1, overflow_in_s=1.0)
    assert is_warning(late)
    assert is_warning(behind)
    assert not is_warning(status.OnTime(at_ns=1, late_for_s=1.0))
    assert not is_warning(status.CaughtUp(at_ns=1, where="ingest", behind_for_s=1.0))


def test_tickstock_takes_them_as_status_updates():
    """Its callback would fail on an event that it does not know, or take it for a lost connection."""
    word, data = in_words(status.Late(**LATE), was_live=True)
    assert (word, data["status"], data["connection_id"]) == ("status_update", "late", "connection_2")
    assert data["message"].startswith("connection_2: all ticks come 1.25 s late")
