"""Where the stream starts from: settings and universes give the first assignment."""

from typing import NamedTuple

from pipeline.markets import contracts_max
from pipeline.setting_kinds import nearest
from pipeline.settings import DEFAULT_TICKERS, ConnectionSettings, Settings
from pipeline.symbols import Doubt, doubts_about

from .assign import Assignment, Line, assign
from .universe import Universes, connection_tickers

__all__ = ["Plan", "plan", "route", "unroutable"]


class Plan(NamedTuple):
    """Is where a stream starts from.

    Args:
        lines: the enabled connections as routing sees them, all alive.
        redundant: tickers to carry twice.
        assignment: which connection carries which ticker.
        doubts: tickers that may be meant otherwise than they are written.
    """

    lines: tuple[Line, ...]
    redundant: frozenset[str]
    assignment: Assignment
    doubts: tuple[Doubt, ...] = ()


def plan(settings: Settings, universes: Universes) -> Plan:
    """Assign all tickers that the settings name to the enabled connections.

    With USE_MULTI_CONNECTION what SYMBOL_UNIVERSE_KEY names is carried beside what the connections name, and
    redundant symbols are carried whether or not anybody else names them. A connection without any ticker is
    one to be skipped. Runs on the caller's thread, and so do the providers of the universes.
    """
    feeds = {each.id: f"{each.url} {','.join(sorted(each.event_types))}" for each in settings.connections}
    caps = {connection.id: _max_tickers(settings, connection) for connection in settings.connections}
    lines = tuple(
        Line(
            id=id_,
            tickers=tickers,
            max_tickers=caps[id_],
            max_ticks_per_s=settings.websocket_connection_max_ticks_per_s,
            feed=feeds[id_],
        )
        for id_, tickers in connection_tickers(settings, universes).items()
    )
    redundant = universes.expand(settings.websocket_redundant_symbols)
    common = (
        universes.get_universe_tickers(settings.symbol_universe_key) if settings.use_multi_connection else []
    )
    named = (line.tickers for line in lines)
    wanted = [ticker for tickers in (*named, redundant, common) for ticker in tickers]
    assignment = assign(wanted, lines, settings.websocket_routing_strategy, redundant=redundant)
    of_universes = (symbol for its in settings.universes.values() for symbol in its if not symbol.islower())
    doubts = doubts_about(dict.fromkeys(wanted), {*of_universes, *DEFAULT_TICKERS})
    return Plan(lines, frozenset(redundant), assignment, tuple(doubts))


def _max_tickers(settings: Settings, connection: ConnectionSettings) -> int:
    """Return the lower of the user's limit and the feed's; 0: there is none."""
    limits = settings.websocket_connection_max_tickers, contracts_max(connection.url, connection.event_types)
    return min(filter(None, limits), default=0)


def route(settings: Settings, universes: Universes) -> Assignment:
    """Return the assignment of `plan`."""
    return plan(settings, universes).assignment


def unroutable(settings: Settings, universes: Universes) -> list[str]:
    """Name the universe keys without tickers where no symbols stand in for them.

    At run time such a connection is skipped; who checks the settings beforehand wants to know.
    """
    keys = {
        f"WEBSOCKET_CONNECTION_{connection.number}_UNIVERSE_KEY": connection.universe_key
        for connection in settings.connections
        if connection.enabled and not connection.symbols
    }
    first = settings.connections[0]
    if settings.use_multi_connection or not (
        first.symbols or universes.get_universe_tickers(first.universe_key)
    ):  # one connection with tickers of its own has no use for others
        keys["SYMBOL_UNIVERSE_KEY"] = settings.symbol_universe_key
    where = settings.provenance
    return [
        f"{name} ({where[name]}): got {key!r}, expected a universe with tickers"
        + nearest(key, settings.universes)
        for name, key in keys.items()
        if key and not universes.get_universe_tickers(key)
    ]
