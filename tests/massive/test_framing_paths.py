import struct

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.massive.framing import CLOSE, MAX_MESSAGE_BYTES, PING, PONG, SHORT_BYTES, FrameSplitter
from tests.massive.naive_framing import apart, feed, frame, parse

QUOTE = b'{"ev":"Q","sym":"A","bp":1.5,"t":%d}'
MAX_BYTES = 100_000


def array(size: int) -> bytes:
    """Make an array of objects of exactly this size."""
    return b'[{"x":"%b"}]' % (b"x" * (size - 10))


SIZES = [125, 126, 127, SHORT_BYTES - 1, SHORT_BYTES, SHORT_BYTES + 1, 65535, 65536, 70_000]
SHORT = st.integers(0, 10**12).map(lambda n: frame(b"[" + QUOTE % n + b"]"))
FRAMES = st.one_of(
    SHORT,
    st.lists(SHORT, min_size=2, max_size=5).map(b"".join),
    st.sampled_from(SIZES).map(array).map(frame),
    st.sampled_from([b"", b"[]", b"[{}]", b"[1]", b"{}", b"[{},\r{}]", b"[{}] ", b'[{"a":[{}]']).map(frame),
    st.sampled_from(["[{'é'}]", '[{"ev":"]\x81 ["}]', "[{日本}]"]).map(lambda text: frame(text.encode())),
    # What looks like the end of a message and the header of the next, within one: no UTF-8.
    st.sampled_from([b'[{"x":"}]\x81\x04[{"}]', b"[{}]\x81~\x00\x04[{}]", b"[{}]\x81\x04[{}]"]).map(frame),
    st.tuples(st.binary(max_size=40), st.sampled_from([0x1, 0x2])).map(lambda a: frame(*a)),
    st.tuples(st.binary(max_size=40), st.sampled_from([PING, PONG])).map(lambda a: frame(*a)),
    st.lists(st.binary(max_size=9), min_size=1, max_size=4).map(
        lambda parts: (
            frame(b"[{", 0x1, fin=False)
            + b"".join(frame(part, 0x0, fin=False) + frame(b"hi", PING) for part in parts)
            + frame(b"}]", 0x0)
        )
    ),
    st.just(b"\x81~\x00\x05[{ }]"),  # a length in more bytes than it needs: forbidden, and harmless
)
FAULTS = st.sampled_from(
    [
        b"",
        frame(b"\x03\xe8bye", CLOSE) + frame(b"[{}]"),
        b"\x81\x05[{}]" + frame(b"[{}]") * 3,  # lengths that lie: one too long,
        b"\x81\x03[{}]" + frame(b"[{}]") * 3,  # one too short,
        b"\x81~\x04\x01[{}]" + frame(b"[{}]") * 3,  # and far too long
        b"\x81\x80[{}]" + frame(b"[{}]"),  # masked
        b"\xc1\x04[{}]" + frame(b"[{}]"),  # reserved bits
        b"\x83\x04[{}]" + frame(b"[{}]"),  # an opcode that is none
        b"\x80\x04[{}]" + frame(b"[{}]"),  # a continuation of nothing
        b"\x81\x7f" + struct.pack("!Q", MAX_BYTES + 1),
        b"\x81\x7f" + struct.pack("!Q", (1 << 64) - 1),
        frame(array(70_000), fin=False) + frame(array(70_000), 0x0),
    ]
)
STREAMS = st.tuples(st.lists(FRAMES, max_size=8).map(b"".join), FAULTS, st.lists(SHORT, max_size=4)).map(
    lambda parts: parts[0] + parts[1] + b"".join(parts[2])
)


def cuts_of(wire: bytes, places: list[int]) -> list[bytes]:
    """Cut the stream at these places, in any order and beyond its end."""
    at = sorted(place % (len(wire) + 1) for place in places)
    return [wire[a:b] for a, b in zip([0, *at], [*at, len(wire)], strict=True)]


def hold_against_the_reference(wire: bytes, reads: list[bytes], max_bytes: int = MAX_BYTES) -> None:
    """Expect of a splitter what is in the stream, and that it keeps no more than it may."""
    splitter = FrameSplitter(max_bytes)
    read_bytes = max(map(len, reads), default=0)

    def check():
        assert len(splitter._rest) + len(splitter._fragments or b"") <= max_bytes + read_bytes + 14

    expected = parse(wire, max_bytes)
    messages, expected.messages = len(expected.messages), apart(expected.messages)
    assert feed(splitter, reads, check) == (expected, messages)


@settings(max_examples=300)
@given(STREAMS, st.lists(st.integers(0, 1 << 20), max_size=8))
@example(frame(b"[" + QUOTE % 1 + b"]") + frame(array(65536)), [40])
@example(frame(b"[" + QUOTE % 1 + b"]") + frame(array(65536)), [])
def test_both_paths_are_the_reference_at_any_cuts(wire, places):
    """A 200 KB message right behind a short one killed its connection in silence: 1 of 18,012 ticks came."""
    hold_against_the_reference(wire, cuts_of(wire, places))


@settings(max_examples=40)
@given(STREAMS, st.sampled_from([1, 2, 3, 7, 14]))
def test_reads_of_a_few_bytes_are_the_reference(wire, size):
    """The worst cuts of all: a header that comes byte by byte must not be misread."""
    wire = wire[:3000]
    hold_against_the_reference(wire, [wire[at : at + size] for at in range(0, len(wire), size)])


@settings(max_examples=40)
@given(st.lists(st.sampled_from(SIZES).map(array).map(frame) | SHORT, min_size=1, max_size=40))
def test_full_reads_are_the_reference(frames):
    """This is how it runs at full load: what is over 64 KiB begins in one read and ends in another."""
    wire = b"".join(frames)
    hold_against_the_reference(wire, [wire[at : at + 65536] for at in range(0, len(wire), 65536)])


@settings(max_examples=60)
@given(STREAMS, st.lists(st.integers(0, 1 << 20), max_size=5), st.sampled_from([125, 126, 500, 65536]))
def test_a_small_limit_holds_on_both_paths(wire, places, max_bytes):
    """A limit that the fast path does not know would be none."""
    hold_against_the_reference(wire, cuts_of(wire, places), max_bytes)


EDGES = [
    [array(36), array(125), array(126), array(127), array(36)],
    [array(36), array(65535), array(36)],
    [array(36), array(65536), array(36)],
    [array(36), array(36), b"[1]", array(SHORT_BYTES), array(SHORT_BYTES + 1), array(36)],
    ['[{"é"}]'.encode(), array(36), '[{"]\x81 ["}]'.encode(), array(36)],
]


@pytest.mark.parametrize("payloads", EDGES, ids=lambda payloads: "-".join(str(len(p)) for p in payloads))
def test_every_cut_of_every_length_class(payloads):
    """Cut after each byte within twenty of any header, in two and, with the next read, in three."""
    wire, edges = b"", set()
    for payload in payloads:
        edges |= set(range(max(0, len(wire) - 20), len(wire) + 20))
        wire += frame(payload)
    edges |= set(range(len(wire) - 20, len(wire)))
    for edge in sorted(edge for edge in edges if 0 < edge < len(wire)):
        hold_against_the_reference(wire, [wire[:edge], wire[edge:]])
        hold_against_the_reference(wire, [wire[:edge], wire[edge : edge + 1], wire[edge + 1 :]])


@pytest.mark.parametrize("before", [b"", frame(b"[{}]"), frame(b"[{}]") * 5, frame(array(2000))])
@pytest.mark.parametrize("length", [MAX_MESSAGE_BYTES + 1, 1 << 32, 1 << 62, (1 << 64) - 1])
def test_a_giant_is_refused_on_sight_behind_anything(before, length):
    """Whatever it stands behind: its bytes would be kept for ever, with all ticks behind it."""
    splitter = FrameSplitter()
    wire = before + b"\x81\x7f" + struct.pack("!Q", length)
    splitter.feed(wire[:-1])
    assert splitter.violation is None
    splitter.feed(wire[-1:])
    assert splitter.violation.close_code == 1009
    assert splitter.unfinished_bytes == 0


def test_a_message_in_tiny_pieces_takes_no_more_memory_than_whole():
    """A list of a million fragments of two bytes took 40 times their size, within the limit of their sum."""
    splitter = FrameSplitter()
    for number in range(10_000):
        splitter.feed(frame(b"ab", 0x0 if number else 0x1, fin=False))
    assert isinstance(splitter._fragments, bytearray)
    assert splitter.unfinished_bytes == 20_001
