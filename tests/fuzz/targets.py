"""What must hold of the splitter and the decoder for any bytes, for the fuzzer and the tests."""

from contextlib import nullcontext

from pipeline.massive.framing import SHORT_BYTES, FrameSplitter
from tests.massive.naive_framing import apart, feed, frame, parse
from tests.massive.odd_messages import (
    PATTERNS,
    hold_against_the_decoder,
    hold_bites_against_the_whole,
    small_bites,
)

SIZES = (0, 1, 36, 125, 126, 127, SHORT_BYTES - 1, SHORT_BYTES, SHORT_BYTES + 1, 65_535, 65_536, 70_000)
LIMITS = (125, 126, 1023, 1024, 65_536, 100_000)
BETWEEN_MESSAGES = b"\xff\xfe"
LONG_BYTES = 160_000
LONG_MODE = 6


def check_splitter(data: bytes) -> None:
    """Read the data as a limit, some cuts and a stream, and hold the splitter against the naive one."""
    if len(data) < 8:
        return
    max_bytes, cuts, made = LIMITS[data[0] % len(LIMITS)], data[1:7], data[0] & 0x80
    wire = make_stream(data[7:]) if made else data[7:]
    places = sorted(int(cut * (len(wire) + 1) / 256) + index for index, cut in enumerate(cuts))
    reads = [wire[a:b] for a, b in zip([0, *places], [*places, len(wire)], strict=True)]
    expected = parse(wire, max_bytes)
    taken, expected.messages = len(expected.messages), apart(expected.messages)
    for each in (reads, [wire], [wire[at : at + 1] for at in range(len(wire))] if len(wire) < 500 else reads):
        splitter, read_bytes = FrameSplitter(max_bytes), max(map(len, each), default=0)

        def bounded(splitter=splitter, read_bytes=read_bytes):
            assert splitter.unfinished_bytes <= max_bytes + read_bytes + 15

        assert feed(splitter, each, bounded) == (expected, taken)


def make_stream(program: bytes) -> bytes:
    """Make frames of all length classes, three bytes of the program each."""
    wire = b""
    for at in range(0, len(program) - 2, 3):
        first, size, rest = program[at : at + 3]
        size = SIZES[size % len(SIZES)]
        if rest % 4 == 0:
            wire += frame(b"[{%b}]" % (b"x" * max(0, size - 4)))
        elif rest % 4 == 1:
            wire += frame(bytes([rest]) * size, first & 0x0F, fin=bool(first & 0x80))
        elif rest % 4 == 2:
            wire += bytes([0x81, rest & 0x7F]) + b"[{}]"
        else:
            wire += frame(b"[{}]") * (first % 8)
        if len(wire) > 4 * LONG_BYTES:
            break
    return wire


def check_decoder(data: bytes) -> None:
    """Read the data as messages, whole, in small bites, or repeated until they are large ones."""
    if not data:
        return
    mode, data = data[0], data[1:]
    if mode % 64 == LONG_MODE and data:
        data = data[: len(data) // 2] + data[len(data) // 2 :] * (LONG_BYTES // len(data))
    messages = data.split(BETWEEN_MESSAGES)
    if mode & 2:
        messages = [b"[%b]" % message for message in messages]
    with small_bites() if mode & 1 and len(data) < 4000 else nullcontext():
        hold_against_the_decoder(messages)
        hold_bites_against_the_whole(messages, count_first=bool(mode & 8))


SPLITTER_SEEDS = [
    b"\x85" + bytes(range(0, 240, 40)) + bytes([0x81, 2, 3, 0x81, 10, 0, 0x81, 2, 0, 0x89, 2, 1]),
    b"\x84" + bytes(6) + bytes([1, 3, 1, 0x09, 1, 1, 0x80, 3, 1]) * 3,
    b"\x04" + bytes(range(0, 240, 40)) + b"".join(frame(b'[{"ev":"Q","n":%d}]' % n) for n in range(9)),
    b"\x04" + bytes(6) + frame(b"[{}]") * 3 + b"\x81\x05[{}]" + frame(b"[{}]") * 3,
    b"\x04" + bytes(6) + frame(b"[{}]") * 3 + b"\x81\x7f" + b"\xff" * 8 + b"x" * 40,
    b"\x04" + bytes(6) + frame(b"[{") + frame(b"hi", 9) + frame(b"\x03\xe8", 8),
]
DECODER_SEEDS = [
    *(bytes([mode]) + pattern for pattern in PATTERNS.values() for mode in (0, 2, 6, 7)),
    *(
        bytes([mode]) + b'[{"ev":"T","sym":"A","p":1,"t":1},{"ev":"Q","sym":"A","t":1},' + broken
        for broken in (
            b"17]",
            b'{"ev":"X"}]',
            b'{"sym":"}{","ev":"Q","t":1}]',
            b'{"ev":"T","sy',
            b"\xff\xfe[]",
        )
        for mode in (0, 1)
    ),
]
