"""Status events about symbols that somebody asked for."""

from .status_event import StatusEvent, some_of
from .symbols import Doubt, OddSymbol

__all__ = ["TickersDoubtful", "TickersNotCarried", "TickersRefused"]


class TickersRefused(StatusEvent, frozen=True):
    """Something in a list can be no symbol and was left out; all else in the list goes on.

    Args:
        where: the list: a key of the settings, a universe, or the method that was called.
        symbols: what was left out, and why.
    """

    where: str
    symbols: tuple[OddSymbol, ...]

    def _words(self) -> str:
        return f"{self.where}: left out {some_of(tuple(map(str, self.symbols)))}"


class TickersDoubtful(StatusEvent, frozen=True):
    """Symbols are asked for as they were written, though others may have been meant.

    The feed acknowledges a symbol that it does not know, and is silent.
    """

    doubts: tuple[Doubt, ...]

    def _words(self) -> str:
        return f"asked for as written: {some_of(tuple(map(str, self.doubts)))}"


class TickersNotCarried(StatusEvent, frozen=True):
    """Tickers were to be carried no more, and were not carried.

    Args:
        tickers: which.
        near: what is carried and written nearly like some of them.
    """

    tickers: tuple[str, ...]
    near: tuple[str, ...] = ()

    def _words(self) -> str:
        hint = f"; did you mean {some_of(self.near)}?" if self.near else ""
        return f"not carried, so not removed: {some_of(self.tickers)}{hint}"
