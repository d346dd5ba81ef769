"""Data sent otherwise than as it is: repeated, mixed with rubbish, cut, in pieces. Everything is counted."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Final, NamedTuple

from .feeds import join
from .options import Faults
from .report import Tally
from .wire import Opcode, encode_frame

__all__ = ["MALFORMED", "Distorter", "Message"]

LATEST_REPEAT_FRAMES: Final = 200
"""How much later than the first a repeated frame may come; as many wait at most."""
EVENT_MARK: Final = b'"ev"'

MALFORMED: Final[dict[str, bytes]] = {
    "no_symbol": b'{"ev":"T","x":4,"i":"1","p":10.5,"s":100,"t":1700000000000,"q":1}',
    "wrong_type": b'{"ev":"Q","sym":"AAPL","bp":"cheap","ap":{},"t":"now","q":[]}',
    "no_event": b'{"sym":"AAPL","p":10.5,"s":100,"t":1700000000000}',
    "unknown_event": b'{"ev":"ZZ","sym":"AAPL","p":10.5,"t":1700000000000}',
    "null": b"null",
    "number": b"42",
    "string": b'"surprise"',
}
"""One JSON element for each thing that can be wrong with one."""


class Message(NamedTuple):
    """One message of data as it goes out.

    Args:
        data: its frames, pings between them included.
        elements: what a client finds in it, in order: the good elements, None for what is none.
        statuses: those among the elements.
    """

    data: bytes
    elements: tuple[bytes | None, ...]
    statuses: Sequence[bytes] = ()


class Distorter:
    """Turns messages for one client into the frames it gets.

    Args:
        random: decides; seeded, so that a run can be repeated.
        tally: where what goes out is counted.
        malformed: what is mixed in, by name.
    """

    def __init__(self, random: Random, tally: Tally, malformed: Mapping[str, bytes] = MALFORMED) -> None:
        self._random = random
        self._tally = tally
        self._malformed = malformed
        self._kinds = tuple(malformed)
        self._later: list[tuple[int, Callable[[], Message]]] = []
        self._number = 0

    def distort(
        self, elements: Sequence[bytes], faults: Faults, statuses: Sequence[bytes] = ()
    ) -> list[Message]:
        """Return the messages to send for these good elements, and the repeats that are due.

        Args:
            elements: of one message.
            faults: what goes wrong now.
            statuses: go out among the elements, once.
        """
        chance, tally = self._random.random, self._tally
        self._number += 1
        mixed, wrong = self._mix(elements, faults.malformed)
        good = set(elements)
        found = tuple(one if one in good else None for one in mixed)

        def send(statuses: Sequence[bytes] = ()) -> Message:
            tally.frames += 1
            tally.malformed.update(wrong)
            place = self._random.randint(0, len(mixed)) if statuses else 0
            payload = join([*mixed[:place], *statuses, *mixed[place:]])
            return Message(self._pieces(payload, faults), found, statuses)

        def send_again() -> Message:
            tally.repeated_frames += 1
            tally.repeated_elements += len(elements)
            return send()

        out = [send(statuses)]
        if chance() < faults.truncated:
            out.append(self._truncate(elements))
        if chance() < faults.repeat:
            if chance() < 0.5 or len(self._later) >= LATEST_REPEAT_FRAMES:
                out.append(send_again())
            else:
                due = self._number + self._random.randint(1, LATEST_REPEAT_FRAMES)
                self._later.append((due, send_again))
        if self._later:
            out += [again() for due, again in self._later if due <= self._number]
            self._later = [entry for entry in self._later if entry[0] > self._number]
        return out

    def rest(self) -> list[Message]:
        """Return the repeats that still wait: the feeds are over."""
        waiting, self._later = self._later, []
        return [again() for _, again in waiting]

    def _mix(self, elements: Sequence[bytes], fraction: float) -> tuple[list[bytes], Counter[str]]:
        mixed: list[bytes] = []
        wrong: Counter[str] = Counter()
        for element in elements:
            mixed.append(element)
            if fraction and self._random.random() < fraction:
                kind = self._random.choice(self._kinds)
                wrong[kind] += 1
                mixed.append(self._malformed[kind])
        return mixed, wrong

    def _truncate(self, elements: Sequence[bytes]) -> Message:
        payload = join(elements)
        cut = payload[: self._random.randint(1, len(payload) - 1)]
        self._tally.truncated_frames += 1
        self._tally.truncated_marks += cut.count(EVENT_MARK)
        self._tally.frames += 1
        whole, end = [], len(b"[")
        for element in elements:
            if end + len(element) > len(cut):
                break
            whole.append(element)
            end += len(element) + len(b",")
        torn = [] if whole and end >= len(cut) else [None]
        return Message(encode_frame(cut), (*whole, *torn))

    def _pieces(self, payload: bytes, faults: Faults) -> bytes:
        """Encode a message, in fragments if it should be, maybe with a ping at some place."""
        size = -(-len(payload) // faults.fragments)
        parts = [payload[start : start + size] for start in range(0, len(payload), size)]
        last = len(parts) - 1
        frames = [
            encode_frame(part, Opcode.CONTINUATION if i else Opcode.TEXT, fin=i == last)
            for i, part in enumerate(parts)
        ]
        if faults.pings and self._random.random() < faults.pings:
            self._tally.pings += 1
            frames.insert(self._random.randint(0, last), encode_frame(b"simulator", Opcode.PING))
        return b"".join(frames)
