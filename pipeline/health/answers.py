"""What the HTTP interfaces answer, as plain values; FastAPI and Flask serve the same functions.

All run on any thread and cost some ms.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NoReturn

from operators.account import Account
from pipeline.errors import Closed, UnknownConnection
from pipeline.massive.snapshot import Phase
from pipeline.stream import TickStream
from pipeline.symbols import WILDCARD, named_of

from .snapshot import Balance, ConnectionHealth, Totals, balance

if TYPE_CHECKING:
    from .metrics import Exposition

__all__ = [
    "PROBLEMS",
    "PROBLEM_JSON",
    "Accounts",
    "CarriedTickers",
    "Connections",
    "Live",
    "NotInstalled",
    "Problem",
    "Ready",
    "Rebalanced",
    "Reconnecting",
    "account",
    "connection",
    "connections",
    "exposition",
    "health",
    "is_writable",
    "livez",
    "problem",
    "readyz",
    "rebalance",
    "reconnect",
    "tickers",
]

PROBLEM_JSON: Final = "application/problem+json"
PROBLEMS: Final[Mapping[type[Exception], tuple[int, str]]] = MappingProxyType(
    {
        Closed: (409, "Not running"),
        UnknownConnection: (404, "No such connection"),
        ImportError: (501, "Not installed"),
    }
)
"""Status and title of what may be raised here."""
BEAT_TIMEOUT_S: Final = 1.0
_WRITABLE: Final = frozenset({"idle", "up"})


@dataclass(frozen=True, slots=True)
class Problem:
    """What went wrong (RFC 9457).

    Args:
        type: always about:blank: the status says what kind it is.
        title: in short.
        status: as of HTTP.
        detail: in one sentence.
    """

    type: str
    title: str
    status: int
    detail: str


@dataclass(frozen=True, slots=True)
class Live:
    """Whether the process turns, and why it does not."""

    ok: bool
    reasons: list[str]


@dataclass(frozen=True, slots=True)
class Check:
    """One of the things that have to be well, and how it is in words."""

    name: str
    ok: bool
    words: str


@dataclass(frozen=True, slots=True)
class Ready(Live):
    """Whether ticks can come and go; each check, where ``verbose`` asks for it."""

    checks: list[Check] | None


@dataclass(frozen=True, slots=True)
class Connections:
    """All connections, and the state of the stream: idle, running or closed."""

    state: str
    totals: Totals
    connections: list[ConnectionHealth]


@dataclass(frozen=True, slots=True)
class CarriedTickers:
    """What a connection is to carry.

    Args:
        connection: its id.
        count: of those that are named.
        all_symbols: it carries ``*``: every symbol of its market.
    """

    connection: str
    count: int
    all_symbols: bool
    tickers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Move:
    """What one connection took over from another, the source; both by id."""

    connection: str
    source: str
    tickers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rebalanced:
    """What moved, and how many tickers in all."""

    count: int
    moved: list[Move]


@dataclass(frozen=True, slots=True)
class Reconnecting:
    """The id of the connection that was told to begin a new session."""

    connection: str


@dataclass(frozen=True, slots=True)
class SubscriberAccount:
    """The account of one subscriber, and by connection id."""

    total: Balance
    connections: dict[str, Balance]


@dataclass(frozen=True, slots=True)
class Accounts:
    """Where every received element is.

    Args:
        balanced: the imbalance is 0.
        imbalance: of all subscribers and connections, added up without signs.
        subscribers: by name.
    """

    balanced: bool
    imbalance: int
    subscribers: dict[str, SubscriberAccount]


def livez(stream: TickStream) -> Live:
    """Tell whether our own thread turns; nothing outside of this process is looked at."""
    alive = stream.beats(BEAT_TIMEOUT_S)
    reasons = [] if alive else [f"the thread tickbraid-io has not answered for {BEAT_TIMEOUT_S:g} s"]
    return Live(alive, reasons)


def readyz(stream: TickStream, *, verbose: bool) -> Ready:
    """Tell whether ticks can come and go: one connection authenticated and fresh, every sink writable.

    Args:
        stream: is asked.
        verbose: tell each check.
    """
    health = stream.health()
    checks = [_stream_check(health), _connections_check(health), *_sink_checks(health)]
    reasons = [check.words for check in checks if not check.ok]
    return Ready(not reasons, reasons, checks if verbose else None)


def health(stream: TickStream) -> dict[str, Any]:
    """Return everything that is known about the stream."""
    return stream.health()


def connections(stream: TickStream) -> Connections:
    """Return all connections and their totals."""
    health = stream.health()
    return Connections(health["state"], health["totals"], health["connections"])


def connection(stream: TickStream, name: str) -> dict[str, Any]:
    """Return one connection.

    Raises:
        Closed: the stream has not begun, so there are none.
        UnknownConnection: there are others.
    """
    found: dict[str, dict[str, Any]] = {each["id"]: each for each in stream.health()["connections"]}
    if name in found:
        return found[name]
    raise _missing(name, found)


def tickers(stream: TickStream, name: str) -> CarriedTickers:
    """Return what a connection is to carry.

    Raises:
        Closed: as above.
        UnknownConnection: as above.
    """
    carried = stream.tickers()
    if name not in carried:
        raise _missing(name, carried)
    its = carried[name]
    return CarriedTickers(name, len(named_of(its)), WILDCARD in its, its)


def rebalance(stream: TickStream) -> Rebalanced:
    """Spread the tickers by what is measured now, and return what moved.

    Raises:
        Closed: the stream does not run.
    """
    moved = [Move(each.connection or "", each.source, each.tickers) for each in stream.rebalance()]
    return Rebalanced(sum(len(each.tickers) for each in moved), moved)


def reconnect(stream: TickStream, name: str) -> Reconnecting:
    """Have a connection end its session and begin another.

    Raises:
        Closed: the stream does not run.
        UnknownConnection: there is no such connection.
    """
    try:
        stream.reconnect(name)
    except ValueError:
        raise _missing(name, stream.tickers()) from None
    return Reconnecting(name)


def account(stream: TickStream) -> Accounts:
    """Return where every received element is, by subscriber and connection."""
    accounts = stream.accounts()
    subscribers = {
        name: SubscriberAccount(
            balance(sum(by_connection.values(), Account())),
            {each: balance(its) for each, its in by_connection.items()},
        )
        for name, by_connection in accounts.items()
    }
    imbalance = sum(abs(each.imbalance) for by_name in accounts.values() for each in by_name.values())
    return Accounts(not imbalance, imbalance, subscribers)


def problem(status: int, title: str, detail: str) -> Problem:
    """Return what went wrong."""
    return Problem("about:blank", title, status, detail)


def exposition(stream: TickStream) -> "Exposition | NotInstalled":
    """Return what writes the metrics of a stream; without prometheus_client it says what to install."""
    try:
        from .metrics import Exposition  # noqa: PLC0415  # an extra
    except ImportError:
        return NotInstalled()
    return Exposition(stream)


class NotInstalled:
    """The place of an `Exposition` where prometheus_client is not installed."""

    def write(self, _accept: str) -> NoReturn:
        """Say what to install, as an ImportError."""
        raise ImportError(
            "metrics need the library prometheus_client, which comes with: pip install 'tickbraid[web]'"
        )

    def close(self) -> None:
        """Do nothing."""


def is_writable(state: str) -> bool:
    """Tell whether a sink whose snapshot says so can write."""
    return state in _WRITABLE


def _missing(name: str, known: Any) -> Exception:
    if not known:
        return Closed("The stream has not begun, so it has no connections: subscribe to it, or start it.")
    return UnknownConnection(f"There is no connection {name[:64]!r}; there are {', '.join(known)}.")


def _stream_check(health: dict[str, Any]) -> Check:
    return Check("stream", health["state"] == "running", f"the stream is {health['state']}")


def _connections_check(health: dict[str, Any]) -> Check:
    words = [
        f"{each['id']} is {'stale' if each['stale'] else each['phase'].replace('_', ' ')}"
        for each in health["connections"]
    ]
    fresh = any(each["phase"] == Phase.LIVE.value and not each["stale"] for each in health["connections"])
    return Check("connections", fresh, ", ".join(words) or "there is no connection")


def _sink_checks(health: dict[str, Any]) -> list[Check]:
    checks = []
    for name, subscriber in health["subscribers"].items():
        state = subscriber["sink"].get("state")
        if state is not None and not subscriber["ended"]:
            checks.append(Check(f"sink {name}", is_writable(state), f"{name} is {state}"))
    return checks
