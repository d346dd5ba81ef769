import os
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.massive.framing import CLOSE, PING, PONG, FrameSplitter, parse_close
from pipeline.massive.salvage import pieces
from tests.massive.naive_framing import apart, frame

PAYLOADS = st.one_of(
    st.binary(max_size=200),
    st.sampled_from([125, 126, 127, 65535, 65536]).map(lambda size: b"x" * size),
)
CONTROLS = st.tuples(st.sampled_from([PING, PONG]), st.binary(max_size=125))


@st.composite
def streams(draw):
    """A byte stream of messages, some in fragments, with control frames in between, and what is in it."""
    wire, messages, controls = b"", [], []

    def maybe_control():
        nonlocal wire
        if draw(st.booleans()):
            opcode, payload = draw(CONTROLS)
            wire += frame(payload, opcode)
            controls.append((opcode, payload))

    for payload in draw(st.lists(PAYLOADS, max_size=6)):
        pieces = draw(st.integers(1, 4))
        cuts = sorted(draw(st.lists(st.integers(0, len(payload)), min_size=pieces - 1, max_size=pieces - 1)))
        parts = [payload[a:b] for a, b in zip([0, *cuts], [*cuts, len(payload)], strict=True)]
        for i, part in enumerate(parts):
            maybe_control()
            wire += frame(part, 0x0 if i else draw(st.sampled_from([0x1, 0x2])), fin=i == len(parts) - 1)
        messages.append(payload)
    maybe_control()
    return wire, messages, controls


def feed_all(splitter: FrameSplitter, reads: list[bytes]):
    """Feed all reads; return messages and control frames."""
    messages, controls = [], []
    for read in reads:
        messages += apart(splitter.feed(read))
        controls += [tuple(control) for control in splitter.controls]
    return messages, controls


def cut(wire: bytes, cuts: list[int]) -> list[bytes]:
    """Cut the wire at these places, in any order and beyond its end."""
    places = sorted(cut % (len(wire) + 1) for cut in cuts)
    return [wire[a:b] for a, b in zip([0, *places], [*places, len(wire)], strict=True)]


@settings(max_examples=200)
@given(streams(), st.lists(st.integers(0, 1 << 20), max_size=12))
def test_any_cut_gives_the_same_messages(stream, cuts):
    """A tick lost or torn because TCP cut a read at an unlucky byte would be a silent loss for everybody."""
    wire, messages, controls = stream
    assert feed_all(FrameSplitter(), cut(wire, cuts)) == (apart(messages), controls)


@settings(max_examples=30)
@given(streams())
def test_one_byte_a_read_gives_the_same_messages(stream):
    """The worst cut of all: a header that comes byte by byte must not be misread."""
    wire, messages, controls = stream
    wire = wire[:2000]
    whole = feed_all(FrameSplitter(), [wire])
    assert feed_all(FrameSplitter(), [bytes([b]) for b in wire]) == whole
    assert whole[0] == apart(messages)[: len(whole[0])]
    assert whole[1] == controls[: len(whole[1])]


@settings(max_examples=200)
@given(st.lists(st.binary(max_size=300), max_size=8))
def test_any_bytes_never_raise(reads):
    """A server (or a proxy) gone mad must end in a violation to reconnect from, not in a dead thread."""
    splitter = FrameSplitter()
    for read in reads:
        splitter.feed(read)
    assert splitter.violation is None or splitter.violation.close_code in {1002, 1009}


@pytest.mark.parametrize(
    ("wire", "code"),
    [
        (bytes([0x81, 0x80 | 1]), 1002),  # masked
        (bytes([0xC1, 0]), 1002),  # reserved bit
        (bytes([0x83, 0]), 1002),  # unknown data opcode
        (bytes([0x8B, 0]), 1002),  # unknown control opcode
        (bytes([0x09, 0]), 1002),  # fragmented ping
        (bytes([0x89, 126, 0, 126]), 1002),  # long ping
        (bytes([0x88, 1, 3]), 1002),  # half a close code
        (bytes([0x80, 0]), 1002),  # a continuation of nothing
        (frame(b"a", fin=False) + frame(b"b"), 1002),  # a message in a message
        (bytes([0x81, 127]) + struct.pack("!Q", 16 * 1024 * 1024 + 1), 1009),
    ],
)
def test_violations_are_seen_on_the_header(wire, code):
    """What RFC 6455 forbids must close with the right code, and a giant before its bytes are kept."""
    splitter = FrameSplitter()
    before = splitter.feed(frame(b"good"))
    splitter.feed(wire)
    assert before == [b"good"]
    assert splitter.violation is not None
    assert splitter.violation.close_code == code


def test_messages_before_a_violation_in_the_same_read_survive():
    """Ticks that came whole are ticks, whatever follows them."""
    splitter = FrameSplitter()
    assert splitter.feed(frame(b"good") + bytes([0xC1, 0])) == [b"good"]
    assert splitter.violation is not None
    assert splitter.feed(frame(b"after")) == []


def test_fragments_over_the_limit_are_refused():
    """A giant in small pieces, each within the limit, would otherwise fill the memory."""
    splitter = FrameSplitter(max_message_bytes=1000)
    for _ in range(10):
        splitter.feed(frame(b"x" * 100, 0x1 if _ == 0 else 0x0, fin=False))
    splitter.feed(frame(b"x", 0x0, fin=False))
    assert splitter.violation is not None
    assert splitter.violation.close_code == 1009


def test_nothing_is_read_after_a_close_frame():
    """RFC 6455 lets nothing follow a close; a tick after it is not ours to guess at."""
    splitter = FrameSplitter()
    assert splitter.feed(frame(b"\x03\xe8bye", CLOSE) + frame(b"late")) == []
    assert [c.opcode for c in splitter.controls] == [CLOSE]
    assert splitter.feed(frame(b"later")) == []
    assert splitter.controls == []


def test_a_large_message_is_joined_once():
    """Joining at every read would cost a second for a 16 MiB message: what is kept is not looked at."""
    payload = os.urandom(4 * 1024 * 1024)
    wire = frame(payload)
    splitter = FrameSplitter()
    reads = [wire[i : i + 65536] for i in range(0, len(wire), 65536)]
    got = []
    for read in reads[:-1]:
        got += splitter.feed(read)
        assert splitter._needed_bytes == len(wire)
    assert got == []
    assert splitter.feed(reads[-1]) == [payload]


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b"", (None, "")),
        (b"\x03\xe8", (1000, "")),
        (b"\x03\xf0no", (1008, "no")),
        (b"\x03\xe8\xff", (1000, "�")),
    ],
)
def test_parse_close(payload, expected):
    """A reason that is no UTF-8 must not hide the code."""
    assert parse_close(payload) == expected


def test_a_limit_below_a_control_frame_is_refused():
    """A limit under 125 would refuse pings and kill every connection."""
    with pytest.raises(ValueError, match="max_message_bytes"):
        FrameSplitter(max_message_bytes=1)


ELEMENTS = st.lists(
    st.one_of(
        st.integers(0, 999).map(lambda n: b'{"ev":"Q","sym":"S%03d"}' % n),
        st.integers(0, 200).map(lambda n: b'{"ev":"T","note":"%b"}' % (b"]" * n)),
        st.sampled_from(['{"ev":"é"}', '{"ev":"]\x81 ["}', '{"ev":"日本"}']).map(str.encode),
        st.just(b'{"ev":"A","long":"' + b"x" * 1500 + b'"}'),
    ),
    max_size=3,
)


@settings(max_examples=300)
@given(
    st.lists(st.one_of(ELEMENTS, st.sampled_from([PING, PONG])), max_size=12),
    st.lists(st.integers(0, 1 << 20), max_size=6),
)
def test_arrays_lose_nothing_when_they_are_joined(things, cuts):
    """Joining is for speed: each element, each ping and the number of messages must be as without it."""
    wire, elements, controls, count = b"", [], [], 0
    for thing in things:
        if isinstance(thing, list):
            wire += frame(b"[" + b",".join(thing) + b"]")
            elements += thing
            count += 1
        else:
            wire += frame(b"hello", thing)
            controls.append((thing, b"hello"))
    splitter = FrameSplitter()
    got, heard, taken = [], [], 0
    for read in cut(wire, cuts):
        got += splitter.feed(read)
        heard += [tuple(control) for control in splitter.controls]
        taken += splitter.taken
    assert [element for message in got for element in pieces(message).elements] == elements
    assert (heard, taken, splitter.violation) == (controls, count, None)


def test_short_arrays_are_joined():
    """At one event a message, splitting and joining again would be a quarter of all work."""
    arrays = [b'[{"ev":"Q","n":%d}]' % number for number in range(300)]
    splitter = FrameSplitter()
    wire = b"".join(map(frame, arrays))
    assert splitter.feed(wire[:-5]) == [b"[" + b",\r".join(array[1:-1] for array in arrays[:-1]) + b"]"]
    assert splitter.taken == 299
    assert splitter.feed(wire[-5:]) == arrays[-1:]
    assert splitter.taken == 1


@pytest.mark.parametrize("opcode", [PING, PONG, CLOSE])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_control_frame_between_short_arrays_is_heard(opcode, place):
    """A ping that is not answered costs the connection."""
    frames = [frame(b'[{"ev":"Q"}]')] * 2
    frames.insert(place, frame(b"\x03\xe8", opcode))
    splitter = FrameSplitter()
    splitter.feed(b"".join(frames))
    assert splitter.controls == [(opcode, b"\x03\xe8")]
