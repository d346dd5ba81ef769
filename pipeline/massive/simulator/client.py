"""One connected client: its socket, its upgrade, its session, and what it is sent."""

import asyncio
import socket
from itertools import compress
from random import Random
from typing import Final, Protocol, cast

from pipeline.errors import ProtocolViolation

from .faults import Distorter
from .feeds import Packet, join
from .options import Acks, Eviction, Faults, Options, Silence
from .report import ClientReport, Tally
from .session import Outcome, Session, status
from .wire import (
    MAX_REQUEST_BYTES,
    FrameReader,
    Opcode,
    answer_upgrade,
    encode_close,
    encode_frame,
    read_close,
)

__all__ = ["Client", "Host"]

FLOW_CONTROL_BYTES: Final = 256 * 1024
"""A patient feed waits while more than this is unsent."""
CLOSE_WAIT_S: Final = 1.0
"""How long a client may take to answer a close frame, or to read why it is killed."""
ABNORMAL: Final = 1006
"""RFC 6455, 7.4.1: TCP ended without a close frame; never travels."""


class Host(Protocol):
    """Is what a client needs of its server; all of it on the server's loop."""

    options: Options
    faults: Faults

    def arrived(self, client: "Client") -> int:
        """Take note of a client and return its number."""
        ...

    def left(self, client: "Client") -> None:
        """Forget a client."""
        ...

    def admit(self, client: "Client") -> bool:
        """Make room for an authenticated client; False where it is one too many itself."""
        ...

    def subscriptions_changed(self) -> None:
        """Look again who holds channels."""
        ...

    def drops_auth(self) -> bool:
        """Tell whether to drop the client that sends its key now."""
        ...


class Client(asyncio.Protocol):
    """Serves one TCP connection, on the server's loop.

    Args:
        host: the server.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        self._loop = asyncio.get_running_loop()
        self._request = bytearray()
        self._reader = FrameReader()
        self._outbox: list[bytes] = []
        self._open = False
        self._closing = False
        self._surplus = False
        self._silence = Silence.NONE
        self._path = ""
        self.session = Session(host.options)
        self.sent = Tally()
        self.ended: str | None = None
        self.writable = asyncio.Event()
        self.writable.set()

    # --- TCP

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take note of the client and give it time to authenticate."""
        self._transport = cast("asyncio.Transport", transport)
        options = self._host.options
        sock: socket.socket = transport.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if options.kernel_buffer_bytes is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, options.kernel_buffer_bytes)
        self._transport.set_write_buffer_limits(high=FLOW_CONTROL_BYTES)
        self.number = self._host.arrived(self)
        self._random = Random(f"{options.seed}:{self.number}")  # noqa: S311  # faults, not secrets
        self._distorter = Distorter(self._random, self.sent)
        self._loop.call_later(options.auth_timeout_s, self._time_out_auth)

    def data_received(self, data: bytes) -> None:
        """Answer what came, unless told to be silent."""
        if self.silence is Silence.ALL:
            return
        if not self._open:
            self._request += data
            end = self._request.find(b"\r\n\r\n")
            if end < 0:
                if len(self._request) > MAX_REQUEST_BYTES:
                    self.abort("the upgrade request is too long")
                return
            data = bytes(self._request[end + 4 :])
            self._upgrade(bytes(self._request[:end]))
        try:
            for opcode, payload in self._reader.feed(data):
                self._on_frame(opcode, payload)
        except ProtocolViolation as violation:
            self.close(violation.close_code, str(violation))

    def pause_writing(self) -> None:
        """Let patient feeds wait."""
        self.writable.clear()

    def resume_writing(self) -> None:
        """Let patient feeds go on."""
        self.writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the client."""
        self._closing = True
        self.ended = self.ended or (str(exc) if exc else "the client left")
        self.writable.set()
        self._host.left(self)

    # --- WebSocket

    @property
    def silence(self) -> Silence:
        """What it is not told at the moment."""
        return self._silence if self._silence is not Silence.NONE else self._host.faults.silence

    def fall_silent(self, silence: Silence) -> None:
        """Tell it nothing more, or speak again."""
        self._silence = silence

    def _upgrade(self, request: bytes) -> None:
        response, self._open = answer_upgrade(request)
        self._path = request.split(b" ", 2)[1].decode("latin-1") if self._open else ""
        self._transport.write(response)
        if self._open:
            self._say([status("connected", "Connected Successfully")])
        else:
            self._hang_up("no upgrade request")

    def _on_frame(self, opcode: Opcode, payload: bytes) -> None:
        if opcode is Opcode.PING and not self._closing:
            self._transport.write(encode_frame(payload, Opcode.PONG))
        elif opcode is Opcode.CLOSE:
            if not self._closing:
                self._transport.write(encode_close(read_close(payload)))
            self._hang_up(f"closed by the client: {read_close(payload)}")
        elif opcode is Opcode.TEXT and not self._closing:
            self._on_message(payload)

    def close(self, code: int, reason: str = "") -> None:
        """Close with a code, 1006 cuts TCP; then wait a little for the client's answer."""
        if code == ABNORMAL:
            self.abort(reason or "aborted")
            return
        if not self._closing:
            self._closing = True
            self.ended = f"closed by the server: {code} {reason}".rstrip()
            self._transport.write(encode_close(code, reason))
            self._loop.call_later(CLOSE_WAIT_S, self._transport.abort)

    def abort(self, why: str) -> None:
        """Cut TCP without a word."""
        self._closing = True
        self.ended = self.ended or why
        self._transport.abort()

    def _hang_up(self, why: str) -> None:
        """Cut TCP when what was said is sent."""
        self._closing = True
        self.ended = self.ended or why
        self._transport.close()
        self._loop.call_later(CLOSE_WAIT_S, self._transport.abort)

    # --- Massive

    def _on_message(self, message: bytes) -> None:
        outcome, statuses = self.session.receive(message)
        if outcome in {Outcome.AUTHENTICATED, Outcome.REFUSED} and self._host.drops_auth():
            self.abort("dropped at its key")
            return
        if outcome is Outcome.CHANNELS:
            self._acknowledge(statuses)
            self.sent.largest_request = max(self.sent.largest_request, self.session.largest_request)
            self._host.subscriptions_changed()
            return
        self._say(statuses)
        if outcome is Outcome.REFUSED:
            self._hang_up("wrong key")
        elif outcome is Outcome.AUTHENTICATED and not self._host.admit(self):
            self._surplus = True
            if self._host.options.eviction is Eviction.NEWEST:
                self.evict()

    def _time_out_auth(self) -> None:
        if self.session.key is None and not self._closing and self.silence is not Silence.ALL:
            if self._open:
                self._say([status("auth_timeout", "No authentication request received.")])
            self._hang_up("no key in time")

    def _acknowledge(self, statuses: list[bytes]) -> None:
        faults = self._host.faults
        if faults.ack_loss:
            statuses = [one for one in statuses if self._random.random() >= faults.ack_loss]
        if faults.ack_delay_s:
            self._loop.call_later(faults.ack_delay_s, self._say_acks, statuses)
        else:
            self._say_acks(statuses)

    def _say_acks(self, statuses: list[bytes]) -> None:
        if self._host.options.acks is Acks.SINGLE:
            for one in statuses:
                self._say([one])
        else:
            self._say(statuses)
        if self._surplus:
            self.evict()

    def _say(self, statuses: list[bytes]) -> None:
        if statuses and not self._transport.is_closing() and self.silence is not Silence.ALL:
            self._transport.write(encode_frame(join(statuses)))

    def evict(self) -> None:
        """Tell it that there are too many of its key, and close."""
        if self._closing:
            return
        self.sent.evictions += 1
        self._say([status("max_connections", "Maximum number of websocket connections exceeded.")])
        self.close(1008, "too many connections")

    # --- data

    @property
    def is_here(self) -> bool:
        """Whether it is connected and stays."""
        return not (self._closing or self._surplus)

    @property
    def listens(self) -> bool:
        """Whether it holds channels and stays."""
        return bool(self.session.held) and not self._closing

    @property
    def _is_told(self) -> bool:
        return self.listens and self.silence is Silence.NONE

    def offer(self, packet: Packet) -> None:
        """Put aside what it holds of a packet; `flush` sends."""
        if not self._is_told:
            return
        wanted = tuple(map(self.session.wanted.__getitem__, packet.channels))
        if not any(wanted):
            return
        whole = all(wanted)
        if whole:
            self.sent.channels.update(packet.counts)
        else:
            self.sent.channels.update(compress(packet.channels, wanted))
        if self._host.faults.touches_data:
            elements = tuple(compress(packet.elements, wanted))
            self._outbox.append(self._distorter.distort(elements, self._host.faults))
            return
        self.sent.frames += 1
        self._outbox.append(packet.frame if whole else encode_frame(join(compress(packet.elements, wanted))))

    def finish(self) -> None:
        """Put aside the repeats that still wait: the feeds are over."""
        if self._is_told and (rest := self._distorter.rest()):
            self._outbox.append(rest)

    def flush(self, *, patient: bool) -> bool:
        """Write what was put aside and say if there was any; only a patient feed forgives a slow reader."""
        if not self._outbox:
            return False
        data = self._outbox[0] if len(self._outbox) == 1 else b"".join(self._outbox)
        self._outbox.clear()
        self._transport.write(data)
        unsent_bytes = self._transport.get_write_buffer_size()
        if not patient and unsent_bytes > self._host.options.slow_consumer_bytes:
            self._kill_slow()
        return True

    def send_raw(self, data: bytes) -> None:
        """Write bytes as they are."""
        if self._open and not self._closing:
            self._transport.write(data)

    @property
    def drained(self) -> bool:
        """Whether the kernel has all that was written."""
        return self._closing or self._transport.get_write_buffer_size() == 0

    def _kill_slow(self) -> None:
        self.sent.slow_kills += 1
        self._say([status("slow_consumer", "Your client is not reading fast enough.")])
        self._closing = True
        self.ended = "slow consumer"
        self._loop.call_later(CLOSE_WAIT_S, self._transport.abort)

    def report(self) -> ClientReport:
        """Return what it is and what it was sent."""
        return ClientReport(
            client=self.number,
            path=self._path,
            key=self.session.key,
            channels=tuple(sorted(self.session.held)),
            sent=self.sent.copy(),
            ended=self.ended,
        )
