"""Which bars come for the first time, and what is known of the delay that all of them have.

Massive sends a second bar two seconds after its second, on purpose, and sends each bar again, for up to 15
minutes, whenever a late trade changes it. So the time from a bar's end until its receipt has a floor that is
nobody's fault, and that of a revision says nothing of the way it came.
"""

from collections import OrderedDict
from typing import Any, Final

from .ticks import Aggregate

__all__ = ["BARS_KEPT", "FirstBars", "bar_types"]

BARS_KEPT: Final = 40_000
"""So many newest bars of each type are remembered; of more tickers, those go that were silent the longest. To
grow for 100,000 took up to 20 ms in one batch."""
AHEAD_MS: Final = 3_600_000
"""A bar that ends more than an hour after its receipt has no time that could be right."""


def bar_types() -> frozenset[str]:
    """Return the event types that are bars."""
    kinds = list(Aggregate.__subclasses__())
    for kind in kinds:  # grows meanwhile
        kinds += kind.__subclasses__()
    return frozenset(kind.event_type for kind in kinds if kind.event_type)


class FirstBars:
    """Tells first bars from revisions: by ticker and type, a first bar ends later than all before it.

    The first of a ticker tells nothing, since it may be a revision of a bar that was missed. What ended
    earlier than the newest counts as a revision, too, though it may have come late for the first time.
    The thread that reads calls; `newest` is for any.
    """

    def __init__(self) -> None:
        self._newest: dict[type[Any], OrderedDict[str, Any]] = {}

    def __call__(self, bars: list[Any]) -> list[Any]:
        """Return those that came for the first time, in their order; each must know when it was received."""
        return [bar for bar in bars if self._is_first(bar)]

    def newest(self) -> list[Any]:
        """Return the newest bar of each type and ticker, as it came for the first time; it takes some ms."""
        # In C, which the GIL does not interrupt.
        return [bar for its in self._newest.copy().values() for bar in list(its.values())]

    def _is_first(self, bar: Any) -> bool:
        newest = self._newest.get(type(bar))
        if newest is None:
            newest = self._newest[type(bar)] = OrderedDict()
        end_ms = bar.event_ms
        known = newest.get(bar.ticker)
        if end_ms > bar.received_ns / 1_000_000 + AHEAD_MS or (
            known is not None and end_ms <= known.event_ms
        ):
            return False
        newest[bar.ticker] = bar
        newest.move_to_end(bar.ticker)
        if len(newest) > BARS_KEPT:
            newest.popitem(last=False)
        return known is not None
