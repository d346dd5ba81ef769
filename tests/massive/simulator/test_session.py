import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.massive.simulator.options import CHANNEL_TYPES, Options
from pipeline.massive.simulator.session import Outcome, Session

CHANNELS = st.builds(
    "{}.{}".format, st.sampled_from(sorted(CHANNEL_TYPES)), st.sampled_from(["AAPL", "BRK.B", "*", "X"])
)


def request(session, action, params):
    """Send a request, return the outcome and the (status, message) pairs."""
    outcome, statuses = session.receive(json.dumps({"action": action, "params": params}).encode())
    elements = [json.loads(one) for one in statuses]
    assert all(one["ev"] == "status" for one in elements)
    return outcome, [(one["status"], one["message"]) for one in elements]


def authenticated(**options):
    """Return a session that has shown its key."""
    session = Session(Options(**options))
    request(session, "auth", "key")
    return session


@given(st.lists(st.tuples(st.sampled_from(["subscribe", "unsubscribe"]), st.lists(CHANNELS, max_size=5))))
@settings(max_examples=50, deadline=None)
def test_acknowledgements_are_exactly_the_changes(requests):
    """A client's ledger of channels would not match what the server holds."""
    session, model = authenticated(), set()
    for action, channels in requests:
        expected = []
        for channel in channels:
            if (action == "subscribe") == (channel not in model):
                model ^= {channel}
                expected.append(("success", f"{action}d to: {channel}"))
        assert request(session, action, ",".join(channels)) == (Outcome.CHANNELS, expected)
        assert session.held == model
        for channel in ("T.AAPL", "A.BRK.B", "AM.X", "LULD.NEW"):
            star = channel.split(".", 1)[0] + ".*"
            assert session.wanted[channel] == (channel in model or star in model)


@given(message=st.one_of(st.binary(), st.text().map(str.encode), st.just(b'{"action":5}'), st.just(b"[]")))
@settings(max_examples=50, deadline=None)
def test_anything_else_is_ignored(message):
    """A client's typing mistake would bring the server down."""
    assert Session(Options()).receive(message) == (Outcome.IGNORED, [])


def test_key_is_checked():
    """A wrong key would go unnoticed until the real server refuses it."""
    options = Options(keys=frozenset({"good"}))
    session = Session(options)
    assert request(session, "auth", "bad") == (
        Outcome.REFUSED,
        [("auth_failed", "authentication failed")],
    )
    assert session.key is None
    assert request(session, "auth", "good") == (
        Outcome.AUTHENTICATED,
        [("auth_success", "authenticated")],
    )
    assert session.key == "good"
    assert request(Session(Options()), "auth", "")[0] is Outcome.REFUSED


def test_nothing_is_held_before_the_key():
    """A client that subscribes too early would pass here and starve on the real feed."""
    session = Session(Options())
    assert request(session, "subscribe", "T.AAPL") == (Outcome.IGNORED, [("error", "not authorized")])
    assert not session.held


@pytest.mark.parametrize("channel", ["X.AAPL", "AAPL", "T.", "T", ".AAPL", "t.AAPL"])
def test_unknown_types_are_never_answered(channel):
    """A client would not learn to cope with channels that stay unconfirmed."""
    assert request(authenticated(), "subscribe", channel) == (Outcome.CHANNELS, [])


def test_channels_that_are_never_answered_are_not_held():
    """LULD, which no server ever answered for some keys, could not be tried."""
    session = authenticated(unanswered=frozenset({"LULD.*", "T.AAPL"}))
    outcome = request(session, "subscribe", "LULD.AAPL,T.AAPL,T.MSFT")
    assert outcome == (Outcome.CHANNELS, [("success", "subscribed to: T.MSFT")])
    assert session.held == {"T.MSFT"}


def test_unauthorized_channels_bring_errors_that_name_none():
    """A client would not learn to find out which channel was refused."""
    session = authenticated(unauthorized=frozenset({"Q.*", "T.AAPL"}))
    assert request(session, "subscribe", "T.AAPL,Q.MSFT, T.MSFT ,,A.AAPL") == (
        Outcome.CHANNELS,
        [
            ("error", "not authorized"),
            ("error", "not authorized"),
            ("success", "subscribed to: T.MSFT"),
            ("success", "subscribed to: A.AAPL"),
        ],
    )
    assert session.held == {"T.MSFT", "A.AAPL"}
    assert session.largest_request == 4
