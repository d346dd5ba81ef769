"""Gaps across processes: the child that lost something measures it; what died with a child is told here."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from pipeline import status

from .messages import CloseGaps, ForgetGaps, OpenGaps, Order

__all__ = ["ProcessGaps"]


@dataclass(slots=True)
class _Span:
    """What is missing of a ticker since ``from_ns``; until ``to_ns`` once that is known.

    It is ``ours`` to tell where no process is left that could.
    """

    from_ns: int
    ours: bool
    to_ns: int | None = None


class ProcessGaps:
    """Is what the pool tells of gaps, and sees to it that each is told by somebody.

    A ticker lost with a session, or on its way from one process to another, is measured by the `Gaps` of the
    process that carried it, and ends with its confirmation where another process goes on. Where the process
    itself is lost, only its last report tells until when all was well. Everything runs on the loop's thread.

    Args:
        emit: takes the `Loss` events; must not block.
        clock: wall clock, ns.
    """

    def __init__(self, emit: Callable[[status.StatusEvent], None], clock: Callable[[], int]) -> None:
        self._emit = emit
        self._clock = clock
        self._senders: dict[str, Callable[[Order], None]] = {}
        """Of the living processes, by connection."""
        self._spans: dict[str, dict[str, _Span]] = {}
        """Connection to ticker to what is not told yet, as far as is known here."""

    def born(self, connection: str, send: Callable[[Order], None]) -> None:
        """Note that a process of the connection lives."""
        self._senders[connection] = send

    def died(self, connection: str, settled_ns: int) -> None:
        """Note that it does not, and that nobody knows more than that all was well until ``settled_ns``."""
        self._senders.pop(connection, None)
        spans = self._spans.get(connection, {})
        for span in spans.values():
            span.from_ns = min(span.from_ns, settled_ns)
            span.ours = True
        self._tell(connection)

    def told(self, loss: status.Loss) -> None:
        """Note that a child told of gaps."""
        spans = self._spans.get(loss.connection or "", {})
        for gap in loss.gaps:
            spans.pop(gap.ticker, None)

    def open(self, connection: str, tickers: Iterable[str], cut_ns: int) -> None:
        """Note that nothing of these comes over the connection after ``cut_ns``."""
        lost = tuple(tickers)
        alive = connection in self._senders
        spans = self._spans.setdefault(connection, {})
        spans |= {ticker: _Span(cut_ns, ours=not alive) for ticker in lost}
        if alive:
            self._senders[connection](OpenGaps(lost, cut_ns))

    def close(self, connection: str, tickers: Iterable[str], confirmed_ns: int) -> None:
        """Note that these are confirmed again, wherever."""
        back = tuple(tickers)
        spans = self._spans.get(connection, {})
        for ticker in back:
            if ticker in spans:
                spans[ticker].to_ns = max(spans[ticker].from_ns, confirmed_ns)
        for send in self._senders.values():  # several may have lost it, one after the other
            send(CloseGaps(back, confirmed_ns))
        self._tell(connection)

    def forget(self, tickers: Iterable[str]) -> None:
        """Note that nobody wants these any more."""
        gone = tuple(tickers)
        for spans in self._spans.values():
            for ticker in gone:
                spans.pop(ticker, None)
        for send in self._senders.values():
            send(ForgetGaps(gone))

    def flush(self) -> None:
        """Tell what is open with no process to tell it, as ending now; after the last process ended."""
        now_ns = self._clock()
        for connection, spans in self._spans.items():
            for span in spans.values():
                span.ours, span.to_ns = True, span.to_ns or now_ns
            self._tell(connection)

    def _tell(self, connection: str) -> None:
        spans: Mapping[str, _Span] = self._spans.get(connection, {})
        gaps = tuple(
            status.Gap(ticker, span.from_ns, span.to_ns)
            for ticker, span in spans.items()
            if span.ours and span.to_ns is not None
        )
        if not gaps:
            return
        for gap in gaps:
            del self._spans[connection][gap.ticker]
        self._emit(status.Loss.of_gaps(connection, self._clock(), gaps))
