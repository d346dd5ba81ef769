"""The command ``tickbraid``: demo, run, simulate, check, top, captures, replay."""

from .app import main

__all__ = ["main"]
