import json
from collections import Counter
from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.massive.decode import decode_message
from pipeline.massive.simulator import Faults, Tally
from pipeline.massive.simulator.faults import MALFORMED, Distorter
from pipeline.massive.simulator.wire import Opcode
from pipeline.ticks import MinuteAggregate, Quote, SecondAggregate, Trade

FRACTIONS = st.sampled_from([0.0, 0.2, 1.0])
FAULTS = st.builds(
    Faults,
    repeat=FRACTIONS,
    malformed=FRACTIONS,
    truncated=FRACTIONS,
    pings=FRACTIONS,
    fragments=st.integers(1, 5),
)


def sent(messages):
    """Return the bytes of messages, one after the other."""
    return b"".join(message.data for message in messages)


def frames_of(data):
    """Return (first byte, payload) of each frame in a server's bytes."""
    frames = []
    while data:
        start = {126: 4, 127: 10}.get(data[1], 2)
        size = data[1] if start == 2 else int.from_bytes(data[2:start], "big")
        frames.append((data[0], data[start : start + size]))
        data = data[start + size :]
    return frames


def messages_of(data):
    """Return the text messages in a server's bytes, whole, and the number of pings."""
    messages, pings, parts = [], 0, b""
    for first, payload in frames_of(data):
        if first & 0x0F == Opcode.PING:
            pings += 1
            continue
        assert (first & 0x0F == Opcode.CONTINUATION) == bool(parts)
        parts += payload
        if first & 0x80:
            messages.append(parts)
            parts = b""
    assert not parts
    return messages, pings


@given(faults=FAULTS, sizes=st.lists(st.integers(1, 20), max_size=40), seed=st.integers())
@settings(max_examples=80, deadline=None)
def test_everything_sent_is_counted_as_what_it_is(faults, sizes, seed):
    """A test that compares a client with the report would fail, or pass, for no reason."""
    tally, number = Tally(), 0
    distorter = Distorter(Random(seed), tally)
    data, originals = b"", []
    for size in sizes:
        packet = [json.dumps({"ev": "T", "n": number + i}).encode() for i in range(size)]
        number += size
        originals += packet
        data += sent(distorter.distort(packet, faults))
    data += sent(distorter.rest())
    assert distorter.rest() == []

    messages, pings = messages_of(data)
    assert len(messages) == tally.frames
    assert pings == tally.pings
    good, wrong, cut_frames, cut_marks = Counter(), Counter(), 0, 0
    known = {text: kind for kind, text in MALFORMED.items()}
    for message in messages:
        try:
            elements = msgspec.json.decode(message, type=list[msgspec.Raw])
        except msgspec.DecodeError:
            cut_frames += 1
            cut_marks += message.count(b'"ev"')
            continue
        for element in map(bytes, elements):
            if element in known:
                wrong[known[element]] += 1
            else:
                good[element] += 1
    assert set(good) == set(originals)
    assert good.total() == len(originals) + tally.repeated_elements
    assert wrong == tally.malformed
    assert (cut_frames, cut_marks) == (tally.truncated_frames, tally.truncated_marks)
    assert len(messages) == len(sizes) + tally.repeated_frames + tally.truncated_frames
    if faults.repeat == 1:
        assert tally.repeated_elements == len(originals)


def test_first_copies_keep_their_order():
    """Mixing in repeats would reorder the ticks themselves."""
    distorter = Distorter(Random(1), Tally())
    faults = Faults(repeat=0.5, malformed=0.5)
    data = sent(m for n in range(1000, 2000) for m in distorter.distort([b"%d" % n], faults))
    elements = [element for message in messages_of(data)[0] for element in json.loads(message)]
    numbers = list(dict.fromkeys(one for one in elements if isinstance(one, int) and one >= 1000))
    assert numbers == list(range(1000, 2000))


def test_some_repeats_come_at_once_and_some_later():
    """A dedupe that only looks at its neighbour would pass."""
    distorter = Distorter(Random(1), Tally())
    distances, places = [], {}
    data = sent(m for n in range(1000) for m in distorter.distort([b"%d" % n], Faults(repeat=0.3)))
    for place, message in enumerate(messages_of(data)[0]):
        if message in places:
            distances.append(place - places[message])
        places[message] = place
    assert 1 in distances
    assert 50 < max(distances) < 600


@pytest.mark.parametrize("kind", MALFORMED)
def test_malformed_elements_are_no_ticks(kind):
    """An element meant to be rejected would be delivered."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(MALFORMED[kind], type=Trade | Quote | SecondAggregate | MinuteAggregate)


def test_message_is_cut_into_as_many_fragments():
    """A client's reassembly would never be tried."""
    data = sent(Distorter(Random(1), Tally()).distort([b"1234567"], Faults(fragments=3)))
    assert [first for first, _ in frames_of(data)] == [0x01, 0x00, 0x80]


@given(faults=FAULTS, sizes=st.lists(st.integers(1, 20), max_size=30), seed=st.integers())
@settings(max_examples=80, deadline=None)
def test_a_client_finds_in_a_message_what_it_is_said_to_hold(faults, sizes, seed):
    """A record of what was sent would blame a client for ticks that it was never sent, or the other way."""
    distorter, number = Distorter(Random(seed), Tally()), 0
    for size in sizes:
        elements = [b'{"ev":"T","sym":"A","p":%d.5,"s":1,"t":1}' % n for n in range(number, number + size)]
        number += size
        for message in distorter.distort(elements, faults, statuses=[b'{"ev":"status","status":"hello"}']):
            (text,), _ = messages_of(message.data)
            found, rejects = decode_message(text)
            prices = [int(one.price) for one in found if isinstance(one, Trade)]
            good = [one for one in message.elements if one is not None]
            assert prices == [json.loads(one)["p"] // 1 for one in good]
            assert sum(reject.times for reject in rejects) == message.elements.count(None)
            assert len(found) - len(prices) == len(message.statuses)
