"""Publishes ticks to Redis, a batch in one piece, and comes through whatever Redis does meanwhile.

::

    up ── no answer for 0.5 s ──► stalled ── answers ──► up           nothing is sent twice
     │                               └───── 30 s ─────┐
     ├── connection broken ───────────────────────────┴► down         what may have arrived is sent again
     └── a command refused ─────────────────────────────► down        only what was refused is sent again
    down ── back-off, connect, one message as a probe ──► up

While a write is in trouble the sink waits in it; the buffer in front of the sink holds what comes then. What
our user may not do (NOPERM) is not tried again: a channel that is forbidden is named, and the others flow.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from operators.histogram import LatencyHistogram
from operators.runtime import SYSTEM, Runtime
from pipeline.massive.persistence import Backoff, Persistence
from pipeline.secret import mask_url
from pipeline.status import ChannelRefused, SinkDown, SinkUp, StatusEvent
from pipeline.ticks import TickBatch

from .redis_link import RedisLink
from .redis_messages import Channels, Packer, Parcel
from .redis_window import Window
from .sink import Outcome

__all__ = ["RedisSink"]

PARCEL_TICKS: Final = 100
"""Packed at once: small enough that the server works while we pack the next."""
WINDOW_MESSAGES: Final = 1000
"""Unanswered at most, some 256 KiB: what may be published twice after a broken connection. A message of many
ticks counts as so many, and there is always room for one."""
STALL_S: Final = 0.5
HUNG_S: Final = 30.0
TELL_EVERY_S: Final = 10.0
"""Of one channel, that it is forbidden; and another reason why the server is away."""
PERSISTENCE: Final = Persistence(base_delay_s=0.05, max_delay_s=2.0)
POLL_S: Final = 0.1
"""How soon a write that waits for the server sees `stop`."""
GRACE_S: Final = 0.25
"""What a write still has after `stop`, as long as the server answers."""

_WELL: Final = frozenset({"idle", "up", "refused"})
"""States in which no tick waits for the server."""


class RedisSink:
    """Publishes each tick once to every channel, in order, as long as no connection breaks.

    When one breaks, up to `WINDOW_MESSAGES` whose answers were outstanding are published again: at least
    once, in order. `SinkUp.resent` counts them.

    Args:
        url: of the server, as redis-py takes it.
        channels: where the messages go.
        on_status: is given `SinkDown`, `SinkUp` and `ChannelRefused`, on the writing thread; must not raise.
        name: in status events and metrics.
        stall_s: a server that moves no byte for so long while answers are outstanding is announced as down.
        hung_s: and after so long, the connection is given up.
        runtime: its clocks, the chance in its back-off, and its sockets.

    Raises:
        ValueError: the URL is none.
    """

    def __init__(
        self,
        url: str,
        *,
        channels: Channels | None = None,
        on_status: Callable[[StatusEvent], object] = lambda _: None,
        name: str = "redis",
        stall_s: float = STALL_S,
        hung_s: float = HUNG_S,
        runtime: Runtime = SYSTEM,
    ) -> None:
        self.name = name
        self._url = mask_url(url)
        self._channels = channels or Channels()
        self._on_status = on_status
        self._stall_s, self._hung_s = stall_s, hung_s
        self._clock, self._monotonic = runtime.clock, runtime.monotonic
        self._stopping = runtime.event()
        self._stop_by = 0.0
        self._link = RedisLink(url, STALL_S, runtime)
        self._packer = Packer(self._channels)
        self._window = Window(self._packer.per_tick, batched=bool(self._channels.raw_batch))
        self._state = "idle"
        self._backoff = Backoff(PERSISTENCE, runtime.uniform)
        self._connections = 0
        self._last_error: str | None = None
        self._rejected: Counter[str] = Counter()
        self._moved = (0, 0.0)
        """How many bytes had moved over the connection, and since when no more have, s."""
        self._down_since = 0.0
        self._told: tuple[str, float] = "", 0.0
        """Why the server was last said to be away, and when, s."""
        self._forbidden_told: dict[int, tuple[str, float, int]] = {}
        """The same of channels that are forbidden, and how many messages there had been."""
        self._resent_before = 0
        self._taken_s = 0.0
        self.taken_ns = 0
        self.acknowledged = LatencyHistogram()

    def write(self, batches: Sequence[TickBatch]) -> Outcome:
        """Publish all ticks and return when the server has taken them, or `stop` was called.

        A tick that one channel took is delivered; one that all channels forbid has failed.
        """
        self.taken_ns, self._taken_s = self._clock(), self._monotonic()
        taken = sum(self._window.taken)
        rejected: Counter[str] = Counter()
        dropped: defaultdict[str, set[int]] = defaultdict(set)
        if self._link.is_open and self._link.is_stale():  # it was restarted while we had nothing to say
            self._link.close()
        for batch in batches:
            for parcel in self._pack(batch, rejected):
                self._window.put(parcel)
                for connection, ticks in self._work_down_to(WINDOW_MESSAGES).items():
                    dropped[connection] |= ticks
        for connection, ticks in self._work_down_to(0).items():
            dropped[connection] |= ticks
        failed = self._window.take_failed()
        if failed and sum(self._window.taken) == taken:
            self._state = "refused"
        counts = {connection: len(ticks) for connection, ticks in dropped.items()}
        error = PermissionError(f"no channel may have them: {self._last_error}") if failed else None
        return Outcome(rejected, counts, failed, error)

    def _pack(self, batch: TickBatch, rejected: Counter[str]) -> Iterator[Parcel]:
        connection = batch.connection
        left_out: Counter[str] = Counter()
        for start in range(0, len(batch.ticks), PARCEL_TICKS):
            parcel, reasons = self._packer.pack(connection, batch.ticks[start : start + PARCEL_TICKS])
            left_out.update(reasons)
            yield parcel
        parcels, reasons = self._packer.pack_gathered(connection)
        left_out.update(reasons)
        yield from parcels
        if left_out:
            self._rejected.update(left_out)
            rejected[connection] += left_out.total()

    def stop(self) -> None:
        """Make `write` give up: at once where the server is in trouble, else within 0.25 s."""
        self._stop_by = self._monotonic() + GRACE_S
        self._stopping.set()
        self._link.abort()

    def close(self) -> None:
        """Close the socket; after the last `write`."""
        self._link.close()

    def snapshot(self) -> dict[str, Any]:
        """Return the state, the counts and the last error, without secrets.

        The state is idle, up, stalled, down, or refused: the server takes nothing that we may send.
        """
        window = self._window
        return {
            "state": self._state,
            "url": self._url,
            "messages": dict(zip(self._channels.names, window.taken, strict=True)),
            "acknowledged": sum(window.taken),
            "in_hand": window.messages,
            "rejected": dict(self._rejected),
            "resent": window.resent,
            "errors": window.errors,
            "forbidden": {
                name: count
                for name, count in zip(self._channels.names, window.forbidden, strict=True)
                if count
            },
            "reconnects": max(0, self._connections - 1),
            "last_error": self._last_error,
            "receivers": window.receivers,
        }

    def _work_down_to(self, load: int) -> dict[str, set[int]]:
        """Work until the hand holds no more than ``load``; return the ticks dropped, by connection."""
        while self._window.load > load:
            if self._stopping.is_set() and (self._state != "up" or self._monotonic() >= self._stop_by):
                return self._window.drop()
            try:
                self._work()
            except OSError as trouble:
                self._back_off(str(trouble))
        return {}

    def _work(self) -> None:
        """Do one round: connect, send, receive.

        Raises:
            OSError: the connection is of no more use.
        """
        link, window = self._link, self._window
        if not link.is_open:
            link.open()
            self._connections += 1
            self._moved = (0, self._monotonic())
        link.put(window.send())
        replies = link.exchange(POLL_S)
        before = sum(window.taken)
        if replies and window.answer(replies):
            waited_ns = int((self._monotonic() - self._taken_s) * 1e9)
            taken = sum(window.taken) - before
            if taken:
                self.acknowledged.record(waited_ns, taken)
            self._come_up(takes=bool(taken))
            if window.forbidding:
                self._tell_forbidden()
        if window.is_refused:
            raise ConnectionError(window.last_error)
        self._watch()

    def _watch(self) -> None:
        """Notice that the server hangs: TCP is up, and nothing moves."""
        now = self._monotonic()
        bytes_before, since = self._moved
        if self._link.moved_bytes != bytes_before:
            self._moved = (self._link.moved_bytes, now)
        elif now - since >= self._hung_s:
            raise TimeoutError(f"no answer for {now - since:.1f} s")
        elif now - since >= self._stall_s:
            self._go_down("stalled", f"no answer for {self._stall_s} s", since)

    def _back_off(self, reason: str) -> None:
        self._go_down("down", reason, self._monotonic())
        self._window.rewind(self._link.unsent_bytes)
        self._link.close()
        self._backoff.begin()
        self._stopping.wait(self._backoff.delay_s())

    def _tell_forbidden(self) -> None:
        """Name the channels that are forbidden, at most once in 10 s each, and another reason at once."""
        window, now = self._window, self._monotonic()
        for channel, reason in window.forbidding.items():
            self._last_error = reason
            count = window.forbidden[channel]
            told, since, before = self._forbidden_told.get(channel, ("", 0.0, 0))
            if reason != told or now - since >= TELL_EVERY_S:
                self._forbidden_told[channel] = reason, now, count
                self._on_status(
                    ChannelRefused(
                        at_ns=self._clock(),
                        sink=self.name,
                        channel=self._channels.names[channel],
                        count=count - before,
                        reason=reason,
                    )
                )
        window.forbidding.clear()

    def _go_down(self, state: str, reason: str, since: float) -> None:
        was_well = self._state in _WELL
        self._state = state
        self._last_error = reason
        told, told_s = self._told
        if was_well:
            self._down_since = since
            self._resent_before = self._window.resent
        elif reason == told or self._monotonic() - told_s < TELL_EVERY_S:
            return
        self._told = reason, self._monotonic()
        self._on_status(SinkDown(at_ns=self._clock(), sink=self.name, reason=reason))

    def _come_up(self, *, takes: bool) -> None:
        was_well = self._state in _WELL
        if not was_well and not self._window.is_recovered:
            return  # `SinkUp` tells how many were sent again
        if takes or not was_well:
            self._state = "up"
        self._backoff.attempt = 0
        if not was_well:
            down_s = self._monotonic() - self._down_since
            resent = self._window.resent - self._resent_before
            self._on_status(SinkUp(at_ns=self._clock(), sink=self.name, down_s=down_s, resent=resent))
