import datetime as dt
import logging
import socket
import ssl
import struct
import threading
import time

import pytest
import trustme

from pipeline.errors import ConnectFailed
from pipeline.massive.dial import Dial
from pipeline.massive.dial_upgrade import MAX_HEAD_BYTES
from pipeline.massive.dial_words import broken
from pipeline.massive.simulator import Options, Simulator
from tests.conftest import our_threads, wait_until
from tests.massive.dial_world import HOST, Listener, answering, black_hole, dial, hold, names, read_head

NOW = dt.datetime.now(dt.UTC)
DAY = dt.timedelta(days=1)
AUTHORITY = trustme.CA()
STRANGER = trustme.CA()


def trusting():
    """Return the client's side of TLS, which trusts `AUTHORITY`."""
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    return context


def certified(certificate):
    """Return the server's side of TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


def reset(sock):
    """Close with a reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def cut(sock):
    """Close without an answer."""
    read_head(sock)


def late_reset(sock):
    """Reset the connection once the peer has said something."""
    sock.recv(1)
    reset(sock)


def http_in_clear(sock):
    """Answer TLS in the clear, as a plain web server does."""
    sock.recv(5)
    sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    hold(sock)


def alert(sock):
    """Refuse TLS: alert 40, handshake failure."""
    sock.recv(5)
    sock.sendall(bytes([21, 3, 3, 0, 2, 2, 40]))
    hold(sock)


def endless(sock):
    """Answer with headers without end."""
    read_head(sock)
    sock.sendall(b"HTTP/1.1 101 Switching Protocols\r\n")
    while True:
        sock.sendall(b"X-More: " + b"x" * 1000 + b"\r\n")


def trickle(sock):
    """Answer a byte at a time, for ever."""
    read_head(sock)
    while True:
        sock.sendall(b"H")
        time.sleep(0.01)  # not to wait for anything: it is what a trickle is


def http(status, headers=""):
    """Return a server that answers with a status."""
    return answering(f"HTTP/1.1 {status} The Server's Own Word\x1b[31m\r\n{headers}\r\n".encode())


PLAIN = [
    (reset, "cut the connection"),
    (cut, "hung up without an answer"),
    (late_reset, "cut the connection"),
    (http(200), "answers 200 OK: it is no WebSocket server"),
    (
        http(301, "Location: wss://elsewhere.example/x\r\n"),
        "301 Moved Permanently: it redirects to elsewhere.example",
    ),
    (http(302, "Location: ws://\x1b[31m/\r\n"), "302 Found: it redirects, which the key must not follow"),
    (http(307), "307 Temporary Redirect: it redirects, which"),
    (http(400), "answers 400 Bad Request"),
    (http(401), "answers 401 Unauthorized"),
    (http(403), "answers 403 Forbidden"),
    (http(404), "answers 404 Not Found: is the path of its address right?"),
    (http(429), "answers 429 Too Many Requests"),
    (http(500), "answers 500 Internal Server Error"),
    (http(502), "answers 502 Bad Gateway"),
    (http(503, "Content-Length: 999999999\r\n"), "answers 503 Service Unavailable"),
    (http(504, "Content-Length: much\r\n"), "answers 504 Gateway Timeout"),
    (http(599), "answers 599"),
    (answering(b"HTTP/1.1 503 Busy\r\n\xff\xfe: \xff\r\n\r\n"), "answers 503 Service Unavailable"),
    (answering(b"HTTP/1.1 503\r\n" + b"A: b\r\n" * 200 + b"\r\n"), "answers 503 Service Unavailable"),
    (http(101), "answers 101 Switching Protocols, but not as a WebSocket server does"),
    (http(101, "Upgrade: websocket\r\nConnection: upgrade\r\n"), "but not as a WebSocket server does"),
    (answering(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"), "does not answer in HTTP"),
    (answering(b"\r\n\r\n"), "does not answer in HTTP"),
    (answering(b"\x00" * 100, then=None), "does not answer in HTTP"),
    (
        answering(b"HTTP/1.1 101 Switching Protocols\r\nUpgr", then=None),
        "hung up in the middle of its answer",
    ),
    (endless, f"answers with more than {MAX_HEAD_BYTES:,} bytes of headers"),
]


@pytest.mark.parametrize(("serve", "told"), PLAIN)
def test_what_is_no_websocket_is_told_in_our_words(serve, told):
    """A library's text, with the server's own in it, would reach terminals, logs and pages as the reason."""
    with Listener(serve) as listener:
        result = dial(f"ws://127.0.0.1:{listener.port}/stocks")
    assert isinstance(result, ConnectFailed)
    assert str(result).startswith(f"127.0.0.1:{listener.port} ")
    assert told in str(result)
    assert not [word for word in ALIEN if word in str(result)]


ALIEN = ("Errno", "Own Word", "\x1b", "Exception", "Error:", "-+-+-")


@pytest.mark.parametrize(
    ("serve", "told"),
    [
        (hold, "127.0.0.1:{} does not answer the WebSocket handshake"),
        (trickle, "127.0.0.1:{} does not answer the WebSocket handshake"),
        (answering(b"HTTP/1.1 101 Switching Protocols\r\nUpgr"), "127.0.0.1:{} does not answer the"),
    ],
)
def test_an_answer_that_never_ends_is_left_in_time(serve, told):
    """A byte a second would hold a dial for hours where each read has a time-out of its own."""
    with Listener(serve) as listener:
        result = dial(f"ws://127.0.0.1:{listener.port}/", timeout_s=0.4)
    assert str(result).startswith("not open after 0.4 s: " + told.format(listener.port))


def test_tls_that_never_ends_is_left_in_time():
    """A balancer that takes connections for a dead server answers nothing at all."""
    with Listener(hold) as listener:
        result = dial(f"wss://127.0.0.1:{listener.port}/", timeout_s=0.4)
    assert str(result) == f"not open after 0.4 s: 127.0.0.1:{listener.port} does not answer in TLS"


TLS = [
    (AUTHORITY.issue_cert(HOST, not_before=NOW - 9 * DAY, not_after=NOW - DAY), "has expired"),
    (AUTHORITY.issue_cert(HOST, not_before=NOW + DAY, not_after=NOW + 9 * DAY), "is not valid yet"),
    (STRANGER.issue_cert(HOST), "is signed by an authority that this machine does not"),
    (AUTHORITY.issue_cert("other.example"), "is for another host: is the name spelt right?"),
]


@pytest.mark.parametrize(("certificate", "told"), TLS, ids=["expired", "early", "unknown", "another"])
def test_a_certificate_that_is_not_trusted_is_told_in_our_words(monkeypatch, certificate, told):
    """A clock that is wrong, a company's own authority and a mistyped name need three different remedies."""
    names(monkeypatch, ["127.0.0.1"])
    with Simulator([], Options(ssl_context=certified(certificate))) as simulator:
        result = dial(f"wss://{HOST}:{simulator.port}/stocks", ssl_context=trusting())
    assert str(result).startswith(f"the certificate of {HOST}:{simulator.port} {told}")
    assert not [word for word in ALIEN if word in str(result)]


def test_a_mistyped_name_under_a_wildcard_is_hinted_at(monkeypatch):
    """DNS knows sockt.massive.com, so only the certificate tells that there is no such host."""
    names(monkeypatch, ["127.0.0.1"], "sockt.massive.com")
    with Simulator([], Options(ssl_context=certified(AUTHORITY.issue_cert("*.example")))) as simulator:
        result = dial(f"wss://sockt.massive.com:{simulator.port}/stocks", ssl_context=trusting())
    assert "is the name spelt right? (DNS answers for every name there)" in str(result)


def test_an_address_that_the_certificate_does_not_name(monkeypatch):
    """Dialling by address is how one gets around DNS; it cannot work where the certificate has names only."""
    with Simulator([], Options(ssl_context=certified(AUTHORITY.issue_cert(HOST)))) as simulator:
        result = dial(f"wss://127.0.0.1:{simulator.port}/stocks", ssl_context=trusting())
    assert "is for another host: is the address right?" in str(result)


@pytest.mark.parametrize(
    ("serve", "told"),
    [
        (http_in_clear, "does not speak TLS"),
        (late_reset, "cut the connection"),
        (lambda sock: sock.recv(600), "hung up during TLS"),
        (alert, "failed (sslv3 alert handshake failure)"),
    ],
    ids=["http", "reset", "end", "alert"],
)
def test_what_does_not_speak_tls_is_told_in_our_words(serve, told):
    """wss:// on the port of ws:// is a common slip; OpenSSL calls it a wrong version number."""
    with Listener(serve) as listener:
        result = dial(f"wss://127.0.0.1:{listener.port}/")
    assert told in str(result)
    assert not [word for word in ALIEN if word in str(result)]


def test_the_original_is_in_the_debug_log(caplog):
    """Who looks for the cause of a strange failure needs what the library said."""
    with Listener(http(403)) as listener, caplog.at_level(logging.DEBUG, "tickbraid.massive.dial"):
        dial(f"ws://127.0.0.1:{listener.port}/")
        assert "websocket" not in caplog.text  # an answer is told in full by the event
    with Listener(alert) as listener, caplog.at_level(logging.DEBUG, "tickbraid.massive.dial"):
        dial(f"wss://127.0.0.1:{listener.port}/")
    assert "SSLV3_ALERT_HANDSHAKE_FAILURE" in caplog.text


@pytest.mark.parametrize(
    ("headers", "after_s"),
    [
        ("", None),
        ("Retry-After: 17\r\n", 17),
        ("retry-after:  0\r\n", 0),
        ("Retry-After: -3\r\n", None),
        ("Retry-After: 1.5\r\n", None),
        ("Retry-After: soon\r\n", None),
        ("Retry-After: " + "9" * 5000 + "\r\n", 365 * 86400),
        ("Retry-After: ٣\r\n", None),  # a digit to Python, not to HTTP
        ("Date: Mon, 30 Nov 2026 12:00:00 GMT\r\nRetry-After: Mon, 30 Nov 2026 12:01:30 GMT\r\n", 90),
        ("Date: Mon, 30 Nov 2026 12:00:00 GMT\r\nRetry-After: Mon, 30 Nov 2026 11:00:00 GMT\r\n", 0),
        ("Retry-After: Mon, 30 Nov 1970 12:01:30 GMT\r\n", 0),
        ("Retry-After: Mon, 99 Nov 2026 12:01:30 GMT\r\n", None),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_how_long_a_server_wants_to_be_left_alone(status, headers, after_s):
    """A server that is hammered while it asks for a pause bans the address."""
    with Listener(http(status, headers)) as listener:
        result = dial(f"ws://127.0.0.1:{listener.port}/")
    assert result.retry_after_s == after_s


def test_other_answers_have_no_pause():
    """Retry-After beside a redirect or a 404 is about something else."""
    with Listener(http(404, "Retry-After: 99\r\n")) as listener:
        assert dial(f"ws://127.0.0.1:{listener.port}/").retry_after_s is None


def test_no_byte_of_the_first_frame_is_swallowed():
    """The server greets in the packet of its answer; a reader ahead of its time would lose the greeting."""
    with Simulator([]) as simulator, dial(simulator.url) as sock:
        sock.settimeout(5)
        data = b""
        while b"Connected Successfully" not in data:
            data += sock.recv(65536)
        assert data[0] == 0x81


WAITS = {
    "name": "no name server answers",
    "connect": "does not answer",
    "tls": "in TLS",
    "answer": "WebSocket handshake",
    "half": "WebSocket handshake",
    "proxy name": "no name server answers",
    "proxy connect": "the proxy 127.0.0.2",
    "proxy": "the proxy 127.0.0.1",
}


@pytest.mark.parametrize("wait", WAITS)
def test_a_dial_is_called_off_wherever_it_hangs(monkeypatch, wait):
    """Ctrl-C while connecting must not wait for a time-out: the thread is gone in 2 s, without a word."""
    release = threading.Event()
    serve = answering(b"HTTP/1.1 101 Switching Protocols\r\nUpgr") if wait == "half" else hold
    names(monkeypatch, lambda: release.wait(30) and [])
    with Listener(serve) as listener, black_hole() as dead_port:
        environ, url = {}, f"ws://127.0.0.1:{listener.port}/"
        if wait == "name":
            url = f"ws://{HOST}:1/"
        elif wait == "connect":
            url = f"ws://127.0.0.2:{dead_port}/"
        elif wait == "tls":
            url = f"wss://127.0.0.1:{listener.port}/"
        elif wait.startswith("proxy"):
            url = "wss://far.example/"
            place = {
                "proxy name": f"{HOST}:1",
                "proxy connect": f"127.0.0.2:{dead_port}",
                "proxy": f"127.0.0.1:{listener.port}",
            }[wait]
            environ = {"https_proxy": f"http://{place}"}
        results = []
        one = Dial(url, results.append, name="t", timeout_s=60.0, environ=environ)
        wait_until(lambda: WAITS[wait] in one._attempt.awaits)
        if wait in {"tls", "answer", "half", "proxy"}:
            wait_until(lambda: listener.accepted)
        one.dispose()
        wait_until(lambda: not {name for name in our_threads() if "dial" in name}, 2.0, "the end of the dial")
        assert results == []
        release.set()
    wait_until(lambda: not our_threads())


def test_a_dial_called_off_just_as_it_succeeds_leaks_nothing():
    """The race between success and dispose: either delivered, or closed; the socket check tells."""
    with Simulator([]) as simulator:
        for delay_s in [0, 0.0005, 0.001, 0.002, 0.004] * 4:
            results = []
            one = Dial(simulator.url, results.append, name="t")
            time.sleep(delay_s)  # not to wait for anything: to meet the dial in another state
            one.dispose()
            count = len(results)
            wait_until(lambda: not {t for t in our_threads() if "dial" in t})
            assert len(results) == count
            for result in results:
                if isinstance(result, socket.socket):
                    result.close()


def test_no_thread_to_dial_on_is_a_failed_dial(monkeypatch):
    """At the limit of processes a connection would stay "connecting" until its time is over."""

    def start(_thread):
        raise RuntimeError("can't start new thread")

    results = []
    monkeypatch.setattr(threading.Thread, "start", start)
    Dial("ws://127.0.0.1:1/", results.append, name="t")
    assert "no thread can be started" in str(results[0])


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ConnectionResetError(104, "Connection reset by peer"), "TCP was reset"),
        (BrokenPipeError(32, "Broken pipe"), "TCP was reset"),
        (OSError(110, "Connection timed out"), "TCP broke (connection timed out)"),
        (ssl.SSLError(1, "[SSL: BAD_RECORD_MAC] x (_ssl.c:1)"), "TLS broke (for no reason given)"),
    ],
)
def test_a_broken_connection_is_told_in_our_words(error, told):
    """The reason in Disconnected would be "[Errno 104] Connection reset by peer"."""
    assert broken(error) == told
