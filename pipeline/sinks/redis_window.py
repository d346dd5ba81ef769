"""What the Redis sink has in its hand: messages that wait, that are on their way, that were refused. Pure.

Answers come in the order of the commands, so two numbers say where we are: which messages were handed to
the connection, and how many of them were answered.
"""

from collections import Counter, defaultdict, deque
from collections.abc import Sequence
from typing import Any, Final

from .redis_messages import Parcel

__all__ = ["FORBIDDEN", "Window"]

FORBIDDEN: Final = "NOPERM"
"""Begins the answer to what this user may never do; sent again it would be refused again."""


class Window:
    """Keeps every message until the server has taken it, and its place in the order.

    Args:
        per_tick: messages of one tick, as many as there are channels of such.
        batched: whether there is one more channel, for messages of many.
    """

    def __init__(self, per_tick: int, *, batched: bool = False) -> None:
        self._per_tick = per_tick
        self._waiting: deque[Parcel] = deque()
        self._sent: deque[Parcel] = deque()
        self._answered = 0
        """Messages of the first parcel sent that have their answer."""
        self._refused: list[Parcel] = []
        self._probing = False
        self.messages = 0
        """Messages in the hand."""
        self.load = 0
        """The same, a message of many ticks counted as so many: says how much memory they take."""
        self.outstanding = 0
        """Messages handed to the connection and not answered."""
        self._channels = per_tick + batched
        self.taken = [0] * self._channels
        """Messages that the server took, by channel."""
        self.forbidden = [0] * self._channels
        """Messages that it will never take from us, by channel; they are in the hand no more."""
        self.forbidding: dict[int, str] = {}
        """What the server last said about a channel that is forbidden, by its place."""
        self._missed: Counter[tuple[str, int]] = Counter()
        """On how many channels a tick, of a connection and with a number, was forbidden."""
        self.errors = 0
        """Error replies."""
        self.resent = 0
        """Messages handed over again because nobody knows whether they had arrived."""
        self.last_error = ""
        """What the server last said when it refused."""
        self.receivers = 0
        """How many clients got the last message."""

    @property
    def is_refused(self) -> bool:
        """Tell whether the server refused something, and nothing is on its way any more."""
        return bool(self._refused) and not self.outstanding

    @property
    def is_recovered(self) -> bool:
        """Tell whether everything in doubt went out again."""
        return not any(parcel.doubtful for parcel in self._waiting)

    def put(self, parcel: Parcel) -> None:
        """Take it into the hand."""
        if parcel.numbers:
            self._waiting.append(parcel)
            self.messages += len(parcel.numbers)
            self.load += parcel.load

    def send(self) -> bytes:
        """Return the commands to send now; from here on their answers are expected.

        Nothing is sent past a refusal. After `rewind` the first message goes alone: a server that still
        refuses is asked about one message, not about all.
        """
        if self._refused or (self._probing and self.outstanding):
            return b""
        if self._probing and self._waiting:
            head, tail = self._waiting.popleft().split(1)
            if tail.numbers:
                self._waiting.appendleft(tail)
            leaving = [head]
        else:
            leaving = list(self._waiting)
            self._waiting.clear()
        self._sent += leaving
        self.outstanding += sum(len(parcel.numbers) for parcel in leaving)
        self.resent += sum(parcel.doubtful for parcel in leaving)
        return b"".join([parcel.pack() for parcel in leaving])

    def answer(self, replies: Sequence[Any]) -> bool:
        """Take in the server's replies; return whether it took a message, or forbade one for good.

        Args:
            replies: the number of receivers for a message taken, anything else for one refused.

        Raises:
            ConnectionError: there are more replies than commands, so we do not know what they are about.
        """
        if len(replies) > self.outstanding:
            raise ConnectionError(f"an answer that nobody asked for: {replies[-1]!r}")
        settled = False
        place = 0
        while place < len(replies):
            parcel, start = self._sent[0], self._answered
            some = replies[place : place + len(parcel.numbers) - start]
            refused = [start + i for i, reply in enumerate(some) if type(reply) is not int]
            settled |= len(refused) < len(some)
            if refused:
                settled |= self._refuse(parcel, {i: str(some[i - start]) for i in refused})
                taken = set(range(start, start + len(some))).difference(refused)
                self._count_taken([parcel.numbers[i] for i in taken], parcel.many)
            else:
                self._count_taken(parcel.numbers[start : start + len(some)], parcel.many)
            place += len(some)
            self._answered += len(some)
            if self._answered == len(parcel.numbers):
                self._sent.popleft()
                self._answered = 0
        self.outstanding -= len(replies)
        if settled:
            self._probing = False
            self.receivers = next((r for r in reversed(replies) if type(r) is int), self.receivers)
        return settled

    def take_failed(self) -> dict[str, int]:
        """Return how many ticks no channel may have, by connection, and forget them; with an empty hand."""
        missed, self._missed = self._missed, Counter()
        return Counter(connection for (connection, _), count in missed.items() if count == self._channels)

    def rewind(self, unsent_bytes: int = 0) -> None:
        """Put all back in line, in order: the connection is gone.

        Args:
            unsent_bytes: how much of what `send` returned never left; what left whole may have arrived.
        """
        back: list[Parcel] = []
        for parcel in reversed(self._sent):
            unsent = parcel.count_behind(unsent_bytes)
            unsent_bytes -= len(parcel.pack()) if unsent else 0
            parcel.doubtful = max(parcel.doubtful, len(parcel.numbers) - unsent)
            back.append(parcel)
        if back:
            back[-1] = back[-1].split(self._answered)[1]
        self._waiting.extendleft(back)
        self._waiting.extendleft(reversed(self._refused))
        self._sent.clear()
        self._refused.clear()
        self._answered = self.outstanding = 0
        self._probing = True

    def drop(self) -> dict[str, set[int]]:
        """Give all up; return the numbers of the ticks in it, by connection, those sent in part too."""
        self.rewind()
        ticks: defaultdict[str, set[int]] = defaultdict(set)
        for parcel in self._waiting:
            ticks[parcel.connection] |= parcel.ticks(self._per_tick)
        self._waiting.clear()
        self.messages = self.load = 0
        return ticks

    def _refuse(self, parcel: Parcel, words: dict[int, str]) -> bool:
        """Keep what was refused, by its place, but for what is forbidden; tell whether there is such."""
        self.errors += len(words)
        self.last_error = next(reversed(words.values()))
        forbidden = [place for place, reason in words.items() if reason.startswith(FORBIDDEN)]
        for place in forbidden:
            self._forbid(parcel, parcel.numbers[place], words[place])
        if kept := [place for place in words if place not in forbidden]:
            self._refused.append(parcel.pick(kept))
        return bool(forbidden)

    def _forbid(self, parcel: Parcel, number: int, reason: str) -> None:
        self.messages -= 1
        self.load -= parcel.many or 1
        channel = self._channels - 1 if parcel.many else number % self._per_tick
        self.forbidden[channel] += 1
        self.forbidding[channel] = reason
        ticks = range(number, number + parcel.many) if parcel.many else [number // self._per_tick]
        self._missed.update((parcel.connection, tick) for tick in ticks)

    def _count_taken(self, numbers: Sequence[int], many: int) -> None:
        self.messages -= len(numbers)
        self.load -= len(numbers) * (many or 1)
        if many:
            self.taken[-1] += len(numbers)
        elif isinstance(numbers, range):
            for place in range(min(self._per_tick, len(numbers))):
                self.taken[numbers[place] % self._per_tick] += len(numbers[place :: self._per_tick])
        else:
            for channel, count in Counter(number % self._per_tick for number in numbers).items():
                self.taken[channel] += count
