"""Breakages of what happens to a tick: framing, decoding, copies, buffers and their threads, sinks."""

from typing import Final

from tests.simulation.breaking import Breakage, Edit, happens
from tests.simulation.market import trading_date
from tests.simulation.schedule import World

__all__ = ["OF_TICKS"]

SECOND: Final = 1_000_000_000


def _crosses_midnight(world: World) -> bool:
    return trading_date(world.start_ns) != trading_date(world.start_ns + int(world.seconds) * SECOND)


OF_TICKS: Final[tuple[Breakage, ...]] = (
    # -- framing ---------------------------------------------------------------------------------------------
    Breakage(
        name="last_of_a_read_waits",
        part="framing",
        seen="a message that ends where a read ends comes with the next one; the last of a session never",
        edits=(Edit("pipeline.massive.framing:FrameSplitter._split", "if stop > end:", "if stop >= end:"),),
    ),
    Breakage(
        name="length_cut_in_the_middle",
        part="framing",
        seen="a message of 64 KiB behind a short one, its header in two reads: no tick comes any more",
        edits=(
            Edit(
                "pipeline.massive.framing:FrameSplitter._split",
                "needed = 2 + width",
                "needed = 1 << 62 if width == 8 else 4",
            ),
        ),
        can_show=lambda it: it.world.rough > 0 and happens(it, "large_message", "sizes"),
    ),
    # -- decode ----------------------------------------------------------------------------------------------
    Breakage(
        name="rejects_counted_by_reason",
        part="decode",
        seen="of several bad elements in one read one is counted: the account is short of the others",
        edits=(
            Edit(
                "pipeline.massive.decode:decode",
                "rejected = sum(reject.times for reject in rejects)",
                "rejected = len(rejects)",
            ),
        ),
    ),
    Breakage(
        name="behind_a_broken_message",
        part="decode",
        seen="ticks that came in one read behind a message that is no JSON are neither delivered nor counted",
        edits=(Edit("pipeline.massive.salvage:_take_apart", ', b"[{" + last]', "]"),),
        can_show=lambda it: happens(it, "broken_json", "truncated"),
    ),
    # -- dedupe ----------------------------------------------------------------------------------------------
    Breakage(
        name="copies_beside_news",
        part="dedupe",
        seen="copies are delivered where a read has new ticks beside them",
        edits=(
            Edit("pipeline.identity:Seen.__call__", "if not repeated:", "if len(repeated) < len(ticks):"),
        ),
    ),
    Breakage(
        name="one_id_on_two_exchanges",
        part="dedupe",
        seen="a trade is thrown away where another exchange has given the same id",
        edits=(
            Edit(
                "pipeline.identity:Seen._remember",
                "elif trades[trade_id] == venue or (trade_id, venue) in trades:",
                "elif trades[trade_id]:",
            ),
        ),
        can_show=lambda it: it.world.market == "stocks" and "T" in it.world.kinds,
    ),
    Breakage(
        name="numbers_out_of_the_way",
        part="dedupe",
        seen="a quote that came before a late one is delivered again when its copy comes",
        edits=(
            Edit(
                "pipeline.tracks:TradingDay.add_late",
                "aside.update(dict.fromkeys(sequences[position:]))",
                "pass",
            ),
        ),
        can_show=lambda it: {"Q"} <= {*it.world.kinds} and it.world.connections > 1,
    ),
    Breakage(
        name="revisions_are_copies",
        part="dedupe",
        seen="the revision of a bar is thrown away, and what an exchange says in the ms in which another did",
        edits=(
            Edit(
                "pipeline.identity:_content",
                "_fields_of(tick.__class__)(tick)",
                "tick.ticker, tick.event_ms",
            ),
        ),
    ),
    Breakage(
        name="numbers_of_yesterday",
        part="dedupe",
        seen="after midnight trades and quotes are thrown away whose numbers were given yesterday, too",
        edits=(
            Edit(
                "pipeline.trading_day:trading_day",
                "return bounds if event_ms < bounds[1] else _bounds(number + 1)",
                'return float("-inf"), float("inf")',
            ),
        ),
        can_show=lambda it: it.world.market == "stocks" and _crosses_midnight(it.world),
    ),
    Breakage(
        name="half_a_window",
        part="dedupe",
        seen="now and then all that was remembered of a ticker's trades is forgotten, and copies pass",
        edits=(
            Edit(
                "pipeline.tracks:TradingDay.turn",
                "islice(self.trades.items(), self._trades_mark, None)",
                "islice(self.trades.items(), len(self.trades), None)",
            ),
        ),
        can_show=lambda it: it.world.dedupe_window < 10_000 and "T" in it.world.kinds,
    ),
    # -- buffers and their threads ---------------------------------------------------------------------------
    Breakage(
        name="one_too_many_left_out",
        part="operators",
        seen="where the oldest ticks of a batch are dropped one more goes, and is counted as delivered",
        edits=(
            Edit(
                "operators._buffer.tick_queue:Segment.skip", "self.start += count", "self.start += count + 1"
            ),
        ),
        can_show=lambda it: it.world.overflow == "drop_oldest" or happens(it, "join"),
    ),
    Breakage(
        name="aged_and_untold",
        part="operators",
        seen="ticks that are too old are gone, and no loss says so",
        edits=(
            Edit(
                "operators._buffer.tick_queue:TickQueue.drop_older",
                'self.lose(self._segments[0].batch, self._segments[0].live, "aged")',
                "pass",
            ),
        ),
        can_show=lambda it: it.world.max_age_ms > 0,
    ),
    Breakage(
        name="who_leaves_wakes_nobody",
        part="operators",
        seen="where a subscriber that blocks leaves with a full buffer, the stream stands still for all",
        edits=(Edit("pipeline.outlet:Outlet._end", "self._on_room()", "pass"),),
        can_show=lambda it: happens(it, "join") and happens(it, "hang") and happens(it, "leave"),
    ),
    Breakage(
        name="stands_by_for_ever",
        part="operators",
        seen="once a callback has read the sockets itself and leaves, nobody reads them",
        edits=(Edit("pipeline.massive.loop:SocketLoop.lead", "self._summons.put(False)", "pass"),),
        can_show=lambda it: happens(it, "quit"),
    ),
    Breakage(
        name="raising_ends_the_thread",
        part="operators",
        seen="a callback that raises SystemExit or a time-out ends the thread: it never gets another tick",
        edits=(
            Edit(
                "pipeline.sinks.callback:CallbackSink._call",
                "except BaseException as error:",
                "except Exception as error:",
            ),
            Edit(
                "pipeline.outlet:Outlet._give", "except BaseException as error:", "except Exception as error:"
            ),
            Edit(
                "operators._buffer.buffer:Buffer._deliver",
                "except BaseException as error:",
                "except Exception as error:",
            ),
            Edit("operators.scheduler:_Scheduled.run", "except BaseException:", "except Exception:"),
            Edit(
                "operators.scheduler:BufferingScheduler._run",
                "except BaseException as error:",
                "except Exception as error:",
            ),
        ),
        may_crash=True,
    ),
    # -- what is told ----------------------------------------------------------------------------------------
    Breakage(
        name="losses_told_again",
        part="status",
        seen="a loss is told again with each that follows",
        edits=(
            Edit(
                "pipeline.status_stream:LossReporter.flush",
                "losses, self._open = self._open, {}",
                "losses = dict(self._open)",
            ),
        ),
    ),
    Breakage(
        name="one_window_of_losses",
        part="status",
        seen="what fails and is lost is told in the first second in which anything is, and at the end",
        edits=(
            Edit(
                "pipeline.status_stream:_Window._close",
                "self._is_open = False",
                "pass",
            ),
        ),
        can_show=lambda it: happens(it, "raise"),
    ),
    # -- sinks -----------------------------------------------------------------------------------------------
    Breakage(
        name="in_flight_forgotten",
        part="sinks",
        seen="what was on its way to Redis when its connection broke is not sent again",
        edits=(Edit("pipeline.sinks.redis_window:Window.rewind", "self._waiting.extendleft(back)", "pass"),),
        can_show=lambda it: it.world.redis,
    ),
    Breakage(
        name="answered_sent_again",
        part="sinks",
        seen="after a broken connection messages come twice that Redis had acknowledged",
        edits=(
            Edit(
                "pipeline.sinks.redis_window:Window.rewind",
                "back[-1] = back[-1].split(self._answered)[1]",
                "pass",
            ),
        ),
        can_show=lambda it: it.world.redis,
    ),
    Breakage(
        name="again_in_reverse",
        part="sinks",
        seen="what was on its way to Redis when its connection broke comes in the wrong order",
        edits=(
            Edit(
                "pipeline.sinks.redis_window:Window.rewind",
                "self._waiting.extendleft(back)",
                "self._waiting.extendleft(reversed(back))",
            ),
        ),
        can_show=lambda it: it.world.redis,
    ),
    Breakage(
        name="failed_and_untold",
        part="sinks",
        seen="a subscriber fails, its ticks are counted as failed, and no event says so",
        edits=(
            Edit(
                "pipeline.outlet:Outlet._tell_failure",
                "self._on_failure(self.name, count, error)",
                "pass",
            ),
        ),
    ),
    Breakage(
        name="raised_is_delivered",
        part="sinks",
        seen="ticks on which a subscriber raised are counted as delivered",
        edits=(
            Edit(
                "pipeline.outlet:Outlet._count",
                "self.gauge.fail(connection, count)",
                "pass",
            ),
            Edit(
                "pipeline.outlet:Outlet._fail",
                "failed += self.gauge.fail_rest(connection)",
                "failed += sum(len(batch.ticks) for batch in batches if batch.connection == connection)",
            ),
        ),
    ),
)
