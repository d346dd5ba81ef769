"""Who may lead the loop beside its own thread, and when it has kept the sockets waiting too long."""

from collections.abc import Callable
from typing import Final

from .loop import SocketLoop

__all__ = ["Deputy"]

FREE_S: Final = 0.002
"""What a subscriber does with the ticks of one turn may take so long."""
PART: Final = 0.02
"""Of the time in which sockets may wait beyond that."""
DEBT_S: Final = 0.02
"""So much of it at once, and the subscriber leads no more until it is paid off."""
MOST_DEBT_S: Final = 0.2


class Deputy:
    """Lets a subscriber's thread lead the loop while it has nothing else to do.

    As long as its callback is quick, that saves the hand-over from thread to thread. While the callback
    runs, no socket is read: so who takes longer than 2 ms a turn runs up a debt, and above 20 ms the loop's
    own thread leads again, until the debt is paid off at 2 % of the time. Where a callback hangs, the loop's
    thread leads after 25 ms.

    All methods but `recall` on the subscriber's thread.

    Args:
        loop: that runs now, None where none does.
        monotonic: seconds.
    """

    def __init__(self, loop: Callable[[], SocketLoop | None], monotonic: Callable[[], float]) -> None:
        self._loop = loop
        self._monotonic = monotonic
        self._leads = False
        self._began_s: float | None = None
        """When it stopped leading to do its own work."""
        self._debt_s = 0.0
        self._reckoned_s = 0.0

    def lend(self, until: Callable[[], bool]) -> None:
        """Lead, if nobody else does, until there is something else to do."""
        loop = self._loop()
        if loop is None:
            return
        if self._began_s is not None:
            now_s = self._monotonic()
            if now_s - self._began_s > FREE_S or self._debt_s:
                self._reckon(now_s, self._began_s)
            self._began_s = None
        elif self._debt_s:
            self._reckon(self._monotonic(), None)
        if self._debt_s > DEBT_S:
            loop.step_in()
            return
        self._leads = True
        loop.lead(until)

    def begin(self) -> None:
        """Note that there is something else to do now."""
        if self._leads:
            self._leads = False
            self._began_s = self._monotonic()

    def recall(self) -> None:
        """Let `lend` return soon. From any thread."""
        loop = self._loop()
        if loop is not None:
            loop.recall()

    def _reckon(self, now_s: float, began_s: float | None) -> None:
        self._debt_s = max(0.0, self._debt_s - (now_s - self._reckoned_s) * PART)
        self._reckoned_s = now_s
        if began_s is not None:
            self._debt_s = min(self._debt_s + max(0.0, now_s - began_s - FREE_S), MOST_DEBT_S)
