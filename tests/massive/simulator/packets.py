"""Feeds of trades that tests count."""

import math
import socket

from pipeline.massive.simulator import Packet, ReplayFeed

SMALL_BUFFER = (socket.SOL_SOCKET, socket.SO_RCVBUF, 50_000)


def trades(count, *, ticker="AAPL", size=0, gap_us=0):
    """Return packets of one trade each; ``size`` is bytes of padding."""
    pad = "x" * size
    return [
        Packet([(f"T.{ticker}", f'{{"ev":"T","sym":"{ticker}","q":{n},"pad":"{pad}"}}'.encode())], n * gap_us)
        for n in range(count)
    ]


def full_speed(count, **arguments):
    """Return a feed of trades as fast as they are taken."""
    return ReplayFeed(trades(count, **arguments), speed=math.inf)
