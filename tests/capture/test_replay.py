import shutil
import threading
from datetime import UTC, datetime

import msgspec
import pytest

from pipeline import build_pipeline, status
from pipeline.capture.layout import FRAMES, Folder, parts
from pipeline.capture.parts import Parts
from pipeline.capture.replay import Replay, ReplayClock
from pipeline.capture.schema import FRAME_SCHEMA, STATUS, pack_reads
from pipeline.errors import CaptureUnusable, SettingsError
from pipeline.massive.loop import SocketLoop
from pipeline.massive.simulator import Simulator
from pipeline.settings import load_settings
from tests.capture.worlds import START_MS, make_capture, of_feed, replay, some_reads
from tests.conftest import wait_until

START_NS = START_MS * 1_000_000


@pytest.fixture
def recorded(tmp_path):
    """A capture of two connections, with duplicates."""
    make_capture(tmp_path / "recorded", some_reads(), rows_a_file=25)
    return tmp_path / "recorded"


def in_words(ticks):
    """Return ticks as values that can be compared."""
    return [msgspec.to_builtins(tick) for tick in ticks]


def iso(at_ns):
    """Return a time as the settings take it."""
    return datetime.fromtimestamp(at_ns / 1e9, UTC).isoformat()


@pytest.mark.parametrize("speed", ["max", 1, 7.5])
def test_the_same_capture_brings_the_same_ticks_duplicates_and_account_at_any_speed(recorded, speed):
    """Whoever changed a strategy could not tell its effect from that of the replay."""
    ticks, accounts, _ = replay(recorded)
    again, accounts_again, _ = replay(recorded, speed=speed)
    assert in_words(again) == in_words(ticks)
    assert accounts_again == accounts
    total = sum(a.deduplicated for a in accounts["callback"].values())
    assert total > 10
    assert {a.imbalance for a in accounts["callback"].values()} == {0}


def test_what_a_slow_subscriber_has_not_taken_waits(recorded):
    """A replay as fast as possible would show another market to whoever takes time for a tick."""
    ticks, _, _ = replay(recorded)
    slow, accounts, _ = replay(recorded, SUBSCRIBER_BUFFER_TICKS=3, INGEST_BUFFER_BYTES=65_536)
    assert in_words(slow) == in_words(ticks)
    assert {a.dropped for a in accounts["callback"].values()} == {0}


def test_a_subscriber_may_still_be_given_a_policy_by_name(recorded):
    """A user who studies what conflation does to a burst could not."""
    settings = {"REPLAY_PATH": str(recorded), "SUBSCRIBER_OVERFLOW": "drop_newest"}
    stream = Replay(load_settings(settings)).stream
    assert (stream.settings.subscriber_overflow, stream.settings.redis_overflow) == ("drop_newest", "block")
    stream.close()


def test_latencies_come_out_as_recorded(recorded):
    """The latency of a day would be that of the day on which somebody looks at it."""
    with build_pipeline({"REPLAY_PATH": str(recorded), "REPLAY_SPEED": "max"}) as stream:
        done = threading.Event()
        stream.batches.subscribe(on_completed=done.set)
        assert done.wait(20)
        feed = stream.health()["latency_ms"]["feed"]
    assert set(feed) == {"connection_1", "connection_2"}
    assert all(figures["max"] < 1 for figures in feed.values()), "and not years"


def test_what_comes_after_receipt_is_measured_from_each_read_on(tmp_path):
    """A tick would seem to have been decoded hours late, or before it came."""
    make_capture(tmp_path, some_reads(10, step_ns=600_000_000_000))
    with build_pipeline({"REPLAY_PATH": str(tmp_path), "REPLAY_SPEED": "max"}) as stream:
        done = threading.Event()
        stream.batches.subscribe(on_completed=done.set)
        assert done.wait(20)
        decode = stream.health()["latency_ms"]["decode"]
    assert {figures["negative"] for figures in decode.values()} == {0}
    assert all(figures["count"] for figures in decode.values())


def test_a_part_of_it_is_replayed_by_time_and_by_connection(recorded):
    """A quant who looks into one minute would have to sit through the day."""
    whole, _, _ = replay(recorded)
    begin, end = START_NS + 20_000_000, START_NS + 80_000_000
    some, _, _ = replay(recorded, REPLAY_FROM=iso(begin), REPLAY_TO=iso(end))
    assert some
    assert all(begin <= tick.received_ns < end for tick in some)
    expected = [tick for tick in in_words(whole) if begin <= tick["received_ns"] < end]
    # What came twice, once before the begin, is no duplicate any more.
    assert [t for t in in_words(some) if t in expected] == expected
    _, accounts, _ = replay(recorded, REPLAY_CONNECTIONS="2")
    assert set(accounts["callback"]) == {"connection_2"}


def test_events_come_in_their_place_but_not_those_of_the_program_that_recorded(tmp_path):
    """A replay would tell of a full disk and a slow subscriber of last week as if they were ours."""
    at = START_NS
    events = [
        status.Connected(connection="connection_1", at_ns=at, url="ws://127.0.0.1/stocks"),
        status.SinkDown(at_ns=at + 1, sink="redis", reason="gone"),
        status.Loss(at_ns=at + 2, where="callback", reason="overflow", count=3, from_ns=1, to_ns=2),
        status.Loss(at_ns=at + 3, where="feed", reason="disconnected", count=None, from_ns=1, to_ns=2),
    ]
    rows = [(STATUS, event.connection, event.at_ns, [msgspec.json.encode(event)]) for event in events]
    rows.insert(1, (FRAMES, "connection_1", at, [b'[{"ev":"T","sym":"A","p":1,"t":1}]']))
    rows.append((STATUS, None, at + 4, [b'{"event":"OfALaterVersion","at_ns":1}']))
    folder = Folder(tmp_path)
    its = Parts(folder, FRAMES, FRAME_SCHEMA, rotate_rows=100, rotate_s=60)
    its.append(pack_reads(rows))
    its.finish()
    folder.close()
    ticks, _, told = replay(tmp_path)
    assert len(ticks) == 1
    assert told == [events[0], events[3]]


def test_ticks_alone_are_replayed_as_far_as_their_columns_go(recorded, tmp_path):
    """Whoever recorded only ticks, for want of space, could not replay anything."""
    replay(recorded, CAPTURE_PATH=str(tmp_path / "both"))
    whole, _, _ = replay(tmp_path / "both")
    shutil.rmtree(tmp_path / "both" / FRAMES)
    ticks, _, _ = replay(tmp_path / "both")
    sizes = [[(t.size, t.volume) for t in its if t.event_type == "T"] for its in (ticks, whole)]
    assert sizes[0] == sizes[1]
    assert any(size == 0 < volume for size, volume in sizes[0]), "also parts of a share, as the feed has them"
    replay(tmp_path / "both", CAPTURE_PATH=str(tmp_path / "again"))
    assert of_feed(tmp_path / "again").equals(of_feed(tmp_path / "both"))


def test_a_file_that_is_damaged_meanwhile_ends_the_stream_with_its_name(recorded):
    """A replay that breaks off would look as if the day had been short."""
    last = parts(recorded, FRAMES)[-1].path
    replayed = Replay(load_settings({"REPLAY_PATH": str(recorded), "REPLAY_SPEED": "max"}))
    last.write_bytes(last.read_bytes()[:100])
    errors, failed, ticks = [], threading.Event(), []
    with replayed.stream as stream:
        stream.subscribe(ticks.append, lambda error: (errors.append(error), failed.set()))
        assert failed.wait(20)
    assert ticks
    assert isinstance(errors[0], CaptureUnusable)
    assert last.name in str(errors[0])


def test_a_capture_that_cannot_be_read_is_said_at_once(recorded):
    """A damaged capture would come as a traceback of the library that reads it."""
    last = parts(recorded, FRAMES)[-1].path
    last.write_bytes(last.read_bytes()[:100])
    with pytest.raises(CaptureUnusable, match="cannot be read"):
        build_pipeline({"REPLAY_PATH": str(recorded)})


@pytest.mark.parametrize("shift_s", [-10, 3600])
def test_a_clock_that_was_set_while_it_was_recorded_is_not_waited_for(tmp_path, monkeypatch, shift_s):
    """A replay at speed 1 would wait 9 s before its first tick, or an hour in its middle."""
    reads = some_reads(20, step_ns=100_000_000)
    shifted = [
        (connection, at_ns + (shift_s * 1_000_000_000 if n >= 10 else 0), messages)
        for n, (connection, at_ns, messages) in enumerate(reads)
    ]
    make_capture(tmp_path, shifted)
    waits = []
    schedule = SocketLoop.schedule_relative

    def hurry(loop, due_s, action, state=None):
        if type(getattr(action, "__self__", None)).__name__ == "_Player":
            waits.append(due_s)
            due_s = min(due_s, 0.001)
        return schedule(loop, due_s, action, state)

    monkeypatch.setattr(SocketLoop, "schedule_relative", hurry)
    replayed, now_s = [], [100.0]
    ticking = Replay(
        load_settings({"REPLAY_PATH": str(tmp_path)}),
        monotonic=lambda: now_s.__setitem__(0, now_s[0] + 0.01) or now_s[0],
    )
    with ticking.stream as stream:
        stream.subscribe(replayed.append, on_completed=lambda: waits.append(None))
        wait_until(lambda: None in waits)
    longest_s = max(wait for wait in waits if wait is not None)
    assert longest_s < (1 if shift_s < 0 else 61)
    assert len(replayed) > 0


def test_closing_a_replay_ends_it_at_once(tmp_path):
    """Ctrl-C in a replay at the speed of the day would take the rest of the day."""
    reads = some_reads(20, step_ns=1_000_000_000)
    make_capture(tmp_path, reads)
    ticks = []
    with build_pipeline({"REPLAY_PATH": str(tmp_path)}) as stream:
        stream.subscribe(ticks.append)
        wait_until(lambda: ticks)
    account = stream.account()
    assert account.imbalance == 0
    assert account.delivered == len(ticks)


def test_a_stream_that_everybody_left_begins_anew(recorded):
    """In a notebook the second cell would get the rest, or the ticks of two replays at once."""
    ticks, _, _ = replay(recorded)
    with build_pipeline({"REPLAY_PATH": str(recorded), "REPLAY_SPEED": 0.5}) as stream:
        for _ in range(2):
            got = []
            subscription = stream.subscribe(got.append)
            wait_until(lambda: len(got) > 5)  # noqa: B023  # now
            subscription.dispose()
            assert in_words(got) == in_words(ticks)[: len(got)]


def test_it_says_how_far_it_is_and_how_each_connection_does(recorded):
    """A replay of hours would show no progress, or no connections."""
    replayed = Replay(load_settings({"REPLAY_PATH": str(recorded), "REPLAY_SPEED": "max"}))
    assert replayed.progress().done_ns == 0
    assert (replayed.contents.kind, replayed.contents.reads) == (FRAMES, len(some_reads()))
    done = threading.Event()
    with replayed.stream as stream:
        gate = threading.Event()
        stream.batches.subscribe(lambda _: gate.wait(10), on_completed=done.set)
        assert stream.wait_connected(0) == ("connection_1", "connection_2")
        gate.set()
        assert done.wait(20)
        phases = [(c["name"], c["phase"], c["messages"] > 20) for c in stream.health()["connections"]]
    assert phases == [("primary", "closed", True), ("connection_2", "closed", True)]
    assert replayed.progress() == (replayed.progress().total_ns,) * 2


def test_its_tickers_cannot_be_changed(recorded):
    """Whoever asks a replay for another ticker would wait for it."""
    with build_pipeline({"REPLAY_PATH": str(recorded)}) as stream:
        stream.batches.subscribe()
        for act in (
            lambda: stream.add_tickers(["X"]),
            lambda: stream.remove_tickers(["X"]),
            lambda: stream.move_ticker("X", "connection_1"),
            lambda: stream.reconnect("connection_1"),
        ):
            with pytest.raises(CaptureUnusable, match="nothing of that can be changed"):
                act()
        assert stream.rebalance() == ()
        assert stream.tickers() == {}


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"REPLAY_PATH": "none"}, "a directory that holds a capture"),
        ({"REPLAY_SPEED": 0}, "a number from 0.001 to 1e.06, or max"),
        ({"REPLAY_FROM": "2026-11-23T09:30:00"}, "without its offset from UTC"),
        ({"REPLAY_TO": "noon"}, "a time like"),
        (
            {"REPLAY_FROM": "2026-11-23T10:00:00Z", "REPLAY_TO": "2026-11-23T09:00:00Z"},
            "a time after REPLAY_FROM",
        ),
        ({"CAPTURE_PATH": "."}, "another directory than REPLAY_PATH"),
        ({"CAPTURE_KINDS": "quotes"}, "frames, ticks or both"),
    ],
)
def test_wrong_settings_are_named(config, words):
    """A mistake would replay another part of the day, or overwrite what is replayed."""
    with pytest.raises(SettingsError, match=words):
        load_settings({"REPLAY_PATH": "."} | config)


@pytest.mark.parametrize("more", [{}, {"REPLAY_FROM": "2030-01-01T00:00:00Z"}, {"REPLAY_CONNECTIONS": "9"}])
def test_nothing_to_replay_is_said_at_once(recorded, tmp_path, more):
    """A stream would end at once, and nobody would know why."""
    path = recorded if more else tmp_path
    with pytest.raises(CaptureUnusable, match="nothing to replay"):
        build_pipeline({"REPLAY_PATH": str(path)} | more)


def test_a_clock_goes_on_from_the_moment_it_is_set_to():
    """Decoding would seem to take no time, or years."""
    now = [100]
    clock = ReplayClock(lambda: now[0])
    clock.release(5_000)
    now[0] += 30
    assert clock() == 5_030
    clock.release(9_000)
    assert clock() == 9_000


def test_the_simulator_serves_a_capture_to_any_client(recorded, tmp_path):
    """A program in another language could not be tried on a recorded day."""
    from pipeline.massive.simulator import ReplayFeed
    from pipeline.massive.simulator.command import _messages
    from pipeline.massive.simulator.feeds import packets_of
    from tests.integration.harness import Run, config_for

    ticks, accounts, _ = replay(recorded)
    received = sum(account.received for account in accounts["callback"].values())
    with Simulator([ReplayFeed(packets_of(_messages(recorded)), speed=50)]) as simulator:
        config = config_for(simulator, ["AAPL", "MSFT", "BRK.B"], MASSIVE_EVENT_TYPES="T,Q,A,AM")
        with Run(config) as run:
            assert simulator.finished.wait(20)
            wait_until(lambda: run.count == len(ticks))
            assert simulator.report().sent.elements == received


def test_packets_leave_out_what_is_no_data():
    """A recorded acknowledgement would confuse the client that a capture is served to."""
    from pipeline.massive.simulator.feeds import packets_of

    good = b'{"ev":"T","sym":"A","p":1,"t":1}'
    messages = [b'[{"ev":"status","status":"success"},' + good + b"]", b"[torn", b'[{"ev":"status"}]', b"[]"]
    (packet,) = packets_of(enumerate(messages))
    assert (packet.at_us, packet.elements, packet.channels) == (0, (good,), ("T.A",))
