"""What a running stream can be told: which tickers it carries, and on which connections."""

from abc import abstractmethod
from collections.abc import Iterable
from queue import Empty, SimpleQueue
from typing import Final

from .errors import Closed
from .setting_kinds import symbols_of
from .sources import Carriage
from .status import Moved

__all__ = ["Steered"]

CONNECT_TIMEOUT_S: Final = 15.0
REBALANCE_TIMEOUT_S: Final = 5.0


class Steered:
    """Passes on what is asked of a stream to who decides what its connections carry, once that runs."""

    @abstractmethod
    def _carriage(self) -> Carriage:
        """Return who decides.

        Raises:
            Closed: nothing runs.
        """

    def add_tickers(self, tickers: Iterable[str] | str) -> None:
        """Carry these too, each on the connection that the strategy chooses. From any thread.

        Raises:
            Closed: nobody is subscribed, so nothing runs.
            ValueError: one of them cannot be a symbol.
        """
        self._carriage().add_tickers(symbols_of(tickers))

    def remove_tickers(self, tickers: Iterable[str] | str) -> None:
        """Carry these no more. From any thread.

        Raises:
            Closed: nobody is subscribed, so nothing runs.
            ValueError: one of them cannot be a symbol.
        """
        self._carriage().remove_tickers(symbols_of(tickers))

    def move_ticker(self, ticker: str, connection: str) -> None:
        """Carry this on that connection whenever it is up, from any thread; a new ticker is added.

        Raises:
            Closed: nobody is subscribed, so nothing runs.
            ValueError: it cannot be a symbol, or there is no such connection.
        """
        (symbol,) = symbols_of(ticker)
        self._carriage().move_ticker(symbol, connection)

    def rebalance(self) -> tuple[Moved, ...]:
        """Spread the tickers by what is measured now; return what moved, as the status stream tells it too.

        From any thread. What moves is on both connections for two seconds more, and missed by none.

        Raises:
            Closed: nobody is subscribed, so nothing runs, or the stream was closed meanwhile.
        """
        moved: SimpleQueue[tuple[Moved, ...]] = SimpleQueue()
        self._carriage().rebalance(moved.put)
        try:
            return moved.get(timeout=REBALANCE_TIMEOUT_S)
        except Empty:
            raise Closed("the stream was closed while it was to rebalance") from None

    def reconnect(self, connection: str) -> None:
        """End a connection's session and begin another; one that was evicted tries now. From any thread.

        Raises:
            Closed: nobody is subscribed, so nothing runs.
            ValueError: there is no such connection.
        """
        self._carriage().reconnect(connection)

    def wait_connected(self, timeout_s: float = CONNECT_TIMEOUT_S) -> tuple[str, ...]:
        """Wait until each connection is up, evicted or given up; return the ids of those that are up.

        One is enough to carry everything. From any thread but ``tickbraid-io``.

        Raises:
            Closed: nobody is subscribed, so nothing connects.
        """
        return self._carriage().wait_connected(timeout_s)
