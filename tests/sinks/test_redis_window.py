"""What the sink has in its hand is neither lost nor, where anybody can know, published twice."""

import re
from collections import Counter

import hiredis
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pipeline.sinks.redis_messages import Channels, Packer
from pipeline.sinks.redis_window import Window
from pipeline.ticks import Trade

CHANNELS = [b"tickstock.data.raw", b"tickstock:market:ticks"]


def commands(packed):
    """Read commands as a server does."""
    reader = hiredis.Reader(notEnoughData=...)
    reader.feed(packed)
    return [
        (channel, prices if message.startswith(b"[") else prices[0])
        for _, channel, message in iter(reader.gets, ...)
        for prices in [tuple(int(price) for price in re.findall(rb'"price":(\d+)', message))]
    ]


class Hand(RuleBasedStateMachine):
    """A window before a server that takes, refuses, and breaks off wherever it likes.

    A trade's price is its number, so that it is known again when it is published.
    """

    channels = Channels()

    def __init__(self):
        super().__init__()
        self.packer = Packer(self.channels)
        self.window = Window(self.packer.per_tick, batched=bool(self.channels.raw_batch))
        self.packed = 0
        self.messages = []  # all that there are
        self.on_the_way = b""  # handed to the connection, not yet read by the server
        self.published = []  # what the server's subscribers saw
        self.replies = []  # on their way back
        self.acknowledged = Counter()  # what the sink knows to be published
        self.expected = []  # whose answers are due
        self.refusals = 0
        self.forbidden = set()
        self.unknown = 0  # published, though the sink was never told

    @rule(ticks=st.integers(1, 4), connection=st.sampled_from("12"))
    def put(self, ticks, connection):
        trades = [Trade(ticker=connection, price=self.packed + n, event_ms=1) for n in range(ticks)]
        self.packed += ticks
        for parcel in (self.packer.pack(connection, trades)[0], *self.packer.pack_gathered(connection)[0]):
            self.messages += commands(parcel.pack())
            self.window.put(parcel)

    @rule()
    def send(self):
        data = self.window.send()
        if data:
            assert not self.window.is_refused
        self.on_the_way += data
        self.expected += commands(data)

    @precondition(lambda self: self.on_the_way)
    @rule(data=st.data())
    def serve(self, data):
        """Let the server read some commands and answer each of them."""
        waiting = commands(self.on_the_way)
        count = data.draw(st.integers(1, len(waiting)))
        for command in waiting[:count]:
            word = data.draw(st.sampled_from(["", "", "", "", "BUSY no", "NOPERM no"]))
            if word:
                self.refusals += 1
                self.replies.append(hiredis.ReplyError(word))
            else:
                self.published.append(command)
                self.replies.append(len(self.published))
        self._cut(count)

    @precondition(lambda self: self.replies)
    @rule(data=st.data())
    def answer(self, data):
        count = data.draw(st.integers(1, len(self.replies)))
        self._answer(count)

    @rule(data=st.data())
    def break_off(self, data):
        """Lose the connection: some bytes never left, the server still reads some whole commands that did."""
        unsent = data.draw(st.integers(0, len(self.on_the_way)))
        left = commands(self.on_the_way[: len(self.on_the_way) - unsent])
        read = left[: data.draw(st.integers(0, len(left)))]
        self.unknown += len(read) + sum(type(reply) is int for reply in self.replies)
        self.published += read
        self._forget()
        self.window.rewind(unsent)

    @precondition(lambda self: self.window.is_refused)
    @rule()
    def back_off(self):
        self._forget()
        self.window.rewind()

    @rule()
    def give_up(self):
        """Drop all: every tick with a message that the sink does not know to be published, and no other."""
        missing = [message for message in self.messages if not self.acknowledged[message]]
        ticks = {n for _, held in missing for n in (held if type(held) is tuple else [held])}
        self._forget()
        assert set().union(*self.window.drop().values()) == ticks
        self.acknowledged.update(missing)

    @invariant()
    def nothing_is_lost(self):
        assert self.window.outstanding == len(self.expected)
        known = sum(self.acknowledged.values())
        assert self.window.messages == len(self.messages) - known
        left = [held for message in self.messages if not self.acknowledged[message] for held in message[1:]]
        assert self.window.load == sum(len(held) if type(held) is tuple else 1 for held in left)

    def teardown(self):
        """Bring everything to an end with a server that takes all."""
        while self.window.messages:
            data = self.window.send()
            self.on_the_way += data
            self.expected += commands(data)
            waiting = commands(self.on_the_way)
            self.published += waiting
            self.replies += [1] * len(waiting)
            self.on_the_way = b""
            self._answer(len(self.replies))
            if self.window.is_refused:
                self.back_off()
        nowhere = {}
        for message in self.messages:
            for n in message[1] if type(message[1]) is tuple else [message[1]]:
                nowhere[n] = nowhere.get(n, True) and message in self.forbidden
        assert sum(self.window.take_failed().values()) == sum(nowhere.values()), "ticks that no channel has"
        assert all(self.acknowledged[message] == 1 for message in self.messages)
        again = len(self.published) - len(set(self.published))
        assert again <= self.unknown, "twice goes only what nobody could know"
        assert again <= self.window.resent
        if not self.refusals:  # nor one of which the sink never heard, since the connection broke
            for channel in {channel for channel, _ in self.messages}:
                firsts = dict.fromkeys(number for where, number in self.published if where == channel)
                assert list(firsts) == sorted(firsts), "in order"

    def _answer(self, count):
        replies, self.replies = self.replies[:count], self.replies[count:]
        answered, self.expected = self.expected[:count], self.expected[count:]
        taken = [what for what, reply in zip(answered, replies, strict=True) if type(reply) is int]
        refused = [
            (what, str(reply))
            for what, reply in zip(answered, replies, strict=True)
            if type(reply) is not int
        ]
        forbidden = [what for what, words in refused if words == "NOPERM no"]
        self.acknowledged.update(taken + forbidden)
        self.forbidden.update(forbidden)
        before, forbidden_before = self.window.errors, sum(self.window.forbidden)
        assert self.window.answer(replies) == bool(taken or forbidden)
        assert self.window.errors - before == count - len(taken)
        assert sum(self.window.forbidden) - forbidden_before == len(forbidden)
        if refused:
            assert self.window.last_error in {words for _, words in refused}

    def _cut(self, count):
        for _ in range(count):
            end = re.search(rb"}]?\r\n", self.on_the_way).end()
            self.on_the_way = self.on_the_way[end:]

    def _forget(self):
        self.on_the_way = b""
        self.replies.clear()
        self.expected.clear()


class HandOfMany(Hand):
    """The same, and every tick goes in a message of many, too."""

    channels = Channels(raw_batch="tickstock.data.raw.batch")


class HandOfManyOnly(Hand):
    """The same, and no tick has a message of its own."""

    channels = Channels(raw="", market="", raw_batch="tickstock.data.raw.batch")


TestHand = Hand.TestCase
TestHandOfMany = HandOfMany.TestCase
TestHandOfManyOnly = HandOfManyOnly.TestCase
TestHand.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)
TestHandOfMany.settings = TestHandOfManyOnly.settings = TestHand.settings


def parcel_of(packer, count):
    """Return trades with the prices 0, 1, ..., on both channels."""
    return packer.pack("1", [Trade(ticker="A", price=n, event_ms=1) for n in range(count)])[0]


def test_taken_messages_are_counted_by_channel():
    """Health would show numbers of the wrong channel."""
    window = Window(2)
    packer = Packer(Channels())
    window.put(parcel_of(packer, 3))
    window.send()
    window.answer([1])
    assert window.taken == [1, 0]
    window.answer([2, hiredis.ReplyError("OOM"), 4])
    assert (window.taken, window.receivers, window.errors) == ([1, 2], 4, 1)
    window.answer([5, 6])
    assert (window.taken, window.receivers, window.last_error) == ([2, 3], 6, "OOM")
    window.rewind()
    assert commands(window.send()) == [(CHANNELS[0], 1)]
    window.answer([7])
    assert (window.taken, window.messages) == ([3, 3], 0)


def test_after_a_refusal_one_message_goes_as_a_probe_and_then_all():
    """A server that refuses would be asked about 1,000 messages at every attempt."""
    window = Window(2)
    window.put(parcel_of(Packer(Channels()), 3))
    window.send()
    assert not window.answer([hiredis.ReplyError("BUSY")] * 6)
    assert window.is_refused
    assert window.send() == b"", "nothing follows a refusal"
    window.rewind()
    assert len(commands(window.send())) == 1
    assert window.send() == b""
    window.answer([1])
    assert len(commands(window.send())) == 5
    assert window.resent == 0, "what was refused was not published"


def test_only_what_left_whole_counts_as_sent_again():
    """`SinkUp.resent` would frighten with messages that never left us."""
    window = Window(2)
    packer = Packer(Channels())
    window.put(parcel_of(packer, 2))
    window.put(parcel_of(packer, 2))
    data = window.send()
    window.answer([1])
    sizes = [len(piece) + 3 for piece in data.split(b"}\r\n")[:-1]]
    window.rewind(unsent_bytes=sum(sizes[5:]) + 1)
    while window.messages:
        window.answer([1] * len(commands(window.send())))
    assert window.resent == 3


def test_what_was_in_doubt_stays_in_doubt_until_it_is_answered():
    """After two breaks in a row, messages published twice would not be counted."""
    window = Window(2)
    window.put(parcel_of(Packer(Channels()), 2))
    window.send()
    window.rewind()
    again = window.send()
    window.rewind(unsent_bytes=len(again))
    assert not window.is_recovered
    while window.messages:
        window.answer([1] * len(commands(window.send())))
    assert window.resent == 5, "the probe twice, the others once"
    assert window.is_recovered


def test_an_answer_that_nobody_asked_for_is_trouble():
    """Every later answer would be taken for that of the message before."""
    window = Window(2)
    window.put(parcel_of(Packer(Channels()), 1))
    window.send()
    with pytest.raises(ConnectionError, match="nobody asked for: 3"):
        window.answer([1, 2, 3])


def test_an_empty_parcel_is_nothing():
    """A batch of which every tick was rejected would leave the write waiting for ever."""
    window = Window(2)
    window.put(parcel_of(Packer(Channels()), 0))
    assert (window.messages, window.send(), window.drop()) == (0, b"", {})


def test_messages_of_many_are_counted_on_their_own_channel():
    """Health would show a thousand messages where there was one, or none."""
    packer = Packer(Channels(market="", raw_batch="batch"))
    window = Window(1, batched=True)
    window.put(parcel_of(packer, 3))
    for parcel in packer.pack_gathered("1")[0]:
        window.put(parcel)
    assert (window.messages, window.load) == (4, 6)
    window.send()
    window.answer([1] * 4)
    assert (window.taken, window.messages, window.load) == ([3, 1], 0, 0)


def test_what_is_forbidden_is_counted_by_channel_and_not_tried_again():
    """One channel that is forbidden would hold back the others, and nobody would know which it is."""
    window = Window(2, batched=True)
    packer = Packer(Channels(raw_batch="many"))
    window.put(parcel_of(packer, 2))
    (many,), _ = packer.pack_gathered("1")
    window.put(many)
    window.send()
    no = hiredis.ReplyError("NOPERM no")
    assert window.answer([1, no, no, no, no])
    assert (window.taken, window.forbidden, window.messages) == ([1, 0, 0], [1, 2, 1], 0)
    assert window.forbidding == {0: "NOPERM no", 1: "NOPERM no", 2: "NOPERM no"}
    assert not window.is_refused
    assert window.take_failed() == {"1": 1}
    assert window.take_failed() == {}
