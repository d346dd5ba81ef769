"""What would keep a stream from starting, found before anything is opened.

`check` tells it and `run` and `replay` refuse for it, all by this one function, so that they cannot differ.
"""

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.callback import load_callback
from pipeline.errors import CaptureUnusable, ServerUnavailable, SettingsError
from pipeline.routing.route import unroutable
from pipeline.routing.universe import universes_of
from pipeline.settings import Settings, load_settings

__all__ = ["CallbackName", "SettingsFile", "load_ready", "obstacles", "said"]

SettingsFile = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Settings, instead of settings.yaml here.")
]
CallbackName = Annotated[
    str | None, typer.Option(metavar="MODULE:FUNCTION", help="Is called with every tick.")
]


def said(*, callback: str | None = None, record: Path | None = None) -> dict[str, Any] | None:
    """Return options of the command line as settings."""
    values = {"TICK_CALLBACK": callback, "CAPTURE_PATH": record and str(record)}
    return {name: value for name, value in values.items() if value} or None


def load_ready(config: Any = None, *, file: Path | None = None, http: bool = False) -> Settings:
    """Return settings with which a stream can start now.

    Args:
        config: as `load_settings` takes it.
        file: likewise.
        http: the HTTP interface is wanted.

    Raises:
        SettingsError: names everything that is in the way.
    """
    settings = load_settings(config, file=file)
    if problems := obstacles(settings, http=http):
        raise SettingsError(problems)
    return settings


def obstacles(settings: Settings, *, http: bool = False) -> list[str]:
    """Return what is in the way of a stream of these settings: a sentence each, with the key.

    Modules are imported, the callback's too, and a capture that is to be replayed is looked through; no
    connection is made, nothing is written and no port is kept.
    """
    problems = [*_about_callback(settings), *_about_captures(settings)]
    if not settings.replay_path:
        problems += unroutable(settings, universes_of(settings))  # the callback's module may provide some
    return problems + ([*_about_http(settings)] if http else [])


def _about_callback(settings: Settings) -> Iterator[str]:
    if settings.tick_callback:
        try:
            load_callback(settings.tick_callback)
        except ValueError as error:
            yield _sentence(settings, "TICK_CALLBACK", error)


def _about_captures(settings: Settings) -> Iterator[str]:
    for key, check in (("CAPTURE_PATH", _check_recording), ("REPLAY_PATH", _check_replay)):
        if getattr(settings, key.lower()):
            try:
                importlib.import_module("pipeline.capture")
                check(settings)
            except (ImportError, CaptureUnusable) as error:
                yield _sentence(settings, key, error)


def _check_recording(settings: Settings) -> None:
    from pipeline.capture.layout import check_folder  # noqa: PLC0415  # an extra

    check_folder(settings.capture_path)


def _check_replay(settings: Settings) -> None:
    from pipeline.capture.replay import selection_of  # noqa: PLC0415  # an extra

    selection_of(settings)


def _about_http(settings: Settings) -> Iterator[str]:
    try:
        from pipeline.health.server import listen  # noqa: PLC0415  # an extra
    except ModuleNotFoundError as error:
        yield f"--http: {error.name} is not installed: pip install 'tickbraid[web]'"
        return
    try:
        listen(settings.http_host, settings.http_port).close()
    except ServerUnavailable as error:
        yield _sentence(settings, "HTTP_PORT", error)


def _sentence(settings: Settings, key: str, error: Exception) -> str:
    return f"{key} ({settings.provenance.get(key, 'default')}): {error}"
