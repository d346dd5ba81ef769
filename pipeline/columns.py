"""Ticks as columns: Arrow record batches, for those who compute on many at once; needs the extra ``columns``.

An Arrow record batch is taken over elsewhere at no cost: ``polars.from_arrow(batch)``, ``batch.to_pandas()``,
DuckDB, a file, another process.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import attrgetter
from types import MappingProxyType
from typing import Any, Final

import pyarrow as pa

from .ticks import TICK_KINDS, TRADES, Tick, TickBatch, TwoSided

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
_TWO_SIDED: Final = frozenset(kind for kind in TICK_KINDS if issubclass(kind, TwoSided))


class _Ticks:
    """Ticks of several kinds, of which each column asks only those that have a value for it.

    Args:
        ticks: in the order of the rows.
    """

    def __init__(self, ticks: Sequence[Any]) -> None:
        self.all = ticks
        self.kinds = frozenset(map(type, ticks))
        self._of: dict[frozenset[type[Tick]], tuple[list[int], list[Any]]] = {}

    def values(self, name: str, kinds: frozenset[type[Tick]]) -> list[Any]:
        """Return an attribute of the ticks of some kinds, None for the others."""
        get = attrgetter(name)
        if self.kinds <= kinds:
            return list(map(get, self.all))
        values: list[Any] = [None] * len(self.all)
        rows, its = self._rows_of(kinds & self.kinds)
        for row, value in zip(rows, map(get, its), strict=True):
            values[row] = value
        return values

    def _rows_of(self, kinds: frozenset[type[Tick]]) -> tuple[list[int], list[Any]]:
        if kinds not in self._of:
            rows = [row for row, tick in enumerate(self.all) if type(tick) in kinds]
            self._of[kinds] = rows, [self.all[row] for row in rows]
        return self._of[kinds]


def _sizes(ticks: _Ticks) -> list[Any]:
    if ticks.kinds.isdisjoint(_BARS):
        return ticks.values("volume", TRADES)
    return [t.volume if type(t) in TRADES else t.tick_volume if type(t) in _BARS else None for t in ticks.all]


def _event_times(ticks: _Ticks) -> list[int]:
    if ticks.kinds.isdisjoint(_EXACTLY_TIMED):
        return [ms * 1_000_000 if type(ms := t.event_ms) is int else t.event_ns for t in ticks.all]
    return [
        ms * 1_000_000 if type(t) not in _EXACTLY_TIMED and type(ms := t.event_ms) is int else t.event_ns
        for t in ticks.all
    ]


# A comprehension a column: CPython specialises each for its attribute, so it takes 20-40 ns a tick. Making
# columns a kind of tick at a time and bringing them into order again was measured slower.
_OF_TICKS: Final[Mapping[str, Callable[[_Ticks], list[Any]]]] = MappingProxyType(
    {
        "ticker": lambda ticks: [t.ticker for t in ticks.all],
        "event_type": lambda ticks: [t.event_type for t in ticks.all],
        "price": lambda ticks: [t.price for t in ticks.all],
        "size": _sizes,
        "event_ns": _event_times,
    }
)
_ELSEWHERE: Final = frozenset({"size", "tick_volume", "tick_close", "event_ms", "source"})
"""Fields that are columns by another name: a bar's volume is its ``size``, its close its ``price``."""
FIELD_COLUMNS: Final = (
    *(
        name
        for name in dict.fromkeys(field for kind in TICK_KINDS for field in kind.__struct_fields__)
        if name not in _ELSEWHERE.union(_OF_BATCHES, DEFAULT_COLUMNS)
    ),
    "dollar_volume",
)
"""Fields that only some kinds of ticks have, in the order of their classes. They cost nothing where no tick
of those kinds is."""
COLUMNS: Final = _OF_BATCHES.union(DEFAULT_COLUMNS, FIELD_COLUMNS)
"""All there are: those above, when a batch was decoded, and every field of every kind of tick. They are named
as in a tick; ``size`` is its ``volume``, null where a bar has none."""

_TEXT: Final = dict.fromkeys(
    (
        *("connection", "ticker", "event_type", "trade_id", "auction_type"),
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
    dict.fromkeys(COLUMNS, pa.float64()) | _TEXT | _WHOLE | _LISTS | _LEVELS | {"otc": pa.bool_()}
)
"""Column to its Arrow type."""
_HOLDERS: Final[Mapping[str, frozenset[type[Tick]]]] = MappingProxyType(
    {name: holders(name) for name in COLUMNS - _OF_BATCHES - _OF_TICKS.keys()}
    | {"bid": _TWO_SIDED, "ask": _TWO_SIDED, "dollar_volume": holders("decimal_volume")}
)
"""Of a column that only some kinds of ticks have, which."""


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
            for name in self._types.keys() - _OF_BATCHES:
                _values(name, _Ticks(batch.ticks))
        except Exception:  # noqa: BLE001  # as above
            middle = len(batch.ticks) // 2
            if not middle:
                return []
            halves = batch.ticks[:middle], batch.ticks[middle:]
            return [tick for half in halves for tick in self._fitting(batch.with_ticks(half))]
        return batch.ticks

    def _make(self, batches: Sequence[TickBatch]) -> pa.RecordBatch:
        ticks = _Ticks(
            batches[0].ticks if len(batches) == 1 else [tick for batch in batches for tick in batch.ticks]
        )
        unfit: Counter[str] = Counter()
        columns = [
            _repeated(batches, name, kind)
            if name in _OF_BATCHES
            else pa.nulls(len(ticks.all), kind)
            if name in _HOLDERS and _HOLDERS[name].isdisjoint(ticks.kinds)
            else _column(name, kind, ticks, unfit)
            for name, kind in self._types.items()
        ]
        self.unfit += unfit
        return pa.RecordBatch.from_arrays(columns, list(self._types))


def _column(name: str, kind: pa.DataType, ticks: _Ticks, unfit: Counter[str]) -> pa.Array:
    values = _values(name, ticks)
    try:
        return pa.array(values, kind)
    except (pa.ArrowException, ValueError, TypeError, OverflowError):
        fitting = list(_fitting_values(values, kind))
        unfit[name] += fitting.count(None) - values.count(None)
        return pa.array(fitting, kind)


def _values(name: str, ticks: _Ticks) -> list[Any]:
    """Return what a column has to hold."""
    if make := _OF_TICKS.get(name):
        return make(ticks)
    values = ticks.values(name, _HOLDERS[name])
    if name == "conditions":  # of a quote mostly one, by itself
        return [[value] if type(value) is int else value for value in values]
    if name == "decimal_volume":
        return [value if type(value) is str else None for value in values]
    return values


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
