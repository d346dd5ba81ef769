"""How many connections the account allows, learned from evictions; and whose turn it is to try for one more.

Pure: times are monotonic seconds, given by the caller.
"""

from dataclasses import dataclass
from math import inf
from typing import Final

__all__ = ["Allowance", "Verdict"]

FIRST_TRY_S: Final = 60.0
LATER_TRIES_S: Final = 300.0
RECENT_S: Final = 5.0
"""An eviction so soon after one of our own was let in is that one's doing."""
STEADY_S: Final = 60.0
"""A try that has been up for so long, while none of ours had to go, is a success."""
SWAPS_MAX: Final = 2
"""Tries that cost another of ours its place, before there are no more."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Says why one of our connections had to go.

    Args:
        places: how many connections of ours are left.
        by: the id of the connection of ours that took its place, None if none did.
        other_program: ours alone are no more than there have been: another program uses the same key, or
            the server still counts a connection of ours that has died.
        next_try_s: in how long the next of those left out may try; None: no more by the clock.
    """

    places: int
    by: str | None
    other_program: bool
    next_try_s: float | None


class Allowance:
    """Watches our connections to one address come and go, and lets evicted ones try again one at a time.

    The one that waits longest may try 60 s after the last eviction, then after every five minutes; a try that
    was good for a minute makes way for the next. A server that evicts the oldest takes a place from one of
    ours for each try: after two such tries nobody tries by the clock any more, as long as one of ours is up,
    since ours would only evict each other in turn.
    """

    def __init__(self) -> None:
        self._in: dict[str, float] = {}
        """Those that are up, and since when."""
        self._coming: set[str] = set()
        """Those whose socket is open, so that the server may have taken their key."""
        self._out: dict[str, None] = {}
        """Those that were evicted, the longest waiting first."""
        self._most = 0
        """So many of ours have been up together, and nobody had to go."""
        self._trying: str | None = None
        self._tries = 0
        self._swaps = 0
        self._due_s = inf

    def next_look_s(self) -> float | None:
        """Return when `look` will have something to say, None while only an event can change that."""
        return None if self._due_s == inf else self._due_s

    def look(self, now_s: float) -> str | None:
        """Return who may try now, None if nobody may."""
        if now_s < self._due_s:
            return None
        if self._trying is not None:
            self._tries = self._swaps = 0
        self._trying = next(iter(self._out), None)
        if self._trying is not None:
            del self._out[self._trying]
        self._due_s = inf
        return self._trying

    def comes(self, name: str) -> None:
        """Note that its socket is open."""
        self._coming.add(name)

    def enters(self, name: str, now_s: float) -> None:
        """Note that the server took its key."""
        self._learn(now_s)
        self._coming.discard(name)
        self._out.pop(name, None)
        self._in[name] = now_s
        if name == self._trying:
            self._due_s = now_s + STEADY_S

    def leaves(self, name: str, now_s: float) -> None:
        """Note that it is gone for another reason than an eviction, and will be back."""
        self._learn(now_s)
        self._coming.discard(name)
        self._in.pop(name, None)
        if name == self._trying:
            self._due_s = inf

    def gives_up(self, name: str, now_s: float) -> None:
        """Note that it will never be back: whoever waits may have its place."""
        self.leaves(name, now_s)
        self._out.pop(name, None)
        if name == self._trying:
            self._trying = None
        if self._out and self._trying is None:
            self._due_s = now_s

    def evict(self, name: str, now_s: float) -> Verdict:
        """Note that the server sent it away, and say why."""
        self._learn(now_s)
        self._coming.discard(name)
        newcomer = now_s - self._in.pop(name, now_s) <= RECENT_S
        recent = [other for other, since_s in self._in.items() if now_s - since_s <= RECENT_S]
        by = None if newcomer else next(iter([*recent, *sorted(self._coming)]), None)
        places = len(self._in) + len(self._coming)
        other_program = places < max(self._most, 1) or not (newcomer or by)
        if self._trying is not None and self._trying in {name, by}:
            self._tries += 1
            self._swaps += self._trying == by
        self._out[name] = None
        if self._trying == name or self._trying in self._in:
            self._trying = None
        stop = self._trying is not None or (places > 0 and self._swaps >= SWAPS_MAX)
        wait_s = inf if stop else LATER_TRIES_S if self._tries else FIRST_TRY_S
        self._due_s = now_s + wait_s
        return Verdict(places, by, other_program, None if stop else wait_s)

    def _learn(self, now_s: float) -> None:
        if self._in and now_s - max(self._in.values()) > RECENT_S:
            self._most = max(self._most, len(self._in))
