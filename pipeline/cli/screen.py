"""How readings, events and accounts look: lines and plain values. Pure: values to text."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields
from typing import Any, Final

from rich.text import Text

from operators.account import Account
from pipeline.health.history import Point
from pipeline.health.meter import Reading, SubscriberLine
from pipeline.shown import shown
from pipeline.status import StatusEvent

__all__ = [
    "NOTHING",
    "account_lines",
    "account_values",
    "event_line",
    "event_or_bar",
    "figure",
    "latency_words",
    "reading_values",
    "state_words",
    "summary",
]

Accounts = Mapping[str, Mapping[str, Account]]
"""By subscriber and connection."""

NOTHING: Final = "-"
"""Stands where there is no figure."""
_COLOURS: Final = {
    "live": "green",
    "up": "green",
    "stalled": "yellow",
    "backing off": "yellow",
    "failed": "red",
    "down": "red",
}
_ACCOUNT: Final = tuple(field.name for field in fields(Account))


def summary(reading: Reading | Point) -> str:
    """Return a reading as one line."""
    live = sum(line.phase == "live" for line in reading.connections)
    feed = f"{reading.ticks_per_s:,.0f} ticks/s on {live} of {len(reading.connections)} connections"
    return "; ".join([feed, *latency_words(reading), *map(_in_short, reading.subscribers)])


def latency_words(reading: Reading | Point) -> Iterator[str]:
    """Yield how late events are, and how late bars are, where there are any."""
    if reading.bars_p50_ms is None or reading.feed_p50_ms is not None:
        yield f"feed p50 {figure(reading.feed_p50_ms)} p99 {figure(reading.feed_p99_ms)} ms"
    if reading.bars_p50_ms is not None:
        bars = f"bars p50 {figure(reading.bars_p50_ms)} p99 {figure(reading.bars_p99_ms)} ms"
        yield f"{bars} after their end (Massive waits 2,000)"


def event_or_bar(event_ms: float | None, bar_ms: float | None) -> str:
    """Return a latency of events; where there is none that of bars, marked."""
    return figure(event_ms) if event_ms is not None or bar_ms is None else f"{figure(bar_ms)} b"


def reading_values(reading: Reading) -> dict[str, Any]:
    """Return a reading as plain values, for JSON."""
    return asdict(reading) | {"ticks_per_s": reading.ticks_per_s}


def event_line(event: StatusEvent) -> str:
    """Return an event in words, with the time of day."""
    return f"{time.strftime('%H:%M:%S', time.localtime(event.at_ns / 1e9))} {event.describe()}"


def account_lines(accounts: Accounts, names: Mapping[str, str]) -> Iterator[str]:
    """Yield the closing account of each subscriber, and of each connection below it, as a table.

    Args:
        accounts: as ``TickStream.accounts()`` gives them.
        names: connection id to its name.
    """
    rows = [("", *_ACCOUNT)]
    for subscriber, by_connection in accounts.items():
        rows.append((shown(subscriber), *_figures(sum(by_connection.values(), Account()))))
        rows += [
            (f"  {shown(names.get(connection, connection))}", *_figures(account))
            for connection, account in sorted(by_connection.items())
        ]
    first, *widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for name, *figures in rows:
        cells = [f"{figure:>{width}}" for figure, width in zip(figures, widths, strict=True)]
        yield f"{name:{first}}  {cells[0]} = {' + '.join(cells[1:])}"


def account_values(accounts: Accounts) -> dict[str, Any]:
    """Return the closing account as plain values, for JSON."""
    return {
        subscriber: sum(by_connection.values(), Account()).to_dict()
        | {"connections": {connection: account.to_dict() for connection, account in by_connection.items()}}
        for subscriber, by_connection in accounts.items()
    }


def state_words(word: str) -> Text:
    """Return a state with its colour."""
    words = shown(word).replace("_", " ")
    return Text(words, style=_COLOURS.get(words, ""))


def figure(ms: float | None) -> str:
    """Return a latency."""
    return NOTHING if ms is None else f"{ms:,.2f}" if ms < 1000 else f"{ms:,.0f}"


def _in_short(line: SubscriberLine) -> str:
    state = f" {shown(line.state)}" if line.state else ""
    failed = f", {line.failed:,} failed" if line.failed else ""
    messages = "" if line.messages_per_s is None else f" ({line.messages_per_s:,.0f} messages/s)"
    return (
        f"{shown(line.name)}{state} {line.delivered_per_s:,.0f} ticks/s{messages}"
        f" p99 {figure(line.p99_ms)} ms, {line.queued:,} queued, {line.dropped:,} dropped{failed}"
    )


def _figures(account: Account) -> Iterator[str]:
    return (f"{getattr(account, name):,}" for name in _ACCOUNT)
