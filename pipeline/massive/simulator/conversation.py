"""One client's conversation with the server: what it hears, and when. Pure: neither socket nor clock."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import compress
from random import Random
from typing import Final, Protocol

from pipeline.errors import ProtocolViolation

from .faults import Distorter, Message
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

__all__ = ["Conversation", "Host", "Line"]

CLOSE_WAIT_S: Final = 1.0
"""How long a client may take to answer a close frame, or to read why it is killed."""
ACK_RIDE_S: Final = 1.0
"""How long acknowledgements wait for a message of ticks before they go alone."""
ABNORMAL: Final = 1006
"""RFC 6455, 7.4.1: TCP ended without a close frame; never travels."""


class Line(Protocol):
    """One TCP connection to a client, and a clock that calls back."""

    @property
    def unsent_bytes(self) -> int:
        """How much of what was sent still waits for the client."""
        ...

    def send(self, data: bytes) -> None:
        """Send after all that was sent before."""
        ...

    def close(self) -> None:
        """End the connection when all is sent."""
        ...

    def abort(self) -> None:
        """Cut the connection at once."""
        ...

    def later(self, delay_s: float, action: Callable[[], None]) -> None:
        """Call back once, after a while."""
        ...


class Host(Protocol):
    """What a conversation needs of its server."""

    options: Options
    faults: Faults
    malformed: Mapping[str, bytes]
    effects: Counter[str]
    """What the faults did, counted when it happens."""

    def arrived(self, conversation: "Conversation") -> int:
        """Take note of a conversation and return its number."""
        ...

    def ended(self, conversation: "Conversation") -> None:
        """Take note that it is sent no more data."""
        ...

    def left(self, conversation: "Conversation") -> None:
        """Forget it: its connection is gone."""
        ...

    def admit(self, conversation: "Conversation") -> bool:
        """Make room for one that showed its key; False where it is one too many itself."""
        ...

    def changed(self, conversation: "Conversation") -> None:
        """Look again at what it holds."""
        ...

    def said(self, conversation: "Conversation", statuses: Sequence[bytes]) -> None:
        """Take note of status elements that were just sent in a message of their own."""
        ...

    def drops_auth(self) -> bool:
        """Tell whether to drop the client that sends its key now."""
        ...

    def loses_auth(self) -> bool:
        """Tell whether the key that is sent now gets lost."""
        ...


class Conversation:
    """One client's connection from the upgrade to the end.

    It acts on its line, and on nothing else; whoever owns the line tells it what came (`receive`) and that
    the connection is gone (`lost`). All on one thread.

    Args:
        host: the server.
        line: its connection, just made.
    """

    def __init__(self, host: Host, line: Line) -> None:
        self._host = host
        self._line = line
        self._request = bytearray()
        self._reader = FrameReader()
        self._outbox: list[Message] = []
        self._riding: list[bytes] = []
        """Acknowledgements that wait for a message of ticks."""
        self._open = False
        self._closing = False
        self._let_in = False
        self._surplus = False
        self._silence = Silence.NONE
        self._path = ""
        self.session = Session(host.options)
        self.sent = Tally()
        self.reason: str | None = None
        """Why it ended, None while it goes on."""
        self.number = host.arrived(self)
        self._random = Random(f"{host.options.seed}:{self.number}")  # noqa: S311  # faults, not secrets
        self._distorter = Distorter(self._random, self.sent, host.malformed)
        line.later(host.options.auth_timeout_s, self._time_out_auth)

    # --- TCP

    def receive(self, data: bytes) -> None:
        """Answer what came, unless told to be silent."""
        if not self._open:
            self._request += data
            end = self._request.find(b"\r\n\r\n")
            if end < 0 and len(self._request) > MAX_REQUEST_BYTES:
                self.abort("the upgrade request is too long")
            if end < 0 or self._closing or self._keeps_quiet():
                return
            data = bytes(self._request[end + 4 :])
            self._upgrade(bytes(self._request[:end]))
        try:
            for opcode, payload in self._reader.feed(data):
                if not self._keeps_quiet():
                    self._on_frame(opcode, payload)
        except ProtocolViolation as violation:
            if not self._keeps_quiet():
                self.close(violation.close_code, str(violation))

    def lost(self, why: str) -> None:
        """Take note that the connection is gone."""
        self._end(why)
        self._host.left(self)

    # --- WebSocket

    @property
    def silence(self) -> Silence:
        """What it is not told at the moment."""
        return self._silence if self._silence is not Silence.NONE else self._host.faults.silence

    def fall_silent(self, silence: Silence) -> None:
        """Tell it nothing more, or speak again."""
        self._silence = silence

    def _keeps_quiet(self) -> bool:
        """Tell whether what came is not to be answered, and count it then."""
        if self.silence is not Silence.ALL:
            return False
        self._host.effects["unanswered"] += 1
        return True

    def _upgrade(self, request: bytes) -> None:
        response, self._open = answer_upgrade(request)
        self._path = request.split(b" ", 2)[1].decode("latin-1") if self._open else ""
        self._line.send(response)
        if self._open:
            greeting = [status("connected", "Connected Successfully")]
            if delay_s := self._host.faults.greeting_delay_s:
                self._host.effects["greetings late"] += 1
                self._line.later(delay_s, lambda: self._say(greeting))
            else:
                self._say(greeting)
        else:
            self.hang_up("no upgrade request")

    def _on_frame(self, opcode: Opcode, payload: bytes) -> None:
        if opcode is Opcode.PING and not self._closing:
            self._line.send(encode_frame(payload, Opcode.PONG))
        elif opcode is Opcode.CLOSE:
            if not self._closing:
                self._line.send(encode_close(read_close(payload)))
            self.hang_up(f"closed by the client: {read_close(payload)}")
        elif opcode is Opcode.TEXT and not self._closing:
            self._on_message(payload)

    def close(self, code: int, reason: str = "") -> None:
        """Close with a code, 1006 cuts TCP; then wait a little for the client's answer."""
        if code == ABNORMAL:
            self.abort(reason or "aborted")
        elif not self._closing:
            self._end(f"closed by the server: {code} {reason}".rstrip())
            self._line.send(encode_close(code, reason))
            self._line.later(CLOSE_WAIT_S, self._line.abort)

    def abort(self, why: str) -> None:
        """Cut TCP without a word."""
        self._end(why)
        self._line.abort()

    def hang_up(self, why: str) -> None:
        """Cut TCP when what was said is sent, without a close frame."""
        self._end(why)
        self._line.close()
        self._line.later(CLOSE_WAIT_S, self._line.abort)

    def _end(self, why: str) -> None:
        if not self._closing:
            self._closing = True
            self.reason = why
            self._host.ended(self)

    # --- Massive

    def _on_message(self, message: bytes) -> None:
        unanswered = self.session.unanswered
        outcome, statuses = self.session.receive(message)
        self._host.effects["channels unanswered"] += self.session.unanswered - unanswered
        if outcome in {Outcome.AUTHENTICATED, Outcome.REFUSED}:
            self._on_key(outcome, statuses)
        elif outcome is Outcome.CHANNELS:
            self.sent.largest_request = max(self.sent.largest_request, self.session.largest_request)
            self._host.changed(self)
            self._acknowledge(statuses)
        else:
            self._say(statuses)

    def _on_key(self, outcome: Outcome, statuses: list[bytes]) -> None:
        host = self._host
        if host.drops_auth():
            self.abort("dropped at its key")
        elif host.loses_auth():
            self.session.key = None
        elif outcome is Outcome.REFUSED:
            self._say(statuses)
            self.hang_up("wrong key")
        elif delay_s := host.faults.auth_delay_s:
            host.effects["keys answered late"] += 1
            self._line.later(delay_s, lambda: self._enter(statuses))
        else:
            self._enter(statuses)

    def _enter(self, statuses: list[bytes]) -> None:
        self._say(statuses)
        self._let_in = True
        if not (self._closing or self._host.admit(self)):
            self._surplus = True
            if self._host.options.eviction is Eviction.NEWEST:
                self.evict()

    def _time_out_auth(self) -> None:
        if self.session.key is None and not self._closing and self.silence is not Silence.ALL:
            if self._open:
                self._say([status("auth_timeout", "No authentication request received.")])
            self.hang_up("no key in time")

    def _acknowledge(self, statuses: list[bytes]) -> None:
        faults, effects = self._host.faults, self._host.effects
        if faults.ack_loss:
            kept = [one for one in statuses if self._random.random() >= faults.ack_loss]
            effects["acks lost"] += len(statuses) - len(kept)
            statuses = kept
        if faults.shuffle_acks and len(statuses) > 1:
            effects["acks in another order"] += len(statuses)
            self._random.shuffle(statuses)
        if faults.ack_delay_s:
            effects["acks late"] += len(statuses)
            self._line.later(faults.ack_delay_s, lambda: self._say_acks(statuses))
        else:
            self._say_acks(statuses)

    def _say_acks(self, statuses: list[bytes]) -> None:
        acks = self._host.options.acks
        if acks is Acks.SINGLE:
            for one in statuses:
                self._say([one])
        elif acks is Acks.AMONG_TICKS:
            self.put_among_ticks(statuses)
        else:
            self._say(statuses)
        if self._surplus:
            self.evict()

    def put_among_ticks(self, statuses: Sequence[bytes]) -> None:
        """Send status elements in the next message of ticks, alone where there is none for a second."""
        self._riding += statuses
        self._line.later(ACK_RIDE_S, self._say_riding)

    def _say_riding(self) -> None:
        statuses, self._riding = self._riding, []
        self._say(statuses)

    def _say(self, statuses: list[bytes]) -> None:
        if statuses and not self._closing and self.silence is not Silence.ALL:
            self._line.send(encode_frame(join(statuses)))
            self._host.said(self, statuses)

    def evict(self) -> None:
        """Tell it that there are too many of its key, and close."""
        if self._closing:
            return
        self.sent.evictions += 1
        self._host.effects["evictions"] += 1
        self._say_riding()
        self._say([status("max_connections", "Maximum number of websocket connections exceeded.")])
        self.close(1008, "too many connections")

    # --- data

    @property
    def is_here(self) -> bool:
        """Whether its key was answered and it stays."""
        return self._let_in and not (self._closing or self._surplus)

    @property
    def listens(self) -> bool:
        """Whether it holds channels and stays."""
        return bool(self.session.held) and not self._closing

    def offer(self, packet: Packet) -> None:
        """Put aside what it holds of a packet; `flush` sends."""
        if not self.listens:
            return
        wanted = tuple(map(self.session.wanted.__getitem__, packet.channels))
        if not any(wanted):
            return
        if self.silence is not Silence.NONE:
            self._host.effects["elements withheld"] += sum(wanted)
            return
        whole = all(wanted)
        if whole:
            self.sent.channels.update(packet.counts)
        else:
            self.sent.channels.update(compress(packet.channels, wanted))
        if self._riding or self._host.faults.touches_data:
            self._distort(tuple(compress(packet.elements, wanted)))
            return
        self.sent.frames += 1
        if whole:
            self._outbox.append(Message(packet.frame, packet.elements))
        else:
            elements = tuple(compress(packet.elements, wanted))
            self._outbox.append(Message(encode_frame(join(elements)), elements))

    def _distort(self, elements: tuple[bytes, ...]) -> None:
        statuses, self._riding = self._riding, []
        faults, effects, sent = self._host.faults, self._host.effects, self.sent
        effects["statuses among ticks"] += len(statuses)
        effects["messages in fragments"] += faults.fragments > 1
        malformed, cut, repeated = sent.malformed.total(), sent.truncated_frames, sent.repeated_frames
        self._outbox += self._distorter.distort(elements, faults, statuses)
        effects["elements malformed"] += sent.malformed.total() - malformed
        effects["messages cut"] += sent.truncated_frames - cut
        effects["messages repeated"] += sent.repeated_frames - repeated

    def finish(self) -> None:
        """Put aside the repeats that still wait: the feeds are over."""
        if self.listens and self.silence is Silence.NONE:
            self._outbox += self._distorter.rest()

    def flush(self, *, patient: bool) -> Sequence[Message]:
        """Send what was put aside, and return it; only a patient feed forgives a slow reader."""
        messages, self._outbox = self._outbox, []
        if not messages or self._closing:
            return ()
        self._line.send(b"".join([message.data for message in messages]))
        if not patient and self._line.unsent_bytes > self._host.options.slow_consumer_bytes:
            self.kill_slow()
        return messages

    def send_raw(self, data: bytes) -> None:
        """Write bytes as they are."""
        if self._open and not self._closing:
            self._line.send(data)

    @property
    def drained(self) -> bool:
        """Whether the client's system has all that was sent."""
        return self._closing or self._line.unsent_bytes == 0

    def kill_slow(self) -> None:
        """Tell it that it reads too slowly, and cut it."""
        if self._closing:
            return
        self.sent.slow_kills += 1
        self._host.effects["slow kills"] += 1
        self._say([status("slow_consumer", "Your client is not reading fast enough.")])
        self._end("slow consumer")
        self._line.later(CLOSE_WAIT_S, self._line.abort)

    def report(self) -> ClientReport:
        """Return what it is and what it was sent."""
        return ClientReport(
            client=self.number,
            path=self._path,
            key=self.session.key,
            channels=tuple(sorted(self.session.held)),
            sent=self.sent.copy(),
            ended=self.reason,
        )
