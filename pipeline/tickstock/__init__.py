"""TickStock's classes, each a thin face on the pipeline; docs/migration.md tells how to change over."""

from .adapter import RealTimeDataAdapter
from .cache_control import CacheControl
from .client import MassiveWebSocketClient
from .connection_info import ConnectionInfo
from .manager import MultiConnectionManager
from .service import MarketDataService
from .synthetic_adapter import SyntheticDataAdapter

__all__ = [
    "CacheControl",
    "ConnectionInfo",
    "MarketDataService",
    "MassiveWebSocketClient",
    "MultiConnectionManager",
    "RealTimeDataAdapter",
    "SyntheticDataAdapter",
]
