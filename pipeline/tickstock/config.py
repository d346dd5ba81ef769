"""TickStock's configuration read as settings: one dict with the whole application's keys, ours among them."""

import difflib
import logging
from collections.abc import Mapping
from typing import Any, Final

from pipeline.setting_keys import known_keys
from pipeline.settings import Settings, is_known, load_settings

__all__ = ["settings_of", "stream_settings_of"]

log = logging.getLogger("tickbraid.tickstock")

TICKSTOCK_NAMES: Final = {"MASSIVE_WEBSOCKET_MAX_RECONNECT_DELAY": "MASSIVE_WEBSOCKET_RECONNECT_MAX_DELAY"}
"""What TickStock calls keys of ours; as good a name as ours here, so nobody is warned."""
TYPO_LIKENESS: Final = 0.92
"""From here on a foreign key is taken for a typo: TickStock's own stay below, a wrong letter is above."""


def settings_of(config: Mapping[str, Any], **forced: Any) -> Settings:
    """Return the settings that a TickStock dict gives, over the environment, ``.env`` and ``settings.yaml``.

    Keys that are not ours are the application's and left alone. The dict is not changed. Tickers come by
    ``subscribe``, so none need be in it.

    Args:
        config: what TickStock's configuration manager hands out.
        forced: keys that the caller knows better than the dict.

    Raises:
        SettingsError: a value is not what its key takes; it names every one.
    """
    ours: dict[str, Any] = {}
    for name, value in config.items():
        key = _key(name)
        if is_known(key) and value is not None:
            ours.setdefault(key, value)
    return load_settings(ours | {"WEBSOCKET_START_EMPTY": True} | forced)


def stream_settings_of(config: Mapping[str, Any], **forced: Any) -> Settings:
    """Return the settings of a stream whose tickers come by ``subscribe``, and not by SYMBOL_UNIVERSE_KEY.

    It publishes to Redis only where the dict itself says REDIS_ENABLED: TickStock's dict always names a
    REDIS_HOST, for a publisher of its own. A key of the dict that looks like a slip of the pen is logged.

    Raises:
        SettingsError: as `settings_of`.
    """
    redis_enabled = config.get("REDIS_ENABLED") or False
    settings = settings_of(config, SYMBOL_UNIVERSE_KEY="", REDIS_ENABLED=redis_enabled, **forced)
    known = tuple(known_keys(settings.websocket_connections_max))
    for key in map(_key, config):
        if not is_known(key):
            for near in difflib.get_close_matches(key, known, n=1, cutoff=TYPO_LIKENESS):
                log.warning("%s is no key of Tickbraid: did you mean %s?", key, near)
    return settings


def _key(name: object) -> str:
    key = str(name).upper()
    return TICKSTOCK_NAMES.get(key, key)
