"""What dials are tested against: servers of one answer, addresses that swallow SYNs, names of our own."""

import contextlib
import socket
import threading
import time

from pipeline.massive.dial import Dial
from tests.conftest import our_threads, wait_until

HOST = "feed.example"
"""A name that only `names` knows, and that is no loopback name: a proxy may be used for it."""


def dial(url, **options):
    """Dial; return the one result."""
    results = []
    Dial(url, results.append, name="t", environ=options.pop("environ", {}), **options)
    (result,) = wait_until(lambda: results, 15)
    wait_until(lambda: not {name for name in our_threads() if "dial" in name})
    return result


class Listener:
    """A server on loopback: each connection is handed to ``serve`` on a thread, and then closed."""

    def __init__(self, serve, host="127.0.0.1", port=0):
        self._serve = serve
        self._listener = socket.create_server((host, port))
        self.port = self._listener.getsockname()[1]
        self.accepted = 0
        self._open = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    def __enter__(self):
        self._threads[0].start()
        return self

    def __exit__(self, *_):
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the accept
        self._listener.close()
        for sock in self._open:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                self.accepted += 1
                self._open.append(sock)
                thread = threading.Thread(target=self._run, args=[sock], daemon=True)
                self._threads.append(thread)
                thread.start()

    def _run(self, sock):
        with sock, contextlib.suppress(OSError):
            sock.settimeout(10)
            self._serve(sock)


def read_head(sock):
    """Read up to an empty line; return what came."""
    data = b""
    while not data.endswith(b"\r\n\r\n") and (byte := sock.recv(1)):
        data += byte
    return data


def hold(sock):
    """Wait for the peer to hang up."""
    while sock.recv(65536):
        pass


def answering(data, *, then=hold):
    """Return what reads a request, answers these bytes, and then does this."""

    def serve(sock):
        read_head(sock)
        sock.sendall(data)
        if then is not None:
            then(sock)

    return serve


def pump(one, other):
    """Copy between two sockets until both ends have hung up."""

    def copy(source, target):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    thread = threading.Thread(target=copy, args=(one, other), daemon=True)
    thread.start()
    copy(other, one)
    thread.join(5)


@contextlib.contextmanager
def black_hole(host="127.0.0.2", port=0):
    """Yield the port of an address that swallows SYNs, as a firewall does: its listener's queue is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind((host, port))
        listener.listen(0)
        port = listener.getsockname()[1]
        deadline_s = time.monotonic() + 10
        while True:
            sock = stack.enter_context(socket.socket())
            sock.settimeout(0.2)
            try:
                sock.connect((host, port))
            except TimeoutError:
                break
            assert time.monotonic() < deadline_s
        yield port


def names(monkeypatch, addresses, host=HOST):
    """Have the resolver know ``host`` by these addresses; an exception is raised, a callable called.

    Returns:
        A list of what was looked up.
    """
    asked = []
    real = socket.getaddrinfo

    def getaddrinfo(name, port, *args, **options):
        if name != host:
            return real(name, port, *args, **options)
        asked.append(name)
        found = addresses() if callable(addresses) else addresses
        if isinstance(found, BaseException):
            raise found
        return [info for address in found for info in real(address, port, *args, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return asked
