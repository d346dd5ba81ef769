"""Rx operators on batches of ticks, for anybody's Observables; they know reactivex and each other, no feed.

::

    merge(a, b)              several sources, one serial stream
    dedupe(remember)         takes out what came before
    latency_stamp(clock, …)  when each tick was received, and how late
    share()                  one subscription for any number of subscribers
    buffered(capacity, …)    a bounded hand-off to another thread, with an exact account

`merge` and `share` take items of any kind, the others batches: a `TickBatch`, or anything that is as `Batch`
says. docs/operators.md shows each composed by hand.
"""

import logging

from ._buffer.accounting import BufferAccounting, Dropped
from ._buffer.buffer import Overflow
from .account import Account
from .batch import Batch, TickBatch
from .buffered import buffered
from .dedupe import dedupe
from .errors import BufferOverflow, NotABatch
from .histogram import HistogramSnapshot, LatencyHistogram
from .latency_stamp import Latencies, LatenciesSnapshot, latency_stamp
from .merge import merge
from .runtime import SYSTEM, Runtime
from .scheduler import BufferingScheduler
from .share import share

__all__ = [
    "SYSTEM",
    "Account",
    "Batch",
    "BufferAccounting",
    "BufferOverflow",
    "BufferingScheduler",
    "Dropped",
    "HistogramSnapshot",
    "Latencies",
    "LatenciesSnapshot",
    "LatencyHistogram",
    "NotABatch",
    "Overflow",
    "Runtime",
    "TickBatch",
    "buffered",
    "dedupe",
    "latency_stamp",
    "merge",
    "share",
]

# All loggers are below this one, pipeline's too; what becomes of their lines is for the program to say.
logging.getLogger("tickbraid").addHandler(logging.NullHandler())
