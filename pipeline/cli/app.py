"""The commands put together, and what becomes of errors: one clear sentence and an exit code.

Exit codes: 0 done; 1 something went wrong on the way; 2 the command line or the settings are wrong; 130 and
143 a second SIGINT or SIGTERM.
"""

import logging
import sys
from typing import Annotated, Final

import typer

import pipeline
from pipeline.errors import SettingsError, TickbraidError
from pipeline.massive.simulator.command import simulate
from pipeline.redaction import redact
from pipeline.shown import shown

from .captures import captures
from .check import check
from .demo import demo
from .replay import replay
from .report import report
from .run import run
from .top import top

__all__ = ["app", "main"]

_log: Final = logging.getLogger("tickbraid.cli")

app: Final = typer.Typer(
    name="tickbraid",
    rich_markup_mode="markdown",  # joins the lines of a paragraph
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (demo, run, simulate, check, top, captures, replay, report):
    app.command()(command)


@app.callback(invoke_without_command=True)
def tickbraid(
    context: typer.Context,
    *,
    version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,
) -> None:
    """Braid every WebSocket connection of a Massive account into one accounted-for tick stream."""
    if version:
        typer.echo(f"tickbraid {pipeline.__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main() -> None:
    """Run the command line and exit."""
    try:
        app()
    except SettingsError as error:
        code, words = 2, str(error)
    except TickbraidError as error:
        code, words = 1, shown(f"Error: {error}")
    except ImportError as error:  # of an extra that is not installed; the text says which
        code, words = 2, f"Error: {error}"
    except Exception as error:  # noqa: BLE001  # a defect; its traceback is for `--log-level debug`
        _log.debug("This should not have happened", exc_info=True)
        code, words = 1, shown(f"Error: {type(error).__name__}: {error}")
    typer.echo(redact(words), err=True)
    sys.exit(code)
