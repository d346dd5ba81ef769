"""`MultiConnectionManager`: all connections of the account as one client, with TickStock's interface."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from pipeline.errors import SettingsError
from pipeline.routing.route import route
from pipeline.routing.universe import universes_of
from pipeline.settings import ConnectionSettings
from pipeline.stream import TickStream

from .config import stream_settings_of
from .connection_info import ConnectionInfo
from .face import ConnectionFace
from .session import Session, TickCallback
from .words import StatusCallback

__all__ = ["MultiConnectionManager"]

_STATUS: Final = {
    "connecting": "connecting",
    "greeting": "connecting",
    "authenticating": "connecting",
    "live": "connected",
    "backing_off": "error",
    "held": "error",
    "failed": "error",
}
"""Phase of a connection to TickStock's word; any other is ``disconnected``."""


class MultiConnectionManager:
    """Keeps the enabled connections, spreads tickers over them, and calls back; all methods from any thread.

    Where a ticker goes and what happens when a connection dies is the pool's: WEBSOCKET_ROUTING_STRATEGY,
    WEBSOCKET_FAILOVER_ENABLED and their kin hold. With ``manual`` a connection without tickers of its own is
    skipped; with the others it is opened for what `subscribe` brings.

    Args:
        config: TickStock's configuration. Never changed.
        on_tick_callback: is given every tick as `TickData`, on a thread of its own, one at a time.
        on_status_callback: is given a status word and a dict with ``connection_id``, on another thread.
        max_connections: how many the account allows.

    Raises:
        SettingsError: ``config`` has a value that its key does not take, or there is no MASSIVE_API_KEY.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        on_tick_callback: TickCallback | None,
        on_status_callback: StatusCallback | None,
        max_connections: int = 3,
    ) -> None:
        self.config = config
        self.max_connections = max_connections
        self._callbacks = on_tick_callback, on_status_callback
        self._changes: dict[str, Any] = {}
        self._load()

    @property
    def connections(self) -> dict[str, ConnectionInfo]:
        """The connections by id, as they are now."""
        health, delivered = self._session.connections(), self._session.delivered()
        carried = self._tickers()
        return {
            id_: self._info(line, health.get(id_, {}), delivered.get(id_, 0), carried[id_])
            for id_, line in self._lines.items()
        }

    @property
    def ticker_to_connection(self) -> dict[str, str]:
        """Ticker to the id of the connection that carries it; the first, where there are two."""
        homes: dict[str, str] = {}
        for id_, tickers in self._tickers().items():
            for ticker in tickers:
                homes.setdefault(ticker, id_)
        return homes

    @property
    def stream(self) -> TickStream | None:
        """The pipeline beneath, once connected."""
        return self._session.stream

    @property
    def connected(self) -> bool:
        """Whether at least one connection is up."""
        return bool(self._session.up())

    @property
    def subscribed_tickers(self) -> set[str]:
        """What the connections carry together."""
        return set().union(*self._session.tickers().values())

    def is_connected(self) -> bool:
        """Tell whether at least one connection is up."""
        return self.connected

    def get_subscribed_tickers(self) -> set[str]:
        """Return what the connections carry together."""
        return self.subscribed_tickers

    def connect(self) -> bool:
        """Connect all at once; True if at least one is up, False where none is or none is configured.

        Returns as soon as each is up or has failed for good, after 15 s at most. One that is not up by then
        is tried again, as is each that is lost later.
        """
        return self._session.open()

    def disconnect(self) -> None:
        """Close; what was received is still called back, for 2 s at most, and nothing afterwards."""
        self._session.close()

    def subscribe(self, tickers: list[str] | str) -> bool:
        """Carry these too, where the strategy puts them; what is carried already stays where it is.

        They are asked for as they are written; what can be no symbol is told to the status callback. Waits
        some seconds until they are confirmed.

        Returns:
            False where nothing is connected, or all of them were refused.
        """
        return self._session.subscribe(tickers)

    def unsubscribe(self, tickers: list[str] | str) -> bool:
        """Carry these no more; what is not carried is told. False where nothing is connected."""
        return self._session.unsubscribe(tickers)

    def subscribe_ticker(self, ticker: str, connection_id: str | None = None) -> bool:
        """Carry a ticker, on one connection if that is named, even where another carries it now.

        Returns:
            False where that connection, or any, is not connected, or it was refused or can be no symbol.
        """
        if connection_id is not None and connection_id not in self._session.up():
            return False
        return self._session.subscribe(ticker, connection_id)

    def unsubscribe_ticker(self, ticker: str) -> bool:
        """Carry a ticker no more; False where nothing is connected."""
        return self.unsubscribe(ticker)

    def get_connection_for_ticker(self, ticker: str) -> str | None:
        """Return the id of the connection that carries a ticker, None if none does."""
        return self.ticker_to_connection.get(ticker)

    def add_connection(
        self, connection_id: str, tickers: Iterable[str] | str = (), name: str | None = None
    ) -> bool:
        """Enable one more connection; before `connect`.

        Args:
            connection_id: ``connection_2``; up to `max_connections`.
            tickers: what it carries.
            name: for people.

        Returns:
            False if there is one by this id.

        Raises:
            RuntimeError: connections are up. Disconnect first: the set of sockets is fixed while they run.
            ValueError: the id is none.
            SettingsError: it cannot be like that; the connections stay as they were.
        """
        if connection_id in self._lines:
            return False
        self._check_disconnected()
        key = self._key(connection_id)
        if int(key.rpartition("_")[2]) > self.max_connections:
            limit = f"expected one of the {self.max_connections} that the account allows"
            raise SettingsError([f"{key}_ENABLED: got {connection_id}, {limit}"])
        symbols = [tickers] if isinstance(tickers, str) else list(tickers)
        added = {"ENABLED": True, "SYMBOLS": symbols, "UNIVERSE_KEY": "", "NAME": name}
        self._load(**{f"{key}_{part}": value for part, value in added.items() if value is not None})
        return True

    def remove_connection(self, connection_id: str) -> bool:
        """Do without a connection, and the tickers that it names; before `connect`.

        Returns:
            False if there is none by this id.

        Raises:
            RuntimeError: as `add_connection`.
        """
        if connection_id not in self._lines:
            return False
        self._check_disconnected()
        self._load(**{f"{self._key(connection_id)}_ENABLED": False})
        return True

    def rebalance_connections(self) -> dict[str, Any]:
        """Spread the tickers anew by what was measured, at once.

        Returns:
            ``moved``, how many; and ``moves``, ticker to ``from`` and ``to``.
        """
        stream = self._session.stream
        moved = stream.rebalance() if stream is not None and self.connected else ()
        moves = {t: {"from": event.source, "to": event.connection} for event in moved for t in event.tickers}
        return {"moved": len(moves), "moves": moves}

    def get_health_status(self) -> dict[str, Any]:
        """Return totals and each connection in plain values; some under an older name, too."""
        infos = self.connections
        connected = sum(info.status == "connected" for info in infos.values())
        ticks = sum(info.message_count for info in infos.values())
        errors = sum(info.error_count for info in infos.values()) + self._session.callback_errors()
        return {
            "total_connections": len(infos),
            "connected": connected,
            "connected_count": connected,
            "total_tickers": len(self.ticker_to_connection),
            "total_ticks": ticks,
            "total_ticks_received": ticks,
            "total_errors": errors,
            "connections": {id_: self._health(info) for id_, info in infos.items()},
        }

    def _check_disconnected(self) -> None:
        if self.connected:
            raise RuntimeError("connections are added and removed only while disconnected: disconnect first")

    def _load(self, **changes: Any) -> None:
        """Read the settings, with what was added and removed, and begin with them."""
        settings = stream_settings_of(
            self.config,
            USE_MASSIVE_API=True,
            USE_SYNTHETIC_DATA=False,
            USE_MULTI_CONNECTION=True,
            WEBSOCKET_CONNECTIONS_MAX=self.max_connections,
            **(self._changes | changes),
        )
        if settings.websocket_routing_strategy == "manual":
            settings = replace(settings, websocket_start_empty=False)
        self._planned = route(settings, universes_of(settings)).tickers
        self._lines = {
            line.id: line
            for line in settings.connections
            if line.enabled and (settings.websocket_start_empty or self._planned[line.id])
        }
        self._session = Session(settings, *self._callbacks)
        self._changes |= changes

    def _tickers(self) -> Mapping[str, tuple[str, ...]]:
        return self._session.tickers() or self._planned

    def _info(
        self, line: ConnectionSettings, health: Mapping[str, Any], delivered: int, tickers: Iterable[str]
    ) -> ConnectionInfo:
        age_s = health.get("last_message_age_s")
        return ConnectionInfo(
            connection_id=line.id,
            name=line.name,
            client=ConnectionFace(self._session, line.id, line.url),
            assigned_tickers=set(tickers),
            status=_STATUS.get(health.get("phase", ""), "disconnected"),
            message_count=delivered,
            error_count=health.get("errors", 0),
            last_message_time=0.0 if age_s is None else time.time() - age_s,
        )

    @staticmethod
    def _health(info: ConnectionInfo) -> dict[str, Any]:
        count = len(info.assigned_tickers)
        return {
            "name": info.name,
            "status": info.status,
            "tickers": count,
            "assigned_tickers": count,
            "messages": info.message_count,
            "message_count": info.message_count,
            "errors": info.error_count,
            "error_count": info.error_count,
            "last_message_time": info.last_message_time,
        }

    @staticmethod
    def _key(connection_id: str) -> str:
        prefix, _, number = connection_id.partition("_")
        if prefix != "connection" or not number.isdecimal():
            raise ValueError(f"connection_id must be like 'connection_2', not {connection_id!r}")
        return f"WEBSOCKET_CONNECTION_{int(number)}"
