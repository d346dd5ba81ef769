"""The socket under the Redis sink: opened by redis-py, driven by us, and never blocking for long."""

import contextlib
import select
import selectors
import socket
import ssl
import struct
import threading
import time
from collections import Counter
from dataclasses import replace

import hiredis
import pytest
import trustme

from operators.runtime import SYSTEM
from pipeline.embedded import RedisServer
from pipeline.sinks.redis_link import RedisLink, _socket_of

DEADLINE_S = 15.0
PUBLISH = b"*3\r\n$7\r\nPUBLISH\r\n$1\r\nc\r\n$1\r\nm\r\n"


def all_replies(link, count):
    """Exchange until there are so many replies."""
    replies = []
    deadline = time.monotonic() + DEADLINE_S
    while len(replies) < count:
        replies += link.exchange(0.1)
        assert time.monotonic() < deadline
    return replies


@contextlib.contextmanager
def scripted(*lines, reset=False):
    """Run a server that sends the lines to its first client at once, and hangs up at the end of the block.

    With ``reset`` it does so after the client's first bytes, and then breaks the connection.
    """
    listening = socket.create_server(("127.0.0.1", 0))
    done = threading.Event()

    def run():
        client, _ = listening.accept()
        with client:
            if reset:
                client.recv(1000)
            client.sendall(b"".join(lines))
            if reset:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            else:
                done.wait(DEADLINE_S)

    thread = threading.Thread(target=run, name="tickbraid-test-server", daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{listening.getsockname()[1]}"
    finally:
        done.set()
        thread.join(DEADLINE_S)
        listening.close()


@pytest.fixture
def make_link():
    """Return a function that makes a link which is closed after the test."""
    with contextlib.ExitStack() as stack:

        def make(url, timeout_s=5.0):
            link = RedisLink(url, timeout_s)
            stack.callback(link.close)
            return link

        yield make


def test_redis_py_still_tells_its_socket(server, make_link):
    """A newer redis-py that hides it would break the sink at its first write, not in our tests."""
    link = make_link(server.url)
    assert _socket_of(link._connection) is None
    link.open()
    opened = _socket_of(link._connection)
    assert isinstance(opened, socket.socket)
    assert opened is link._socket
    link.close()
    assert _socket_of(link._connection) is None
    assert opened.fileno() == -1


def test_nothing_of_a_url_undoes_what_the_sink_relies_on(server, make_link):
    """A retry of redis-py's own would publish twice, and RESP3 put pushes between the replies."""
    url = f"{server.url}?protocol=3&retry_on_timeout=yes&socket_timeout=60&socket_connect_timeout=60"
    link = make_link(url, 0.5)
    link.open()
    connection = link._connection
    assert (connection.protocol, connection.socket_timeout, connection.socket_connect_timeout) == (
        2,
        0.5,
        0.5,
    )
    assert connection.retry.get_retries() == 0
    link.put(PUBLISH)
    assert all_replies(link, 1) == [0]


@pytest.mark.parametrize(
    "url",
    ["", "127.0.0.1:6379", "http://u:secret@h", "redis://:secret@h:port", "redis://u:secret@h/0?nonsense=1"],
)
def test_what_is_no_redis_url_is_said_at_once_and_without_the_password(url):
    """A typing error would come to light at the first tick, or the password in the log."""
    with pytest.raises(ValueError, match="url must be a Redis address") as caught:
        RedisLink(url, 0.5)
    assert "secret" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_a_unix_socket_and_a_database(tmp_path, make_link):
    """A user whose Redis listens on no port, or who writes /2 in the URL, could not use the sink."""
    with RedisServer.start("--unixsocket", str(tmp_path / "s")):
        link = make_link(f"unix://{tmp_path}/s?db=2")
        link.open()
        link.put(PUBLISH * 3)
        assert all_replies(link, 3) == [0, 0, 0]


def test_tls(server, network, make_link, tmp_path):
    """Every hosted Redis speaks TLS; what is sent are records, and a full socket says so otherwise.

    White-box: one record a call, or records that left would count as unsent, and then as never published.
    """
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    url = f"rediss://127.0.0.1:{network(server, context=context).port}"
    with pytest.raises(ConnectionError, match="CERTIFICATE_VERIFY_FAILED"):
        make_link(url).open()
    link = make_link(f"{url}?ssl_ca_certs={tmp_path}/ca.pem")
    link.open()
    server.pause()
    count = 600_000
    link.put(PUBLISH * count)
    link.exchange(0.0)
    assert link._send_size_bytes == 16_384
    assert 0 < link.unsent_bytes < len(PUBLISH) * count
    server.resume()
    assert set(all_replies(link, count)) == {0}
    assert not link.is_stale()


def test_a_full_socket_goes_on_where_it_stopped(server, make_link):
    """A command would be cut in two and its rest taken for the next."""
    link = make_link(server.url)
    link.open()
    server.pause()
    count = 400_000
    link.put(PUBLISH * count)
    link.exchange(0.0)
    assert 0 < link.unsent_bytes < count * len(PUBLISH)
    assert link._selector.get_key(link._socket).events == selectors.EVENT_READ | selectors.EVENT_WRITE
    server.resume()
    replies = all_replies(link, count)
    assert len(replies) == count
    assert set(replies) == {0}
    assert link.unsent_bytes == 0
    assert link.moved_bytes == count * (len(PUBLISH) + len(b":0\r\n"))


def test_the_replies_before_the_end_are_not_lost_with_it(server, make_link):
    """What the server had taken would be published twice."""
    link = make_link(server.url)
    link.open()
    link.put(PUBLISH * 3 + b"QUIT\r\n")
    assert all_replies(link, 4) == [0, 0, 0, b"OK"]
    link.put(PUBLISH)
    with pytest.raises(ConnectionError, match=r"closed the connection|reset|pipe"):
        all_replies(link, 1)


def test_the_replies_before_a_broken_pipe_are_not_lost_with_it(make_link):
    """The same, where the break comes to light at the next send."""
    with scripted(b":7\r\n", reset=True) as place:
        link = make_link(f"redis://{place}")
        link.open()
        link.put(PUBLISH)
        link._send()
        broken = select.poll()
        broken.register(link._socket, 0)
        assert broken.poll(DEADLINE_S * 1000)
        link.put(PUBLISH)
        assert link.exchange(0.1) == [7]
        assert link.unsent_bytes == len(PUBLISH)
        with pytest.raises(ConnectionError, match=r"reset|pipe"):
            link.exchange(0.1)


def test_an_error_reply_is_a_value_and_rubbish_is_trouble(server, make_link):
    """One refused message would cost the answers to its neighbours; or a web server be taken for Redis."""
    link = make_link(server.url)
    link.open()
    link.put(PUBLISH + b"NONSENSE\r\n" + PUBLISH)
    replies = all_replies(link, 3)
    assert (replies[0], replies[2]) == (0, 0)
    assert isinstance(replies[1], hiredis.ReplyError)
    assert "NONSENSE" in str(replies[1])
    with scripted(b"HTTP/1.1 400 Bad Request\r\n") as place:
        web = make_link(f"redis://{place}")
        web.open()
        with pytest.raises(ConnectionError, match="no Redis server"):
            all_replies(web, 1)


@pytest.mark.parametrize("words", [b"", b"-ERR max number of clients reached\r\n"])
def test_it_is_stale_when_the_server_hung_up_or_spoke_unasked(server, make_link, eventually, words):
    """Ticks after a quiet hour would go into a dead connection."""
    link = make_link(server.url)
    link.open()
    assert not link.is_stale()
    with scripted(words) as place:
        other = make_link(f"redis://{place}")
        other.open()
        if words:
            eventually(other.is_stale)
    eventually(other.is_stale)
    assert not link.is_stale()


def test_what_cannot_be_opened_says_why_and_leaves_nothing(server, make_link):
    """A user would get a time-out instead of a reason; a retry for ever would leak sockets."""
    server.kill()
    for url, reason in {
        server.url: "refused",
        "redis://nosuchhost.invalid": "nosuchhost.invalid|resol|known",
        f"redis://{'x' * 70}.invalid": "label",
        "unix:///nonexistent": "No such file",
    }.items():
        link = make_link(url)
        with pytest.raises(ConnectionError, match=reason):
            link.open()
        assert not link.is_open
        assert _socket_of(link._connection) is None


def test_abort_ends_a_handshake_that_hangs(server, make_link, eventually):
    """The end of the program would wait for a server that accepts and says nothing."""
    server.pause()
    link = make_link(server.url.replace("//", "//user:secret@"), timeout_s=60.0)
    troubles = []

    def run():
        try:
            link.open()
        except ConnectionError as trouble:
            troubles.append(trouble)

    thread = threading.Thread(target=run, name="tickbraid-test")
    thread.start()
    eventually(lambda: _socket_of(link._connection))
    link.abort()
    thread.join(DEADLINE_S)
    assert not thread.is_alive()
    assert troubles
    server.resume()
    with pytest.raises(ConnectionError, match="told to stop"):
        link.open()


def test_closed_it_says_so(server, make_link):
    """A mistake of ours would look like the server's."""
    link = make_link(server.url)
    with pytest.raises(ConnectionError, match="not connected"):
        link.exchange(0.0)


def test_a_link_takes_all_from_its_runtime(server, monkeypatch):
    """What redis-py looked up or opened by itself would be real in a world that is made up."""
    taken = Counter()

    def counted(name):
        def take(*args):
            taken[name] += 1
            return getattr(SYSTEM, name)(*args)

        return take

    def addresses(host, port, *_):
        taken[host] += 1
        dead = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 1))]
        return [*dead, (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", None)
    parts = {name: counted(name) for name in ("selector", "open_socket")}
    link = RedisLink(
        f"redis://redis.example:{server.port}", 5.0, replace(SYSTEM, addresses=addresses, **parts)
    )
    with contextlib.closing(link):
        for connections in (1, 2):
            link.open()
            link.put(PUBLISH)
            assert all_replies(link, 1) == [0]
            assert taken == {
                "redis.example": connections,
                "open_socket": 2 * connections,
                "selector": connections,
            }
