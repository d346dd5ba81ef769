"""RFC 6455 framing, one frame at a time over the whole stream: slow, plain, and sharing nothing with ours."""

import struct
from dataclasses import dataclass, field

JOINT = b"},\r{"


def frame(payload: bytes, opcode: int = 0x1, *, fin: bool = True) -> bytes:
    """Build what a server sends."""
    first = (0x80 if fin else 0) | opcode
    if len(payload) < 126:
        return bytes([first, len(payload)]) + payload
    if len(payload) < 65536:
        return bytes([first, 126]) + struct.pack("!H", len(payload)) + payload
    return bytes([first, 127]) + struct.pack("!Q", len(payload)) + payload


@dataclass
class Outcome:
    """What a stream has in it."""

    messages: list[bytes] = field(default_factory=list)
    controls: list[tuple[int, bytes]] = field(default_factory=list)
    code: int | None = None
    unfinished_bytes: int = 0


class Forbidden(Exception):
    """What RFC 6455 or the limit forbids; its argument is the code."""


def parse(wire: bytes, max_bytes: int) -> Outcome:
    """Say what is in a stream, as far as it goes."""
    out = Outcome()
    at, open_message = 0, None
    try:
        while header := parse_header(wire[at : at + 10], open_message, max_bytes):
            fin, opcode, start, size = header
            payload = wire[at + start : at + start + size]
            if len(payload) < size:
                break
            at += start + size
            if opcode >= 8:
                out.controls.append((opcode, payload))
                if opcode == 8:
                    return out
                continue
            open_message = (open_message or b"") + payload
            if fin:
                out.messages.append(open_message)
                open_message = None
    except Forbidden as forbidden:
        out.code = forbidden.args[0]
    else:
        out.unfinished_bytes = len(wire) - at + (0 if open_message is None else 1 + len(open_message))
    return out


def parse_header(head: bytes, open_message: bytes | None, max_bytes: int) -> tuple[int, int, int, int] | None:
    """Return fin, opcode, the place of the payload and its length; None where the header is not whole."""
    if len(head) < 2:
        return None
    fin, opcode, size, start = head[0] >> 7, head[0] & 15, head[1], 2
    if size > 127:
        raise Forbidden(1002)
    if size > 125:
        start = 4 if size == 126 else 10
        if len(head) < start:
            return None
        (size,) = struct.unpack("!H" if start == 4 else "!Q", head[2:start])
        if size > max_bytes:
            raise Forbidden(1009)
    if head[0] & 0x70 or opcode not in {0, 1, 2, 8, 9, 10}:
        raise Forbidden(1002)
    if opcode >= 8:
        if not fin or size > 125 or (opcode == 8 and size == 1):
            raise Forbidden(1002)
    elif (opcode == 0) is (open_message is None):
        raise Forbidden(1002)
    elif opcode == 0 and len(open_message) + size > max_bytes:
        raise Forbidden(1009)
    return fin, opcode, start, size


def apart(messages: list[bytes]) -> list[bytes]:
    """Take joined messages apart."""
    out = []
    for message in messages:
        first, *others = message.split(JOINT)
        if not others:
            out.append(message)
            continue
        *middle, last = others
        out += [first + b"}]", *(b"[{" + part + b"}]" for part in middle), b"[{" + last]
    return out


def feed(splitter, reads: list[bytes], check=lambda: None) -> tuple[Outcome, int]:
    """Feed a real splitter; return what came out, and how many messages it says."""
    out, taken = Outcome(), 0
    for read in reads:
        out.messages += apart(splitter.feed(read))
        out.controls += [tuple(control) for control in splitter.controls]
        taken += splitter.taken
        check()
    out.code = splitter.violation and splitter.violation.close_code
    out.unfinished_bytes = splitter.unfinished_bytes
    return out, taken
