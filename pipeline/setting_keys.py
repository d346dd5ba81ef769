"""Every setting: its type, its default and what it means. The one table; all else is checked against it.

A field of `Settings` is the key of the same name in capitals, so ``MASSIVE_PING_INTERVAL`` is
``settings.massive_ping_interval``. What a connection has of its own (``WEBSOCKET_CONNECTION_1_NAME``) stands
in `CONNECTION_KEYS` and becomes a `ConnectionSettings`.
"""

import dataclasses
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import Any, Final, get_args

from operators._buffer.buffer import Overflow

from .secret import Secret
from .setting_kinds import (
    CALLBACK,
    CAPTURE_KINDS,
    CHANNEL,
    CONNECTIONS,
    EVENT_TYPES,
    FLAG,
    HOST,
    MOMENT,
    REDIS_ADDRESS,
    SECRET,
    SPEED,
    SYMBOLS,
    SYMBOLS_OR_UNIVERSES,
    TEXT,
    UNIVERSE,
    WEBSOCKET_ADDRESS,
    Kind,
    real,
    whole,
    word,
)
from .symbols import OddSymbol

__all__ = [
    "CONNECTION_KEYS",
    "DEFAULT_TICKERS",
    "KEYS",
    "RENAMED",
    "UNIVERSES",
    "ConnectionSettings",
    "Key",
    "Settings",
    "connection_key",
    "known_keys",
    "split_connection_key",
]

DEFAULT_TICKERS: Final = ("AAPL", "GOOGL", "MSFT", "TSLA", "AMZN", "NFLX", "META", "NVDA")
"""What is carried where nobody says anything (one connection only)."""
CONNECTIONS_MAX: Final = 64
UNIVERSES: Final = "UNIVERSES"
"""The key of the mapping of universes; in a file or a mapping only."""
RENAMED: Final = MappingProxyType(
    {
        "MAX_RECONNECT_ATTEMPTS": "MASSIVE_WEBSOCKET_MAX_RETRIES",
        "MASSIVE_WEBSOCKET_MAX_RECONNECT_ATTEMPTS": "MASSIVE_WEBSOCKET_MAX_RETRIES",
    }
)
"""Old names, accepted with a warning; the later one wins where several are set."""

_OVERFLOWS = word(*get_args(Overflow))


@dataclass(frozen=True, slots=True)
class Key:
    """Describes one key.

    Args:
        group: the heading it stands under.
        kind: how its value is read.
        default: as one would write it in YAML; None for a flag that follows from other keys.
        doc: one line on what it means, with its unit.
    """

    group: str
    kind: Kind
    default: Any
    doc: str


def _key(group: str, kind: Kind, default: object, doc: str) -> Any:
    value = False if default is None else kind.read(default)
    return field(default=value, metadata={"key": Key(group, kind, default, doc)})


_source = partial(_key, "Source")
_massive = partial(_key, "Massive")
_connections = partial(_key, "Connections")
_buffers = partial(_key, "Buffers")
_redis = partial(_key, "Redis")
_capture = partial(_key, "Capture")
_replay = partial(_key, "Replay")
_http = partial(_key, "HTTP")


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionSettings:
    """Says what one connection carries, and from where.

    Args:
        number: 1 for the first.
        name: for people; unique.
        enabled: it is to be opened.
        universe_key: what it carries, by name; "" if it has none.
        symbols: what it carries where the universe has nothing.
        url: its address, its own or the common one.
        event_types: its event types, its own or the common ones.
    """

    number: int
    name: str
    enabled: bool
    universe_key: str
    symbols: tuple[str, ...]
    url: str
    event_types: tuple[str, ...]

    @property
    def id(self) -> str:
        """``connection_1`` for the first: what ticks, status events and health call it."""
        return f"connection_{self.number}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Holds all settings, checked and typed. `pipeline.settings.load_settings` makes it.

    The attributes below ``http_token`` are no keys of their own:

    Args:
        connections: with ``use_multi_connection`` numbers 1 to ``websocket_connections_max``, enabled or not;
            without it the first alone, enabled.
        universes: universe key to tickers, from the files and the mapping.
        provenance: key to where its value came from: "default", a file's name, "environment" or "config".
        odd_symbols: key to what stood in its list and was left out, since it can be no symbol.
    """

    use_massive_api: bool = _source(FLAG, False, "connect to Massive; without it ticks are generated here")
    use_synthetic_data: bool = _source(FLAG, False, "generate ticks even where USE_MASSIVE_API is on")
    symbol_universe_key: str = _source(
        UNIVERSE, "", "universe of the whole stream, beside what connections name"
    )
    synthetic_update_interval: float = _source(
        real(0.001, 3600, "seconds"), 1.0, "time between two generated ticks of a ticker, s"
    )
    synthetic_seed: int = _source(whole(0, 2**63 - 1), 1, "same seed, same generated prices")

    massive_api_key: Secret = _massive(  # noqa: RUF009  # a field, and a Secret is frozen
        SECRET, "", "the key of the account; better kept in .env"
    )
    massive_websocket_url: str = _massive(
        WEBSOCKET_ADDRESS, "wss://socket.massive.com/stocks", "address, of all connections without their own"
    )
    massive_event_types: tuple[str, ...] = _massive(
        EVENT_TYPES, "A", "what to subscribe to, as T, Q, A; what there is depends on the market"
    )
    massive_websocket_max_retries: int = _massive(
        whole(0, 1_000_000), 0, "attempts to connect again before giving up; 0: for ever"
    )
    massive_websocket_reconnect_delay: float = _massive(
        real(0.01, 3600, "seconds"), 1, "longest wait before the first new attempt, s; doubles with each"
    )
    massive_websocket_reconnect_max_delay: float = _massive(
        real(0.01, 3600, "seconds"), 30, "longest wait before any attempt, s"
    )
    massive_ping_interval: float = _massive(real(0.05, 3600, "seconds"), 20, "time between two pings, s")
    massive_ping_timeout: float = _massive(
        real(0.05, 3600, "seconds"), 20, "without an answer for so long the link is dead, s"
    )
    massive_server_buffer_bytes: int = _massive(
        whole(0, 2**40), 0, "what may wait for us, in kernels and at the server, bytes; 0: unknown"
    )

    use_multi_connection: bool = _connections(
        FLAG, False, "use all enabled connections; without it one carries everything"
    )
    websocket_connections_max: int = _connections(
        whole(1, CONNECTIONS_MAX), 3, "how many connections there may be"
    )
    websocket_routing_strategy: str = _connections(
        word("manual", "round-robin", "load-balanced", "hash", "priority"),
        "manual",
        "which ticker goes where: manual, round-robin, load-balanced, hash, priority",
    )
    websocket_health_check_interval: float = _connections(
        real(0.05, 86_400, "seconds"), 30, "time between two looks at the connections' health and load, s"
    )
    market_calendar: str = _connections(
        TEXT, "", "exchange whose hours explain silence, as XNYS; empty: none; needs the extra calendar"
    )
    websocket_auto_rebalance: bool = _connections(
        FLAG, True, "move tickers back when a connection returns, and away from a busy one"
    )
    websocket_failover_enabled: bool = _connections(
        FLAG, True, "move the tickers of a connection that is down to the others"
    )
    websocket_failover_after: float = _connections(
        real(0, 3600, "seconds"), 2.0, "down for so long counts as down, s"
    )
    websocket_redundant_symbols: tuple[str, ...] = _connections(
        SYMBOLS_OR_UNIVERSES, "", "symbols or universe keys to carry on two connections at once"
    )
    websocket_connection_max_tickers: int = _connections(
        whole(0, 1_000_000), 0, "most tickers on one connection; 0: no limit"
    )
    websocket_connection_max_ticks_per_s: float = _connections(
        real(0, 1e9, "ticks/s"), 0, "most measured ticks/s on one connection; 0: no limit"
    )
    websocket_start_empty: bool = _connections(
        FLAG, False, "open connections without tickers, too: theirs come at run time"
    )

    ingest_buffer_bytes: int = _buffers(
        whole(65_536, 2**36), 67_108_864, "received and not yet decoded, bytes"
    )
    dedupe_window: int = _buffers(
        whole(0, 2**26), 65_536, "ticks remembered to tell duplicates; 0: duplicates pass"
    )
    subscriber_buffer_ticks: int = _buffers(
        whole(1, 100_000_000), 100_000, "ticks that may wait for one subscriber"
    )
    subscriber_max_age_ms: int = _buffers(
        whole(0, 3_600_000),
        0,
        "what was received longer ago is not delivered any more, ms; 0: whatever its age",
    )
    subscriber_overflow: Overflow = _buffers(  # noqa: RUF009  # a field, and a word
        _OVERFLOWS, "conflate", "when they are more: block, drop_oldest, drop_newest, conflate, error"
    )
    tick_callback: str = _buffers(
        CALLBACK,
        "",
        "what `start()` and `tickbraid run` call with each tick, MODULE:FUNCTION; empty: nothing",
    )

    redis_enabled: bool = _redis(FLAG, None, "publish to Redis; on where REDIS_URL or REDIS_HOST is set")
    redis_url: Secret = _redis(  # noqa: RUF009  # as massive_api_key
        REDIS_ADDRESS, "", "redis://, rediss:// or unix://; or name the host below"
    )
    redis_host: str = _redis(HOST, "", "host; localhost where Redis is on and nothing is named")
    redis_port: int = _redis(whole(1, 65_535), 6379, "port")
    redis_db: int = _redis(whole(0, 1_000_000), 0, "database number")
    redis_buffer_ticks: int = _redis(
        whole(1, 100_000_000), 200_000, "ticks that may wait for Redis, or while it is away"
    )
    redis_max_age_ms: int = _redis(
        whole(0, 3_600_000),
        0,
        "what was received longer ago is not published any more, ms; 0: whatever its age",
    )
    redis_overflow: Overflow = _redis(  # noqa: RUF009  # as subscriber_overflow
        _OVERFLOWS, "drop_oldest", "when they are more: block, drop_oldest, drop_newest, conflate, error"
    )
    redis_channel_raw: str = _redis(CHANNEL, "tickstock.data.raw", "channel of whole ticks; empty: off")
    redis_channel_market: str = _redis(CHANNEL, "tickstock:market:ticks", "channel of prices; empty: off")
    redis_channel_ticker_prefix: str = _redis(
        CHANNEL, "", "a channel for each ticker, as tickstock.ticks. makes tickstock.ticks.AAPL; empty: off"
    )
    redis_channel_all: str = _redis(
        CHANNEL, "", "channel of all ticks in the form of those, as tickstock.all_ticks; empty: off"
    )
    redis_channel_raw_batch: str = _redis(
        CHANNEL, "", "channel of whole ticks, an array for many, as tickstock.data.raw.batch; empty: off"
    )

    capture_path: str = _capture(
        TEXT, "", "directory to record the stream into; empty: none; needs the extra capture"
    )
    capture_kinds: tuple[str, ...] = _capture(
        CAPTURE_KINDS, "frames, ticks", "what is recorded: frames for an exact replay, ticks for queries"
    )
    capture_rotate_s: float = _capture(
        real(0.1, 86_400, "seconds"), 60, "a file so old is finished: what a kill costs at most, s"
    )
    capture_rotate_rows: int = _capture(
        whole(1, 100_000_000), 500_000, "a file with so many rows is finished"
    )
    capture_buffer_ticks: int = _capture(
        whole(1, 100_000_000), 200_000, "ticks that may wait for the disk; of more the oldest are dropped"
    )

    replay_path: str = _replay(
        TEXT, "", "capture to replay in the place of a feed; empty: none; needs the extra capture"
    )
    replay_speed: float = _replay(SPEED, 1, "1 as recorded, N so many times faster, max as fast as possible")
    replay_from: int = _replay(MOMENT, "", "replay what was received from then on; empty: from the beginning")
    replay_to: int = _replay(MOMENT, "", "replay what was received before then; empty: to the end")
    replay_connections: tuple[str, ...] = _replay(
        CONNECTIONS, "", "connections whose part is replayed, as 1, 2; empty: all"
    )

    http_host: str = _http(HOST, "127.0.0.1", "address of the HTTP interface; 0.0.0.0: of every network")
    http_port: int = _http(whole(0, 65_535), 8420, "its port; 0: a free one, which is told at the start")
    http_token: Secret = _http(  # noqa: RUF009  # as massive_api_key
        SECRET, "", "what `Authorization: Bearer` must hold to change anything, and off this machine to read"
    )

    connections: tuple[ConnectionSettings, ...] = ()
    universes: Mapping[str, tuple[str, ...]] = field(default_factory=dict, repr=False)
    provenance: Mapping[str, str] = field(default_factory=dict, repr=False)
    odd_symbols: Mapping[str, tuple[OddSymbol, ...]] = field(default_factory=dict, repr=False)


KEYS: Final[Mapping[str, Key]] = MappingProxyType(
    {f.name.upper(): f.metadata["key"] for f in dataclasses.fields(Settings) if "key" in f.metadata}
)
"""Key to its description, without those of single connections."""

CONNECTION_KEYS: Final[Mapping[str, Key]] = MappingProxyType(
    {
        "ENABLED": Key("Connection n", FLAG, None, "open it; the first alone is"),
        "NAME": Key("Connection n", TEXT, None, "its name: primary, secondary, tertiary, connection_4, …"),
        "UNIVERSE_KEY": Key("Connection n", UNIVERSE, "", "universe it carries; several are joined with +"),
        "SYMBOLS": Key("Connection n", SYMBOLS, "", "symbols it carries where its universe has none"),
        "URL": Key("Connection n", WEBSOCKET_ADDRESS, "", "its address; empty: MASSIVE_WEBSOCKET_URL"),
        "EVENT_TYPES": Key("Connection n", EVENT_TYPES, "", "its event types; empty: MASSIVE_EVENT_TYPES"),
    }
)
"""The last part of ``WEBSOCKET_CONNECTION_n_…`` to its description."""

_CONNECTION_KEY = re.compile(r"WEBSOCKET_CONNECTION_([1-9]\d{0,3})_(" + "|".join(CONNECTION_KEYS) + ")")
_NAMES = ("primary", "secondary", "tertiary")


def connection_key(number: int, part: str) -> Key:
    """Return the description of ``WEBSOCKET_CONNECTION_<number>_<part>``, with its default."""
    key = CONNECTION_KEYS[part]
    if part == "ENABLED":
        return dataclasses.replace(key, default=number == 1)
    if part == "NAME":
        name = _NAMES[number - 1] if number <= len(_NAMES) else f"connection_{number}"
        return dataclasses.replace(key, default=name)
    return key


def split_connection_key(name: str) -> tuple[int, str] | None:
    """Return (number, last part) of a connection's key, or None for any other name."""
    match = _CONNECTION_KEY.fullmatch(name)
    return (int(match[1]), match[2]) if match else None


def known_keys(connections: int) -> Iterator[str]:
    """Name every key in the order of the table, with those of so many connections; old names not."""
    yield from KEYS
    for number in range(1, connections + 1):
        yield from (f"WEBSOCKET_CONNECTION_{number}_{part}" for part in CONNECTION_KEYS)
    yield UNIVERSES
