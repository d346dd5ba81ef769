import struct
from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websocket import ABNF

from pipeline.errors import ProtocolViolation
from pipeline.massive.simulator.wire import (
    FrameReader,
    Opcode,
    answer_upgrade,
    encode_close,
    encode_frame,
    read_close,
)

MESSAGES = st.lists(st.binary(max_size=300), max_size=8)


def masked(payload, opcode=Opcode.TEXT, *, fin=1):
    """Return a client's frame, as websocket-client makes it."""
    return ABNF.create_frame(payload, opcode, fin).format()


def cut(data, cuts):
    """Return the bytes in pieces."""
    places = [0, *sorted(place % (len(data) + 1) for place in cuts), len(data)]
    return [data[start:end] for start, end in pairwise(places)]


@given(messages=MESSAGES, cuts=st.lists(st.integers(0, 3000), max_size=20), big=st.booleans())
@settings(max_examples=60, deadline=None)
def test_any_cutting_of_the_stream_gives_the_same_messages(messages, cuts, big):
    """A request split by the network would be lost or garbled."""
    if big:
        messages = [*messages, b"x" * 70_000]
    reader = FrameReader()
    pieces = cut(b"".join(masked(message, Opcode.BINARY) for message in messages), cuts)
    read = [frame for piece in pieces for frame in reader.feed(piece)]
    assert read == [(Opcode.BINARY, message) for message in messages]


@given(parts=st.lists(st.binary(max_size=50), min_size=2, max_size=6))
@settings(max_examples=30, deadline=None)
def test_fragments_with_pings_between_are_one_message(parts):
    """A client that fragments its requests could not subscribe."""
    last = len(parts) - 1
    stream = b"".join(
        masked(part, Opcode.CONTINUATION if i else Opcode.TEXT, fin=int(i == last))
        + (masked(b"p", Opcode.PING) if i < last else b"")
        for i, part in enumerate(parts)
    )
    read = list(FrameReader().feed(stream))
    assert read[-1] == (Opcode.TEXT, b"".join(parts))
    assert read[:-1] == [(Opcode.PING, b"p")] * last


@given(data=st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_read_or_refused(data):
    """Rubbish from a client would kill the server's loop."""
    reader = FrameReader()
    with suppress(ProtocolViolation):
        for opcode, payload in reader.feed(data):
            assert isinstance(opcode, Opcode)
            assert isinstance(payload, bytes)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (encode_frame(b"not masked"), 1002),
        (b"\xf1\x80" + bytes(4), 1002),
        (b"\x83\x80" + bytes(4), 1002),
        (b"\x09\x80" + bytes(4), 1002),
        (masked(b"x" * 126, Opcode.PING), 1002),
        (masked(b"x", Opcode.CONTINUATION), 1002),
        (masked(b"x", fin=0) + masked(b"y"), 1002),
        (b"\x81\xff" + struct.pack("!Q", 1 << 40), 1009),
        (masked(b"x" * 900_000, fin=0) + masked(b"y" * 900_000, Opcode.CONTINUATION), 1009),
    ],
    ids=[
        "not masked",
        "reserved bits",
        "unknown opcode",
        "fragmented ping",
        "long ping",
        "lone continuation",
        "new message in a fragmented one",
        "huge frame",
        "huge message",
    ],
)
def test_violations_are_refused_with_their_code(data, code):
    """A broken client would pass here and fail against the real server."""
    with pytest.raises(ProtocolViolation) as caught:
        list(FrameReader().feed(data))
    assert caught.value.close_code == code


@given(size=st.sampled_from([0, 1, 125, 126, 127, 65_535, 65_536, 70_000]), fin=st.booleans())
@settings(max_examples=30, deadline=None)
def test_frames_out_say_their_size(size, fin):
    """Every client would lose its place in the stream."""
    frame = encode_frame(bytes(size), Opcode.BINARY, fin=fin)
    header = {126: 4, 127: 10}.get(frame[1], 2)
    assert header == (2 if size < 126 else 4 if size < 65_536 else 10)  # the shortest, says RFC 6455, 5.2
    length = frame[1] if header == 2 else int.from_bytes(frame[2:header], "big")
    assert (frame[0], length, len(frame) - header) == (0x82 if fin else 0x02, size, size)


@pytest.mark.parametrize("code", [1000, 1001, 1008, 1011, 4999])
def test_close_code_survives(code):
    """A client could not tell an eviction from a restart."""
    frame = encode_close(code, "why")
    assert frame[0] == 0x88
    assert read_close(frame[2:]) == code
    assert read_close(b"") == 1005
    assert encode_close() == b"\x88\x00"


def test_upgrade_is_answered_as_in_the_rfc():
    """No client would believe that the server understood it (example of RFC 6455, 1.3)."""
    response, opened = answer_upgrade(
        b"GET /stocks HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13"
    )
    assert opened
    assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in response


@pytest.mark.parametrize("request_", [b"", b"GET / HTTP/1.1\r\nHost: x", b"\x00\xff", b"POST / HTTP/1.1"])
def test_other_requests_are_refused(request_):
    """A browser on the port would hang, or break the server."""
    response, opened = answer_upgrade(request_)
    assert not opened
    assert response.startswith(b"HTTP/1.1 400 ")
