"""Ticks as columns: Arrow record batches, for those who compute on many at once; needs the extra ``columns``.

An Arrow record batch is taken over elsewhere at no cost: ``polars.from_arrow(batch)``, ``batch.to_pandas()``,
DuckDB, a file, another process.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from functools import partial
from operator import attrgetter
from types import MappingProxyType
from typing import Any, Final

import pyarrow as pa

from .ticks import QUOTES, TICK_KINDS, TRADES, Tick, TickBatch, TwoSided

__all__ = ["COLUMNS", "COLUMN_TYPES", "DEFAULT_COLUMNS", "FIELD_COLUMNS", "ColumnMaker", "holders"]

DEFAULT_COLUMNS: Final = (
    *("connection", "ticker", "event_type", "price", "size", "bid", "bid_size", "ask", "ask_size"),
    *("event_ns", "received_ns", "sequence"),
)
_OF_BATCHES: Final = frozenset({"connection", "received_ns", "decoded_ns"})


def holders(name: str) -> frozenset[type[Tick]]:
    """Return the classes of ticks that have a field of this name."""
    return frozenset(kind for kind in TICK_KINDS if name in kind.__struct_fields__)


_BARS: Final = holders("tick_volume")
_EXACTLY_TIMED: Final = holders("event_ns")
_SOLITARY: Final = QUOTES & holders("conditions")
"""The classes of which a condition may stand by itself, without a list."""
_TWO_SIDED: Final = frozenset(kind for kind in TICK_KINDS if issubclass(kind, TwoSided))


# A comprehension for each field that most ticks have: CPython specialises it, so it takes half of what
# `attrgetter` does.
_READ: Final[Mapping[str, Callable[[Sequence[Any]], list[Any]]]] = MappingProxyType(
    {
        "ticker": lambda its: [t.ticker for t in its],
        "event_type": lambda its: [t.event_type for t in its],
        "bid": lambda its: [t.bid for t in its],
        "bid_size": lambda its: [t.bid_size for t in its],
        "bid_exchange": lambda its: [t.bid_exchange for t in its],
        "ask": lambda its: [t.ask for t in its],
        "ask_size": lambda its: [t.ask_size for t in its],
        "ask_exchange": lambda its: [t.ask_exchange for t in its],
        "conditions": lambda its: [t.conditions for t in its],
        "indicators": lambda its: [t.indicators for t in its],
        "participant_ms": lambda its: [t.participant_ms for t in its],
        "sequence": lambda its: [t.sequence for t in its],
        "source": lambda its: [t.source for t in its],
        "tape": lambda its: [t.tape for t in its],
        "exchange": lambda its: [t.exchange for t in its],
        "trade_id": lambda its: [t.trade_id for t in its],
        "bid_ms": lambda its: [t.bid_ms for t in its],
        "ask_ms": lambda its: [t.ask_ms for t in its],
    }
)


class _Ticks:
    """Ticks of several kinds, of which each column asks only those that have a value for it.

    Args:
        ticks: in the order of the rows.
        sides: whether bids and asks are columns, too.
    """

    def __init__(self, ticks: Sequence[Any], *, sides: bool) -> None:
        self.all = ticks
        self.sides = sides
        self.kinds = frozenset(map(type, ticks))
        self._of: dict[frozenset[type[Tick]], _Some] = {}
        self._read: dict[str, list[Any]] = {}

    def read(self, name: str) -> list[Any]:
        """Return an attribute of the ticks of those kinds that have it, None for the others."""
        if name not in self._read:
            its: Callable[[Sequence[Any]], list[Any]] = _READ.get(name) or partial(_attributes, name)
            kinds = _HOLDERS[name] & self.kinds
            self._read[name] = its(self.all) if kinds == self.kinds else self._some(kinds).read(its)
        return self._read[name]

    def of_trades(self, values: Callable[[Sequence[Any]], list[Any]]) -> list[Any]:
        """Return what the trades have, None for the others."""
        kinds = TRADES & self.kinds
        return values(self.all) if kinds == self.kinds else self._some(kinds).scatter(values)

    def _some(self, kinds: frozenset[type[Tick]]) -> "_Some":
        if kinds not in self._of:
            self._of[kinds] = _Some(self.all, kinds)
        return self._of[kinds]


def _attributes(name: str, its: Sequence[Any]) -> list[Any]:
    return list(map(attrgetter(name), its))


class _Some:
    """Those of some kinds among ticks.

    Args:
        ticks: in the order of the rows.
        kinds: one at least is among them.
    """

    def __init__(self, ticks: Sequence[Any], kinds: frozenset[type[Tick]]) -> None:
        self._count = len(ticks)
        self._rows = [row for row, tick in enumerate(ticks) if type(tick) in kinds]
        self._its = [ticks[row] for row in self._rows]
        self._padded: list[Any] = []
        """All rows, with a tick without values where there is one of another kind."""
        if len(self._its) * 2 > len(ticks):
            blank = copy(self._its[0])
            for name in blank.__struct_fields__:
                setattr(blank, name, None)
            self._padded = [blank] * len(ticks)
            for row, tick in zip(self._rows, self._its, strict=True):
                self._padded[row] = tick

    def read(self, values: Callable[[Sequence[Any]], list[Any]]) -> list[Any]:
        """Return what they have in all rows, by the way that is less work; None for the others."""
        return values(self._padded) if self._padded else self.scatter(values)

    def scatter(self, values: Callable[[Sequence[Any]], list[Any]]) -> list[Any]:
        """Return what they have in all rows, None for the others."""
        all_values: list[Any] = [None] * self._count
        for row, value in zip(self._rows, values(self._its), strict=True):
            all_values[row] = value
        return all_values


def _prices(ticks: _Ticks) -> list[Any]:
    if ticks.kinds.isdisjoint(_TWO_SIDED) or not (ticks.sides or ticks.kinds <= _TWO_SIDED):
        return [t.price for t in ticks.all]
    # As `TwoSided.price` has it, without a call for each.
    sides = zip(ticks.read("bid"), ticks.read("ask"), ticks.all, strict=True)
    return [(bid + ask) / 2 if bid and ask else t.price for bid, ask, t in sides]


def _sizes(ticks: _Ticks) -> list[Any]:
    if ticks.kinds.isdisjoint(_BARS):
        return ticks.of_trades(lambda its: [t.size or t.volume for t in its])  # the volume is a call
    return [t.volume if type(t) in TRADES else t.tick_volume if type(t) in _BARS else None for t in ticks.all]


def _event_times(ticks: _Ticks) -> list[int]:
    if ticks.kinds.isdisjoint(_EXACTLY_TIMED):
        return [ms * 1_000_000 if type(ms := t.event_ms) is int else t.event_ns for t in ticks.all]
    return [
        ms * 1_000_000 if type(t) not in _EXACTLY_TIMED and type(ms := t.event_ms) is int else t.event_ns
        for t in ticks.all
    ]


def _conditions(ticks: _Ticks) -> list[Any]:
    """Return lists: of a quote it is mostly one condition, by itself."""
    lists: dict[Any, list[int]] = {}
    values = ticks.read("conditions")
    return [
        # A list for each value that there is, not for each quote: so many would set off the collector.
        (lists.get(value) or lists.setdefault(value, [value])) if type(value) is int else value
        for value in values
    ]


def _listed(ticks: _Ticks) -> list[Any]:
    if ticks.kinds <= _SOLITARY:
        return [type(value) is list or None for value in ticks.read("conditions")]
    its = zip(ticks.all, ticks.read("conditions"), strict=True)
    return [(type(value) is list and type(t) in _SOLITARY) or None for t, value in its]


def _decimal_volumes(ticks: _Ticks) -> list[Any]:
    return [value if type(value) is str else None for value in ticks.read("decimal_volume")]


_MADE: Final[Mapping[str, Callable[[_Ticks], list[Any]]]] = MappingProxyType(
    {
        "price": _prices,
        "size": _sizes,
        "event_ns": _event_times,
        "conditions": _conditions,
        "decimal_volume": _decimal_volumes,
        "reported_size": lambda ticks: ticks.of_trades(lambda its: [t.size for t in its]),
        "listed_conditions": _listed,
    }
)
"""Columns that are not just an attribute."""
_ELSEWHERE: Final = frozenset({"size", "tick_volume", "tick_close", "event_ms"})
"""Fields that are columns by another name: a bar's volume is its ``size``, its close its ``price``."""
FIELD_COLUMNS: Final = (
    *(
        name
        for name in dict.fromkeys(field for kind in TICK_KINDS for field in kind.__struct_fields__)
        if name not in _ELSEWHERE.union(_OF_BATCHES, DEFAULT_COLUMNS)
    ),
    *("dollar_volume", "reported_size", "listed_conditions"),
)
"""Fields that only some kinds of ticks have, in the order of their classes. They cost nothing where no tick
of those kinds is."""
COLUMNS: Final = _OF_BATCHES.union(DEFAULT_COLUMNS, FIELD_COLUMNS)
"""All there are: those above, when a batch was decoded, and every field of every kind of tick. They are named
as in a tick; ``size`` is its ``volume``, null where a bar has none. What a capture needs to give a tick back
as it was: ``reported_size`` is the ``size`` of a trade, 0 or null where its decimal says how much it was, and
``listed_conditions`` tells where the conditions of a quote were a list, even if of one."""

_TEXT: Final = dict.fromkeys(
    (
        *("connection", "ticker", "event_type", "source", "trade_id", "auction_type"),
        *("decimal_size", "decimal_volume", "decimal_accumulated_volume"),
    ),
    pa.string(),
)
_WHOLE: Final = dict.fromkeys(
    (
        *("event_ns", "received_ns", "decoded_ns", "sequence", "symbol_sequence", "transactions"),
        *("exchange", "bid_exchange", "ask_exchange", "tape", "trf_id"),
    ),
    pa.int64(),
)
_LISTS: Final = dict.fromkeys(("conditions", "indicators"), pa.list_(pa.int64()))
_LEVELS: Final = dict.fromkeys(("bids", "asks"), pa.list_(pa.list_(pa.float64())))
COLUMN_TYPES: Final[Mapping[str, pa.DataType]] = MappingProxyType(
    dict.fromkeys(COLUMNS, pa.float64())
    | _TEXT
    | _WHOLE
    | _LISTS
    | _LEVELS
    | dict.fromkeys(("otc", "listed_conditions"), pa.bool_())
)
"""Column to its Arrow type."""
_HOLDERS: Final[Mapping[str, frozenset[type[Tick]]]] = MappingProxyType(
    {name: holders(name) for name in sorted(COLUMNS - _OF_BATCHES)}
    | dict.fromkeys(("event_type", "price", "event_ns"), frozenset(TICK_KINDS))
    | {"size": TRADES | _BARS, "bid": _TWO_SIDED, "ask": _TWO_SIDED}
    | {"dollar_volume": holders("decimal_volume"), "reported_size": TRADES, "listed_conditions": _SOLITARY}
)
"""Of each column, which kinds of ticks may have a value for it."""


class ColumnMaker:
    """Makes columns out of ticks, only those asked for.

    Args:
        names: of `COLUMNS`, in the order in which the record batches are to have them; default those of
            `DEFAULT_COLUMNS`.

    Raises:
        ValueError: one is unknown or there twice.
    """

    def __init__(self, names: Sequence[str] = ()) -> None:
        names = names or DEFAULT_COLUMNS
        if not COLUMNS.issuperset(names) or len(set(names)) < len(names):
            raise ValueError(
                f"names must be of {', '.join(sorted(COLUMNS))}, each once; not {', '.join(names)}"
            )
        self._types = {name: COLUMN_TYPES[name] for name in names}
        self._sides = {"bid", "ask"} <= self._types.keys()
        self.unfit: Counter[str] = Counter()
        """Values that their column could not hold, by column."""

    def make(self, batches: Sequence[TickBatch]) -> tuple[pa.RecordBatch, Mapping[str, int]]:
        """Return the ticks as one record batch, in their order, and how many are not in it, by connection.

        Null stands where a column has no meaning for a kind of tick, and where it cannot hold the value, as a
        sequence number of more than 63 bits; the latter is counted in `unfit`. Left out is only a tick whose
        values cannot even be asked for. Runs on the sink's thread.
        """
        try:
            return self._make(batches), {}
        except Exception:  # noqa: BLE001  # whatever the feed wrote into a tick, its neighbours go on
            fitting = [batch.with_ticks(self._fitting(batch)) for batch in batches]
        rejected: Counter[str] = Counter()
        for batch, rest in zip(batches, fitting, strict=True):
            rejected[batch.connection] += len(batch.ticks) - len(rest.ticks)
        return self._make(fitting), rejected

    def _fitting(self, batch: TickBatch) -> list[Any]:
        """Return the ticks of which columns can be made; by halves, as mostly it is one that cannot."""
        try:
            ticks = _Ticks(batch.ticks, sides=self._sides)
            for name in sorted(self._types.keys() - _OF_BATCHES):
                _values(name, ticks)
        except Exception:  # noqa: BLE001  # as above
            middle = len(batch.ticks) // 2
            if not middle:
                return []
            halves = batch.ticks[:middle], batch.ticks[middle:]
            return [tick for half in halves for tick in self._fitting(batch.with_ticks(half))]
        return batch.ticks

    def _make(self, batches: Sequence[TickBatch]) -> pa.RecordBatch:
        all_ticks = (
            batches[0].ticks if len(batches) == 1 else [tick for batch in batches for tick in batch.ticks]
        )
        ticks = _Ticks(all_ticks, sides=self._sides)
        unfit: Counter[str] = Counter()
        nulls: dict[pa.DataType, pa.Array] = {}
        columns = []
        for name, kind in self._types.items():
            if name in _OF_BATCHES:
                columns.append(_repeated(batches, name, kind))
            elif values := _values(name, ticks):
                columns.append(_column(name, kind, values, unfit))
            else:  # one for all columns of a type: a market has no use for most of them
                if kind not in nulls:
                    nulls[kind] = pa.nulls(len(all_ticks), kind)
                columns.append(nulls[kind])
        self.unfit += unfit
        return pa.RecordBatch.from_arrays(columns, list(self._types))


def _values(name: str, ticks: _Ticks) -> list[Any]:
    """Return what a column has to hold; nothing where it is null for all."""
    if _HOLDERS[name].isdisjoint(ticks.kinds):
        return []
    make = _MADE.get(name)
    values = ticks.read(name) if make is None else make(ticks)
    return [] if values[0] is None and values.count(None) == len(values) else values


def _column(name: str, kind: pa.DataType, values: list[Any], unfit: Counter[str]) -> pa.Array:
    try:
        if type(values[0]) is str and values.count(values[0]) == len(values):  # as the source mostly is
            return pa.repeat(pa.scalar(values[0], kind), len(values))
        return pa.array(values, kind)
    except (pa.ArrowException, ValueError, TypeError, OverflowError):
        fitting = list(_fitting_values(values, kind))
        unfit[name] += fitting.count(None) - values.count(None)
        return pa.array(fitting, kind)


def _fitting_values(values: list[Any], kind: pa.DataType) -> Iterator[Any]:
    """Yield the values, None for one that the type cannot hold; by halves, as mostly it is one."""
    try:
        pa.array(values, kind)
    except (pa.ArrowException, ValueError, TypeError, OverflowError):
        middle = len(values) // 2
        if not middle:
            yield None
            return
        yield from _fitting_values(values[:middle], kind)
        yield from _fitting_values(values[middle:], kind)
    else:
        yield from values


def _repeated(batches: Sequence[TickBatch], name: str, kind: pa.DataType) -> pa.Array:
    parts = [pa.repeat(pa.scalar(getattr(each, name), kind), len(each.ticks)) for each in batches]
    return parts[0] if len(parts) == 1 else pa.concat_arrays(parts)
