"""`MassiveWebSocketClient`: one connection, with TickStock's interface."""

from collections.abc import Mapping
from typing import Any

from .config import stream_settings_of
from .face import ConnectionFace
from .session import Session, TickCallback
from .words import StatusCallback

__all__ = ["MassiveWebSocketClient"]


class MassiveWebSocketClient(ConnectionFace):
    """Keeps one connection to Massive, whatever ends it, and calls back; all methods from any thread.

    Args:
        api_key: of the account.
        on_tick_callback: is given every tick as `TickData`, on a thread of its own, one at a time.
        on_status_callback: is given ``connected``, ``disconnected``, ``error`` or ``status_update`` and a
            dict of its own, on another thread.
        config: TickStock's configuration; its addresses, event types and retries count. Never changed.

    Raises:
        SettingsError: ``config`` has a value that its key does not take, or there is no key.
    """

    def __init__(
        self,
        api_key: str,
        on_tick_callback: TickCallback | None = None,
        on_status_callback: StatusCallback | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        self.config = config or {}
        settings = stream_settings_of(
            self.config,
            USE_MASSIVE_API=True,
            USE_SYNTHETIC_DATA=False,
            MASSIVE_API_KEY=api_key,
            USE_MULTI_CONNECTION=False,
            WEBSOCKET_CONNECTION_1_UNIVERSE_KEY="",
            WEBSOCKET_CONNECTION_1_SYMBOLS="",
            WEBSOCKET_REDUNDANT_SYMBOLS="",
        )
        (line,) = settings.connections
        super().__init__(Session(settings, on_tick_callback, on_status_callback), line.id, line.url)

    def connect(self) -> bool:
        """Connect; return as soon as the server has accepted the key, or False after 15 s at most.

        A connection that was made comes back by itself whatever ends it, with all it is subscribed to.
        """
        return self._session.open()

    def disconnect(self) -> None:
        """Close; what was received is still called back, for 2 s at most, and nothing afterwards."""
        self._session.close()
