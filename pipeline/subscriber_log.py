"""Where it is logged what the user's code raised, so that somebody hears it."""

import logging
from typing import Final

__all__ = ["subscriber_log"]

subscriber_log: Final = logging.getLogger("tickbraid.subscriber")
"""Of all that a subscriber, a sink or a callback raised."""


class _LastResort(logging.Handler):
    """Writes to stderr what nobody else would: a script without logging must see why its callback fails.

    Elsewhere a library is silent until logging is configured; but this is the user's own code, and Python
    would have shown its traceback if we had not caught it.
    """

    def emit(self, record: logging.LogRecord) -> None:
        if logging.lastResort is not None and not _is_heard():
            logging.lastResort.handle(record)


def _is_heard() -> bool:
    logger: logging.Logger | None = subscriber_log
    while logger is not None:
        if any(not isinstance(each, (logging.NullHandler, _LastResort)) for each in logger.handlers):
            return True
        logger = logger.parent if logger.propagate else None
    return False


subscriber_log.addHandler(_LastResort(logging.ERROR))
