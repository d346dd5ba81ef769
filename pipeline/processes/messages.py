"""What parent and child say to each other over a pair of sockets: length, then MessagePack."""

import os
import socket
from collections import deque
from collections.abc import Callable, Iterator
from types import UnionType
from typing import TYPE_CHECKING, Any, Final, Union

import msgspec

from pipeline import status
from pipeline.health.figures import Figures
from pipeline.secret import Secret
from pipeline.settings import Settings

__all__ = [
    "Begin",
    "CloseGaps",
    "ColumnsOver",
    "End",
    "ForgetGaps",
    "GiveUp",
    "HandColumns",
    "Heard",
    "OpenGaps",
    "Order",
    "Probe",
    "Reconnect",
    "Report",
    "ReportNow",
    "Resume",
    "Said",
    "StopColumns",
    "Unable",
    "Want",
    "Word",
    "pack",
    "read_orders",
    "read_words",
    "send_with",
]

READ_BYTES: Final = 1 << 16
LENGTH_BYTES: Final = 4
MESSAGE_MAX_BYTES: Final = 64 << 20
DESCRIPTORS_A_READ: Final = 16
"""One would do on Linux, where a read ends behind what was sent with one."""


class _Message(msgspec.Struct, frozen=True, tag=True):
    """Is what all messages are."""


class Begin(_Message, frozen=True):
    """Is the first order: open the one connection of ``settings``, and log from ``log_level`` on."""

    settings: Settings
    log_level: int


class Want(_Message, frozen=True):
    """Orders to carry these channels too."""

    channels: tuple[str, ...]


class GiveUp(_Message, frozen=True):
    """Orders to carry these channels no more."""

    channels: tuple[str, ...]


class Resume(_Message, frozen=True):
    """Orders to connect again after an eviction."""


class Reconnect(_Message, frozen=True):
    """Orders to end the session and begin another."""

    reason: str


class Probe(_Message, frozen=True):
    """Orders to find out whether a silent session is dead."""


class OpenGaps(_Message, frozen=True):
    """Tells that these came over the connection until ``cut_ns`` and come nowhere now."""

    tickers: tuple[str, ...]
    cut_ns: int


class CloseGaps(_Message, frozen=True):
    """Tells that these are confirmed again, here or in another process."""

    tickers: tuple[str, ...]
    confirmed_ns: int


class ForgetGaps(_Message, frozen=True):
    """Tells that nobody wants these any more."""

    tickers: tuple[str, ...]


class HandColumns(_Message, frozen=True):
    """Orders to hand these columns to a subscriber of the parent; a socket comes with it.

    Args:
        name: of the subscriber.
        columns: their names, none for the default ones.
        descriptor: of the socket; known to who receives it.
    """

    name: str
    columns: tuple[str, ...]
    descriptor: int = -1


class StopColumns(_Message, frozen=True):
    """Tells that the subscriber of this name takes no more."""

    name: str


class ReportNow(_Message, frozen=True):
    """Orders a report, with the tickers' rates if they are to be measured anew."""

    number: int
    rates: bool


class End(_Message, frozen=True):
    """Orders to close the connection, drain for so long, report once more, and exit."""

    timeout_s: float


class Heard(_Message, frozen=True):
    """Tells a status event.

    Args:
        event: which.
        wants: how many `Want` orders had been carried out by then.
    """

    event: "_Event"
    wants: int


class ColumnsOver(_Message, frozen=True):
    """Tells why a subscriber of columns gets no more: a library is ``missing``, or its buffer was full."""

    name: str
    reason: str
    missing: bool


class Said(_Message, frozen=True):
    """Tells what was logged; ``kind`` is the message without its arguments."""

    logger: str
    level: int
    text: str
    kind: str = ""


class Report(_Message, frozen=True):
    """Tells what was counted until now.

    Args:
        at_ns: when it was begun, wall clock.
        figures: since the process began.
        number: of the `ReportNow` that it answers; 0 if it comes by the clock.
        rates: ticks/s by ticker, where they were measured anew.
        last: nothing comes after it.
    """

    at_ns: int
    figures: Figures
    number: int = 0
    rates: dict[str, float] | None = None
    last: bool = False


class Unable(_Message, frozen=True):
    """Tells why the process cannot do its work, and that another would be no better."""

    reason: str


if TYPE_CHECKING:
    _Event = status.StatusEvent
else:  # all there are
    _Event = Union[tuple(getattr(status, n) for n in status.__all__ if n not in {"Gap", "StatusEvent"})]  # noqa: UP007

Order = (
    Begin
    | Want
    | GiveUp
    | Resume
    | Reconnect
    | Probe
    | OpenGaps
    | CloseGaps
    | ForgetGaps
    | HandColumns
    | StopColumns
    | ReportNow
    | End
)
"""From parent to child."""
Word = Heard | Said | Report | ColumnsOver | Unable
"""From child to parent."""


def _reveal(value: Any) -> Any:
    if isinstance(value, Secret):
        return value.reveal()  # between our own two processes, over a pair of sockets that nobody else has
    raise NotImplementedError(f"{type(value)} does not travel")


def _hide(kind: type, value: Any) -> Any:
    if kind is Secret:
        return Secret(value)
    raise NotImplementedError(f"{kind} does not travel")


_encode: Final = msgspec.msgpack.Encoder(enc_hook=_reveal).encode


def pack(message: Order | Word) -> bytes:
    """Return a message as it travels."""
    body = _encode(message)
    return len(body).to_bytes(LENGTH_BYTES, "big") + body


def send_with(sock: socket.socket, order: Order, its: socket.socket) -> None:
    """Send an order and a socket with it, which the other process then has too."""
    data = pack(order)
    sent = socket.send_fds(sock, [data], [its.fileno()])
    sock.sendall(data[sent:])


def read_orders(sock: socket.socket) -> Iterator[Order]:
    """Yield what comes from the parent, until its end of the pair is closed. Blocks."""
    descriptors: deque[int] = deque()

    def receive() -> bytes:
        data, its, _, _ = socket.recv_fds(sock, READ_BYTES, DESCRIPTORS_A_READ)
        for descriptor in its:
            os.set_inheritable(descriptor, False)
        descriptors.extend(its)
        return data

    try:
        for order in _read(receive, Order):
            if isinstance(order, HandColumns):
                yield msgspec.structs.replace(order, descriptor=descriptors.popleft())
            else:
                yield order
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def read_words(sock: socket.socket) -> Iterator[Word]:
    """Yield what comes from the child, until its end of the pair is closed. Blocks."""
    return _read(lambda: sock.recv(READ_BYTES), Word)


def _read(receive: Callable[[], bytes], kind: UnionType) -> Iterator[Any]:
    decode = msgspec.msgpack.Decoder(kind, dec_hook=_hide).decode
    buffer = bytearray()
    while True:
        while len(buffer) >= LENGTH_BYTES:
            end = LENGTH_BYTES + int.from_bytes(buffer[:LENGTH_BYTES], "big")
            if end > MESSAGE_MAX_BYTES:
                raise ConnectionError(f"a message of {end} bytes")
            if len(buffer) < end:
                break
            yield decode(memoryview(buffer)[LENGTH_BYTES:end].tobytes())
            del buffer[:end]
        try:
            data = receive()
        except OSError:  # the other end died with something unread
            return
        if not data:
            return
        buffer += data
