"""A process a connection: real children, real sockets, a callback that writes what it is given to a file."""

import json
import os
import signal
import subprocess
import sys
import types
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from pipeline import build_pipeline, status
from pipeline.embedded import RedisServer
from pipeline.errors import Closed, NoTicksHere
from pipeline.massive.simulator import Options, Simulator, SyntheticFeed
from tests.conftest import our_children, wait_until
from tests.integration.harness import KEY, RedisListener, config_for

COUNT = 4000
HOMES = {"connection_1": ("AAPL", "MSFT"), "connection_2": ("NVDA", "TSLA")}
CALLBACK = """
import os
out = open(f"ticks-{os.getpid()}.txt", "w", buffering=1)
def on_tick(tick):
    out.write(f"{tick.ticker} {tick.trade_id} {tick.event_ms}\\n")
"""
OWNER = """
import sys
from pipeline import load_settings, build_pipeline
stream = build_pipeline(dict(pair.split("=", 1) for pair in sys.argv[1:]))
stream.start()
stream.wait_connected()
print(*stream.pids().values(), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def simulator():
    """A market of trades, of which each ticker's have ids without a hole; it begins when both are there."""
    return Simulator(
        [SyntheticFeed([t for home in HOMES.values() for t in home], rate=2000, event_types=("T",))],
        Options(keys=frozenset({KEY}), start_after=2),
    )


@pytest.fixture
def exact():
    """The same market with so many trades and no more."""
    tickers = [ticker for home in HOMES.values() for ticker in home]
    return Simulator(
        [SyntheticFeed(tickers, rate=4000, event_types=("T",), count=COUNT)],
        Options(keys=frozenset({KEY}), start_after=2),
    )


def config(simulator, **more):
    """Return settings of two processes with a callback, which is written where we are."""
    Path("mine.py").write_text(CALLBACK)
    options = {
        "MASSIVE_EVENT_TYPES": "T",
        "WEBSOCKET_EXECUTION": "processes",
        "TICK_CALLBACK": "mine:on_tick",
        "WEBSOCKET_FAILOVER_AFTER": 0.3,
    }
    return config_for(simulator, *HOMES.values(), **options | more)


def written():
    """Return, by process id, the (ticker, id, event time in ms) that its callback was given."""
    found = {}
    for path in Path.cwd().glob("ticks-*.txt"):
        lines = path.read_text().splitlines()
        found[int(path.stem.removeprefix("ticks-"))] = [
            (ticker, int(number), int(ms)) for ticker, number, ms in map(str.split, lines)
        ]
    return found


def heard(stream):
    """Collect a stream's status events; return a function that gives those of a kind, and a connection."""
    events = []
    stream.status.subscribe(events.append)

    def of(kind, connection=None):
        return [e for e in list(events) if isinstance(e, kind) and connection in {None, e.connection}]

    return of


def is_alive(pid):
    """Tell whether a process runs; one that nobody has reaped yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_every_tick_comes_once_and_everything_is_told_here(exact):
    """Users who go past one core would lose ticks, get them twice, or be blind to what their processes do."""
    with exact as server, build_pipeline(config(server)) as stream:
        of = heard(stream)
        with pytest.raises(Closed):
            stream.add_tickers(["AAPL"])
        stream.start()
        assert set(stream.wait_connected()) == set(HOMES)
        pids = stream.pids()
        for pid in pids.values():
            os.kill(pid, signal.SIGTERM)  # a service manager tells all of a service, and the parent decides
        assert exact.finished.wait(20)
        wait_until(lambda: stream.account().delivered == COUNT, 10, "all delivered")
        health = stream.health()
        assert stream.tickers() == HOMES
        assert [c["phase"] for c in health["connections"]] == ["live", "live"]
        assert sum(c["ticks"] for c in health["connections"]) == health["totals"]["ticks"] == COUNT
        assert health["latency_ms"]["delivered"]["callback"]["count"] == COUNT
        assert set(health["latency_ms"]["feed"]) == set(HOMES)
        assert health["subscribers"]["callback"]["sink"]["calls"] == COUNT
        json.dumps(health)
    given = written()
    assert set(given) == set(pids.values())
    assert os.getpid() not in given
    for connection, pid in pids.items():
        assert {ticker for ticker, _, _ in given[pid]} == set(HOMES[connection])
    assert set(Counter(tick for ticks in given.values() for tick in ticks).values()) == {1}
    assert sum(map(len, given.values())) == COUNT
    for connection in HOMES:
        for kind in (status.Connected, status.Authenticated, status.Subscribed, status.Closed):
            assert of(kind, connection), kind
    assert not of(status.Loss)
    accounts = stream.accounts()["callback"]
    assert {name: account.imbalance for name, account in accounts.items()} == dict.fromkeys(HOMES, 0)
    assert stream.health()["state"] == "closed"


def test_a_killed_process_is_a_lost_connection(simulator):
    """The OOM killer takes one: its tickers go on in the other, come home, and no hole is hushed up."""
    with simulator as server, build_pipeline(config(server)) as stream:
        of = heard(stream)
        stream.start()
        stream.wait_connected()
        victim = stream.pids()["connection_1"]
        wait_until(lambda: len(written().get(victim, ())) > 500, 20, "ticks in the first process")
        wait_until(lambda: stream.account().delivered, 5, "a report")
        os.kill(victim, signal.SIGKILL)
        (gone,) = wait_until(lambda: of(status.Disconnected), 10, "the loss of the connection")
        assert (gone.connection, gone.reason) == ("connection_1", "its process was ended by SIGKILL")
        wait_until(lambda: of(status.Moved, "connection_2"), 10, "the failover")
        survivor = stream.pids()["connection_2"]
        wait_until(lambda: {t for t, _, _ in written()[survivor]} >= set(HOMES["connection_1"]), 10)
        wait_until(lambda: stream.tickers() == HOMES and len(of(status.Moved, "connection_1")), 20, "home")
        successor = stream.pids()["connection_1"]
        wait_until(lambda: len(written().get(successor, ())) > 100, 20, "ticks in the new process")
        (inflight,) = [loss for loss in of(status.Loss) if loss.where == "process"]
        assert (inflight.count, set(inflight.tickers)) == (None, set(HOMES["connection_1"]))
        health = {c["id"]: c for c in stream.health()["connections"]}
        assert (health["connection_1"]["disconnects"], health["connection_1"]["connects"]) == (1, 2)
    given = written()
    assert {victim, survivor, successor} == set(given)
    ticks = sorted(tick for its in given.values() for tick in its)
    assert len(ticks) == len(set(ticks)), "something came twice"
    losses = [loss for loss in of(status.Loss) if loss.count is None]
    spans = [(t, loss.from_ns, loss.to_ns) for loss in losses if not loss.gaps for t in loss.tickers]
    spans += [(gap.ticker, gap.from_ns, gap.to_ns) for loss in losses for gap in loss.gaps]
    holes = [
        (before[0], before[2] * 1_000_000, after[2] * 1_000_000)
        for before, after in pairwise(ticks)
        if before[0] == after[0] and after[1] > before[1] + 1
    ]
    assert {ticker for ticker, _, _ in holes} == set(HOMES["connection_1"])
    for ticker, from_ns, to_ns in holes:
        assert any(t == ticker and a <= to_ns and b >= from_ns for t, a, b in spans), "a hole nobody told of"
    for account in stream.accounts()["callback"].values():
        assert (account.imbalance, account.queued) == (0, 0)


def test_tickers_come_and_go_and_move_between_living_processes(simulator):
    """A moved ticker would come twice, for no process sees what the other has had."""
    with simulator as server, build_pipeline(config(server)) as stream:
        of = heard(stream)
        stream.start()
        stream.wait_connected()
        wait_until(lambda: stream.account().delivered > 500, 20, "ticks")
        stream.move_ticker("AAPL", "connection_2")
        second = stream.pids()["connection_2"]
        wait_until(lambda: "AAPL" in {t for t, _, _ in written()[second]}, 20, "it in its new place")
        stream.remove_tickers(["MSFT"])
        wait_until(lambda: stream.tickers()["connection_1"] == (), 10, "nothing in its old place")
        wait_until(lambda: [e for e in of(status.Loss) if "AAPL" in e.tickers], 10, "what it missed")
        stream.add_tickers(["MSFT"])
        wait_until(lambda: "MSFT" in {t for its in stream.tickers().values() for t in its}, 10, "it again")
        stream.reconnect("connection_2")
        wait_until(lambda: len(of(status.Authenticated, "connection_2")) == 2, 10, "another session")
        assert isinstance(stream.rebalance(), tuple)
    ticks = [tick for its in written().values() for tick in its]
    assert len(ticks) == len(set(ticks)), "something came twice"


def test_redis_gets_what_both_processes_bring(exact):
    """The main job past one core: each process publishes what it decodes, and the sums are told here."""
    channel = "tickstock.data.raw"
    with RedisServer.start() as redis, exact as server:
        listener = RedisListener(redis.url, channel)
        options = {"REDIS_URL": redis.url, "REDIS_OVERFLOW": "block", "TICK_CALLBACK": ""}
        with build_pipeline(config(server, **options)) as stream:
            stream.start()
            assert exact.finished.wait(20)
            wait_until(lambda: listener.counts()[channel] == COUNT, 20, "all published")
        assert stream.accounts()["redis"].keys() == HOMES.keys()
        assert stream.account("redis").delivered == COUNT
        assert stream.health()["subscribers"]["redis"]["sink"]["messages"][channel] == COUNT
        listener.close()


def test_children_end_with_their_parent(simulator):
    """After a crash of the parent its children would hold the account's connections, and ticks go nowhere."""
    with simulator as server:
        pairs = [
            f"{name}={value if isinstance(value, str) else _text(value)}"
            for name, value in config(server).items()
        ]
        parent = subprocess.Popen(  # noqa: S603  # our own interpreter
            [sys.executable, "-c", OWNER, *pairs], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        with parent:
            pids = [int(pid) for pid in parent.stdout.readline().split()]
            assert len(pids) == 2
            parent.kill()
        wait_until(lambda: not any(map(is_alive, pids)), 10, "the end of the children")


def _text(value):
    return ",".join(value) if isinstance(value, list) else str(value).lower()


def test_who_asks_for_ticks_here_is_told_what_to_do(exact):
    """A subscriber that waits for ticks that never come would be hard to understand."""
    with exact as server, build_pipeline(config(server)) as stream:
        for ask in (
            lambda: stream.subscribe(print),
            lambda: stream.batches.subscribe(print),
            lambda: stream.attach(object()),
        ):
            with pytest.raises(NoTicksHere, match="TICK_CALLBACK"):
                ask()
    assert exact.report().attempts == 0
    with pytest.raises(Closed):
        stream.start()


@pytest.mark.parametrize("how", ["mine:not_there", "mine:on_tick"])
def test_a_stream_that_can_never_bring_anything_ends(exact, how):
    """A wrong callback, or a refused key, would be tried for ever, process after process."""
    key = KEY if how == "mine:not_there" else "wrong"
    over = []
    with exact as server, build_pipeline(config(server, TICK_CALLBACK=how, MASSIVE_API_KEY=key)) as stream:
        of = heard(stream)
        stream.start(on_completed=lambda: over.append(True))
        assert stream.wait_connected() == ()
        wait_until(lambda: over, 10, "the end")
        wait_until(lambda: len(of(status.Failed)) == 2, 5, "the reasons")
        words = "not_there" if how == "mine:not_there" else "authentication failed"
        assert all(words in event.reason for event in of(status.Failed))
        connections = stream.health()["connections"]
        assert [c["phase"] for c in connections] == ["failed", "failed"]
        assert all(words in c["last_trouble"] for c in connections)
        assert not stream.pids()


def test_closing_at_once_leaves_nothing(exact):
    """A notebook's cell is interrupted while the children still import."""
    before = our_children()
    with exact as server:
        stream = build_pipeline(config(server))
        stream.start()
        stream.close(0.1)
        stream.close()
    assert our_children() <= before


def test_generated_ticks_stay_here_and_the_callback_is_called_all_the_same(monkeypatch):
    """A configuration that is tried without a key would behave as another program."""
    called, subscribed = [], []
    module = types.ModuleType("mine")
    module.on_tick = called.append
    monkeypatch.setitem(sys.modules, "mine", module)
    settings = {"WEBSOCKET_EXECUTION": "processes", "TICK_CALLBACK": "mine:on_tick"}
    with build_pipeline(settings | {"SYNTHETIC_UPDATE_INTERVAL": 0.01}) as stream:
        stream.start()
        stream.subscribe(subscribed.append)
        wait_until(lambda: called and subscribed, 10, "ticks in the callback and here")
