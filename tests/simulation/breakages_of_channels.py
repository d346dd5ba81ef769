"""Breakages of how channels are carried: connections, their pool, and what is told of what nobody carried."""

from typing import Final

from tests.simulation.breaking import Breakage, Edit, happens

__all__ = ["OF_CHANNELS"]

OF_CHANNELS: Final[tuple[Breakage, ...]] = (
    # -- connections and their pool --------------------------------------------------------------------------
    Breakage(
        name="no_failover",
        part="pool",
        seen="the tickers of a connection that is down wait for its return",
        edits=(Edit("pipeline.pool:Pool._down", 'self._seating.route("failover")', "pass"),),
        can_show=lambda it: it.world.failover and it.world.connections > 1,
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
        can_show=lambda it: it.world.connections > 1,
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
        can_show=lambda it: happens(it, "acks_lost"),
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
    # -- gaps ------------------------------------------------------------------------------------------------
    Breakage(
        name="ends_of_sessions_unheard",
        part="gaps",
        seen="a connection ends, ticks are lost, and no loss is told",
        edits=(Edit("pipeline.coverage:Coverage.end", "self._lose(session, key, outage)", "pass"),),
    ),
    Breakage(
        name="half_a_second_short",
        part="gaps",
        seen="a gap is told as ending half a second before anything came again",
        edits=(
            Edit(
                "pipeline.span_book:SpanBook.close",
                "max(span.from_ns, to_ns), at_s",
                "max(span.from_ns, to_ns - 500_000_000), at_s",
            ),
        ),
    ),
    Breakage(
        name="from_when_it_was_seen",
        part="gaps",
        seen="a gap is told as beginning when the end of the connection was noticed, not with the last tick",
        edits=(Edit("pipeline.gaps:Gaps._begin_ns", "return max(known)", "return self._clock()"),),
    ),
    Breakage(
        name="confirmed_and_still_open",
        part="gaps",
        seen="the gap of a ticker that stays silent goes on after its channel was confirmed again",
        edits=(
            Edit("pipeline.coverage:Coverage._gain", "self._book.find_carried(session, span, at_s)", "pass"),
        ),
    ),
    Breakage(
        name="moved_without_doubt",
        part="gaps",
        seen="what is lost of a ticker that is moved off a half-open socket is not told",
        edits=(Edit("pipeline.coverage:Coverage.ask", "self._book.doubt(session, each)", "pass"),),
        can_show=lambda it: it.world.connections > 1,
    ),
    Breakage(
        name="dead_and_believed",
        part="gaps",
        seen="what is lost of a ticker is not told where its old connection died after the new one had begun",
        edits=(
            Edit(
                "pipeline.coverage:Coverage.end",
                "self._book.stop_vouching(session, span, outage)",
                "self._book.drop(span)",
            ),
        ),
        can_show=lambda it: it.world.connections > 1,
    ),
    Breakage(
        name="looks_once",
        part="gaps",
        seen="from the second on, the gap of a ticker that stays silent is told when the stream is closed",
        edits=(Edit("pipeline.gaps:Gaps._look", "self._looks = False", "pass"),),
    ),
)
