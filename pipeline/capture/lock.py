"""A lock on an open file, which goes with the file or the process that holds it."""

import importlib
from typing import IO, Any

__all__ = ["lock"]

try:
    import fcntl
except ImportError:  # Windows

    def _lock(file: IO[str]) -> None:
        msvcrt: Any = importlib.import_module("msvcrt")
        file.seek(0)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)

else:

    def _lock(file: IO[str]) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def lock(file: IO[str]) -> bool:
    """Lock a file until it is closed; return whether nobody else has."""
    try:
        _lock(file)
    except OSError:
        return False
    return True
