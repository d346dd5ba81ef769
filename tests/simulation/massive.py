"""A Massive server on the simulated network: the simulator's own decisions, and a record of what it sent.

The record is the server's: when it held which channel for which session, and which bytes of a session's
stream each tick was in. Whether they arrived only the link knows.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, NamedTuple

import msgspec

from pipeline.massive.simulator import Faults, Options, Packet, Silence
from pipeline.massive.simulator.conversation import Conversation
from pipeline.massive.simulator.faults import Message
from pipeline.massive.simulator.feeds import join
from pipeline.massive.simulator.state import ServerState
from pipeline.massive.simulator.wire import encode_frame
from tests.simulation.elements import NO_TICKS
from tests.simulation.listener import Listener
from tests.simulation.record import Session

__all__ = ["Link", "Massive", "OtherProgram", "SentTick"]

UPGRADE = b"GET /stocks HTTP/1.1\r\nUpgrade: websocket\r\nSec-WebSocket-Key: other\r\n\r\n"
SUBSCRIBED = "subscribed to: "
PONG = 0x8A
"""The first byte of one; that which asks nothing is empty."""
REMEMBERED_TICKS = 2000
"""Sent last, of each session: what may be sent again."""
HALF_OPEN_NOTICED_S = 120.0
"""After so long the server drops a session whose client does not answer any more."""


class SentTick(NamedTuple):
    """A tick that was sent to a session, and the offset behind its message."""

    channel: str
    element: bytes
    end: int
    made_ns: int


class Link:
    """The line of one conversation: a TCP connection of the simulated network."""

    def __init__(self, server: "Massive", tcp: Any) -> None:
        self._server = server
        self._kernel = server.kernel
        self.tcp = tcp
        self.log: Session = server.begin_session(tcp.number, self._kernel.true_ns)
        self.held: set[str] = set()
        self.sent: deque[SentTick] = deque(maxlen=REMEMBERED_TICKS)
        self.is_gone = False
        self._is_cut = False
        self.is_deaf = False
        self.is_half_open = False
        self.cuts_at: float | None = None
        """At which part of the next thing that is sent it is cut, 0 to 1."""
        self.waits_until_ns = 0
        """Until when ticks are put aside, to go out together."""
        self.conversation = Conversation(server, self)
        tcp.on_data = self._on_data
        tcp.on_end = lambda: self._on_end("the client left")
        tcp.on_read = lambda offset: self.log.read(offset, self._kernel.true_ns)

    def _on_data(self, data: bytes) -> None:
        if not self.is_gone:
            self._server.flush(self)  # one ordered stream: first what was due before
            self.conversation.receive(data)

    def _on_end(self, why: str) -> None:
        if not self.is_gone:
            self.is_gone = True
            self.conversation.lost(why)

    # --- what the conversation does

    @property
    def unsent_bytes(self) -> int:
        """How much the client has not read."""
        return self.tcp.unread_bytes

    def send(self, data: bytes) -> None:
        """Send after all that was sent before; a part of it where it is to be cut, and nothing after."""
        if self.cuts_at is None:
            self.tcp.send(data)
            if data[0] == PONG and data[1]:
                self.log.answer(self.tcp.sent_bytes, self._kernel.true_ns)
        elif not self._is_cut:
            self._is_cut = True
            self._server.effects["messages cut in two"] += 1
            self.tcp.send(data[: max(1, int(self.cuts_at * len(data)))])
            self._kernel.at(0, self._break_off)

    def _break_off(self) -> None:
        if int(1000 * (self.cuts_at or 0)) % 2:
            self.conversation.abort("cut in a message")
        else:
            self.conversation.hang_up("cut in a message")

    def close(self) -> None:
        """Send FIN behind what was sent."""
        self.tcp.close()

    def abort(self) -> None:
        """Reset the connection: what has not been read is lost. Over a cut link nobody learns of it."""
        if not self.is_gone:
            if not self.is_half_open:
                self._server.effects["bytes lost"] += self.tcp.unread_bytes
                self.tcp.abort()
            self._kernel.at(0, self._on_end, "aborted")

    def later(self, delay_s: float, action: Callable[[], None]) -> None:
        """Call back once."""
        self._kernel.at(delay_s, action)

    def has_held(self, tick: SentTick) -> bool:
        """Tell whether it holds the channel of a tick, and did when that was made."""
        kind, _, _ = tick.channel.partition(".")
        names = {tick.channel, f"{kind}.*"}
        return any(
            hold.channel in names and hold.from_ns <= tick.made_ns and hold.to_ns is None
            for hold in self.log.holds
        )

    # --- faults of the connection

    def go_half_open(self) -> None:
        """From now on nothing goes either way, and nobody is told."""
        self.deafen()
        self.is_half_open = True
        self._server.effects["bytes lost"] += self.tcp.unread_bytes
        self.tcp.half_open()
        self._kernel.at(HALF_OPEN_NOTICED_S, self._on_end, "no answer")

    def mute(self, silence: Silence) -> None:
        """Tell it no data, or nothing at all, until its end."""
        self.deafen(answers=silence is Silence.DATA)
        self.conversation.fall_silent(silence)

    def deafen(self, *, answers: bool = False) -> None:
        """Note that no data arrives any more, and whether all else does."""
        self.is_deaf = True
        self.log.deafen(self._kernel.true_ns, answers=answers)


class OtherProgram:
    """Another program with the same key: a connection that counts, and reads all that it is sent.

    Args:
        server: which it connects to.
        key: that it shows.
    """

    unsent_bytes = 0

    def __init__(self, server: "Massive", key: str) -> None:
        self._kernel = server.kernel
        self._is_gone = False
        self.conversation = Conversation(server, self)
        self.conversation.receive(UPGRADE)
        payload = msgspec.json.encode({"action": "auth", "params": key})
        self.conversation.receive(bytes((0x81, 0xFE)) + len(payload).to_bytes(2, "big") + bytes(4) + payload)

    def send(self, data: bytes) -> None:
        """Read it."""

    def close(self) -> None:
        """Be gone soon."""
        self._kernel.at(0, self.leave)

    abort = close

    def later(self, delay_s: float, action: Callable[[], None]) -> None:
        """Call back once."""
        self._kernel.at(delay_s, action)

    def leave(self) -> None:
        """End the connection."""
        if not self._is_gone:
            self._is_gone = True
            self.conversation.lost("the other program left")


class Massive(ServerState):
    """A Massive server on the simulated network.

    Args:
        kernel: time.
        network: where it listens.
        port: on which.
        options: what it is like.
        faults: what goes wrong from the beginning.
        begin_session: gives the log of a session, by the number of its TCP connection and the true time.

    Attributes:
        links: the TCP connections that are there, by conversation; another program's conversation has none.
        sizes: of the next messages of ticks, bytes of payload, made so by white space.
    """

    def __init__(
        self,
        kernel: Any,
        network: Any,
        *,
        port: int = 8765,
        options: Options | None = None,
        faults: Faults | None = None,
        begin_session: Callable[[int, int], Session],
    ) -> None:
        super().__init__(options or Options(), faults or Faults(), lambda: kernel.now_ns / 1e9, NO_TICKS)
        self.kernel = kernel
        self.begin_session = begin_session
        self.links: dict[Conversation, Link] = {}
        self.sizes: deque[int] = deque()
        self.reasons: Counter[str] = Counter()
        """Why sessions ended."""
        self._made: dict[bytes, tuple[str, int, int]] = {}
        """Channel and key of each element, and when it was made."""
        self.listener = Listener(kernel, network, port, self._accept)

    def _accept(self, tcp: Any) -> None:
        link = Link(self, tcp)
        self.links[link.conversation] = link

    # --- ticks

    def publish(self, ticks: Iterable[tuple[str, bytes, int]]) -> None:
        """Send ticks to whoever holds their channels.

        Args:
            ticks: channel, element and key of each, made now.
        """
        made_ns = self.kernel.true_ns
        pairs = []
        for channel, element, key in ticks:
            self._made[element] = channel, key, made_ns
            pairs.append((channel, element))
        if self.sizes:
            pairs[-1] = pairs[-1][0], self._padded(pairs)
        packet = Packet(pairs)
        now_ns = self.kernel.now_ns
        for link in tuple(self.links.values()):
            if any(map(link.conversation.session.wanted.__getitem__, packet.channels)):
                link.conversation.offer(packet)
                if link.waits_until_ns <= now_ns:
                    self.flush(link)

    def _padded(self, pairs: list[tuple[str, bytes]]) -> bytes:
        """Return the last element with so much white space that all of them are a message of a size."""
        channel, element = pairs[-1]
        room = self.sizes[0] - len(join(element for _, element in pairs))
        if room < 0 or not any(link.conversation.session.wanted[channel] for link in self.links.values()):
            return element
        self.sizes.popleft()
        self.effects["messages of a chosen size"] += 1
        padded = element + b" " * room
        self._made[padded] = self._made[element]
        return padded

    def flush(self, link: Link) -> None:
        """Send what was put aside for a session."""
        begin = link.tcp.sent_bytes
        self._note(link, link.conversation.flush(patient=False), begin)

    def send_message(self, link: Link, *messages: Iterable[bytes]) -> None:
        """Send a session messages of one's own making: ticks that were made, or elements that are none.

        Several come together, so that one read may bring them.
        """
        begin = link.tcp.sent_bytes
        made = [
            Message(
                encode_frame(join(elements)), tuple(one if one in self._made else None for one in elements)
            )
            for elements in map(tuple, messages)
        ]
        link.conversation.send_raw(b"".join(message.data for message in made))
        if link.tcp.sent_bytes > begin:
            self._note(link, made, begin)

    def wait_with(self, link: Link, seconds: float) -> None:
        """Put the ticks of a session aside for a while, and send them together then."""
        link.waits_until_ns = self.kernel.now_ns + int(seconds * 1e9)
        self.kernel.at(seconds, self.flush, link)

    def _note(self, link: Link, messages: Iterable[Message], begin: int) -> None:
        now_ns = self.kernel.true_ns
        for message in messages:
            end = begin + len(message.data)
            made = [None if one is None else self._made[one] for one in message.elements]
            link.log.send([one and one[1] for one in made], begin, end, now_ns)
            link.sent += [
                SentTick(one[0], element, end, one[2])
                for one, element in zip(made, message.elements, strict=True)
                if one
            ]
            self._note_acknowledgements(link, message.statuses, end)
            begin = end

    def _note_acknowledgements(self, link: Link, statuses: Iterable[bytes], end: int) -> None:
        for status in statuses:
            message = msgspec.json.decode(status)["message"]
            self.effects["acks"] += 1
            if message.startswith(SUBSCRIBED):
                link.log.acknowledge(message.removeprefix(SUBSCRIBED), end)
            elif message == "not authorized":
                self.effects["not authorized"] += 1

    # --- what conversations tell

    def changed(self, conversation: Conversation) -> None:
        """Record what the session holds."""
        if link := self.links.get(conversation):
            held = conversation.session.held
            now_ns = self.kernel.true_ns
            for channel in sorted(held - link.held):
                link.log.hold(channel, now_ns)
            for channel in sorted(link.held - held):
                link.log.release(channel, now_ns)
            link.held = set(held)

    def said(self, conversation: Conversation, statuses: Iterable[bytes]) -> None:
        """Record what was acknowledged."""
        if link := self.links.get(conversation):
            self._note_acknowledgements(link, statuses, link.tcp.sent_bytes)

    def ended(self, conversation: Conversation) -> None:
        """Record that the session is over for the server."""
        reason = conversation.reason or ""
        self.reasons[reason] += 1
        if link := self.links.get(conversation):
            self.effects["sessions ended"] += 1
            link.held = set()
            by_us = reason == "the client left" or reason.startswith("closed by the client")
            link.log.end(self.kernel.true_ns, by_us=by_us)

    def left(self, conversation: Conversation) -> None:
        """Forget the session."""
        super().left(conversation)
        self.links.pop(conversation, None)

    # --- who is there

    @property
    def listening(self) -> list[Link]:
        """The sessions that hold channels and hear of them, in the order of arrival."""
        return [link for link in self.links.values() if link.conversation.listens and not link.is_deaf]

    def set_options(self, **changes: Any) -> None:
        """Be otherwise from now on; a session's channels stay as they were decided."""
        self.options = replace(self.options, **changes)
