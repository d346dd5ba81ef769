"""``tickbraid top``: how a running instance is doing, in the terminal."""

import os
import sys
from typing import Annotated, Final

import typer
from rich.console import Console

from .instance import Instance
from .top_screen import picture

__all__ = ["top"]

SCRIPT_WIDTH: Final = 160
DEFAULT_URL: Final = "http://127.0.0.1:8420"


def top(
    url: Annotated[str, typer.Argument(help="Of the instance's HTTP interface.")] = DEFAULT_URL,
    *,
    once: Annotated[bool, typer.Option("--once", help="Print everything once, for a script.")] = False,
) -> None:
    """Show a running instance, once a second: connections, subscribers, tickers and events.

    Where the output is no terminal, it is shown once. The instance is one that runs with --http. Keys: s
    sort, t slowest or busiest tickers, p pause, ? help, q quit. The environment's HTTP_TOKEN is sent, which
    an instance on another machine may want.
    """
    try:
        instance = Instance(url, os.environ.get("HTTP_TOKEN", ""))
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="URL") from error
    try:
        if once or not sys.stdout.isatty():
            console = Console(highlight=False, width=None if sys.stdout.isatty() else SCRIPT_WIDTH)
            console.print(picture(instance.read(), instance.url, console.width))
        else:
            _watch(instance)
    finally:
        instance.close()


def _watch(instance: Instance) -> None:
    try:
        from .top_app import TopApp  # noqa: PLC0415  # an extra
    except ImportError as error:
        raise ImportError("`top` needs textual, which comes with: pip install 'tickbraid[web]'") from error
    TopApp(instance).run()
