"""``tickbraid run``: the stream of the settings, for as long as it is wanted."""

import logging
import threading
import time
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
import typer

from pipeline.build import build_pipeline
from pipeline.callback import load_callback
from pipeline.health.meter import Meter
from pipeline.settings import Settings, load_settings
from pipeline.status import StatusEvent
from pipeline.stream import TickStream

from .audit import failures, imbalances
from .screen import account_lines, account_values, event_line, reading_values, summary
from .stop import Stop

__all__ = ["check_callback", "run"]

SUMMARY_EVERY_S: Final = 10.0
DRAIN_S: Final = 5.0
FAREWELL_S: Final = 1.0
"""For the last events to be told."""


def run(
    *,
    settings: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Settings, instead of settings.yaml here.")
    ] = None,
    callback: Annotated[
        str | None, typer.Option(metavar="MODULE:FUNCTION", help="Is called with every tick.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON lines, one an event.")] = False,
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], typer.Option(help="What is logged, beside events.")
    ] = "warning",
) -> None:
    """Run the stream that the settings describe, until Ctrl-C or SIGTERM, or until nothing can come again.

    Events and, every 10 s, a summary go to stderr; the closing account goes to stdout. A signal drains what
    is queued, for 5 s at most; a second one ends the process at once.
    """
    teller = _Teller(as_json=as_json)
    teller.take_logs(log_level)
    if callback:
        check_callback(callback)
    with Stop() as stop:
        loaded = load_settings({"TICK_CALLBACK": callback} if callback else None, file=settings)
        teller.tell_start(loaded)
        stream = build_pipeline(loaded)
        all_told = threading.Event()
        stream.status.subscribe(teller.tell_event, on_completed=all_told.set)
        trouble = _run(stream, stop, teller)
        stream.close(DRAIN_S)
        all_told.wait(FAREWELL_S)
        trouble += imbalances(stream.accounts())
        teller.tell_account(stream)
    for words in trouble:
        typer.echo(f"Error: {words}", err=True)
    raise typer.Exit(1 if trouble else 0)


def check_callback(path: str) -> None:
    """Import ``module:function``, so that a mistake is told before anything is opened.

    Raises:
        typer.BadParameter: there is no such function; says why.
    """
    try:
        load_callback(path)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--callback") from error


def _run(stream: TickStream, stop: Stop, teller: "_Teller") -> list[str]:
    """Start it and wait for the end; return why it came by itself, nothing where it was asked for."""
    broken: list[str] = []

    def on_error(error: Exception) -> None:
        broken.append(str(error))
        stop.ring()

    stream.start(on_error, stop.ring)
    meter = Meter(stream, SUMMARY_EVERY_S)
    while not stop.wait(SUMMARY_EVERY_S):
        teller.tell_summary(meter)
    if stop.signal is not None:
        return []
    return broken or [*failures(stream.health())] or ["the stream ended: no connection has any tickers"]


class _Teller:
    """Writes what happens to stderr, a line each, in words or as JSON; from any thread."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json

    def take_logs(self, level: str) -> None:
        """Let logs come out among the events, which would otherwise be logged once more."""
        handler = logging.StreamHandler()
        if self._as_json:
            handler.setFormatter(_JsonFormatter())
        else:
            handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s: %(message)s", "%H:%M:%S"))
        handler.addFilter(lambda record: record.name != "tickbraid.status")
        logging.basicConfig(level=level.upper(), handlers=[handler])

    def tell_start(self, settings: Settings) -> None:
        """Say where ticks will come from: nobody should take generated ones for the market's."""
        generated = not settings.use_massive_api or settings.use_synthetic_data
        if self._as_json:
            values = {"generated": generated, "redis": settings.redis_enabled}
            self._write({"event": "Started", "at_ns": time.time_ns()} | values)
        else:
            source = "ticks generated here" if generated else "ticks from Massive"
            self._write(f"{_now()} {source}{', to Redis' if settings.redis_enabled else ''}")

    def tell_event(self, event: StatusEvent) -> None:
        self._write(event.to_dict() if self._as_json else event_line(event))

    def tell_summary(self, meter: Meter) -> None:
        reading = meter.read()
        if self._as_json:
            self._write({"event": "Summary", "at_ns": time.time_ns()} | reading_values(reading))
        else:
            self._write(f"{_now()} {summary(reading)}")

    def tell_account(self, stream: TickStream) -> None:
        """Write the closing account, to stdout."""
        accounts = stream.accounts()
        if self._as_json:
            typer.echo(msgspec.json.encode({"subscribers": account_values(accounts)}))
        else:
            names = {connection.id: connection.name for connection in stream.settings.connections}
            typer.echo("\n".join(account_lines(accounts, names)))

    def _write(self, line: str | dict[str, Any]) -> None:
        typer.echo(line if isinstance(line, str) else msgspec.json.encode(line), err=True)


def _now() -> str:
    return time.strftime("%H:%M:%S")


class _JsonFormatter(logging.Formatter):
    """Makes a log record an event like the others."""

    def format(self, record: logging.LogRecord) -> str:
        values = {
            "event": "Log",
            "at_ns": int(record.created * 1e9),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": super().format(record),
        }
        return msgspec.json.encode(values).decode()
