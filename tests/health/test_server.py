import asyncio
import socket
import threading

import httpx
import pytest

from pipeline import build_pipeline
from pipeline.errors import ServerUnavailable
from pipeline.health.server import HttpServer
from tests.conftest import our_threads, wait_until


@pytest.fixture
def stream():
    """A stream of generated ticks that nobody has subscribed to."""
    with build_pipeline({"HTTP_PORT": 0}) as idle:
        yield idle


def connect(server):
    """Return a connection to the server, and its host and port."""
    host, port = server.url.removeprefix("http://").rsplit(":", 1)
    return socket.create_connection((host, int(port)), timeout=10), f"{host}:{port}"


def test_it_ends_with_connections_open(stream):
    """A live page or a scraper that keeps its connection would keep a service from stopping."""
    server = HttpServer(stream)
    server.start()
    silent, _ = connect(server)
    half, name = connect(server)
    kept, _ = connect(server)
    with silent, half, kept:
        half.sendall(f"GET /livez HTTP/1.1\r\nHost: {name}\r\n".encode())
        kept.sendall(f"GET /livez HTTP/1.1\r\nHost: {name}\r\n\r\n".encode())
        assert kept.recv(4096).startswith(b"HTTP/1.1 200")
        server.close()
        assert "tickbraid-http" not in our_threads()
    server.close()


def test_it_ends_while_an_answer_has_no_end(stream):
    """Who follows an event stream would keep a service from stopping."""
    server = HttpServer(stream)
    asked = threading.Event()

    async def endless(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        asked.set()
        await asyncio.Event().wait()

    server._app.mount("/endless", endless)
    with server, httpx.stream("GET", f"{server.url}/endless/") as answer:
        assert next(answer.iter_bytes()) == b"first"
        assert asked.wait(10)
        server.close()
        assert "tickbraid-http" not in our_threads()


def test_two_streams_have_a_server_each(stream):
    """A second stream in the process would show the first one's figures, or none."""
    with (
        build_pipeline({"HTTP_PORT": 0}) as other,
        HttpServer(stream) as server,
        HttpServer(other) as second,
    ):
        other.start()
        states = [httpx.get(f"{each.url}/api/health").json()["state"] for each in (server, second)]
        assert states == ["idle", "running"]


def test_a_port_in_use_is_said_in_one_sentence(stream):
    """An operator would see a traceback, or believe that it listens."""
    with HttpServer(stream) as server:
        port = int(server.url.rsplit(":", 1)[1])
        with pytest.raises(ServerUnavailable, match=f"cannot listen on {server.url}: Address already in use"):
            HttpServer(stream, port=port).start()


def test_a_name_that_nobody_has_is_said(stream):
    """As above."""
    with pytest.raises(ServerUnavailable, match=r"cannot listen on http://no\.such\.host\.invalid:0: "):
        HttpServer(stream, host="no.such.host.invalid").start()


def test_an_app_that_does_not_start_is_no_server(stream):
    """Its thread would end with nobody told, and `start` would wait for ever."""
    server = HttpServer(stream)

    async def broken(scope, receive, send):
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "on purpose"})

    server._app = broken
    with pytest.raises(ServerUnavailable, match="could not be started"):
        server.start()
    wait_until(lambda: "tickbraid-http" not in our_threads())


def test_an_address_of_ipv6_is_one(stream):
    """A machine without IPv4 could not be looked at, and the URL would not be one."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    with HttpServer(stream, host="::1") as server:
        assert server.url.startswith("http://[::1]:")
        assert httpx.get(f"{server.url}/livez").status_code == 200
