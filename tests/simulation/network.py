"""A network of simulated TCP: names, listeners, links, and all that goes wrong on the way."""

import errno
import socket
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal

from operators.runtime import Runtime
from tests.simulation.kernel import Kernel
from tests.simulation.links import Link, ServerEnd
from tests.simulation.pair import socketpair
from tests.simulation.primitives import Condition, Event, Lock, Queue, RLock, Worker
from tests.simulation.selector import Selector
from tests.simulation.sockets import Descriptors, Socket, failure

__all__ = ["SITES", "Link", "Name", "Network", "Obstacle", "ServerEnd", "runtime_of"]

SITES: Final = (
    "eagain",
    "failing_socket",
    "failing_spawn",
    "late_timer",
    "short_read",
    "short_write",
    "slow_lookup",
    "spurious_wake",
)
"""Where the simulated system can be made to misbehave, see `Kernel.arm`."""

SYN_RETRIES_S: Final = 127.0
"""The system gives up connecting after so long."""
SLOW_LOOKUP_S: Final = 12.0

Obstacle = Literal["refused", "unreachable", "silent", "swallowed"]
"""Nobody listens; no way there; no answer, ever; or it is answered, and nothing comes after."""


@dataclass(frozen=True, slots=True)
class Name:
    """What name servers say of a host.

    Args:
        addresses: in this order.
        delay_s: so long they take.
        error: of `socket.EAI_…`, instead of addresses.
    """

    addresses: tuple[str, ...] = ()
    delay_s: float = 0.0
    error: int | None = None


class Network:
    """Connects the sockets of a system to servers.

    Args:
        kernel: time.
        link: what connections are like, to whatever port has none of its own in `links`.

    Attributes:
        names: what name servers say of hosts; of addresses they say that they are.
        links: by port.
        ends: the connections that were accepted, in their order.
        refusals: how many attempts to connect were refused, by port.
        descriptors: the sockets that are open.
    """

    def __init__(self, kernel: Kernel, link: Link | None = None) -> None:
        self.kernel = kernel
        self.link = link or Link()
        self.links: dict[int, Link] = {}
        self.names: dict[str, Name] = {"localhost": Name(("::1", "127.0.0.1"))}
        self.refusals: Counter[int] = Counter()
        self.descriptors = Descriptors()
        self.ends: list[ServerEnd] = []
        self._listeners: dict[int, Callable[[ServerEnd], None]] = {}
        self._obstacles: dict[tuple[str | None, int], Obstacle] = {}

    # --- servers

    def listen(self, port: int, on_accept: Callable[[ServerEnd], None]) -> None:
        """Accept connections to a port, at all addresses."""
        self._listeners[port] = on_accept

    def unlisten(self, port: int) -> None:
        """Accept no more; those that are there stay."""
        self._listeners.pop(port, None)

    def obstruct(self, port: int, obstacle: Obstacle, address: str | None = None) -> None:
        """Let attempts to connect to a port fail from now on, at one address or all."""
        self._obstacles[address, port] = obstacle

    def clear(self, port: int, address: str | None = None) -> None:
        """Take the obstacle away."""
        self._obstacles.pop((address, port), None)

    # --- what the runtime hands out

    def open_socket(
        self, family: int = socket.AF_INET, kind: int = socket.SOCK_STREAM, protocol: int = 0
    ) -> Socket:
        """Return a socket, as `socket.socket`."""
        if self.kernel.strikes("failing_socket"):
            raise failure(errno.EMFILE)
        return Socket(self.kernel, self.descriptors, self._dial, family)

    def socketpair(self) -> tuple[Socket, Socket]:
        """Return two sockets that are connected to each other."""
        return socketpair(self.kernel, self.descriptors)

    def selector(self) -> Selector:
        """Return a selector."""
        return Selector(self.kernel)

    def addresses(
        self, host: str, port: int, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0
    ) -> list[Any]:
        """Look a host up, as `socket.getaddrinfo`."""
        name = self.names.get(host) or Name((host,) if _is_address(host) else (), error=socket.EAI_NONAME)
        delay_s = name.delay_s
        if self.kernel.strikes("slow_lookup"):
            delay_s += SLOW_LOOKUP_S * self.kernel.fraction()
        if delay_s:
            self.kernel.sleep(delay_s)
        found = [_info(address, port) for address in name.addresses]
        found = [info for info in found if family in {0, info[0]}]
        if not found:
            number = socket.EAI_NONAME if name.error is None else name.error
            raise socket.gaierror(number, "Name or service not known")
        return found

    # --- connecting

    def _dial(self, sock: Socket, address: Any) -> None:
        host, port = address[:2]
        kernel, link = self.kernel, self.links.get(port, self.link)
        obstacle = self._obstacles.get((host, port)) or self._obstacles.get((None, port))
        kernel.note("dial", kernel.current(), host, port)
        if obstacle == "silent":
            kernel.at(SYN_RETRIES_S, self._fail, sock, errno.ETIMEDOUT)
        elif obstacle == "unreachable":
            kernel.at(link.latency_s, self._fail, sock, errno.EHOSTUNREACH)
        else:
            kernel.at(link.latency_s, self._knock, sock, port, link, obstacle, kernel.current())

    def _knock(self, sock: Socket, port: int, link: Link, obstacle: Obstacle | None, who: str) -> None:
        """Be the first packet that arrives at the server."""
        if sock.is_closed:
            return
        on_accept = self._listeners.get(port)
        if obstacle == "refused" or on_accept is None:
            self.refusals[port] += 1
            self.kernel.at(link.latency_s, self._fail, sock, errno.ECONNREFUSED)
            return
        end = ServerEnd(self.kernel, sock, link, number=len(self.ends) + 1, port=port, dialled_by=who)
        self.ends.append(end)
        self.kernel.note("accepted", end.number, port, who)
        if obstacle == "swallowed":
            end.half_open()
        else:
            on_accept(end)

    def _fail(self, sock: Socket, number: int) -> None:
        if not sock.is_closed:
            sock.fail(number)


def _is_address(host: str) -> bool:
    return host.replace(".", "").isdecimal() or ":" in host


def _info(address: str, port: int) -> tuple[int, int, int, str, Any]:
    if ":" in address:
        return socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port, 0, 0)
    return socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port)


def runtime_of(kernel: Kernel, network: Network, main: str = "main") -> Runtime:
    """Return what a system takes from its operating system, all of it simulated.

    Args:
        kernel: time and threads.
        network: sockets.
        main: name of the thread that counts as the main one.
    """
    return Runtime(
        clock=kernel.clock,
        monotonic=kernel.monotonic,
        uniform=kernel.random("uniform").random,
        lock=partial(Lock, kernel),
        rlock=partial(RLock, kernel),
        condition=partial(Condition, kernel),
        event=partial(Event, kernel),
        queue=partial(Queue, kernel),
        spawn=partial(Worker, kernel),
        ident=kernel.ident,
        is_main=lambda: kernel.current() == main,
        selector=network.selector,
        socketpair=network.socketpair,
        open_socket=network.open_socket,
        addresses=network.addresses,
    )
