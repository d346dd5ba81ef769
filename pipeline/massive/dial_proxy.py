"""Which proxy the environment names for a server, and the way through it; the rules are those of curl.

``wss_proxy``, then ``https_proxy``, then ``all_proxy``, each in capitals too, and ``no_proxy``. This machine
is always reached directly.
"""

import ipaddress
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, cast
from urllib.parse import unquote, urlsplit

from pipeline.errors import ConnectFailed
from pipeline.loopback import is_loopback

from .dial_attempt import Attempt
from .dial_tcp import connect_tcp, lookup
from .dial_upgrade import tunnel
from .dial_words import name_of

__all__ = ["Proxy", "proxy_for"]

DEFAULT_PORT: Final = 1080
"""Of a proxy of any kind that names none; curl's choice."""
_SECURE: Final = ("wss_proxy", "WSS_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")
_PLAIN: Final = ("ws_proxy", "WS_PROXY", "http_proxy", "all_proxy", "ALL_PROXY")
"""Without ``HTTP_PROXY``: in a CGI script a stranger sets it, by a header of that name."""
_SOCKS: Final = frozenset({"socks", "socks4", "socks4a", "socks5", "socks5h"})
_SOCKS_REPLIES: Final = {
    1: "it failed",
    2: "it may not",
    3: "it cannot reach that network",
    4: "it cannot reach that host",
    5: "nobody listens there",
    6: "that took too long",
    7: "it cannot do that",
    8: "it does not know such addresses",
    0x5B: "it refused or failed",
    0x5C: "it cannot ask who we are",
    0x5D: "it takes us for somebody else",
}


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy, as the environment names it.

    Args:
        kind: ``http``, ``socks4``, ``socks4a``, ``socks5`` or ``socks5h``.
        host: its name or address.
        port: there.
        user: whom it knows us as, None where it need not.
        password: of that user.
    """

    kind: str
    host: str
    port: int
    user: str | None = None
    password: str = field(default="", repr=False)

    def connect(self, host: str, port: int, attempt: Attempt) -> socket.socket:
        """Return a socket to ``host`` that goes through it, held by the attempt.

        Raises:
            CalledOff: nobody wants it any more.
            ConnectFailed: the proxy cannot be reached, refuses, or needs a library that is not there.
            TimeoutError: no answer in time.
            OSError: the connection to the proxy broke.
        """
        name = f"the proxy {name_of(self.host, self.port)}"
        if self.kind == "http":
            sock = connect_tcp(self.host, self.port, attempt, name)
            user = None if self.user is None else f"{self.user}:{self.password}"
            tunnel(sock, name_of(host, port), attempt, name, user)
            return sock
        return _through_socks(self, host, port, attempt, name)


def proxy_for(host: str, *, secure: bool, environ: Mapping[str, str]) -> Proxy | None:
    """Return the proxy that the environment names for a server, None for none.

    Args:
        host: of the server.
        secure: wss://, not ws://.
        environ: the environment.

    Raises:
        ConnectFailed: it names something we cannot use, or would show a key to.
    """
    names = _SECURE if secure else _PLAIN
    variable = next((name for name in names if environ.get(name)), None)
    if variable is None or is_loopback(host):
        return None
    if _is_excepted(host, environ.get("no_proxy") or environ.get("NO_PROXY") or ""):
        return None
    if not secure:
        raise ConnectFailed(
            f"{variable} names a proxy for {host}, which would see the key, as ws:// does not encrypt:"
            f" use wss://, or add {host} to NO_PROXY"
        )
    return _parse(variable, environ[variable].strip())


def _parse(variable: str, text: str) -> Proxy:
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        kind, host, port = parts.scheme, parts.hostname, parts.port
    except ValueError:
        kind, host, port = "http", None, None
    if kind == "https":
        raise ConnectFailed(f"{variable} names a proxy by https://, which is not supported: use http://")
    if kind not in {"http", *_SOCKS}:
        expected = "http://, socks5://, socks5h://, socks4:// or socks4a://"
        raise ConnectFailed(f"{variable} names a proxy by {kind}://, expected {expected}")
    if not host or port == 0:
        raise ConnectFailed(f"{variable} is no address of a proxy, expected http://HOST:PORT")
    user = None if parts.username is None else unquote(parts.username)
    kind = "socks4" if kind == "socks" else kind
    return Proxy(kind, host, port or DEFAULT_PORT, user, unquote(parts.password or ""))


def _is_excepted(host: str, exceptions: str) -> bool:
    """Tell whether ``NO_PROXY`` has a host: by name, by a name it is below, by address or by network."""
    if exceptions.strip() == "*":
        return True
    name = host.rstrip(".").casefold()
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        tokens = (token.rstrip(".").removeprefix(".").casefold() for token in re.split(r"[,\s]+", exceptions))
        return any(name == token or name.endswith(f".{token}") for token in tokens if token)
    return any(_holds(token, address) for token in re.split(r"[,\s]+", exceptions) if token)


def _holds(token: str, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    try:
        return address in ipaddress.ip_network(token.strip("[]"), strict=False)
    except ValueError:
        return False


class _Way:
    """The way to a SOCKS proxy: what python-socks takes for another proxy before it, and for a socket."""

    def __init__(self, proxy: Proxy, attempt: Attempt, name: str) -> None:
        self._proxy = proxy
        self._attempt = attempt
        self._name = name
        self.sock: socket.socket

    def connect(self, **_: object) -> "_Way":
        self.sock = connect_tcp(self._proxy.host, self._proxy.port, self._attempt, self._name)
        self._attempt.awaits = f"{self._name} does not answer"
        return self

    def sendall(self, data: bytes) -> None:
        self.sock.settimeout(self._attempt.left_s())
        self.sock.sendall(data)

    def recv(self, size: int) -> bytes:
        self.sock.settimeout(self._attempt.left_s())
        return self.sock.recv(size)

    def close(self) -> None:
        """Leave that to the attempt."""


def _through_socks(proxy: Proxy, host: str, port: int, attempt: Attempt, name: str) -> socket.socket:
    try:
        import python_socks  # noqa: PLC0415  # an extra
        from python_socks.sync import Proxy as Socks  # noqa: PLC0415  # as above
    except ImportError as error:
        raise ConnectFailed(
            f"{name} speaks SOCKS, which needs a library: pip install tickbraid[socks]"
        ) from error
    kind = python_socks.ProxyType.SOCKS4 if proxy.kind.startswith("socks4") else python_socks.ProxyType.SOCKS5
    target = host
    if proxy.kind in {"socks4", "socks5"}:  # the name is ours to look up
        families = {socket.AF_INET} if proxy.kind == "socks4" else {socket.AF_INET, socket.AF_INET6}
        addresses = [address for address in lookup(host, port, attempt) if address[0] in families]
        if not addresses:
            raise ConnectFailed(f"{host} has no IPv4 address, and {name} (SOCKS 4) takes no other")
        target = addresses[0][4][0]
    way = _Way(proxy, attempt, name)
    before = cast("Socks", way)
    socks = Socks(kind, proxy.host, proxy.port, proxy.user, proxy.password, rdns=True, forward=before)
    try:
        socks.connect(target, port)
    except python_socks.ProxyTimeoutError as error:
        raise TimeoutError from error
    except python_socks.ProxyError as error:
        reply = _SOCKS_REPLIES.get(error.error_code or 0)
        told = (
            f"{reply} (SOCKS reply {error.error_code})"
            if reply
            else "is it a SOCKS proxy, and are user and password right?"
        )
        raise ConnectFailed(f"{name} does not connect to {name_of(host, port)}: {told}") from error
    return way.sock
