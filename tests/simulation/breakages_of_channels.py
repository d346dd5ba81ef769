"""Breakages of how channels are carried: connections, their pool, and what is told of what nobody carried."""

from typing import Final

from tests.simulation.breaking import Breakage, Edit

__all__ = ["OF_CHANNELS"]

OF_CHANNELS: Final[tuple[Breakage, ...]] = (
    # -- connections and their pool --------------------------------------------------------------------------
    Breakage(
        name="no_failover",
        part="pool",
        seen="the tickers of a connection that is down wait for its return",
        edits=(Edit("pipeline.pool:Pool._down", 'self._seating.route("failover")', "pass"),),
        can_show=lambda world: world.failover and world.connections > 1,
    ),
    Breakage(
        name="not_asked_for_again",
        part="pool",
        seen="after a reconnection no tick comes",
        edits=(Edit("pipeline.massive.subscriptions:Subscriptions.begin", "self._ledger.reset()", "pass"),),
    ),
    Breakage(
        name="home_within_the_overlap",
        part="pool",
        seen="a ticker that comes back to its connection within two seconds is given up there",
        edits=(Edit("pipeline.seating:Seating._carry", "seat.releasing.pop(ticker, None)", "pass"),),
        can_show=lambda world: world.connections > 1,
    ),
    Breakage(
        name="unanswered_for_ever",
        part="pool",
        seen="a channel that was not answered once is not asked for in the sessions after",
        edits=(
            Edit(
                "pipeline.massive.protocol:Ledger.reset",
                "self._begin(channel)",
                "if self._entries[channel].state is not ChannelState.UNANSWERED:\n"
                "    self._begin(channel)\n"
                "else:\n"
                "    self._by_state[ChannelState.UNANSWERED][channel] = None",
            ),
        ),
    ),
    Breakage(
        name="one_ping_a_session",
        part="pool",
        seen="a socket that is half-open is found out in the first minute of its session only",
        edits=(
            Edit(
                "pipeline.massive.watch:Watch._check_life",
                "self._ping_timer.disposable = self._later(max(0.0, rest_s), self._ping)",
                "pass",
            ),
        ),
    ),
)
