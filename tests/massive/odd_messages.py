"""Messages in any spelling, whole, torn and hostile, for tests of what decides about elements."""

import json
from contextlib import contextmanager

from hypothesis import strategies as st

from pipeline.massive import decode, frames, ingest, salvage
from pipeline.massive.decode import decode_message
from pipeline.massive.frames import Frames
from pipeline.massive.protocol import ServerStatus
from pipeline.ticks import QUOTES

TEXTS = st.sampled_from(
    [
        "A",
        "",
        "}",
        "{",
        "]",
        "[",
        "},{",
        '{"ev":"Q"',
        '"',
        "\\",
        "é",
        "日",
        '{"ev":"T"}',
        "Q",
        "\x00",
        "\ud800",
    ]
) | st.text(max_size=5)
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 10**20), st.floats(allow_nan=False), TEXTS, st.just(1.5)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS | st.just("ev"), inner, max_size=3),
    max_leaves=6,
)
EVENTS = st.sampled_from(["T", "Q", "Q", "A", "status", "XYZ", "QX", "", None, 5])
GOOD = st.sampled_from(
    [
        {"ev": "T", "sym": "A", "p": 1.5, "t": 1},
        {"ev": "Q", "sym": "A", "bp": 1, "t": 1},
        {"ev": "A", "sym": "A", "c": 1, "e": 2},
        {"ev": "status", "status": "success", "message": "subscribed to: T.A"},
    ]
)


@st.composite
def elements(draw):
    """Draw an element: an event, most likely, with fields added and in any order."""
    if draw(st.integers(0, 9)) == 0:
        return draw(VALUES)
    element = dict(draw(GOOD))
    if draw(st.integers(0, 3)) == 0:
        element["ev"] = draw(EVENTS)
    element |= draw(st.dictionaries(st.sampled_from(["x", "zz", "ev2", "c"]), VALUES, max_size=2))
    items = list(element.items())
    return dict(draw(st.permutations(items)) if draw(st.integers(0, 2)) == 0 else items)


@st.composite
def spelled(draw):
    """Draw a message of such elements, in one of the spellings of JSON."""
    separators = draw(st.sampled_from([(",", ":"), (", ", ": "), (",\r", ":\n"), (",\r", ":")]))
    text = json.dumps(draw(st.lists(elements(), max_size=5)), separators=separators)
    if draw(st.integers(0, 4)) == 0:
        text = text.replace('"ev"', '"\\u0065v"')
    return text.encode()


BITS = st.sampled_from(
    [
        *(bytes([byte]) for byte in b'{}[],:"\\ 0\r\x00\xff'),
        b'{"ev"', b'{"ev":"T","sym":"A"', b'{"ev":"Q"', b'"sym":"A{"ev":"Q","sym":"B","t":1}', b"},\r{",
        b'},{"ev":"', b'{"ev": "T","sym":"A","p":1,"t":1}', b'{"ev":"T","sym":"A","p":1,"t":1}',
        b'{"ev":"Q","sym":"A","t":1}', b'{"a":', b"[[[[[[", b"{}", b'{"ev":0},', b"1e999", b"null", b"}]",
        b"[{",
    ]
)  # fmt: skip
HOSTILE = st.lists(BITS, max_size=14).map(b"".join)


@st.composite
def torn(draw):
    """Draw messages that broke off, or with a piece missing, doubled or put in."""
    message = draw(spelled())
    for _ in range(draw(st.integers(0, 3))):
        at, to = (draw(st.integers(0, len(message))) for _ in "ab")
        put_in = draw(st.sampled_from([b"", message[at:to], b"}", b'"', b"{", b",", b"]", b'{"ev":"T"']))
        message = message[:at] + put_in + message[max(at, to) :]
    return message


def joined(messages: list[bytes]) -> bytes:
    """Join as the splitter does, where it may."""
    return b"\r".join(messages).replace(b"}]\r[{", b"},\r{")


SINGLE = st.one_of(spelled(), torn(), HOSTILE, HOSTILE.map(lambda inner: b"[%b]" % inner))
MESSAGES = st.one_of(SINGLE, SINGLE, st.lists(SINGLE, max_size=4).map(joined))


def decoded(frames: Frames):
    """Return the ticks and status elements, and how many rejects there are."""
    elements, rejected = [], frames.torn
    for message in frames.messages:
        good, rejects = decode_message(message)
        elements += good
        rejected += sum(reject.times for reject in rejects)
    return elements, rejected


def received(frames: Frames) -> int:
    """Return how many elements are accounted for: the server's own words are none of them."""
    elements, rejected = decoded(frames)
    return sum(type(element) is not ServerStatus for element in elements) + rejected


@contextmanager
def small_bites(bite_bytes: int = 40):
    """Let a bite have so many bytes, and a large message more than two bites."""
    names = [(salvage, "BITE_BYTES", bite_bytes)]
    names += [(module, "LARGE_BYTES", 2 * bite_bytes) for module in (salvage, frames, decode, ingest)]
    before = [getattr(module, name) for module, name, _ in names]
    try:
        for module, name, value in names:
            setattr(module, name, value)
        yield
    finally:
        for (module, name, _), value in zip(names, before, strict=True):
            setattr(module, name, value)


def frames_of(messages) -> Frames:
    """Build what a read brings."""
    return Frames("a", 5, messages, sum(map(len, messages)))


def hold_against_the_decoder(messages) -> None:
    """Expect counting and thinning to see what the decoder sees."""
    frames = frames_of(messages)
    elements, rejected = decoded(frames)
    assert frames.count_elements() == received(frames)
    kept, count = frames.without_quotes()
    kept_elements, kept_rejected = decoded(kept)
    assert kept_elements == [element for element in elements if type(element) not in QUOTES]
    assert received(kept) == count
    assert kept.counted == count
    kept.counted = -1
    assert kept.count_elements() == count
    called_quotes = rejected - kept_rejected
    bytes_of_all = b"".join(messages)
    assert 0 <= called_quotes <= sum(map(bytes_of_all.count, (b"Q", b'"C"', b"\\u0051", b"\\u0043")))
    assert (kept.received_ns, kept.thinned, kept.size_bytes) == (5, True, sum(map(len, kept.messages)))


def hold_bites_against_the_whole(messages, *, count_first) -> None:
    """Expect of messages in bites what they have whole, and of what is left of them the right count."""
    frames = frames_of(messages)
    expected, rejected = decoded(frames)
    total = frames_of(messages).count_elements()
    if count_first:
        frames.count_elements()
    elements, rest = [], frames
    while rest is not None:
        bite, rest = rest.split_off()
        good, bad = decoded(bite)
        elements += good
        rejected -= bad
        total -= received(bite)
        if rest is not None:
            assert rest.count_elements() == total
    assert (elements, rejected, total) == (expected, 0, 0)


PATTERNS = {
    "arrays in arrays": b"[",
    "objects in objects": b'{"a":',
    "events in events": b'{"ev":',
    "lists of events in events": b'{"ev":[{"ev":[{"ev":[{"ev":0},',
    "noughts": b"0,",
    "texts": b'"a",',
    "empty objects": b"{},",
    "empty objects and colons": b"{}:",
    "events that are none": b'{"ev":0},',
    "braces": b"{",
    "begins": b'{"ev"',
    "torn elements": b'{"ev":"T","sym":"A',
    "odd quotation marks": b'{"ev":"T","sym":"A{"ev":"Q","sym":"B","t":1},',
    "begins of texts": b'{"',
    "quotation marks": b'"',
    "backslashes": b"\\",
    "escapes": b'\\"',
    "commas": b",",
    "noughts of bytes": b"\0",
    "invalid UTF-8": b'{"ev":"T","sym":"\xff","p":1,"t":1},',
    "surrogates": b'{"ev":"T","sym":"\\ud800","p":1,"t":1},',
    "numbers": b"9",
    "joints": b"},\r{",
    "another spelling": b'{"ev": "T","sym":"A","p":1,"t":1},',
    "the feed's spelling": b'{"ev":"T","sym":"A","p":1,"t":1},',
}
"""Of which hostile messages are made, of any length."""
