"""The child's side in a thread of this process, so that a debugger and the coverage see it."""

import contextlib
import logging
import socket
import sys
import threading
import types

import pytest

from pipeline import status
from pipeline.massive.simulator import Options, Simulator, SyntheticFeed
from pipeline.processes import child as child_module
from pipeline.processes.child import _Child, _Forwarder
from pipeline.processes.messages import (
    CloseGaps,
    ColumnsOver,
    End,
    ForgetGaps,
    GiveUp,
    HandColumns,
    Heard,
    OpenGaps,
    Probe,
    Reconnect,
    Report,
    ReportNow,
    Resume,
    Said,
    StopColumns,
    Want,
    pack,
    read_words,
    send_with,
)
from tests.conftest import wait_until
from tests.processes.harness import begin


@pytest.fixture
def simulator():
    """A market of two tickers."""
    with Simulator([SyntheticFeed(["A", "B"], rate=1000, event_types=("T",))], Options()) as server:
        yield server


@pytest.fixture(autouse=True)
def exits(monkeypatch):
    """Note that the process would have ended, which here is pytest's."""
    noted = []
    monkeypatch.setattr(child_module, "_exit_after", noted.append)
    return noted


@pytest.fixture
def ticks(monkeypatch):
    """Collect what the callback ``mine:on_tick`` is given."""
    collected = []
    module = types.ModuleType("mine")
    module.on_tick = collected.append
    monkeypatch.setitem(sys.modules, "mine", module)
    return collected


class Parent:
    """The other end of a child: sends orders, collects words."""

    def __init__(self):
        self.sock, its = socket.socketpair()
        self.words = []
        self._reader = threading.Thread(target=self._read)
        self._child = threading.Thread(target=self._serve, args=[its])
        self._reader.start()
        self._child.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.shutdown(socket.SHUT_WR)
        self._child.join(10)
        self._reader.join(10)
        self.sock.close()

    def send(self, *orders):
        self.sock.sendall(b"".join(map(pack, orders)))

    def of(self, kind):
        """Return the words of a kind, or the events of a kind of status."""
        if issubclass(kind, status.StatusEvent):
            return [
                word.event
                for word in list(self.words)
                if isinstance(word, Heard) and isinstance(word.event, kind)
            ]
        return [word for word in list(self.words) if isinstance(word, kind)]

    def wait_end(self):
        self._child.join(20)
        assert not self._child.is_alive()
        self._reader.join(5)

    def _serve(self, its):
        with its:
            _Child(its).run()

    def _read(self):
        self.words.extend(read_words(self.sock))  # extends as they come


def test_it_carries_out_what_it_is_told(simulator, ticks):
    """Every decision of the pool has to arrive: tickers, sessions, gaps, reports."""
    with Parent() as parent:
        parent.send(begin(callback="mine:on_tick", url=simulator.url), Want(("T.A", "T.B")))
        wait_until(lambda: {tick.ticker for tick in ticks} == {"A", "B"}, 20, "ticks")
        wait_until(lambda: parent.of(status.Subscribed), 5)
        assert [word.wants for word in parent.words if isinstance(word, Heard)][-1] == 1
        parent.send(GiveUp(("T.B",)), Probe(), Resume())
        wait_until(lambda: parent.of(status.Unsubscribed), 5, "the answer")
        parent.send(Reconnect("asked for"))
        wait_until(lambda: len(parent.of(status.Authenticated)) == 2, 10, "another session")
        back_ns = parent.of(status.Authenticated)[-1].at_ns
        wait_until(lambda: parent.of(status.Subscribed)[-1].at_ns > back_ns, 10, "its channel")
        before = len(ticks)
        wait_until(lambda: len(ticks) > before, 10, "ticks of the new session")
        (gone,) = parent.of(status.Disconnected)
        parent.send(OpenGaps(("A",), gone.at_ns))  # late, and the child knows already
        parent.send(CloseGaps(("A",), parent.of(status.Subscribed)[-1].at_ns))
        wait_until(lambda: any(loss.gaps for loss in parent.of(status.Loss)), 10, "what the reconnect cost")

        def measured():
            parent.send(ReportNow(7, True))
            return [report for report in parent.of(Report) if report.number == 7 and report.rates]

        report = wait_until(measured, 10, "rates, for which a second of ticks is needed")[-1]
        assert "A" in report.rates
        assert report.figures.connections["connection_1"].snapshot.connects == 2
        parent.send(End(5.0))
        parent.wait_end()
    last = parent.words[-1]
    assert last.last
    (account,) = last.figures.accounts["callback"].values()
    assert (account.delivered, account.imbalance, account.queued) == (len(ticks), 0, 0)
    assert parent.of(status.Closed)
    (loss,) = [
        loss for loss in parent.of(status.Loss) if loss.reason == "disconnected"
    ]  # the probe has its own
    assert loss.tickers == ("A",)
    assert loss.gaps[0].to_ns > loss.gaps[0].from_ns


@pytest.fixture
def pairs():
    """Three sockets for columns, with the ends of the child, which take little to be full soon."""
    with contextlib.ExitStack() as stack:
        made = [socket.socketpair() for _ in range(3)]
        for ours, its in made:
            stack.enter_context(ours)
            stack.enter_context(its)
            its.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)  # the least that the kernel gives
        yield made


def test_a_subscriber_of_columns_gets_them_or_the_reason_why_not(simulator, ticks, pairs, monkeypatch):
    """With a full buffer and the policy ``error``, or without pyarrow here, it would wait for ever."""
    more = {"SUBSCRIBER_OVERFLOW": "error", "SUBSCRIBER_BUFFER_TICKS": 500}
    with Parent() as parent:
        parent.send(begin(callback="mine:on_tick", url=simulator.url, **more))
        for number, (_, its) in enumerate(pairs[:2]):
            send_with(parent.sock, HandColumns(f"columns-{number}", ("ticker",)), its)
        parent.send(StopColumns("columns-1"), StopColumns("columns-1"), Want(("T.A", "T.B")))

        def is_full():
            return [loss for loss in parent.of(status.Loss) if loss.where == "columns-0"]

        wait_until(is_full, 20, "its buffer to be full: nobody reads here")
        pairs[0][0].setblocking(False)

        def is_over():  # which comes after what is in the socket and in the buffer, as in one process
            with contextlib.suppress(BlockingIOError):
                pairs[0][0].recv(1 << 16)
            return parent.of(ColumnsOver)

        wait_until(is_over, 20, "the reason")
        monkeypatch.setitem(sys.modules, "pyarrow", None)
        monkeypatch.delitem(sys.modules, "pipeline.columns")
        send_with(parent.sock, HandColumns("columns-2", ()), pairs[2][1])
        wait_until(lambda: len(parent.of(ColumnsOver)) == 2, 10, "the other")
        parent.send(End(1.0))
        parent.wait_end()
    full, without = parent.of(ColumnsOver)
    assert (full.name, full.missing, without.name, without.missing) == ("columns-0", False, "columns-2", True)
    assert "tickbraid[columns]" in without.reason
    accounts = parent.words[-1].figures.accounts
    assert accounts["columns-0"]["connection_1"].imbalance == 0
    assert accounts["columns-0"]["connection_1"].delivered > 0
    for ours, its in pairs[1:]:
        its.close()  # the child has its own
        assert ours.recv(1) == b"", "who left, or gets nothing, sees the end"


def test_gaps_are_told_once_whoever_opens_them(simulator, ticks):
    """What the child saw end and the parent tells of would be told twice; what is forgotten, at the end."""
    with Parent() as parent:
        parent.send(begin(callback="mine:on_tick", url=simulator.url), Want(("T.A", "T.B")))
        wait_until(lambda: {tick.ticker for tick in ticks} == {"A", "B"}, 20, "ticks")
        parent.send(GiveUp(("T.A", "T.B")))
        wait_until(lambda: parent.of(status.Unsubscribed), 5, "the answer")
        now_ns = parent.of(status.Unsubscribed)[0].at_ns
        parent.send(OpenGaps(("A", "B"), now_ns), OpenGaps(("A",), now_ns + 1), ForgetGaps(("B",)))
        parent.send(CloseGaps(("A",), now_ns + 1000), End(5.0))
        parent.wait_end()
    (loss,) = parent.of(status.Loss)
    (gap,) = loss.gaps
    last_ms = max(tick.event_ms for tick in ticks if tick.ticker == "A")
    assert (gap.ticker, gap.from_ns, gap.to_ns) == ("A", last_ms * 1_000_000, now_ns + 1000)


def test_it_ends_by_itself_when_nothing_can_come(ticks):
    """A process with a refused key would sit there for the rest of the day."""
    with Simulator([], Options(keys=frozenset({"good"}))) as server, Parent() as parent:
        parent.send(begin(callback="mine:on_tick", url=server.url, key="bad"))
        parent.wait_end()
        assert parent.of(status.Failed)
        assert parent.words[-1].last


def test_it_ends_when_its_parent_is_gone(exits, ticks):
    """A crash of the parent would leave processes that hold the account's connections."""
    with Parent() as parent:
        parent.send(begin(callback="mine:on_tick"))
        wait_until(lambda: parent.of(Report), 20, "a report")
        parent.sock.shutdown(socket.SHUT_RDWR)
        parent.wait_end()
    assert child_module.ORPHAN_EXIT_S in exits, "and not later than that, whatever the callback does"


def test_it_notices_that_another_took_its_parent_s_place(monkeypatch, ticks):
    """A process that the parent forked holds the socket open: only the parent's id tells that it died."""
    with Parent() as parent:
        parent.send(begin(callback="mine:on_tick"))
        wait_until(lambda: parent.of(Report), 20, "a report")
        monkeypatch.setattr(child_module.os, "getppid", lambda: 1)
        parent.wait_end()


def test_it_ends_without_a_first_order():
    """A parent that dies as it starts a child."""
    with Parent() as parent:
        parent.sock.shutdown(socket.SHUT_WR)
        parent.wait_end()
        assert not parent.words
    with Parent() as parent:
        parent.send(Probe())
        parent.wait_end()
        assert not parent.words


def test_what_is_logged_is_handed_over_but_not_the_events(monkeypatch):
    """They would be logged by both; and a traceback of the user's is worth more than its first line."""
    said = []
    forwarder = _Forwarder(said.append)
    for name in ("mine", "tickbraid.status"):
        monkeypatch.setattr(logging.getLogger(name), "handlers", [forwarder])
    try:
        {}["x"]  # it raises
    except KeyError:
        logging.getLogger("mine").exception("it raised")
    logging.getLogger("tickbraid.status").warning("disconnected")
    (record,) = said
    assert (record.logger, record.level) == ("mine", logging.ERROR)
    assert record.text.startswith("it raised\nTraceback")


def test_logs_give_way_and_a_deaf_parent_is_left():
    """A parent that is stopped in a debugger would make its children grow without an end."""
    near, its = socket.socketpair()
    with near, its:
        child = _Child(its)
        for _ in range(child_module.LOGS_MAX + 10):
            child._log(Said("mine", 30, "again"))
        assert child._outbox.qsize() == child_module.LOGS_MAX
        for _ in range(child_module.OUTBOX_MESSAGES):
            child._put(Said("mine", 30, "again"))
        assert child._outbox.qsize() == child_module.OUTBOX_MESSAGES
        assert its.recv(1) == b"", "it hangs up"
