"""A market and the ways to it, all on this machine: what the notebooks record. No key is needed."""

import asyncio
import contextlib
import os
import random
import threading
from collections.abc import Coroutine, Sequence
from typing import Any, Final, Self
from urllib.parse import urlsplit

__all__ = ["TICKERS", "Relay", "lasting", "settings_for"]

TICKERS: Final = tuple(f"SIM{number:03d}" for number in range(24))
SHARE: Final = float(os.environ.get("TICKBRAID_NOTEBOOK_SHARE", "1"))
READ_BYTES: Final = 64 * 1024
HELD_READS: Final = 1024
"""A relay that holds keeps so many reads, and then lets the sender wait, as a network does."""
CALL_TIMEOUT_S: Final = 5.0


def lasting(seconds: float) -> float:
    """Return how long something lasts, s; TICKBRAID_NOTEBOOK_SHARE, 0 to 1, makes it shorter."""
    return seconds * SHARE


def settings_for(urls: Sequence[str], tickers: Sequence[str] = TICKERS, **more: Any) -> dict[str, Any]:
    """Return settings with a connection for each address; the tickers are dealt out in turn."""
    settings: dict[str, Any] = {
        "USE_MASSIVE_API": True,
        "MASSIVE_API_KEY": "any",
        "MASSIVE_EVENT_TYPES": "T,Q",
        "MASSIVE_WEBSOCKET_RECONNECT_DELAY": 0.2,
        "MASSIVE_WEBSOCKET_RECONNECT_MAX_DELAY": 0.4,
        "USE_MULTI_CONNECTION": True,
        "REDIS_ENABLED": False,
    }
    for number, url in enumerate(urls, start=1):
        settings[f"WEBSOCKET_CONNECTION_{number}_ENABLED"] = True
        settings[f"WEBSOCKET_CONNECTION_{number}_URL"] = url
        settings[f"WEBSOCKET_CONNECTION_{number}_SYMBOLS"] = tickers[number - 1 :: len(urls)]
    return settings | more


class Relay:
    """Is a stretch of network: takes a connection and passes it on, late, not at all, or until it breaks.

    A context manager with a thread, ``tickbraid-relay``, of its own; its methods are for any other thread.

    Args:
        url: of the market.
        delay_s: what every byte from there takes longer, s.
        jitter_s: the mean of what it takes longer still, now more and now less, s.
        seed: of the jitter.
    """

    def __init__(self, url: str, *, delay_s: float = 0.0, jitter_s: float = 0.0, seed: int = 0) -> None:
        self._to = urlsplit(url)
        self._delay_s = delay_s
        self._jitter_s = jitter_s
        self._random = random.Random(seed)
        self._port = 0
        self._loop = asyncio.new_event_loop()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._connections: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, name="tickbraid-relay", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self.mend()
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def url(self) -> str:
        """Where to connect to, instead of to the market."""
        return f"ws://127.0.0.1:{self._port}{self._to.path}"

    def hold(self) -> None:
        """Keep back what comes from the market, until `release`; the connection stays."""
        self._loop.call_soon_threadsafe(self._flowing.clear)

    def release(self) -> None:
        """Let it all through."""
        self._loop.call_soon_threadsafe(self._flowing.set)

    def cut(self) -> None:
        """End what is connected, without a word, and refuse whoever comes, until `mend`."""
        self._await(self._cut())

    def mend(self) -> None:
        """Listen, on the same port as before."""
        self._await(self._listen())

    def _await(self, action: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(action, self._loop).result(CALL_TIMEOUT_S)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def _cut(self) -> None:
        self._server.close()
        ending = tuple(self._connections)
        for connection in ending:
            connection.cancel()
        await asyncio.gather(*ending, return_exceptions=True)

    async def _serve(self, near_reader: asyncio.StreamReader, near_writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # a coroutine runs in one
        self._connections.add(task)
        writers = [near_writer]
        try:
            far_reader, far_writer = await asyncio.open_connection(self._to.hostname, self._to.port)
            writers.append(far_writer)
            waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(HELD_READS)
            ways = (
                self._there(near_reader, far_writer),
                self._take(far_reader, waiting),
                self._back(waiting, near_writer),
            )
            with contextlib.suppress(ExceptionGroup):  # the first end of the line that goes ends the other
                async with asyncio.TaskGroup() as group:
                    for way in ways:
                        group.create_task(way)
        except (asyncio.CancelledError, OSError):
            pass  # cut, or the market is gone
        finally:
            for writer in writers:
                writer.transport.abort()
            self._connections.discard(task)

    async def _there(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(READ_BYTES):
            writer.write(data)
            await writer.drain()
        raise ConnectionResetError

    async def _take(
        self, reader: asyncio.StreamReader, waiting: "asyncio.Queue[tuple[float, bytes]]"
    ) -> None:
        due_s = 0.0
        while data := await reader.read(READ_BYTES):
            late_s = self._delay_s + (self._random.expovariate(1 / self._jitter_s) if self._jitter_s else 0.0)
            due_s = max(due_s, self._loop.time() + late_s)  # TCP keeps the order
            await waiting.put((due_s, data))
        await waiting.put((due_s, b""))

    async def _back(
        self, waiting: "asyncio.Queue[tuple[float, bytes]]", writer: asyncio.StreamWriter
    ) -> None:
        while True:
            due_s, data = await waiting.get()
            await asyncio.sleep(due_s - self._loop.time())
            await self._flowing.wait()
            if not data:
                raise ConnectionResetError
            writer.write(data)
            await writer.drain()
