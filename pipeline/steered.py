"""What a running stream can be told: which tickers it carries, and on which connections."""

from abc import abstractmethod
from collections.abc import Iterable
from queue import Empty
from typing import Final

from operators.runtime import Runtime

from .errors import Closed
from .settings import Settings
from .sources import Carriage
from .status import Moved, TickersDoubtful, TickersRefused
from .status_stream import StatusStream
from .symbols import doubts_about, read_symbol, read_symbols

__all__ = ["Steered"]

CONNECT_TIMEOUT_S: Final = 15.0
REBALANCE_TIMEOUT_S: Final = 5.0


class Steered:
    """Passes on what is asked of a stream to who decides what its connections carry, once that runs."""

    settings: Settings
    status: StatusStream
    _runtime: Runtime

    @abstractmethod
    def _carriage(self) -> Carriage:
        """Return who decides.

        Raises:
            Closed: nothing runs.
        """

    def add_tickers(self, tickers: Iterable[object] | str) -> None:
        """Carry these too, each on the connection that the strategy chooses. From any thread.

        They are asked for as they are written. What can be no symbol is told by a `TickersRefused` and costs
        nothing but itself; one that is known in another case is told by a `TickersDoubtful`.

        Args:
            tickers: symbols, or one.

        Raises:
            Closed: nobody is subscribed, so nothing runs.
        """
        carriage = self._carriage()
        symbols = self._read("add_tickers", tickers)
        carried = {ticker for its in carriage.tickers().values() for ticker in its}
        known = {symbol for universe in self.settings.universes.values() for symbol in universe}
        doubts = tuple(doubts_about([symbol for symbol in symbols if symbol not in carried], known | carried))
        if doubts:
            self.status.emit(TickersDoubtful(at_ns=self._runtime.clock(), doubts=doubts))
        carriage.add_tickers(symbols)

    def remove_tickers(self, tickers: Iterable[object] | str) -> None:
        """Carry these no more. From any thread.

        What is not carried is told by a `TickersNotCarried`, with what is written nearly alike; what can be
        no symbol by a `TickersRefused`.

        Raises:
            Closed: nobody is subscribed, so nothing runs.
        """
        carriage = self._carriage()
        carriage.remove_tickers(self._read("remove_tickers", tickers))

    def move_ticker(self, ticker: str, connection: str) -> None:
        """Carry this on that connection whenever it is up, from any thread; a new ticker is added.

        Raises:
            Closed: nobody is subscribed, so nothing runs.
            ValueError: it cannot be a symbol, or there is no such connection.
        """
        symbol = read_symbol(ticker)
        self._carriage().move_ticker(symbol, connection)

    def rebalance(self) -> tuple[Moved, ...]:
        """Spread the tickers by what is measured now; return what moved, as the status stream tells it too.

        From any thread. What moves is on both connections for two seconds more, and missed by none.

        Raises:
            Closed: nobody is subscribed, so nothing runs, or the stream was closed meanwhile.
        """
        answers = self._runtime.queue()
        self._carriage().rebalance(answers.put)
        try:
            moved: tuple[Moved, ...] = answers.get(timeout=REBALANCE_TIMEOUT_S)
        except Empty:
            raise Closed("the stream was closed while it was to rebalance") from None
        return moved

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

    def _read(self, where: str, tickers: Iterable[object] | str) -> tuple[str, ...]:
        """Return the symbols of a list, and tell what can be none."""
        symbols, odd = read_symbols(tickers)
        if odd:
            self.status.emit(TickersRefused(at_ns=self._runtime.clock(), where=where, symbols=odd))
        return symbols
