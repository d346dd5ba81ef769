"""What a simulated server is like, and what goes wrong with it."""

import ssl
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Final

from pipeline.markets import EVENT_TYPES

__all__ = ["CHANNEL_TYPES", "Acks", "Eviction", "Faults", "Options", "Silence"]

CHANNEL_TYPES: Final = frozenset({*EVENT_TYPES, "XL2"})
"""All that Massive has, and the book of crypto, which it had until 2024: recordings have it."""
PORT_MAX: Final = 65_535


class Acks(StrEnum):
    """How a subscription is acknowledged: one element a channel, either way."""

    BATCHED = "batched"
    SINGLE = "single"
    AMONG_TICKS = "among_ticks"
    """In the next message of ticks; alone where there is none for a second."""


class Eviction(StrEnum):
    """Who goes when a key has too many connections; the sources disagree (PROTOCOL of the feed)."""

    OLDEST = "oldest"
    """The oldest connection gets ``max_connections`` and close code 1008."""
    NEWEST = "newest"
    """The newest gets ``auth_success``, then ``max_connections`` and close code 1008."""
    NEWEST_AFTER_ACK = "newest_after_ack"
    """As NEWEST, but only after its first subscription was acknowledged."""


class Silence(StrEnum):
    """What a server keeps to itself while TCP stays up."""

    NONE = "none"
    DATA = "data"
    """It answers, and sends no data."""
    ALL = "all"
    """It answers nothing, not even a ping or an upgrade."""


@dataclass(frozen=True, kw_only=True)
class Faults:
    """Says what goes wrong. Fractions are chances, 0 to 1; each client draws its own.

    Raises:
        ValueError: a value is out of its range; the message names it.
    """

    repeat: float = 0.0
    """Fraction of frames sent twice, half of them at once, half up to 200 frames later."""
    malformed: float = 0.0
    """Malformed elements mixed in, as a fraction of the good ones; each is one element of its array."""
    truncated: float = 0.0
    """Fraction of frames followed by a copy of the good elements, cut in two: JSON that does not parse."""
    fragments: int = 1
    """Frames a message is cut into."""
    pings: float = 0.0
    """Fraction of frames with a ping before (or between their fragments)."""
    ack_delay_s: float = 0.0
    ack_loss: float = 0.0
    """Fraction of acknowledgements that get lost; the channel is held all the same."""
    shuffle_acks: bool = False
    """Acknowledge the channels of one request in another order."""
    greeting_delay_s: float = 0.0
    auth_delay_s: float = 0.0
    """How late a good key is answered."""
    drop_auth: int = 0
    """Connections dropped when they send their key, from now on."""
    lose_auth: int = 0
    """Keys that get lost, from now on: the client is told that it sent none in time."""
    refuse: bool = False
    """Nobody listens on the port; connections that are there stay."""
    silence: Silence = Silence.NONE
    """For all connections, new ones too; see `Simulator.go_silent` for those present only."""

    def __post_init__(self) -> None:
        for name in ("repeat", "malformed", "truncated", "pings", "ack_loss"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be between 0 and 1, not {getattr(self, name)!r}")
        if self.fragments < 1:
            raise ValueError(f"fragments must be at least 1, not {self.fragments!r}")
        for name in ("ack_delay_s", "greeting_delay_s", "auth_delay_s", "drop_auth", "lose_auth"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, not {getattr(self, name)!r}")

    @property
    def touches_data(self) -> bool:
        """Tell whether data frames go out otherwise than as they are."""
        return bool(self.repeat or self.malformed or self.truncated or self.pings) or self.fragments > 1


@dataclass(frozen=True, kw_only=True)
class Options:
    """Says what the server is like.

    Raises:
        ValueError: a value is out of its range; the message names it.
    """

    host: str = "127.0.0.1"
    port: int = 0
    """0 takes a free one and keeps it over restarts."""
    keys: frozenset[str] = frozenset()
    """The keys that are good; none given, every key is."""
    max_connections: int | None = None
    """Connections a key may have at once."""
    eviction: Eviction = Eviction.OLDEST
    acks: Acks = Acks.BATCHED
    unauthorized: frozenset[str] = frozenset()
    """Channels the plan does not cover, ``Q.AAPL`` or ``Q.*`` for a whole type."""
    unanswered: frozenset[str] = frozenset()
    """Channels that get neither answer nor data, as unknown types do; written as those above."""
    start_after: int | None = 1
    """Connections that must hold channels before the feeds start; None waits for `start_feeds`."""
    auth_timeout_s: float = 10.0
    slow_consumer_bytes: int = 16 * 1024 * 1024
    """What the server keeps for a slow reader before it kills it."""
    kernel_buffer_bytes: int | None = None
    """Size of the kernel's send buffer, where a test wants slow readers to be found out soon."""
    ssl_context: ssl.SSLContext | None = None
    seed: int = 0
    """Of the faults."""

    def __post_init__(self) -> None:
        if not 0 <= self.port <= PORT_MAX:
            raise ValueError(f"port must be between 0 and {PORT_MAX}, not {self.port!r}")
        if self.max_connections is not None and self.max_connections < 1:
            raise ValueError(f"max_connections must be at least 1, not {self.max_connections!r}")
        if self.start_after is not None and self.start_after < 0:
            raise ValueError(f"start_after must not be negative, not {self.start_after!r}")
        for field in fields(self):
            if field.name in {"auth_timeout_s", "slow_consumer_bytes"} and getattr(self, field.name) <= 0:
                raise ValueError(f"{field.name} must be above 0, not {getattr(self, field.name)!r}")
