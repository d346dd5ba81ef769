"""A loopback forwarder whose links can be reset, closed, stalled, slowed and left half-open.

A WebSocket library ends its connections in good order; what a network does to them is done here.
"""

import asyncio
import contextlib
import itertools
import socket
import struct

CHUNK_BYTES = 1 << 16
DRAIN_S = 3.0
PIECES_MAX = 60
RESET = struct.pack("ii", 1, 0)  # SO_LINGER of 0 s: what close() sends is an RST


class Link:
    """One TCP connection through the forwarder.

    Attributes:
        near: the client's end.
        far: the server's end.
        cause: what was done to it that ended it, None while nothing was.
        zombie: neither end is told anything any more.
        lost_bytes: what the server sent and the client never got.
        troubled_s: when it last was not as it should be, loop time.
    """

    def __init__(self, number, near, far, chance):
        self.number = number
        self.near = near
        self.far = far
        self.far_port = far.getsockname()[1]
        self.cause = None
        self.zombie = False
        self.over = False
        self.lost_bytes = 0
        self.troubled_s = 0.0
        self._chance = chance
        self._loop = asyncio.get_running_loop()
        self._flow = asyncio.Event()
        self._flow.set()
        self._latency_s = 0.0
        self._piece_bytes = 0
        self._pumps = [
            self._loop.create_task(self._pump(near, far)),
            self._loop.create_task(self._pump(far, near)),
        ]
        self._tasks = set()

    @property
    def clean(self):
        """Whether what is sent arrives soon."""
        return not (self.zombie or self.over or self.cause or self._latency_s) and self._flow.is_set()

    # -- what is done to it ---------------------------------------------------------------------------------

    def reset(self):
        """Let the client get an RST: what its kernel holds unread is lost, too."""
        self._end("rst", self._reset)

    def finish(self):
        """Let the client get a FIN wherever in a message it may be."""
        self._end("fin", self._finish)

    def leave_half_open(self, for_s):
        """Carry nothing any more, and tell nobody; after ``for_s`` the server gives it up."""
        if not self.over:
            self._trouble("half-open")
            self.zombie = True
            self._loop.call_later(for_s, lambda: self._do(self._close()))

    def stall(self, for_s):
        """Hold everything back for a while."""
        if not self.over:
            self._trouble()
            self._flow.clear()
            self._loop.call_later(for_s, self._go_on)

    def slow(self, latency_s, for_s):
        """Let everything come late for a while, and in one piece where it was several."""
        if not self.over:
            self._trouble()
            self._latency_s = latency_s
            self._loop.call_later(for_s, self._hasten)

    def crumble(self, piece_bytes, for_s):
        """Let everything come in small pieces for a while."""
        if not self.over:
            self._piece_bytes = piece_bytes
            self._loop.call_later(for_s, lambda: setattr(self, "_piece_bytes", 0))

    async def close(self):
        """Close both ends."""
        await self._close()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # -- how it is done -------------------------------------------------------------------------------------

    async def _pump(self, source, target):
        try:
            while data := await self._loop.sock_recv(source, CHUNK_BYTES):
                await self._flow.wait()
                if self._latency_s:
                    await asyncio.sleep(self._latency_s * self._chance.uniform(0.5, 1.0))
                if self.zombie:
                    self.lost_bytes += len(data) if source is self.far else 0
                    continue
                for piece in self._pieces(data):
                    await self._loop.sock_sendall(target, piece)
            await self._flow.wait()
            if not self.zombie:
                target.shutdown(socket.SHUT_WR)
        except OSError:
            if not self.zombie:
                self._do(self._close())
            return
        if not self.zombie and all(pump.done() or pump is asyncio.current_task() for pump in self._pumps):
            self._do(self._close())

    def _pieces(self, data):
        if not self._piece_bytes:
            return [data]
        size = max(self._piece_bytes, len(data) // PIECES_MAX)
        return [data[start : start + size] for start in range(0, len(data), size)]

    def _trouble(self, cause=None):
        self.cause = self.cause or cause
        self.troubled_s = self._loop.time()

    def _go_on(self):
        self.troubled_s = self._loop.time()
        self._flow.set()

    def _hasten(self):
        self.troubled_s = self._loop.time()
        self._latency_s = 0.0

    def _end(self, cause, how):
        if not self.over:
            self._trouble(cause)
            self.over = True
            self._do(how())

    async def _reset(self):
        await self._stop()
        with contextlib.suppress(OSError):
            self.near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.near.close()
        self.far.close()

    async def _finish(self):
        await self._stop()
        self.far.close()
        with contextlib.suppress(OSError, TimeoutError):
            self.near.shutdown(socket.SHUT_WR)
            async with asyncio.timeout(DRAIN_S):
                while await self._loop.sock_recv(self.near, CHUNK_BYTES):
                    pass  # closed with anything unread, it would send an RST
        self.near.close()

    async def _close(self):
        self.over = True
        await self._stop()
        self.near.close()
        self.far.close()

    async def _stop(self):
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)

    def _do(self, work):
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class Forwarder:
    """Listens on a free loopback port and joins each client to the server by a `Link` of its own.

    Args:
        chance: seeded.

    Attributes:
        listens_on: the port for clients.
        port: the server's.
    """

    def __init__(self, chance):
        self.port = 0
        self._chance = chance
        self._numbers = itertools.count(1)
        self._links = {}
        self._refusing_until_s = 0.0
        self.refused = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        self.listens_on = self._listener.getsockname()[1]
        self._task = asyncio.get_running_loop().create_task(self._accept())

    def refuse(self, for_s):
        """Reset whoever connects, for a while."""
        self._refusing_until_s = asyncio.get_running_loop().time() + for_s

    def link_of(self, far_port):
        """Return the link by the port that the server sees."""
        return self._links[far_port]

    async def close(self):
        """Close all."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._listener.close()
        for link in self._links.values():
            await link.close()

    async def _accept(self):
        loop = asyncio.get_running_loop()
        while True:
            near, _ = await loop.sock_accept(self._listener)
            near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if loop.time() < self._refusing_until_s:
                self.refused += 1
                near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                near.close()
                continue
            far = socket.socket()
            far.setblocking(False)
            far.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await loop.sock_connect(far, ("127.0.0.1", self.port))
            self._links[far.getsockname()[1]] = Link(next(self._numbers), near, far, self._chance)
