"""How much each wanted ticker brings, out of how much each symbol was measured to bring: pure."""

from collections.abc import Collection, Mapping

from pipeline.symbols import WILDCARD, other_spellings

__all__ = ["loads_of"]


def loads_of(rates: Mapping[str, float], wanted: Collection[str]) -> dict[str, float]:
    """Return ticks/s by ticker, as it is wanted.

    A pair counts under the name by which it is wanted (``EUR-USD``), though its ticks have another
    (``EUR/USD``). The wildcard brings what nobody names: what a named ticker brings goes with that.

    Args:
        rates: measured ticks/s by the ticks' own tickers; empty before the first measurement.
        wanted: tickers, each once.
    """
    named = frozenset(wanted)
    spelt = {other: ticker for ticker in wanted for other in other_spellings(ticker)}
    loads: dict[str, float] = {}
    of_nobody = 0.0
    for ticker, rate in rates.items():
        name = ticker if ticker in named else spelt.get(ticker)
        if name is None:
            of_nobody += rate
        name = name or ticker
        loads[name] = loads.get(name, 0.0) + rate
    return loads | {WILDCARD: of_nobody} if rates and WILDCARD in named else loads
