"""The child's end of columns: a sink like any other, which hands record batches to the parent."""

import socket
from collections import Counter
from collections.abc import Sequence
from typing import Any

from pipeline.sinks.batches import Maker
from pipeline.sinks.sink import DELIVERED, Outcome
from pipeline.ticks import TickBatch

from .column_wire import framed, send

__all__ = ["HandOverSink"]


class HandOverSink:
    """Makes columns and sends them; what the parent does not read in time waits in the buffer in front of it.

    Args:
        name: of the subscriber in the parent.
        sock: whose other end the parent reads.
        maker: of the columns.
    """

    def __init__(self, name: str, sock: socket.socket, maker: Maker) -> None:
        self.name = name
        self._sock = sock
        self._maker = maker
        self._begun = False
        self._sent = 0

    def write(self, batches: Sequence[TickBatch]) -> Outcome:
        """Hand over what came together as one record batch; blocks while the parent does not read."""
        columns, rejected = self._maker.make(batches)
        if not columns.num_rows:
            return Outcome(rejected)
        parts = framed(columns, min(batch.received_ns for batch in batches))
        if not self._begun:
            self._begun, parts = True, framed(columns.schema) + parts
        try:
            send(self._sock, parts)
        except OSError:  # the parent takes no more, or it is to `stop`: a torn frame is no frame
            dropped: Counter[str] = Counter()
            for batch in batches:
                dropped[batch.connection] += len(batch.ticks)
            dropped.subtract(rejected)
            return Outcome(rejected, +dropped)
        self._sent += 1
        return Outcome(rejected) if rejected else DELIVERED

    def stop(self) -> None:
        """Make a blocked `write` give up, and later ones at once; from any thread."""
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:  # it is closed
            return

    def close(self) -> None:
        """Close the socket; the parent still reads what is in it."""
        self._sock.close()

    def snapshot(self) -> dict[str, Any]:
        """Return how many record batches were handed over."""
        return {"handed_over": self._sent}
