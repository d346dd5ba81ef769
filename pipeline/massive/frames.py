"""What one read of one socket brought: the unit that travels from the reader to the pipeline."""

import re
from typing import Final

import msgspec

__all__ = ["EVENT_MARK", "JOINT", "Frames"]

EVENT_MARK: Final = b'"ev"'
"""Stands once in every element; counts elements without decoding them."""
JOINT: Final = b"},\r{"
"""Stands between two messages that were joined, where a comma would do: no feed writes it, so that they can
be taken apart again when something is wrong in one of them."""
_NO_QUOTE: Final = re.compile(rb'\{"ev":"[^Q}][^}]*\}')

_TORN: Final = b"?}"
"""Between two messages, ends what broke off in the first, and makes sure that it is no element."""


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
    """

    connection: str
    received_ns: int
    messages: list[bytes]
    size_bytes: int
    inspected: bool = False
    lost: int = 0
    thinned: bool = False

    def count_elements(self) -> int:
        """Estimate the elements without decoding: exact for whatever Massive sends."""
        return b"".join(self.messages).count(EVENT_MARK)  # a call a message would take as long again

    def without_quotes(self) -> tuple["Frames", int]:
        """Return frames with the other elements only, and how many these are; takes 0.1 µs an element."""
        elements = _NO_QUOTE.findall(_TORN.join(self.messages))
        messages = [b"[%b]" % b",".join(elements)] if elements else []
        size_bytes = sum(map(len, messages))
        kept = msgspec.structs.replace(self, messages=messages, size_bytes=size_bytes, thinned=True)
        return kept, len(elements)
