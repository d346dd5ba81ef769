"""`ConnectionInfo`: how one connection of a manager is doing, with TickStock's names."""

from dataclasses import dataclass, field

from .face import ConnectionFace

__all__ = ["ConnectionInfo"]


@dataclass(slots=True)
class ConnectionInfo:
    """Is a snapshot: look again for newer values.

    Args:
        connection_id: ``connection_1`` for the first.
        name: for people.
        client: the connection by itself.
        assigned_tickers: what it carries, or will where nothing runs.
        status: disconnected, connecting, connected or error (which is tried again).
        message_count: ticks from it that the callback was given.
        error_count: how often it was lost or did not come about, and what it sent that is no tick.
        last_message_time: float seconds since the epoch; 0.0 before the first message.
    """

    connection_id: str
    name: str
    client: ConnectionFace | None = None
    assigned_tickers: set[str] = field(default_factory=set)
    status: str = "disconnected"
    message_count: int = 0
    error_count: int = 0
    last_message_time: float = 0.0
