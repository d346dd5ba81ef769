"""`TickData`: the general, validated tick that TickStock works with."""

import math
import time
from dataclasses import dataclass, fields
from typing import Any, Final, TypeAlias

__all__ = ["TICK_DATA_FIELDS", "Number", "TickData"]

Number: TypeAlias = int | float


@dataclass(slots=True)
class TickData:
    """Is the general tick that TickStock works with.

    Args:
        ticker: not empty.
        price: USD, above 0.
        volume: shares, 0 or more.
        timestamp: float seconds since the epoch, above 0.

    Raises:
        ValueError: one of the four is not as said; the message names it and what came.
    """

    ticker: str
    price: Number
    volume: Number
    timestamp: Number
    source: str | None = None
    event_type: str | None = None
    bid: Number | None = None
    ask: Number | None = None
    market_status: str | None = None
    tick_open: Number | None = None
    tick_high: Number | None = None
    tick_low: Number | None = None
    tick_close: Number | None = None
    day_high: Number | None = None
    day_low: Number | None = None
    open_price: Number | None = None
    market_open_price: Number | None = None
    previous_close: Number | None = None
    tick_volume: Number | None = None
    tick_trade_size: Number | None = None
    accumulated_volume: Number | None = None
    tick_vwap: Number | None = None
    vwap: Number | None = None
    tick_start_timestamp: float | None = None
    tick_end_timestamp: float | None = None
    processed_at: float | None = None
    effective_volume: Number | None = None
    effective_vwap: Number | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.ticker, str) or not self.ticker.strip():
            raise ValueError(f"ticker must be a non-empty string, not {self.ticker!r}")
        _check_number("price", self.price, above_zero=True)
        _check_number("volume", self.volume, above_zero=False)
        _check_number("timestamp", self.timestamp, above_zero=True)
        if self.processed_at is None:
            self.processed_at = time.time()

    def to_dict(self) -> dict[str, Any]:
        """Return all fields by name."""
        return {name: getattr(self, name) for name in TICK_DATA_FIELDS}


TICK_DATA_FIELDS: Final = tuple(f.name for f in fields(TickData))
"""In the order in which `TickData` takes them."""


def _check_number(name: str, value: object, *, above_zero: bool) -> None:
    good = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not good or value < 0 or (above_zero and value == 0):  # type: ignore[operator]  # a number by then
        bound = "above 0" if above_zero else "of 0 or more"
        raise ValueError(f"{name} must be a finite number {bound}, not {value!r}")
