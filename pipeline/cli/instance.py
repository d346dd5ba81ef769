"""A running instance as another process sees it: its HTTP interface, asked once a second."""

import http.client
from collections import defaultdict, deque
from dataclasses import dataclass, field
from typing import Final, TypeVar
from urllib.parse import urlsplit

import msgspec

from pipeline.errors import NoAnswer
from pipeline.health.history import EventLine, Events, HistoryAnswer, Point
from pipeline.health.leaders import Tickers

__all__ = ["Frame", "Instance"]

TIMEOUT_S: Final = 3.0
POINTS: Final = 300
EVENTS: Final = 200

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Frame:
    """Is all that one look at an instance shows.

    Args:
        now: None where it has just begun.
        ticks_per_s: of the last five minutes, by connection, the newest last.
        events: the newest last.
    """

    now: Point | None
    ticks_per_s: dict[str, list[float]]
    events: list[EventLine]
    tickers: Tickers


@dataclass(slots=True)
class _Known:
    """Is what an instance has told so far, so that it is asked for what is new."""

    after_ns: int = 0
    rates: defaultdict[str, deque[float]] = field(
        default_factory=lambda: defaultdict(lambda: deque(maxlen=POINTS))
    )
    events: deque[EventLine] = field(default_factory=lambda: deque(maxlen=EVENTS))

    @property
    def newest(self) -> int:
        """The number of the newest event."""
        return self.events[-1].number if self.events else 0


class Instance:
    """Asks an instance how it is doing, always for what is new; on one thread.

    Args:
        url: ``http://HOST:PORT``, or just ``HOST:PORT``.
        token: of HTTP_TOKEN, "" for none.

    Raises:
        ValueError: it is no address.
    """

    def __init__(self, url: str, token: str = "") -> None:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(f"{url} is no address of an instance: http://HOST:PORT was expected")
        self.url = f"{parts.scheme}://{parts.netloc}"
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._http = kind(parts.hostname, parts.port, timeout=TIMEOUT_S)
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._known = _Known()

    def read(self) -> Frame:
        """Ask, and wait for the answers, for 3 s each at most.

        Raises:
            NoAnswer: it cannot be reached, or does not answer; says why. The next `read` begins anew.
        """
        try:
            history = self._ask(f"/api/history?after_ns={self._known.after_ns}", HistoryAnswer)
            events = self._new_events(history.newest_event)
            tickers = self._ask("/api/tickers", Tickers)
        except (OSError, http.client.HTTPException, msgspec.MsgspecError) as error:
            self.close()
            self._known = _Known()  # whoever answers next may be another
            raise NoAnswer(f"{self.url} does not answer: {error or type(error).__name__}") from error
        known = self._known
        if history.at_ns:
            known.after_ns = history.at_ns[-1]
        for name, series in history.connections.items():
            known.rates[name].extend(rate or 0.0 for rate in series["ticks_per_s"])
        known.events.extend(events)
        rates = {name: list(theirs) for name, theirs in known.rates.items()}
        return Frame(history.now, rates, list(known.events), tickers)

    def close(self) -> None:
        """Let go of the connection; another `read` opens a new one."""
        self._http.close()

    def _new_events(self, newest: int) -> list[EventLine]:
        after = self._known.newest
        return self._ask(f"/api/events?after={after}", Events).events if newest > after else []

    def _ask(self, path: str, kind: type[_T]) -> _T:
        self._http.request("GET", path, headers=self._headers)
        with self._http.getresponse() as answer:
            body = answer.read()
            if answer.status != http.client.OK:
                raise http.client.HTTPException(f"{answer.status} {answer.reason}")
        return msgspec.json.decode(body, type=kind)
