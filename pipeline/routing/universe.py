"""Universes: lists of tickers by name, looked up in a list of providers, and what each connection carries.

A key reads ``group:name`` (``etf:sector_spdrs``); several are joined with ``+``. A provider is any callable
that takes a key and returns tickers, or None if it does not know the key. Everything runs on the caller's
thread; a provider that reads a file or asks Redis does so whenever it is asked, so a change shows at the next
look-up.
"""

import csv
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from pipeline.setting_kinds import is_universe_key
from pipeline.setting_layers import read_yaml
from pipeline.settings import DEFAULT_TICKERS, ConnectionSettings, Settings, load_settings
from pipeline.symbols import OddSymbol, read_symbols, split_symbols

__all__ = [
    "Provider",
    "Universes",
    "connection_tickers",
    "from_file",
    "from_mapping",
    "from_redis",
    "get_universe_tickers",
    "register_provider",
    "universes_of",
]

logger = logging.getLogger("tickbraid.routing")

Provider = Callable[[str], Iterable[object] | str | None]
"""Takes a key; returns its tickers (or a comma list of them), or None for a key it does not know."""

REDIS_KEY_PATTERN: Final = "universe:{key}"


class Universes:
    """Looks keys up in providers, in order; the first that has tickers for a key wins.

    A provider that raises is logged and passed over: a universe is no reason not to start. What can be no
    symbol is left out.

    Args:
        providers: asked in this order.
        tell_odd: is given a key, and what was left out of what a provider has for it; logs it by default.
    """

    def __init__(
        self,
        providers: Iterable[Provider] = (),
        tell_odd: Callable[[str, tuple[OddSymbol, ...]], object] | None = None,
    ) -> None:
        self._providers = tuple(providers)
        self._tell_odd = tell_odd or _log_odd

    def get_universe_tickers(self, key: str) -> list[str]:
        """Return the tickers of a key, or of several joined with ``+``, each once and in order.

        What is unknown or empty is logged as a warning and adds nothing.
        """
        tickers: dict[str, None] = {}
        for part in filter(None, map(str.strip, key.split("+"))):
            found = self._find(part)
            if not found:
                logger.warning("universe %s is unknown or empty", part)
            tickers.update(dict.fromkeys(found))
        return list(tickers)

    def expand(self, entries: Iterable[str]) -> list[str]:
        """Return tickers for a list in which universe keys and symbols are mixed."""
        tickers: dict[str, None] = {}
        for entry in entries:
            is_key = is_universe_key(entry.partition("+")[0])
            tickers.update(dict.fromkeys(self.get_universe_tickers(entry) if is_key else [entry]))
        return list(tickers)

    def _find(self, key: str) -> tuple[str, ...]:
        for provider in self._providers:
            try:
                raw = provider(key)
                items = split_symbols(raw) if isinstance(raw, str) else () if raw is None else raw
                tickers, odd = read_symbols(items)
            except Exception:  # a provider is the user's code, a file or a server
                logger.warning("a provider of universes failed for %s", key, exc_info=True)
                continue
            if odd:
                self._tell_odd(key, odd)
            if tickers:
                return tickers
        return ()


def _log_odd(key: str, odd: tuple[OddSymbol, ...]) -> None:
    logger.warning("universe %s: left out %s", key, ", ".join(map(str, odd)))


def from_mapping(universes: Mapping[str, Iterable[object] | str]) -> Provider:
    """Make a provider of a mapping: key to tickers."""
    return universes.get


def from_file(path: str | Path) -> Provider:
    """Make a provider of a file, read at each look-up.

    JSON and YAML hold key to tickers, or group to name to tickers. CSV has the columns ``universe`` and
    ``ticker`` (or ``key`` and ``symbol``), one ticker a row.

    Raises:
        ValueError: ``path`` ends in none of .csv, .json, .yaml, .yml.
    """
    file = Path(path)
    readers = {".csv": _read_csv, ".json": _read_json, ".yaml": _read_mapping, ".yml": _read_mapping}
    if file.suffix.lower() not in readers:
        raise ValueError(f"path must end in one of {', '.join(readers)}, not {file.name!r}")
    read = readers[file.suffix.lower()]
    return lambda key: read(file).get(key)


def from_redis(client: Any, pattern: str = REDIS_KEY_PATTERN) -> Provider:
    """Make a provider of Redis: a set, a list, or a JSON value (a list, or an object with ``tickers``).

    Args:
        client: a ``redis.Redis``; its time-outs are the provider's.
        pattern: what key to read, with ``{key}`` where the universe's stands.

    Raises:
        ValueError: ``pattern`` has no ``{key}``.
    """
    if "{key}" not in pattern:
        raise ValueError(f"pattern must contain {{key}}, not {pattern!r}")
    return lambda key: _read_redis(client, pattern.replace("{key}", key))


_registered: list[Provider] = []


def register_provider(provider: Provider) -> None:
    """Add a provider for every `Universes` made from settings after this; asked after the earlier ones."""
    _registered.append(provider)


def universes_of(
    settings: Settings, tell_odd: Callable[[str, tuple[OddSymbol, ...]], object] | None = None
) -> Universes:
    """Return the universes of the settings, then those of the registered providers; see `Universes`."""
    return Universes([from_mapping(settings.universes), *_registered], tell_odd)


def get_universe_tickers(key: str) -> list[str]:
    """Look a key up in the settings found in the working directory and the registered providers.

    Raises:
        SettingsError: the settings are wrong.
    """
    return universes_of(load_settings()).get_universe_tickers(key)


def connection_tickers(settings: Settings, universes: Universes) -> dict[str, tuple[str, ...]]:
    """Return what each enabled connection names as its own: its universe, or its symbols where that has none.

    Without USE_MULTI_CONNECTION the one connection falls back to SYMBOL_UNIVERSE_KEY, and to eight well-known
    tickers, unless it may start empty.
    """
    own = {
        connection.id: _own_tickers(connection, universes)
        for connection in settings.connections
        if connection.enabled
    }
    if not settings.use_multi_connection:
        return {id_: tickers or _common_tickers(settings, universes) for id_, tickers in own.items()}
    return own


def _own_tickers(connection: ConnectionSettings, universes: Universes) -> tuple[str, ...]:
    if connection.universe_key:
        found = universes.get_universe_tickers(connection.universe_key)
        if found:
            return tuple(found)
        logger.warning(
            "%s falls back to its %d symbols, for want of %s",
            connection.id,
            len(connection.symbols),
            connection.universe_key,
        )
    return connection.symbols


def _common_tickers(settings: Settings, universes: Universes) -> tuple[str, ...]:
    found = tuple(universes.get_universe_tickers(settings.symbol_universe_key))
    return found or (() if settings.websocket_start_empty else DEFAULT_TICKERS)


def _read_csv(file: Path) -> dict[str, list[object]]:
    universes: dict[str, list[object]] = {}
    # A byte that is no UTF-8 costs the symbol that it stands in.
    with file.open(newline="", encoding="utf-8-sig", errors="backslashreplace") as rows:
        for row in csv.DictReader(rows):
            columns = {str(name).strip().lower(): value for name, value in row.items()}
            key = columns.get("universe") or columns.get("key")
            ticker = columns.get("ticker") or columns.get("symbol")
            if key and ticker:
                universes.setdefault(key.strip(), []).append(ticker)
    return universes


def _read_json(file: Path) -> dict[str, Any]:
    return dict(_flat(msgspec.json.decode(file.read_text(encoding="utf-8-sig"))))


def _read_mapping(file: Path) -> dict[str, Any]:
    return dict(_flat(read_yaml(file)))


def _flat(content: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if not isinstance(content, Mapping):
        raise TypeError(f"a file of universes holds a mapping, not a {type(content).__name__}")
    for key, value in content.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}:")
        else:
            yield f"{prefix}{key}", value


def _read_redis(client: Any, name: str) -> list[Any] | None:
    kind = _text(client.type(name))
    if kind == "set":
        return sorted(map(_text, client.smembers(name)))  # a set has no order of its own
    if kind == "list":
        return [_text(item) for item in client.lrange(name, 0, -1)]
    if kind != "string":
        return None
    value = msgspec.json.decode(_text(client.get(name)).removeprefix("\ufeff"))
    if isinstance(value, dict):
        value = value.get("tickers") or value.get("symbols")
    return list(value or ())


def _text(value: bytes | str) -> str:
    return value.decode(errors="backslashreplace") if isinstance(value, bytes) else value
