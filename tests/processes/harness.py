"""What the tests of processes share."""

from dataclasses import replace

from pipeline.processes.messages import Begin
from pipeline.settings import load_settings


def begin(*, callback, url="ws://127.0.0.1:9/stocks", key="k", symbols=1, log_level=30, **more):
    """Return the first order for a child with one connection, by default to where nobody listens."""
    config = {
        "USE_MASSIVE_API": True,
        "MASSIVE_API_KEY": key,
        "MASSIVE_WEBSOCKET_URL": url,
        "MASSIVE_EVENT_TYPES": "T",
        "MASSIVE_WEBSOCKET_RECONNECT_DELAY": 0.1,
        "MASSIVE_WEBSOCKET_RECONNECT_MAX_DELAY": 0.2,
        "WEBSOCKET_CONNECTION_1_SYMBOLS": [f"S{number}" for number in range(symbols)],
        "SUBSCRIBER_OVERFLOW": "block",
        "TICK_CALLBACK": callback,
    }
    return Begin(replace(load_settings(config | more, environ={}), universes={}, provenance={}), log_level)
