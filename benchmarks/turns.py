"""One sender, and clients that take turns at it, each in a process of its own: the plumbing they share.

The sender has the first core and the client the last. A client tells how far it is in eight shared bytes,
and the sender keeps to what may be in flight: so a client with queues of its own is measured at the rate that
it sustains, with nothing dropped, as TCP does it to those that only read.
"""

import contextlib
import json
import mmap
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from operator import sub
from pathlib import Path
from typing import Any, Final, NamedTuple

__all__ = [
    "CLIENT_CORE",
    "SENDER_CORE",
    "UNLIMITED",
    "Blaster",
    "Turn",
    "ask",
    "blaster",
    "measure",
    "open_shared",
    "pin",
    "take_turn",
]

_CORES: Final = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
SENDER_CORE: Final = _CORES[0]
CLIENT_CORE: Final = _CORES[-1]
IN_FLIGHT_TICKS: Final = 50_000
ROOT: Final = Path(__file__).parents[1]
"""Where Python finds the benchmarks."""
SAMPLE_S: Final = 0.01
START_TIMEOUT_S: Final = 20.0
UNLIMITED: Final = 2**62
SHARED_BYTES: Final = 5 * 8


class Blaster(NamedTuple):
    """Says where the sender is."""

    port: int
    bytes_a_tick: float
    shared: str


class Turn(NamedTuple):
    """Says what a client is to do: how long to warm up and to measure, s, and where the sender is."""

    port: int
    bytes_a_tick: float
    shared: str
    warm_s: float
    time_s: float


def pin(core: int, process: int = 0) -> None:
    """Keep a process, this one by default, on a core, where the system lets us."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(process, {core})


@contextlib.contextmanager
def blaster(dialect: str, events: int, *options: str) -> Iterator[Blaster]:
    """Run a sender, which ends with this process at the latest."""
    with tempfile.NamedTemporaryFile() as shared:
        shared.write(bytes(SHARED_BYTES))
        shared.flush()
        command = [sys.executable, "-m", "benchmarks.blaster", f"--dialect={dialect}", f"--events={events}"]
        command += [f"--window={IN_FLIGHT_TICKS}", f"--shared={shared.name}", *options]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
        ) as process:
            try:
                announced = json.loads(process.stdout.readline()) if process.stdout else {}
                yield Blaster(**announced, shared=shared.name)
            finally:
                process.kill()


@contextlib.contextmanager
def open_shared(path: str) -> Iterator[memoryview]:
    """Open what they share: ticks delivered; ticks and trades sent, end of the last phase (ns), cut off."""
    with Path(path).open("r+b") as file, mmap.mmap(file.fileno(), SHARED_BYTES) as shared:
        cells = memoryview(shared).cast("Q")
        try:
            yield cells
        finally:
            cells.release()


def take_turn(client: str, sender: Blaster, warm_s: float, time_s: float) -> dict[str, Any]:
    """Let a client measure itself and return what it says: ``ticks``, ``seconds``, ``cpu_s`` and more.

    Raises:
        RuntimeError: it failed; the message is what it said.
    """
    turn = json.dumps(Turn(*sender, warm_s, time_s)._asdict())
    return ask("benchmarks.clients", client, turn, timeout_s=START_TIMEOUT_S + warm_s + time_s)


def ask(module: str, *arguments: str, timeout_s: float) -> dict[str, Any]:
    """Run a module in a process of its own and return what its last line says.

    Raises:
        RuntimeError: it failed; the message is what it said.
    """
    command = [sys.executable, "-m", module, *arguments]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=timeout_s, check=False, cwd=ROOT
        )
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(f"{arguments[0]} hangs: {error.stderr!r}") from None
    if done.returncode:
        raise RuntimeError(f"{arguments[0]} failed: {done.stderr.strip()[-600:]}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def measure(
    turn: Turn, read: Callable[[], float], finish: Callable[[], dict[str, Any]] = dict, *, tells: bool = False
) -> threading.Thread:
    """Begin a thread that measures this process, prints what came of it and ends the process.

    Args:
        turn: what to do.
        read: returns the ticks that the callback got so far.
        finish: called at the end for what else there is to say.
        tells: the sender is told what was delivered; else only TCP holds it back.
    """

    def run() -> None:
        with open_shared(turn.shared) as shared:
            shared[0] = 0 if tells else UNLIMITED
            ready.set()
            marks = []
            for limit_s, reached in (
                (START_TIMEOUT_S, lambda: read() > 0),
                (turn.warm_s, bool),
                (turn.time_s, bool),
            ):
                deadline_s = time.perf_counter() + limit_s
                while (now_s := time.perf_counter()) < deadline_s and not reached():
                    time.sleep(SAMPLE_S)
                    if tells:
                        shared[0] = int(read())
                marks.append((now_s, read(), time.process_time()))
            _, before, after = marks
            result = dict(zip(("seconds", "ticks", "cpu_s"), map(sub, after, before), strict=True))
            shared[0] = UNLIMITED  # who waits for the end of the feed gets it
            print(json.dumps(result | finish()), flush=True)
            if not result["ticks"]:
                print("it got no ticks", file=sys.stderr, flush=True)
            os._exit(0 if result["ticks"] else 1)  # most peers cannot be told to end

    ready = threading.Event()
    thread = threading.Thread(target=run, name="measure", daemon=True)
    thread.start()
    ready.wait()
    return thread
