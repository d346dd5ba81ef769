"""What Massive says besides ticks, and the ledger of channels: pure, no socket, no clock of its own.

See https://massive.com/docs/websocket for the messages; where sources disagree both ways are taken.
"""

import enum
import json
import math
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import msgspec

from pipeline.symbols import spelling

__all__ = [
    "ACK_TIMEOUT_S",
    "CHANNELS_A_REQUEST",
    "PENDING",
    "ChannelState",
    "Kind",
    "Ledger",
    "LedgerReport",
    "ServerStatus",
    "acknowledged_channels",
    "auth_request",
    "channel_request",
    "channels_for",
    "classify",
    "split_requests",
]

CHANNELS_A_REQUEST: Final = 500
ACK_TIMEOUT_S: Final = 10.0
ERROR_GRACE_S: Final = 1.0
ASKS: Final = 2
"""A channel is asked for, and asked for once more; then it counts as unanswered."""

_SUBSCRIBED: Final = "subscribed to:"
_UNSUBSCRIBED: Final = "unsubscribed to:"


class ServerStatus(msgspec.Struct, tag_field="ev", tag="status", gc=False):
    """Is a status element of a frame."""

    status: str | None = None
    message: str | None = None


class Kind(enum.Enum):
    """What a status element means to a connection."""

    GREETING = enum.auto()
    AUTHENTICATED = enum.auto()
    AUTH_FAILED = enum.auto()
    AUTH_TIMEOUT = enum.auto()
    SUBSCRIBED = enum.auto()
    UNSUBSCRIBED = enum.auto()
    REFUSED = enum.auto()
    MAX_CONNECTIONS = enum.auto()
    OTHER = enum.auto()


_BY_STATUS: Final = {
    "connected": Kind.GREETING,
    "auth_success": Kind.AUTHENTICATED,
    "auth_failed": Kind.AUTH_FAILED,
    "auth_timeout": Kind.AUTH_TIMEOUT,
    "max_connections": Kind.MAX_CONNECTIONS,
    "error": Kind.REFUSED,
}


def classify(element: ServerStatus) -> Kind:
    """Tell what a status element means: by its status, by its text only where the status leaves it open."""
    status = element.status or ""
    if status != "success":
        return _BY_STATUS.get(status, Kind.OTHER)
    message = (element.message or "").strip().lower()
    if message.startswith(_SUBSCRIBED):
        return Kind.SUBSCRIBED
    if message.startswith(_UNSUBSCRIBED):
        return Kind.UNSUBSCRIBED
    # Logs of 2019 show auth answered by {"status":"success","message":"authenticated"}.
    return Kind.AUTHENTICATED if message == "authenticated" else Kind.OTHER


def acknowledged_channels(element: ServerStatus) -> list[str]:
    """Return the channels that a (un)subscription acknowledgement names."""
    _, _, names = (element.message or "").partition(":")
    return [name.strip() for name in names.split(",") if name.strip()]


def auth_request(key: str) -> bytes:
    """Return the message that carries the key."""
    return json.dumps({"action": "auth", "params": key}, separators=(",", ":")).encode()


def channel_request(action: str, channels: Sequence[str]) -> bytes:
    """Return a ``subscribe`` or ``unsubscribe`` message."""
    return json.dumps({"action": action, "params": ",".join(channels)}, separators=(",", ":")).encode()


def channels_for(tickers: Iterable[str], event_types: Iterable[str]) -> list[str]:
    """Return the channels, ``TYPE.TICKER``, of tickers: those of one ticker side by side."""
    types = tuple(event_types)
    return [f"{event_type}.{ticker}" for ticker in tickers for event_type in types]


def split_requests(channels: list[str]) -> list[list[str]]:
    """Return the channels in lists of at most 500, which is what a request may hold."""
    return [channels[i : i + CHANNELS_A_REQUEST] for i in range(0, len(channels), CHANNELS_A_REQUEST)]


def _one_spelling(channel: str) -> str:
    event_type, dot, symbol = channel.partition(".")
    return event_type + dot + spelling(symbol)


class ChannelState(enum.Enum):
    """Where a wanted channel stands."""

    WANTED = "wanted"
    """Not asked for yet on this connection."""
    ASKED = "asked"
    SUSPECT = "suspect"
    """The server refused a request that held it, and named nobody; it will be asked for with fewer others."""
    CONFIRMED = "confirmed"
    REFUSED = "refused"
    UNANSWERED = "unanswered"


PENDING: Final = (ChannelState.WANTED, ChannelState.ASKED, ChannelState.SUSPECT)
"""States that something will still come of."""


@dataclass(slots=True)
class _Entry:
    state: ChannelState = ChannelState.WANTED
    asks: int = 0
    deadline_s: float = 0.0
    accused: bool = False
    """An error came while it was asked for."""


class LedgerReport(NamedTuple):
    """What ran out of time: channels found to be refused, and channels that nobody answered for."""

    refused: tuple[str, ...]
    unanswered: tuple[str, ...]


class Ledger:
    """Knows of every wanted channel whether the server has confirmed it.

    The wanted channels outlive connections; what the server said of them does not: `reset` at each new one.

    ``not authorized`` names no channel. What stays unconfirmed a second after it is accused: all of it is
    refused if there were as many errors as channels, else it is asked for again in halves, one request at a
    time and nothing beside it, until the refused ones stand alone.

    Not thread-safe: it belongs to the loop's thread. Times are monotonic seconds given by the caller.
    """

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}
        self._by_state: dict[ChannelState, dict[str, None]] = {state: {} for state in ChannelState}
        """Channels by where they stand: a server that answers one at a time must not cost a look at all."""
        self._unaccused: dict[str, None] = {}
        """Channels asked for since the last error."""
        self._due_s = math.inf
        """Nothing has to be settled before."""
        self._alike: dict[str, dict[str, None]] = {}
        """Wanted channels of pairs, by the one spelling of all that mean the same."""
        self._suspects: deque[list[str]] = deque()
        self._on_trial = False
        self._errors = 0
        self._refusal = ""

    def __contains__(self, channel: object) -> bool:
        return channel in self._entries

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def refusal(self) -> str:
        """The last error's own words."""
        return self._refusal

    @property
    def awaits_answers(self) -> bool:
        """Whether any channel waits for its acknowledgement."""
        return bool(self._by_state[ChannelState.ASKED])

    def want(self, channels: Iterable[str]) -> list[str]:
        """Add channels; return those that were not wanted before."""
        new = [channel for channel in dict.fromkeys(channels) if channel not in self._entries]
        for channel in new:
            self._begin(channel)
            if _one_spelling(channel) != channel or "-" in channel:
                self._alike.setdefault(_one_spelling(channel), {})[channel] = None
        return new

    def give_up(self, channels: Iterable[str]) -> list[str]:
        """Remove channels; return those that the server was asked for, and so may hold.

        A refused one, too: the server named none, and its acknowledgement may have been lost.
        """
        held = []
        for channel in dict.fromkeys(channels):
            entry = self._entries.pop(channel, None)
            self._alike.get(_one_spelling(channel), {}).pop(channel, None)
            if entry is None:
                continue
            del self._by_state[entry.state][channel]
            self._unaccused.pop(channel, None)
            if entry.asks:
                held.append(channel)
        return held

    def renew(self) -> list[str]:
        """Return the channels that the server holds, or may; all of them are to be asked for again."""
        held = self.channels(ChannelState.CONFIRMED, ChannelState.UNANSWERED)
        for channel in held:
            self._move(channel, ChannelState.WANTED)
            self._entries[channel] = _Entry()
        return held

    def reset(self) -> None:
        """Forget what the last connection's server said; all channels are to be asked for again."""
        refused = self.channels(ChannelState.REFUSED, ChannelState.SUSPECT)
        for channels in self._by_state.values():
            channels.clear()
        for channel in self._entries:
            self._begin(channel)
        self._unaccused.clear()
        self._due_s = math.inf
        self._on_trial = False
        self._errors = 0
        self._suspects.clear()
        self._suspect([channel] for channel in refused)  # alone, so as not to spoil the others' requests

    def requests(self, now_s: float) -> list[list[str]]:
        """Return the requests to send now, each of at most 500 channels, and note that they were sent."""
        if self._on_trial and self.awaits_answers:
            return []
        self._on_trial = False
        requests = split_requests(self.channels(ChannelState.WANTED))
        while not (requests or self.awaits_answers) and self._suspects:
            channels = self._suspects.popleft()
            trial = [c for c in channels if c in self._entries and self._entries[c].state in PENDING]
            if trial:
                requests = [trial]
                self._on_trial = True
        if not self.awaits_answers:
            self._errors = 0
        for channel in (channel for request in requests for channel in request):
            entry = self._move(channel, ChannelState.ASKED)
            entry.asks += 1
            entry.accused = False
            entry.deadline_s = now_s + ACK_TIMEOUT_S
            self._unaccused[channel] = None
        if requests:
            self._due_s = min(self._due_s, now_s + ACK_TIMEOUT_S)
        return requests

    def confirm(self, channels: Iterable[str]) -> list[str]:
        """Note an acknowledgement; return the channels that it newly confirms.

        A pair may be asked for by one spelling and acknowledged by another; asked for by two, it is one
        channel to the server, which acknowledges it once.
        """
        confirmed = []
        alike = self._alike
        for channel in (c for name in channels for c in (name, *alike.get(_one_spelling(name), ()))):
            entry = self._entries.get(channel)
            # Any state but WANTED: an answer that comes late is an answer.
            if entry is not None and entry.state not in {ChannelState.WANTED, ChannelState.CONFIRMED}:
                self._move(channel, ChannelState.CONFIRMED)
                self._unaccused.pop(channel, None)
                confirmed.append(channel)
        return confirmed

    def refuse(self, message: str, now_s: float) -> None:
        """Note an error: whatever is asked for and stays unconfirmed for a second more is accused."""
        self._refusal = message
        self._errors += 1
        for channel in self._unaccused:  # those before are accused already, and due before
            entry = self._entries[channel]
            entry.accused = True
            entry.deadline_s = min(entry.deadline_s, now_s + ERROR_GRACE_S)
        if self._unaccused:
            self._due_s = min(self._due_s, now_s + ERROR_GRACE_S)
        self._unaccused.clear()

    def expire(self, now_s: float) -> LedgerReport:
        """Settle what waited too long: accused, asked once more, or else unanswered."""
        late = [name for name in self.channels(ChannelState.ASKED) if self._entries[name].deadline_s <= now_s]
        asked = self._by_state[ChannelState.ASKED]
        accused = [channel for channel in late if self._entries[channel].accused]
        refused: list[str] = []
        if len(accused) <= max(1, self._errors):
            refused = accused
        else:
            half = len(accused) // 2
            self._suspect((accused[:half], accused[half:]))
        unanswered = []
        for channel in late:
            entry = self._entries[channel]
            self._unaccused.pop(channel, None)
            if not entry.accused and entry.asks < ASKS:
                self._move(channel, ChannelState.WANTED)
            elif not entry.accused:
                self._move(channel, ChannelState.UNANSWERED)
                unanswered.append(channel)
        for channel in refused:
            self._move(channel, ChannelState.REFUSED)
        self._due_s = min((self._entries[channel].deadline_s for channel in asked), default=math.inf)
        return LedgerReport(tuple(refused), tuple(unanswered))

    def next_deadline_s(self) -> float | None:
        """Return when `expire` may have something to do, and has not before; None if never."""
        return self._due_s if self.awaits_answers else None

    def count(self, *states: ChannelState) -> int:
        """Count the channels in any of ``states``. From any thread."""
        return sum(len(self._by_state[state]) for state in states)

    def states(self) -> list[ChannelState]:
        """Return the state of each channel, for who counts several. From any thread."""
        return [entry.state for entry in list(self._entries.values())]

    def channels(self, *states: ChannelState) -> list[str]:
        """Return the wanted channels, those in ``states`` only if any is given."""
        return [name for state in states for name in self._by_state[state]] if states else list(self._entries)

    def _suspect(self, groups: Iterable[list[str]]) -> None:
        for group in groups:
            self._suspects.append(group)
            for channel in group:
                self._move(channel, ChannelState.SUSPECT)

    def _begin(self, channel: str) -> None:
        self._entries[channel] = _Entry()
        self._by_state[ChannelState.WANTED][channel] = None

    def _move(self, channel: str, state: ChannelState) -> _Entry:
        entry = self._entries[channel]
        del self._by_state[entry.state][channel]
        self._by_state[state][channel] = None
        entry.state = state
        return entry
