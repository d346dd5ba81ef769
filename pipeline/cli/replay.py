"""``tickbraid replay``: a capture through the stream of the settings."""

import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from pipeline.shown import shown

from .audit import failed_ticks, imbalances
from .logs import LogFormat
from .output import until_unread
from .preflight import load_ready
from .run import DRAIN_S, FAREWELL_S, Teller
from .stop import Stop

if TYPE_CHECKING:
    from pipeline.capture.replay import Replay

__all__ = ["replay"]

REFRESH_S: Final = 0.2


def replay(
    path: Annotated[Path, typer.Argument(metavar="DIR", help="What `run --record` wrote.")],
    *,
    speed: Annotated[str, typer.Option(help="1 as recorded, N so many times faster, or max.")] = "1",
    begin: Annotated[
        str, typer.Option("--from", metavar="TIME", help="Of receipt, 2026-11-23T09:30:00-05:00.")
    ] = "",
    end: Annotated[str, typer.Option("--to", metavar="TIME", help="Likewise; not included.")] = "",
    connections: Annotated[str, typer.Option(help="Only these, 1,2.")] = "",
    record: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Record what comes of it; needs `capture`.")
    ] = None,
    settings: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Settings, instead of settings.yaml here.")
    ] = None,
    callback: Annotated[
        str | None, typer.Option(metavar="MODULE:FUNCTION", help="Is called with every tick.")
    ] = None,
    log_format: Annotated[LogFormat, typer.Option(help="Lines for people, or JSON, one an event.")] = "human",
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], typer.Option(help="What is logged, beside events.")
    ] = "warning",
) -> None:
    """Replay a capture: to the callback and to the sinks of the settings, as if it came from Massive now.

    Ends with the capture, or at Ctrl-C. Events and the progress go to stderr; the closing account to stdout.
    """
    from pipeline.capture.replay import Replay  # noqa: PLC0415  # pyarrow and polars: only here

    said = {
        "REPLAY_PATH": str(path),
        "REPLAY_SPEED": speed,
        "REPLAY_FROM": begin,
        "REPLAY_TO": end,
        "REPLAY_CONNECTIONS": connections,
        "CAPTURE_PATH": str(record or ""),
    }
    if callback:
        said["TICK_CALLBACK"] = callback
    with Stop() as stop, until_unread(stop.leave):
        teller = Teller(log_format)
        teller.take_logs(log_level)
        loaded = load_ready(said, file=settings)
        teller.hide(loaded)
        teller.tell_start(loaded)
        replayed = Replay(loaded)
        stream = replayed.stream
        all_told = threading.Event()
        stream.status.subscribe(teller.tell_event, on_completed=all_told.set)
        trouble: list[str] = []

        def on_error(error: Exception) -> None:
            trouble.append(str(error))
            stop.ring()

        stream.start(on_error, stop.ring)
        _watch(replayed, stop, shown=log_format == "human" and sys.stderr.isatty())
        stream.close(DRAIN_S)
        all_told.wait(FAREWELL_S)
        trouble += [*imbalances(stream.accounts()), *failed_ticks(stream.health())]
        teller.tell_account(stream)
    for words in trouble:
        typer.echo(f"Error: {shown(words)}", err=True)
    raise typer.Exit(1 if trouble else 0)


def _watch(replayed: "Replay", stop: Stop, *, shown: bool) -> None:
    """Show a bar until it is time to stop; what is told meanwhile comes out above it."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not shown) as bar:
        task = bar.add_task("replayed", total=None)
        stopped = False
        while not stopped:
            stopped = stop.wait(REFRESH_S)
            done_ns, total_ns = replayed.progress()  # after the end once more, so that the bar comes to it
            bar.update(task, completed=done_ns / 1e9, total=total_ns / 1e9)
