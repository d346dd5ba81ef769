"""A process of our own on a leash: it dies when we do, whatever ends us.

The leash is a shell between us and the process: it waits on a pipe of which only we hold the other end, so
the end of this process, SIGKILL included, is the end of the pipe, and of the other process. (Linux's
``PR_SET_PDEATHSIG`` would follow the *thread* that started it.) A process forked from this one without
``exec`` holds the pipe too; the other then lives as long as the longer of the two.
"""

import os
import select
import signal
import subprocess
from types import TracebackType
from typing import IO, Final, Self

from .errors import ServerUnavailable

__all__ = ["Leashed"]

END_DEADLINE_S: Final = 2.0


class Leashed:
    """What starts such a process; a context manager that closes it."""

    def __init__(self) -> None:
        self._leash: subprocess.Popen[bytes] | None = None

    def _start(self, script: str, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a shell script that starts the process and ends it with our pipe; Ctrl-C is for us alone."""
        self._leash = subprocess.Popen(  # noqa: S603  # a script of our own
            ["/bin/sh", "-c", script, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
        )
        return self._leash

    @property
    def _output(self) -> IO[bytes]:
        """What it writes; it ends with the process."""
        if self._leash is None or self._leash.stdout is None:
            raise ServerUnavailable("it was never started")
        return self._leash.stdout

    def close(self) -> None:
        """Kill what is left of it, and return when it is gone, within 2 s; idempotent."""
        leash = self._leash
        if leash is None:
            return
        if leash.returncode is None:
            os.killpg(leash.pid, signal.SIGKILL)
            select.select([self._output], [], [], END_DEADLINE_S)
        with leash:  # waits, and closes the pipes
            pass

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
