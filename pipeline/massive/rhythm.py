"""The rhythm of one connection: how long the silences between its ticks usually are; pure."""

from typing import Final

__all__ = ["STALE_AT_LEAST_S", "Rhythm"]

FAR: Final = 10.0
"""So many times the longest usual silence is far too long."""
STALE_AT_LEAST_S: Final = 10.0
"""A busy connection is silent for milliseconds; ten times that is nothing yet."""
LEARN_READS: Final = 20
LEARN_S: Final = 150.0
"""Enough has been heard after so many reads and so much time: minute bars, all in one burst, come twice."""
GENERATION_S: Final = 300.0
"""A silence is remembered until the end of the next generation: for five to ten minutes."""


class Rhythm:
    """Learns the longest silences of a session, and says from when on one is too long.

    A lull that grows step by step is learned as it grows and so raises its own limit. A silence counts from
    the beginning of the session too, so that a burst right after it does not pass for the whole rhythm.

    Not thread-safe to write; may be read from any thread. Times are monotonic seconds given by the caller.
    """

    __slots__ = ("_before_s", "_begun_s", "_last_s", "_longest_s", "_reads", "_turn_s")

    def __init__(self) -> None:
        self.begin(0.0)

    def begin(self, now_s: float) -> None:
        """Forget everything: a session begins, or its channels are others than before."""
        self._begun_s = self._last_s = now_s
        self._turn_s = now_s + GENERATION_S
        self._longest_s = self._before_s = 0.0
        self._reads = 0

    def heard(self, now_s: float) -> None:
        """Note that ticks came."""
        silence_s = now_s - self._last_s
        self._last_s = now_s
        self._reads += 1
        if silence_s > self._longest_s:  # noqa: PLR1730  # max() costs more, and this is once a read
            self._longest_s = silence_s
        if now_s >= self._turn_s:
            self._before_s, self._longest_s = self._longest_s, 0.0
            self._turn_s = now_s + GENERATION_S

    @property
    def usually_s(self) -> float:
        """The longest silence of the last two generations."""
        return max(self._longest_s, self._before_s)

    def silent_for_s(self, now_s: float) -> float | None:
        """Return the age of the last ticks, None where none came in this session."""
        return max(0.0, now_s - self._last_s) if self._reads else None

    def is_mute(self, now_s: float) -> bool:
        """Tell whether this silence is far longer than any before, however little was heard."""
        return self._reads > 0 and now_s - self._last_s > max(STALE_AT_LEAST_S, FAR * self.usually_s)

    def limit_s(self, now_s: float) -> float | None:
        """Return from when on a silence is far too long, None until enough was heard to tell."""
        if self._reads < LEARN_READS or now_s - self._begun_s < LEARN_S:
            return None
        return max(STALE_AT_LEAST_S, FAR * self.usually_s)
