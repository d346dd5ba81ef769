"""Ticks as columns: Arrow record batches, for those who compute on many at once; needs the extra ``columns``.

An Arrow record batch is taken over elsewhere at no cost: ``polars.from_arrow(batch)``, ``batch.to_pandas()``,
DuckDB, a file, another process.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import pyarrow as pa

from .ticks import LimitUpLimitDown, MinuteAggregate, Quote, SecondAggregate, TickBatch, Trade

__all__ = ["COLUMNS", "DEFAULT_COLUMNS", "ColumnMaker"]

DEFAULT_COLUMNS: Final = (
    *("connection", "ticker", "event_type", "price", "size", "bid", "bid_size", "ask", "ask_size"),
    *("event_ns", "received_ns", "sequence"),
)
_OF_BATCHES: Final = frozenset({"connection", "received_ns", "decoded_ns"})
_TRADED: Final = frozenset({Trade, SecondAggregate, MinuteAggregate})
_NUMBERED: Final = frozenset({Trade, Quote, LimitUpLimitDown})
# A comprehension a column: CPython specialises each for its attribute, so it takes 20-40 ns a tick. Making
# columns a kind of tick at a time and bringing them into order again was measured slower.
_OF_TICKS: Final[Mapping[str, Callable[[Sequence[Any]], list[Any]]]] = MappingProxyType(
    {
        "ticker": lambda ticks: [t.ticker for t in ticks],
        "event_type": lambda ticks: [t.event_type for t in ticks],
        "price": lambda ticks: [t.price for t in ticks],
        "size": lambda ticks: [t.volume if type(t) in _TRADED else None for t in ticks],
        "bid": lambda ticks: [t.bid for t in ticks],
        "bid_size": lambda ticks: [t.bid_size if type(t) is Quote else None for t in ticks],
        "ask": lambda ticks: [t.ask for t in ticks],
        "ask_size": lambda ticks: [t.ask_size if type(t) is Quote else None for t in ticks],
        "event_ns": lambda ticks: [
            ms * 1_000_000 if type(ms := t.event_ms) is int else round(ms * 1e6) for t in ticks
        ],
        "sequence": lambda ticks: [t.sequence if type(t) in _NUMBERED else None for t in ticks],
        "tick_open": lambda ticks: [t.tick_open for t in ticks],
        "tick_high": lambda ticks: [t.tick_high for t in ticks],
        "tick_low": lambda ticks: [t.tick_low for t in ticks],
        "tick_vwap": lambda ticks: [t.tick_vwap for t in ticks],
        "tick_trade_size": lambda ticks: [t.tick_trade_size for t in ticks],
        "vwap": lambda ticks: [t.vwap for t in ticks],
        "accumulated_volume": lambda ticks: [t.accumulated_volume for t in ticks],
    }
)
COLUMNS: Final = frozenset(_OF_BATCHES | _OF_TICKS.keys())
"""All there are: those above, when a batch was decoded, and more of bars. They are named as in a tick;
``size`` is its ``volume``."""

_TEXT: Final = dict.fromkeys(("connection", "ticker", "event_type"), pa.string())
_WHOLE: Final = dict.fromkeys(("event_ns", "received_ns", "decoded_ns", "sequence"), pa.int64())
_TYPES: Final = dict.fromkeys(COLUMNS, pa.float64()) | _TEXT | _WHOLE


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
        self._types = {name: _TYPES[name] for name in names}

    def make(self, batches: Sequence[TickBatch]) -> tuple[pa.RecordBatch, Mapping[str, int]]:
        """Return the ticks as one record batch, in their order, and how many are not in it, by connection.

        Null stands where a column has no meaning for a kind of tick. Left out is a tick with a value that its
        column cannot hold, as a sequence number of more than 63 bits. Runs on the sink's thread.
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
            self._make([batch])
        except Exception:  # noqa: BLE001  # as above
            middle = len(batch.ticks) // 2
            if not middle:
                return []
            halves = batch.ticks[:middle], batch.ticks[middle:]
            return [tick for half in halves for tick in self._fitting(batch.with_ticks(half))]
        return batch.ticks

    def _make(self, batches: Sequence[TickBatch]) -> pa.RecordBatch:
        ticks = batches[0].ticks if len(batches) == 1 else [tick for batch in batches for tick in batch.ticks]
        columns = [
            _repeated(batches, name, kind) if name in _OF_BATCHES else pa.array(_OF_TICKS[name](ticks), kind)
            for name, kind in self._types.items()
        ]
        return pa.RecordBatch.from_arrays(columns, list(self._types))


def _repeated(batches: Sequence[TickBatch], name: str, kind: pa.DataType) -> pa.Array:
    parts = [pa.repeat(pa.scalar(getattr(each, name), kind), len(each.ticks)) for each in batches]
    return parts[0] if len(parts) == 1 else pa.concat_arrays(parts)
