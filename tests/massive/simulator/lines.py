"""A line in the memory, and a client at its other end: for conversations without sockets and time."""

import json

from websocket import ABNF

from pipeline.massive.simulator import Faults, Options
from pipeline.massive.simulator.conversation import Conversation
from pipeline.massive.simulator.state import ServerState
from pipeline.massive.simulator.wire import Opcode

UPGRADE = b"GET /stocks HTTP/1.1\r\nUpgrade: websocket\r\nSec-WebSocket-Key: key\r\n\r\n"


class Clock:
    """A time that passes when it is told to, and what is due then."""

    def __init__(self):
        self.now = 0.0
        self._due = []

    def at(self, delay_s, action):
        self._due.append((self.now + delay_s, len(self._due), action))

    def go_on(self, seconds):
        end = self.now + seconds
        while due := [entry for entry in self._due if entry[0] <= end]:
            first = min(due, key=lambda entry: entry[:2])
            self._due[self._due.index(first)] = (float("inf"), *first[1:])
            self.now = first[0]
            first[2]()
        self.now = end


class Line:
    """Keeps what it was given to send, and how it ended."""

    def __init__(self, clock):
        self._clock = clock
        self.data = b""
        self.unsent_bytes = 0
        self.closed = self.aborted = False

    def send(self, data):
        assert not self.closed, "sent on a line that has ended"
        assert not self.aborted, "sent on a line that has ended"
        self.data += data

    def close(self):
        self.closed = True

    def abort(self):
        self.aborted = True

    def later(self, delay_s, action):
        self._clock.at(delay_s, action)


class Client:
    """Says what a client says to a conversation, and reads what it sends, by a parser of its own."""

    def __init__(self, state, clock, *, upgrade=True):
        self.line = Line(clock)
        self.talk = Conversation(state, self.line)
        self._read = 0
        if upgrade:
            self.talk.receive(UPGRADE)

    def say(self, action, params):
        self.frame(json.dumps({"action": action, "params": params}).encode())

    def frame(self, payload, opcode=Opcode.TEXT):
        self.talk.receive(ABNF.create_frame(payload, opcode).format())

    def leave(self):
        self.talk.lost("the client left")

    def frames(self):
        """Return (opcode, payload) of each frame since the last call."""
        data = self.line.data[self._read :]
        self._read = len(self.line.data)
        if data.startswith(b"HTTP/"):
            data = data.partition(b"\r\n\r\n")[2]
        frames = []
        while data:
            start = {126: 4, 127: 10}.get(data[1], 2)
            size = data[1] if start == 2 else int.from_bytes(data[2:start], "big")
            frames.append((data[0] & 15, data[start : start + size]))
            data = data[start + size :]
        return frames

    def messages(self):
        """Return the elements of each message since the last call."""
        return [json.loads(payload) for opcode, payload in self.frames() if opcode == Opcode.TEXT]

    def statuses(self):
        """Return (status, message) of each status element since the last call, message by message."""
        return [[(one["status"], one["message"]) for one in message] for message in self.messages()]


def server(options=None, faults=None):
    """Return the state of a server, and its clock."""
    clock = Clock()
    return ServerState(options or Options(), faults or Faults(), lambda: clock.now), clock
