import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import status
from pipeline.massive.protocol import ServerStatus
from pipeline.massive.snapshot import Phase
from tests.massive.virtual import TRADE, World


def test_requests_hold_at_most_500_channels():
    """The server drops longer requests without a word."""
    world = World(channels=[f"T.S{n}" for n in range(1201)])
    world.start()
    world.wire.admit()
    assert [len(r) for r in world.wire.subscriptions()] == [500, 500, 201]


def test_an_unanswered_channel_is_asked_for_once_more():
    """An acknowledgement that got lost must not leave a channel in doubt for ever, nor be asked for ever."""
    world = World().start()
    world.wire.admit()
    world.wire.confirm("T.A")
    for _ in range(40):
        world.run(1)
        world.wire.pong()
    assert world.wire.subscriptions() == [["T.A", "Q.A"], ["Q.A"]]
    assert world.of(status.Unanswered)[0].channels == ("Q.A",)
    snapshot = world.connection.snapshot()
    assert (snapshot.confirmed, snapshot.unanswered, snapshot.pending) == (1, 1, 0)
    world.wire.confirm("Q.A")
    world.decode()
    assert world.connection.snapshot().confirmed == 2


def test_a_refusal_is_told_with_its_channels_and_does_not_spoil_the_others():
    """`not authorized` names nobody; what is left unconfirmed after it is what it meant."""
    world = World(channels=["T.A", "NOI.A"]).start()
    world.wire.admit()
    world.wire.status("error", "not authorized")
    world.wire.confirm("T.A")
    world.run(10.5)
    refused = world.of(status.Refused)[0]
    assert refused.channels == ("NOI.A",)
    assert refused.message == "not authorized"
    world.wire.end(1006)
    world.redial()
    world.wire.admit()
    world.wire.confirm("T.A")
    assert world.wire.subscriptions() == [["T.A"], ["NOI.A"]]


def test_an_answer_says_that_all_that_was_requested_before_is_done():
    """A channel would pass for given back while it flows, and its ticks for those of a new beginning."""
    world = World().go_live()
    for n in range(30):
        world.connection.want([f"T.{n}"])
    world.connection.give_up(["Q.A"])
    answers = []
    world.connection.prove(lambda: answers.append(len(world.wire.sent)))
    for _ in range(50):
        world.run(0.1)
        world.wire.pong(world.wire.payload)
    (sent,) = answers
    assert world.wire.sent[sent - 1] == {"action": "unsubscribe", "params": "Q.A"}


def test_wanting_and_giving_up_while_live():
    """Run-time changes go out at once; what was never asked for is not given back."""
    world = World().go_live()
    world.connection.want(["T.B", "T.A"])
    world.run(0)
    assert world.wire.subscriptions()[-1] == ["T.B"]
    world.connection.give_up(["Q.A", "T.never"])
    world.run(0)
    assert world.wire.sent[-1] == {"action": "unsubscribe", "params": "Q.A"}
    world.wire.status("success", "unsubscribed to: Q.A")
    world.run(0)
    world.wire.end(1000)
    world.redial()
    world.wire.admit()
    assert world.wire.subscriptions() == [["T.A", "T.B"]]


def test_statuses_are_inspected_only_while_answers_are_due():
    """Looking into every frame for ever would cost the reading thread what the pipeline needs."""
    world = World().go_live()
    world.wire.say(TRADE)
    world.frames.clear()
    world.wire.say(TRADE)
    world.connection.want(["T.B"])
    world.run(0)
    world.wire.say(TRADE)
    world.wire.confirm("T.B")
    world.wire.say(TRADE)
    assert [f.inspected for f in world.frames] == [False, True, True, False]


@pytest.mark.parametrize("step_s", [-3600.0, -5.0, 0.0, 5.0, 3600.0])
def test_statuses_of_an_older_session_are_ignored(step_s):
    """The decoder may be seconds behind; by a clock set back an old word ended the new session for good."""
    world = World().go_live()
    world.wire.say(TRADE)
    world.frames.clear()
    world.wire.status("auth_failed", "old")
    world.wire.say(TRADE)
    world.wire.end(1006)
    world.wrong_s += step_s
    world.redial()
    world.wire.admit()
    world.wire.confirm_all()
    world.decode()
    assert world.phase is Phase.LIVE


@pytest.mark.parametrize("step_s", [-3600.0, -5.0, 0.0, 5.0, 3600.0])
def test_statuses_of_the_present_session_are_heard(step_s):
    """By a clock set back since it began a session lost acknowledgements, and why the server would end it."""
    world = World().go_live()
    world.wire.say(TRADE)
    world.frames.clear()
    world.wrong_s += step_s
    world.wire.status("slow_consumer", "you are too slow")
    world.decode()
    assert [event.status for event in world.of(status.ServerMessage)] == ["slow_consumer"]


@pytest.mark.parametrize("decoded", [1, 2])
@pytest.mark.parametrize("back_s", [0.0, 1.0])
def test_two_reads_of_one_time_are_two(back_s, decoded):
    """The last was taken for the one before, and why the server ended the session went unheard."""
    world = World().go_live()
    world.wire.say(TRADE)
    world.frames.clear()
    world.wire.status("x", "first")
    if back_s:
        world.run(back_s)
        world.wrong_s -= back_s
    world.wire.status("max_connections", "too many")
    assert world.frames[0].received_ns == pytest.approx(world.frames[1].received_ns, abs=1000)
    del world.frames[decoded:]
    world.decode()
    world.wire.end(1008)
    assert [type(event) for event in world.of(status.ServerMessage) + world.of(status.Evicted)] == [
        status.ServerMessage,
        status.Evicted,
    ]
    assert world.phase is Phase.HELD


def test_other_words_of_the_server_are_passed_on():
    """slow_consumer is the last thing we hear before an abort; the operator must see it."""
    world = World().go_live()
    world.wire.status("slow_consumer", "you are too slow")
    world.wire.end(None)
    event = world.of(status.ServerMessage)[0]
    assert (event.status, event.message) == ("slow_consumer", "you are too slow")


@pytest.mark.parametrize(
    ("word", "kind"),
    [("error", status.ServerMessage), ("x", status.ServerMessage), ("max_connections", status.Evicted)],
)
def test_what_a_server_says_too_often_is_told_as_one_event_with_a_count(word, kind):
    """An event an element would be a flood on top of a flood; a number less would hide what was said."""
    world = World().go_live()
    for told in (11, 22):
        for number in range(40):
            said = [ServerStatus(status=word, message=f"m{number}")] * 50
            world.connection.take_statuses(world.frames[-1].read, said)
        world.run(1.1)
        assert len(world.of(kind)) == told
        assert sum(1 + event.held for event in world.of(kind)) == 2000 * (told // 11)
        assert world.of(kind)[-1].message == "m39"


@pytest.mark.parametrize("how", ["end", "close"])
def test_what_was_held_back_is_told_before_the_end(how):
    """It says why the server ends the session; after it, or never, would help nobody."""
    world = World().go_live()
    said = [ServerStatus(status="x", message="m")] * 30
    world.connection.take_statuses(world.frames[-1].read, said)
    world.run(0)
    if how == "end":
        world.wire.end(1008)
    else:
        world.connection.close()
    world.run(0)
    told = world.of(status.ServerMessage)
    last = world.of(status.Disconnected if how == "end" else status.Closed)[0]
    assert sum(1 + event.held for event in told) == 30
    assert world.events.index(told[-1]) < world.events.index(last)


WORDS = st.sampled_from(
    ["connected", "auth_success", "success", "auth_timeout", "max_connections", "error", "slow_consumer", "x"]
)
MESSAGES = st.sampled_from(
    [
        "authenticated",
        "subscribed to: T.A",
        "subscribed to: Q.A",
        "unsubscribed to: T.A",
        "not authorized",
        "",
    ]
)
ACTIONS = st.one_of(
    st.tuples(st.just("status"), WORDS, MESSAGES),
    st.tuples(st.just("raw"), st.binary(max_size=40)),
    st.tuples(st.just("end"), st.sampled_from([None, 1000, 1001, 1006, 1008])),
    st.tuples(st.just("run"), st.floats(0, 70)),
    st.tuples(st.just("refuse"), st.integers(1, 3)),
    st.tuples(st.just("hang"), st.booleans()),
    st.tuples(st.just("want"), st.sampled_from(["T.A", "T.B", "A.*"])),
    st.tuples(st.just("give_up"), st.sampled_from(["T.A", "T.B", "A.*"])),
)


@settings(max_examples=150)
@given(st.lists(ACTIONS, max_size=30))
def test_after_any_history_a_kind_server_gets_everything_confirmed(history):
    """Whatever a server says or does, in any order: once it behaves, every wanted channel is confirmed."""
    world = World().start()
    wanted = {"T.A": None, "Q.A": None}
    for action, *values in history:
        if action == "status" and world.wires:
            world.wire.status(*values)
        elif action == "raw" and world.wires:
            world.wire.raw(values[0])
        elif action == "end" and world.wires:
            world.wire.end(values[0])
        elif action == "run":
            world.run(values[0])
        elif action in {"refuse", "hang"}:
            setattr(world, action, values[0])
        elif action == "want":
            wanted[values[0]] = None
            world.connection.want(values)
        elif action == "give_up":
            wanted.pop(values[0], None)
            world.connection.give_up(values)
    world.hang, world.refuse = False, 0
    world.run(0)
    for wire in world.wires:
        wire.end(1006)
    for _ in range(40):
        world.connection.resume()  # as the pool does when its turn has come
        world.run(20)
        wire = world.wire
        if wire.closed is None:
            if world.phase is Phase.GREETING:
                wire.greet()
            if world.phase is Phase.AUTHENTICATING:
                wire.status("auth_success")
            wire.confirm_all()
            wire.pong()
    snapshot = world.connection.snapshot()
    assert snapshot.phase is Phase.LIVE
    assert (snapshot.confirmed, snapshot.pending) == (len(wanted), 0)
    assert snapshot.refused == snapshot.unanswered == 0
    assert sum(wire.closed is None for wire in world.wires) == 1


def test_requests_are_paced():
    """Ten requests at once and ten a second: more, and a server may take us for an attack."""
    world = World(channels=[f"T.S{n}" for n in range(15_000)]).start()
    world.wire.admit()
    assert len(world.wire.subscriptions()) == 10
    world.run(1.05)
    assert len(world.wire.subscriptions()) == 20
    world.run(1)
    asked = [channel for request in world.wire.subscriptions() for channel in request]
    assert (len(asked), len(set(asked))) == (15_000, 15_000)


def test_a_new_session_does_not_send_what_the_old_one_still_had_to_say():
    """Half of the old requests and all of the new ones would ask for channels twice."""
    world = World(channels=[f"T.S{n}" for n in range(15_000)]).start()
    world.wire.admit()
    world.wire.end(1006)
    world.redial()
    world.wire.admit()
    world.run(5)
    asked = [channel for request in world.wire.subscriptions() for channel in request]
    assert (len(asked), len(set(asked))) == (15_000, 15_000)
