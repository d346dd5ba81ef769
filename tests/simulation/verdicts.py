"""What is promised, each promise in words, and how a breach of one is written down."""

from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple

__all__ = ["Statement", "Verdict", "first"]


class Statement(StrEnum):
    """The promises that a world is held against."""

    MADE = "what is delivered was made, and was read off a socket before"
    ONCE = "a tick is delivered once"
    READ = "a tick that was read is delivered or counted"
    PROMPT = "what arrives is read and handed over soon, whatever a subscriber does that does not block"
    TOLD = "a tick that was not read lies in a told span of its channel"
    SOON = "a loss is told soon after the channel is carried again"
    SPAN = "a told span is no wider than what may be missing"
    CAUSE = "a told span has a cause: a time in which nobody carried it who is known to have lived"
    ORDER = "ticks of a ticker come in the order of their session"
    BALANCE = "an account balances"
    EQUAL = "an account equals the record"
    COUNTED = "what was dropped or failed is told with its count"
    REDIS = "Redis has what was delivered to its sink"
    ALIVE = "a wanted channel is carried again in time"
    IDLE = "a quiet minute wakes nothing more often than it has to"
    CLOSED = "after close nothing is left"
    CRASH = "no thread dies, nothing turns for ever"


class Verdict(NamedTuple):
    """A breach of a promise.

    Args:
        statement: which.
        at_ns: when it could first be seen, true time.
        detail: what was found, for people.
        count: how many such things.
    """

    statement: Statement
    at_ns: int
    detail: str
    count: int = 1


def first(verdicts: Iterable[Verdict]) -> Verdict | None:
    """Return the breach that came first."""
    return min(verdicts, key=lambda verdict: verdict.at_ns, default=None)
