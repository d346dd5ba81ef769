"""The parent's end of one child: starts it, talks with it, and sees to it that it ends."""

import logging
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from queue import Full, Queue
from typing import Final

from .messages import Order, Word, pack, read_words, send_with

__all__ = ["ChildProcess"]

log = logging.getLogger("tickbraid.processes")

BOOT: Final = """\
import sys
sys.path[:] = sys.argv[2:]
from pipeline.processes.child import main
main(int(sys.argv[1]))
"""
"""With our own path: what can be imported here can be there, in a notebook and under pytest too."""
ORDERS_MAX: Final = 10_000
HUNG_S: Final = 30.0
"""A child reports every second; one that was silent for so long is killed."""
GOODBYE_S: Final = 2.0
"""From the last word to the end of the process."""


class ChildProcess:
    """Is a child from its start to its end.

    It is no fork of ours, so it shares nothing with us, least of all locks; signals of a terminal do not
    reach it, and it ends when we do. The threads ``tickbraid-child-NAME`` and ``tickbraid-orders-NAME`` end
    with it.

    Args:
        name: of its connection.
        on_word: given what it says, on its own thread.
        on_end: told how it ended, in words, after its last word and when it is gone; on the same thread.
    """

    def __init__(self, name: str, on_word: Callable[[Word], None], on_end: Callable[[str], None]) -> None:
        self._on_word = on_word
        self._on_end = on_end
        self._sock, self._its_sock = socket.socketpair()
        self._sock.settimeout(HUNG_S)
        self._orders: Queue[tuple[Order, socket.socket | None] | None] = Queue(ORDERS_MAX)
        self._process: subprocess.Popen[bytes] | None = None
        self._killed = False
        self._over = False
        self._lock = threading.Lock()
        self._gate = threading.Lock()
        """Not held while the child is started, as the other is."""
        self._writer = threading.Thread(target=self._write, name=f"tickbraid-orders-{name}", daemon=True)
        self._reader = threading.Thread(target=self._live, name=f"tickbraid-child-{name}", daemon=True)
        self._writer.start()
        self._reader.start()

    @property
    def pid(self) -> int | None:
        """Its process id; None before it was started."""
        return None if self._process is None else self._process.pid

    def send(self, order: Order, its: socket.socket | None = None) -> None:
        """Have an order carried out. From any thread; never blocks.

        Args:
            order: which.
            its: a socket that goes with it, and is the child's from now on.
        """
        try:
            with self._gate:
                if not self._over:
                    self._orders.put_nowait((order, its))
                    return
        except Full:  # it takes none of them
            self.kill()
        if its is not None:
            its.close()

    def kill(self) -> None:
        """End it at once. From any thread."""
        with self._lock:
            self._killed = True
            if self._process is not None:
                self._process.kill()

    def _start(self) -> subprocess.Popen[bytes]:
        with self._lock:
            self._process = process = subprocess.Popen(  # noqa: S603  # our own interpreter
                [sys.executable, "-P", "-c", BOOT, str(self._its_sock.fileno()), *sys.path],
                pass_fds=[self._its_sock.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
            if self._killed:
                process.kill()
        return process

    def _live(self) -> None:
        words = "its process could not be started"
        try:
            process = self._start()
        except OSError as error:
            words += f": {error}"
            self._its_sock.close()
        else:
            self._its_sock.close()
            try:
                for word in read_words(self._sock):
                    self._on_word(word)
            except Exception:
                log.exception("what a child said could not be taken; this is a defect")
            words = _fate(self._wait(process))
        with self._gate:
            self._over = True
        self._orders.put(None)
        self._sock.close()
        self._writer.join()
        self._on_end(words)

    def _wait(self, process: subprocess.Popen[bytes]) -> int:
        try:
            return process.wait(GOODBYE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    def _write(self) -> None:
        gone = False
        while (item := self._orders.get()) is not None:
            order, its = item
            try:
                if its is not None and not gone:
                    send_with(self._sock, order, its)
                elif not gone:
                    self._sock.sendall(pack(order))
            except OSError:  # as the other thread sees too; nobody waits for what is queued
                gone = True
            if its is not None:
                its.close()


def _fate(code: int) -> str:
    if code >= 0:
        return f"its process ended with code {code}"
    return f"its process was ended by {signal.Signals(-code).name}"
