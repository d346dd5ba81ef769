"""A Massive server on loopback: for tests, for users without a key, and to try what goes wrong."""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import Future
from typing import Any, Final, Self, TypeVar

from pipeline.status_event import some_of

from .client import Client
from .conversation import Conversation
from .feeds import Feed, Listed
from .options import Faults, Options, Silence
from .report import Report
from .state import ServerState
from .wire import encode_frame

__all__ = ["Simulator"]

log = logging.getLogger("tickbraid.simulator")

POLL_S: Final = 0.005
"""How often a thread that waits for a condition looks again."""
CALL_TIMEOUT_S: Final = 10.0

Result = TypeVar("Result")


class Simulator:
    """Serves feeds as Massive does; a context manager that starts and stops.

    One event loop on one thread, ``tickbraid-simulator``, serves all clients. All methods may be called from
    any other thread. A server that was stopped starts again on its port, its feeds going on where they were.

    Args:
        feeds: what there is to subscribe to.
        options: what the server is like.
        faults: what goes wrong from the beginning; see `set_faults`.

    Attributes:
        finished: set when all finite feeds were sent to the end and the kernel has every byte.
    """

    def __init__(
        self, feeds: Iterable[Feed] = (), options: Options | None = None, faults: Faults | None = None
    ) -> None:
        self.options = options or Options()
        self.finished = threading.Event()
        self._state = _State(self.options, faults or Faults(), self._look_again)
        self._feeds = dict.fromkeys(feeds, 0.0)
        self._port = self.options.port
        self._thread: threading.Thread | None = None
        self._told = False
        self._clients: set[Client] = set()
        self._feed_errors: deque[str] = deque(maxlen=10)
        self._judged: set[str] = set()
        """Channels of which it is known whether somebody serves them."""

    # --- from any thread

    def start(self) -> Self:
        """Listen, and return when a client can connect.

        Raises:
            OSError: the port cannot be had.
            UnicodeError: the host's name is none.
            RuntimeError: it is running.
        """
        if self._thread is not None:
            raise RuntimeError("the simulator is running")
        listening: Future[None] = Future()
        thread = threading.Thread(
            target=self._run, args=(listening,), name="tickbraid-simulator", daemon=True
        )
        thread.start()
        try:
            listening.result()
        except BaseException:
            thread.join()
            raise
        self._thread = thread
        return self

    def stop(self) -> None:
        """Cut every connection and stop listening, as a killed server does; harmless when stopped."""
        if self._thread is not None:
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join()
            self._thread = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def port(self) -> int:
        """The port it listens on, once started."""
        return self._port

    @property
    def address(self) -> str:
        """HOST:PORT, as the official client's ``feed``."""
        return f"{self.options.host}:{self._port}"

    @property
    def url(self) -> str:
        """The address of the stocks market."""
        return f"{'wss' if self.options.ssl_context else 'ws'}://{self.address}/stocks"

    def start_feeds(self) -> None:
        """Let the feeds begin, whoever listens."""
        self._told = True
        self._call(self._look_again)

    @property
    def faults(self) -> Faults:
        """What goes wrong."""
        return self._state.faults

    def set_faults(self, **changes: Any) -> None:
        """Change what goes wrong, from now on; `Faults` tells what there is.

        Raises:
            ValueError: a value is out of its range.
            TypeError: there is no such fault.
        """
        if self._thread is None:
            self._state.set_faults(**changes)
        else:
            self._await(self._change_faults(changes))

    def close_clients(self, code: int = 1000, reason: str = "", *, only: int | None = None) -> None:
        """Close all clients, or the one with a number, with a close code; 1006 cuts TCP."""
        self._each(only, lambda one: one.close(code, reason))

    def go_silent(self, silence: Silence = Silence.ALL, *, only: int | None = None) -> None:
        """Tell the clients that are here now, or one, nothing more while TCP stays up."""
        self._each(only, lambda one: one.fall_silent(silence))

    def send_oversized(self, size_bytes: int, *, only: int | None = None) -> None:
        """Send one message of so many bytes: an array with one long string."""
        data = encode_frame(b'["' + b"x" * (size_bytes - 4) + b'"]')
        self._each(only, lambda one: one.send_raw(data))

    def send_raw(self, data: bytes, *, only: int | None = None) -> None:
        """Write bytes to the sockets as they are: frames of one's own making, or rubbish."""
        self._each(only, lambda one: one.send_raw(data))

    def report(self) -> Report:
        """Return what was sent and seen so far."""
        return self._call(lambda: self._state.report(self._feed_errors))

    def wait_for(self, condition: Callable[[Report], bool], timeout_s: float = 10.0) -> Report:
        """Return the first report that meets a condition.

        Raises:
            TimeoutError: none did in time.
        """
        deadline = time.monotonic() + timeout_s
        while not condition(report := self.report()):
            if time.monotonic() > deadline:
                raise TimeoutError(f"not within {timeout_s} s: {report}")
            time.sleep(POLL_S)
        return report

    def _each(self, only: int | None, action: Callable[[Conversation], object]) -> None:
        def act() -> None:
            for one in self._state.chosen(only):
                action(one)

        self._call(act)

    def _call(self, function: Callable[[], Result]) -> Result:
        """Run on the loop and return what comes of it; at once where nothing runs."""
        if self._thread is None:
            return function()

        async def run() -> Result:
            return function()

        return self._await(run())

    def _await(self, work: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(CALL_TIMEOUT_S)

    # --- the loop's thread

    def _run(self, listening: "Future[None]") -> None:
        asyncio.run(self._serve(listening))

    async def _serve(self, listening: "Future[None]") -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        self._changed = asyncio.Event()
        self._server: asyncio.Server | None = None
        try:
            await self._listen()
        except Exception as error:  # noqa: BLE001  # whoever starts it waits for the one or the other
            listening.set_exception(error)
            return
        listening.set_result(None)
        tasks = {feed: self._loop.create_task(self._feed(feed)) for feed in self._feeds}
        finishing = self._loop.create_task(self._finish([tasks[feed] for feed in tasks if feed.finite]))
        await self._stopping.wait()
        for task in (*tasks.values(), finishing):
            task.cancel()
        await self._listen(stop=True)
        for one in self._state.chosen(None):
            one.abort("the server was stopped")
        await self._until(lambda: not self._state.conversations)

    async def _listen(self, *, stop: bool = False) -> None:
        """Have the port open, or closed where the faults or the end say so."""
        wanted = not stop and not self.faults.refuse
        if wanted and self._server is None:
            options = self.options
            self._server = await self._loop.create_server(
                lambda: Client(self._state, self._clients),
                options.host,
                self._port,
                ssl=options.ssl_context,
                backlog=1024,
            )
            self._port = self._server.sockets[0].getsockname()[1]
        elif not wanted and self._server is not None:
            self._server.close()
            self._server = None
            # Connections that were being accepted become clients now.
            await asyncio.sleep(0)

    async def _change_faults(self, changes: dict[str, Any]) -> None:
        self._state.set_faults(**changes)
        await self._listen()

    async def _feed(self, feed: Feed) -> None:
        await self._until(self._may_begin)
        started_s = self._loop.time() - self._feeds[feed]
        conversations = self._state.conversations
        try:
            while (wait_s := feed.wait_s(self._loop.time() - started_s)) is not None:
                await asyncio.sleep(wait_s)
                if feed.patient:
                    await self._until(lambda: self._state.listeners)
                self._feeds[feed] = elapsed_s = self._loop.time() - started_s
                try:
                    for packet in feed.take(elapsed_s):
                        for one in conversations:
                            one.offer(packet)
                finally:
                    told = [one for one in conversations if one.flush(patient=feed.patient)]
                if feed.patient:
                    for client in [client for client in self._clients if client.conversation in told]:
                        await client.writable.wait()
        except Exception as error:
            log.exception("A feed broke off")
            self._feed_errors.append(str(error))

    async def _finish(self, feeding: list["asyncio.Task[None]"]) -> None:
        """Wait for the finite feeds and for the kernel to have it all."""
        if not feeding:
            return
        await asyncio.wait(feeding)
        for one in self._state.conversations:
            one.finish()
            one.flush(patient=True)
        while not all(one.drained for one in self._state.conversations):  # noqa: ASYNC110  # nobody tells
            await asyncio.sleep(POLL_S)
        self.finished.set()

    def _may_begin(self) -> bool:
        start_after = self.options.start_after
        return self._told or (start_after is not None and self._state.listeners >= start_after)

    async def _until(self, condition: Callable[[], object]) -> None:
        while not condition():
            self._changed.clear()
            await self._changed.wait()

    def _look_again(self) -> None:
        """Take note that somebody holds other channels, or left."""
        self._changed.set()
        self._tell_unserved()

    def _tell_unserved(self) -> None:
        """Log which channels nobody serves, each once: Massive acknowledges them, and so does this server."""
        feeds = [feed for feed in self._feeds if isinstance(feed, Listed)]
        if len(feeds) < len(self._feeds):
            return
        held = self._state.held - self._judged
        self._judged |= held
        if unserved := sorted(held.intersection(*(feed.unserved(held) for feed in feeds))):
            served = "; ".join(feed.words for feed in feeds) or "nothing at all"
            log.warning("Nobody serves %s; there is %s", some_of(tuple(unserved)), served)


class _State(ServerState):
    """The conversations, and a word to whoever waits for a change among them.

    Args:
        options: what the server is like.
        faults: what goes wrong from the beginning.
        on_change: somebody holds other channels, or left.
    """

    def __init__(self, options: Options, faults: Faults, on_change: Callable[[], None]) -> None:
        super().__init__(options, faults, time.monotonic)
        self._on_change = on_change

    def changed(self, conversation: Conversation) -> None:
        """Tell of it."""
        super().changed(conversation)
        self._on_change()

    def left(self, conversation: Conversation) -> None:
        """Tell of it."""
        super().left(conversation)
        self._on_change()
