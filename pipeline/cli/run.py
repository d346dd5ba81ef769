"""``tickbraid run``: the stream of the settings, for as long as it is wanted."""

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from pipeline.build import build_pipeline
from pipeline.health.meter import Meter
from pipeline.redaction import RedactingFilter
from pipeline.secret import Secret
from pipeline.settings import Settings
from pipeline.shown import json_line, shown
from pipeline.sources import is_generated
from pipeline.status import StatusEvent
from pipeline.status_event import counted, some_of
from pipeline.stream import TickStream
from pipeline.symbols import WILDCARD, other_spellings

from .audit import failed_ticks, failures, imbalances
from .logs import LogFormat, LogHandler, LogLevel
from .output import until_unread
from .preflight import CallbackName, SettingsFile, load_ready, said
from .screen import account_lines, account_values, event_line, reading_values, summary
from .stop import Stop

__all__ = ["Teller", "accounted", "run"]

SUMMARY_EVERY_S: Final = 10.0
DRAIN_S: Final = 5.0
FAREWELL_S: Final = 1.0
"""For the last events to be told."""


def run(
    *,
    settings: SettingsFile = None,
    callback: CallbackName = None,
    http: Annotated[
        bool, typer.Option("--http", help="Serve live page, API and metrics, on HTTP_HOST and HTTP_PORT.")
    ] = False,
    record: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Record the stream, for replay and queries.")
    ] = None,
    log_format: LogFormat = "human",
    log_level: LogLevel = "warning",
) -> None:
    """Run the stream that the settings describe, until Ctrl-C or SIGTERM, or until nothing can come again.

    Events and, every 10 s, a summary go to stderr; the closing account goes to stdout. A signal drains what
    is queued, for 5 s at most; a second one ends the process at once. Exit code 1 says that something went
    wrong on the way: a callback that raised, say.
    """
    with Stop() as stop, until_unread(stop.leave):
        teller = Teller(log_format)
        config = said(callback=callback, record=record)
        stream = build_pipeline(teller.begin(log_level, config, file=settings, http=http))
        with accounted(stream, teller) as trouble, _serve(stream, teller) if http else nullcontext():
            trouble.extend(_run(stream, stop, teller))


@contextmanager
def accounted(stream: TickStream, teller: "Teller") -> Iterator[list[str]]:
    """Tell the events of a stream; then drain it, close it, and tell its account and what was wrong.

    Raises:
        Exit: always at the end, with 1 where something was; the caller adds what it knows to the list.
    """
    all_told = threading.Event()
    stream.status.subscribe(teller.tell_event, on_completed=all_told.set)
    trouble: list[str] = []
    yield trouble
    stream.close(DRAIN_S)
    all_told.wait(FAREWELL_S)
    trouble += [*imbalances(stream.accounts()), *failed_ticks(stream.health())]
    teller.tell_account(stream)
    for words in trouble:
        teller.tell_trouble(words)
    raise typer.Exit(1 if trouble else 0)


@contextmanager
def _serve(stream: TickStream, teller: "Teller") -> Iterator[None]:
    """Serve over HTTP meanwhile.

    Raises:
        ServerUnavailable: nobody can listen there any more.
    """
    from pipeline.health.server import HttpServer  # noqa: PLC0415  # an extra

    with HttpServer(stream) as server:
        teller.tell_address(server.url)
        yield


def _run(stream: TickStream, stop: Stop, teller: "Teller") -> list[str]:
    """Start it and wait for the end; return why it came by itself, nothing where it was asked for."""
    broken: list[str] = []

    def on_error(error: Exception) -> None:
        broken.append(str(error))
        stop.ring()

    stream.start(on_error, stop.ring)
    meter = Meter(stream, SUMMARY_EVERY_S)
    looked = False
    while not stop.wait(SUMMARY_EVERY_S):
        teller.tell_summary(meter)
        if not looked:
            teller.tell_silent(*silent_tickers(stream))
            looked = True
    if stop.asked:
        return []
    if stream.settings.replay_path:
        return broken
    return broken or [*failures(stream.health())] or ["the stream ended: no connection has any tickers"]


def silent_tickers(stream: TickStream) -> tuple[list[str], int]:
    """Return the tickers that are carried and had no tick yet, and how many are carried."""
    carried = dict.fromkeys(t for its in stream.tickers().values() for t in its if t != WILDCARD)
    seen = {} if stream.activity is None else stream.activity.counts()
    return [t for t in carried if seen.keys().isdisjoint((t, *other_spellings(t)))], len(carried)


class Teller:
    """Writes what happens to stderr, a line each, in words or as JSON; from any thread."""

    def __init__(self, log_format: LogFormat) -> None:
        self._as_json = log_format == "json"
        self._redaction = RedactingFilter()
        self._logs = LogHandler(log_format, self._redaction)

    def begin(
        self, level: str, config: dict[str, Any] | None, *, file: Path | None, http: bool = False
    ) -> Settings:
        """Return the settings of a stream that starts now, and say where its ticks will come from.

        Logs come out among the events from now on, which would otherwise be logged once more, and nothing of
        what is told has the settings' secrets in it.

        Raises:
            SettingsError: names everything that is in the way.
        """
        logging.basicConfig(level=level.upper(), handlers=[self._logs])
        settings = load_ready(config, file=file, http=http)
        values = (getattr(settings, each.name) for each in fields(settings))
        self._redaction.hide(*(value for value in values if isinstance(value, Secret)))
        self.tell_start(settings)
        return settings

    def tell_start(self, settings: Settings) -> None:
        """Say where ticks will come from: nobody should take generated ones for the market's."""
        replayed, recorded = settings.replay_path, settings.capture_path
        generated = is_generated(settings) and not replayed
        if self._as_json:
            values: dict[str, Any] = {"generated": generated, "redis": settings.redis_enabled}
            values |= {"replay": replayed or None, "record": recorded or None}
            self._write({"event": "Started", "at_ns": time.time_ns()} | values)
        else:
            feed = f"ticks of {replayed}, replayed" if replayed else "ticks from Massive"
            source = "ticks generated here" if generated else feed
            source += f", recorded into {recorded}" if recorded else ""
            self._write(f"{_now()} {source}{', to Redis' if settings.redis_enabled else ''}")

    def tell_address(self, url: str) -> None:
        """Say where the HTTP interface is."""
        if self._as_json:
            self._write({"event": "Serving", "at_ns": time.time_ns(), "url": url})
        else:
            self._write(f"{_now()} live page at {url}, API at {url}/api, metrics at {url}/metrics")

    def tell_event(self, event: StatusEvent) -> None:
        """Write an event."""
        self._write(event.to_dict() if self._as_json else event_line(event))

    def tell_summary(self, meter: Meter) -> None:
        """Write what the stream did lately."""
        self._logs.tell_held()
        reading = meter.read()
        if self._as_json:
            self._write({"event": "Summary", "at_ns": time.time_ns()} | reading_values(reading))
        else:
            self._write(f"{_now()} {summary(reading)}")

    def tell_silent(self, tickers: Sequence[str], carried: int) -> None:
        """Say which tickers had no tick since the start, if any: a name that nobody serves is no error."""
        if not tickers:
            return
        if self._as_json:
            self._write({"event": "Silent", "at_ns": time.time_ns(), "tickers": tickers, "carried": carried})
            return
        which = f"{len(tickers):,} of {counted(carried, 'ticker')}" if carried > 1 else "the one ticker"
        why = "nobody serves them" if len(tickers) > 1 else "nobody serves it"
        self._write(
            f"{_now()} no tick yet of {which}: {some_of(tuple(tickers))}; "
            f"{why}, its types are others (MASSIVE_EVENT_TYPES), or nothing happens there now"
        )

    def tell_account(self, stream: TickStream) -> None:
        """Write what is left of the logs, and the closing account to stdout."""
        self._logs.tell_held(early=True)
        accounts = stream.accounts()
        if self._as_json:
            typer.echo(json_line({"subscribers": account_values(accounts)}))
        else:
            names = {connection.id: connection.name for connection in stream.settings.connections}
            typer.echo("\n".join(account_lines(accounts, names)))

    def tell_trouble(self, words: str) -> None:
        """Say why the exit code is not 0."""
        if self._as_json:
            self._write({"event": "Error", "at_ns": time.time_ns(), "message": words})
        else:
            self._write(f"Error: {words}")

    def _write(self, line: str | dict[str, Any]) -> None:
        clean = self._redaction.clean_value(line)
        typer.echo(shown(clean) if isinstance(clean, str) else json_line(clean), err=True)


def _now() -> str:
    return time.strftime("%H:%M:%S")
