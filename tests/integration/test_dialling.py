import socket
import threading

import pytest

from pipeline import status
from pipeline.massive.simulator import Faults, Options, Simulator, SyntheticFeed
from tests.conftest import our_threads, wait_until
from tests.integration.harness import KEY, Run, config_for
from tests.massive.dial_world import Listener, answering, black_hole, hold, names

NAME = "feed.localhost"
"""A name of this machine: a key may go there by ws://."""


class At:
    """An address in the place of a simulator."""

    def __init__(self, host, port):
        self.url = f"ws://{host}:{port}/stocks"


def dials():
    """Return the dialling threads."""
    return {name for name in our_threads() if "dial" in name}


def test_a_stream_over_a_name_whose_first_address_is_dead(monkeypatch):
    """Case 15: of a host's two addresses one drops packets, and no tick comes for ever."""
    feed = SyntheticFeed(["A"], rate=500, event_types=("T",))
    with Simulator([feed], Options(keys=frozenset({KEY}))) as server, black_hole("127.0.0.2", server.port):
        names(monkeypatch, ["127.0.0.2", "127.0.0.1"], NAME)
        with Run(config_for(At(NAME, server.port), ["A"], MASSIVE_EVENT_TYPES="T")) as run:
            wait_until(lambda: run.count > 100)
            assert not run.of(status.Disconnected)


def test_an_address_that_drops_each_session_does_not_hide_a_good_second(monkeypatch):
    """A server that opens WebSockets and takes no key wins each race: no tick would come for ever."""
    feed = SyntheticFeed(["A"], rate=500, event_types=("T",))
    keys = frozenset({KEY})
    with (
        Simulator([], Options(keys=keys, host="127.0.0.2"), Faults(drop_auth=10**6)) as bad,
        Simulator([feed], Options(keys=keys, port=bad.port)) as good,
    ):
        names(monkeypatch, ["127.0.0.2", "127.0.0.1"], NAME)
        with Run(config_for(At(NAME, good.port), ["A"], MASSIVE_EVENT_TYPES="T")) as run:
            wait_until(lambda: run.count > 100)
            good.close_clients(1001, "rotation")
            count = run.count
            wait_until(lambda: run.count > count + 100)


@pytest.mark.parametrize("where", ["name", "connect", "answer"])
def test_close_ends_dials_wherever_they_hang(monkeypatch, where):
    """A program that cannot reach its feed must end at Ctrl-C as fast as any other."""
    release = threading.Event()
    with Listener(hold) as mute, black_hole() as dead_port:
        host, port = {
            "name": (NAME, 1),
            "connect": ("127.0.0.2", dead_port),
            "answer": ("127.0.0.1", mute.port),
        }[where]
        names(monkeypatch, lambda: release.wait(30) and [], NAME)
        with Run(config_for(At(host, port), ["A"], ["B"], ["C"])):
            wait_until(lambda: len(dials()) == 3)
        wait_until(lambda: not dials(), 2.0, "the end of the dials")
        release.set()


def test_a_server_that_asks_for_a_pause_is_told_of():
    """Whoever looks at a stream that waits five minutes must see that the server wants it so."""
    busy = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 120\r\nContent-Length: 0\r\n\r\n"
    with Listener(answering(busy)) as server, Run(config_for(At("127.0.0.1", server.port), ["A"])) as run:
        (event, *_) = wait_until(lambda: run.of(status.BackOff))
        assert event.retry_after_s == 120
        assert 120 <= event.delay_s <= 121
        (lost,) = run.of(status.Disconnected)
        assert lost.reason == f"127.0.0.1:{server.port} answers 503 Service Unavailable"


def test_a_resolver_that_comes_back_is_asked_again(monkeypatch):
    """DNS is often down before the network is up, at the start of a machine."""
    answers = iter([socket.gaierror(socket.EAI_AGAIN, "x"), ["127.0.0.1"]])
    feed = SyntheticFeed(["A"], rate=500, event_types=("T",))
    with Simulator([feed], Options(keys=frozenset({KEY}))) as server:
        names(monkeypatch, lambda: next(answers, ["127.0.0.1"]), NAME)
        with Run(config_for(At(NAME, server.port), ["A"], MASSIVE_EVENT_TYPES="T")) as run:
            wait_until(lambda: run.count > 100)
            assert not run.of(status.Failed)
