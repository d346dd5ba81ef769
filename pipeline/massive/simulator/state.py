"""All conversations of one server, and what is decided among them. Pure: neither socket nor clock."""

import dataclasses
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from .conversation import Conversation
from .faults import MALFORMED
from .options import Eviction, Faults, Options
from .report import Attempt, ClientReport, Report, Tally

__all__ = ["ServerState"]

KEPT_ATTEMPTS: Final = 1000
KEPT_CLIENTS: Final = 100
"""Reports of clients that are gone."""


class ServerState:
    """The conversations of one server: their numbers, a key's limit, the faults that are left, the report.

    All on one thread. Subclasses see what happens in `arrived`, `changed`, `said`, `ended`
    and `left`.

    Args:
        options: what the server is like.
        faults: what goes wrong from the beginning.
        monotonic: for the times of arrival, s.
        malformed: what `Faults.malformed` mixes in, by name.

    Attributes:
        conversations: those whose connection is there, in the order of arrival.
        effects: what the faults did, counted when it happens.
    """

    def __init__(
        self,
        options: Options,
        faults: Faults,
        monotonic: Callable[[], float],
        malformed: Mapping[str, bytes] = MALFORMED,
    ) -> None:
        self.options = options
        self.faults = faults
        self.malformed = malformed
        self.effects: Counter[str] = Counter()
        self.conversations: list[Conversation] = []
        self._monotonic = monotonic
        self._numbers = 0
        self._total = Tally()
        self._gone: deque[ClientReport] = deque(maxlen=KEPT_CLIENTS)
        self._attempts: deque[Attempt] = deque(maxlen=KEPT_ATTEMPTS)

    def set_faults(self, **changes: Any) -> None:
        """Change what goes wrong, from now on.

        Raises:
            ValueError: a value is out of its range.
            TypeError: there is no such fault.
        """
        self.faults = dataclasses.replace(self.faults, **changes)

    def chosen(self, only: int | None) -> list[Conversation]:
        """Return the conversation with a number, or all."""
        return [one for one in self.conversations if only in (None, one.number)]

    @property
    def listeners(self) -> int:
        """How many hold channels."""
        return sum(one.listens for one in self.conversations)

    @property
    def held(self) -> set[str]:
        """The channels that anybody holds."""
        return set().union(*(one.session.held for one in self.conversations))

    def report(self, feed_errors: Iterable[str] = ()) -> Report:
        """Return what was sent and seen so far."""
        total = self._total.copy()
        for one in self.conversations:
            total.add(one.sent)
        return Report(
            sent=total,
            clients=tuple(one.report() for one in self.conversations),
            gone=tuple(self._gone),
            attempts=self._numbers,
            last_attempts=tuple(self._attempts),
            feed_errors=tuple(feed_errors),
        )

    # --- what conversations need of their host

    def arrived(self, conversation: Conversation) -> int:
        """Take note of a conversation and return its number."""
        self.conversations.append(conversation)
        self._numbers += 1
        self._attempts.append(Attempt(self._numbers, self._monotonic()))
        return self._numbers

    def ended(self, conversation: Conversation) -> None:
        """Take note that it is sent no more data."""

    def left(self, conversation: Conversation) -> None:
        """Forget a conversation whose connection is gone, keeping its counts."""
        self.conversations.remove(conversation)
        self._total.add(conversation.sent)
        self._gone.append(conversation.report())

    def admit(self, conversation: Conversation) -> bool:
        """Make room for one that showed its key; False where it is one too many itself."""
        options = self.options
        key = conversation.session.key
        siblings = [one for one in self.conversations if one.is_here and one.session.key == key]
        if options.max_connections is None or len(siblings) <= options.max_connections:
            return True
        if options.eviction is not Eviction.OLDEST:
            return False
        siblings[0].evict()
        return True

    def changed(self, conversation: Conversation) -> None:
        """Look again at what it holds."""

    def said(self, conversation: Conversation, statuses: Sequence[bytes]) -> None:
        """Take note of status elements that were just sent in a message of their own."""

    def drops_auth(self) -> bool:
        """Tell whether to drop the client that sends its key now."""
        return self._uses_up("drop_auth", "auths dropped")

    def loses_auth(self) -> bool:
        """Tell whether the key that is sent now gets lost."""
        return self._uses_up("lose_auth", "keys lost")

    def _uses_up(self, fault: str, effect: str) -> bool:
        left: int = getattr(self.faults, fault)
        if left:
            self.set_faults(**{fault: left - 1})
            self.effects[effect] += 1
        return left > 0
