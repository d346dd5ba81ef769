import os
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.runtime import SYSTEM
from pipeline.errors import ConnectFailed
from pipeline.massive.dial import Dial
from pipeline.massive.dial_attempt import Attempt
from pipeline.massive.dial_tcp import MAX_ADDRESSES, connect_tcp, lookup
from pipeline.massive.simulator import Simulator
from tests.conftest import our_threads, wait_until
from tests.massive.dial_world import HOST, Listener, answering, black_hole, dial, hold, names, pump, read_head


def reach(port, **options):
    """Connect to `HOST`; return the address that won."""
    attempt = Attempt(**({"timeout_s": 10.0} | options))
    sock = connect_tcp(HOST, port, attempt, f"{HOST}:{port}")
    with sock:
        return sock.getpeername()[0]


def test_a_dead_first_address_does_not_hide_a_good_second(monkeypatch):
    """One data centre of two that drops packets would cost the stream for ever: it is dialled first again."""

    def far(sock):
        request = read_head(sock)
        time.sleep(0.2)  # not to wait for anything: it is how far away the server is
        with socket.create_connection(("127.0.0.1", simulator.port)) as server:
            server.sendall(request)
            pump(sock, server)

    with Simulator([]) as simulator, Listener(far) as good, black_hole("127.0.0.2", good.port):
        names(monkeypatch, ["127.0.0.2", "127.0.0.1"])
        result = dial(f"ws://{HOST}:{good.port}/stocks", timeout_s=5.0)
        assert isinstance(result, socket.socket), result
        result.close()


def test_the_last_of_many_dead_addresses_is_reached(monkeypatch):
    """With a fixed stagger, the forty-first address would be tried after the time was over."""
    with Listener(hold) as good:
        dead = [f"127.0.0.{number}" for number in range(2, MAX_ADDRESSES + 1)]
        monkeypatch.setattr("pipeline.massive.dial_tcp.STAGGER_S", 1e9)
        names(monkeypatch, [*dead, "127.0.0.1"])
        with black_hole("0.0.0.0", 0) as port:  # noqa: S104  # all of 127.0.0.0/8 but the good one
            monkeypatch.setattr("pipeline.massive.dial_tcp._Race._begin", redirecting(port, good.port))
            assert reach(good.port, timeout_s=4.0) == "127.0.0.1"


def redirecting(dead_port, good_port):
    """Return a `_Race._begin` that connects to another port where the address is not the good one."""
    from pipeline.massive.dial_tcp import _Race

    begin = _Race._begin

    def begin_elsewhere(race, info):
        host = info[4][0]
        return begin(race, (*info[:4], (host, good_port if host == "127.0.0.1" else dead_port)))

    return begin_elsewhere


def cut(sock):
    """Hang up without an answer."""
    read_head(sock)


@pytest.mark.parametrize(
    "serve", [hold, cut, answering(b"HTTP/1.1 503 Busy\r\n\r\n")], ids=["mute", "cut", "busy"]
)
def test_an_address_that_only_takes_connections_does_not_hide_a_good_second(monkeypatch, serve):
    """A balancer without a server behind it wins every race, at each attempt anew."""
    avoided = []
    monkeypatch.setattr("pipeline.massive.dial_tcp.STAGGER_S", 1e9)
    with Simulator([]) as simulator, Listener(serve, "127.0.0.2", simulator.port):
        names(monkeypatch, ["127.0.0.2", "127.0.0.1"])
        url = f"ws://{HOST}:{simulator.port}/stocks"
        assert isinstance(dial(url, timeout_s=2.0, avoided=avoided), ConnectFailed)
        for _ in range(2):
            result = dial(url, avoided=avoided)
            assert isinstance(result, socket.socket), result
            result.close()
            avoided.remove("127.0.0.1")  # as `wire_opener` does when the server has taken the key
        assert avoided == ["127.0.0.2"]


def test_where_no_address_is_good_they_take_turns(monkeypatch):
    """The one that comes back first must be found, whichever it is."""
    avoided = []
    monkeypatch.setattr("pipeline.massive.dial_tcp.STAGGER_S", 1e9)
    with Listener(cut, "127.0.0.2") as second, Listener(cut, "127.0.0.1", second.port) as first:
        names(monkeypatch, ["127.0.0.1", "127.0.0.2"])
        for _ in range(6):
            assert isinstance(dial(f"ws://{HOST}:{first.port}/", avoided=avoided), ConnectFailed)
        assert (first.accepted, second.accepted) == (3, 3)


@pytest.mark.parametrize("dead", [["127.0.0.3"], ["::1"], ["127.0.0.3", "::1", "127.0.0.4"]])
def test_a_refusing_address_gives_way_at_once(monkeypatch, dead):
    """A host without IPv6 at the server's end would take a quarter of a second longer at each attempt."""
    with Listener(hold) as good:
        monkeypatch.setattr("pipeline.massive.dial_tcp.STAGGER_S", 1e9)
        names(monkeypatch, [*dead, "127.0.0.1"])
        assert reach(good.port) == "127.0.0.1"


def test_all_addresses_that_fail_are_named(monkeypatch):
    """A "connection refused" of the last of three would send its reader to the wrong machine."""
    with Listener(hold) as gone:
        port = gone.port
    names(monkeypatch, ["127.0.0.3", "127.0.0.4"])
    with pytest.raises(ConnectFailed, match=r"127\.0\.0\.3 refused .*127\.0\.0\.4 refused"):
        reach(port)


def test_what_does_not_answer_is_named_beside_what_refused(monkeypatch):
    """A mere "not open after 10 s" tells nobody where to look."""
    with black_hole("127.0.0.2") as port:
        names(monkeypatch, ["127.0.0.3", "127.0.0.2"])
        told = str(dial(f"ws://{HOST}:{port}/", timeout_s=0.5))
    assert told == (
        f"not open after 0.5 s: {HOST}:{port} does not answer"
        " (127.0.0.3 refused the connection: nobody listens there)"
    )


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 255)), min_size=1, max_size=40))
def test_families_take_turns_and_nothing_is_left_out(drawn):
    """A host of thirty IPv6 addresses, in a network without IPv6, must come to the IPv4 one soon."""
    given_ = [
        (
            socket.AF_INET6 if six else socket.AF_INET,
            socket.SOCK_STREAM,
            6,
            "",
            (f"{'::' if six else '10.0.0.'}{n}", 1),
        )
        for six, n in drawn
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", lambda *_, **__: list(given_))
        found = lookup("host.test", 1, Attempt(10.0))
    assert found[0] == given_[0]
    assert len(found) == min(len(given_), MAX_ADDRESSES)
    of_each = [sum(info[0] == family for info in given_) for family in (socket.AF_INET, socket.AF_INET6)]
    turns = min(*of_each, MAX_ADDRESSES // 2)
    assert all(found[2 * n][0] != found[2 * n + 1][0] for n in range(turns))
    if len(given_) <= MAX_ADDRESSES:
        assert sorted(map(repr, found)) == sorted(map(repr, given_))


@pytest.mark.parametrize("host", ["localhost", "feed.localhost", "LOCALHOST", "localhost."])
def test_a_name_of_this_machine_stays_on_it(monkeypatch, host):
    """A name server that answers for feed.localhost would get the key that ws:// sends there in the clear."""
    info = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 1))]
    real = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda name, *a, **o: info if name == host else real(name, *a, **o)
    )
    assert {address[4][0] for address in lookup(host, 1, Attempt(10.0))} == {"127.0.0.1", "::1"}


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (socket.gaierror(socket.EAI_NONAME, "x"), "no address is known for feed.example"),
        (socket.gaierror(socket.EAI_NODATA, "x"), "no address is known for feed.example"),
        (socket.gaierror(socket.EAI_AGAIN, "x"), "no name server answers about feed.example"),
        (UnicodeError("label too long"), "feed.example is no name of a host"),
        (OSError(24, "x"), "no file descriptor left"),
        ([], "no address is known for feed.example"),
    ],
)
def test_a_name_without_an_address_is_told_in_words(monkeypatch, error, told):
    """A mere "[Errno -2]" means nothing to somebody who mistyped a name."""
    names(monkeypatch, error)
    result = dial(f"ws://{HOST}:1/")
    assert told in str(result)
    assert "Errno" not in str(result)


def test_a_resolver_that_hangs_holds_no_dial(monkeypatch):
    """The system's resolver takes half a minute and more; dials must end in time, and not pile up threads."""
    release = threading.Event()
    asked = names(monkeypatch, lambda: release.wait(30) and ["127.0.0.1"])
    try:
        for _ in range(3):
            told = str(dial(f"ws://{HOST}:1/", timeout_s=0.05))
            assert told == f"not open after 0.05 s: no name server answers about {HOST}"
        assert len(asked) == 1, "each dial began a look-up of its own"
        results = []
        late = Dial(f"ws://{HOST}:1/", results.append, name="t", environ={})
        wait_until(lambda: "name server" in late._attempt.awaits)
        late.dispose()
        wait_until(lambda: not {name for name in our_threads() if "dial" in name}, 2.0)
        assert results == []
    finally:
        release.set()
    wait_until(lambda: not our_threads())


FORK = """
import os, socket, threading
from pipeline.massive.dial_attempt import Attempt
from pipeline.massive.dial_tcp import lookup

real, begun = socket.getaddrinfo, threading.Event()
socket.getaddrinfo = lambda *_, **__: begun.set() or threading.Event().wait()
threading.Thread(target=lookup, args=("127.0.0.1", 1, Attempt(60.0)), daemon=True).start()
begun.wait(10)
if os.fork() == 0:
    socket.getaddrinfo = real
    os._exit(0 if lookup("127.0.0.1", 1, Attempt(10.0)) else 1)
print(os.waitstatus_to_exitcode(os.wait()[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_child_does_not_wait_for_the_look_up_of_its_parent():
    """A worker forked while the name server hung would wait for a thread that it does not have, for ever."""
    done = subprocess.run(  # noqa: S603  # our own words
        [sys.executable, "-c", FORK], capture_output=True, text=True, check=False, timeout=50
    )
    assert done.stdout.strip() == "0", done.stderr


def test_a_look_up_is_done_anew_each_time(monkeypatch):
    """A host that has moved would be dialled where it was, for ever."""
    with Listener(hold) as good:
        asked = names(monkeypatch, ["127.0.0.1"])
        for _ in range(3):
            reach(good.port)
        assert len(asked) == 3


def test_a_dial_takes_all_from_its_runtime(monkeypatch):
    """What it took from elsewhere would be real in a world that is made up, and stop it for good."""
    taken = Counter()

    def counted(name):
        def take(*args, **options):
            taken[name] += 1
            return getattr(SYSTEM, name)(*args, **options)

        return take

    def addresses(host, port, **_):
        taken["addresses"] += 1
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", None)
    parts = ("monotonic", "lock", "event", "spawn", "selector", "open_socket")
    runtime = replace(SYSTEM, addresses=addresses, **{name: counted(name) for name in parts})
    with Listener(hold) as good:
        told = dial(f"ws://{HOST}:{good.port}/", timeout_s=0.2, runtime=runtime)
    assert f"{HOST}:{good.port} does not answer" in str(told)
    assert good.accepted == 1
    assert set(taken) == {"addresses", *parts}
    assert taken["spawn"] == 2  # of the dial and of the look-up
    assert "tickbraid" not in " ".join(our_threads())
