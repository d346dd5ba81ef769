"""The exceptions of Tickbraid, all of them.

::

    TickbraidError
     ├── SettingsError            every problem of the settings at once; nothing was started
     ├── TickRejected             a tick that cannot become what is asked of it (a quote without a side)
     ├── BufferOverflow           a buffer with the policy "error" was full
     ├── Closed                   the stream was used after it was closed
     ├── WrongProcess             the stream was used in a fork of the process that started it
     ├── UnknownSubscriber        there is no subscriber of that name
     ├── UnknownConnection        there is no connection of that id
     ├── CaptureUnusable          a directory cannot be recorded into, or has no capture that can be read
     ├── ServerUnavailable        no server of our own, Redis or simulator, could be started
     ├── NoAnswer                 a running instance that was asked for its figures did not give them
     └── ConnectionTrouble        why a connection ended; travels as a value, is never raised at a subscriber
          ├── ConnectFailed       name, TCP, TLS, proxy or upgrade; or not done within the time-out
          ├── AuthFailed          the server refused the key: fatal, one attempt
          ├── AuthTimedOut        no answer to the key in time
          ├── ProtocolViolation   bytes that are no WebSocket traffic, or a message over the limit
          ├── PeerClosed          a close frame, or the end of TCP
          ├── Silent              nothing came, not even a pong, for too long
          ├── StaleFeed           pongs came, but no ticks, far longer than ever and when asked for anew
          └── ReconnectAsked      somebody wants a new connection
"""

from typing import Final

from operators.buffered import BufferOverflow

__all__ = [
    "AuthFailed",
    "AuthTimedOut",
    "BufferOverflow",
    "CaptureUnusable",
    "Closed",
    "ConnectFailed",
    "ConnectionTrouble",
    "NoAnswer",
    "PeerClosed",
    "ProtocolViolation",
    "ReconnectAsked",
    "ServerUnavailable",
    "SettingsError",
    "Silent",
    "StaleFeed",
    "TickRejected",
    "TickbraidError",
    "UnknownConnection",
    "UnknownSubscriber",
    "WrongProcess",
    "retryable",
    "words_of",
]


MESSAGE_CHARACTERS: Final = 300
"""Of an exception of somebody else's; the rest of it is in the log."""


class TickbraidError(Exception):
    """Is what everything raised by Tickbraid derives from."""


class SettingsError(TickbraidError):
    """Names every problem of the settings at once.

    Args:
        problems: one sentence each: the key, what came, what was expected.
    """

    def __init__(self, problems: list[str]) -> None:
        self.problems = tuple(problems)
        count = len(problems)
        lines = "".join(f"\n  - {problem}" for problem in problems)
        super().__init__(f"{count} problem{'s' if count != 1 else ''} in the settings:{lines}")


class TickRejected(TickbraidError, ValueError):
    """Says why a tick cannot become a `TickData` or a message; ``reason`` is the account's word for it."""

    def __init__(self, reason: str, detail: str) -> None:
        self.reason = reason
        super().__init__(detail)


class Closed(TickbraidError):
    """Says that the stream, or a part of it, was already closed."""


class WrongProcess(TickbraidError, RuntimeError):
    """Says that a stream belongs to another process, of which this one is a fork."""


class UnknownSubscriber(TickbraidError, KeyError):
    """Says that there is no subscriber of that name, and which there are."""

    def __str__(self) -> str:
        return str(self.args[0])  # a KeyError shows its argument in quotes


class UnknownConnection(TickbraidError, LookupError):
    """Says that there is no connection of that id, and which there are."""


class CaptureUnusable(TickbraidError):
    """Says why nothing can be recorded into a directory, or nothing of it be read."""


class ServerUnavailable(TickbraidError):
    """Says why no server of our own (Redis, the simulator) could be started, or how it ended."""


class NoAnswer(TickbraidError):
    """Says why a running instance did not tell how it is doing."""


class ConnectionTrouble(TickbraidError):
    """Says why a connection ended."""


class ConnectFailed(ConnectionTrouble):
    """Says that no WebSocket came about; ``retry_after_s`` is how long the server wants to be left alone."""

    def __init__(self, detail: str, retry_after_s: float | None = None) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(detail)


class AuthFailed(ConnectionTrouble):
    """Says that the server refused the key."""


class AuthTimedOut(ConnectionTrouble):
    """Says that the server did not answer the key in time."""


class ProtocolViolation(ConnectionTrouble):
    """Says that the peer broke RFC 6455 or our size limit; ``close_code`` is what we answer with."""

    def __init__(self, close_code: int, detail: str) -> None:
        self.close_code = close_code
        super().__init__(detail)


class PeerClosed(ConnectionTrouble):
    """Says that the server closed: ``code`` of its close frame, or None where TCP just ended."""

    def __init__(self, code: int | None, reason: str) -> None:
        self.code = code
        self.reason = reason
        super().__init__(f"closed by the server: {code or 'no close frame'} {reason}".rstrip())


class Silent(ConnectionTrouble):
    """Says that the link is dead though TCP did not tell."""


class StaleFeed(ConnectionTrouble):
    """Says that the link answers and brings nothing; ``last_ticks_ns`` is when it last did."""

    def __init__(self, detail: str, last_ticks_ns: int) -> None:
        self.last_ticks_ns = last_ticks_ns
        super().__init__(detail)


class ReconnectAsked(ConnectionTrouble):
    """Says why somebody wants a new connection in the place of this one."""


def retryable(trouble: ConnectionTrouble) -> bool:
    """Tell whether to connect again: always, except where the server refused the key."""
    return not isinstance(trouble, AuthFailed)


def words_of(error: BaseException) -> str:
    """Return an exception of anybody's as its type and message, which may be of any length or raise."""
    try:
        message = str(error)
    except BaseException:  # noqa: BLE001  # user code: some raise even then
        message = "(it has no message: its __str__ raises)"
    short = message if len(message) <= MESSAGE_CHARACTERS else message[:MESSAGE_CHARACTERS] + "…"
    return f"{type(error).__name__}: {short}" if short else type(error).__name__
