import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websocket import ABNF

from pipeline.massive.simulator import Acks, Eviction, Faults, Options, Packet, Silence
from pipeline.massive.simulator.wire import Opcode
from tests.massive.simulator.lines import Client, server

CHANNELS = ["T.A", "T.B", "Q.A", "Q.*", "AM.A"]
NAMES = st.lists(st.sampled_from(CHANNELS), max_size=4)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["subscribe", "unsubscribe"]), NAMES),
        st.tuples(
            st.just("offer"), st.lists(st.sampled_from(["T.A", "T.B", "Q.A", "Q.B", "AM.A"]), min_size=1)
        ),
        st.tuples(st.just("wait"), st.floats(0, 3)),
        st.tuples(st.just("rubbish"), st.binary(max_size=5)),
    ),
    max_size=30,
)
FRACTIONS = st.sampled_from([0.0, 0.3, 1.0])
FAULTS = st.builds(
    Faults,
    repeat=FRACTIONS,
    malformed=FRACTIONS,
    truncated=FRACTIONS,
    fragments=st.integers(1, 3),
    pings=FRACTIONS,
    ack_delay_s=st.sampled_from([0.0, 0.5]),
    ack_loss=FRACTIONS,
    shuffle_acks=st.booleans(),
)


def packet_of(channels, number):
    """Return a packet whose elements say their channel and their number."""
    return Packet(
        (channel, json.dumps({"ev": "x", "channel": channel, "n": number + place}).encode())
        for place, channel in enumerate(channels)
    )


def holds(held, channel):
    """Tell whether a set of channels covers one."""
    return channel in held or f"{channel.partition('.')[0]}.*" in held


def joined(client):
    """Return a client that has shown its key, and has read so."""
    client.say("auth", "key")
    assert client.statuses()[-1][-1] == ("auth_success", "authenticated")
    return client


@given(steps=STEPS, faults=FAULTS, acks=st.sampled_from(Acks))
@settings(max_examples=150, deadline=None)
def test_data_of_channels_that_are_held_and_of_no_other(steps, faults, acks):
    """A client could not be blamed for ticks it lost, nor praised for those it got."""
    state, clock = server(Options(acks=acks), faults)
    client, held, number = joined(Client(state, clock)), set(), 0
    for kind, value in steps:
        if kind == "offer":
            packet = packet_of(value, number)
            number += len(value)
            client.talk.offer(packet)
            messages = client.talk.flush(patient=False)
            first = {
                one for one, name in zip(packet.elements, packet.channels, strict=True) if holds(held, name)
            }
            assert {one for message in messages for one in message.elements} >= first
            assert first >= set(packet.elements) & {one for m in messages for one in m.elements}
            assert client.line.data.endswith(b"".join(message.data for message in messages))
        elif kind == "wait":
            clock.go_on(value)
        elif kind == "rubbish":
            client.frame(value)
        else:
            client.say(kind, ",".join(value))
            held = held | set(value) if kind == "subscribe" else held - set(value)
            assert client.talk.session.held == held


@given(
    requests=st.lists(st.tuples(st.booleans(), NAMES), max_size=8), faults=FAULTS, acks=st.sampled_from(Acks)
)
@settings(max_examples=100, deadline=None)
def test_each_change_is_acknowledged_where_and_when_the_options_say(requests, faults, acks):
    """A client that learns of its channels late, never, or with its ticks would not be tried."""
    faults = Faults(
        ack_delay_s=faults.ack_delay_s, ack_loss=faults.ack_loss, shuffle_acks=faults.shuffle_acks
    )
    state, clock = server(Options(acks=acks), faults)
    client, held = joined(Client(state, clock)), set()
    for subscribe, channels in requests:
        action = "subscribe" if subscribe else "unsubscribe"
        client.say(action, ",".join(channels))
        changed = [name for name in dict.fromkeys(channels) if (name in held) != subscribe]
        held ^= set(changed)
        due = [("success", f"{action}d to: {name}") for name in changed]
        if faults.ack_delay_s:
            assert client.messages() == []
            clock.go_on(faults.ack_delay_s)
        if acks is Acks.AMONG_TICKS:
            assert client.messages() == []
            clock.go_on(1)
        said = client.statuses()
        told = [one for message in said for one in message]
        if acks is Acks.SINGLE:
            assert all(len(message) == 1 for message in said)
        else:
            assert len(said) == bool(told)
        if faults.shuffle_acks:
            told.sort(key=due.index)
        kept = iter(due)
        assert all(one in kept for one in told)  # in order
        if faults.ack_loss in {0, 1}:
            assert len(told) == (len(due) if faults.ack_loss == 0 else 0)


def test_acknowledgements_among_ticks_come_once_and_with_the_first_of_them():
    """A client that takes a message for either ticks or statuses would lose the one or the other."""
    state, clock = server(Options(acks=Acks.AMONG_TICKS), Faults(repeat=1.0))
    client = joined(Client(state, clock))
    client.say("subscribe", "T.A,T.B")
    for number in range(300):
        client.talk.offer(packet_of(["T.A"], number))
        client.talk.flush(patient=False)
    elements = [one for message in client.messages() for one in message]
    acks = [one["message"] for one in elements if one["ev"] == "status"]
    assert sorted(acks) == ["subscribed to: T.A", "subscribed to: T.B"]
    assert {one["ev"] for one in elements[:3]} == {"status", "x"}
    clock.go_on(2)
    assert client.messages() == []


@given(
    moves=st.lists(
        st.tuples(st.sampled_from(["come", "leave", "subscribe"]), st.integers(0, 5)), max_size=25
    ),
    most=st.integers(1, 3),
    eviction=st.sampled_from(Eviction),
)
@settings(max_examples=150, deadline=None)
def test_no_more_of_a_key_than_allowed_stay_and_the_right_ones_go(moves, most, eviction):
    """Siblings that evict each other, in either style, would be tried against a rule of nobody's."""
    state, clock = server(Options(max_connections=most, eviction=eviction))
    here, surplus = [], []
    for move, which in moves:
        if move == "come":
            client = joined(Client(state, clock)) if eviction is not Eviction.NEWEST else Client(state, clock)
            client.say("auth", "key")
            here.append(client)
            if len(here) > most and eviction is Eviction.OLDEST:
                gone = here.pop(0)
                assert gone.statuses()[-1][0][0] == "max_connections"
                assert gone.talk.reason == "closed by the server: 1008 too many connections"
            elif len(here) > most:
                surplus.append(here.pop())
        elif move == "leave" and here:
            here.pop(which % len(here)).leave()
        elif move == "subscribe" and surplus and eviction is Eviction.NEWEST_AFTER_ACK:
            surplus[-1].say("subscribe", "T.A")
            last = surplus.pop().statuses()
            assert [one[0] for message in last[-2:] for one in message] == ["success", "max_connections"]
        if eviction is Eviction.NEWEST:
            for client in surplus:
                assert client.statuses()[-1][0][0] == "max_connections"
            surplus.clear()
        assert [client.talk for client in here] == [one for one in state.conversations if one.is_here]


@pytest.mark.parametrize("code", [1000, 1001, 1006, 1008, 1011, 1012, 1013])
def test_after_the_end_nothing_is_said(code):
    """Acknowledgements after a close frame, or data: no server that keeps to the RFC sends them."""
    state, clock = server(Options(acks=Acks.AMONG_TICKS), Faults(ack_delay_s=0.5, repeat=1.0))
    client = joined(Client(state, clock))
    client.say("subscribe", "T.A")
    clock.go_on(0.6)
    client.say("subscribe", "T.B")
    client.talk.offer(packet_of(["T.A"], 0))
    client.talk.close(code, "because")
    said = len(client.line.data)
    client.say("subscribe", "Q.A")
    client.frame(b"", Opcode.PING)
    client.talk.flush(patient=False)
    client.talk.evict()
    clock.go_on(20)
    assert len(client.line.data) == said
    assert client.line.aborted
    closes = [payload for opcode, payload in client.frames() if opcode == Opcode.CLOSE]
    assert closes == ([] if code == 1006 else [code.to_bytes(2, "big") + b"because"])


@given(cut=st.integers(1, 40), silence=st.sampled_from(Silence))
@settings(max_examples=60, deadline=None)
def test_a_server_that_was_silent_still_reads_where_it_left_off(cut, silence):
    """Half a request read before a silence and half within it would make the rest of the stream garbage."""
    state, clock = server()
    client = joined(Client(state, clock))
    whole = client.line
    client.talk.fall_silent(silence)
    said = len(whole.data)
    frame = ABNF.create_frame(b'{"action":"subscribe","params":"T.A"}', Opcode.TEXT).format()
    client.talk.receive(frame[:cut])
    client.talk.fall_silent(Silence.ALL)
    client.talk.receive(frame[cut:])
    assert len(whole.data) == said or cut >= len(frame)
    client.talk.fall_silent(Silence.NONE)
    client.say("subscribe", "T.B")
    assert client.statuses()[-1] == [("success", "subscribed to: T.B")]


@pytest.mark.parametrize(
    ("faults", "effect"),
    [
        (Faults(greeting_delay_s=2.0), "greetings late"),
        (Faults(auth_delay_s=2.0), "keys answered late"),
        (Faults(lose_auth=1), "keys lost"),
        (Faults(drop_auth=1), "auths dropped"),
        (Faults(ack_loss=1.0), "acks lost"),
        (Faults(ack_delay_s=1.0), "acks late"),
        (Faults(shuffle_acks=True), "acks in another order"),
        (Faults(silence=Silence.DATA), "elements withheld"),
        (Faults(silence=Silence.ALL), "unanswered"),
    ],
)
def test_a_fault_that_bites_is_counted(faults, effect):
    """A fault that never hits anything would pass for a fault survived."""
    for active in (False, True):
        state, clock = server(Options(auth_timeout_s=5.0), faults if active else None)
        client = Client(state, clock)
        clock.go_on(3)
        client.say("auth", "key")
        clock.go_on(3)
        if client.talk.reason:
            assert client.talk.reason == ("no key in time" if faults.lose_auth else "dropped at its key")
        client.say("subscribe", "T.A,T.B")
        client.talk.offer(packet_of(["T.A"], 0))
        assert bool(state.effects[effect]) is active


def test_a_key_answered_late_is_answered_before_the_eviction():
    """A client that is one too many would be told so before it knows that its key is good."""
    options = Options(max_connections=1, eviction=Eviction.NEWEST)
    state, clock = server(options, Faults(auth_delay_s=1.0))
    clients = [Client(state, clock) for _ in range(2)]
    for client in clients:
        client.say("auth", "key")
    clock.go_on(1)
    words = [[one[0] for message in client.statuses() for one in message] for client in clients]
    assert words[1] == ["connected", "auth_success", "max_connections"]


@given(unsent=st.integers(0, 3000), limit=st.integers(1, 3000), patient=st.booleans())
@settings(max_examples=60, deadline=None)
def test_a_slow_reader_is_told_and_cut_just_beyond_the_limit(unsent, limit, patient):
    """A reader that keeps up would be cut, or one that does not would eat the server's memory."""
    state, clock = server(Options(slow_consumer_bytes=limit))
    client = joined(Client(state, clock))
    client.say("subscribe", "T.A")
    client.statuses()
    client.line.unsent_bytes = unsent
    client.talk.offer(packet_of(["T.A"], 0))
    client.talk.flush(patient=patient)
    killed = unsent > limit and not patient
    said = [one for message in client.messages() for one in message]
    assert [one.get("status") for one in said] == [None, "slow_consumer"][: 1 + killed]
    assert client.talk.listens is not killed
    assert not client.line.aborted
    clock.go_on(1)
    assert client.line.aborted is killed
    assert state.effects["slow kills"] == killed


@pytest.mark.parametrize("upgrade", [True, False])
@pytest.mark.parametrize("key", ["good", "bad", "", None])
def test_who_shows_no_key_in_time_is_told_and_who_did_stays(upgrade, key):
    """A client that hangs during auth would hold a place for ever."""
    state, clock = server(Options(keys=frozenset({"good"}), auth_timeout_s=4.0))
    client = Client(state, clock, upgrade=upgrade)
    if upgrade and key is not None:
        client.say("auth", key)
    clock.go_on(3.9)
    early = client.line.closed
    clock.go_on(0.2)
    words = [one[0] for message in client.statuses() for one in message]
    if not upgrade:
        assert (early, client.line.closed, words) == (False, True, [])
    elif key is None:
        assert (early, client.line.closed, words) == (False, True, ["connected", "auth_timeout"])
    elif key == "good":
        assert (early, client.line.closed, words) == (False, False, ["connected", "auth_success"])
    else:
        assert (early, client.line.closed, words) == (True, True, ["connected", "auth_failed"])


@given(steps=STEPS, faults=FAULTS)
@settings(max_examples=60, deadline=None)
def test_the_same_seed_says_the_same(steps, faults):
    """A failing run could not be run again."""
    streams = []
    for _ in range(2):
        state, clock = server(Options(seed=7), faults)
        client, number = joined(Client(state, clock)), 0
        for kind, value in steps:
            if kind == "offer":
                client.talk.offer(packet_of(value, number))
                client.talk.flush(patient=False)
                number += len(value)
            elif kind == "wait":
                clock.go_on(value)
            elif kind != "rubbish":
                client.say(kind, ",".join(value))
        streams.append(client.line.data)
    assert streams[0] == streams[1]
