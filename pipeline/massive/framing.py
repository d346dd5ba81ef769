"""WebSocket framing of what the server sends (RFC 6455), pure: bytes in, messages and control frames out.

websocket-client makes three system calls a message; this takes every complete message out of one read.
"""

import re
from typing import Final, NamedTuple

from pipeline.errors import ProtocolViolation

from .salvage import JOINT

__all__ = ["MAX_MESSAGE_BYTES", "Control", "FrameSplitter", "parse_close"]

MAX_MESSAGE_BYTES: Final = 16 * 1024 * 1024

CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA
_FIN: Final = 0x80
_WHOLE_TEXT: Final = 0x81
_CONTINUATION, _TEXT, _BINARY = 0x0, 0x1, 0x2
_PROTOCOL_ERROR, _TOO_BIG = 1002, 1009

SHORT_BYTES: Final = 1024
"""Messages as short as this are worth joining."""
_BETWEEN: Final = re.compile(rb"\}\](\x81(?:~..|[\x00-\x7d]))\[\{", re.DOTALL)
"""What may be the end of an array of objects, the header of the next text message, and its begin."""
_ENDS_BYTES: Final = len(b"[{}]")
_LONGEST_SHORT: Final = SHORT_BYTES.to_bytes(2, "big")
_HEADERS: Final = [
    b"\x81%c" % length if length < 126 else b"\x81~%b" % length.to_bytes(2, "big")
    for length in range(_ENDS_BYTES, SHORT_BYTES + 1)
]
"""The header of a short array of objects, by the length of what is between its ends."""


class Control(NamedTuple):
    """Is a control frame: its opcode (`CLOSE`, `PING`, `PONG`) and payload."""

    opcode: int
    payload: bytes


class FrameSplitter:
    """Takes complete messages out of a byte stream, whichever way it was cut into reads.

    Where a read begins with short messages, each a JSON array of objects, as Massive's are, they come out as
    one, an array of all their elements with a `JOINT` between two messages: found by one regular expression,
    in less than half the time of splitting them and joining them again. Each is held against its length, so
    that this is as exact; where one differs none is joined.

    Between two reads it keeps the largest message and its header at most, and never more than has come.

    Text is not checked for UTF-8 here: that costs more than all the rest, and the decoder checks the strings.
    Not thread-safe: it belongs to the thread that reads the socket.

    Args:
        max_message_bytes: a longer message, whole or in fragments, is refused on sight of its length, before
            its bytes are kept.

    Attributes:
        taken: how many messages the last `feed` completed, those that were joined counted one by one.
        controls: control frames of the last `feed`, in order.
        violation: what the peer did wrong; from then on, and after a close frame, all bytes are ignored.
    """

    def __init__(self, max_message_bytes: int = MAX_MESSAGE_BYTES) -> None:
        if max_message_bytes < 125:
            raise ValueError(f"max_message_bytes must be 125 or more, not {max_message_bytes}")
        self.taken = 0
        self.controls: list[Control] = []
        self.violation: ProtocolViolation | None = None
        self._max_message_bytes = max_message_bytes
        self._joins = max_message_bytes >= SHORT_BYTES
        self._rest = bytearray()  # an incomplete frame, looked at again only when it is complete: no O(n²)
        self._needed_bytes = 2
        self._fragments: bytearray | None = None
        self._ended = False

    @property
    def unfinished_bytes(self) -> int:
        """What has come of a message that is not complete, at least 1; 0 between two messages."""
        fragments = self._fragments
        return len(self._rest) + (0 if fragments is None else 1 + len(fragments))

    def feed(self, data: bytes) -> list[bytes]:
        """Return the messages that ``data`` completes; then look at `controls` and `violation`."""
        if self.controls:
            self.controls = []
        self.taken = 0
        messages: list[bytes] = []
        if self._ended:
            return messages
        if self._rest:
            self._rest += data
            if len(self._rest) < self._needed_bytes:
                return messages
            data = bytes(self._rest)
            self._rest = bytearray()
        position, joined = self._join(data, messages)
        try:
            self._split(data, position, messages)
        except ProtocolViolation as violation:
            self.violation = violation
            self._ended = True
        if self._ended:
            self._fragments = None
        self.taken = len(messages) - bool(joined) + joined
        return messages

    def _join(self, data: bytes, messages: list[bytes]) -> tuple[int, int]:
        """Take the short arrays at the begin of the data as one message; return its end, and of how many."""
        if self._fragments is not None or not self._joins or data[:1] != b"\x81":
            return 0, 0
        begin = 4 if data[1:2] == b"~" else 2
        if data[begin : begin + 2] != b"[{" or (begin == 4 and data[2:4] > _LONGEST_SHORT):
            return 0, 0
        if b"}]\x81" not in data:
            return 0, 0
        parts = _BETWEEN.split(data)
        bodies, headers = parts[::2], [data[:begin], *parts[1::2]]
        bodies[0] = bodies[0][begin + 2 :]
        end = len(data)
        last, header = bodies[-1], headers[-1]
        if last.endswith(b"}]") and _HEADERS[len(last) - 2 : len(last) - 1] == [header]:
            bodies[-1] = last[:-2]
        else:  # it is not whole yet, or something else is behind it
            end -= len(header) + 2 + len(last)
            del bodies[-1], headers[-1]
        try:
            exact = list(map(_HEADERS.__getitem__, map(len, bodies))) == headers
        except IndexError:
            return 0, 0
        if not (bodies and exact):
            return 0, 0
        messages.append(b"[{%b}]" % JOINT.join(bodies))
        return end, len(bodies)

    def _split(  # noqa: C901  # the hot loop: calls cost
        self, data: bytes, position: int, messages: list[bytes]
    ) -> None:
        end = len(data)
        needed = 2
        while end - position >= 2:
            first = data[position]
            length = data[position + 1]
            start = position + 2
            if length > 125:
                if length > 127:
                    raise ProtocolViolation(_PROTOCOL_ERROR, "a masked frame from the server")
                width = 2 if length == 126 else 8
                if end - start < width:
                    needed = 2 + width
                    break
                length = int.from_bytes(data[start : start + width], "big")
                start += width
                if length > self._max_message_bytes:
                    raise ProtocolViolation(_TOO_BIG, f"a frame of {length:,} bytes")
            stop = start + length
            whole_text = first == _WHOLE_TEXT and self._fragments is None
            if not whole_text:
                self._check(first, length)
            if stop > end:
                needed = stop - position
                break
            if whole_text:
                messages.append(data[start:stop])
            elif self._take_other(first, data[start:stop], messages):
                self._ended = True
                return
            position = stop
        if position < end:
            self._rest += data[position:]
        self._needed_bytes = needed

    def _check(self, first: int, length: int) -> None:
        """Refuse what RFC 6455 forbids, on sight of the header."""
        opcode = first & 0x0F
        if first & 0x70:
            raise ProtocolViolation(_PROTOCOL_ERROR, "reserved bits set without an extension")
        if opcode in {CLOSE, PING, PONG}:
            if length > 125 or not first & _FIN:
                raise ProtocolViolation(_PROTOCOL_ERROR, "a long or fragmented control frame")
            if opcode == CLOSE and length == 1:
                raise ProtocolViolation(_PROTOCOL_ERROR, "a close frame with half a code")
        elif opcode == _CONTINUATION:
            if self._fragments is None:
                raise ProtocolViolation(_PROTOCOL_ERROR, "a continuation of nothing")
            if len(self._fragments) + length > self._max_message_bytes:
                raise ProtocolViolation(_TOO_BIG, f"fragments of over {self._max_message_bytes:,} bytes")
        elif opcode not in {_TEXT, _BINARY}:
            raise ProtocolViolation(_PROTOCOL_ERROR, f"the unknown opcode {opcode:#x}")
        elif self._fragments is not None:
            raise ProtocolViolation(_PROTOCOL_ERROR, "a new message inside a fragmented one")

    def _take_other(self, first: int, payload: bytes, messages: list[bytes]) -> bool:
        """Take a control frame, a fragment or a binary message; return whether it was a close frame."""
        opcode = first & 0x0F
        if opcode >= CLOSE:
            self.controls.append(Control(opcode, payload))
            return opcode == CLOSE
        if self._fragments is None:
            self._fragments = bytearray()
        self._fragments += payload
        if first & _FIN:
            messages.append(bytes(self._fragments))
            self._fragments = None
        return False


def parse_close(payload: bytes) -> tuple[int | None, str]:
    """Return code and reason of a close frame; a code of None where it has none."""
    if len(payload) < 2:
        return None, ""
    return int.from_bytes(payload[:2], "big"), payload[2:].decode("utf-8", "replace")
