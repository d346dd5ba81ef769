"""The child's side: the whole pipeline of one connection, told what to do by the parent."""

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, Full, Queue
from typing import Final

from pipeline import status
from pipeline.activity import Activity
from pipeline.build import braid_stream
from pipeline.gaps import Gaps
from pipeline.massive.connection import Connection
from pipeline.massive.loop import SocketLoop
from pipeline.settings import Settings
from pipeline.sources import Carriage, Source, connect
from pipeline.status_stream import StatusStream
from pipeline.stream import TickStream

from .column_orders import ColumnOrders
from .messages import (
    Begin,
    CloseGaps,
    End,
    ForgetGaps,
    GiveUp,
    HandColumns,
    Heard,
    OpenGaps,
    Order,
    Probe,
    Reconnect,
    Report,
    ReportNow,
    Resume,
    Said,
    StopColumns,
    Unable,
    Want,
    Word,
    pack,
    read_orders,
)

__all__ = ["main"]

REPORT_EVERY_S: Final = 1.0
OUTBOX_MESSAGES: Final = 10_000
LOGS_MAX: Final = 1000
"""Of more that wait, the rest is not told: events and reports matter more."""
ORPHAN_DRAIN_S: Final = 1.0
ORPHAN_EXIT_S: Final = 1.5
"""A child whose parent died is gone after so long, whatever its sinks and its callback do."""
FAREWELL_S: Final = 1.0
"""For the last events to be told."""


def main(descriptor: int) -> None:
    """Serve the parent at the other end of a socket until it says `End`, or is gone."""
    for number in (
        signal.SIGINT,
        signal.SIGTERM,
    ):  # those of a terminal or a service are the parent's to heed
        signal.signal(number, signal.SIG_IGN)
    with socket.socket(fileno=descriptor) as sock:
        sock.set_inheritable(False)
        _Child(sock).run()


class _Child:
    """Carries out orders on the main thread; ``tickbraid-teller`` tells what happens and what was counted."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._parent = os.getppid()
        self._outbox: Queue[Word | ReportNow | None] = Queue(OUTBOX_MESSAGES)
        self._finished = False
        """The stream came to its end by itself."""
        self._missing: set[str] = set()
        self._carries: dict[str, None] = {}
        self._wants = 0
        self._up = False
        self._rates_due_s = 0.0
        self._loop: SocketLoop
        self._gaps: Gaps
        self._activity: Activity
        self._connection: Connection
        self._stream: TickStream
        self._columns: ColumnOrders

    def run(self) -> None:
        """Do everything, from the first order to the last word."""
        orders = read_orders(self._sock)
        begin = next(orders, None)
        if not isinstance(begin, Begin):
            return
        logging.basicConfig(level=begin.log_level, handlers=[_Forwarder(self._log)])
        self._settings = begin.settings
        self._stream = braid_stream(begin.settings, time.time_ns, self._make_sources)
        self._columns = ColumnOrders(self._stream, self._put)
        all_told = threading.Event()
        self._stream.status.subscribe(self._tell_event, on_completed=all_told.set)
        teller = threading.Thread(target=self._tell, name="tickbraid-teller", daemon=True)
        teller.start()
        drain_s = ORPHAN_DRAIN_S
        try:
            self._stream.start(on_completed=self._finish)
        except ValueError as error:
            self._put(Unable(str(error)))
        else:
            for order in orders:
                if isinstance(order, End):
                    drain_s = order.timeout_s
                    break
                self._carry_out(order)
            else:
                if not self._finished:
                    _exit_after(ORPHAN_EXIT_S)
        self._stream.close(drain_s)
        all_told.wait(FAREWELL_S)
        self._put(None)
        teller.join(FAREWELL_S)

    # -- orders, on the main thread -------------------------------------------------------------------------

    def _carry_out(self, order: Order) -> None:
        connection = self._connection
        match order:
            case Want(channels):
                self._soon(lambda: self._want(channels))
            case GiveUp(channels):
                self._soon(lambda: self._give_up(channels))
            case Resume():
                connection.resume()
            case Reconnect(reason):
                connection.reconnect(reason)
            case Probe():
                connection.probe()
            case OpenGaps() | CloseGaps() | ForgetGaps():
                self._soon(lambda: self._mind_gaps(order))
            case HandColumns() | StopColumns():
                self._columns.carry_out(order)
            case ReportNow():
                self._put(order)

    def _mind_gaps(self, order: OpenGaps | CloseGaps | ForgetGaps) -> None:
        match order:
            case OpenGaps(tickers, cut_ns):
                self._open_gaps(tickers, cut_ns)
            case CloseGaps(tickers, confirmed_ns):
                self._close_gaps(tickers, confirmed_ns)
            case ForgetGaps(tickers):
                self._forget_gaps(tickers)

    def _make_sources(  # as MakeSources has them
        self,
        settings: Settings,
        loop: SocketLoop,
        _status_stream: StatusStream,
        clock: Callable[[], int],
        gaps: Gaps,
        activity: Activity,
    ) -> tuple[list[Source], Carriage | None]:
        """Make the one connection; what it carries the parent decides."""
        self._loop, self._gaps, self._activity = loop, gaps, activity
        self._connection = connect(settings, settings.connections[0], loop, self._hear, clock)
        return [self._connection], None

    def _finish(self) -> None:
        """Leave the loop of orders; from any thread."""
        self._finished = True
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RD)

    # -- on the reading thread ------------------------------------------------------------------------------

    def _hear(self, event: status.StatusEvent) -> None:
        if isinstance(event, status.Authenticated):
            self._up = True
        elif isinstance(event, status.Disconnected) and self._up:
            # Here and not when the parent says so: by then the next session may have brought ticks.
            self._up = False
            self._open_gaps(tuple(dict.fromkeys(c.partition(".")[2] for c in self._carries)), event.at_ns)
        self._put(Heard(event, self._wants))

    def _want(self, channels: tuple[str, ...]) -> None:
        self._connection.want(channels)
        # Right behind what that scheduled, in one round of the loop: no answer can be read in between.
        self._soon(lambda: self._wanted(channels))

    def _wanted(self, channels: tuple[str, ...]) -> None:
        self._carries |= dict.fromkeys(channels)
        self._wants += 1

    def _give_up(self, channels: tuple[str, ...]) -> None:
        self._connection.give_up(channels)
        for channel in channels:
            self._carries.pop(channel, None)

    def _open_gaps(self, tickers: tuple[str, ...], cut_ns: int) -> None:
        new = [ticker for ticker in tickers if ticker not in self._missing]
        self._missing.update(new)
        self._gaps.open(self._connection.id, new, cut_ns)

    def _close_gaps(self, tickers: tuple[str, ...], confirmed_ns: int) -> None:
        self._missing.difference_update(tickers)
        self._gaps.close(self._connection.id, tickers, confirmed_ns)

    def _forget_gaps(self, tickers: tuple[str, ...]) -> None:
        self._missing.difference_update(tickers)
        self._gaps.forget(tickers)

    def _soon(self, action: Callable[[], None]) -> None:
        self._loop.schedule(lambda *_: action())

    # -- telling --------------------------------------------------------------------------------------------

    def _tell_event(self, event: status.StatusEvent) -> None:
        self._put(Heard(event, self._wants))

    def _log(self, said: Said) -> None:
        if self._outbox.qsize() < LOGS_MAX:
            self._put(said)

    def _put(self, word: Word | ReportNow | None) -> None:
        """Have something told, from any thread; never blocks."""
        try:
            self._outbox.put_nowait(word)
        except Full:  # a parent that has not listened for so long is as good as gone
            with suppress(OSError):
                self._sock.shutdown(socket.SHUT_RDWR)

    def _tell(self) -> None:
        due_s = time.monotonic()
        try:
            while True:
                with suppress(Empty):
                    word = self._outbox.get(timeout=max(0.0, due_s - time.monotonic()))
                    if word is None:
                        break
                    self._sock.sendall(pack(self._answer(word) if isinstance(word, ReportNow) else word))
                if time.monotonic() >= due_s:
                    due_s = time.monotonic() + REPORT_EVERY_S
                    self._sock.sendall(pack(self._report()))
                    if os.getppid() != self._parent:  # a process that it forked may hold its end open
                        self._sock.shutdown(socket.SHUT_RDWR)
            self._sock.sendall(pack(self._report(last=True)))
        except OSError:  # the parent is gone, as the main thread sees too, unless it still imports
            _exit_after(ORPHAN_EXIT_S)

    def _answer(self, order: ReportNow) -> Report:
        return self._report(order.number, rates=order.rates)

    def _report(self, number: int = 0, *, rates: bool = False, last: bool = False) -> Report:
        at_ns, now_s = time.time_ns(), time.monotonic()
        if now_s >= self._rates_due_s:
            self._rates_due_s = now_s + self._settings.websocket_health_check_interval / 2
            rates = True
        measured = self._activity.measure() if rates and hasattr(self, "_activity") else None
        return Report(at_ns, self._stream.figures(), number, measured, last)


def _exit_after(delay_s: float) -> None:
    timer = threading.Timer(delay_s, os._exit, [1])
    timer.name, timer.daemon = "tickbraid-end", True
    timer.start()


class _Forwarder(logging.Handler):
    """Hands log records to the parent, except for the status events, which it logs itself."""

    def __init__(self, put: Callable[[Said], None]) -> None:
        super().__init__()
        self._put = put
        self.addFilter(lambda record: record.name != "tickbraid.status")

    def emit(self, record: logging.LogRecord) -> None:
        self._put(Said(record.name, record.levelno, self.format(record), str(record.msg)))
