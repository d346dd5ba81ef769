"""The command as a user starts it, in a directory without settings."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.conftest import wait_until

DEADLINE_S = 30.0
COMMAND = str(Path(sys.executable).with_name("tickbraid"))


class Running:
    """Is a process whose lines are read as they come, so that no pipe fills up."""

    def __init__(self, process):
        self.process = process
        self.out, self.err = [], []
        self._readers = [
            threading.Thread(target=self._read, args=pair, daemon=True)
            for pair in ((process.stdout, self.out), (process.stderr, self.err))
        ]
        for reader in self._readers:
            reader.start()

    def wait(self):
        """Return (exit code, stdout, stderr) at its end."""
        code = self.process.wait(DEADLINE_S)
        for reader in self._readers:
            reader.join(DEADLINE_S)
        return code, "".join(self.out), "".join(self.err)

    def wait_for(self, words):
        """Return once stderr has had the words."""
        wait_until(lambda: words in "".join(self.err), DEADLINE_S, f"{words!r} in {self.err}")

    @staticmethod
    def _read(pipe, lines):
        lines.extend(iter(pipe.readline, ""))  # each as it comes


@pytest.fixture
def start():
    """Start ``tickbraid ARGUMENTS`` with more environment, and see to its end."""
    started = []

    def begin(*arguments, **environment):
        process = subprocess.Popen(  # noqa: S603  # our own command
            [COMMAND, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"COLUMNS": "200", "PYTHONUNBUFFERED": "1"} | environment,
        )
        started.append(process)
        return Running(process)

    yield begin
    for process in started:
        process.kill()
        process.wait(DEADLINE_S)
        process.stdout.close()
        process.stderr.close()
