import threading
import time
from dataclasses import replace

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reactivex.scheduler import VirtualTimeScheduler

from operators.runtime import SYSTEM
from pipeline.market import EVENT_TYPES, WINDOWS_MS
from pipeline.synthetic import SyntheticSource

START_S = 1_700_000_040  # a whole minute


def virtual(**arguments):
    """Return a scheduler of virtual time and a source that lives by it."""
    scheduler = VirtualTimeScheduler(START_S)
    arguments.setdefault("tickers", ["AAPL", "BRK.B"])
    source = SyntheticSource(
        "c1",
        runtime=replace(SYSTEM, clock=lambda: round(scheduler.clock * 1e9)),
        scheduler=scheduler,
        **arguments,
    )
    return scheduler, source


def elements_of(frames):
    """Return the elements of some frames as dicts, and check what holds for any frames."""
    elements = []
    for one in frames:
        assert one.connection == "c1"
        assert one.size_bytes == sum(map(len, one.messages))
        assert one.size_bytes < 128 * 1024
        for message in one.messages:
            elements += msgspec.json.decode(message)
    return elements


@given(
    types=st.sets(st.sampled_from(EVENT_TYPES), min_size=1),
    interval_s=st.sampled_from([0.1, 0.25, 1.0, 2.0, 60.0]),
    rounds=st.integers(1, 5),
)
@settings(max_examples=40, deadline=None)
def test_each_round_brings_each_ticker_its_types(types, interval_s, rounds):
    """A user of synthetic data would miss a type, or see it at another pace than asked for."""
    scheduler, source = virtual(event_types=types, interval_s=interval_s)
    seen = []
    with source.frames.subscribe(seen.append):
        scheduler.advance_to(START_S + interval_s * (rounds + 0.5))
    counts = {}
    for element in elements_of(seen):
        assert element["source"] == "synthetic"
        names = ("p",) if element["ev"] == "C" else ("sym", "T", "pair")
        key = element["ev"], next(element[name] for name in names if name in element)
        counts[key] = counts.get(key, 0) + 1
    for kind in types:
        window_s = WINDOWS_MS.get(kind, 0) // 1000
        due = min(rounds, int(rounds * interval_s / window_s)) if window_s else rounds
        assert counts.pop((kind, "AAPL"), 0) == counts.pop((kind, "BRK.B"), 0) == due
    assert not counts


def test_second_bar_comes_with_the_default_settings_each_second():
    """`USE_SYNTHETIC_DATA` with nothing else set would show an empty screen."""
    scheduler, source = virtual()
    seen = []
    with source.frames.subscribe(seen.append):
        scheduler.advance_to(START_S + 3.5)
    bars = elements_of(seen)
    assert [(bar["ev"], bar["sym"], bar["e"] / 1000 - START_S) for bar in bars] == [
        ("A", symbol, second) for second in (1, 2, 3) for symbol in ("AAPL", "BRK.B")
    ]


def test_tickers_change_at_run_time():
    """Adding a ticker to a running stream would need a restart."""
    scheduler, source = virtual(event_types=["Q"])
    seen = []
    with source.frames.subscribe(seen.append):
        scheduler.advance_to(START_S + 1.5)
        source.add_tickers(["MSFT", "AAPL"])
        source.remove_tickers(["BRK.B", "NEVER"])
        assert source.tickers == ("AAPL", "MSFT")
        scheduler.advance_to(START_S + 2.5)
    assert [quote["sym"] for quote in elements_of(seen)] == ["AAPL", "BRK.B", "AAPL", "MSFT"]


def test_no_tickers_bring_no_frames():
    """A connection without tickers would send empty arrays for ever."""
    scheduler, source = virtual(tickers=[])
    seen = []
    with source.frames.subscribe(seen.append):
        scheduler.advance_to(START_S + 5)
    assert seen == []


def test_many_tickers_come_in_frames_of_bounded_size():
    """Thousands of tickers would arrive as one message of megabytes."""
    scheduler, source = virtual(tickers=[f"S{n}" for n in range(1000)], event_types=["T", "Q", "A"])
    seen = []
    with source.frames.subscribe(seen.append):
        scheduler.advance_to(START_S + 1.5)
    assert len(seen) == 15
    assert len(elements_of(seen)) == 3000


def test_nothing_comes_after_dispose_even_within_a_round():
    """A closed stream would go on calling its user."""
    scheduler, source = virtual(tickers=[f"S{n}" for n in range(1000)], event_types=["Q"])
    seen = []

    def see(frames):
        seen.append(frames)
        subscription.dispose()

    subscription = source.frames.subscribe(see)
    scheduler.advance_to(START_S + 5)
    subscription.dispose()
    assert len(seen) == 1


def test_subscriptions_are_independent_and_equal():
    """A second subscriber would get the rest of the first one's market."""
    scheduler, source = virtual(event_types=["T", "Q"])
    seen = [], []
    with source.frames.subscribe(seen[0].append), source.frames.subscribe(seen[1].append):
        scheduler.advance_to(START_S + 3.5)
    assert len(seen[0]) == 3
    assert elements_of(seen[0]) == elements_of(seen[1])


def test_wall_clock_set_back_stops_nothing_for_good():
    """An NTP step would silence the source."""
    scheduler = VirtualTimeScheduler(START_S)
    shift_s = 0.0
    source = SyntheticSource(
        "c1",
        ["A"],
        event_types=["Q"],
        runtime=replace(SYSTEM, clock=lambda: round((scheduler.clock + shift_s) * 1e9)),
        scheduler=scheduler,
    )
    seen = []
    with source.frames.subscribe(seen.append):
        scheduler.advance_to(START_S + 2.5)
        shift_s = -3600.0
        scheduler.advance_to(START_S + 6.5)
    assert len(seen) >= 5


def test_own_thread_brings_frames_and_ends_with_the_subscription():
    """A closed pipeline would leave a thread behind."""
    source = SyntheticSource("c1", ["AAPL"], event_types=["Q"], interval_s=0.01)
    names = []
    enough = threading.Event()

    def see(_frames):
        names.append(threading.current_thread().name)
        if len(names) >= 3:
            enough.set()

    subscription = source.frames.subscribe(see)
    assert enough.wait(10)
    begun = time.monotonic()
    subscription.dispose()
    assert time.monotonic() - begun < 2
    assert set(names) == {"tickbraid-synthetic"}
    assert "tickbraid-synthetic" not in {thread.name for thread in threading.enumerate()}


def test_disposing_within_a_frame_does_not_wait_for_itself():
    """`take(1)` on the stream would deadlock for two seconds."""
    source = SyntheticSource("c1", ["AAPL"], event_types=["Q"], interval_s=0.001)
    took = []
    done = threading.Event()

    def see(_frames):
        begun = time.monotonic()
        subscription.dispose()
        took.append(time.monotonic() - begun)
        done.set()

    ready = threading.Event()
    subscription = source.frames.subscribe(lambda frames: ready.wait(10) and see(frames))
    ready.set()
    assert done.wait(10)
    assert took[0] < 1.5


@pytest.mark.parametrize("kind", [RuntimeError, SystemExit, BaseException])
def test_a_round_that_fails_is_logged_and_the_next_one_comes(caplog, monkeypatch, kind):
    """The thread would die with nothing but a traceback on stderr, and the stream stand still."""
    monkeypatch.setattr("pipeline.synthetic.FAILED_S", 0.01)
    source = SyntheticSource("c1", ["AAPL"], event_types=["Q"], interval_s=0.001)
    calls = []
    again = threading.Event()

    def see(_frames):
        calls.append(1)
        if len(calls) == 1:
            raise kind("no")
        again.set()

    subscription = source.frames.subscribe(see)
    assert again.wait(10)
    subscription.dispose()
    assert "a round of synthetic ticks failed" in caplog.text


@pytest.mark.parametrize("interval_s", [0, -1, 0.0001, float("nan")])
def test_bad_interval_is_named(interval_s):
    """A zero interval would keep a core busy."""
    with pytest.raises(ValueError, match="interval_s"):
        SyntheticSource("c1", [], interval_s=interval_s)


def test_bad_event_type_fails_before_the_first_subscription():
    """A typing mistake would surface in a thread, later."""
    with pytest.raises(ValueError, match="event_types"):
        SyntheticSource("c1", ["A"], event_types=["TRADES"])
