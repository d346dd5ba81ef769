"""When to stop: a signal, or somebody who says so."""

import contextlib
import os
import select
import signal
import socket
import sys
from types import FrameType
from typing import Any, Final, Self

__all__ = ["Stop"]

SHOW_CURSOR: Final = b"\x1b[?25h"
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class Stop:
    """Waits for SIGINT, SIGTERM or `ring`; a context manager of the main thread.

    A second signal ends the process at once with 128 + its number, as a shell would report it. Python runs a
    handler between any two instructions of the main thread, so what it may touch is little: setting a
    `threading.Event` that this very thread waits for would wait for itself. Hence a pair of sockets.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        """The first signal that came."""
        self.unread = False
        """Nobody reads our output any more."""
        self._inner, self._outer = socket.socketpair()
        self._inner.setblocking(False)
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        self._previous = {number: signal.signal(number, self._on_signal) for number in _SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._inner.close()
        self._outer.close()

    def ring(self, *_: object) -> None:
        """Say that it is time to stop; from any thread and from a signal handler, also when all is over."""
        with contextlib.suppress(OSError):  # nobody waits any more, or it was rung too often to hold it all
            self._inner.send(b"\0")

    def leave(self) -> None:
        """Say that it is time to stop, since nobody reads our output any more; from any thread."""
        self.unread = True
        self.ring()

    @property
    def asked(self) -> bool:
        """Whether somebody outside wants it to stop."""
        return self.signal is not None or self.unread

    def wait(self, timeout_s: float) -> bool:
        """Wait at most so long and tell whether it is time to stop."""
        return bool(select.select([self._outer], [], [], max(0.0, timeout_s))[0])

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if self.signal is not None:
            if sys.__stdout__ is not None and sys.__stdout__.isatty():
                os.write(1, SHOW_CURSOR)  # a live table hides it
            os._exit(128 + number)
        self.signal = number
        self.ring()
