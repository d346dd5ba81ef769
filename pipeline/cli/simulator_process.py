"""A simulated Massive in a process of its own, which dies when we do."""

import select
import subprocess
import sys
from typing import Final

import msgspec

from pipeline.errors import ServerUnavailable
from pipeline.leash import Leashed

__all__ = ["Sent", "SimulatorProcess"]

LEASH: Final = '"$@" & exec >&- 2>&-; if read _; then kill $!; wait $!; else kill -9 $!; fi'
"""Lets the simulator report if it is told a line, and kills it if our end of the pipe just closes."""
START_DEADLINE_S: Final = 20.0
END_DEADLINE_S: Final = 10.0
LISTENING: Final = "Listening on "


class Sent(msgspec.Struct, frozen=True):
    """Says what the simulator sent; counts of elements.

    Args:
        elements: good ones, each counted once.
        repeated_elements: good ones that were sent again.
        malformed: others, by what is wrong with them.
        types: good ones by event type.
        slow_kills: connections cut because we did not read fast enough.
    """

    elements: int
    repeated_elements: int
    malformed: dict[str, int]
    types: dict[str, int]
    slow_kills: int

    @property
    def malformed_elements(self) -> int:
        """Malformed ones, whatever is wrong with them."""
        return sum(self.malformed.values())

    @property
    def total(self) -> int:
        """All of them."""
        return self.elements + self.repeated_elements + self.malformed_elements


class _Report(msgspec.Struct):
    sent: Sent


class SimulatorProcess(Leashed):
    """Runs ``python -m pipeline.massive.simulator`` from start to `end` or `close`; a context manager.

    Args:
        arguments: of the simulator's command; ``--port 0 --json`` are added.

    Raises:
        ServerUnavailable: it did not start; its last words are told.
    """

    def __init__(self, *arguments: str) -> None:
        super().__init__()
        # -P: a `pipeline` in the working directory is not ours.
        command = [sys.executable, "-P", "-m", "pipeline.massive.simulator", "--port", "0", "--json"]
        self._process = self._start(LEASH, "sh", *command, *arguments)
        try:
            self.url = self._read_url()
        except BaseException:
            self.close()
            raise

    def end(self) -> Sent:
        """Close all its connections once it has sent what it owes, end it, and return its report.

        Raises:
            ServerUnavailable: it was gone, or did not report in time.
        """
        try:
            report, words = self._process.communicate(b"end\n", END_DEADLINE_S)
            return msgspec.json.decode(report, type=_Report).sent
        except subprocess.TimeoutExpired:
            raise ServerUnavailable(f"the simulator did not report within {END_DEADLINE_S:.0f} s") from None
        except msgspec.MsgspecError:
            last = words.decode(errors="replace").strip() or "nothing"
            raise ServerUnavailable(f"the simulator ended without a report; its last words: {last}") from None

    def _read_url(self) -> str:
        assert self._process.stderr is not None  # noqa: S101  # it is a pipe
        ready = select.select([self._process.stderr], [], [], START_DEADLINE_S)[0]
        words = self._process.stderr.readline().decode(errors="replace").strip() if ready else "nothing"
        if not words.startswith(LISTENING):
            raise ServerUnavailable(f"the simulator did not start; it said: {words}")
        return words.removeprefix(LISTENING)
