"""A running stream with TickStock's callbacks: what all faces have in common."""

import contextlib
import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Final

from pipeline import status
from pipeline.build import build_pipeline
from pipeline.callables import check_callable, refuse_unrun
from pipeline.errors import Closed
from pipeline.massive.protocol import channels_for
from pipeline.massive.snapshot import Phase
from pipeline.settings import Settings
from pipeline.steered import CONNECT_TIMEOUT_S
from pipeline.stream import TickStream
from pipeline.symbols import read_symbols
from pipeline.tick_data import TickData

from .tick_data_sink import TickDataSink
from .words import StatusCallback, in_words

__all__ = ["CALLBACK", "Session", "TickCallback"]

log = logging.getLogger("tickbraid.tickstock")

TickCallback = Callable[[TickData], object]

CALLBACK: Final = "tickstock"
"""The subscriber's name in the account; its thread is ``tickbraid-tickstock``."""
CONFIRM_TIMEOUT_S: Final = 5.0
DRAIN_TIMEOUT_S: Final = 2.0
LOOK_AGAIN_S: Final = 0.01


class Session:
    """Connects, carries what it is told to, and calls back; all methods from any thread.

    Ticks are called back on one thread, status events on another, so a slow callback delays neither the
    socket nor the other callback. A session that was closed can be opened again; it begins with the tickers
    of its settings.

    Args:
        settings: of the stream.
        on_tick: is given every tick.
        on_status: is given every status event, in TickStock's words.

    Raises:
        TypeError: one of them is an ``async def`` or a generator function, of which a call would run nothing.
    """

    def __init__(
        self, settings: Settings, on_tick: TickCallback | None, on_status: StatusCallback | None
    ) -> None:
        check_callable(on_tick, "the tick callback")
        check_callable(on_status, "the status callback")
        self.settings = settings
        self.stream: TickStream | None = None
        """The stream, from `open` on; a closed one still tells its last counts."""
        self._is_open = False
        self._on_tick = on_tick or _ignore
        self._on_status = on_status
        self._opening = threading.Lock()
        self._changed = threading.Condition()
        self._live: set[str] = set()
        self._channels: dict[str, dict[str, bool]] = defaultdict(dict)
        """By connection: channel to whether it was confirmed; False where it was refused or not answered."""
        self._calling_back: int | None = None
        """The thread on which the status callback runs, while it does."""

    def open(self) -> bool:
        """Connect, and tell whether at least one connection is up; where none is, close again.

        Returns as soon as every connection is up or has failed for good, after 15 s at most.
        """
        if self.stream is not None:
            self.stream.status.owner.check()  # before the lock, which a fork may have left held
        with self._opening:
            if self.stream is not None and self.up():
                return True
            self._close()
            self._is_open = True
            self.stream = stream = build_pipeline(self.settings)
            self._live.clear()
            self._channels.clear()
            stream.status.subscribe(lambda event: self._hear(stream, event))
            with contextlib.suppress(Closed):  # somebody disconnects meanwhile
                stream.attach(TickDataSink(self._on_tick, CALLBACK))
                if stream.wait_connected(CONNECT_TIMEOUT_S) and self._is_open:
                    return True
            self._close()
            return False

    def close(self) -> None:
        """Close the sockets; the callback gets what was received, within 2 s, and nothing any more."""
        self._close()

    def up(self) -> tuple[str, ...]:
        """Return the ids of the connections that are up; already so when the callback hears "connected"."""
        if not self._is_open:
            return ()
        return tuple(id_ for id_, its in self.connections().items() if its["phase"] == Phase.LIVE.value)

    def tickers(self) -> dict[str, tuple[str, ...]]:
        """Return connection id to the tickers it carries; empty where nothing runs."""
        return self.stream.tickers() if self.stream is not None and self._is_open else {}

    def confirmed(self, connection: str) -> set[str]:
        """Return the tickers of which the server confirmed a channel on a connection."""
        with self._changed:
            channels = [name for name, good in self._channels[connection].items() if good]
        return {channel.partition(".")[2] for channel in channels}

    def connections(self) -> Mapping[str, Mapping[str, Any]]:
        """Return connection id to its health."""
        health = {} if self.stream is None else self.stream.health()
        return {connection["id"]: connection for connection in health.get("connections", ())}

    def delivered(self) -> Mapping[str, int]:
        """Return connection id to the ticks that the callback was given, whether or not it raised."""
        accounts = {} if self.stream is None else self.stream.accounts()
        return {
            name: account.delivered + account.failed for name, account in accounts.get(CALLBACK, {}).items()
        }

    def callback_errors(self) -> int:
        """Return how often the tick callback raised."""
        subscribers = {} if self.stream is None else self.stream.health()["subscribers"]
        return int(subscribers[CALLBACK]["sink"]["errors"]) if CALLBACK in subscribers else 0

    def subscribe(self, tickers: Iterable[object] | str, connection: str | None = None) -> bool:
        """Carry these too, and wait some seconds until the server has confirmed them.

        They are asked for as they are written. What is carried already stays where it is; what can be no
        symbol is told and costs nothing but itself. On the thread of the status callback, which is told of
        confirmations, they are not waited for.

        Args:
            tickers: symbols, or one.
            connection: where to; the strategy chooses by default.

        Returns:
            False where nothing is connected, or every one was refused or can be no symbol.
        """
        given = [tickers] if isinstance(tickers, str) else list(tickers)
        wanted = read_symbols(given).good
        up = self.up()
        if self.stream is None or not up:
            log.warning("cannot subscribe: not connected")
            return False
        self.stream.add_tickers(given)
        if connection is not None and len(self.settings.connections) > 1:
            for ticker in wanted:
                self.stream.move_ticker(ticker, connection)
        if self._calling_back == threading.get_ident():
            return True
        if not self._wait(lambda: self._is_settled(wanted, up, connection)):
            log.warning("not confirmed within %g s, and waited for no longer: %s", CONFIRM_TIMEOUT_S, wanted)
        answers = self._answers()
        return not given or any(answers.get(ticker, True) for ticker in wanted)

    def unsubscribe(self, tickers: Iterable[object] | str) -> bool:
        """Carry these no more; what is not carried is told.

        Returns:
            False where nothing is connected.
        """
        given = [tickers] if isinstance(tickers, str) else list(tickers)
        gone = read_symbols(given).good
        if self.stream is None or not self.up():
            log.warning("cannot unsubscribe: not connected")
            return False
        self.stream.remove_tickers(given)
        return self._wait(lambda: not set(gone).intersection(*[set().union(*self.tickers().values())]))

    def _is_settled(self, tickers: Iterable[str], up: Collection[str], connection: str | None) -> bool:
        """Tell whether each ticker is somewhere, and the server has answered for all its channels there.

        What is on a connection that is not up is not waited for: it will be subscribed to when that returns.
        """
        types = {line.id: line.event_types for line in self.settings.connections}
        homes: dict[str, list[str]] = defaultdict(list)
        for id_, its in self.tickers().items():
            for ticker in its:
                homes[ticker].append(id_)
        return all(
            homes[ticker]
            and (connection is None or connection in homes[ticker])
            and all(
                self._channels[id_].keys() >= {*channels_for([ticker], types[id_])}
                for id_ in homes[ticker]
                if id_ in up
            )
            for ticker in tickers
        )

    def _answers(self) -> dict[str, bool]:
        """Return by ticker whether any of its channels was confirmed; without those not answered for yet."""
        answers: dict[str, bool] = {}
        with self._changed:
            for channels in self._channels.values():
                for channel, good in channels.items():
                    ticker = channel.partition(".")[2]
                    answers[ticker] = good or answers.get(ticker, False)
        return answers

    def _wait(self, condition: Callable[[], bool]) -> bool:
        """Wait until a condition holds, and tell whether it does; looks at each event, and every 10 ms."""
        deadline_s = time.monotonic() + CONFIRM_TIMEOUT_S
        with self._changed:
            while not condition():
                if time.monotonic() >= deadline_s or self.stream is None:
                    return False
                self._changed.wait(LOOK_AGAIN_S)
        return True

    def _close(self) -> None:
        self._is_open = False
        if self.stream is not None:
            self.stream.close(DRAIN_TIMEOUT_S)

    def _hear(self, stream: TickStream, event: status.StatusEvent) -> None:
        """Note what an event says and call back; on the thread of the status stream."""
        was_live = event.connection in self._live
        if stream is self.stream:
            with self._changed:
                self._note(event, event.connection or "")
                self._changed.notify_all()
        if self._on_status is not None:
            self._calling_back = threading.get_ident()
            try:
                returned = self._on_status(*in_words(event, was_live=was_live))
                if returned is not None:
                    refuse_unrun(returned, "the status callback")
            finally:
                self._calling_back = None

    def _note(self, event: status.StatusEvent, connection: str) -> None:
        channels = self._channels[connection]
        match event:
            case status.Authenticated():
                self._live.add(connection)
            case status.Disconnected() | status.Closed():
                self._live.discard(connection)
                channels.clear()
            case status.Subscribed():
                channels.update(dict.fromkeys(event.channels, True))
            case status.Refused() | status.Unanswered():
                channels.update(dict.fromkeys(event.channels, False))
            case status.Unsubscribed():
                for channel in event.channels:
                    channels.pop(channel, None)


def _ignore(_: TickData) -> None:
    """Take a tick nobody asked for."""
