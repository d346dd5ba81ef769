from asyncio import CancelledError
from collections import Counter
from dataclasses import replace

import pytest
import reactivex
from reactivex.disposable import Disposable
from reactivex.scheduler import ImmediateScheduler

from operators.account import Account
from operators.buffered import BufferAccounting, BufferOverflow, Dropped, buffered
from operators.runtime import SYSTEM
from operators.scheduler import BufferingScheduler
from tests.operators.fakes import ByHand, FakeBatch, Recorder, Source, in_threads
from tests.operators.stage import Stage

TROUBLE = RuntimeError("trouble")
RAISED = (
    *(ValueError, BaseException, SystemExit, KeyboardInterrupt),
    *(GeneratorExit, CancelledError, StopIteration),
)


def test_drop_oldest_keeps_exactly_the_newest():
    """A chart wants what is newest; the batch in the middle is cut by the tick."""
    stage = Stage(3)
    stage.emit(1, 2, received_ns=10)
    stage.emit(3, 4, received_ns=20)
    stage.emit(5, received_ns=30)
    assert stage.drops == [Dropped("a", "overflow", 1, 10, 10), Dropped("a", "overflow", 1, 10, 10)]
    stage.scheduler.run()
    assert stage.out == [[3, 4], [5]]
    stage.emit(*range(10), received_ns=40)
    stage.scheduler.run()
    assert stage.out[2] == [7, 8, 9]
    assert stage.account == Account(received=15, delivered=6, dropped=9)


def test_drop_newest_keeps_exactly_the_oldest():
    """Who must not lose the beginning keeps it, also half a batch."""
    stage = Stage(3, "drop_newest")
    stage.emit(1, 2)
    stage.emit(3, 4)
    stage.emit(5)
    stage.scheduler.run()
    assert stage.out == [[1, 2], [3]]
    assert stage.account == Account(received=5, delivered=3, dropped=2)
    assert stage.gauge.dropped_by_reason() == {"overflow": 2}


def test_error_delivers_what_is_queued_and_then_fails():
    """Who would rather stop than miss a tick gets all until the first that is missing."""
    stage = Stage(3, "error")
    stage.emit(1, 2)
    stage.emit(3, 4)
    stage.emit(5)
    stage.scheduler.run()
    assert stage.out == [[1, 2], [3]]
    assert [type(error) for error in stage.recorder.errors] == [BufferOverflow]
    assert stage.source.disposals == 1
    assert stage.account == Account(received=5, delivered=3, dropped=2)


def test_conflate_keeps_the_newest_of_each_key():
    """A slow screen gets the latest quote of each ticker and every trade, in order."""
    stage = Stage(4, "conflate", conflate_key=lambda tick: tick[0] if tick[0] != "T" else None)
    stage.emit("A1", "T1", "B1", received_ns=1)
    stage.emit("A2", "T2", "A3", received_ns=2)
    assert stage.drops == [Dropped("a", "conflated", 2, 1, 2)]
    stage.scheduler.run()
    assert stage.out == [["T1", "B1"], ["T2", "A3"]]
    assert stage.account == Account(received=6, delivered=4, dropped=2)


def test_conflate_drops_the_oldest_when_there_is_nothing_to_conflate():
    """Trades are not conflated, and the queue still keeps its limit."""
    stage = Stage(2, "conflate", conflate_key=lambda tick: None)
    stage.emit(1, 2, 3)
    assert stage.drops == [Dropped("a", "overflow", 1, 0, 0)]
    assert stage.gauge.queued == 2


def test_below_the_limit_nothing_is_conflated():
    """As long as there is room a subscriber gets everything."""
    stage = Stage(4, "conflate", conflate_key=lambda tick: "same")
    stage.emit(1, 2, 3, 4)
    stage.scheduler.run()
    assert stage.out == [[1, 2, 3, 4]]


def test_a_conflate_key_that_raises_ends_the_stream():
    """The limit holds all the same, and what is queued is delivered first."""
    stage = Stage(2, "conflate", conflate_key=lambda tick: tick.missing)
    stage.emit(1, 2, 3)
    stage.emit(4)
    stage.scheduler.run()
    assert stage.out == [[2, 3]]
    assert [type(error) for error in stage.recorder.errors] == [AttributeError]
    assert stage.account == Account(received=4, delivered=2, dropped=2)


def test_the_conflate_key_runs_under_no_lock():
    """It is the user's; reading the account inside it must not hang."""
    stage = Stage(1, "conflate", conflate_key=lambda tick: stage.gauge.queued)
    stage.emit(1, 2)
    assert stage.gauge.queued == 1


def test_a_batch_without_ticks_is_counted_and_not_delivered():
    """Its counts are in the account at once; a subscriber has nothing to do with it."""
    stage = Stage(3)
    stage.emit(deduplicated=2, rejected=3, lost=4)
    assert stage.account == Account(received=9, deduplicated=2, rejected=3, dropped=4)
    assert stage.gauge.dropped_by_reason() == {"lost": 4}
    assert stage.drops == []
    assert not stage.scheduler.waiting


def test_what_is_in_hand_is_queued_but_takes_no_room():
    """A subscriber that works on a batch has not got it yet; meanwhile the queue is empty."""
    seen = []

    def on_item(batch):
        if not seen:
            seen.append(stage.account)
            stage.emit(4, 5, 6)
            seen.append(stage.account)

    stage = Stage(3, on_item=on_item)
    stage.emit(1, 2, 3)
    stage.scheduler.run()
    assert seen == [Account(received=3, queued=3), Account(received=6, queued=6)]
    assert stage.out == [[1, 2, 3], [4, 5, 6]]
    assert stage.account == Account(received=6, delivered=6)


def test_a_sink_says_what_it_could_not_deliver():
    """A tick that cannot become a message is rejected, not delivered; the rest of the batch is."""

    def on_item(batch):
        stage.gauge.reject("a", 1)
        stage.gauge.drop("a", 2, "sink_overflow")
        assert stage.account == Account(received=5, rejected=1, dropped=2, queued=2)

    stage = Stage(5, on_item=on_item)
    stage.emit(*range(5))
    stage.scheduler.run()
    assert stage.gauge.errors == 0
    assert stage.account == Account(received=5, delivered=2, rejected=1, dropped=2)


@pytest.mark.parametrize("kind", RAISED)
def test_a_subscriber_that_raises_gets_the_next(caplog, kind):
    """Whatever it raises costs the ticks in its hand, which count as failed, and nobody else's."""

    def on_item(batch):
        stage.gauge.reject("a", batch.ticks.count("bad"))
        raise kind

    stage = Stage(9, on_item=on_item, name="redis")
    stage.emit(1, "bad")
    stage.emit(2, 3)
    in_threads(stage.scheduler.run)
    assert stage.out == [[1, "bad"], [2, 3]]
    assert stage.gauge.errors == 2
    assert stage.account == Account(received=4, failed=3, rejected=1)
    assert len(caplog.records) == 1
    assert "'redis'" in caplog.text


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_ctrl_c_on_the_main_thread_is_not_swallowed(kind):
    """A notebook that runs the stream on its own thread must stop when it is told to, and stay usable."""

    def on_item(batch):
        if batch.ticks == [1]:
            raise kind

    stage = Stage(9, on_item=on_item)
    stage.emit(1)
    stage.emit(2)
    with pytest.raises(kind):
        stage.scheduler.run()
    stage.scheduler.run()
    assert stage.account == Account(received=2, failed=1, delivered=1)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_the_runtime_says_which_thread_is_the_main_one(kind):
    """Where all threads of a stream are one of the system, a raising subscriber would end the program."""

    def on_item(_):
        raise kind

    stage = Stage(9, on_item=on_item, runtime=replace(SYSTEM, is_main=lambda: False))
    stage.emit(1)
    stage.scheduler.run()
    assert stage.account == Account(received=1, failed=1)


@pytest.mark.parametrize("kind", RAISED)
def test_a_conflate_key_or_a_drop_hook_that_raises_anything(kind, caplog):
    """They run on the source's thread, which reads for everybody: it must come back."""

    def raising(_):
        raise kind

    stage = Stage(1, "conflate", conflate_key=raising, on_drop=raising)
    in_threads(lambda: stage.emit(1, 2))
    in_threads(lambda: stage.emit(3))
    stage.scheduler.run()
    assert [type(error) for error in stage.recorder.errors] == [kind]
    assert stage.account == Account(received=3, delivered=1, dropped=2)


def test_gather_hands_over_lists():
    """A sink that writes many at once gets many, up to about what it asked for."""
    stage = Stage(100, gather=5)
    for size in (2, 3, 1, 9, 1):
        stage.emit(*range(size))
    stage.scheduler.run()
    assert [[len(batch.ticks) for batch in item] for item in stage.recorder.items] == [[2, 3], [1], [9], [1]]
    assert stage.account == Account(received=16, delivered=16)


def test_a_long_queue_leaves_room_for_others():
    """Two buffers on one scheduler take turns; else the second would wait for the end of the first."""
    scheduler = ByHand()
    turns = []
    stages = [Stage(1000, scheduler=scheduler, on_item=lambda _, w=w: turns.append(w)) for w in range(2)]
    for stage in stages:
        for tick in range(200):
            stage.emit(tick)
    scheduler.run()
    assert turns.index(1) < 200
    assert Counter(turns) == {0: 200, 1: 200}
    assert [stage.account.delivered for stage in stages] == [200, 200]


def test_what_a_turn_delivered_is_counted_before_the_next():
    """The account of a quiet moment does not wait for the scheduler to come round again."""
    stage = Stage(1000)
    for tick in range(200):
        stage.emit(tick)
    action, state = stage.scheduler.waiting.popleft()
    action(stage.scheduler, state)
    delivered = len(stage.out)
    assert 0 < delivered < 200
    assert stage.account == Account(received=200, delivered=delivered, queued=200 - delivered)


def test_an_overflow_is_not_made_good_by_the_end():
    """Who asked for an error gets it, also if the source completes before it is told."""
    stage = Stage(1, "error")
    stage.emit(1, 2)
    stage.source.complete()
    stage.scheduler.run()
    assert [type(error) for error in stage.recorder.errors] == [BufferOverflow]
    assert stage.recorder.completions == 0


def test_an_eager_source_does_not_wait_for_a_scheduler_that_is_gone():
    """Room that nobody will ever make is not waited for."""
    scheduler = BufferingScheduler("gone")
    scheduler.dispose()
    recorder, gauge = Recorder(), BufferAccounting()

    def eager(observer, _):
        for number in range(5):
            observer.on_next(FakeBatch([number]))
        return Disposable()

    reactivex.create(eager).pipe(buffered(1, "block", scheduler=scheduler, gauge=gauge)).subscribe(recorder)
    assert [type(error).__name__ for error in recorder.errors] == ["DisposedException"]
    assert gauge.accounts() == {"a": Account(received=5, dropped=5)}


def test_a_drop_is_told_once_a_batch_connection_and_reason():
    """Ten thousand dropped ticks are a few announcements, not ten thousand."""
    stage = Stage(4)
    for connection in "ab":
        stage.emit(1, connection=connection, received_ns=1)
        stage.emit(2, connection=connection, received_ns=2)
    stage.emit(*range(7), connection="c", received_ns=3)
    assert stage.drops == [
        Dropped("a", "overflow", 2, 1, 2),
        Dropped("b", "overflow", 2, 1, 2),
        Dropped("c", "overflow", 3, 3, 3),
    ]


def test_on_drop_runs_under_no_lock_and_may_raise(caplog):
    """It may look at the account, and its defect does not reach the source."""
    seen = []

    def on_drop(dropped):
        seen.append(stage.gauge.queued)
        raise TROUBLE

    stage = Stage(1, on_drop=on_drop, name="screen")
    stage.emit(1, 2)
    assert seen == [1]
    assert "on_drop of 'screen' raised" in caplog.text


def test_dispose_drops_what_is_queued():
    """What a leaving subscriber did not get is dropped and told, and so is what still arrives."""
    stage = Stage(9, on_item=lambda batch: stage.subscription.dispose())
    late = stage.source.observers[0]
    stage.emit(1)
    stage.emit(2, 3, received_ns=5)
    stage.scheduler.run()
    assert stage.out == [[1]]
    assert stage.drops == [Dropped("a", "closed", 2, 5, 5)]
    assert stage.account == Account(received=3, delivered=1, dropped=2)
    assert late.is_stopped


def test_a_batch_that_races_with_dispose_is_counted():
    """A source that was just emitting when its subscriber left loses no tick from the account. White-box."""
    from operators._buffer.buffer import Buffer

    gauge, drops = BufferAccounting(), []
    buffer = Buffer(
        Recorder(),
        ByHand(),
        gauge,
        capacity=5,
        overflow="block",
        on_drop=drops.append,
        conflate_key=None,
        gather=0,
        waits=True,
        max_age_ns=0,
        name="x",
        runtime=SYSTEM,
    )
    buffer.close()
    buffer.on_next(FakeBatch([1, 2], rejected=1))
    buffer.on_completed()
    assert gauge.accounts() == {"a": Account(received=3, rejected=1, dropped=2)}
    assert [drop.reason for drop in drops] == ["closed"]


def test_an_error_comes_after_what_is_queued():
    """What was received before the end is delivered before it."""
    stage = Stage(9)
    stage.emit(1)
    stage.source.fail(TROUBLE)
    assert stage.recorder.errors == []
    stage.scheduler.run()
    assert (stage.out, stage.recorder.errors) == ([[1]], [TROUBLE])


def test_a_gauge_is_for_one_subscription():
    """Two subscriptions of one buffered stream need two gauges; the second is told at once."""
    gauge = BufferAccounting()
    stream = Source().pipe(buffered(5, gauge=gauge, scheduler=ByHand()))
    stream.subscribe(Recorder())
    second = Recorder()
    stream.subscribe(second)
    assert [type(error) for error in second.errors] == [ValueError]
    with pytest.raises(ValueError, match="gauge must be a new one"):
        stream.subscribe(lambda batch: None)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((0,), {}, "capacity"),
        ((1, "drop"), {}, "overflow"),
        ((1, "conflate"), {}, "conflate_key"),
        ((1, "block"), {"conflate_key": id}, "conflate_key"),
        ((1,), {"gather": -1}, "gather"),
    ],
)
def test_parameters_are_checked(arguments, options, message):
    """A mistake in the settings shows before anything connects."""
    with pytest.raises(ValueError, match=message):
        buffered(*arguments, **options)


def test_a_scheduler_that_takes_no_action_ends_the_stream():
    """A scheduler that is gone, or full, can never deliver; who waits for the stream has to know."""
    scheduler = BufferingScheduler("gone")
    scheduler.dispose()
    stage = Stage(9, scheduler=scheduler)
    stage.emit(1, 2)
    assert [type(error).__name__ for error in stage.recorder.errors] == ["DisposedException"]
    assert stage.drops == [Dropped("a", "closed", 2, 0, 0)]
    assert stage.account == Account(received=2, dropped=2)


def test_on_the_immediate_scheduler_it_hands_over_at_once():
    """Tests and notebooks may run the whole stream on one thread, and feed the source from it."""

    def on_item(batch):
        if batch.ticks[0] < 3:
            stage.emit(batch.ticks[0] + 1)

    stage = Stage(5, "block", on_item=on_item, scheduler=ImmediateScheduler())
    stage.emit(1)
    assert stage.out == [[1], [2], [3]]


def test_what_is_too_old_is_dropped_when_its_turn_comes():
    """Who trades on prices would act on some that are seconds old, since they were few enough to wait."""
    now_ns = [0]
    runtime = replace(SYSTEM, clock=lambda: now_ns[0], monotonic=lambda: now_ns[0] / 1e9)
    stage = Stage(100, "drop_oldest", max_age_ms=5, runtime=runtime)
    for at_ms in (1, 2, 8):
        stage.emit(at_ms, at_ms, received_ns=at_ms * 1_000_000)
    now_ns[0] = 7_000_000
    stage.scheduler.run()
    assert stage.out == [[2, 2], [8, 8]]
    assert stage.drops == [Dropped("a", "aged", 2, 1_000_000, 1_000_000)]
    assert stage.account == Account(received=6, delivered=4, dropped=2)
    assert stage.gauge.dropped_by_reason() == {"aged": 2}
    stage.emit(9, received_ns=1)
    stage.scheduler.run()
    assert stage.account == Account(received=7, delivered=4, dropped=3)


@pytest.mark.parametrize("step_ms", [-3_600_000, -5, 5, 3_600_000])
@pytest.mark.parametrize("overflow", ["drop_oldest", "drop_newest"])
def test_a_clock_that_is_set_makes_nothing_older_or_younger(overflow, step_ms):
    """All that waits would be too old at once; or who must not get what is old would get it for an hour."""
    now_ms, wrong_ms = 1000, 0
    runtime = replace(SYSTEM, clock=lambda: (now_ms + wrong_ms) * 1_000_000, monotonic=lambda: now_ms / 1e3)
    stage = Stage(100, overflow, max_age_ms=500, runtime=runtime)
    for now_ms in (1000, 1400, 1700, 2000):
        if now_ms == 1700:
            wrong_ms = step_ms
        stage.emit(now_ms, received_ns=runtime.clock())
    stage.scheduler.run()
    assert stage.out == [[1700], [2000]]
    assert stage.gauge.dropped_by_reason() == {"aged": 2}


@pytest.mark.parametrize("max_age_ms", [-1, float("inf"), float("nan")])
def test_an_age_that_is_none_is_refused(max_age_ms):
    """A limit that never bites would be found out in the first slow minute."""
    with pytest.raises(ValueError, match="max_age_ms must be 0 or more"):
        buffered(1, "drop_oldest", max_age_ms=max_age_ms)
    with pytest.raises(ValueError, match="block"):
        buffered(1, "block", max_age_ms=1)
