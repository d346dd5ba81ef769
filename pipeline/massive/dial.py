"""Opens a WebSocket on a short-lived thread: proxy or not, TCP, TLS and the upgrade."""

import logging
import os
import socket
import ssl
import traceback
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from reactivex import abc

from operators.runtime import SYSTEM, Runtime
from pipeline.errors import ConnectFailed
from pipeline.redaction import redact

from .dial_attempt import Attempt, CalledOff
from .dial_proxy import proxy_for
from .dial_tcp import connect_tcp
from .dial_upgrade import upgrade
from .dial_words import name_of, why
from .persistence import CONNECT_TIMEOUT_S

__all__ = ["Dial"]

log = logging.getLogger("tickbraid.massive.dial")


class Dial(abc.DisposableBase):
    """Opens one WebSocket on a thread ``tickbraid-dial-…``; can be called off from any thread.

    Calling off ends the thread within a quarter of a second, and in the midst of TLS or an answer at once:
    the socket is shut down under its feet.

    Args:
        url: ws:// or wss://.
        deliver: called once, with the open socket or why there is none, on the dialling thread (on the
            caller's where none can be started); never after `dispose`.
        name: what the thread is called by.
        ssl_context: for wss://; default: verify the server against the system's authorities.
        timeout_s: for all of it together.
        environ: where a proxy may be named.
        avoided: addresses of which nothing came, kept from dial to dial; the one that is connected to is
            among them until somebody takes it away.
        runtime: its thread, clocks and sockets.
    """

    def __init__(
        self,
        url: str,
        deliver: Callable[[socket.socket | ConnectFailed], None],
        *,
        name: str,
        ssl_context: ssl.SSLContext | None = None,
        timeout_s: float = CONNECT_TIMEOUT_S,
        environ: Mapping[str, str] = os.environ,
        avoided: list[str] | None = None,
        runtime: Runtime = SYSTEM,
    ) -> None:
        self._url = url
        self._deliver = deliver
        self._ssl_context = ssl_context
        self._environ = environ
        self._attempt = Attempt(timeout_s, avoided, runtime)
        try:
            runtime.spawn(self._run, f"tickbraid-dial-{name}")
        except RuntimeError:  # the limit of threads; it is tried again as after any failure
            deliver(ConnectFailed("no thread can be started to connect on"))

    def dispose(self) -> None:
        """Call it off."""
        self._attempt.call_off()

    def _run(self) -> None:
        result: socket.socket | ConnectFailed | None = None
        try:
            result = self._open()
        except CalledOff:
            pass
        except ConnectFailed as failed:
            result = failed
        self._attempt.doubt()
        if not isinstance(result, socket.socket):
            self._attempt.close()
        if result is not None and not self._attempt.conclude(lambda: self._deliver(result)):
            self._attempt.close()

    def _open(self) -> socket.socket:
        """Return an open WebSocket's socket.

        Raises:
            CalledOff: nobody wants it any more.
            ConnectFailed: why there is none, in our words.
        """
        peer = self._url
        attempt = self._attempt
        try:
            parts = urlsplit(self._url)
            host, secure = parts.hostname or "", parts.scheme == "wss"
            port = parts.port or (443 if secure else 80)
            peer = name_of(host, port)
            proxy = proxy_for(host, secure=secure, environ=self._environ)
            if proxy is None:
                sock = connect_tcp(host, port, attempt, peer)
            else:
                sock = proxy.connect(host, port, attempt)
            if secure:
                sock = self._secure(sock, host, peer)
            upgrade(sock, self._url, attempt, peer)
        except (CalledOff, ConnectFailed):
            raise
        except Exception as error:
            # The original is for whoever looks for it; what people read is told in our own words.
            log.debug("dialling %s: %s", peer, redact("".join(traceback.format_exception(error))))
            if isinstance(error, TimeoutError) and not error.errno:
                raise ConnectFailed(f"not open after {attempt.timeout_s:g} s: {attempt.awaits}") from error
            raise ConnectFailed(why(error, peer)) from error
        return sock

    def _secure(self, sock: socket.socket, host: str, peer: str) -> ssl.SSLSocket:
        self._attempt.awaits = f"{peer} does not answer in TLS"
        context = self._ssl_context or ssl.create_default_context()
        sock.settimeout(self._attempt.left_s())
        secured = context.wrap_socket(sock, server_hostname=host, do_handshake_on_connect=False)
        self._attempt.hold(secured).do_handshake()
        return secured
