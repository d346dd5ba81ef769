"""Status events in TickStock's words."""

from collections.abc import Callable
from typing import Any

from pipeline import status

__all__ = ["StatusCallback", "in_words"]

StatusCallback = Callable[[str, dict[str, Any]], object]
"""Takes one of TickStock's four words, and a dict that is the callee's to keep and change."""


def in_words(event: status.StatusEvent, *, was_live: bool) -> tuple[str, dict[str, Any]]:
    """Return the word for an event, and its data: the event's values, a message, and ``connection_id``.

    ``connected`` when the key was accepted; ``disconnected`` when a connection that was ends; ``error`` when
    an attempt fails, the account has too many connections, or nothing more is tried; ``status_update`` for
    all else, with ``status`` in the server's words where it has any.

    Args:
        event: of the status stream.
        was_live: its connection was authenticated before.
    """
    data = event.to_dict() | {"connection_id": event.connection}
    words = event.describe()
    match event:
        case status.Authenticated():
            word, more = "connected", {"message": "Authentication successful"}
        case status.Closed():
            word, more = "disconnected", {"message": words}
        case status.Disconnected() if was_live:
            word, more = "disconnected", {"message": words}
        case status.Disconnected() | status.Failed():
            word, more = "error", {"error": event.reason, "message": words}
        case status.Evicted():
            word, more = "error", {"error": event.message, "message": words}
        case status.Subscribed():
            word, more = "status_update", {"status": "success", "message": words}
        case status.ServerMessage():
            word, more = "status_update", {}
        case _:
            word, more = "status_update", {"status": data["event"].lower(), "message": words}
    return word, data | more
