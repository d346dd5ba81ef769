"""`MarketDataService`: from the feed to Redis and to the browsers, with TickStock's interface."""

import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from pipeline.callables import check_callable
from pipeline.settings import DEFAULT_TICKERS
from pipeline.stream import REDIS
from pipeline.tick_data import TickData

from .adapter import RealTimeDataAdapter
from .cache_control import CacheControl
from .config import settings_of
from .manager import MultiConnectionManager
from .synthetic_adapter import SyntheticDataAdapter

__all__ = ["MarketDataService", "ServiceStats"]

log = logging.getLogger("tickbraid.tickstock")


class SocketIO(Protocol):
    """Is what the service needs of Flask-SocketIO."""

    def emit(self, event: str, *args: Any) -> None:
        """Send to all clients; from any thread."""
        ...


@dataclass(frozen=True, slots=True)
class ServiceStats:
    """Counts since the service was made.

    Args:
        ticks_processed: ticks taken from the feed.
        events_published: ticks that Redis took, and ``tick_update`` events given to SocketIO.
        start_time: float seconds since the epoch; None before the first start.
        last_tick_time: the same, of the last tick; None before the first.
    """

    ticks_processed: int = 0
    events_published: int = 0
    start_time: float | None = None
    last_tick_time: float | None = None


class MarketDataService:
    """Runs an adapter, publishes every tick to Redis and to SocketIO; all methods from any thread.

    Massive where USE_MASSIVE_API is on, there is a MASSIVE_API_KEY and USE_SYNTHETIC_DATA is off; else
    generated ticks. Redis where REDIS_URL or REDIS_HOST is set and REDIS_ENABLED does not say no.

    Args:
        config: TickStock's configuration. Never changed.
        socketio: is given ``tick_update`` with a tick's fields, and ``connection_status`` with ``status`` and
            ``data``, each on a thread of its own.

    Raises:
        SettingsError: ``config`` has a value that its key does not take.
        TypeError: the ``emit`` of ``socketio`` is an ``async def``: it is that of an AsyncServer.
    """

    def __init__(self, config: Mapping[str, Any], socketio: SocketIO | None = None) -> None:
        check_callable(getattr(socketio, "emit", None), "socketio.emit")
        self.config = config
        self.socketio = socketio
        self.data_adapter: RealTimeDataAdapter | SyntheticDataAdapter | None = None
        settings = settings_of(config, USE_SYNTHETIC_DATA=True)  # so that a missing key is no problem yet
        if settings.use_massive_api and not settings.massive_api_key:
            log.warning("ticks are generated: USE_MASSIVE_API is on, but there is no MASSIVE_API_KEY")
        has_account = settings.use_massive_api and bool(settings.massive_api_key)
        self._uses_massive = has_account and not settings_of(config).use_synthetic_data
        self._universe_key = settings.symbol_universe_key
        self._adapter_config = dict(config) | ({"REDIS_ENABLED": True} if settings.redis_enabled else {})
        self._lock = threading.Lock()
        self._running = False
        self._ticks = self._emitted = self._redis_before = 0
        self._start_time: float | None = None
        self._last_tick_time: float | None = None

    @property
    def stats(self) -> ServiceStats:
        """The counts as they are now."""
        published = self._emitted + self._redis_before + self._redis_delivered()
        return ServiceStats(self._ticks, published, self._start_time, self._last_tick_time)

    def start(self) -> bool:
        """Connect and publish; True at once if it runs already.

        Returns:
            False where the feed did not let us in within 15 s; then nothing runs.
        """
        with self._lock:
            if self._running:
                return True
            self.data_adapter = self._make_adapter()
            self._running = self.data_adapter.connect(self._universe())
            if self._running:
                self._start_time = time.time()
            else:
                log.error("the service did not start: the feed could not be reached, or refused the key")
            return self._running

    def stop(self) -> None:
        """Disconnect; what was received is published first, for 2 s at most. Harmless where nothing runs."""
        adapter = self.data_adapter
        if adapter is None:
            return
        adapter.disconnect()  # without the lock: it ends a start that still waits
        with self._lock:
            if self._running:
                self._running = False
                self._redis_before += self._redis_delivered()
                self.data_adapter = None

    def is_running(self) -> bool:
        """Tell whether it was started and not stopped; a connection that is down is being brought back."""
        return self._running

    def get_stats(self) -> dict[str, Any]:
        """Return `stats` as a dict, with ``running``, ``uptime_seconds`` and ``tick_rate`` (ticks/s)."""
        stats = self.stats
        uptime_s = time.time() - stats.start_time if self._running and stats.start_time else 0.0
        rate = stats.ticks_processed / uptime_s if uptime_s else 0.0
        return asdict(stats) | {"running": self._running, "uptime_seconds": uptime_s, "tick_rate": rate}

    def get_health_status(self) -> dict[str, Any]:
        """Return how it is doing in plain values; ``pipeline`` is the health of the stream beneath."""
        health = self._health()
        phases = [connection["phase"] for connection in health.get("connections", ())]
        redis = health.get("subscribers", {}).get(REDIS, {}).get("sink", {})
        last = self._last_tick_time
        return {
            "service_running": self._running,
            "ticks_processed": self._ticks,
            "last_tick_age_seconds": None if last is None else time.time() - last,
            "data_adapter_connected": "live" in phases,
            "redis_connected": redis.get("state") == "up",
            "pipeline": health,
        }

    def _make_adapter(self) -> RealTimeDataAdapter | SyntheticDataAdapter:
        kind = RealTimeDataAdapter if self._uses_massive else SyntheticDataAdapter
        return kind(self._adapter_config, self._take, self._tell)

    def _universe(self) -> list[str]:
        """Return the tickers of SYMBOL_UNIVERSE_KEY; the eight where neither it nor a connection has any."""
        key = self._universe_key
        found = CacheControl(self.config).get_universe_tickers(key) if key else []
        manager = None if self.data_adapter is None else self.data_adapter.client
        if found or (isinstance(manager, MultiConnectionManager) and manager.ticker_to_connection):
            return found
        return list(DEFAULT_TICKERS)

    def _take(self, tick: TickData) -> None:
        """Count and emit a tick; on the thread ``tickbraid-tickstock``."""
        self._ticks += 1
        self._last_tick_time = time.time()
        if self.socketio is not None:
            self.socketio.emit("tick_update", tick.to_dict())
            self._emitted += 1

    def _tell(self, word: str, data: dict[str, Any]) -> None:
        """Emit a status; on the thread ``tickbraid-status``."""
        if self.socketio is not None:
            self.socketio.emit("connection_status", {"status": word, "data": data})

    def _health(self) -> dict[str, Any]:
        stream = None if self.data_adapter is None else self.data_adapter.stream
        return {} if stream is None else stream.health()

    def _redis_delivered(self) -> int:
        stream = None if self.data_adapter is None else self.data_adapter.stream
        accounts = {} if stream is None else stream.accounts().get(REDIS, {})
        return sum(account.delivered for account in accounts.values())
