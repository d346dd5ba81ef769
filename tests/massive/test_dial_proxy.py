import base64
import contextlib
import os
import socket
import ssl
import struct
import sys

import pytest
import trustme

from pipeline.errors import ConnectFailed
from pipeline.massive.dial_proxy import Proxy, proxy_for
from pipeline.massive.simulator import Options, Simulator
from tests.massive.dial_world import HOST, Listener, answering, dial, hold, names, pump, read_head

AUTHORITY = trustme.CA()
FEED = "socket.massive.com"


def named(environ, host=FEED, *, secure=True):
    """Return the proxy that is used, as a text; why none can be, after a "!"; None for none."""
    try:
        proxy = proxy_for(host, secure=secure, environ=environ)
    except ConnectFailed as error:
        return f"!{error}"
    return None if proxy is None else f"{proxy.kind}://{proxy.host}:{proxy.port}"


# What curl documents (libcurl-env, CURLOPT_PROXY, CURLOPT_NOPROXY) for wss://socket.massive.com/stocks. What
# it does with https:// was tried with curl 7.88.1, and is the same.
CURL = [
    # variables: the nearest name first, small letters first, empty is not set
    ({}, None),
    ({"https_proxy": "http://p:1"}, "http://p:1"),
    ({"HTTPS_PROXY": "http://p:1"}, "http://p:1"),
    ({"HTTPS_PROXY": "http://p:1", "https_proxy": "http://q:1"}, "http://q:1"),
    ({"https_proxy": "http://p:1", "wss_proxy": "http://q:1"}, "http://q:1"),
    ({"https_proxy": "http://p:1", "WSS_PROXY": "http://q:1"}, "http://q:1"),
    ({"all_proxy": "http://p:1"}, "http://p:1"),
    ({"ALL_PROXY": "http://p:1"}, "http://p:1"),
    ({"ALL_PROXY": "http://p:1", "HTTPS_PROXY": "http://q:1"}, "http://q:1"),
    ({"ALL_PROXY": "http://p:1", "HTTPS_PROXY": ""}, "http://p:1"),
    ({"http_proxy": "http://p:1", "HTTP_PROXY": "http://p:1"}, None),
    # addresses
    ({"https_proxy": "p:3128"}, "http://p:3128"),
    ({"https_proxy": "127.0.0.1:3128"}, "http://127.0.0.1:3128"),
    ({"https_proxy": "[::1]:3128"}, "http://::1:3128"),
    ({"https_proxy": "p"}, "http://p:1080"),
    ({"https_proxy": "HTTP://p:1/some/path"}, "http://p:1"),
    ({"https_proxy": "socks4://p:1"}, "socks4://p:1"),
    ({"https_proxy": "socks://p:1"}, "socks4://p:1"),
    ({"https_proxy": "socks4a://p:1"}, "socks4a://p:1"),
    ({"https_proxy": "socks5://p"}, "socks5://p:1080"),
    ({"https_proxy": "socks5h://p:1"}, "socks5h://p:1"),
    # exceptions: names, what is below them, addresses, networks, blanks between; no ports, no * within a name
    ({"https_proxy": "p:1", "no_proxy": "*"}, None),
    ({"https_proxy": "p:1", "NO_PROXY": "*"}, None),
    ({"https_proxy": "p:1", "NO_PROXY": "socket.massive.com", "no_proxy": "x"}, "http://p:1"),
    ({"https_proxy": "p:1", "NO_PROXY": "socket.massive.com", "no_proxy": ""}, None),
    ({"https_proxy": "p:1", "NO_PROXY": "SOCKET.massive.com."}, None),
    ({"https_proxy": "p:1", "NO_PROXY": "massive.com"}, None),
    ({"https_proxy": "p:1", "NO_PROXY": ".massive.com"}, None),
    ({"https_proxy": "p:1", "NO_PROXY": "com"}, None),
    ({"https_proxy": "p:1", "NO_PROXY": "ssive.com"}, "http://p:1"),
    ({"https_proxy": "p:1", "NO_PROXY": "x.socket.massive.com"}, "http://p:1"),
    ({"https_proxy": "p:1", "NO_PROXY": "a.example, massive.com,b.example"}, None),
    ({"https_proxy": "p:1", "NO_PROXY": "a.example massive.com"}, None),
    ({"https_proxy": "p:1", "NO_PROXY": "a.example, *"}, "http://p:1"),
    ({"https_proxy": "p:1", "NO_PROXY": "*.massive.com"}, "http://p:1"),
    ({"https_proxy": "p:1", "NO_PROXY": "socket.massive.com:443"}, "http://p:1"),
    ({"https_proxy": "p:1", "NO_PROXY": "."}, "http://p:1"),
]


@pytest.mark.parametrize(("environ", "used"), CURL, ids=lambda value: str(value)[:60])
def test_the_environment_means_what_it_means_to_curl(environ, used):
    """A proxy that the rest of the machine goes through would be passed by, or one that it avoids be used."""
    assert named(environ) == used


@pytest.mark.parametrize(
    ("host", "no_proxy", "used"),
    [
        ("10.1.2.3", "10.0.0.0/8", None),
        ("10.1.2.3", "10.9.9.9/8", None),
        ("10.1.2.3", "10.1.2.3", None),
        ("10.1.2.3", "10.1.2.3/32", None),
        ("10.1.2.3", "10.1.2.0/33", "http://p:1"),
        ("10.1.2.3", "192.168.0.0/16", "http://p:1"),
        ("10.1.2.3", "2.3", "http://p:1"),
        ("2001:db8::1", "2001:db8::/32", None),
        ("2001:db8::1", "2001:0db8:0:0::1", None),
        ("2001:db8::1", "[2001:db8::1]", None),
        ("2001:db8::1", "10.0.0.0/8", "http://p:1"),
    ],
)
def test_exceptions_by_address(host, no_proxy, used):
    """A server in the own network is excepted by its network, not by its name."""
    assert named({"https_proxy": "p:1", "no_proxy": no_proxy}, host) == used


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost", "sim.localhost"])
@pytest.mark.parametrize("secure", [True, False])
@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY", "ws_proxy"])
def test_this_machine_is_always_reached_directly(host, secure, variable):
    """With a company's proxy set, the simulator and the demo would be looked for outside."""
    assert named({variable: "gopher://nonsense:0"}, host, secure=secure) is None


@pytest.mark.parametrize(
    ("environ", "secure", "told"),
    [
        (
            {"https_proxy": "https://p:1"},
            True,
            "!https_proxy names a proxy by https://, which is not",
        ),
        ({"ALL_PROXY": "ftp://p:1"}, True, "!ALL_PROXY names a proxy by ftp://, expected http://, socks5://"),
        (
            {"https_proxy": "http://:3128"},
            True,
            "!https_proxy is no address of a proxy, expected http://",
        ),
        ({"https_proxy": "http://u:s3cret@p:port"}, True, "!https_proxy is no address of a proxy"),
        ({"https_proxy": "http://[p:1"}, True, "!https_proxy is no address of a proxy"),
        ({"https_proxy": "p:0"}, True, "!https_proxy is no address of a proxy"),
        ({"https_proxy": " "}, True, "!https_proxy is no address of a proxy"),
        (
            {"http_proxy": "http://p:1"},
            False,
            "!http_proxy names a proxy for socket.massive.com, which would",
        ),
        (
            {"ws_proxy": "socks5://p:1"},
            False,
            "!ws_proxy names a proxy for socket.massive.com, which would",
        ),
        (
            {"all_proxy": "http://p:1"},
            False,
            "!all_proxy names a proxy for socket.massive.com, which would",
        ),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(environ, secure, told):
    """Going directly would go around the proxy in silence; and no proxy may see a key in the clear."""
    assert named(environ, secure=secure).startswith(told)
    assert "s3cret" not in named(environ, secure=secure)


def test_user_and_password_are_unquoted_and_not_shown():
    """A password with an @ must be quoted in the variable, and goes to the proxy as it is."""
    proxy = proxy_for(FEED, secure=True, environ={"https_proxy": "http://us%40er:p%3Aw%C3%A9@p:1"})
    assert (proxy.user, proxy.password) == ("us@er", "p:wé")
    assert "p:wé" not in repr(proxy)
    assert proxy_for(FEED, secure=True, environ={"https_proxy": "p:1"}) == Proxy("http", "p", 1)


# -- the way through one


@pytest.fixture
def feed():
    """A server with a certificate for `HOST`, which only a proxy finds."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert(HOST).configure_cert(context)
    with Simulator([], Options(ssl_context=context)) as simulator:
        yield simulator


def through(feed, proxy, **options):
    """Dial `HOST` through a proxy; return the result."""
    trust = ssl.create_default_context()
    AUTHORITY.configure_trust(trust)
    environ = {"HTTPS_PROXY": proxy}
    return dial(f"wss://{HOST}:{feed.port}/stocks", environ=environ, ssl_context=trust, **options)


class ConnectProxy:
    """An HTTP proxy that connects everybody to one port, and what it was asked for."""

    def __init__(self, port, answer=b"HTTP/1.1 200 Connection established\r\nVia: test\r\n\r\n"):
        self._port = port
        self._answer = answer
        self.heads = []

    def __call__(self, sock):
        self.heads.append(read_head(sock).decode())
        with socket.create_connection(("127.0.0.1", self._port)) as far:
            sock.sendall(self._answer)
            pump(sock, far)


def test_an_http_proxy_is_asked_for_a_tunnel(feed):
    """The proxy sees TLS and no key; the certificate that counts is the server's."""
    proxy = ConnectProxy(feed.port)
    with Listener(proxy) as listener:
        with through(feed, f"http://us%40er:p%3Aw@127.0.0.1:{listener.port}") as sock:
            assert isinstance(sock, ssl.SSLSocket)
        (head,) = proxy.heads
    basic = base64.b64encode(b"us@er:p:w").decode()
    assert head.split("\r\n") == [
        f"CONNECT {HOST}:{feed.port} HTTP/1.1",
        f"Host: {HOST}:{feed.port}",
        f"Proxy-Authorization: Basic {basic}",
        "",
        "",
    ]


def test_a_proxy_without_scheme_or_password(feed):
    """HTTPS_PROXY=proxy:3128 is how most people write it."""
    proxy = ConnectProxy(feed.port, b"HTTP/1.0 200 OK\r\n\r\n")
    with Listener(proxy) as listener:
        through(feed, f"127.0.0.1:{listener.port}").close()
    assert "Authorization" not in proxy.heads[0]


@pytest.mark.parametrize(
    ("serve", "told"),
    [
        (
            answering(b"HTTP/1.1 407 No\r\nContent-Length: 9\r\n\r\n"),
            "407 Proxy Authentication Required: it wants a",
        ),
        (
            answering(b"HTTP/1.1 403 \x1b[31mNo\r\n\r\n"),
            "does not connect to feed.example:{far}, it answers 403 Forbidden",
        ),
        (answering(b"HTTP/1.1 502 No\r\n\r\n"), "it answers 502 Bad Gateway"),
        (answering(b"", then=None), "hung up without an answer"),
        (answering(b"\x05\xff", then=None), "does not answer in HTTP"),
        (answering(b"HTTP/1.1 200 OK\r\nVia", then=None), "hung up in the middle of its answer"),
        (
            answering(b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 9999),
            "answers with more than 32,768 bytes of headers",
        ),
    ],
)
def test_a_proxy_that_refuses_is_told_in_our_words(feed, serve, told):
    """Who reads "failed CONNECT" has to know that the proxy is meant, which, and why."""
    with Listener(serve) as listener:
        result = str(through(feed, f"http://us:s3cret@127.0.0.1:{listener.port}"))
        assert result.startswith(f"the proxy 127.0.0.1:{listener.port} ")
    assert told.format(far=feed.port) in result
    assert "s3cret" not in result


@pytest.mark.parametrize("kind", ["http", "socks5h"])
def test_a_proxy_that_is_not_there(feed, kind):
    """A proxy that is switched off must not look like a feed that is down."""
    pytest.importorskip("python_socks")
    with Listener(hold) as gone:
        port = gone.port
    told = str(through(feed, f"{kind}://127.0.0.1:{port}"))
    assert told == f"the proxy 127.0.0.1:{port} refused the connection: nobody listens there"


def test_a_proxy_of_two_addresses_one_of_them_dead(feed, monkeypatch):
    """A proxy's name has several addresses as a server's has."""
    proxy = ConnectProxy(feed.port)
    names(monkeypatch, ["127.0.0.3", "127.0.0.1"], "proxy.example")
    with Listener(proxy) as listener:
        through(feed, f"proxy.example:{listener.port}").close()


@pytest.mark.parametrize("kind", ["http", "socks5h", "socks4a"])
def test_a_mute_proxy_is_left_in_time(feed, kind):
    """It would hold the dial for as long as it keeps TCP open."""
    pytest.importorskip("python_socks")
    with Listener(hold) as listener:
        told = str(through(feed, f"{kind}://127.0.0.1:{listener.port}", timeout_s=0.3))
    assert told == f"not open after 0.3 s: the proxy 127.0.0.1:{listener.port} does not answer"


class SocksProxy:
    """A SOCKS 4, 4a or 5 proxy that connects everybody to one port, and what it was asked for."""

    def __init__(self, port, *, user=None, reply=0):
        self._port = port
        self._user = user
        self._reply = reply
        self.asked = []

    def __call__(self, sock):
        self._file = sock.makefile("rb")
        version = self._file.read(1)[0]
        good = self._five(sock) if version == 5 else self._four(sock)
        if good:
            with socket.create_connection(("127.0.0.1", self._port)) as far:
                pump(sock, far)

    def _five(self, sock):
        methods = self._file.read(self._file.read(1)[0])
        method = 2 if self._user else 0
        sock.sendall(bytes([5, method if method in methods else 255]))
        if method not in methods:
            return False
        if method == 2:
            _, length = self._file.read(2)
            user = self._file.read(length)
            good = (user, self._file.read(self._file.read(1)[0])) == self._user
            sock.sendall(bytes([1, 0 if good else 1]))
            if not good:
                return False
        *_, kind = self._file.read(4)
        size = {1: 4, 4: 16}.get(kind) or self._file.read(1)[0]
        self.asked.append((kind, self._file.read(size), self._file.read(2)))
        sock.sendall(bytes([5, self._reply, 0, 1, 0, 0, 0, 0, 0, 0]))
        return self._reply == 0

    def _four(self, sock):
        _, port, address = struct.unpack("!B2s4s", self._file.read(7))
        user, name = self._until_zero(), b""
        if address == bytes([0, 0, 0, 1]):
            name = self._until_zero()
        self.asked.append((user, address, name, port))
        sock.sendall(bytes([0, self._reply or 0x5A]) + bytes(6))
        return self._reply == 0

    def _until_zero(self):
        return b"".join(iter(lambda: self._file.read(1), b"\0"))


def test_socks5h_leaves_the_name_to_the_proxy(feed, monkeypatch):
    """In a network without DNS of its own only the proxy knows the name."""
    pytest.importorskip("python_socks")
    asked = names(monkeypatch, socket.gaierror(socket.EAI_NONAME, "x"))
    proxy = SocksProxy(feed.port)
    with Listener(proxy) as listener:
        through(feed, f"socks5h://127.0.0.1:{listener.port}").close()
    assert proxy.asked == [(3, HOST.encode(), feed.port.to_bytes(2, "big"))]
    assert not asked


@pytest.mark.parametrize(("address", "kind"), [("127.0.0.1", 1), ("::1", 4)])
def test_socks5_looks_the_name_up_here(feed, monkeypatch, address, kind):
    """As curl does: the proxy gets an address."""
    pytest.importorskip("python_socks")
    names(monkeypatch, [address])
    proxy = SocksProxy(feed.port, user=(b"us@er", b"p:w"))
    with Listener(proxy) as listener:
        through(feed, f"socks5://us%40er:p%3Aw@127.0.0.1:{listener.port}").close()
    family = socket.AF_INET if kind == 1 else socket.AF_INET6
    assert proxy.asked[0][:2] == (kind, socket.inet_pton(family, address))


@pytest.mark.parametrize(
    ("scheme", "address", "name"), [("socks4", b"\x7f\0\0\1", b""), ("socks4a", b"\0\0\0\1", HOST.encode())]
)
def test_socks4(feed, monkeypatch, scheme, address, name):
    """The old form has IPv4 addresses only; 4a has names."""
    pytest.importorskip("python_socks")
    names(monkeypatch, ["::1", "127.0.0.1"])
    proxy = SocksProxy(feed.port)
    with Listener(proxy) as listener:
        through(feed, f"{scheme}://us@127.0.0.1:{listener.port}").close()
    assert proxy.asked == [(b"us", address, name, feed.port.to_bytes(2, "big"))]


def test_socks4_and_a_host_without_ipv4(feed, monkeypatch):
    """It cannot work, and says why."""
    pytest.importorskip("python_socks")
    names(monkeypatch, ["::1"])
    assert "feed.example has no IPv4 address" in str(through(feed, "socks4://127.0.0.1:1"))


@pytest.mark.parametrize(
    ("scheme", "proxy", "told"),
    [
        ("socks5h", {"reply": 2}, "does not connect to feed.example:{far}: it may not (SOCKS reply 2)"),
        ("socks5h", {"reply": 5}, "nobody listens there (SOCKS reply 5)"),
        ("socks5h", {"reply": 77}, "is it a SOCKS proxy, and are user and password right?"),
        ("socks5h", {"user": (b"a", b"b")}, "is it a SOCKS proxy, and are user and password right?"),
        ("socks4a", {"reply": 0x5B}, "it refused or failed (SOCKS reply 91)"),
    ],
)
def test_a_socks_proxy_that_refuses_is_told_in_our_words(feed, scheme, proxy, told):
    """A library's texts would be the reason in the event."""
    pytest.importorskip("python_socks")
    with Listener(SocksProxy(feed.port, **proxy)) as listener:
        result = str(through(feed, f"{scheme}://us:s3cret@127.0.0.1:{listener.port}"))
    assert result.startswith(f"the proxy 127.0.0.1:{listener.port} does not connect to")
    assert told.format(far=feed.port) in result
    assert "s3cret" not in result


def test_a_web_server_in_the_place_of_a_socks_proxy(feed):
    """A slip of the port must not look like a feed that is down."""
    pytest.importorskip("python_socks")

    def serve(sock):
        sock.recv(1)
        sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with Listener(serve) as listener:
        assert "is it a SOCKS proxy" in str(through(feed, f"socks5h://127.0.0.1:{listener.port}"))


def test_socks_without_its_library_is_refused_by_name(feed, monkeypatch):
    """The extra is not everybody's; its absence must not look like a fault of the network."""
    monkeypatch.setitem(sys.modules, "python_socks", None)
    told = str(through(feed, "socks5://127.0.0.1:1"))
    assert told.endswith("speaks SOCKS, which needs a library: pip install tickbraid[socks]")


def test_http_proxy_does_not_hide_a_simulator_on_this_machine(monkeypatch):
    """Case 16: behind a company's proxy, the demo and the simulator would be out of reach."""
    for variable in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    with Simulator([]) as simulator, contextlib.closing(dial(simulator.url, environ=os.environ)):
        pass
