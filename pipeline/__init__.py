"""Braids Massive WebSocket connections into one accounted-for tick stream."""

from operators.account import Account

from .build import build_pipeline
from .errors import SettingsError, TickbraidError, TickRejected
from .redaction import RedactingFilter
from .settings import Settings, load_settings
from .stream import TickStream
from .tick_data import TickData
from .ticks import Quote, Tick, TickBatch, Trade

__version__ = "0.1.0"

__all__ = [
    "Account",
    "Quote",
    "RedactingFilter",
    "Settings",
    "SettingsError",
    "Tick",
    "TickBatch",
    "TickData",
    "TickRejected",
    "TickStream",
    "TickbraidError",
    "Trade",
    "__version__",
    "build_pipeline",
    "load_settings",
]
