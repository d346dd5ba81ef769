"""One element of a message, read with patience: what is of another type than documented costs only itself."""

import json
import re
from collections.abc import Callable, Mapping
from functools import partial
from types import NoneType
from typing import Annotated, Any, Final, NamedTuple, TypeAlias, Union, get_args, get_origin

import msgspec

from pipeline.tick_data import Number
from pipeline.ticks import TICK_KINDS

from .protocol import ServerStatus

__all__ = ["SAMPLE_BYTES", "UNDECODABLE", "Patient", "Reject", "decode_element", "types_of"]

SAMPLE_BYTES: Final = 200
UNDECODABLE: Final = (msgspec.MsgspecError, ValueError, RecursionError)
EXACT_UP_TO: Final = 2**53
"""Whole numbers up to here come out of a float as they went in."""

_WHOLE: Final = re.compile(r"-?[0-9]{1,40}(?=(?:\.0*)?$)")
_NUMBER: Final = re.compile(
    r"-?(?:[0-9]{1,40}(?:\.[0-9]{0,40})?|\.[0-9]{1,40})(?:[eE][+-]?[0-9]{1,2})?", re.ASCII
)
_FLAGS: Final = {"true": True, "false": False, "1": True, "0": False}
_PRICES: Final = frozenset({"price", "bid", "ask", "bids", "asks"})
"""Optional fields that make a tick's price: one that cannot be read is worse than no tick."""

Read: TypeAlias = Callable[[bytes], Any]


class Reject(NamedTuple):
    """What is no tick, for one reason: how the first of these began, and how many there are."""

    reason: str
    sample: bytes
    times: int = 1


class Patient(NamedTuple):
    """What an element came to.

    Args:
        element: a tick, a status element, or why it is neither.
        unreadable: fields that the tick is without, since they were of another type, as ``T.conditions``.
    """

    element: Any
    unreadable: tuple[str, ...] = ()


class _Field(NamedTuple):
    name: str
    read: Read
    absent: Any
    """What stands for it where it is not there; `msgspec.NODEFAULT` where it has to be."""
    essential: bool
    label: str


class _Unreadable(Exception):
    """What a field holds is not of its type, and cannot be made so without a loss."""


def decode_element(raw: bytes) -> Patient:
    """Return what one element is, field by field. Pure; never raises.

    Converted is what loses nothing: a text that is a number, a whole number written as a float, a number for
    a text, one value for a list of it. Any other value of a wrong type is left out, and its field is named;
    where that is the ticker, the time or a price, the element is rejected.
    """
    raw = bytes(raw)
    try:
        return Patient(_decode_well(raw))  # it may be another in the message that is not as documented
    except UNDECODABLE as error:
        reason = _why_at_once(str(error)) if raw.count(b'"ev"') == 1 and b"\\" not in raw else None
        return _rejected(reason, raw) if reason else _decode_patiently(raw)


def _why_at_once(words: str) -> str | None:
    """Tell by msgspec's words what no patience can mend, in a fifth of the time; None where it might."""
    if words.startswith("Object missing"):
        return "malformed"
    if words.endswith("at `$.ev`"):
        return "unknown_event" if words.startswith("Invalid value") else "malformed"
    return None


def _decode_patiently(raw: bytes) -> Patient:
    try:
        fields = _decode_fields(raw)
    except UNDECODABLE:
        return _rejected("malformed", raw)
    try:
        # Of two names the first counts, as for whoever looks at its begin only.
        named = _NAMED_FIRST.match(raw)
        kind = _decode_text(named[1] if named else fields["ev"])
    except (KeyError, *UNDECODABLE):
        return _rejected("malformed", raw)
    if kind not in _FIELDS:
        return _rejected("unknown_event", raw)
    make, known = _FIELDS[kind]
    values: dict[str, Any] = {}
    unreadable = []
    for wire_name, field in known.items():
        value = fields.get(wire_name, b"null")
        try:
            values[field.name] = field.absent if value == b"null" else field.read(value)
        except (_Unreadable, *UNDECODABLE):
            if field.essential:
                return _rejected("malformed", raw)
            values[field.name] = field.absent
            unreadable.append(field.label)
        if values[field.name] is msgspec.NODEFAULT:
            return _rejected("malformed", raw)
    return Patient(make(**values), tuple(unreadable))


def _rejected(reason: str, raw: bytes) -> Patient:
    return Patient(Reject(reason, raw[:SAMPLE_BYTES]))


_decode_well = msgspec.json.Decoder(Union[(*TICK_KINDS, ServerStatus)]).decode
_NAMED_FIRST: Final = re.compile(rb'\{"ev":("[^"\\]*+")')
_decode_raw_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_text = msgspec.json.Decoder(str).decode
_decode_any = msgspec.json.Decoder().decode


def _decode_fields(raw: bytes) -> dict[str, bytes]:
    try:
        return {name: bytes(value) for name, value in _decode_raw_fields(raw).items()}
    except UNDECODABLE:
        # Half a surrogate, NaN and the like in one value: Python's own decoder lets them pass, so that this
        # value alone is refused when it is written again.
        values = json.loads(raw)
        if type(values) is not dict:
            raise
        return {name: json.dumps(value).encode() for name, value in values.items()}


def _read_whole(raw: bytes) -> int:
    value = _decode_any(raw)
    if type(value) is int:
        return value
    if type(value) is float and value.is_integer() and abs(value) <= EXACT_UP_TO:
        return int(value)
    if type(value) is str and (found := _WHOLE.match(value.strip())):
        return int(found[0])
    raise _Unreadable


def _read_number(raw: bytes) -> Number:
    value = _decode_any(raw)
    if type(value) is str and _NUMBER.fullmatch(text := value.strip()):
        value = int(text) if text.lstrip("-").isdecimal() else float(text)
    if type(value) is int or type(value) is float:
        return value
    raise _Unreadable


def _read_text(raw: bytes) -> str:
    value = _decode_any(raw)
    if type(value) is str:
        return value
    if type(value) is int or type(value) is float:
        return raw.decode()
    raise _Unreadable


def _read_text_or_whole(raw: bytes) -> str | int:
    value = _decode_any(raw)
    return value if type(value) is str else _read_whole(raw)


def _read_text_or_number(raw: bytes) -> str | Number:
    value = _decode_any(raw)
    if type(value) in {str, int, float}:
        return value  # type: ignore[no-any-return]  # of the three
    raise _Unreadable


def _read_short(read: Read, most: int, raw: bytes) -> Any:
    value = read(raw)
    if type(value) in {str, list} and len(value) > most:
        raise _Unreadable
    return value


def _read_flag(raw: bytes) -> bool:
    value = _decode_any(raw)
    if type(value) is bool:
        return value
    flag = _FLAGS.get(str(value).strip().lower())
    if flag is None:
        raise _Unreadable
    return flag


def _read_wholes(raw: bytes) -> list[int]:
    return list(map(_read_whole, _decode_raws(raw))) if raw.startswith(b"[") else [_read_whole(raw)]


def _read_whole_or_wholes(raw: bytes) -> int | list[int]:
    return _read_wholes(raw) if raw.startswith(b"[") else _read_whole(raw)


def _read_levels(raw: bytes) -> list[tuple[Number, Number]]:
    levels = [[_read_number(number) for number in _decode_raws(level)] for level in _decode_raws(raw)]
    if any(len(level) != 2 for level in levels):
        raise _Unreadable
    return [(price, size) for price, size in levels]


def _decode_raws(raw: bytes) -> list[bytes]:
    return list(map(bytes, _decode_raw_list(raw)))


_decode_raw_list = msgspec.json.Decoder(list[msgspec.Raw]).decode

_READERS: Final[Mapping[frozenset[Any], Read]] = {
    frozenset({int}): _read_whole,
    frozenset({int, float}): _read_number,
    frozenset({str}): _read_text,
    frozenset({str, int}): _read_text_or_whole,
    frozenset({str, int, float}): _read_text_or_number,
    frozenset({bool}): _read_flag,
    frozenset({list[int]}): _read_wholes,
    frozenset({list[int], int}): _read_whole_or_wholes,
    frozenset({list[tuple[Number, Number]]}): _read_levels,
}
"""How a field is read, by the types it may have."""


def types_of(annotation: Any) -> frozenset[Any]:
    """Return the types that a field may have, without None and without how long each may be."""
    parts = {annotation} if get_origin(annotation) is Annotated else set(get_args(annotation) or {annotation})
    if get_origin(annotation) in {list, tuple}:
        parts = {annotation}
    return frozenset(get_args(p)[0] if get_origin(p) is Annotated else p for p in parts) - {NoneType}


def _reader_of(annotation: Any) -> Read:
    read = _READERS[types_of(annotation)]
    parts = (annotation, *get_args(annotation))
    most = [meta.max_length for p in parts for meta in getattr(p, "__metadata__", ()) if meta.max_length]
    return partial(_read_short, read, min(most)) if most else read


def _fields_of(kind: type[msgspec.Struct], event_type: str) -> dict[str, _Field]:
    return {
        each.encode_name: _Field(
            each.name,
            _reader_of(each.type),
            each.default,
            each.required or each.name in _PRICES,
            f"{event_type}.{each.name}",
        )
        for each in msgspec.structs.fields(kind)
        if each.name not in {"received_ns", "event_ns"}
    }


_FIELDS: Final[Mapping[str, tuple[type[msgspec.Struct], Mapping[str, _Field]]]] = {
    **{kind.event_type: (kind, _fields_of(kind, kind.event_type)) for kind in TICK_KINDS},
    "status": (ServerStatus, _fields_of(ServerStatus, "status")),
}
"""Event type to its class and the fields of the wire."""
