"""Clients of the simulated servers, by sockets of the simulated network; and readers of what they got."""

import contextlib
import json
import socket

from pipeline.massive.simulator.wire import Opcode

__all__ = ["UPGRADE", "Client", "Peer", "client_frame", "frames_of", "messages_of"]

UPGRADE = b"GET /stocks HTTP/1.1\r\nUpgrade: websocket\r\nSec-WebSocket-Key: key\r\n\r\n"
RETRY_S = 1.0
PATIENCE_NS = 10_000_000_000


def client_frame(payload, opcode=Opcode.TEXT):
    """Return a client's frame, with a mask of zeros."""
    size = len(payload)
    head = bytes((0x80 | opcode, 0xFE)) + size.to_bytes(2, "big")
    return head + bytes(4) + payload


def frames_of(stream, place=0):
    """Return (first byte, payload, begin, end) of each whole frame from a place on, behind an upgrade."""
    place = place or stream.find(b"\r\n\r\n") + 4
    frames = []
    while place + 2 <= len(stream):
        start = place + {126: 4, 127: 10}.get(stream[place + 1], 2)
        length = stream[place + 2 : start]
        size = int.from_bytes(length, "big") if length else stream[place + 1]
        if start + size > len(stream):
            break
        frames.append((stream[place], bytes(stream[start : start + size]), place, start + size))
        place = start + size
    return frames


def messages_of(stream):
    """Return (text, begin, end) of each whole message, fragments joined; a ping belongs to what follows."""
    messages, text, begin = [], b"", None
    for first, payload, start, end in frames_of(stream):
        opcode = first & 0x0F
        if opcode in {Opcode.TEXT, Opcode.CONTINUATION, Opcode.PING}:
            begin = start if begin is None else begin
        if opcode in {Opcode.TEXT, Opcode.CONTINUATION}:
            text += payload
            if first & 0x80:
                messages.append((text, begin, end))
                text, begin = b"", None
    return messages


class Peer:
    """A client's end of a connection: it keeps all that it reads, and how it ended."""

    def __init__(self, kernel, network, port):
        self.number = None
        self.read = bytearray()
        self.refused = self.fin = self.rst = False
        self._network, self._port = network, port
        self._sock = network.open_socket()
        self._unsaid = []
        self._is_open = False
        kernel.spawn(self._live, "peer")

    @property
    def is_over(self):
        return self.refused or self.fin or self.rst

    def _live(self):
        try:
            self._sock.connect(("127.0.0.1", self._port))
        except OSError:
            self.refused = True
            return
        address = self._sock.getsockname()
        ends = reversed(self._network.ends)  # addresses come again
        self.number = next(end.number for end in ends if end.address == address)
        try:
            self._is_open = True
            for data in self._unsaid:
                self._sock.sendall(data)
            while data := self._sock.recv(65_536):
                self.read += data
            self.fin = True
        except OSError:
            self.rst = True

    def say(self, data):
        """Send something, as soon as it is connected."""
        if self._is_open:
            with contextlib.suppress(OSError):
                self._sock.sendall(data)
        else:
            self._unsaid.append(data)

    def leave(self):
        """End it."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()


class Client:
    """Connects to a port, shows a key, subscribes, and begins anew when it ends."""

    def __init__(self, kernel, network, port, channels, *, key="key"):
        self._kernel, self._network, self._port = kernel, network, port
        self._channels, self._key = channels, key
        self.ends = []
        self._dial()

    def _dial(self):
        end = Peer(self._kernel, self._network, self._port)
        self.ends.append(end)
        end.say(UPGRADE)
        self._look(end, 0, set(), self._kernel.now_ns)

    def say(self, action, params):
        self.ends[-1].say(client_frame(json.dumps({"action": action, "params": params}).encode()))

    def _look(self, end, place, done, heard_ns):
        over = end.is_over or self._kernel.now_ns - heard_ns > PATIENCE_NS
        for first, text, _, stop in frames_of(end.read, place) if b"\r\n\r\n" in end.read else ():
            place, heard_ns = stop, self._kernel.now_ns
            over = over or first & 0x0F == Opcode.CLOSE
            for word, action, params in (
                (b'"connected"', "auth", self._key),
                (b"auth_success", "subscribe", ",".join(self._channels)),
            ):
                if word in text and action not in done:
                    done.add(action)
                    self.say(action, params)
        if over:
            end.leave()
            self._kernel.at(RETRY_S, self._dial)
        else:
            self._kernel.at(0.1, self._look, end, place, done, heard_ns)
