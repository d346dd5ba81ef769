"""A TCP connection to a host of any number of addresses: all get their chance, the first that answers wins.

This is RFC 8305 (happy eyeballs) with a selector. The kept implementations (asyncio, aiohappyeyeballs, anyio)
need an event loop of asyncio, of which an eventlet or gevent program has room for one; the one for threads
(rfc6555) is archived.
"""

import errno
import logging
import os
import selectors
import socket
import threading
from collections import deque
from itertools import chain, zip_longest
from typing import Any, Final, TypeAlias

from operators.runtime import Runtime
from pipeline.errors import ConnectFailed
from pipeline.loopback import is_loopback

from .dial_attempt import LOOK_S, Attempt
from .dial_words import predicate, why

__all__ = ["connect_tcp", "lookup"]

log = logging.getLogger("tickbraid.massive.dial")

STAGGER_S: Final = 0.25
"""The next address is tried so long after the last (RFC 8305, 5); sooner where one fails or many are left."""
MAX_ADDRESSES: Final = 32
SHOWN: Final = 4
"""So many addresses are named in a message."""
LOOPBACK: Final = ("127.0.0.1", "::1")
_UNDER_WAY: Final = frozenset({errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EAGAIN})

Address: TypeAlias = tuple[int, int, int, str, Any]
"""As `socket.getaddrinfo` returns it."""


class _Answer:
    """The answer of the system's resolver, to come."""

    def __init__(self, runtime: Runtime) -> None:
        self._come = runtime.event()
        self._found: list[Address] | Exception = []

    def give(self, found: list[Address] | Exception) -> None:
        self._found = found
        self._come.set()

    def wait(self, timeout_s: float) -> bool:
        """Return whether it has come."""
        return self._come.wait(timeout_s)

    def addresses(self) -> list[Address]:
        """Return what was found, once it has come; raise what the resolver raised."""
        if isinstance(self._found, Exception):
            raise self._found
        return self._found


_lookups: dict[tuple[Runtime, str, int], _Answer] = {}
_lookups_lock = threading.Lock()
"""The system's own whatever runs: forks wait for it, and whoever holds it waits for nothing."""


def lookup(host: str, port: int, attempt: Attempt) -> list[Address]:
    """Return the addresses of a host, families in turn.

    The system's resolver cannot be called off, so it runs on a thread of its own, ``tickbraid-lookup-…``,
    which ends when the resolver gives up. There is one at most for a host: whoever asks meanwhile waits for
    the same answer.

    Raises:
        CalledOff: nobody wants the result.
        ConnectFailed: the host has no address.
        TimeoutError: no answer in time.
    """
    attempt.awaits = f"no name server answers about {host}"
    answer = _ask(host, port, attempt.runtime)
    while not answer.wait(min(LOOK_S, attempt.left_s())):
        pass
    try:
        addresses = answer.addresses()
    except Exception as error:
        log.debug("looking up %s: %r", host, error)
        raise ConnectFailed(why(error, host)) from error
    families: dict[int, list[Address]] = {}
    for address in addresses:
        families.setdefault(address[0], []).append(address)
    in_turn = chain.from_iterable(zip_longest(*families.values()))
    found = [address for address in in_turn if address is not None][:MAX_ADDRESSES]
    if not found:
        raise ConnectFailed(f"no address is known for {host}")
    return found


def connect_tcp(host: str, port: int, attempt: Attempt, peer: str) -> socket.socket:
    """Return a socket, held by the attempt, that is connected to the first address of a host that answers.

    Those of which nothing came before are tried last.

    Args:
        host: name or address.
        port: there.
        attempt: how long it may take.
        peer: what the host is called in words.

    Raises:
        CalledOff: nobody wants the result.
        ConnectFailed: no address can be connected to.
        TimeoutError: those that are left do not answer in time.
    """
    avoided = attempt.avoided
    addresses = lookup(host, port, attempt)
    addresses.sort(key=lambda info: avoided.index(info[4][0]) if info[4][0] in avoided else -1)
    return attempt.hold(_Race(addresses, attempt, peer).run())


class _Race:
    """Attempts to connect to all of several addresses, each begun a little after the last."""

    def __init__(self, addresses: list[Address], attempt: Attempt, peer: str) -> None:
        self._waiting = deque(addresses)
        self._attempt = attempt
        self._peer = peer
        # The last of many has half of the time, too.
        self._stagger_s = min(STAGGER_S, attempt.timeout_s / (2 * len(addresses)))
        self._failures: list[tuple[str, int]] = []
        self._monotonic = attempt.runtime.monotonic
        self._selector = attempt.runtime.selector()

    def run(self) -> socket.socket:
        with self._selector:
            try:
                return self._first()
            finally:
                for key in list(self._selector.get_map().values()):  # those that lost
                    key.fileobj.close()  # type: ignore[union-attr]  # only sockets were registered

    def _first(self) -> socket.socket:
        begin_s = self._monotonic()
        while self._waiting or self._selector.get_map():
            self._attempt.awaits = self._tell("does not answer")
            left_s = self._attempt.left_s()
            now_s = self._monotonic()
            if self._waiting and now_s >= begin_s:
                begun = self._begin(self._waiting.popleft())
                begin_s = now_s + self._stagger_s if begun else now_s
                continue
            until_next_s = begin_s - now_s if self._waiting else LOOK_S
            for key, _ in self._selector.select(max(0.0, min(LOOK_S, left_s, until_next_s))):
                sock: socket.socket = key.fileobj  # type: ignore[assignment]  # as above
                self._selector.unregister(sock)
                error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if not error:
                    self._attempt.address = key.data
                    return sock
                self._fail(sock, key.data, error)
                begin_s = now_s  # its place is free
        if len(self._failures) == 1:
            raise ConnectFailed(f"{self._peer} {predicate(self._failures[0][1])}")
        raise ConnectFailed(self._tell("cannot be connected to"))

    def _begin(self, info: Address) -> bool:
        """Begin to connect to an address; return whether that is under way."""
        family, kind, protocol, _, address = info
        try:
            sock = self._attempt.runtime.open_socket(family, kind, protocol)
        except OSError as error:
            self._failures.append((address[0], error.errno or 0))
            return False
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            number = sock.connect_ex(address)
        except OSError as error:
            number = error.errno or errno.EINVAL
        if number and number not in _UNDER_WAY:
            self._fail(sock, address[0], number)
            return False
        self._selector.register(sock, selectors.EVENT_WRITE, address[0])
        return True

    def _fail(self, sock: socket.socket, address: str, number: int) -> None:
        sock.close()
        self._failures.append((address, number))

    def _tell(self, what: str) -> str:
        each = ", ".join(f"{address} {predicate(number)}" for address, number in self._failures[:SHOWN])
        return f"{self._peer} {what}" + (f" ({each})" if each else "")


def _after_fork() -> None:
    """Forget what was being looked up: the threads that did are the parent's."""
    _lookups.clear()
    _lookups_lock.release()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(
        before=_lookups_lock.acquire, after_in_parent=_lookups_lock.release, after_in_child=_after_fork
    )


def _ask(host: str, port: int, runtime: Runtime) -> _Answer:
    """Return the answer of the system's resolver, to come; from any thread."""
    key = runtime, host, port
    with _lookups_lock:
        answer = _lookups.get(key)
        if answer is not None:
            return answer
        answer = _lookups[key] = _Answer(runtime)

    def ask() -> None:
        found: list[Address] | Exception
        try:
            found = _resolve(host, port, runtime)
        except Exception as error:  # noqa: BLE001  # whoever waits has it
            found = error
        end(found)

    def end(found: list[Address] | Exception) -> None:
        with _lookups_lock:
            del _lookups[key]  # first: whoever asks from now on wants a newer answer
        answer.give(found)

    try:
        runtime.spawn(ask, f"tickbraid-lookup-{host}")
    except RuntimeError as error:  # the limit of threads
        end(error)
    return answer


def _resolve(host: str, port: int, runtime: Runtime) -> list[Address]:
    """Return what the system knows; a name that stands for this machine stays on it, whatever others say."""

    def addresses(name: str) -> list[Address]:
        return list(runtime.addresses(name, port, type=socket.SOCK_STREAM))

    if not is_loopback(host):
        return addresses(host)
    try:
        ours = [address for address in addresses(host) if is_loopback(address[4][0])]
    except (socket.gaierror, UnicodeError):
        ours = []
    return ours or [address for name in LOOPBACK for address in addresses(name)]
