"""What a child does for the parent's subscribers of columns: a sink and a buffer each."""

import socket
from collections.abc import Callable
from functools import partial

from reactivex import abc

from pipeline.sinks.batches import column_maker
from pipeline.stream import TickStream

from .handover import policy
from .messages import ColumnsOver, HandColumns, StopColumns

__all__ = ["ColumnOrders"]


class ColumnOrders:
    """Attaches sinks that hand columns over, and takes them off again; on the child's main thread.

    Args:
        stream: of the child, which runs.
        tell: has the parent told, from any thread.
    """

    def __init__(self, stream: TickStream, tell: Callable[[ColumnsOver], None]) -> None:
        self._stream = stream
        self._tell = tell
        self._sinks: dict[str, abc.DisposableBase] = {}

    def carry_out(self, order: HandColumns | StopColumns) -> None:
        """Do what the parent wants."""
        if isinstance(order, StopColumns):
            if order.name in self._sinks:
                self._sinks.pop(order.name).dispose()
            return
        over, sock = partial(self._over, order.name), socket.socket(fileno=order.descriptor)
        try:
            maker = column_maker(order.columns)
        except ImportError as error:
            sock.close()
            over(error)
            return
        from .column_sink import HandOverSink  # noqa: PLC0415  # pyarrow: only who wants columns pays for it

        sink = HandOverSink(order.name, sock, maker)
        overflow = policy(self._stream.settings.subscriber_overflow)
        self._sinks[order.name] = self._stream.attach(sink, overflow=overflow, on_error=over)

    def _over(self, name: str, error: Exception) -> None:
        self._tell(ColumnsOver(name, str(error), isinstance(error, ImportError)))
