"""The command ``tickbraid``: demo, run, simulate, check."""

from .app import main

__all__ = ["main"]
