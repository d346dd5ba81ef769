"""Which connections bring their ticks later than they use to, alone or together: pure.

What is compared is a connection's floor: the lateness that a tenth of its ticks stay below. All channels of
a socket are one ordered stream, so what makes the socket slow makes its fastest ticks late too, while one
slow exchange leaves the floor where it is. Bars, which are sent late by design, are counted among the ticks
only where nothing else comes; then all are so, and what is usual is that much more.
"""

from collections import deque
from collections.abc import Mapping
from typing import Final

from pipeline.status import Late, OnTime, StatusEvent
from pipeline.status_lateness import Others

__all__ = ["Lateness"]

USUAL_LOOKS: Final = 300
"""Looks that say what is usual: five minutes, if it is looked once a second."""
LEARNING_LOOKS: Final = 10
"""Nobody is judged before so many."""
AT_LEAST_NS: Final = 250_000_000
"""Less than this above the usual is nobody's concern."""
SPREAD: Final = 3
"""Nor what is less than so many times the usual swing, from the median to the slowest tenth of the looks."""
CONFIRM_LOOKS: Final = 3
"""So many looks in a row must agree before anything is said."""
LEARN_LATE: Final = 4
"""Of a late connection every fourth look counts: what has changed for good is usual one day."""


class _Line:
    """Is what is known of one connection."""

    def __init__(self) -> None:
        self.usual: deque[int] = deque(maxlen=USUAL_LOOKS)
        self.floor_ns = 0
        self.late_since_s: float | None = None
        self._over = 0
        self._under = 0
        self._late_looks = 0
        self._margin_ns = AT_LEAST_NS

    @property
    def usual_ns(self) -> int:
        return sorted(self.usual)[len(self.usual) // 2]

    @property
    def is_newly_over(self) -> bool:
        """Whether it was late at the last look, be it only by chance, and nobody has said so."""
        return self._over > 0 and self.late_since_s is None

    def look(self, floor_ns: int) -> bool:
        """Take the floor of a look; return whether what is thought of the connection is to change."""
        self.floor_ns = floor_ns
        if len(self.usual) < LEARNING_LOOKS:
            self.usual.append(floor_ns)
            return False
        usual_ns = self.usual_ns
        if self.late_since_s is None:
            swing_ns = sorted(self.usual)[-1 - len(self.usual) // 10] - usual_ns
            self._margin_ns = max(AT_LEAST_NS, SPREAD * swing_ns)
            over = floor_ns > usual_ns + self._margin_ns
        else:  # half way back is not back
            over = floor_ns > usual_ns + self._margin_ns / 2
            self._late_looks += 1
        self._over, self._under = (self._over + 1, 0) if over else (0, self._under + 1)
        if not over or self._late_looks % LEARN_LATE == 1:
            self.usual.append(floor_ns)
        return (self._over if self.late_since_s is None else self._under) >= CONFIRM_LOOKS

    def become(self, *, late_since_s: float | None) -> None:
        self.late_since_s = late_since_s
        self._over = self._under = self._late_looks = 0


class Lateness:
    """Says when connections become late, and when they are on time again. One thread."""

    def __init__(self) -> None:
        self._lines: dict[str, _Line] = {}

    @property
    def late(self) -> tuple[str, ...]:
        """The ids of those that are."""
        return tuple(name for name, line in self._lines.items() if line.late_since_s is not None)

    def usual_ns(self, connection: str) -> int | None:
        """Return what is usual of a connection, None where that is not known yet."""
        line = self._lines.get(connection)
        return None if line is None or len(line.usual) < LEARNING_LOOKS else line.usual_ns

    def forget(self, connection: str) -> None:
        """Take note that the session ended: it is late no more, and what was usual stays known."""
        if connection in self._lines:
            self._lines[connection].become(late_since_s=None)

    def unlearn(self, connection: str) -> None:
        """Take note that what comes now is of another kind: what was usual means nothing any more."""
        self._lines.pop(connection, None)

    def look(
        self, floors: Mapping[str, int], *, now_s: float, at_ns: int, queued_bytes: int
    ) -> list[StatusEvent]:
        """Return what has changed since the last look.

        Args:
            floors: connection id to the lateness that a tenth of its ticks stayed below, ns, of those that
                brought enough to tell.
            now_s: monotonic.
            at_ns: wall clock.
            queued_bytes: what waits undecoded here.
        """
        changed = []
        for name, floor_ns in floors.items():
            line = self._lines.setdefault(name, _Line())
            if line.look(floor_ns):
                changed.append(name)
        begin = [name for name in changed if self._lines[name].late_since_s is None]
        end = [name for name in changed if self._lines[name].late_since_s is not None]
        over = self._end(end, floors, now_s, at_ns)
        return [*over, *self._begin(begin, floors, now_s, at_ns, queued_bytes)]

    def _begin(
        self, names: list[str], floors: Mapping[str, int], now_s: float, at_ns: int, queued_bytes: int
    ) -> list[StatusEvent]:
        if not names:
            return []
        known = [name for name in floors if self.usual_ns(name) is not None]
        # What is late for the first time at this look is late together with those that were so for three.
        new = [name for name in known if self._lines[name].is_newly_over]
        together = len(new) > 1 and len(new) == len(known)
        lines = {name: self._lines[name] for name in (new if together else names)}
        for line in lines.values():
            line.become(late_since_s=now_s)
        others: Others = "none" if len(known) < 2 else "late" if set(known) <= {*self.late} else "on time"
        told: dict[str | None, list[_Line]] = {name: [line] for name, line in lines.items()}
        if together:
            told = {None: [*lines.values()]}
        return [
            Late(
                connection=name,
                at_ns=at_ns,
                late_s=min(line.floor_ns for line in its) / 1e9,
                usually_s=max(line.usual_ns for line in its) / 1e9,
                others=others,
                queued_bytes=queued_bytes,
            )
            for name, its in told.items()
        ]

    def _end(
        self, names: list[str], floors: Mapping[str, int], now_s: float, at_ns: int
    ) -> list[StatusEvent]:
        lines = [self._lines[name] for name in names]
        since_s = [now_s if line.late_since_s is None else line.late_since_s for line in lines]
        for line in lines:
            line.become(late_since_s=None)
        if len(names) > 1 and len(names) == len(floors):
            return [OnTime(at_ns=at_ns, late_for_s=now_s - min(since_s))]
        return [
            OnTime(connection=name, at_ns=at_ns, late_for_s=now_s - begin_s)
            for name, begin_s in zip(names, since_s, strict=True)
        ]
