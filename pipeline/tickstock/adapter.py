"""`RealTimeDataAdapter`: ticks from Massive, over one connection or several, with TickStock's interface."""

from collections.abc import Mapping
from typing import Any

from pipeline.callables import check_callable
from pipeline.stream import TickStream

from .client import MassiveWebSocketClient
from .config import settings_of
from .manager import MultiConnectionManager
from .session import TickCallback
from .words import StatusCallback

__all__ = ["RealTimeDataAdapter"]


class RealTimeDataAdapter:
    """Chooses the client by the configuration, and connects it; all methods from any thread.

    Args:
        config: TickStock's configuration. Never changed.
        tick_callback: is given every tick as `TickData`, one at a time.
        status_callback: is given a status word and a dict.

    Attributes:
        client: a `MultiConnectionManager` where USE_MULTI_CONNECTION is on, else a `MassiveWebSocketClient`;
            None where USE_MASSIVE_API is off or there is no MASSIVE_API_KEY.

    Raises:
        SettingsError: ``config`` has a value that its key does not take.
    """

    def __init__(
        self, config: Mapping[str, Any], tick_callback: TickCallback, status_callback: StatusCallback
    ) -> None:
        check_callable(tick_callback, "tick_callback")
        check_callable(status_callback, "status_callback")
        self.config = config
        self.tick_callback = tick_callback
        self.status_callback = status_callback
        self.client: MassiveWebSocketClient | MultiConnectionManager | None = None
        # With synthetic data a missing key is no problem; here it means that there is no client.
        settings = settings_of(config, USE_SYNTHETIC_DATA=True)
        if not settings.use_massive_api or not settings.massive_api_key:
            return
        if settings.use_multi_connection:
            self.client = MultiConnectionManager(
                config=config,
                on_tick_callback=tick_callback,
                on_status_callback=status_callback,
                max_connections=settings.websocket_connections_max,
            )
        else:
            self.client = MassiveWebSocketClient(
                api_key=settings.massive_api_key.reveal(),
                on_tick_callback=tick_callback,
                on_status_callback=status_callback,
                config=config,
            )

    @property
    def stream(self) -> TickStream | None:
        """The pipeline beneath, once connected."""
        return None if self.client is None else self.client.stream

    def connect(self, tickers: list[str]) -> bool:
        """Connect and subscribe; tell whether the client connected. False without a client.

        The tickers are asked for as they are written; what can be no symbol is told to the status callback.
        """
        if self.client is None or not self.client.connect():
            return False
        try:
            self.client.subscribe(tickers)
        except BaseException:  # whoever is told that it did not connect need not disconnect
            self.client.disconnect()
            raise
        return True

    def disconnect(self) -> None:
        """Disconnect the client, if there is one."""
        if self.client is not None:
            self.client.disconnect()
