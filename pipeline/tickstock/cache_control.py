"""`CacheControl`: universes by key, with TickStock's interface."""

from collections.abc import Mapping
from typing import Any

from pipeline.routing.universe import universes_of

from .config import settings_of

__all__ = ["CacheControl"]


class CacheControl:
    """Looks universes up where the pipeline does: the settings, then registered providers.

    Args:
        config: TickStock's configuration; its ``UNIVERSES`` join those of the settings.

    Raises:
        SettingsError: a value is not what its key takes.
    """

    def __init__(self, config: Mapping[str, Any] | None = None) -> None:
        self._settings = settings_of(config or {}, USE_SYNTHETIC_DATA=True)  # no key is needed to look up

    def get_universe_tickers(self, key: str) -> list[str]:
        """Return the tickers of a key, or of several joined with ``+``; empty for an unknown one.

        On the caller's thread, as are the providers that it asks.
        """
        return universes_of(self._settings).get_universe_tickers(key)
