"""One connection to Massive that stays: connect, authenticate, subscribe, watch, and again after any end."""

import logging
from collections.abc import Callable, Iterable
from typing import Any, Final

from reactivex import Observable, abc
from reactivex.disposable import Disposable, SerialDisposable

from pipeline import status
from pipeline.errors import (
    AuthFailed,
    AuthTimedOut,
    ConnectFailed,
    ConnectionTrouble,
    PeerClosed,
    ReconnectAsked,
    StaleFeed,
    retryable,
)
from pipeline.secret import Secret

from .chatter import Chatter
from .decode import statuses_in
from .frames import Frames
from .persistence import Backoff, Persistence
from .protocol import PENDING, ChannelState, Kind, ServerStatus, acknowledged_channels, auth_request, classify
from .salvage import LARGE_BYTES
from .snapshot import ConnectionSnapshot, Phase
from .socket import Opener, Transport
from .subscriptions import Subscriptions
from .watch import Watch

__all__ = ["Connection"]

log = logging.getLogger("tickbraid.massive.connection")

DIAL_GRACE_S: Final = 1.0
EVICTION_CLOSE_S: Final = 10.0
"""The server closes soon after it says that there are too many; a later end has another reason."""


class Connection:
    """Keeps one WebSocket to Massive alive and emits what it brings.

    Trouble never ends `frames`: it is a status event, and the connection comes back with all its channels,
    whatever the close code, until it is closed, its key is refused or its retries are used up. Only after an
    eviction it waits for `resume`: coming back by itself it would evict its siblings, and they it.

    Everything runs on the scheduler's thread, so there is no lock; the methods marked so may be called from
    any thread.

    Args:
        connection_id: for example "connection_1"; stands in every frame and status event.
        name: for people.
        url: ws:// or wss://, for people; the opener knows where to connect.
        key: the API key.
        opener: opens the socket.
        scheduler: the loop, or virtual time.
        on_status: given each status event, on the scheduler's thread; must not block.
        clock: wall clock, ns.
        monotonic: seconds in which somebody listened: time in which reads are held back is no silence.
        uniform: random in [0, 1).
    """

    def __init__(
        self,
        connection_id: str,
        *,
        name: str,
        url: str,
        key: Secret,
        opener: Opener,
        scheduler: abc.SchedulerBase,
        on_status: Callable[[status.StatusEvent], None],
        clock: Callable[[], int],
        monotonic: Callable[[], float],
        uniform: Callable[[], float],
        persistence: Persistence | None = None,
    ) -> None:
        self.id = connection_id
        self.name = name
        self.url = url
        self.frames: Observable[Frames] = Observable(self._subscribe)
        """Emits on the scheduler's thread; subscribing connects, disposing closes. One subscriber."""
        self._key = key
        self._opener = opener
        self._scheduler = scheduler
        self._on_status = on_status
        self._persistence = persistence = persistence or Persistence()
        self._clock = clock
        self._monotonic = monotonic
        self._backoff = Backoff(self._persistence, uniform)

        self._phase = Phase.IDLE
        self._observer: abc.ObserverBase[Frames] | None = None
        self._transport: Transport | None = None
        self._chatter = Chatter(self._tell, scheduler)
        self._subscriptions = Subscriptions(self._send, self._tell, scheduler, monotonic)
        renew = self._subscriptions.renew
        self._watch = Watch(
            persistence,
            scheduler,
            monotonic,
            ping=self._ping,
            unfinished_bytes=self._unfinished_bytes,
            renew=renew,
            tell=self._tell,
            lose=self._lose,
        )
        self._dial = SerialDisposable()
        self._phase_timer = SerialDisposable()

        self._dials = 0
        self._proofs = 0
        self._proof: tuple[bytes, Callable[[], None]] | None = None
        """What goes out with a ping, and what is called when it is back."""
        self._evicted_s: float | None = None
        self._live_since_s: float | None = None
        self._reads = 0
        self._reads_before = 0
        """Reads before the present session."""
        self._last_message_s: float | None = None
        self._last_frames: Frames | None = None
        self._messages = 0
        self._received_bytes = 0
        self._connects = 0
        self._disconnects = 0
        self._evictions = 0
        self._last_trouble: str | None = None

    # -- from any thread ------------------------------------------------------------------------------------

    def want(self, channels: Iterable[str]) -> None:
        """Subscribe to ``channels`` now if live, and on every connection from now on. From any thread."""
        wanted = tuple(channels)
        self._soon(lambda: self._subscriptions.want(wanted))

    def give_up(self, channels: Iterable[str]) -> None:
        """Unsubscribe from ``channels``. From any thread."""
        unwanted = tuple(channels)
        if unwanted:
            self._soon(lambda: self._subscriptions.give_up(unwanted))
            self._soon(self._watch.relearn)

    def probe(self) -> None:
        """Find out whether ticks still come, and connect anew if not; see `Watch.probe`. From any thread."""
        self._soon(self._watch.probe)

    def prove(self, answered: Callable[[], None]) -> None:
        """Ping the server of a live session, and call ``answered`` when it answers. From any thread.

        All that was requested before is done then, also what waited to be sent. There is one at a time; of a
        session that ends first nothing is heard.
        """

        def ask() -> None:
            if self._phase is Phase.LIVE and self._transport is not None:
                self._proofs += 1
                payload = b"%d" % self._proofs
                self._proof = payload, answered
                self._transport.ping(payload)

        self._soon(lambda: self._subscriptions.afterwards(ask))

    def is_mute(self) -> bool:
        """Tell whether the session has brought no ticks for far longer than ever. From any thread."""
        return self._watch.is_mute()

    @property
    def last_ticks_s(self) -> float | None:
        """When ticks came last, in whatever session, by the monotonic clock; None while none did."""
        return self._watch.last_ticks_s

    def reconnect(self, reason: str) -> None:
        """End the session for a reason in words and connect anew, now if it only waits. From any thread."""
        asked, waiting = ReconnectAsked(reason), {Phase.BACKING_OFF, Phase.HELD}
        self._soon(lambda: self._open() if self._phase in waiting else self._lose(asked))

    def resume(self) -> None:
        """Connect again after an eviction. From any thread."""

        def resume() -> None:
            if self._phase is Phase.HELD:
                self._open()

        self._soon(resume)

    def take_statuses(self, read: int, statuses: list[ServerStatus]) -> None:
        """Take status elements that the decoder found in frames not inspected here. From any thread.

        Args:
            read: which read brought them, as in `Frames`; the wall clock may be set while frames wait.
            statuses: in their order.
        """

        def take() -> None:
            last = self._last_frames
            if last is not None and last.read == read:
                last.inspected = True
            if self._phase is Phase.LIVE and read > self._reads_before:
                self._handle(statuses)

        self._soon(take)

    def close(self) -> None:
        """Close for good and complete `frames`. From any thread; done when a `Closed` event says so."""
        self._soon(lambda: self._end(Phase.CLOSED))

    def snapshot(self) -> ConnectionSnapshot:
        """Say how it is doing. From any thread."""
        count = self._subscriptions.states().count
        last_s = self._last_message_s
        return ConnectionSnapshot(
            id=self.id,
            name=self.name,
            url=self.url,
            phase=self._phase,
            confirmed=count(ChannelState.CONFIRMED),
            pending=sum(map(count, PENDING)),
            refused=count(ChannelState.REFUSED),
            unanswered=count(ChannelState.UNANSWERED),
            messages=self._messages,
            received_bytes=self._received_bytes,
            connects=self._connects,
            disconnects=self._disconnects,
            evictions=self._evictions,
            attempt=self._backoff.attempt,
            last_message_age_s=None if last_s is None else self._monotonic() - last_s,
            last_trouble=self._last_trouble,
            **self._watch.silence()._asdict(),
        )

    def _subscribe(
        self, observer: abc.ObserverBase[Frames], _scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        def start() -> None:
            if self._observer is None and self._phase is Phase.IDLE:
                self._observer = observer
                self._open()

        def dispose() -> None:
            self._observer = None  # at once, from any thread: nothing comes after dispose
            self._soon(lambda: self._end(Phase.CLOSED))

        self._soon(start)
        return Disposable(dispose)

    def _soon(self, action: Callable[[], None]) -> None:
        self._scheduler.schedule(lambda *_: action())

    # -- opening --------------------------------------------------------------------------------------------

    def _open(self) -> None:
        self._phase = Phase.CONNECTING
        self._tell(status.Connecting, url=self.url, attempt=self._backoff.begin())
        self._dials += 1
        dial = self._dials

        def opened(result: Transport | ConnectFailed) -> None:
            current = self._phase is Phase.CONNECTING and dial == self._dials
            if isinstance(result, ConnectFailed):
                if current:
                    self._lose(result)
            elif current:
                self._opened(result)
            else:
                result.close()

        limit_s = self._persistence.connect_timeout_s
        # A dial ends by itself in time and says why; this is for one that does not.
        self._limit(limit_s + DIAL_GRACE_S, ConnectFailed(f"not open after {limit_s:g} s"))
        self._dial.disposable = self._opener(opened)

    def _opened(self, transport: Transport) -> None:
        self._phase = Phase.GREETING
        self._transport = transport
        self._connects += 1
        self._reads_before = self._reads
        self._last_frames = None
        self._tell(status.Connected, url=self.url)
        limit_s = self._persistence.auth_timeout_s
        self._limit(limit_s, AuthTimedOut(f"no answer to the key in {limit_s:g} s"))
        transport.start(self._read, self._lose, self._pong)

    def _authenticated(self) -> None:
        self._phase = Phase.LIVE
        self._live_since_s = self._monotonic()
        self._phase_timer.disposable = Disposable()
        if self._transport is not None:
            self._transport.approve()
            self._transport.let_hold()
        self._tell(status.Authenticated)
        self._subscriptions.begin()
        self._watch.begin()

    # -- reading --------------------------------------------------------------------------------------------

    def _read(self, received_ns: int, messages: list[bytes], taken: int, size_bytes: int) -> None:
        now_s = self._monotonic()
        self._watch.read(now_s, whole=bool(messages))
        self._received_bytes += size_bytes
        if not messages:
            return
        self._last_message_s = now_s
        self._messages += taken
        # While the server owes answers they are looked for here, so that they cannot be late behind a backlog
        # of ticks; at other times the decoder hands them back, and reading costs nothing. What ends a silence
        # is looked at, too: the server's own words do not.
        inspect = (
            self._phase is not Phase.LIVE
            or self._subscriptions.awaits_answers
            or self._watch.awaits_ticks(now_s)
        )
        # What was read is not what it completed: a large message comes in many reads.
        size_bytes = sum(map(len, messages))
        inspected = inspect and size_bytes <= LARGE_BYTES
        self._reads = read = self._reads + 1
        frames = Frames(self.id, received_ns, messages, size_bytes, inspected=inspected, read=read)
        self._last_frames = frames
        if self._observer is not None:
            self._observer.on_next(frames)
        if not inspect or self._inspect(frames):
            self._watch.heard(now_s, received_ns)

    def _pong(self, payload: bytes) -> None:
        if self._proof is not None and self._proof[0] == payload:
            _, answered = self._proof
            self._proof = None
            answered()

    def _inspect(self, frames: Frames) -> bool:
        """Handle the status elements; return whether there was anything else."""
        found = [statuses_in(message) for message in frames.messages] if frames.inspected else []
        self._handle([element for statuses, _ in found for element in statuses])
        return not found or any(others for _, others in found)

    def _handle(self, statuses: list[ServerStatus]) -> None:
        confirmed: list[str] = []
        returned: list[str] = []
        for element in statuses:
            kind = classify(element)
            if kind is Kind.SUBSCRIBED:
                confirmed += acknowledged_channels(element)
            elif kind is Kind.UNSUBSCRIBED:
                returned += acknowledged_channels(element)
            else:
                self._heed(kind, element.status or "", element.message or "")
        if returned:
            self._tell(status.Unsubscribed, channels=tuple(returned))
        self._subscriptions.confirm(confirmed)

    def _heed(self, kind: Kind, word: str, message: str) -> None:
        if kind is Kind.GREETING and self._phase is Phase.GREETING:
            self._send_key()
        elif kind is Kind.AUTHENTICATED and self._phase is Phase.AUTHENTICATING:
            self._authenticated()
        elif kind is Kind.AUTH_FAILED:
            self._lose(AuthFailed(message))
        elif kind is Kind.AUTH_TIMEOUT:
            self._lose(AuthTimedOut(message))
        elif kind is Kind.MAX_CONNECTIONS:
            self._evicted_s = self._monotonic()
            self._evictions += 1
            self._chatter.say(status.Evicted, message=message)
        elif kind is Kind.REFUSED and self._subscriptions.awaits_answers:
            self._subscriptions.refuse(message)
        elif kind in {Kind.REFUSED, Kind.OTHER}:
            self._chatter.say(status.ServerMessage, status=word, message=message)

    def _send_key(self) -> None:
        self._phase = Phase.AUTHENTICATING
        self._send(auth_request(self._key.reveal()))

    def _send(self, text: bytes) -> None:
        if self._transport is not None:
            self._transport.send(text)

    def _ping(self) -> None:
        if self._transport is not None:
            self._transport.ping()

    def _unfinished_bytes(self) -> int:
        return 0 if self._transport is None else self._transport.unfinished_bytes

    # -- ending ---------------------------------------------------------------------------------------------

    def _lose(self, trouble: ConnectionTrouble) -> None:
        """Give this session up; connect again unless that is pointless."""
        if self._phase in {Phase.IDLE, Phase.BACKING_OFF, Phase.HELD, Phase.FAILED, Phase.CLOSED}:
            return
        was_live = self._phase is Phase.LIVE
        self._phase = Phase.BACKING_OFF  # first: what follows may call back into here
        self._hang_up()
        self._disconnects += 1
        last = self._last_frames
        if last is not None and not last.inspected:
            last.inspected = True
            self._inspect(last)  # the server says why just before it closes
        self._chatter.flush()
        last_frame_ns = None if last is None else last.received_ns
        if isinstance(trouble, StaleFeed):
            last_frame_ns = trouble.last_ticks_ns
        self._last_trouble = str(trouble)
        evicted_s, self._evicted_s = self._evicted_s, None
        evicted = evicted_s is not None and self._monotonic() - evicted_s <= EVICTION_CLOSE_S
        self._tell(
            status.Disconnected,
            reason=str(trouble),
            code=trouble.code if isinstance(trouble, PeerClosed) else None,
            last_frame_ns=last_frame_ns,
            evicted=evicted,
        )
        if was_live and self._live_since_s is not None and self._last_message_s is not None:
            self._backoff.session_lasted(self._last_message_s - self._live_since_s)
        if not retryable(trouble):
            self._fail(str(trouble))
        elif evicted:
            self._phase = Phase.HELD
        elif self._backoff.exhausted:
            self._fail(f"the retries are used up; last: {trouble}")
        else:
            asked_s = trouble.retry_after_s if isinstance(trouble, ConnectFailed) else None
            delay_s = self._backoff.delay_s(asked_s)
            attempt = self._backoff.attempt + 1
            self._tell(status.BackOff, delay_s=delay_s, attempt=attempt, retry_after_s=asked_s)
            self._phase_timer.disposable = self._later(delay_s, self._open)

    def _fail(self, reason: str) -> None:
        self._tell(status.Failed, reason=reason)
        self._end(Phase.FAILED)

    def _end(self, phase: Phase) -> None:
        if self._phase in {Phase.FAILED, Phase.CLOSED}:
            return
        self._phase = phase
        self._hang_up()
        self._chatter.flush()
        if phase is Phase.CLOSED:
            self._tell(status.Closed)
        observer, self._observer = self._observer, None
        if observer is not None:
            observer.on_completed()

    def _hang_up(self) -> None:
        self._subscriptions.end()
        self._watch.end()
        self._proof = None
        for timer in (self._dial, self._phase_timer):
            timer.disposable = Disposable()
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.close()

    def _limit(self, limit_s: float, trouble: ConnectionTrouble) -> None:
        """Let the present phase end in ``trouble`` if it is not over in time."""
        self._phase_timer.disposable = self._later(limit_s, lambda: self._lose(trouble))

    def _later(self, delay_s: float, action: Callable[[], None]) -> abc.DisposableBase:
        return self._scheduler.schedule_relative(max(0.0, delay_s), lambda *_: action())

    def _tell(self, event: Callable[..., status.StatusEvent], **values: Any) -> None:
        try:
            self._on_status(event(connection=self.id, at_ns=self._clock(), **values))
        except BaseException:  # what has to be done next must be done: it would back off for ever
            log.exception("%s: telling of a %s raised; this is a defect", self.id, event)
