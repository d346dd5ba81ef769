"""What everything runs on: clocks, chance, threads, what threads wait on, and sockets."""

import queue
import random
import selectors
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final, Protocol, Self

__all__ = ["SYSTEM", "Condition", "Event", "Lock", "Queue", "Runtime", "Worker"]


class Lock(Protocol):
    """Mutual exclusion, as `threading.Lock`."""

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool: ...  # noqa: D102, FBT001, FBT002
    def release(self) -> None: ...  # noqa: D102
    def __enter__(self) -> bool: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None, /
    ) -> None: ...


class Condition(Protocol):
    """A lock that can be waited under, as `threading.Condition`."""

    def wait(self, timeout: float | None = None) -> bool: ...  # noqa: D102
    def wait_for(self, predicate: Callable[[], Any], timeout: float | None = None) -> Any: ...  # noqa: D102
    def notify(self, n: int = 1) -> None: ...  # noqa: D102
    def notify_all(self) -> None: ...  # noqa: D102
    def __enter__(self) -> bool: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None, /
    ) -> None: ...


class Event(Protocol):
    """A flag that can be waited for, as `threading.Event`."""

    def is_set(self) -> bool: ...  # noqa: D102
    def set(self) -> None: ...  # noqa: D102
    def wait(self, timeout: float | None = None) -> bool: ...  # noqa: D102


class Queue(Protocol):
    """An unbounded queue, as `queue.SimpleQueue`; `get` raises `queue.Empty` after its time-out."""

    def put(self, item: Any) -> None: ...  # noqa: D102
    def get(self, block: bool = True, timeout: float | None = None) -> Any: ...  # noqa: D102, FBT001, FBT002


class Worker(Protocol):
    """A thread that runs, as `threading.Thread`."""

    name: str

    @property
    def ident(self) -> int | None: ...  # noqa: D102
    def join(self, timeout: float | None = None) -> None: ...  # noqa: D102
    def is_alive(self) -> bool: ...  # noqa: D102


class Thread(threading.Thread):
    """A daemon thread."""

    @classmethod
    def spawn(cls, target: Callable[[], object], name: str) -> Self:
        """Start a thread that nothing waits for at the end of the program.

        Raises:
            RuntimeError: it cannot be started.
        """
        thread = cls(target=target, name=name, daemon=True)
        thread.start()
        return thread


def _is_main() -> bool:
    return threading.current_thread() is threading.main_thread()


def _addresses(*args: Any, **options: Any) -> list[Any]:
    return socket.getaddrinfo(*args, **options)  # by its name: resolvers such as dnspython's take its place


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Runtime:
    """All that the stream takes from the operating system; the defaults are the standard library's own.

    It is handed down from the assembly, so that the whole system also runs on one thread, in virtual time,
    over a network that is made up: see ``docs/determinism.md``. That costs nothing on the hot path: what is
    stored and called is the library's own function.
    """

    clock: Callable[[], int] = time.time_ns
    """Wall clock, ns since the epoch; may be set at any time."""
    monotonic: Callable[[], float] = time.monotonic
    """Seconds."""
    uniform: Callable[[], float] = random.random
    """Chance in [0, 1)."""
    lock: Callable[[], Lock] = threading.Lock
    rlock: Callable[[], Lock] = threading.RLock
    condition: Callable[[Lock], Condition] = threading.Condition  # type: ignore[assignment]  # asks for its own
    event: Callable[[], Event] = threading.Event
    queue: Callable[[], Queue] = queue.SimpleQueue
    spawn: Callable[[Callable[[], object], str], Worker] = Thread.spawn
    """Starts a daemon thread that runs a function, by a name; RuntimeError where there is none to be had."""
    ident: Callable[[], int] = threading.get_ident
    """Tells which thread runs now."""
    is_main: Callable[[], bool] = _is_main
    """Tells whether it is the one with which the program ends, and which Ctrl-C interrupts."""
    selector: Callable[[], selectors.BaseSelector] = selectors.DefaultSelector
    socketpair: Callable[[], tuple[socket.socket, socket.socket]] = socket.socketpair
    open_socket: Callable[[int, int, int], socket.socket] = socket.socket
    """Makes a socket of a family, a type and a protocol."""
    addresses: Callable[..., list[Any]] = _addresses
    """Looks a host up, as `socket.getaddrinfo`."""

    def now(self) -> datetime:
        """Return what the wall clock shows, as reactivex's schedulers want it."""
        return datetime.fromtimestamp(self.clock() / 1e9, UTC)


SYSTEM: Final = Runtime()
"""The operating system's own."""
