import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from reactivex.scheduler import VirtualTimeScheduler

from pipeline.massive.protocol import (
    ACK_TIMEOUT_S,
    PENDING,
    ChannelState,
    Kind,
    Ledger,
    ServerStatus,
    acknowledged_channels,
    auth_request,
    channel_request,
    channels_for,
    classify,
)
from pipeline.massive.subscriptions import Subscriptions
from tests.odd_symbols import SYMBOLS


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        ("connected", "Connected Successfully", Kind.GREETING),
        ("auth_success", "authenticated", Kind.AUTHENTICATED),
        ("success", "authenticated", Kind.AUTHENTICATED),
        ("auth_failed", "Your plan doesn't include websocket access.", Kind.AUTH_FAILED),
        ("auth_timeout", "No authentication request received.", Kind.AUTH_TIMEOUT),
        ("success", "subscribed to: T.AAPL", Kind.SUBSCRIBED),
        ("success", "unsubscribed to: T.AAPL", Kind.UNSUBSCRIBED),
        ("error", "not authorized", Kind.REFUSED),
        ("max_connections", "any of four wordings", Kind.MAX_CONNECTIONS),
        ("slow_consumer", "", Kind.OTHER),
        ("success", "something new", Kind.OTHER),
        (None, None, Kind.OTHER),
    ],
)
def test_classify(status, message, kind):
    """A status taken for another one is a lost subscription or a hammered server."""
    assert classify(ServerStatus(status=status, message=message)) is kind


def test_acknowledged_channels():
    """One element may name one channel or several; a symbol may hold a dot."""
    element = ServerStatus(status="success", message="subscribed to: T.BRK.B, Q.A")
    assert acknowledged_channels(element) == ["T.BRK.B", "Q.A"]


def test_requests_are_what_the_server_reads():
    """One JSON object a message, channels joined by commas."""
    assert json.loads(auth_request("k")) == {"action": "auth", "params": "k"}
    assert json.loads(channel_request("subscribe", ["T.A", "Q.A"])) == {
        "action": "subscribe",
        "params": "T.A,Q.A",
    }
    assert channels_for(["A", "B"], ["T", "Q"]) == ["T.A", "Q.A", "T.B", "Q.B"]


CHANNELS = st.lists(st.sampled_from([f"T.S{n}" for n in range(6)]), max_size=4)


class LedgerMachine(RuleBasedStateMachine):
    """Any order of wanting, asking, answers and time: the ledger never forgets a wanted channel."""

    def __init__(self):
        super().__init__()
        self.ledger = Ledger()
        self.now_s = 0.0
        self.wanted = {}
        self.asks = {}
        self.accused = False

    @rule(channels=CHANNELS)
    def want(self, channels):
        new = self.ledger.want(channels)
        assert new == [c for c in dict.fromkeys(channels) if c not in self.wanted]
        self.wanted |= dict.fromkeys(channels)
        self.asks |= dict.fromkeys(new, 0)

    @rule(channels=CHANNELS)
    def give_up(self, channels):
        held = self.ledger.give_up(channels)
        assert set(held) <= set(channels) & set(self.wanted)
        for channel in channels:
            self.wanted.pop(channel, None)

    @rule()
    def ask(self):
        for request in self.ledger.requests(self.now_s):
            assert 0 < len(request) <= 500
            for channel in request:
                self.asks[channel] += 1
                assert self.accused or self.asks[channel] <= 2, "asked a third time without a reason"

    @rule(channels=CHANNELS)
    def confirm(self, channels):
        assert set(self.ledger.confirm(channels)) <= set(channels)

    @rule()
    def refuse(self):
        self.ledger.refuse("not authorized", self.now_s)
        self.accused = True

    @rule(seconds=st.floats(0, 2 * ACK_TIMEOUT_S))
    def wait(self, seconds):
        self.now_s += seconds
        report = self.ledger.expire(self.now_s)
        assert not set(report.refused) & set(report.unanswered)

    @rule()
    def reconnect(self):
        self.ledger.reset()
        self.asks = dict.fromkeys(self.wanted, 0)
        assert self.ledger.count(*PENDING) == len(self.wanted)
        assert not self.ledger.awaits_answers

    @invariant()
    def remembers_all_and_knows_who_waits(self):
        assert self.ledger.channels() == list(self.wanted)
        assert sum(self.ledger.count(state) for state in ChannelState) == len(self.wanted) == len(self.ledger)
        asked = self.ledger.count(ChannelState.ASKED)
        assert self.ledger.awaits_answers == (asked > 0) == (self.ledger.next_deadline_s() is not None)


TestLedger = LedgerMachine.TestCase


def subscribe_all(ledger, refuse):
    """Play a server that answers each request by ``refuse`` until all is settled; count requests and time."""
    now_s, asked = 0.0, 0
    for _ in range(10_000):
        requests = ledger.requests(now_s)
        asked += len(requests)
        for request in requests:
            confirmed, errors = refuse(request)
            ledger.confirm(confirmed)
            for _error in range(errors):
                ledger.refuse("not authorized", now_s)
        if not requests and not ledger.awaits_answers:
            return asked, now_s
        deadline_s = ledger.next_deadline_s()
        if deadline_s is not None:
            now_s = max(now_s, deadline_s)
            ledger.expire(now_s)
    raise AssertionError("it never settles")


FORBIDDEN = st.sets(st.integers(0, 59), max_size=4)


@given(FORBIDDEN, st.integers(1, 60))
def test_the_refused_channels_are_found_though_the_server_names_none(forbidden, size):
    """A server that refuses a request whole for one channel must not cost us the other 499."""
    channels = [f"Q.S{n}" for n in range(size)]
    bad = {f"Q.S{n}" for n in forbidden} & set(channels)
    ledger = Ledger()
    ledger.want(channels)
    asked, _ = subscribe_all(ledger, lambda r: ([], 1) if bad & set(r) else (r, 0))
    assert set(ledger.channels(ChannelState.REFUSED)) == bad
    assert set(ledger.channels(ChannelState.CONFIRMED)) == set(channels) - bad
    assert asked <= 1 + 2 * len(bad) * 7


@given(FORBIDDEN, st.integers(1, 60))
def test_as_many_errors_as_channels_need_no_search(forbidden, size):
    """A server that confirms the good ones and sends an error for each bad one has said it all."""
    channels = [f"Q.S{n}" for n in range(size)]
    bad = {f"Q.S{n}" for n in forbidden} & set(channels)
    ledger = Ledger()
    ledger.want(channels)
    asked, now_s = subscribe_all(ledger, lambda r: ([c for c in r if c not in bad], len(bad & set(r))))
    assert set(ledger.channels(ChannelState.REFUSED)) == bad
    assert (asked, now_s <= 1.0) == (1, True)


def test_what_was_refused_is_asked_for_alone_on_the_next_connection():
    """A plan may have grown overnight; and if not, it must not spoil the requests of the others."""
    ledger = Ledger()
    ledger.want(["T.A", "Q.A", "T.B"])
    subscribe_all(ledger, lambda r: ([c for c in r if c != "Q.A"], "Q.A" in r))
    ledger.reset()
    assert ledger.requests(0) == [["T.A", "T.B"]]
    ledger.confirm(["T.A", "T.B"])
    assert ledger.requests(0) == [["Q.A"]]
    ledger.want(["T.C"])
    assert ledger.requests(0) == []
    ledger.confirm(["Q.A"])
    assert ledger.requests(0) == [["T.C"]]


PAIRS = st.sampled_from(["EUR/USD", "EUR-USD", "C:EUR/USD", "C:EUR-USD"])


@given(st.sets(PAIRS, min_size=1), PAIRS, st.sampled_from(["C", "CAS"]))
def test_a_pair_is_confirmed_by_whatever_spelling(asked, said, event_type):
    """Sources differ on how a pair is spelt: its channel would count as unanswered."""
    ledger = Ledger()
    channels = channels_for(sorted(asked), [event_type])
    ledger.want([*channels, f"{event_type}.GBP/USD", "C.*"])
    assert ledger.requests(0)[0][: len(channels)] == channels, "it is asked for as it was written"
    element = ServerStatus(status="success", message=f"subscribed to: {event_type}.{said}")
    assert sorted(ledger.confirm(acknowledged_channels(element))) == channels
    assert ledger.count(ChannelState.CONFIRMED) == len(channels)
    assert sorted(ledger.give_up(channels)) == channels
    assert ledger.confirm([f"{event_type}.{said}"]) == []


def test_what_was_asked_for_and_refused_is_given_back():
    """It was another that was refused, and its acknowledgement lost: its ticks came for good."""
    ledger = Ledger()
    ledger.want(["T.A", "T.B"])
    ledger.requests(0)
    ledger.confirm(["T.B"])
    ledger.refuse("not authorized", 0)
    assert ledger.expire(1.0).refused == ("T.A",)
    ledger.want(["T.C"])
    assert ledger.give_up(["T.A", "T.C"]) == ["T.A"]


@given(SYMBOLS, st.sampled_from(["T", "XT", "LULD"]))
def test_a_channel_is_split_at_its_first_dot(symbol, event_type):
    """`BRK.B` would be taken for a symbol `B`, or for a type."""
    (channel,) = channels_for([symbol], [event_type])
    assert channel == f"{event_type}.{symbol}"
    element = ServerStatus(status="success", message=f"subscribed to: {channel}")
    ledger = Ledger()
    ledger.want([channel])
    ledger.requests(0)
    assert ledger.confirm(acknowledged_channels(element)) == [channel]


def _lines_of(action) -> int:
    """Return how many lines of Python an action takes."""
    lines = 0

    def trace(_frame, event, _argument):
        nonlocal lines
        lines += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        action()
    finally:
        sys.settrace(before)
    return lines


@pytest.mark.parametrize("answer", ["refuse", "confirm"])
def test_a_server_that_answers_one_at_a_time_costs_no_look_at_all(answer):
    """A flood of `not authorized` for 10,000 channels stopped the loop: each cost a look at them all."""
    ledger = Ledger()
    channels = [f"T.S{number}" for number in range(2000)]
    ledger.want(channels)
    subscriptions = Subscriptions(lambda _: None, lambda *_, **__: None, VirtualTimeScheduler(), lambda: 1.0)
    subscriptions._ledger = ledger
    subscriptions.begin()
    subscriptions.refuse("not authorized")
    answers = {
        "refuse": lambda number: subscriptions.refuse("not authorized"),
        "confirm": lambda number: subscriptions.confirm([channels[number]]),
    }
    assert _lines_of(lambda: [answers[answer](number) for number in range(100)]) < 100 * 500


def test_what_is_asked_for_after_an_error_is_not_accused_of_it():
    """It would be refused for what another channel did; and the next error accuses it all the same."""
    ledger = Ledger()
    ledger.want(["T.A"])
    ledger.requests(0.0)
    ledger.refuse("not authorized", 0.1)
    ledger.want(["T.B"])
    ledger.requests(0.2)
    assert ledger.next_deadline_s() == pytest.approx(1.1)
    assert ledger.expire(1.1).refused == ("T.A",)
    assert ledger.next_deadline_s() == pytest.approx(10.2)
    ledger.refuse("not authorized", 2.0)
    assert ledger.expire(3.0).refused == ("T.B",)
    assert ledger.next_deadline_s() is None
