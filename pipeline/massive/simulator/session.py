"""What one client has said and may hear: Massive's protocol without sockets or time."""

from enum import Enum, auto
from typing import NamedTuple

import msgspec

from pipeline.symbols import WILDCARD, other_spellings

from .options import CHANNEL_TYPES, Options

__all__ = ["Outcome", "Reply", "Session", "status"]


class Outcome(Enum):
    """What a message of the client was."""

    IGNORED = auto()
    AUTHENTICATED = auto()
    REFUSED = auto()
    CHANNELS = auto()


class Reply(NamedTuple):
    """What a message came to, and the status elements that answer it."""

    outcome: Outcome
    statuses: list[bytes]


class _Request(msgspec.Struct):
    action: str
    params: str = ""


class _Wanted(dict[str, bool]):
    """Remembers of each channel of the feeds if the client holds it, by any spelling or by a star."""

    def __init__(self, held: set[str]) -> None:
        super().__init__()
        self._held = held

    def __missing__(self, channel: str) -> bool:
        kind, _, symbol = channel.partition(".")
        names = (symbol, WILDCARD, *other_spellings(symbol))
        wanted = self[channel] = any(f"{kind}.{name}" in self._held for name in names)
        return wanted


_decode = msgspec.json.Decoder(_Request).decode


def status(word: str, message: str) -> bytes:
    """Return a status element."""
    return msgspec.json.encode({"ev": "status", "status": word, "message": message})


class Session:
    """Holds one client's state; all methods run on the server's loop."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self.key: str | None = None
        self.held: set[str] = set()
        self.wanted = _Wanted(self.held)
        self.largest_request = 0
        self.unanswered = 0
        """Subscriptions that got no answer, since there is no such channel."""

    def receive(self, message: bytes) -> Reply:
        """Take a text message of the client, say what it was and how to answer."""
        try:
            request = _decode(message)
        except msgspec.MsgspecError:
            return Reply(Outcome.IGNORED, [])
        if request.action == "auth":
            return self._authenticate(request.params)
        if request.action not in {"subscribe", "unsubscribe"}:
            return Reply(Outcome.IGNORED, [])
        if self.key is None:
            return Reply(Outcome.IGNORED, [status("error", "not authorized")])
        channels = [channel.strip() for channel in request.params.split(",") if channel.strip()]
        self.largest_request = max(self.largest_request, len(channels))
        change = self._subscribe if request.action == "subscribe" else self._unsubscribe
        answers = [answer for channel in channels if (answer := change(channel))]
        self.wanted.clear()
        return Reply(Outcome.CHANNELS, answers)

    def _authenticate(self, key: str) -> Reply:
        if not key or (self._options.keys and key not in self._options.keys):
            return Reply(Outcome.REFUSED, [status("auth_failed", "authentication failed")])
        self.key = key
        return Reply(Outcome.AUTHENTICATED, [status("auth_success", "authenticated")])

    def _subscribe(self, channel: str) -> bytes | None:
        kind, _, symbol = channel.partition(".")
        names = {channel, f"{kind}.*"}
        if kind not in CHANNEL_TYPES or not symbol or names & self._options.unanswered:
            self.unanswered += 1
            return None
        if names & self._options.unauthorized:
            return status("error", "not authorized")
        if channel in self.held:
            return None
        self.held.add(channel)
        return status("success", f"subscribed to: {channel}")

    def _unsubscribe(self, channel: str) -> bytes | None:
        if channel not in self.held:
            return None
        self.held.discard(channel)
        return status("success", f"unsubscribed to: {channel}")
