"""The watch over a live session: the link must answer pings, and a feed that went silent is probed."""

from collections.abc import Callable
from typing import Final, NamedTuple

from reactivex import abc
from reactivex.disposable import Disposable, SerialDisposable

from pipeline import status
from pipeline.errors import ConnectionTrouble, Silent, StaleFeed

from .persistence import Persistence
from .rhythm import Rhythm

__all__ = ["Silence", "Watch"]

PROBE_S: Final = 5.0
"""Ticks must come so soon after the channels were asked for anew, or within the longest usual silence."""


SLOWEST_BYTES_S: Final = 16 * 1024
"""A message that comes more slowly will not become whole: no line that carries a feed is so slow. The largest
may take a quarter of an hour."""
PAUSE_S: Final = 1.0
"""What comes so soon after ticks is counted as such without a look: it shows nothing new."""
EARLY_S: Final = 0.001
"""Two clocks that are one may differ by so much."""


class Silence(NamedTuple):
    """Says how silent a connection is, s; None where it is not live, or nobody can tell yet."""

    silent_for_s: float | None = None
    limit_s: float | None = None
    stale: bool = False


class Watch:
    """Watches one connection, from session to session.

    Everything runs on the scheduler's thread, but `silence`, which may be called from any.

    Args:
        persistence: how long to wait for what.
        scheduler: the loop, or virtual time.
        monotonic: seconds in which somebody listened.
        ping: sends a ping; may end the session.
        unfinished_bytes: tells how much has come of a message that is not whole, 0 where there is none.
        renew: gives the channels back and asks for them again; may end the session.
        tell: takes the kind of a status event and its values.
        lose: ends the session; calls `end`.
    """

    def __init__(
        self,
        persistence: Persistence,
        scheduler: abc.SchedulerBase,
        monotonic: Callable[[], float],
        *,
        ping: Callable[[], None],
        unfinished_bytes: Callable[[], int],
        renew: Callable[[], None],
        tell: Callable[..., None],
        lose: Callable[[ConnectionTrouble], None],
    ) -> None:
        self._persistence = persistence
        self._send_ping = ping
        self._unfinished_bytes = unfinished_bytes
        self._renew = renew
        self._tell = tell
        self._lose = lose
        self._scheduler = scheduler
        self._monotonic = monotonic
        self._rhythm = Rhythm()
        self._in_session = False
        self._probing = False
        self._last_read_s = 0.0
        self._last_message_s = 0.0
        self._unfinished_s: float | None = None
        """When somebody first saw that the present message is not whole."""
        self._last_ticks_ns = 0
        self.last_ticks_s: float | None = None
        """When ticks came last, in whatever session."""
        self._ping_timer = SerialDisposable()
        self._probe_timer = SerialDisposable()

    def awaits_ticks(self, now_s: float) -> bool:
        """Tell whether only ticks may count as heard: after a probe, or a silence."""
        last_s = self.last_ticks_s
        return self._probing or last_s is None or now_s - last_s > PAUSE_S

    def silence(self) -> Silence:
        """Say how silent the connection is. From any thread."""
        if not self._in_session:
            return Silence()
        now_s = self._monotonic()
        return Silence(self._rhythm.silent_for_s(now_s), self._rhythm.limit_s(now_s), self._probing)

    def begin(self) -> None:
        """Begin a session."""
        self._in_session = True
        self._unfinished_s = None
        self._rhythm.begin(self._monotonic())
        self._ping()

    def end(self) -> None:
        """End the session."""
        self._in_session = self._probing = False
        self._ping_timer.disposable = Disposable()
        self._probe_timer.disposable = Disposable()

    def relearn(self) -> None:
        """Forget the rhythm, but in a silence that is too long by it: those left may be quieter ones."""
        if not self.is_mute():
            self._rhythm.begin(self._monotonic())

    def is_mute(self) -> bool:
        """Tell whether no ticks have come for far longer than ever in this session. From any thread."""
        return self._rhythm.is_mute(self._monotonic())

    def read(self, now_s: float, *, whole: bool) -> None:
        """Note that bytes came, a pong if nothing else, and whether a message is whole with them."""
        self._last_read_s = now_s
        if whole:
            self._last_message_s = now_s

    def heard(self, now_s: float, received_ns: int) -> None:
        """Note that ticks came, or what may have been ticks."""
        if self._probing:
            self._recover(now_s)
        self._rhythm.heard(now_s)
        self._last_ticks_ns = received_ns
        self.last_ticks_s = now_s

    # -- the link -------------------------------------------------------------------------------------------

    def _ping(self) -> None:
        """Ping, and see later whether anything came: any bytes count, for a busy server answers late."""
        if not self._in_session:
            return
        pinged_s = self._monotonic()
        self._send_ping()
        if self._in_session:
            timeout_s = self._persistence.ping_timeout_s
            self._ping_timer.disposable = self._later(timeout_s, lambda: self._check_life(pinged_s))

    def _check_life(self, pinged_s: float) -> None:
        if self._last_read_s < pinged_s:
            self._lose(Silent(f"not a byte for {self._persistence.ping_timeout_s:g} s after a ping"))
        elif (stuck := self._find_stuck()) is not None:
            self._lose(stuck)
        else:
            rest_s = self._persistence.ping_interval_s - self._persistence.ping_timeout_s
            self._ping_timer.disposable = self._later(max(0.0, rest_s), self._ping)

    def _find_stuck(self) -> Silent | None:
        """Return what to lose the session for where bytes come and no message does, whatever pongs say."""
        now_s, size_bytes = self._monotonic(), self._unfinished_bytes()
        if not size_bytes:
            self._unfinished_s = None
        elif self._unfinished_s is None or self._last_message_s >= self._unfinished_s:
            self._unfinished_s = now_s
        elif now_s - self._unfinished_s > self._persistence.ping_timeout_s + size_bytes / SLOWEST_BYTES_S:
            since_s = now_s - self._unfinished_s
            return Silent(f"a message that is not whole after {since_s:.0f} s and {size_bytes:,} bytes")
        return None

    # -- the feed -------------------------------------------------------------------------------------------

    def probe(self) -> None:
        """Ask for the channels anew, on the same socket, in case the server lost them; without ticks, lose.

        Nothing happens outside a session, before its first ticks, and while it is being done already.
        """
        silent_for_s = self._rhythm.silent_for_s(self._monotonic())
        if not self._in_session or self._probing or silent_for_s is None:
            return
        self._probing = True
        usually_s = self._rhythm.usually_s
        wait_s = max(PROBE_S, usually_s)
        self._tell(status.Stale, silent_for_s=silent_for_s, usually_s=usually_s)
        detail = f"no ticks for {silent_for_s + wait_s:.1f} s, nor when the channels were asked for anew"
        trouble = StaleFeed(detail, self._last_ticks_ns)
        self._probe_timer.disposable = self._later(wait_s, lambda: self._lose(trouble))
        self._ping()
        if self._in_session:
            self._renew()

    def _recover(self, now_s: float) -> None:
        """Say that ticks flow again."""
        self._probing = False
        self._probe_timer.disposable = Disposable()
        last_s = self.last_ticks_s
        self._tell(status.Fresh, silent_for_s=0.0 if last_s is None else now_s - last_s)

    def _later(self, delay_s: float, action: Callable[[], None]) -> SerialDisposable:
        """Run an action after so much time by our clock, which stands while reads are held back."""
        timer = SerialDisposable()
        due_s = self._monotonic() + delay_s

        def ring(*_: object) -> None:
            left_s = due_s - self._monotonic()
            if left_s > EARLY_S:
                timer.disposable = self._scheduler.schedule_relative(left_s, ring)
            else:
                action()

        timer.disposable = self._scheduler.schedule_relative(delay_s, ring)
        return timer
