"""WebSocket framing of what the server sends (RFC 6455), pure: bytes in, messages and control frames out.

websocket-client makes three system calls a message; this takes every complete message out of one read.
"""

import re
from typing import Final, NamedTuple

from pipeline.errors import ProtocolViolation

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
_BETWEEN: Final = re.compile(rb"\]\x81(?:~..|[\x00-\x7d])\[", re.DOTALL)
"""The end of an array, the header of the next text message, its begin. In UTF-8 no 0x81 follows a ]."""


class Control(NamedTuple):
    """Is a control frame: its opcode (`CLOSE`, `PING`, `PONG`) and payload."""

    opcode: int
    payload: bytes


class FrameSplitter:
    """Takes complete messages out of a byte stream, whichever way it was cut into reads.

    Where a read is full of short messages, each a JSON array in ASCII, as Massive's are, they come out as one
    message, an array of all their elements: found by one regular expression, that takes a third of the time
    of splitting them and joining them again. They are not held against their lengths then, but for the last.

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
        self._rest: list[bytes] = []  # an incomplete frame, joined only when it is complete: no O(n²)
        self._rest_bytes = 0
        self._needed_bytes = 2
        self._fragments: list[bytes] | None = None
        self._fragment_bytes = 0
        self._ended = False

    def feed(self, data: bytes) -> list[bytes]:
        """Return the messages that ``data`` completes; then look at `controls` and `violation`."""
        if self.controls:
            self.controls = []
        self.taken = 0
        messages: list[bytes] = []
        if self._ended:
            return messages
        if self._rest:
            self._rest.append(data)
            self._rest_bytes += len(data)
            if self._rest_bytes < self._needed_bytes:
                return messages
            data = b"".join(self._rest)
            self._rest.clear()
        joined = self._join(data)
        if joined:
            return [joined]
        try:
            self._split(data, messages)
        except ProtocolViolation as violation:
            self.violation = violation
            self._ended = True
        self.taken = len(messages)
        return messages

    def _join(self, data: bytes) -> bytes:
        """Return all messages as one array, and keep what is left of the data; b"" where that cannot be."""
        if not data or data[0] != _WHOLE_TEXT or self._fragments is not None:
            return b""
        start, stop = _bounds(data, 0)
        last = data.rfind(b"]\x81") + 1 if stop - start <= SHORT_BYTES else 0
        if not last:
            return b""
        end = len(data)
        _, stop = _bounds(data, last)
        if stop > end:
            end = last  # the last one is not whole yet
        elif stop < end:
            return b""  # there is something else behind it
        joined, count = _BETWEEN.subn(b",", data[start:end])
        # Whatever else there is between two messages has a byte above 0x7f.
        if not (joined.isascii() and joined.startswith(b"[") and joined.endswith(b"]")):
            return b""
        if end < len(data):
            self._rest.append(data[end:])
        self._rest_bytes, self._needed_bytes = len(data) - end, stop - end
        self.taken = count + 1
        return joined

    def _split(self, data: bytes, messages: list[bytes]) -> None:  # noqa: C901  # the hot loop: calls cost
        position, end = 0, len(data)
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
            self._rest.append(data[position:])
        self._rest_bytes = end - position
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
            if self._fragment_bytes + length > self._max_message_bytes:
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
            self._fragments, self._fragment_bytes = [], 0
        # Empty fragments are not kept: an endless run of them would grow the list without growing the size.
        if payload:
            self._fragments.append(payload)
            self._fragment_bytes += len(payload)
        if first & _FIN:
            messages.append(b"".join(self._fragments))
            self._fragments = None
        return False


def _bounds(data: bytes, header: int) -> tuple[int, int]:
    """Return where the payload of a text frame begins and ends; a very long one ends far away."""
    length = data[header + 1] if len(data) > header + 1 else 0
    if length < 126:
        return header + 2, header + 2 + length
    if length == 126:
        return header + 4, header + 4 + int.from_bytes(data[header + 2 : header + 4].ljust(2, b"\0"), "big")
    return header + 2, header + (1 << 62)


def parse_close(payload: bytes) -> tuple[int | None, str]:
    """Return code and reason of a close frame; a code of None where it has none."""
    if len(payload) < 2:
        return None, ""
    return int.from_bytes(payload[:2], "big"), payload[2:].decode("utf-8", "replace")
