"""Frames to ticks: whole in C where all is well, element by element where something is not."""

import json
import logging
import re
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeAlias, Union

import msgspec
from reactivex import Observable, abc

from operators.throttled_log import Throttle
from pipeline.ticks import TICK_KINDS, TickBatch

from .frames import Frames
from .lenient import SAMPLE_BYTES, UNDECODABLE, Reject, decode_element
from .protocol import ServerStatus

__all__ = ["Reject", "decode", "decode_message", "statuses_in"]

log = logging.getLogger("tickbraid.massive.decode")

TickElement: TypeAlias = Union[TICK_KINDS]  # type: ignore[valid-type]  # noqa: UP007  # of a tuple
Element: TypeAlias = TickElement | ServerStatus

JOIN_BELOW_BYTES: Final = 1024
"""Messages shorter than this on average are decoded as one array: 0.9 µs a tick instead of 1.3."""

_decode_ticks: Callable[[bytes], list[Any]] = msgspec.json.Decoder(list[TickElement]).decode
_decode_array: Callable[[bytes], list[Any]] = msgspec.json.Decoder(list[Element]).decode
_decode_raw_array = msgspec.json.Decoder(list[msgspec.Raw]).decode
_parse_one = json.JSONDecoder().raw_decode
_ELEMENT: Final = re.compile(r'\{\s*"ev"')

OnStatuses = Callable[[str, int, list[ServerStatus]], None]
OnReject = Callable[[str, Reject], None]
OnUnreadable = Callable[[str, list[str]], None]


class _Salvage(NamedTuple):
    elements: list[Any]
    rejects: list[Reject]
    unreadable: list[str]


def decode_message(message: bytes) -> tuple[list[Any], list[Reject]]:
    """Return the ticks and status elements of a message, and what in it is neither. Never raises."""
    try:
        return _decode_array(message), []
    except UNDECODABLE:
        salvage = _salvage(message)
        return salvage.elements, salvage.rejects


def statuses_in(message: bytes) -> list[ServerStatus]:
    """Return the status elements of a message. Never raises."""
    if b"status" not in message:
        return []
    return [element for element in decode_message(message)[0] if isinstance(element, ServerStatus)]


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
        on_statuses: given connection id, receive time and the status elements of frames that the connection
            has not inspected itself.
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
                try:
                    elements = _decode_well(frames.messages, frames.size_bytes)
                except UNDECODABLE:  # it may be a status that is among them
                    elements, rejects, unreadable, statuses = _decode_each(frames.messages)
                    if unreadable and on_unreadable is not None:
                        on_unreadable(frames.connection, unreadable)
                    if statuses and on_statuses is not None and not frames.inspected:
                        on_statuses(frames.connection, frames.received_ns, statuses)
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
                        received=len(elements) + len(rejects) + frames.lost,
                        rejected=len(rejects),
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
        monotonic: seconds.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._throttle = Throttle[tuple[str, str]](monotonic=monotonic)
        self.by_reason: Counter[str] = Counter()
        self.by_connection: Counter[str] = Counter()
        self.unreadable: Counter[str] = Counter()
        """Fields of ticks that passed without them, as ``T.conditions``."""

    def __call__(self, connection: str, reject: Reject) -> None:
        """Count and perhaps log; the `OnReject` of `decode`."""
        self.by_reason[reject.reason] += 1
        self.by_connection[connection] += 1
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


def _decode_well(messages: list[bytes], size_bytes: int) -> list[Any]:
    """Decode messages in which there are only ticks."""
    if len(messages) == 1:
        return _decode_ticks(messages[0])
    if size_bytes < JOIN_BELOW_BYTES * len(messages):
        return _decode_ticks(b"[%b]" % b",".join([m[1:-1] for m in messages]))
    elements: list[Any] = []
    for message in messages:
        elements += _decode_ticks(message)
    return elements


def _decode_each(
    messages: list[bytes],
) -> tuple[list[Any], list[Reject], list[str], list[ServerStatus]]:
    """Return of all messages the ticks, what is neither, the unreadable fields, and the status elements."""
    elements: list[Any] = []
    rejects: list[Reject] = []
    unreadable: list[str] = []
    for message in messages:
        try:
            elements += _decode_array(message)
        except UNDECODABLE:
            salvage = _salvage(message)
            elements += salvage.elements
            rejects += salvage.rejects
            unreadable += salvage.unreadable
    statuses = [element for element in elements if type(element) is ServerStatus]
    ticks = [element for element in elements if type(element) is not ServerStatus]
    return ticks, rejects, unreadable, statuses


def _salvage(message: bytes) -> _Salvage:
    """Decode one element at a time; of what breaks off in the middle, all that is whole."""
    salvage = _Salvage([], [], [])
    raws, torn = _split_array(message)
    for raw in raws:
        element, unreadable = decode_element(raw)
        if type(element) is Reject:
            salvage.rejects.append(element)
        else:
            salvage.elements.append(element)
            salvage.unreadable.extend(unreadable)
    salvage.rejects.extend(Reject("torn", piece[:SAMPLE_BYTES]) for piece in torn)
    return salvage


def _split_array(message: bytes) -> tuple[list[bytes], list[bytes]]:
    """Return the raw elements of a message, and where the array is broken, the pieces that are none."""
    try:
        return [bytes(raw) for raw in _decode_raw_array(message)], []
    except UNDECODABLE:
        pass
    text = message.decode("utf-8", "replace")
    raws: list[str] = []
    torn: list[str] = []
    position = 0
    while position < len(text):
        begin = text.find("{", position)
        # An object without its array, or an array without its end, is whole all the same.
        torn.append(text[position : None if begin < 0 else begin].strip("[], \n\r\t"))
        if begin < 0:
            break
        try:
            _, position = _parse_one(text, begin)
        except (ValueError, RecursionError):
            behind = _ELEMENT.search(text, begin + 1)
            position = behind.start() if behind else len(text)
            torn.append(text[begin:position])
        else:
            raws.append(text[begin:position])
    pieces = [piece.encode() for piece in torn if piece]
    if not (raws or pieces or re.fullmatch(r"\[[\s,]*\]", text)):  # empty messages, joined, are no loss
        pieces = [message]
    return [raw.encode() for raw in raws], pieces
