"""Braids Massive WebSocket connections into one accounted-for tick stream."""

__version__ = "0.1.0"
