"""A thread that goes on and on, and others that look between two of its steps."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from operators.runtime import Runtime

__all__ = ["Gate"]

WAIT_S: Final = 0.1
"""Who looks waits so long at most for a step to end, which mostly takes less than a ms."""


class Gate:
    """Where one thread goes through, step by step, and any other may hold it up for a look.

    The thread, at each step::

        if gate.is_asked:
            gate.let_look()
        with gate.step: ...

    Args:
        runtime: makes the locks.
    """

    def __init__(self, runtime: Runtime) -> None:
        self.step = runtime.rlock()
        """Held during a step. Whoever is called by one may look as well."""
        self.is_asked = False
        """Somebody wants to look."""
        self._turnstile = runtime.lock()

    def let_look(self) -> None:
        """Wait until whoever wants to look has done so: a lock alone would go to who has just left it."""
        with self._turnstile:
            pass

    @contextmanager
    def between_steps(self) -> Iterator[None]:
        """Hold the next step up; one that takes long is not waited for. What is done within must be short."""
        with self._turnstile:
            self.is_asked = True
            is_between = self.step.acquire(timeout=WAIT_S)
            try:
                yield
            finally:
                self.is_asked = False
                if is_between:
                    self.step.release()
