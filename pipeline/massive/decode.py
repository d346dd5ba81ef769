"""Frames to ticks: whole in C where all is well, element by element where something is not."""

import logging
from collections import Counter
from collections.abc import Callable
from typing import Any, TypeAlias, Union

import msgspec
from reactivex import Observable, abc

from operators.runtime import SYSTEM, Runtime
from operators.throttled_log import Throttle
from pipeline.ticks import TICK_KINDS, TickBatch

from .frames import Frames
from .lenient import SAMPLE_BYTES, UNDECODABLE, Reject, decode_element
from .protocol import ServerStatus
from .salvage import LARGE_BYTES, pieces, take_bite

__all__ = ["Reject", "decode", "decode_message", "statuses_in"]

log = logging.getLogger("tickbraid.massive.decode")

TickElement: TypeAlias = Union[TICK_KINDS]  # type: ignore[valid-type]  # noqa: UP007  # of a tuple
Element: TypeAlias = TickElement | ServerStatus

_decode_ticks: Callable[[bytes], list[Any]] = msgspec.json.Decoder(list[TickElement]).decode
_decode_array: Callable[[bytes], list[Any]] = msgspec.json.Decoder(list[Element]).decode

OnStatuses = Callable[[str, int, list[ServerStatus]], None]
OnReject = Callable[[str, Reject], None]
OnUnreadable = Callable[[str, list[str]], None]


def decode_message(message: bytes) -> tuple[list[Any], list[Reject]]:
    """Return the ticks and status elements of a message, and by reason what is neither. Never raises."""
    found = _Found()
    _decode_into(message, found)
    return found.elements, found.rejects()


def statuses_in(message: bytes) -> tuple[list[ServerStatus], bool]:
    """Return the status elements of a message, and whether there may be anything else. Never raises.

    A message longer than a read is not looked at: whatever is in it, nobody shall wait for that.
    """
    if b"status" not in message or len(message) > LARGE_BYTES:
        return [], len(message) > len("[]")
    elements, rejects = decode_message(message)
    statuses = [element for element in elements if type(element) is ServerStatus]
    return statuses, bool(rejects) or len(elements) > len(statuses)


def decode(
    on_statuses: OnStatuses | None = None,
    on_reject: OnReject | None = None,
    on_unreadable: OnUnreadable | None = None,
) -> Callable[[Observable[Frames]], Observable[TickBatch]]:
    """Turn frames into batches of ticks.

    .. marble::
        :alt: decode

        --[T,Q,T]-----[Q,status]-----[?,T]--|
        [      decode()                     ]
        --(T,Q,T)-----(Q)------------(T)----|

    One bad element costs only itself: it is counted in the batch's ``rejected``. A value of another type than
    documented costs only its field, unless it is the ticker, the time or a price. Runs on the thread of its
    source, ``tickbraid-io``.

    Args:
        on_statuses: given connection id, which of its reads it was, and the status elements of frames that
            the connection has not inspected itself.
        on_reject: given connection id and what was refused, for counting by reason.
        on_unreadable: given connection id and the fields that ticks of a read are without, since they came
            with values of another type; each as often as it happened.
    """

    def operator(source: Observable[Frames]) -> Observable[TickBatch]:
        def subscribe(
            observer: abc.ObserverBase[TickBatch], scheduler: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            def on_next(frames: Frames) -> None:
                rejects: list[Reject] = []
                rejected = 0
                try:
                    elements = _decode_well(frames)
                except UNDECODABLE:  # it may be a status that is among them
                    found = _decode_each(frames)
                    rejects = found.rejects()
                    rejected = sum(reject.times for reject in rejects)
                    if found.unreadable and on_unreadable is not None:
                        on_unreadable(frames.connection, found.unreadable)
                    statuses = [each for each in found.elements if type(each) is ServerStatus]
                    elements = [each for each in found.elements if type(each) is not ServerStatus]
                    if statuses and on_statuses is not None and not frames.inspected:
                        on_statuses(frames.connection, frames.read, statuses)
                if on_reject is not None:
                    for reject in rejects:
                        on_reject(frames.connection, reject)
                if not (elements or rejects or frames.lost):
                    return
                observer.on_next(
                    TickBatch(
                        connection=frames.connection,
                        received_ns=frames.received_ns,
                        ticks=elements,
                        received=len(elements) + rejected + frames.lost,
                        rejected=rejected,
                        lost=frames.lost,
                    )
                )

            return source.subscribe(on_next, observer.on_error, observer.on_completed, scheduler=scheduler)

        return Observable(subscribe)

    return operator


class RejectLog:
    """The counts of rejects by reason and by connection, and of unreadable fields, with a log of samples.

    A sample is logged once in 10 s a connection and reason, or connection and field. Called on the decoding
    thread; the counters may be read from any.

    Args:
        runtime: its monotonic clock and lock.
    """

    def __init__(self, runtime: Runtime = SYSTEM) -> None:
        self._throttle = Throttle[tuple[str, str]](runtime=runtime)
        self.by_reason: Counter[str] = Counter()
        self.by_connection: Counter[str] = Counter()
        self.unreadable: Counter[str] = Counter()
        """Fields of ticks that passed without them, as ``T.conditions``."""

    def __call__(self, connection: str, reject: Reject) -> None:
        """Count and perhaps log; the `OnReject` of `decode`."""
        self.by_reason[reject.reason] += reject.times
        self.by_connection[connection] += reject.times
        if self._throttle.admit((connection, reject.reason)) is not None:
            log.warning(
                "%s: rejected as %s (%d so far), for example %r",
                connection,
                reject.reason,
                self.by_reason[reject.reason],
                reject.sample,
            )

    def count_unreadable(self, connection: str, fields: list[str]) -> None:
        """Count and perhaps log; the `OnUnreadable` of `decode`."""
        self.unreadable.update(fields)
        for field in dict.fromkeys(fields):
            if self._throttle.admit((connection, field)) is not None:
                log.warning(
                    "%s: %s came with values of another type (%d so far): those ticks are without it",
                    connection,
                    field,
                    self.unreadable[field],
                )


def _decode_well(frames: Frames) -> list[Any]:
    """Decode messages in which there are only ticks."""
    messages = frames.messages
    if frames.torn or frames.size_bytes > LARGE_BYTES:
        raise ValueError("not well")
    if len(messages) == 1:
        return _decode_ticks(messages[0])
    elements: list[Any] = []
    for message in messages:
        elements += _decode_ticks(message)
    return elements


class _Found:
    """What messages have in them: elements, fields that could not be read, and rejects by reason.

    Of each reason one sample is kept, and no object for each reject: there may be a million.
    """

    def __init__(self) -> None:
        self.elements: list[Any] = []
        self.unreadable: list[str] = []
        self._times: dict[str, int] = {}
        self._samples: dict[str, bytes] = {}

    def reject(self, reason: str, sample: bytes, times: int = 1) -> None:
        self._times[reason] = self._times.get(reason, 0) + times
        self._samples.setdefault(reason, sample[:SAMPLE_BYTES])

    def rejects(self) -> list[Reject]:
        return [Reject(reason, self._samples[reason], times) for reason, times in self._times.items()]


def _decode_each(frames: Frames) -> _Found:
    """Return what is in all messages."""
    found = _Found()
    if frames.torn:
        found.reject("torn", b"", frames.torn)
    for message in frames.messages:
        _decode_into(message, found)
    return found


def _decode_into(message: bytes, found: _Found) -> None:
    """Add what is in a message."""
    if len(message) <= LARGE_BYTES:
        try:
            found.elements += _decode_array(message)
        except UNDECODABLE:
            _salvage(message, found)
        return
    position = 0
    while position < len(message):
        bite, position = take_bite(message, position)
        _decode_into(bite, found)


def _salvage(message: bytes, found: _Found) -> None:
    """Decode one element at a time; of what breaks off in the middle, all that is whole."""
    within = pieces(message)
    for raw in within.elements:
        element, unreadable = decode_element(raw)
        if type(element) is Reject:
            found.reject(element.reason, element.sample)
        else:
            found.elements.append(element)
            found.unreadable += unreadable
    if within.others:
        found.reject("malformed", within.other, within.others)
    if within.torn:
        found.reject("torn", within.sample, within.torn)
