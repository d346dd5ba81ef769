"""What all tests share: a check that nothing of ours outlives a test, and settings of their own."""

import contextlib
import gc
import os
import threading
import time
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("tickbraid", deadline=None)  # these machines are noisy; nothing is timed in tests
settings.load_profile("tickbraid")

LEAVE_WITHIN_S = 3.0
DESCRIPTORS = Path("/proc/self/fd")


@pytest.hookimpl(trylast=True)  # hypothesis marks its own before
def pytest_collection_modifyitems(items):
    """Measure the coverage of examples alone: what is drawn at random covers now this and now that.

    It is also twice as fast: Python 3.11 traces hypothesis itself, too.
    """
    for item in items:
        if item.get_closest_marker("hypothesis"):
            item.add_marker("no_cover")


def wait_until(condition, timeout_s=10.0, what="the condition"):
    """Wait for a condition, with a deadline; return its value."""
    deadline_s = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline_s, f"{what} did not come true within {timeout_s} s"
        time.sleep(0.002)
    return value


def our_threads():
    """Return the names of the threads of ours that are alive."""
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("tickbraid-")}


def our_sockets():
    """Return the descriptors of this process that are sockets."""
    found = set()
    for descriptor in DESCRIPTORS.iterdir() if DESCRIPTORS.exists() else ():
        with contextlib.suppress(OSError):  # the one of the listing itself is gone by now
            found.add(str(descriptor.readlink()))
    return {target for target in found if target.startswith("socket:")}


def our_children():
    """Return the processes that we started and that are not gone."""
    path = Path(f"/proc/self/task/{os.getpid()}/children")
    return set(path.read_text().split()) if path.exists() else set()


@pytest.fixture(autouse=True)
def nothing_is_left():
    """Fail a test after which a thread, a socket or a child process of ours is alive."""
    before = our_threads(), our_sockets(), our_children()
    yield
    kinds = ("threads", "sockets", "children")
    deadline_s = time.monotonic() + LEAVE_WITHIN_S
    while True:
        left = [
            now - then
            for now, then in zip((our_threads(), our_sockets(), our_children()), before, strict=True)
        ]
        if not any(left):
            return
        if time.monotonic() > deadline_s:
            break
        gc.collect()
        time.sleep(0.01)
    pytest.fail(f"left alive: { {kind: names for kind, names in zip(kinds, left, strict=True) if names} }")


@pytest.fixture(autouse=True)
def settings_of_its_own(tmp_path, monkeypatch):
    """Keep the settings of whoever runs the tests out of them."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith(("MASSIVE_", "MARKET_", "WEBSOCKET_", "REDIS_", "SYNTHETIC_", "USE_", "SYMBOL_")):
            monkeypatch.delenv(name)
