"""``tickbraid captures``: what is in a capture, and whether it is whole."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.shown import shown
from pipeline.status_event import counted

if TYPE_CHECKING:
    from pipeline.capture.survey import Session, Survey

__all__ = ["captures"]


def captures(
    path: Annotated[
        Path, typer.Argument(metavar="DIR", help="What `run --record` wrote, or a folder of such.")
    ],
) -> None:
    """List and verify captures: sessions, counts, time spans (UTC), losses, checksums.

    Exits with 1 and names the file where something is damaged or missing.
    """
    from pipeline.capture.survey import captures_in, survey  # noqa: PLC0415  # pyarrow and polars: only here

    damaged = False
    for root in captures_in(path):
        found = survey(root)
        if root != path:
            typer.echo(f"{root}:")
        typer.echo("\n".join(map(shown, _lines(found))))
        wrong = found.damage or (() if found.sessions else (f"{root}: there is nothing that can be read",))
        for words in wrong:
            typer.echo(f"Error: {shown(words)}", err=True)
        damaged = damaged or bool(wrong)
    raise typer.Exit(1 if damaged else 0)


def _lines(found: "Survey") -> Iterator[str]:
    for session in found.sessions:
        yield _session_line(session)
    by_connection: dict[str, list[str]] = {}
    for (connection, kind), count in found.ticks.items():
        by_connection.setdefault(connection, []).append(f"{kind} {count:,}")
    for connection, counts in by_connection.items():
        yield f"  {connection}: {', '.join(counts)}"
    for loss in found.losses:
        yield f"  {_time(loss.at_ns)} {loss.describe()}"
    for path in found.unfinished:
        yield f"  set aside, not readable: {path}"
    if found.damage:
        yield "damaged"
    elif found.sessions:
        yield "every file is as it was written"


def _session_line(session: "Session") -> str:
    seconds = (session.last_ns - session.first_ns) / 1e9
    rows, files = counted(session.rows, "row"), counted(session.files, "file")
    return (
        f"session {session.number} {session.kind}: {rows} in {files}, "
        f"{session.size_bytes / 1e6:,.1f} MB, {_time(session.first_ns)} to {_time(session.last_ns)} "
        f"({seconds:,.1f} s)"
    )


def _time(at_ns: int) -> str:
    return f"{datetime.fromtimestamp(at_ns / 1e9, UTC):%Y-%m-%d %H:%M:%S}"
