"""What is told as status events and counted nowhere else."""

from collections import Counter

from pipeline import status
from pipeline.status_stream import StatusStream

__all__ = ["Tally"]


class Tally:
    """Counts status events from now on; written on ``tickbraid-status``, read from any thread.

    Args:
        events: of a stream.
    """

    def __init__(self, events: StatusStream) -> None:
        self._events: Counter[tuple[str, str]] = Counter()
        self._moved: Counter[str] = Counter()
        self._failovers: Counter[str] = Counter()
        self._gaps: Counter[str] = Counter()
        self._out: set[str] = set()
        self._subscription = events.subscribe(self._take)

    def events(self) -> dict[tuple[str, str], int]:
        """Return how many events there were, by kind and connection ("" where it is the whole stream's)."""
        return dict(self._events)

    def moved(self) -> dict[str, int]:
        """Return how many tickers moved, by reason."""
        return dict(self._moved)

    def failovers(self) -> dict[str, int]:
        """Return how often a connection's tickers went to others because it was down."""
        return dict(self._failovers)

    def gaps(self) -> dict[str, int]:
        """Return how many gaps in channels there may be, by connection."""
        return dict(self._gaps)

    def close(self) -> None:
        """Count no more; idempotent."""
        self._subscription.dispose()

    def _take(self, event: status.StatusEvent) -> None:
        connection = event.connection or ""
        self._events[type(event).__name__, connection] += 1
        match event:
            case status.Authenticated():
                self._out.discard(connection)
            case status.Moved(source=source, tickers=tickers, reason=reason):
                self._moved[reason] += len(tickers)
                # Each connection that takes over tells so; the failover is one.
                if reason == "failover" and source not in self._out:
                    self._out.add(source)
                    self._failovers[source] += 1
            case status.Loss(gaps=gaps):
                self._gaps[connection] += len(gaps)
