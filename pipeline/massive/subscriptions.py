"""The channels of one connection: asked for at a pace the server takes, and their answers watched."""

from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Final

from reactivex import abc
from reactivex.disposable import Disposable, SerialDisposable

from pipeline import status

from .protocol import PENDING, ChannelState, Ledger, channel_request, split_requests

__all__ = ["Subscriptions"]

BURST_REQUESTS: Final = 10
PACE_S: Final = 0.1
"""Ten requests go at once, then ten a second."""


class Subscriptions:
    """Keeps the ledger of a connection and talks to its server about it, from session to session.

    Everything runs on the scheduler's thread, but `count`, which may be called from any.

    Args:
        send: sends a text message; called only during a session.
        tell: takes the kind of a status event and its values.
        scheduler: the loop, or virtual time.
        monotonic: seconds.
    """

    def __init__(
        self,
        send: Callable[[bytes], None],
        tell: Callable[..., None],
        scheduler: abc.SchedulerBase,
        monotonic: Callable[[], float],
    ) -> None:
        self._send = send
        self._tell = tell
        self._scheduler = scheduler
        self._monotonic = monotonic
        self._ledger = Ledger()
        self._in_session = False
        self._waiting: deque[Callable[[], object]] = deque()
        self._credit = BURST_REQUESTS
        self._answer_timer = SerialDisposable()
        self._pace_timer = SerialDisposable()

    @property
    def awaits_answers(self) -> bool:
        """Whether the server owes any acknowledgement."""
        return self._ledger.awaits_answers

    def count(self, *states: ChannelState) -> int:
        """Count the channels in any of ``states``. From any thread."""
        return self._ledger.count(*states)

    def states(self) -> list[ChannelState]:
        """Return the state of each channel. From any thread."""
        return self._ledger.states()

    def begin(self) -> None:
        """Begin a session: ask for everything that is wanted."""
        self._in_session = True
        self._credit = BURST_REQUESTS
        self._ledger.reset()
        self._ask()

    def end(self) -> None:
        """End the session; what is wanted stays wanted."""
        self._in_session = False
        self._waiting.clear()
        self._answer_timer.disposable = Disposable()
        self._pace_timer.disposable = Disposable()

    def want(self, channels: Iterable[str]) -> None:
        """Ask for ``channels`` now, in a session, and in every one from now on."""
        if self._ledger.want(channels):
            self._ask()

    def give_up(self, channels: Iterable[str]) -> None:
        """Give ``channels`` back and forget them."""
        held = self._ledger.give_up(channels)
        if self._in_session:
            self._request("unsubscribe", split_requests(held))

    def renew(self) -> None:
        """Give back what the server holds, in a session, and ask for it again."""
        if self._in_session:
            self._request("unsubscribe", split_requests(self._ledger.renew()))
            self._ask()

    def afterwards(self, action: Callable[[], object]) -> None:
        """Do something behind all requests that wait to be sent, but not after the session's end."""
        if self._waiting:
            self._waiting.append(action)
        else:
            action()

    def confirm(self, channels: list[str]) -> None:
        """Take acknowledgements."""
        confirmed = self._ledger.confirm(channels)
        if confirmed:
            self._tell(status.Subscribed, channels=tuple(confirmed), pending=self.count(*PENDING))
            self._ask()

    def refuse(self, message: str) -> None:
        """Take an error, which names no channel."""
        self._ledger.refuse(message, self._monotonic())
        self._watch_answers()

    def _ask(self) -> None:
        if self._in_session:
            self._request("subscribe", self._ledger.requests(self._monotonic()))
            self._watch_answers()

    def _request(self, action: str, requests: list[list[str]]) -> None:
        idle = not self._waiting
        self._waiting += [partial(self._send, channel_request(action, channels)) for channels in requests]
        if idle:
            self._send_on()

    def _send_on(self, *_: Any) -> None:
        """Send what may go, and see to the rest in a moment; a pause restores the credit."""
        while self._waiting and self._credit:
            self._credit -= 1
            self._waiting.popleft()()
        if self._credit < BURST_REQUESTS and self._in_session:
            self._pace_timer.disposable = self._scheduler.schedule_relative(PACE_S, self._restore)

    def _restore(self, *_: Any) -> None:
        self._credit = min(BURST_REQUESTS, self._credit + 1)
        self._send_on()

    def _watch_answers(self) -> None:
        deadline_s = self._ledger.next_deadline_s()
        if deadline_s is not None:
            wait_s = max(0.0, deadline_s - self._monotonic())
            self._answer_timer.disposable = self._scheduler.schedule_relative(wait_s, self._settle)

    def _settle(self, *_: Any) -> None:
        report = self._ledger.expire(self._monotonic())
        self._ask()
        pending = self.count(*PENDING)
        if report.refused:
            message = self._ledger.refusal
            self._tell(status.Refused, channels=report.refused, pending=pending, message=message)
        if report.unanswered:
            self._tell(status.Unanswered, channels=report.unanswered, pending=pending)
