"""Time and TCP in the smallest form that a server can be tested on: one latency, no cuts."""

import heapq
from collections import Counter
from random import Random

__all__ = ["TinyEnd", "TinyKernel", "TinyNetwork"]

LATENCY_S = 0.001
START_NS = 1_790_000_000_000_000_000


class TinyKernel:
    """Virtual time."""

    def __init__(self):
        self.now_ns = 0
        self._entries = []
        self._count = 0

    @property
    def true_ns(self):
        return START_NS + self.now_ns

    def at(self, delay_s, action, *args):
        self._count += 1
        entry = (self.now_ns + int(delay_s * 1e9), self._count, action, args)
        heapq.heappush(self._entries, entry)
        return entry

    def cancel(self, entry):
        self._entries = [one for one in self._entries if one is not entry]
        heapq.heapify(self._entries)

    def random(self, who):
        return Random(who)

    def run(self, seconds):
        end = self.now_ns + int(seconds * 1e9)
        while self._entries and self._entries[0][0] <= end:
            self.now_ns, _, action, args = heapq.heappop(self._entries)
            action(*args)
        self.now_ns = end


class TinyEnd:
    """The server's end of a connection, and what its client has read and can do."""

    def __init__(self, kernel, number):
        self._kernel = kernel
        self.number = number
        self.on_data = self.on_end = None
        self.on_read = lambda _offset: None
        self.sent_bytes = self.read_bytes = 0
        self.read = bytearray()
        self.reads = True
        self.fin = self.rst = self.is_half_open = self.is_over = False
        self._arrived = b""

    @property
    def unread_bytes(self):
        return self.sent_bytes - self.read_bytes

    def send(self, data):
        if not (self.fin or self.is_over):
            self.sent_bytes += len(data)
            self._kernel.at(LATENCY_S, self._arrive, data)

    def _arrive(self, data):
        if not (self.is_half_open or self.is_over):
            self._arrived += data
            self.take()

    def take(self):
        """Let the client read what has arrived."""
        if self.reads:
            self.read += self._arrived
            self.read_bytes += len(self._arrived)
            self.on_read(self.read_bytes)
            self._arrived = b""

    def close(self):
        self.fin = True

    def abort(self):
        self.rst = self.is_over = True

    def half_open(self):
        self.is_half_open = True

    def say(self, data):
        """Send what the client says."""
        self._kernel.at(LATENCY_S, self._hear, data)

    def _hear(self, data):
        if not (self.is_half_open or self.is_over):
            self.on_data(data)

    def leave(self):
        """End it from the client's side."""
        if not (self.is_half_open or self.is_over):
            self.is_over = True
            self._kernel.at(LATENCY_S, self.on_end)


class TinyNetwork:
    """Listeners by port."""

    def __init__(self, kernel):
        self._kernel = kernel
        self._listeners = {}
        self._count = 0
        self.refusals = Counter()

    def listen(self, port, on_accept):
        self._listeners[port] = on_accept

    def unlisten(self, port):
        self._listeners.pop(port, None)

    def connect(self, port):
        """Return a connection's end; None where nobody listens."""
        if port not in self._listeners:
            self.refusals[port] += 1
            return None
        self._count += 1
        end = TinyEnd(self._kernel, self._count)
        self._listeners[port](end)
        return end
