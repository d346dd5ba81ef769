"""Columns in the parent, with real children: each tick once, a slow subscriber, a killed process."""

import os
import signal
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest
from reactivex import operators as ops

from pipeline import build_pipeline, status
from pipeline.columns import DEFAULT_COLUMNS
from pipeline.errors import Closed, NoTicksHere
from pipeline.massive.simulator import Options, Simulator, SyntheticFeed
from tests.conftest import our_threads, wait_until
from tests.integration.harness import KEY, config_for

COUNT = 6000
HOMES = {"connection_1": ("AAPL", "MSFT"), "connection_2": ("NVDA", "TSLA")}
TICKERS = [ticker for home in HOMES.values() for ticker in home]
CALLBACK = """
def on_tick(tick):
    pass
"""


def market(start_after=2, **options):
    """Return a market of trades that begins when so many connections are there, or when it is told."""
    feed = SyntheticFeed(TICKERS, event_types=("T",), **options)
    return Simulator([feed], Options(keys=frozenset({KEY}), start_after=start_after))


def config(server, **more):
    """Return settings of two processes."""
    return config_for(
        server, *HOMES.values(), MASSIVE_EVENT_TYPES="T", WEBSOCKET_EXECUTION="processes", **more
    )


class Taker:
    """A subscriber of columns that notes rows and threads, and may be held in its call."""

    def __init__(self):
        self.rows, self.threads, self.ends = [], set(), []
        self.held = threading.Event()
        self.held.set()

    def on_next(self, columns):
        self.threads.add(threading.current_thread().name)
        self.rows += columns.to_pylist()
        self.held.wait(20)

    def on_error(self, error):
        self.ends.append(error)

    def on_completed(self):
        self.ends.append("over")


def test_every_tick_comes_to_every_subscriber_once():
    """Who computes in the parent would get other ticks than the callback, or stay after the end."""
    all_of_it, some = Taker(), Taker()
    with market(None, rate=4000, count=COUNT) as server, build_pipeline(config(server)) as stream:
        stream.columns.subscribe(all_of_it)
        left = stream.columns.subscribe(Taker())
        left.dispose()
        two = stream.columns_of("ticker", "sequence")
        two.subscribe(some)
        with pytest.raises(ValueError, match="prize"):
            stream.columns_of("prize")
        for refused in (stream.subscribe, stream.batches.subscribe):
            with pytest.raises(NoTicksHere, match=r"stream\.columns"):
                refused(print)
        assert stream.account().imbalance == 0
        told, late = [], []
        stream.status.subscribe(told.append)
        stream.start()
        wait_until(
            lambda: sum(isinstance(event, status.Subscribed) for event in told) == 2, 20, "both to listen"
        )
        two.pipe(ops.take(2)).subscribe(late.append)
        server.start_feeds()
        wait_until(lambda: len(late) == 2, 10, "what a late subscriber takes")
        wait_until(lambda: "tickbraid-columns-3" not in our_threads(), 5, "the end of its thread")
        wait_until(lambda: len(all_of_it.rows) == len(some.rows) == COUNT, 20, "all of them")
        health = stream.health()
        assert health["latency_ms"]["delivered"]["columns"]["count"] == COUNT
        assert health["subscribers"]["columns"]["overflow"] == "drop_oldest"
        assert health["subscribers"]["columns-3"]["ended"]
    assert all_of_it.ends == some.ends == ["over"]
    assert all_of_it.threads == {"tickbraid-columns"}
    assert list(all_of_it.rows[0]) == list(DEFAULT_COLUMNS)
    assert list(some.rows[0]) == ["ticker", "sequence"]
    for taker in (all_of_it, some):
        for ticker in TICKERS:
            numbers = [row["sequence"] for row in taker.rows if row["ticker"] == ticker]
            assert numbers == sorted(set(numbers)), "one came twice, or before its time"
    accounts = stream.accounts()
    assert Counter(row["connection"] for row in all_of_it.rows) == {
        name: account.delivered for name, account in accounts["columns"].items()
    }
    for name in ("columns", "columns-2", "columns-3"):
        for account in accounts[name].values():
            assert (account.imbalance, account.queued) == (0, 0)
        assert stream.account(name).dropped == 0 or name == "columns-3"
    with pytest.raises(Closed):
        stream.columns.subscribe(print)


def test_a_slow_subscriber_stops_nobody_and_a_killed_process_costs_what_is_told():
    """A notebook that hangs would stop the callbacks; what a dead process took with it would be hushed up."""
    Path("mine.py").write_text(CALLBACK)
    slow, events = Taker(), []
    more = {"TICK_CALLBACK": "mine:on_tick", "SUBSCRIBER_BUFFER_TICKS": 1000, "WEBSOCKET_FAILOVER_AFTER": 60}
    with market(rate=5000) as server, build_pipeline(config(server, **more)) as stream:
        stream.status.subscribe(events.append)

        def losses(reason):
            return [e for e in list(events) if isinstance(e, status.Loss) and e.reason == reason]

        stream.columns.subscribe(slow)
        stream.start()
        wait_until(lambda: slow.rows, 20, "ticks")
        slow.held.clear()
        wait_until(lambda: {e.connection for e in losses("overflow")} == HOMES.keys(), 30, "both to drop")
        before = stream.account("callback").delivered
        wait_until(lambda: stream.account("callback").delivered > before + 1000, 20, "the callbacks to go on")
        account = stream.account("columns")
        assert account.imbalance == 0
        assert account.dropped > 0
        assert account.queued > 1000, "in the buffers, in the sockets and in hand"
        victim = stream.pids()["connection_1"]
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: losses("process_ended"), 10, "the loss to be told")
        assert losses("process_ended")[0].count is None
        assert stream.account("columns").imbalance == 0
        wait_until(lambda: stream.pids().get("connection_1", victim) != victim, 10, "another process")
        slow.held.set()
        begun_ns = losses("process_ended")[0].to_ns

        def goes_on():
            return [
                row
                for row in slow.rows
                if row["connection"] == "connection_1" and row["received_ns"] > begun_ns
            ]

        wait_until(goes_on, 20, "columns of the new process")
    accounts = stream.accounts()["columns"]
    for account in accounts.values():
        assert (account.imbalance, account.queued) == (0, 0)
    assert sum(account.delivered for account in accounts.values()) == len(slow.rows)
    assert slow.ends == ["over"]
    survivor = accounts["connection_2"]
    told = [e for e in events if isinstance(e, status.Loss) and e.where == "columns"]
    assert sum(e.count for e in told if e.connection == "connection_2") == survivor.dropped > 0
    assert not [e for e in events if isinstance(e, status.Loss) and e.where == "callback" and e.count]


def test_closing_while_a_subscriber_hangs_leaves_nothing():
    """An exchange closes, a notebook hangs: processes would stay, and what it missed be nowhere."""
    slow, closed = Taker(), threading.Event()
    with market(rate=5000) as server, build_pipeline(config(server)) as stream:
        told = []
        stream.status.subscribe(told.append)
        stream.columns.subscribe(slow)
        own = stream.columns.subscribe(lambda _columns: (stream.close(0.2), closed.set()))
        stream.start()
        wait_until(lambda: slow.rows, 20, "ticks")
        slow.held.clear()
        assert closed.wait(20), "the other closes the stream, from its own thread"
        slow.held.set()
        own.dispose()
    for account in stream.accounts()["columns"].values():
        assert account.imbalance == 0


def test_without_the_extra_one_sentence_says_so(monkeypatch):
    """`No module named 'pyarrow'` leaves it to the user to find out what to install."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.delitem(sys.modules, "pipeline.columns")
    with (
        market(rate=1) as server,
        build_pipeline(config(server)) as stream,
        pytest.raises(ImportError, match=r"tickbraid\[columns\]"),
    ):
        _ = stream.columns
