"""``tickbraid check``: what the settings come to, before anything is connected."""

import logging
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Final, Self

import msgspec
import typer

from pipeline.errors import SettingsError
from pipeline.routing.assign import Assignment
from pipeline.routing.route import plan
from pipeline.routing.universe import universes_of
from pipeline.settings import Settings, describe, load_settings
from pipeline.status_event import counted
from pipeline.symbols import WILDCARD, named_of

from .preflight import SettingsFile, obstacles, said

__all__ = ["check"]

TICKERS_SHOWN: Final = 8


def check(
    *,
    settings: SettingsFile = None,
    callback: Annotated[
        str | None, typer.Option(metavar="MODULE:FUNCTION", help="As for `run`; is imported.")
    ] = None,
    http: Annotated[bool, typer.Option("--http", help="As for `run`.")] = False,
    record: Annotated[Path | None, typer.Option(metavar="DIR", help="As for `run`.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON, with all tickers.")] = False,
) -> None:
    """Show every setting and where it came from, secrets masked, and which connection carries which ticker.

    Nothing is connected. Exit code 2 with every problem for which `run` would not start.
    """
    with _Warnings() as heard:
        loaded, assignment, problems = _load(settings, said(callback=callback, record=record), http=http)
    heeded = [*dict.fromkeys((*heard.messages, *assignment.warnings))]
    if as_json:
        typer.echo(msgspec.json.encode(_values(loaded, assignment, heeded, problems)))
    else:
        if loaded is not None:
            typer.echo("\n".join(_lines(loaded, assignment)))
        for word, texts in (("Warning", heeded), ("Error", problems)):
            for text in texts:
                typer.echo(f"{word}: {text}", err=True)
    raise typer.Exit(2 if problems else 0)


def _load(
    file: Path | None, config: dict[str, Any] | None, *, http: bool
) -> tuple[Settings | None, Assignment, list[str]]:
    """Return the settings, unless they are wrong, the routing they give, and what is in their way."""
    try:
        settings = load_settings(config, file=file)
    except SettingsError as error:
        return None, Assignment({}), [*error.problems]
    problems = obstacles(settings, http=http)
    planned = plan(settings, universes_of(settings))
    heeded = (*_unused_key(settings), *map(str, planned.doubts), *planned.assignment.warnings)
    return settings, replace(planned.assignment, warnings=heeded), problems


def _unused_key(settings: Settings) -> Iterator[str]:
    """Yield that a key alone connects nothing: who has just been given one would look at generated ticks."""
    generated = not settings.use_massive_api and not settings.use_synthetic_data and not settings.replay_path
    if settings.massive_api_key and generated:
        key, switch = (settings.provenance[name] for name in ("MASSIVE_API_KEY", "USE_MASSIVE_API"))
        off = f"USE_MASSIVE_API ({switch}) is off"
        yield f"MASSIVE_API_KEY ({key}) is not used: {off}; ticks are generated here"


def _lines(settings: Settings, assignment: Assignment) -> Iterator[str]:
    """Yield the settings as a table, then the routing."""
    rows = describe(settings)
    widths = [max(len(row[column]) for row in rows) for column in (0, 2)]
    for key, value, source in rows:
        yield f"{key:{widths[0]}}  {source:{widths[1]}}  {value}".rstrip()
    yield ""
    for connection in settings.connections:
        if not connection.enabled:
            continue
        tickers = assignment.tickers.get(connection.id, ())
        shown = ", ".join(tickers[:TICKERS_SHOWN]) or "none"
        more = f" and {len(tickers) - TICKERS_SHOWN} more" if len(tickers) > TICKERS_SHOWN else ""
        where = f"{connection.id} ({connection.name}), {_origin(settings, connection.url)}"
        yield f"{where}: {_count(tickers)}: {shown}{more}"


def _count(tickers: tuple[str, ...]) -> str:
    named = counted(len(named_of(tickers)), "ticker")
    return f"all symbols, {named} by name" if WILDCARD in tickers else named


def _values(
    settings: Settings | None, assignment: Assignment, heeded: list[str], problems: list[str]
) -> dict[str, Any]:
    values: dict[str, Any] = {"ok": not problems, "problems": problems, "warnings": heeded}
    if settings is None:
        return values
    return values | {
        "settings": {key: {"value": value, "source": source} for key, value, source in describe(settings)},
        "routing": {
            connection.id: {
                "name": connection.name,
                "url": _origin(settings, connection.url),
                "event_types": connection.event_types,
                "tickers": assignment.tickers.get(connection.id, ()),
            }
            for connection in settings.connections
            if connection.enabled
        },
    }


def _origin(settings: Settings, url: str) -> str:
    return url if settings.use_massive_api and not settings.use_synthetic_data else "generated here"


class _Warnings(logging.Handler):
    """Hears what settings and routing log as warnings, so that it is said in its place, and once."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []
        self._logger = logging.getLogger("tickbraid")
        self._python = warnings.catch_warnings()

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())

    def __enter__(self) -> Self:
        self._logger.addHandler(self)
        self._python.__enter__()
        warnings.simplefilter("ignore", DeprecationWarning)  # an old name is logged too
        return self

    def __exit__(self, *_: object) -> None:
        self._python.__exit__(None, None, None)
        self._logger.removeHandler(self)
