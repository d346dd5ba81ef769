"""Ticks for a Redis sink, and what its listeners should have of them."""

import json

from pipeline.status import SinkDown, SinkUp
from pipeline.ticks import TickBatch, Trade

RAW, MARKET = "tickstock.data.raw", "tickstock:market:ticks"


def batches_of(count, size=50, connection="1"):
    """Return ``count`` trades whose price is their number, ``size`` in a batch."""
    trades = [Trade(ticker="AAPL", price=n, event_ms=1000 + n) for n in range(count)]
    return [
        TickBatch(connection=connection, received_ns=1, ticks=trades[start : start + size])
        for start in range(0, count, size)
    ]


def prices(messages):
    """Return the prices of the messages by channel, in order."""
    by_channel = {RAW: [], MARKET: []}
    for channel, message in messages:
        by_channel[channel].append(json.loads(message)["price"])
    return by_channel


def all_of(count):
    """Return what `prices` returns when all came once and in order."""
    return {RAW: list(range(count)), MARKET: list(range(count))}


def went_down_and_up(sink, reason, resent=0):
    """Check that it was announced once that the sink went, why, and that it came back."""
    down, up = sink.events
    assert isinstance(down, SinkDown)
    assert isinstance(up, SinkUp)
    assert reason in down.reason
    assert (down.at_ns, down.sink, up.at_ns, up.sink) == (42, "redis", 42, "redis")
    assert up.down_s >= 0
    assert up.resent == resent
    assert sink.snapshot()["state"] == "up"
    return True
