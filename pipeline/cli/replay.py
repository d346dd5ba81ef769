"""``tickbraid replay``: a capture through the stream of the settings."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from .logs import LogFormat, LogLevel
from .output import until_unread
from .preflight import CallbackName, SettingsFile
from .run import Teller, accounted
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
    settings: SettingsFile = None,
    callback: CallbackName = None,
    log_format: LogFormat = "human",
    log_level: LogLevel = "warning",
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
        replayed = Replay(teller.begin(log_level, said, file=settings))
        stream = replayed.stream
        with accounted(stream, teller) as trouble:

            def on_error(error: Exception) -> None:
                trouble.append(str(error))
                stop.ring()

            stream.start(on_error, stop.ring)
            _watch(replayed, stop, shown=log_format == "human" and sys.stderr.isatty())


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
