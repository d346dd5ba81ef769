"""What is logged while a command runs: a line each, for people or as JSON, without secrets and floods."""

import logging
from typing import Annotated, Final, Literal, NamedTuple

import typer

from operators.runtime import SYSTEM, Runtime
from operators.throttled_log import Throttle
from pipeline.redaction import RedactingFilter
from pipeline.shown import json_line, shown, shown_lines

__all__ = ["LogFormat", "LogHandler", "LogLevel"]

LogFormat = Annotated[Literal["human", "json"], typer.Option(help="Lines for people, or JSON, one an event.")]
LogLevel = Annotated[
    Literal["debug", "info", "warning", "error"], typer.Option(help="What is logged, beside events.")
]

BURST: Final = 10
"""So many lines of a kind are told in 10 s: the warnings of a start pass, a loop that went wrong does not."""


MOST_CHARACTERS: Final = 4000
"""Of a message."""


class _Kind(NamedTuple):
    logger: str
    level: int
    words: str
    """The message without its arguments."""


class LogHandler(logging.StreamHandler):  # type: ignore[type-arg]  # it is generic in the stubs only
    """Writes log records to stderr; of a kind, some in 10 s, and afterwards how many there were.

    A kind is a logger with a message, its arguments left out. Status events are left out altogether: they
    are told as events. Any thread.

    Args:
        log_format: lines for people, or JSON.
        redaction: takes the secrets out.
        runtime: its monotonic clock.
    """

    def __init__(
        self,
        log_format: LogFormat,
        redaction: RedactingFilter,
        *,
        runtime: Runtime = SYSTEM,
    ) -> None:
        super().__init__()
        self._throttle = Throttle[_Kind](burst=BURST, runtime=runtime)
        if log_format == "json":
            self.setFormatter(_JsonFormatter())
        else:
            self.setFormatter(_LineFormatter("%(asctime)s %(levelname)s: %(message)s", "%H:%M:%S"))
        self.addFilter(self._admit)
        self.addFilter(redaction)

    def tell_held(self, *, early: bool = False) -> None:
        """Say how many were held back, of kinds whose time is over; ``early`` of the others too."""
        for kind, count in self._throttle.take_held(early=early).items():
            values = {"levelno": kind.level, "levelname": logging.getLevelName(kind.level), _TOLD: True}
            values |= {"name": kind.logger, "msg": "%d more like this: %s", "args": (count, kind.words)}
            self.handle(logging.makeLogRecord(values))

    def _admit(self, record: logging.LogRecord) -> bool:
        if record.name == "tickbraid.status":
            return False
        if hasattr(record, _TOLD):
            return True
        self.tell_held()
        words = getattr(record, "kind", None) or str(record.msg)  # a child's record brings its own
        return self._throttle.admit(_Kind(record.name, record.levelno, words)) is not None


_TOLD: Final = "tells_held"


class _LineFormatter(logging.Formatter):
    """Makes a log record a line that begins no other; those of a traceback are indented."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # logging calls it so
        return shown(super().formatMessage(record), MOST_CHARACTERS)

    def format(self, record: logging.LogRecord) -> str:
        head, *trace = super().format(record).split("\n", 1)
        return "\n".join([head, *(f"    {shown_lines(lines)}" for lines in trace)])


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
        return json_line(values)
