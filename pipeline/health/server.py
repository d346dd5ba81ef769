"""The HTTP server of a stream, in a thread of its own; needs the extra ``web``."""

import contextlib
import socket
import threading
from types import TracebackType
from typing import Final, Self

import uvicorn
from starlette.types import ASGIApp

from pipeline.errors import ServerUnavailable
from pipeline.stream import TickStream

from .access import Access
from .api import make_app

__all__ = ["HttpServer", "listen"]

START_TIMEOUT_S: Final = 15.0
LAST_ANSWERS_S: Final = 1
"""For what is being answered at the end: an event stream, a live page. Uvicorn takes whole seconds."""
JOIN_TIMEOUT_S: Final = 2.0


class HttpServer:
    """Serves the API, the metrics and the page of one stream on the thread ``tickbraid-http``.

    It neither starts nor closes the stream. A context manager that starts and closes it.

    Args:
        stream: what is shown.
        host: address to bind to; default HTTP_HOST.
        port: 0 for a free one; default HTTP_PORT.
    """

    def __init__(self, stream: TickStream, *, host: str | None = None, port: int | None = None) -> None:
        settings = stream.settings
        self._host = settings.http_host if host is None else host
        self._port = settings.http_port if port is None else port
        self._app: ASGIApp = make_app(stream, access=Access(self._host, settings.http_token))
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """Where it is, with the port that it has got once it was started."""
        return _url(self._host, self._port)

    def start(self) -> None:
        """Listen, and return once requests are answered. Once, from any thread.

        Raises:
            ServerUnavailable: nobody can listen there; says why.
        """
        listener = listen(self._host, self._port)
        self._port = listener.getsockname()[1]
        server = _Server(self._app)
        thread = threading.Thread(
            target=server.serve_on, args=(listener,), name="tickbraid-http", daemon=True
        )
        try:
            thread.start()
        except RuntimeError as error:
            listener.close()
            raise ServerUnavailable(f"the HTTP interface has no thread to run on: {error}") from error
        self._server, self._thread = server, thread
        if not (server.answers.wait(START_TIMEOUT_S) and server.started):
            self.close()
            raise ServerUnavailable("the HTTP interface could not be started; the log says why")

    def close(self) -> None:
        """End it, with whatever connections there are, within 2 s; from any thread, idempotent."""
        if self._server is not None:
            self._server.should_exit = True
        if self._thread is not None:
            self._thread.join(JOIN_TIMEOUT_S)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens there.

    Raises:
        ServerUnavailable: nobody can; says why.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    except (OSError, UnicodeError) as error:  # a label of a host name that is too long
        reason = str(getattr(error, "strerror", None) or error).partition(" (")[0]
        why = f"the HTTP interface cannot listen on {_url(host, port)}: {reason}"
        raise ServerUnavailable(f"{why}; see HTTP_HOST and HTTP_PORT") from error


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class _Server(uvicorn.Server):
    """Is a server that says when it has started, or failed to."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                server_header=False,
                lifespan="on",
                timeout_graceful_shutdown=LAST_ANSWERS_S,
            )
        )
        self.answers = threading.Event()

    def serve_on(self, listener: socket.socket) -> None:
        """Serve until it is told to end."""
        # Uvicorn has logged why it exits.
        with listener, contextlib.suppress(SystemExit):
            try:
                self.run(sockets=[listener])
            finally:
                self.answers.set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin, and say so."""
        await super().startup(sockets)
        self.answers.set()
