"""RFC 6455 as a server needs it: the upgrade, frames out, a client's frames in. Pure: bytes to bytes.

Server frames are not masked, so a message is encoded once and the same bytes go to every client.
"""

import base64
import hashlib
import struct
from collections.abc import Iterator
from enum import IntEnum
from typing import Final

from websocket import ABNF

from pipeline.errors import ProtocolViolation

__all__ = ["FrameReader", "Opcode", "answer_upgrade", "encode_close", "encode_frame", "read_close"]

MAX_REQUEST_BYTES: Final = 16 * 1024
MAX_CLIENT_MESSAGE_BYTES: Final = 1024 * 1024
GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""RFC 6455, 1.3: proves that the server understood the upgrade."""
NO_CODE: Final = 1005
"""RFC 6455, 7.4.1: stands for a close frame without a code and never travels."""


class Opcode(IntEnum):
    """Names the frame types of RFC 6455, 5.2."""

    CONTINUATION = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10


def answer_upgrade(request: bytes) -> tuple[bytes, bool]:
    """Return the HTTP response to an upgrade request, and whether it opens a WebSocket."""
    lines = request.split(b"\r\n")
    headers = {
        name.strip().lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines[1:])
    }
    key = headers.get(b"sec-websocket-key", b"")
    is_upgrade = b"websocket" in headers.get(b"upgrade", b"").lower()
    if not (lines[0].startswith(b"GET ") and is_upgrade and key):
        return b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", False
    accept = base64.b64encode(hashlib.sha1(key + GUID, usedforsecurity=False).digest())
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n",
        True,
    )


def encode_frame(payload: bytes, opcode: Opcode = Opcode.TEXT, *, fin: bool = True) -> bytes:
    """Return a server's frame around a payload."""
    first, size = opcode | (0x80 if fin else 0), len(payload)
    if size < 126:
        return bytes((first, size)) + payload
    if size < 65536:
        return struct.pack("!BBH", first, 126, size) + payload
    return struct.pack("!BBQ", first, 127, size) + payload


def encode_close(code: int = NO_CODE, reason: str = "") -> bytes:
    """Return a close frame; ``NO_CODE`` gives an empty one."""
    body = b"" if code == NO_CODE else struct.pack("!H", code) + reason.encode()[:123]
    return encode_frame(body, Opcode.CLOSE)


def read_close(payload: bytes) -> int:
    """Return the code of a close frame's payload, ``NO_CODE`` where it has none."""
    return int.from_bytes(payload[:2], "big") if len(payload) >= 2 else NO_CODE


class FrameReader:
    """Takes a client's bytes as they come and gives whole messages and control frames.

    At most `MAX_CLIENT_MESSAGE_BYTES` and one read are kept.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._parts = bytearray()
        self._opcode: Opcode | None = None

    def feed(self, data: bytes) -> Iterator[tuple[Opcode, bytes]]:
        """Yield (opcode, payload) of what these bytes complete.

        Raises:
            ProtocolViolation: the client broke RFC 6455 or the limit.
        """
        self._buffer += data
        while (frame := self._next_frame()) is not None:
            fin, opcode, payload = frame
            if opcode >= Opcode.CLOSE:
                if not fin or len(payload) > 125:
                    raise ProtocolViolation(1002, "a control frame is whole and short")
                yield opcode, payload
                continue
            if (opcode == Opcode.CONTINUATION) == (self._opcode is None):
                raise ProtocolViolation(1002, "a fragment without its beginning or its end")
            self._opcode = opcode if self._opcode is None else self._opcode
            self._parts += payload
            if len(self._parts) > MAX_CLIENT_MESSAGE_BYTES:
                raise ProtocolViolation(1009, "message too big")
            if fin:
                message, kind = bytes(self._parts), self._opcode
                self._parts.clear()
                self._opcode = None
                yield kind, message

    def _next_frame(self) -> tuple[bool, Opcode, bytes] | None:
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        if buffer[0] & 0x70 or not buffer[1] & 0x80:
            raise ProtocolViolation(1002, "reserved bits, or a frame without a mask")
        size, start = buffer[1] & 0x7F, 2
        if size >= 126:
            start = 4 if size == 126 else 10
            if len(buffer) < start:
                return None
            size = int.from_bytes(buffer[2:start], "big")
        if size > MAX_CLIENT_MESSAGE_BYTES:
            raise ProtocolViolation(1009, "message too big")
        end = start + 4 + size
        if len(buffer) < end:
            return None
        try:
            opcode = Opcode(buffer[0] & 0x0F)
        except ValueError:
            raise ProtocolViolation(1002, "unknown opcode") from None
        payload = ABNF.mask(bytes(buffer[start : start + 4]), bytes(buffer[start + 4 : end]))
        fin = bool(buffer[0] & 0x80)
        del buffer[:end]
        return fin, opcode, payload
