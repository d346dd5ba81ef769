"""Elements by their bytes: where each begins and ends in a message, whole or broken; pure, in linear time.

The account of what waits undecoded counts by it as the decoder does, so that both agree on any bytes.
"""

import re
from collections import Counter
from typing import Final, NamedTuple

import msgspec

from .lenient import UNDECODABLE, decode_element
from .protocol import ServerStatus

__all__ = [
    "BITE_BYTES",
    "JOINT",
    "LARGE_BYTES",
    "Pieces",
    "count",
    "count_plain",
    "count_statuses",
    "pieces",
    "take_bite",
]

BITE_BYTES: Final = 72 * 1024
"""A little more than is decoded in a turn, so that a turn has one."""
LARGE_BYTES: Final = 2 * BITE_BYTES
"""Messages longer than this go on in bites, with the loop's turns between them. No feed sends any."""
JOINT: Final = b"},\r{"
"""Stands between two messages that were joined, where a comma would do: no feed writes it, so that they can
be taken apart again when something is wrong in one of them."""

DEPTH: Final = 4
"""In a broken message, objects nested deeper than any event's are not recognised."""
_SPACE: Final = r"[ \t\r\n]*+"
_STRING: Final = r'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_SCALAR: Final = r'[^ \t\r\n"{}\[\]:,\\]++'


def _object(depth: int) -> str:
    values = [_STRING, _SCALAR]
    if depth > 1:
        nested = _object(depth - 1)
        array = _array(depth - 1)
        values += [nested, array]
    pair = f"{_STRING}{_SPACE}:{_SPACE}(?:{'|'.join(values)}){_SPACE}(?:,{_SPACE}|(?=\\}}))"
    return rf"\{{{_SPACE}(?:{pair})*+\}}"


def _array(depth: int) -> str:
    values = [_STRING, _SCALAR]
    if depth > 1:
        values += [_object(depth - 1), _array(depth - 1)]
    return rf"\[{_SPACE}(?:(?:{'|'.join(values)}){_SPACE}(?:,{_SPACE}|(?=\])))*+\]"


_OBJECT: Final = re.compile(f"({_object(DEPTH)})".encode(), re.DOTALL)
"""An object as JSON has it. Possessive throughout: a search looks at a byte once a level of nesting."""
_MARK: Final = re.compile(rb'\{[ \t\r\n]*+"ev"')
"""The begin of an element, also where the one before it broke off."""
_EMPTY: Final = re.compile(rb"\[[\s,]*+\]")
_SEPARATORS: Final = b"[], \n\r\t"
_PLAIN_BETWEEN: Final = b'},{"ev":"'
_JOINED_BETWEEN: Final = b'},\r{"ev":"'

_decode_raw_array = msgspec.json.Decoder(list[msgspec.Raw]).decode


class Pieces(NamedTuple):
    """The elements of a message, undecoded, and what in it is none.

    Attributes:
        elements: raw, in order: those that may be events.
        torn: how many have broken off.
        sample: one of these.
        others: how many whole values there are that name no event.
        other: one of these.
    """

    elements: list[bytes]
    torn: int = 0
    sample: bytes = b""
    others: int = 0
    other: bytes = b""


def count_plain(message: bytes) -> int:
    """Return the number of elements of a message in the feed's own spelling; 0 where it may be another.

    Each element begins with ``{"ev":"``, there is no other brace in it, and nothing but a comma between two.
    Then an element is what is between two braces, be it whole or not: it can neither hide another nor end
    elsewhere, for a text that held ``{"ev`` would end there.
    """
    elements = message.count(_PLAIN_BETWEEN) + 1
    if b"\r" in message:
        elements += message.count(_JOINED_BETWEEN)
    plain = (
        message.startswith(b'[{"ev":"')
        and message.endswith(b"}]")
        and message.count(b"{") == elements
        and message.count(b"}") == elements
    )
    return elements if plain else 0


def count(message: bytes, position: int = 0) -> int:
    """Return how many ticks and rejects will come of a message from a position on; a status is neither."""
    if len(message) <= LARGE_BYTES:
        return _count_all(message) - count_statuses(message)
    elements = 0
    while position < len(message):
        bite, position = take_bite(message, position)
        elements += count(bite)
    return elements


def _count_all(message: bytes) -> int:
    if plain := count_plain(message):
        return plain
    try:
        return len(_decode_raw_array(message))
    except UNDECODABLE:
        found = [_break(part) for part in _take_apart(message)]
        return sum(len(each.elements) + each.torn for each in found)


def count_statuses(message: bytes) -> int:
    """Return how many elements of a message are the server's own words.

    Hardly any message has one. Those that may are taken apart, and what names a status is decoded: one that
    is malformed is a reject.
    """
    if b"status" not in message and b"\\" not in message:  # any letter may be written as an escape
        return 0
    named = (raw for raw in pieces(message).elements if b"status" in raw or b"\\u" in raw)
    return sum(type(decode_element(raw).element) is ServerStatus for raw in named)


def pieces(message: bytes) -> Pieces:
    """Take a message apart: by JSON where it is an array, else by whatever in it is a whole object."""
    try:
        raws = _decode_raw_array(message)
    except UNDECODABLE:
        found = [_break(part) for part in _take_apart(message)]
        sample = next((each.sample for each in found if each.torn), b"")
        torn = sum(each.torn for each in found)
        return _sort([raw for each in found for raw in each.elements], torn, sample)
    if b"{" not in message:
        return Pieces([], others=len(raws), other=message)
    return _sort(list(map(bytes, raws)))


def _sort(raws: list[bytes], torn: int = 0, sample: bytes = b"") -> Pieces:
    """Tell what names an event, perhaps in escapes, from what does not: to decode that takes time."""
    elements = [raw for raw in raws if b"ev" in raw or b"\\" in raw]
    others = len(raws) - len(elements)
    other = next((raw for raw in raws if b"ev" not in raw and b"\\" not in raw), b"") if others else b""
    return Pieces(elements, torn, sample, others, other)


def take_bite(message: bytes, position: int) -> tuple[bytes, int]:
    """Return a message with the elements of a large one from a position on, a bite, and where they end.

    An object that is longer than that counts as torn.
    """
    end = position + BITE_BYTES
    if end < len(message):
        between = message.rfind(_PLAIN_BETWEEN, position, end)
        if between >= 0:
            bite = b"[%b]" % message[position + (not position) : between + 1]
            if count_plain(bite):
                return bite, between + 2
        end = _end_of_bite(message, position, end)
    bite = message[position:end].strip(b", \n\r\t")
    if not position:
        bite = bite.removeprefix(b"[")
    if end >= len(message):
        bite = bite.removesuffix(b"]")
    return b"[%b]" % bite, end


def _end_of_bite(message: bytes, position: int, end: int) -> int:
    """Return the end of the last whole object in a window, else where another or a value may begin."""
    parts = _OBJECT.split(message[position:end])
    if len(parts) > 1:
        return end - len(parts[-1])
    for begin in (b"{", b","):
        last = message.rfind(begin, position + 1, end)
        if last > 0:
            return last
    return end


def _take_apart(message: bytes) -> list[bytes]:
    """Return the messages that were joined to one."""
    if JOINT not in message:
        return [message]
    first, *middle, last = message.split(JOINT)
    return [first + b"}]", *(b"[{%b}]" % part for part in middle), b"[{" + last]


def _break(message: bytes) -> Pieces:
    """Find the whole objects of a message; count what begins between them."""
    try:
        return Pieces([bytes(raw) for raw in _decode_raw_array(message)])
    except UNDECODABLE:
        parts = _OBJECT.split(message)
    elements, torn, sample = parts[1::2], 0, b""
    for gap, times in Counter(parts[::2]).items():
        junk = gap.strip(_SEPARATORS)
        if junk:
            marks = len(_MARK.findall(junk))
            torn += times * (marks if _MARK.match(junk) else marks + 1)
            sample = sample or junk
    if not (elements or torn or _EMPTY.fullmatch(message)):
        return Pieces([], 1, message)
    return Pieces(elements, torn, sample)
