"""Which process a stream belongs to: a forked child has its objects, and none of its threads."""

import os

from .errors import WrongProcess

__all__ = ["Owner"]


class Owner:
    """The process that was the first to run something; asked before any lock, which a fork may leave held."""

    def __init__(self) -> None:
        self._pid: int | None = None

    def claim(self) -> None:
        """Make it this process's, if it is nobody's yet; from any thread.

        Raises:
            WrongProcess: it is another's.
        """
        if self._pid is None:
            self._pid = os.getpid()
        self.check()

    @property
    def is_elsewhere(self) -> bool:
        """Whether it belongs to another process."""
        return self._pid is not None and self._pid != os.getpid()

    def check(self) -> None:
        """Pass unless it is another process's.

        Raises:
            WrongProcess: it is.
        """
        if self.is_elsewhere:
            raise WrongProcess(
                f"this stream belongs to process {self._pid}, which started it, and this is its fork"
                f" {os.getpid()}: its threads are not forked with it. Call build_pipeline in the child"
            )
