import json

import pytest

from pipeline import status
from pipeline.tickstock.words import in_words

AT = {"connection": "connection_2", "at_ns": 1}
EVENTS = [
    (status.Connecting(url="ws://x", attempt=1, **AT), "status_update"),
    (status.Connected(url="ws://x", **AT), "status_update"),
    (status.Authenticated(**AT), "connected"),
    (status.Subscribed(channels=("T.A",), pending=0, **AT), "status_update"),
    (status.Unsubscribed(channels=("T.A",), **AT), "status_update"),
    (status.Refused(channels=("T.A",), pending=0, message="not authorized", **AT), "status_update"),
    (status.Unanswered(channels=("T.A",), pending=0, **AT), "status_update"),
    (status.ServerMessage(status="slow_consumer", message="too slow", **AT), "status_update"),
    (status.Evicted(message="too many", **AT), "error"),
    (status.Failed(reason="the key", **AT), "error"),
    (status.Closed(**AT), "disconnected"),
    (status.Skipped(reason="no tickers", **AT), "status_update"),
    (status.SinkDown(sink="redis", reason="refused", at_ns=1), "status_update"),
]


@pytest.mark.parametrize(("event", "expected"), EVENTS, ids=lambda value: type(value).__name__)
def test_each_event_has_its_word_and_its_connection(event, expected):
    """The application switches on four words, and would miss a fifth."""
    word, data = in_words(event, was_live=False)
    assert word == expected
    assert data["connection_id"] == event.connection
    assert data["message"]
    json.dumps(data)


@pytest.mark.parametrize(("was_live", "expected"), [(True, "disconnected"), (False, "error")])
def test_a_lost_connection_is_told_from_one_that_never_was(was_live, expected):
    """An attempt that fails would be shown as one more loss of the connection."""
    word, data = in_words(status.Disconnected(reason="refused", **AT), was_live=was_live)
    assert word == expected
    assert data["reason"] == "refused"
    assert was_live or data["error"] == "refused"


def test_the_server_s_own_words_come_through():
    """TickStock logs status and message as Massive sends them."""
    event = status.ServerMessage(status="slow_consumer", message="too slow", **AT)
    _, data = in_words(event, was_live=True)
    assert (data["status"], data["message"]) == ("slow_consumer", "too slow")


def test_each_call_makes_a_dict_of_its_own():
    """What one callee changes, the next would see."""
    event = status.Closed(**AT)
    in_words(event, was_live=True)[1].clear()
    assert in_words(event, was_live=True)[1]
