"""Output that somebody may stop reading: ``tickbraid run --callback builtins:print | head``."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any, TextIO

__all__ = ["until_unread"]


class _Output:
    """A text stream whose reader may go: what is written afterwards goes nowhere, and raises nothing."""

    def __init__(self, stream: TextIO, on_unread: Callable[[], None]) -> None:
        self._stream = stream
        self._on_unread = on_unread

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except BrokenPipeError:
            self._let_go()
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except BrokenPipeError:
            self._let_go()

    def _let_go(self) -> None:
        # What is still buffered would raise at the end of the process, where nobody can catch it.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)
        self._on_unread()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def until_unread(on_unread: Callable[[], None]) -> Iterator[None]:
    """Call ``on_unread`` where something is written to stdout or stderr that nobody reads any more."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (_Output(stream, on_unread) for stream in before)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
