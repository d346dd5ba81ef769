"""Where no thread can be started, which a limit of pids makes of any of them, all goes on when one can."""

import re
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from pipeline import build_pipeline, status
from pipeline.capture.record import CaptureSink
from pipeline.capture.replay import Replay
from pipeline.errors import ServerUnavailable
from pipeline.health.server import HttpServer
from pipeline.massive.simulator import Options, Simulator, SyntheticFeed
from pipeline.settings import load_settings
from pipeline.status_stream import StatusStream
from pipeline.tap import Tap
from tests.conftest import our_threads, wait_until
from tests.integration.harness import KEY, Run, config_for

SOURCES = Path(__file__).parents[1]
START = threading.Thread.start
AT_SUBSCRIBING = ("io", "callback", "synthetic", "redis", "capture", "capture-ticks", "capture-frames")
WHILE_IT_RUNS = ("status", "dial", "replay")
BY_ITSELF = ("history", "http", "simulator", "top")


class Limit:
    """Makes the start of threads of a name fail, as often as it is told to."""

    def __init__(self, monkeypatch):
        self.name, self.left, self.hits = "", 0, 0
        limit = self

        def start(thread):
            if limit.left and re.fullmatch(rf"tickbraid-{limit.name}(-connection_\d)?", thread.name):
                limit.left -= 1
                limit.hits += 1
                raise RuntimeError("can't start new thread")
            START(thread)

        monkeypatch.setattr(threading.Thread, "start", start)

    def set(self, name, times=1):
        self.name, self.left, self.hits = name, times, 0


@pytest.fixture
def limit(monkeypatch):
    """Let threads fail to start by name."""
    return Limit(monkeypatch)


def generated(tmp_path, **more):
    """Return the settings of a stream that needs no server, with all sinks."""
    sinks = {"REDIS_URL": "redis://127.0.0.1:1/0", "CAPTURE_PATH": str(tmp_path / "capture")}
    return {"SYNTHETIC_UPDATE_INTERVAL": 0.01, "MASSIVE_EVENT_TYPES": "T,Q"} | sinks | more


def test_no_thread_is_forgotten_here():
    """A thread that somebody adds would be the next that leaves a half state behind."""
    named = set()
    for folder in ("operators", "pipeline"):
        for path in (SOURCES / folder).rglob("*.py"):
            text = path.read_text()
            names = re.findall(r'(?:[._]spawn\([\w.]+, |name=)f?"tickbraid-([a-z]+|\{)', text)
            assert len(re.findall(r"threading\.Thread\(|[._]spawn\(", text)) == len(names), path
            named.update(names)
    known = {name.partition("-")[0] for name in (*AT_SUBSCRIBING, *WHILE_IT_RUNS, *BY_ITSELF)}
    assert named - {"lookup", "{"} <= known


@pytest.mark.parametrize("name", AT_SUBSCRIBING)
def test_who_subscribes_is_told_and_may_try_again(limit, tmp_path, name):
    """It would wait for ticks that nobody brings; nothing of a first attempt may harm the second."""
    with build_pipeline(generated(tmp_path)) as stream:
        limit.set(name)
        got = []
        with pytest.raises(RuntimeError, match="can't start new thread"):
            stream.subscribe(got.append)
        assert limit.hits == 1
        wait_until(lambda: not our_threads() - {"tickbraid-status"}, 5, "the end of what was begun")
        assert not got
        stream.subscribe(got.append)
        wait_until(lambda: len(got) > 20)
        assert set(stream.health()["subscribers"]) == {"callback", "redis", "capture"}


@pytest.mark.parametrize("name", ["io", "callback", "redis"])
def test_who_has_an_on_error_is_told_there(limit, tmp_path, name):
    """As reactivex does with whatever goes wrong while one subscribes."""
    errors = []
    with build_pipeline(generated(tmp_path)) as stream:
        limit.set(name)
        stream.subscribe(lambda _: None, on_error=errors.append)
        assert [str(error) for error in errors] == ["can't start new thread"]
        assert stream.health()["state"] == "idle"


def test_another_subscriber_that_has_no_thread_harms_nobody(limit):
    """The first one's ticks would end with the second's attempt."""
    first, second = [], []
    with build_pipeline({"SYNTHETIC_UPDATE_INTERVAL": 0.01, "MASSIVE_EVENT_TYPES": "T"}) as stream:
        stream.subscribe(first.append)
        limit.set("batches")
        with pytest.raises(RuntimeError):
            stream.batches.subscribe(second.append)
        count = len(first)
        wait_until(lambda: len(first) > count + 10)
        stream.batches.subscribe(second.append)
        wait_until(lambda: second)


@pytest.mark.parametrize("times", [1, 7])
@pytest.mark.parametrize("name", ["status", "dial"])
def test_a_connection_comes_back_though_no_thread_was_to_be_had(limit, name, times):
    """``backing_off`` for ever, and no status any more: what was to follow the event had not been done."""
    feed = SyntheticFeed(["AAPL", "MSFT"], rate=500, event_types=("T",))
    simulator = Simulator([feed], Options(keys=frozenset({KEY})))
    with simulator, Run(_config(simulator)) as run:
        run.wait_confirmed(2)
        wait_until(lambda: "tickbraid-status" not in our_threads(), what="nothing more to tell")
        limit.set(name, times)
        simulator.close_clients(1001)
        wait_until(lambda: len(run.of(status.Disconnected)) >= 2, 15, "being told of the end")
        wait_until(lambda: run.stream.health()["totals"]["connected"] == 2, 15, "being connected again")
        wait_until(lambda: limit.left == 0, 15)
        wait_until(lambda: len(run.of(status.Authenticated)) == 4, 15, "being told of that")
        count = run.count
        wait_until(lambda: run.count > count + 20)


def _config(simulator):
    return config_for(simulator, ["AAPL"], ["MSFT"], MASSIVE_EVENT_TYPES="T")


def test_what_no_thread_could_tell_is_told_at_the_end(limit):
    """Who waits for the end of the status stream would wait for ever, and the last events were lost."""
    stream, got, ended = StatusStream(), [], threading.Event()
    stream.subscribe(got.append, on_completed=ended.set)
    limit.set("status", 9)
    stream.emit(status.Closed(at_ns=1))
    stream.emit(status.Closed(at_ns=2))
    stream.go_on()
    assert got == []
    stream.complete()
    assert ended.is_set()
    assert [event.at_ns for event in got] == [1, 2]
    assert limit.hits == 4


def test_a_replay_reads_without_its_thread(limit, tmp_path):
    """A replay would stand still for ever, without a word."""
    with build_pipeline(generated(tmp_path, REDIS_URL="")) as stream:
        got = []
        stream.subscribe(got.append)
        wait_until(lambda: len(got) > 50)
    limit.set("replay")
    settings = load_settings({"REPLAY_PATH": str(tmp_path / "capture"), "REPLAY_SPEED": "max"})
    ended = threading.Event()
    with Replay(settings).stream as again:
        again.start(on_completed=ended.set)
        assert ended.wait(15)
        assert again.account().received >= len(got)
    assert limit.hits == 1


@pytest.mark.parametrize("name", ["http", "history"])
def test_the_http_interface_says_so_and_can_be_started_again(limit, name):
    """Its port would stay taken by a server that does not exist."""
    with build_pipeline({}) as stream:
        limit.set(name)
        server = HttpServer(stream, host="127.0.0.1", port=0)
        with pytest.raises(ServerUnavailable):
            server.start()
        server.close()
        assert limit.hits == 1
        with HttpServer(stream, host="127.0.0.1", port=int(server.url.rpartition(":")[2])):
            pass


def test_a_simulator_can_be_started_again(limit):
    """A test-bed that could not start must not say that it runs."""
    limit.set("simulator")
    simulator = Simulator()
    with pytest.raises(RuntimeError, match="can't start new thread"):
        simulator.start()
    with simulator:
        assert simulator.port


@pytest.mark.parametrize("name", ["capture-ticks", "capture-frames"])
def test_a_recording_that_has_no_thread_lets_go_of_its_directory(limit, tmp_path, name):
    """Nobody else could record there until the program ends."""
    for _ in range(2):
        limit.set(name)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            CaptureSink(tmp_path, Tap(), StatusStream())
    CaptureSink(tmp_path, Tap(), StatusStream()).close()


def test_top_without_its_thread_ends(limit):
    """Its screen would stay on the terminal with a traceback on top."""
    from pipeline.cli.top_app import TopApp

    limit.set("top")

    async def run():
        app = TopApp(instance=None)
        with suppress(RuntimeError):
            async with app.run_test():
                pass

    import asyncio

    asyncio.run(run())
    assert limit.hits == 1
