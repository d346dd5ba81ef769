"""Load the settings: layered, typed, frozen, and with every problem reported at once.

Layers, later wins: the defaults of `pipeline.setting_keys`, ``settings.yaml``, ``.env``, the environment, and
what `load_settings` is given. Everything here runs on the caller's thread.
"""

import logging
import os
from collections.abc import Mapping
from dataclasses import replace
from math import inf
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import urlsplit

from operators.runtime import SYSTEM

from .errors import SettingsError
from .loopback import is_loopback
from .markets import (
    MARKETS,
    OPTION_CONTRACTS_MAX,
    contracts_max,
    is_massive,
    market_of,
    not_in_market,
    words_of,
)
from .secret import MASK, Secret, mask_url
from .session_hours import session_hours, week_before
from .setting_keys import (
    CONNECTION_KEYS,
    DEFAULT_TICKERS,
    KEYS,
    UNIVERSES,
    ConnectionSettings,
    Key,
    Settings,
    connection_key,
    split_connection_key,
)
from .setting_kinds import MOMENT, SYMBOLS, Misfit, OddSymbols, moment_words, shown
from .setting_layers import (
    Layer,
    config_layer,
    dotenv_layer,
    environment_layer,
    file_layer,
    is_known,
    shipped_universes,
)
from .symbols import OddSymbol

__all__ = [
    "DEFAULT_TICKERS",
    "FILE_NAME",
    "ConnectionSettings",
    "Secret",
    "Settings",
    "describe",
    "is_known",
    "load_settings",
]

logger = logging.getLogger("tickbraid.settings")

FILE_NAME: Final = "settings.yaml"


def load_settings(
    config: Any = None,
    *,
    environ: Mapping[str, str] | None = None,
    directory: str | os.PathLike[str] | None = None,
    file: str | os.PathLike[str] | None = None,
) -> Settings:
    """Read all layers and return the settings they give.

    What is wrong and costs nothing but itself is logged as a warning: an odd symbol in a list of good ones,
    and a key of what is not used.

    Args:
        config: a mapping of keys to values, or a dynaconf object; wins over everything else.
        environ: stands for ``os.environ``.
        directory: where ``settings.yaml`` and ``.env`` are looked for; the working directory by default.
            Neither has to exist.
        file: a settings file of another name or place; has to exist.

    Raises:
        SettingsError: something is wrong; it names everything that is.
        TypeError: ``config`` is neither a mapping nor a dynaconf object.
    """
    problems: list[str] = []
    folder = Path.cwd() if directory is None else Path(directory)
    layers = []
    if file is not None:
        layers.append(file_layer(Path(file), problems))
    elif (folder / FILE_NAME).exists():
        layers.append(file_layer(folder / FILE_NAME, problems))
    layers.append(dotenv_layer(folder / ".env", problems))
    layers.append(environment_layer(os.environ if environ is None else environ, problems))
    if config is not None:
        layers.append(config_layer(config, problems))
    reader = _Reader(layers, problems)
    values: dict[str, Any] = {}
    for name, key in KEYS.items():
        values[name.lower()] = reader.read(name, key, idle=_is_idle(name, values))
    universes = reader.read_universes()
    connections = _read_connections(reader, values)
    _settle_redis(reader, values)
    settings = Settings(
        **values,
        connections=connections,
        universes=MappingProxyType(universes),
        provenance=MappingProxyType(reader.provenance),
        odd_symbols=MappingProxyType(reader.odd_symbols),
    )
    _check_together(reader, settings)
    if problems:
        raise SettingsError(problems)
    return settings


def describe(settings: Settings) -> list[tuple[str, str, str]]:
    """List (key, value, where it came from) for people; secrets are masked."""
    rows = [(name, getattr(settings, name.lower())) for name in KEYS]
    for connection in settings.connections:
        rows += [
            (_name(connection.number, part), getattr(connection, part.lower())) for part in CONNECTION_KEYS
        ]
    rows.append((UNIVERSES, tuple(settings.universes)))
    return [(name, _in_words(name, value), settings.provenance.get(name, "default")) for name, value in rows]


def _in_words(name: str, value: object) -> str:
    if isinstance(value, Secret):
        text = value.reveal()
        return mask_url(text) if text and name == "REDIS_URL" else MASK if text else ""
    if isinstance(value, bool):
        return shown(value)
    if name in KEYS and KEYS[name].kind is MOMENT:
        return moment_words(value)
    if value == inf:
        return "max"
    return ", ".join(value) if isinstance(value, tuple) else str(value)


class _Reader:
    """Finds each key in the highest layer that sets it, notes where that was, and what is wrong with it."""

    def __init__(self, layers: list[Layer], problems: list[str]) -> None:
        self._layers = layers
        self._problems = problems
        self._rejected: set[str] = set()
        self.provenance: dict[str, str] = {}
        self.odd_symbols: dict[str, tuple[OddSymbol, ...]] = {}

    def read(self, name: str, key: Key, *, idle: bool = False) -> Any:
        """Return the typed value; None where it is not set and has no default.

        Args:
            name: the key's.
            key: its description.
            idle: nothing comes of it, so that nothing may be refused for it.
        """
        for layer in reversed(self._layers):
            value = layer.values.get(name)
            blank = isinstance(value, str) and not value.strip()
            if value is not None and not (blank and key.kind.blank_is_unset):
                self.provenance[name] = layer.source
                result = self._typed(name, layer.source, value, key, idle=idle)
                if result is not None:
                    return result
                break
        else:
            self.provenance[name] = "default"
        return _default(key)

    def is_set(self, name: str) -> bool:
        """Tell whether some layer set a key that was read."""
        return self.provenance[name] != "default"

    def is_sound(self, name: str) -> bool:
        """Tell whether nothing was wrong with a key, so that it makes sense to compare it with others."""
        return name not in self._rejected

    def read_universes(self) -> dict[str, tuple[str, ...]]:
        """Join the universes of all layers with those that come with Tickbraid; later wins, key by key."""
        found = {name: SYMBOLS.read(symbols) for name, symbols in shipped_universes().items()}
        self.provenance[UNIVERSES] = "default"
        for layer in self._layers:
            universes = layer.values.get(UNIVERSES)
            if universes is None:
                continue
            self.provenance[UNIVERSES] = layer.source
            if not isinstance(universes, Mapping):
                self.reject(UNIVERSES, shown(universes), "a mapping of keys to symbols", layer.source)
                continue
            key = Key("", SYMBOLS, "", "")
            for name, symbols in universes.items():
                found[str(name)] = self._typed(f"{UNIVERSES}[{name}]", layer.source, symbols, key) or ()
        return found

    def pass_over_beyond(self, maximum: int) -> None:
        """Warn of what is set for connections beyond the last; their defaults may stand in a file."""
        for layer in self._layers:
            for name, value in layer.values.items():
                number, part = split_connection_key(name) or (0, "")
                if number > maximum and value not in (None, ""):
                    key = connection_key(number, part)
                    if self._typed(name, layer.source, value, key, idle=True) not in (None, _default(key)):
                        limit = f"nothing beyond WEBSOCKET_CONNECTIONS_MAX, which is {maximum}"
                        self._pass_over(name, layer.source, shown(value), limit)

    def reject(self, name: str, got: str, expected: str, source: str = "") -> None:
        """Note a problem; the source is by default where the value came from that is used."""
        self._rejected.add(name)
        self._problems.append(f"{name} ({source or self.provenance[name]}): got {got}, expected {expected}")

    def _pass_over(self, name: str, source: str, got: str, expected: str) -> None:
        """Warn of what is not used, so that it refuses nothing."""
        logger.warning("%s (%s) is not used: got %s, expected %s", name, source, got, expected)

    def _typed(self, name: str, source: str, value: object, key: Key, *, idle: bool = False) -> Any:
        try:
            return key.kind.read(value)
        except Misfit as misfit:
            if isinstance(misfit, OddSymbols) and misfit.rest:
                if not idle:
                    self.odd_symbols[name] = misfit.odd
                logger.warning("%s (%s): left out %s", name, source, misfit.got)
                return misfit.rest
            expected = misfit.expected or key.kind.expected
            if idle:
                self._pass_over(name, source, misfit.got, expected)
            else:
                self.reject(name, misfit.got, expected, source)
            return None


def _default(key: Key) -> Any:
    missing = key.default is None or (key.default == "" and key.kind.blank_is_unset)
    return None if missing else key.kind.read(key.default)


def _read_connections(reader: _Reader, values: Mapping[str, Any]) -> tuple[ConnectionSettings, ...]:
    maximum = values["websocket_connections_max"]
    if reader.is_sound("WEBSOCKET_CONNECTIONS_MAX"):
        reader.pass_over_beyond(maximum)
    several = values["use_multi_connection"]
    connections = []
    for number in range(1, maximum + 1):
        parts: dict[str, Any] = {}
        idle = number > 1 and not several
        for part in CONNECTION_KEYS:  # ENABLED is the first
            parts[part.lower()] = reader.read(_name(number, part), connection_key(number, part), idle=idle)
            idle = not (parts["enabled"] if several else number == 1)
        parts["name"] = parts["name"] or f"connection_{number}"
        parts["url"] = parts["url"] or values["massive_websocket_url"]
        parts["event_types"] = parts["event_types"] or values["massive_event_types"]
        connections.append(ConnectionSettings(number=number, **parts))
    if not several:
        return (replace(connections[0], enabled=True),)
    _check_names(reader, [connection for connection in connections if connection.enabled])
    return tuple(connections)


def _name(number: int, part: str) -> str:
    return f"WEBSOCKET_CONNECTION_{number}_{part}"


def _is_idle(name: str, values: Mapping[str, Any]) -> bool:
    """Tell whether a key is a part of Redis's address that those before it leave unused.

    Kubernetes sets ``REDIS_PORT=tcp://…`` in every pod beside a service named ``redis``.
    """
    if name not in {"REDIS_PORT", "REDIS_DB"}:
        return False
    enabled, wanted = values["redis_enabled"], values["redis_enabled"] or values["redis_host"]
    return bool(values["redis_url"]) or enabled is False or not wanted


def _settle_redis(reader: _Reader, values: dict[str, Any]) -> None:
    """Let REDIS_ENABLED follow from the address, and assemble the address from its parts."""
    url, host = values["redis_url"], values["redis_host"]
    if values["redis_enabled"] is None:
        values["redis_enabled"] = bool(url or host)
    if not url and (host or values["redis_enabled"]):
        host = f"[{host}]" if ":" in host else host or "localhost"
        values["redis_url"] = Secret(f"redis://{host}:{values['redis_port']}/{values['redis_db']}")
        reader.provenance["REDIS_URL"] = reader.provenance["REDIS_HOST"]


def _check_names(reader: _Reader, connections: list[ConnectionSettings]) -> None:
    """Reject a name that two connections share."""
    first_of: dict[str, ConnectionSettings] = {}
    for connection in connections:
        first = first_of.setdefault(connection.name.casefold(), connection)
        if first is not connection:
            key = _name(connection.number, "NAME")
            expected = f"a name of its own ({first.id} has this one)"
            reader.reject(key, shown(connection.name), expected)


def _check_together(reader: _Reader, settings: Settings) -> None:
    """Reject what is wrong only in the light of other keys."""
    needs_key = settings.use_massive_api and not settings.use_synthetic_data and not settings.replay_path
    if needs_key and not settings.massive_api_key and reader.is_sound("MASSIVE_API_KEY"):
        reason = f"USE_MASSIVE_API is on ({settings.provenance['USE_MASSIVE_API']})"
        reader.reject("MASSIVE_API_KEY", "nothing", f"the key of the account, since {reason}")
    first_s, last_s = (
        settings.massive_websocket_reconnect_delay,
        settings.massive_websocket_reconnect_max_delay,
    )
    if last_s < first_s:
        least = f"no less than MASSIVE_WEBSOCKET_RECONNECT_DELAY, {first_s:g}"
        reader.reject("MASSIVE_WEBSOCKET_RECONNECT_MAX_DELAY", shown(last_s), least)
    for overflow, age in (
        ("SUBSCRIBER_OVERFLOW", "SUBSCRIBER_MAX_AGE_MS"),
        ("REDIS_OVERFLOW", "REDIS_MAX_AGE_MS"),
    ):
        if getattr(settings, overflow.lower()) == "block" and (age_ms := getattr(settings, age.lower())):
            reader.reject(age, shown(age_ms), f"0, since {overflow} is block, which loses nothing")
    if settings.massive_api_key:
        _check_encrypted(reader, settings)
    if needs_key:
        _check_markets(reader, settings)
    if settings.use_multi_connection and not settings.websocket_start_empty:
        _check_tickers(reader, settings)
    _check_calendar(reader, settings.market_calendar)
    _check_capture(reader, settings)
    if settings.redis_enabled:
        _check_channels(reader, settings)


def _check_channels(reader: _Reader, settings: Settings) -> None:
    names = [name for name in KEYS if name.startswith("REDIS_CHANNEL_")]
    if all(reader.is_sound(name) and not getattr(settings, name.lower()) for name in names):
        expected = f"a channel in one at least of {', '.join(names)}, since Redis is on"
        reader.reject(names[0], "nothing", expected)


def _check_capture(reader: _Reader, settings: Settings) -> None:
    capture, replay = settings.capture_path, settings.replay_path
    if replay and not Path(replay).is_dir():
        reader.reject("REPLAY_PATH", shown(replay), "a directory that holds a capture")
    if capture and replay and Path(capture).resolve() == Path(replay).resolve():
        expected = "another directory than REPLAY_PATH, which is being replayed"
        reader.reject("CAPTURE_PATH", shown(capture), expected)
    if settings.replay_to and settings.replay_to <= settings.replay_from:
        reader.reject("REPLAY_TO", "a time before it", "a time after REPLAY_FROM")


def _check_calendar(reader: _Reader, name: str) -> None:
    try:
        session_hours(name, week_before(SYSTEM.clock()))
    except (ImportError, ValueError) as error:
        reader.reject("MARKET_CALENDAR", shown(name), str(error))


def _check_encrypted(reader: _Reader, settings: Settings) -> None:
    for connection in settings.connections:
        name = _name(connection.number, "URL")
        name = name if reader.is_set(name) else "MASSIVE_WEBSOCKET_URL"
        parts = urlsplit(connection.url)
        exposed = parts.scheme == "ws" and not is_loopback(parts.hostname or "")
        if connection.enabled and exposed and reader.is_sound(name):
            expected = "wss:// (the key would travel in the clear; only this machine may be reached by ws://)"
            reader.reject(name, shown(connection.url), expected)


def _check_markets(reader: _Reader, settings: Settings) -> None:
    """Reject event types that a connection's market does not have, and what it does not serve."""
    for connection in settings.connections:
        name = _name(connection.number, "EVENT_TYPES")
        name = name if reader.is_set(name) else "MASSIVE_EVENT_TYPES"
        market = market_of(connection.url)
        if connection.enabled and market is None and is_massive(connection.url):
            text, markets = mask_url(connection.url), ", ".join(f"/{market}" for market in MARKETS)
            logger.warning("the address %s of %s names no market: %s", text, connection.id, markets)
        if not connection.enabled or market is None or not reader.is_sound(name):
            continue
        if strange := not_in_market(connection.url, connection.event_types):
            expected = f"event types of {connection.id}, {mask_url(connection.url)}: {words_of(market)}"
            reader.reject(name, ", ".join(strange), expected)
        elif contracts_max(connection.url, connection.event_types) and "*" in _named(settings, connection):
            expected = (
                f"no * with Q or FMV of options on {connection.id}: "
                f"Massive serves them for at most {OPTION_CONTRACTS_MAX:,} contracts, by name"
            )
            reader.reject(name, ", ".join(connection.event_types), expected)


def _named(settings: Settings, connection: ConnectionSettings) -> set[str]:
    """Return what a connection names, as far as the settings themselves say."""
    keys = [key.strip() for key in f"{connection.universe_key}+{settings.symbol_universe_key}".split("+")]
    return {*connection.symbols, *(symbol for key in keys for symbol in settings.universes.get(key, ()))}


def _check_tickers(reader: _Reader, settings: Settings) -> None:
    enabled = [connection for connection in settings.connections if connection.enabled]
    bare = [connection for connection in enabled if not connection.universe_key and not connection.symbols]
    if not enabled:
        name = _name(1, "ENABLED")
        expected = "at least one enabled connection, since USE_MULTI_CONNECTION is on"
        reader.reject(name, "false", expected)
    elif settings.websocket_routing_strategy == "manual":
        for connection in bare:
            name = _name(connection.number, "SYMBOLS")
            if reader.is_sound(name):
                expected = (
                    f"symbols, or a universe in {_name(connection.number, 'UNIVERSE_KEY')}: it is enabled"
                )
                reader.reject(name, "nothing", expected)
    elif len(bare) == len(enabled) and not settings.symbol_universe_key:
        name = "SYMBOL_UNIVERSE_KEY"
        reader.reject(name, "nothing", "a universe: no connection has tickers either")
