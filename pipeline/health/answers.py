"""What the HTTP interfaces answer, as plain values; FastAPI and Flask serve the same functions.

All run on any thread and cost some ms.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NoReturn

from operators.account import Account
from pipeline.errors import Closed, UnknownConnection
from pipeline.massive.snapshot import Phase
from pipeline.stream import TickStream
from pipeline.symbols import WILDCARD, named_of

if TYPE_CHECKING:
    from .metrics import Exposition

__all__ = [
    "PROBLEMS",
    "PROBLEM_JSON",
    "NotInstalled",
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


def livez(stream: TickStream) -> dict[str, Any]:
    """Tell whether our own thread turns; nothing outside of this process is looked at."""
    alive = stream.beats(BEAT_TIMEOUT_S)
    reasons = [] if alive else [f"the thread tickbraid-io has not answered for {BEAT_TIMEOUT_S:g} s"]
    return {"ok": alive, "reasons": reasons}


def readyz(stream: TickStream, *, verbose: bool) -> dict[str, Any]:
    """Tell whether ticks can come and go: one connection authenticated and fresh, every sink writable.

    Args:
        stream: is asked.
        verbose: tell each check.
    """
    health = stream.health()
    checks = [_stream_check(health), _connections_check(health), *_sink_checks(health)]
    reasons = [check["words"] for check in checks if not check["ok"]]
    return {"ok": not reasons, "reasons": reasons, "checks": checks if verbose else None}


def health(stream: TickStream) -> dict[str, Any]:
    """Return everything that is known about the stream."""
    return stream.health()


def connections(stream: TickStream) -> dict[str, Any]:
    """Return all connections and their totals."""
    health = stream.health()
    return {name: health[name] for name in ("state", "totals", "connections")}


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


def tickers(stream: TickStream, name: str) -> dict[str, Any]:
    """Return what a connection is to carry.

    Raises:
        Closed: as above.
        UnknownConnection: as above.
    """
    carried = stream.tickers()
    if name not in carried:
        raise _missing(name, carried)
    its = carried[name]
    return {
        "connection": name,
        "count": len(named_of(its)),
        "all_symbols": WILDCARD in its,
        "tickers": its,
    }


def rebalance(stream: TickStream) -> dict[str, Any]:
    """Spread the tickers by what is measured now, and return what moved.

    Raises:
        Closed: the stream does not run.
    """
    moved = [
        {"connection": each.connection, "source": each.source, "tickers": each.tickers}
        for each in stream.rebalance()
    ]
    return {"count": sum(len(each["tickers"] or ()) for each in moved), "moved": moved}


def reconnect(stream: TickStream, name: str) -> dict[str, Any]:
    """Have a connection end its session and begin another.

    Raises:
        Closed: the stream does not run.
        UnknownConnection: there is no such connection.
    """
    try:
        stream.reconnect(name)
    except ValueError:
        raise _missing(name, stream.tickers()) from None
    return {"connection": name}


def account(stream: TickStream) -> dict[str, Any]:
    """Return where every received element is, by subscriber and connection."""
    accounts = stream.accounts()
    subscribers = {
        name: {
            "total": sum(by_connection.values(), Account()).to_dict(),
            "connections": {each: its.to_dict() for each, its in by_connection.items()},
        }
        for name, by_connection in accounts.items()
    }
    imbalance = sum(abs(each.imbalance) for by_name in accounts.values() for each in by_name.values())
    return {"balanced": not imbalance, "imbalance": imbalance, "subscribers": subscribers}


def problem(status: int, title: str, detail: str) -> dict[str, Any]:
    """Return what went wrong as RFC 9457 has it."""
    return {"type": "about:blank", "title": title, "status": status, "detail": detail}


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


def _check(name: str, words: str, *, ok: bool) -> dict[str, Any]:
    return {"name": name, "ok": ok, "words": words}


def _stream_check(health: dict[str, Any]) -> dict[str, Any]:
    return _check("stream", f"the stream is {health['state']}", ok=health["state"] == "running")


def _connections_check(health: dict[str, Any]) -> dict[str, Any]:
    words = [
        f"{each['id']} is {'stale' if each['stale'] else each['phase'].replace('_', ' ')}"
        for each in health["connections"]
    ]
    fresh = any(each["phase"] == Phase.LIVE.value and not each["stale"] for each in health["connections"])
    return _check("connections", ", ".join(words) or "there is no connection", ok=fresh)


def _sink_checks(health: dict[str, Any]) -> list[dict[str, Any]]:
    checks = []
    for name, subscriber in health["subscribers"].items():
        state = subscriber["sink"].get("state")
        if state is not None and not subscriber["ended"]:
            checks.append(_check(f"sink {name}", f"{name} is {state}", ok=is_writable(state)))
    return checks
