"""What one read of one socket brought: the unit that travels from the reader to the pipeline."""

import re
from collections.abc import Iterator
from typing import Final

import msgspec

from pipeline.ticks import QUOTES

from . import salvage
from .lenient import decode_element
from .salvage import BITE_BYTES, LARGE_BYTES

__all__ = ["Frames"]

TOGETHER_S: Final = 0.001
"""Reads so close are one where there is too much to do."""
_EVENT_MARK: Final = b'"ev"'
_NO_QUOTE: Final = re.compile(rb'\{"ev":"(?!(?:X?Q|C)")[^}]*+\}')


class Frames(msgspec.Struct, gc=False):
    """Holds the messages of one read, undecoded.

    Args:
        connection: the id of the connection.
        received_ns: wall clock of the read, ns since the epoch, taken once.
        messages: whole payloads (JSON arrays) in the order of the wire; short ones may be joined to one.
        size_bytes: their lengths added up.
        inspected: the connection has already looked at the status elements in them.
        lost: elements of this connection dropped, undecoded, since the frames before these.
        thinned: its quotes were given up.
        torn: what was no event, or had broken off, in the messages that were thinned.
        position: how far the first message, a large one, has gone on.
        counted: the elements, once somebody has counted them; -1 before.
        number: how many reads had come with it, over all connections.
        offered_s: when it came to be decoded, monotonic.
        read: how many reads its connection had made with it, in all its sessions.
    """

    connection: str
    received_ns: int
    messages: list[bytes]
    size_bytes: int
    inspected: bool = False
    lost: int = 0
    thinned: bool = False
    torn: int = 0
    position: int = 0
    counted: int = -1
    number: int = 0
    offered_s: float = 0.0
    read: int = 0

    @property
    def is_large(self) -> bool:
        """Whether the first message goes on in bites."""
        return bool(self.messages) and len(self.messages[0]) > LARGE_BYTES

    def count_elements(self) -> int:
        """Return how many ticks and rejects will come of them: the server's own words are neither."""
        if self.counted < 0:
            elements, position = self.torn, self.position
            for message in self.messages:
                elements += salvage.count(message, position)
                position = 0
            self.counted = elements
        return self.counted

    @property
    def is_slow(self) -> bool:
        """Whether the first message is large, and not in the feed's own spelling: it may take seconds."""
        return self.is_large and not all(plain for _, plain in self._with_counts())

    def count_given_up(self) -> int:
        """Return the same where it is known or soon counted; of what `is_slow` the events that it names.

        What has to be salvaged takes as long to count as to salvage, and nobody waits for it any more.
        """
        if self.counted < 0 and self.is_slow:
            elements, position = self.torn, self.position
            for message in self.messages:
                elements += max(1, message.count(_EVENT_MARK, position))
                position = 0
            self.counted = elements
        return self.count_elements()

    def without_quotes(self) -> tuple["Frames", int]:
        """Return frames without the quotes, and how many elements these have; count all on the way.

        In the feed's own spelling a quote is what begins as one, though it may be malformed.
        """
        kept: list[bytes] = []
        torn, elements, counted = self.torn, self.torn, self.torn
        for message, plain in self._with_counts():
            if plain and b"\\" not in message:  # its event may be written in escapes
                others = _NO_QUOTE.findall(message)
                counted += plain
            else:
                found = salvage.pieces(message)
                others = [element for element in found.elements if not _is_quote(element)]
                torn += found.torn + found.others
                elements += found.torn + found.others
                counted += found.torn + found.others + len(found.elements)
            statuses = salvage.count_statuses(message)
            counted -= statuses
            elements -= statuses
            if others:
                kept.append(b"[%b]" % b",".join(others))
                elements += len(others)
        if self.counted < 0:
            self.counted = counted
        thinned = Frames(
            self.connection,
            self.received_ns,
            kept,
            sum(map(len, kept)),
            inspected=self.inspected,
            lost=self.lost,
            thinned=True,
            torn=torn,
            counted=elements,
            number=self.number,
            offered_s=self.offered_s,
            read=self.read,
        )
        return thinned, elements

    def extend(self, later: "Frames") -> bool:
        """Take in what is left of a read right after this one, if that is what both are; return whether.

        What a batch costs is then shared by more ticks. They get the time of the first, at most a ms earlier.
        """
        fits = (
            self.thinned
            and self.connection == later.connection
            and self.inspected is later.inspected
            and self.size_bytes + later.size_bytes <= BITE_BYTES
            and later.offered_s - self.offered_s <= TOGETHER_S
        )
        if fits:
            self.messages = self.messages + later.messages
            self.size_bytes += later.size_bytes
            self.counted += later.counted
            self.torn += later.torn
            self.lost += later.lost
            self.read = later.read
        return fits

    def split_off(self) -> tuple["Frames", "Frames | None"]:
        """Return what is decoded before the sockets have their turn, and the rest, None where it is all."""
        if self.size_bytes <= LARGE_BYTES and not self.position:
            return self, None
        first = self.messages[0]
        if self.position or len(first) > LARGE_BYTES:
            message, position = salvage.take_bite(first, self.position)
            taken, whole_bytes = [message], position - self.position
            rest = self.messages if position < len(first) else self.messages[1:]
            position = position if position < len(first) else 0
        else:
            taken, rest, position, whole_bytes = self._lead()
        bite = self._part(taken)
        if not rest:
            return bite, None
        others = msgspec.structs.replace(
            self, messages=rest, size_bytes=self.size_bytes - whole_bytes, position=position, lost=0, torn=0
        )
        if self.counted >= 0:
            others.counted = self.counted - bite.count_elements()
        return bite, others

    def _part(self, messages: list[bytes]) -> "Frames":
        size_bytes = sum(map(len, messages))
        return msgspec.structs.replace(self, messages=messages, size_bytes=size_bytes, position=0, counted=-1)

    def _lead(self) -> tuple[list[bytes], list[bytes], int, int]:
        """Return the first messages that are not large together, the others, and what the first are long."""
        size_bytes, taken = 0, 0
        for message in self.messages:
            if size_bytes + len(message) > LARGE_BYTES:
                break
            size_bytes += len(message)
            taken += 1
        return self.messages[:taken], self.messages[taken:], 0, size_bytes

    def _with_counts(self) -> Iterator[tuple[bytes, int]]:
        """Yield the messages, several as one where they can be, and their elements; 0 where some may hide."""
        messages = self._small_messages()
        if len(messages) > 1 and not self.is_large:
            # A call a message would take as long again. Between two that begin and end so stands what stands
            # between two elements.
            one = b"[%b]" % b",".join([m[1:-1] for m in messages if m.startswith(b"[") and m.endswith(b"]")])
            if len(one) == self.size_bytes - len(messages) + 1 and (plain := salvage.count_plain(one)):
                yield one, plain
                return
        for message in messages:
            yield message, salvage.count_plain(message)

    def _small_messages(self) -> list[bytes]:
        """Return the messages, large ones in bites."""
        small: list[bytes] = []
        position = self.position
        for message in self.messages:
            if not position and len(message) <= LARGE_BYTES:
                small.append(message)
                continue
            while position < len(message):
                bite, position = salvage.take_bite(message, position)
                small.append(bite)
            position = 0
        return small


def _is_quote(element: bytes) -> bool:
    if b"Q" not in element and b"C" not in element and b"\\" not in element:
        return False
    return type(decode_element(element).element) in QUOTES
