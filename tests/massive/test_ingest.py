import logging
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reactivex import Subject
from reactivex.scheduler import VirtualTimeScheduler

from operators._buffer.accounting import Dropped
from pipeline.massive.frames import Frames
from pipeline.massive.ingest import BITE_BYTES, Ingest
from tests.massive.ingest_bench import ELEMENT, Bench
from tests.massive.odd_messages import MESSAGES, received, small_bites


def test_frames_come_out_in_order_on_the_other_side():
    """Order within a connection is what makes quotes and trades mean something."""
    bench = Bench()
    for at_ns in range(5):
        bench.offer("a", 1, at_ns)
    assert bench.out == []
    bench.run()
    assert [f.received_ns for f in bench.out] == [0, 1, 2, 3, 4]
    assert bench.ingest.queued_bytes == 0


def test_the_oldest_go_when_it_is_full_and_the_next_carry_the_count():
    """The reader must never wait; what that costs is told exactly, per connection."""
    bench = Bench(capacity_bytes=100)
    bench.offer("a", 5, 1)
    bench.offer("b", 5, 2)
    bench.offer("a", 5, 3)
    assert bench.drops == [("a", "ingest_overflow", 5, 1, 1), ("b", "ingest_overflow", 5, 2, 2)]
    bench.run()
    assert [(f.connection, f.lost, bool(f.messages)) for f in bench.out] == [("a", 5, True), ("b", 5, False)]


@given(
    st.lists(
        st.one_of(st.tuples(st.sampled_from("abc"), st.integers(0, 30)), st.just("run")),
        max_size=40,
    ),
    st.integers(1, 600),
)
def test_every_element_comes_out_or_is_declared_lost(history, capacity_bytes):
    """The account of the stream rests on this: nothing vanishes between the threads."""
    bench = Bench(capacity_bytes)
    for step in history:
        if step == "run":
            bench.run()
        else:
            bench.offer(*step)
        waiting = bench.ingest.waiting()
        assert bench.ingest.queued_bytes <= capacity_bytes
        for connection, offered in bench.offered.items():
            assert offered == sum(bench.arrived(connection)) + waiting[connection]
    bench.run()
    for connection, offered in bench.offered.items():
        assert offered == sum(bench.arrived(connection))
    assert not +bench.ingest.waiting()
    assert sum(count for _, _, count, *_ in bench.drops) == sum(f.lost for f in bench.out)


MIXED = st.lists(
    st.sampled_from([b'{"ev":"Q","n":%d}', b'{"ev":"T","n":%d}', b'{"ev":"A","n":%d}']), max_size=9
)


@given(st.lists(MIXED, min_size=1, max_size=30), st.integers(200, 3000))
def test_quotes_are_given_up_before_anything_else(reads, capacity_bytes):
    """A quote is replaced by a newer one, but a trade that is missing is missing for ever."""
    bench, number, kept_bytes = Bench(capacity_bytes), 0, 0
    sent = []
    for at_ns, kinds in enumerate(reads):
        elements = [kind % (number + index) for index, kind in enumerate(kinds)]
        number += len(kinds)
        message = b"[" + b",".join(elements) + b"]"
        bench.source.on_next(Frames("a", at_ns, [message], len(message)))
        sent += elements
        kept_bytes += 2 + sum(len(element) + 1 for element in elements if b'"Q"' not in element)
    bench.run()
    texts = [message[1:-1] for frames in bench.out for message in frames.messages]
    came = [b"{" + text.strip(b"{}") + b"}" for each in texts if each for text in each.split(b"},{")]
    assert came == [element for element in sent if element in set(came)], "in order, nothing made up"
    assert len(came) + sum(frames.lost for frames in bench.out) == len(sent)
    if kept_bytes <= capacity_bytes - 200:
        assert [e for e in sent if b'"Q"' not in e] == [e for e in came if b'"Q"' not in e]


def test_reading_has_its_turn_after_each_bite():
    """A backlog that is decoded in one go keeps the reader from its sockets, and the server cuts us off."""
    bench = Bench(capacity_bytes=10 * BITE_BYTES)
    for at_ns in range(5):
        bench.offer("a", 1, at_ns, BITE_BYTES // 2)
    seen = []
    bench.scheduler.schedule(lambda *_: seen.append(len(bench.out)))
    bench.run()
    assert seen == [2]
    assert len(bench.out) == 5


@settings(max_examples=60)
@given(st.lists(st.tuples(st.sampled_from("ab"), MESSAGES), min_size=1, max_size=5), st.integers(60, 10_000))
def test_the_account_is_exact_while_a_large_message_goes_on_in_bites(reads, capacity_bytes):
    """What is not decoded yet counts as queued: whoever reads the account meanwhile sees it balance."""
    with small_bites():
        bench = Bench(capacity_bytes)
        offered, arrived = Counter(), Counter()

        def hold():
            waiting = bench.ingest.waiting()
            assert all(offered[c] == arrived[c] + waiting[c] for c in "ab")

        def see(frames):
            arrived[frames.connection] += received(frames) + frames.lost
            assert frames.size_bytes <= 2 * 40 + 2
            hold()

        source = Subject()
        source.pipe(bench.ingest).subscribe(see)
        for connection, message in reads:
            before = arrived + bench.ingest.waiting()
            frames = Frames(connection, 1, [message], len(message))
            source.on_next(frames)
            come = (arrived + bench.ingest.waiting())[connection] - before[connection]
            if not frames.is_slow:
                assert come == Frames(connection, 1, [message], len(message)).count_elements()
            offered[connection] += come
            hold()
        bench.run()
        hold()
        assert not +bench.ingest.waiting()
        assert bench.ingest.queued_bytes == 0


def test_other_things_have_their_turn_after_each_bite_of_a_large_message():
    """One message of 1 MiB stopped all sockets, timers and `close` for 39 s."""
    bench = Bench(capacity_bytes=10**9)
    turns = []

    def see(frames):
        turns.append(frames.size_bytes)
        bench.scheduler.schedule(lambda *_: turns.append(0))

    source = Subject()
    source.pipe(bench.ingest).subscribe(see)
    for message in (b"[%b" % (b'{"ev":"T","sym":"A' * 20_000), b"[%b]" % b",".join([ELEMENT] * 40_000)):
        source.on_next(Frames("a", 1, [message], len(message)))
    bench.run()
    assert turns.count(0) == sum(map(bool, turns)) > 10
    at_once, most_at_once = 0, 0
    for size in turns:
        at_once = at_once + size if size else 0
        most_at_once = max(most_at_once, at_once)
    assert most_at_once < 2.2 * BITE_BYTES, "after a bite what else was to be done was done"


def test_who_is_in_a_hurry_does_not_wait_for_a_salvage():
    """Closing took all of its five seconds for a message of 16 MiB in which there was not one tick."""
    bench = Bench(capacity_bytes=10**9)
    now_s = 0.0
    bench.ingest._monotonic = lambda: now_s
    message = b"[%b]" % b",".join([b'{"ev":0}'] * 60_000)
    came = []

    def see(frames):
        nonlocal now_s
        came.append(frames)
        now_s += 0.6

    source = Subject()
    source.pipe(bench.ingest).subscribe(see)
    source.on_next(Frames("a", 1, [message], len(message)))
    bench.ingest.hurry()
    bench.run()
    lost = sum(frames.lost for frames in came)
    assert len(came) == 3
    assert sum(frames.count_elements() for frames in came) + lost == 60_000
    assert bench.drops == [("a", "unsalvaged", lost, 1, 1)]
    assert bench.ingest.queued_bytes == 0


def test_what_other_connections_bring_passes_a_large_message_after_each_bite():
    """Every ticker of every socket was seconds late while one socket's 16 MiB of rubbish were salvaged."""
    bench = Bench(capacity_bytes=10**9)
    bench.offer("a", 60_000, 1)
    bench.offer("a", 2, 2)
    bench.offer("b", 1, 3)
    bench.offer("c", 1, 4)
    bench.offer("b", 3, 5)
    bench.run()
    came = [frames.connection for frames in bench.out]
    assert came[:4] == ["a", "b", "c", "b"]
    assert came[4:] == ["a"] * (len(came) - 4)
    for connection in "abc":
        times = [frames.received_ns for frames in bench.out if frames.connection == connection]
        assert times == sorted(times), "each in its order"
        assert bench.arrived(connection) == (bench.offered[connection], 0)
    assert bench.ingest.queued_bytes == 0


def test_a_look_at_a_part_looks_at_a_bite_of_a_large_message(monkeypatch):
    """Who scrapes would wait until 16 MiB are counted."""
    bench = Bench(capacity_bytes=10**9)
    message = b"[%b]" % b",".join([ELEMENT] * 100_000)
    bench.source.on_next(Frames("a", 1, [message], len(message)))
    seen = []
    count = Frames.count_elements
    monkeypatch.setattr(
        Frames, "count_elements", lambda frames: seen.append(frames.size_bytes) or count(frames)
    )
    assert bench.ingest.waiting(1)["a"] == pytest.approx(100_000, rel=0.01)
    assert max(seen) <= 2 * BITE_BYTES


def test_where_there_is_no_room_frames_wait_undecoded():
    """A subscriber that blocks must not block the reader: what comes waits until there is room."""
    bench = Bench()
    bench.ready = False
    bench.offer("a", 1)
    bench.run()
    bench.offer("a", 1)
    bench.source.on_completed()
    bench.run()
    assert (bench.out, bench.completed, bench.ingest.waiting()["a"]) == ([], 0, 2)
    bench.ingest.resume()
    bench.run()
    assert bench.out == []
    bench.ready = True
    bench.ingest.resume()
    bench.ingest.resume()
    bench.run()
    assert (len(bench.out), bench.completed) == (2, 1)


def test_who_leaves_is_given_all_that_waits():
    """What a subscriber that leaves gives up can be told only with its count and its times."""
    bench = Bench(capacity_bytes=110)
    bench.ready = False
    for connection, at_ns in (("a", 1), ("b", 2), ("a", 3), ("a", 4)):
        bench.offer(connection, 3, at_ns)
    left = []
    bench.ingest.part(left.extend)
    assert left == [
        *(Dropped("b", "closed", 3, 2, 2), Dropped("a", "closed", 6, 3, 4)),
        Dropped("a", "lost", 3, bench.now_ns, bench.now_ns),
    ]


def test_room_that_comes_while_it_decides_to_wait_is_seen():
    """A wake-up between the question and the wait would be lost, and the stream stand still for ever."""
    bench = Bench()
    answers = iter([False, True, True])
    bench.ingest._ready = lambda: next(answers)
    bench.offer("a", 1)
    bench.run()
    assert len(bench.out) == 1


def test_what_is_to_come_afterwards_comes_after_all_that_was_received():
    """A gap that is judged before the ticks that end it were seen would be told wrongly."""
    bench = Bench()
    done = []
    bench.ingest.afterwards(lambda: done.append(len(bench.out)))
    bench.run()
    bench.offer("a", 1)
    bench.offer("a", 1)
    bench.ingest.afterwards(lambda: done.append(len(bench.out)))
    bench.run()
    assert done == [0, 2]


def test_completion_comes_after_what_waits():
    """Closing drains: the last ticks of the day are not cut off."""
    bench = Bench()
    bench.offer("a", 1)
    bench.source.on_completed()
    assert bench.completed == 0
    bench.run()
    assert (len(bench.out), bench.completed) == (1, 1)


def test_completion_of_an_idle_buffer():
    """With nothing queued the end still comes."""
    bench = Bench()
    bench.source.on_completed()
    bench.run()
    assert bench.completed == 1


def test_of_a_long_queue_a_part_is_looked_at(monkeypatch):
    """Whoever scrapes a stream that is behind would set it back by the time it takes to read the queue."""
    bench = Bench(capacity_bytes=10**9)
    for connection, reads in (("a", 500), ("b", 2)):
        for _ in range(reads):
            bench.offer(connection, 10)
    size_bytes = bench.ingest._queue[0].size_bytes
    looked_at = Counter()
    count = Frames.count_elements

    def look(frames):
        looked_at[frames.connection] += 1
        return count(frames)

    monkeypatch.setattr(Frames, "count_elements", look)
    assert bench.ingest.waiting(3 * size_bytes) == {"a": 5000, "b": 20}
    assert looked_at == {"a": 3, "b": 2}
    assert bench.ingest.waiting() == {"a": 5000, "b": 20}
    assert looked_at == {"a": 503, "b": 4}


def test_nothing_comes_after_dispose():
    """A disposed pipeline must not be called again."""
    bench = Bench()
    bench.offer("a", 1)
    bench.subscription.dispose()
    bench.subscription.dispose()
    bench.run()
    assert bench.out == []
    assert bench.ingest.waiting() == {"a": 1}


def test_a_defect_behind_it_costs_those_frames_and_is_counted(caplog):
    """A bug in a stage must not end the day; its ticks count as lost, with a traceback in the log."""
    bench = Bench()
    out = []

    def fail_once(frames):
        if frames.received_ns == 1:
            raise RuntimeError("a defect")
        out.append(frames)

    source = Subject()
    ingest = Ingest(1000, bench.scheduler, lambda *a: None)
    source.pipe(ingest).subscribe(fail_once)
    bench.source = source
    with caplog.at_level(logging.ERROR, "tickbraid.massive.ingest"):
        bench.offer("a", 3, 1)
        bench.offer("a", 2, 2)
        bench.run()
    assert [(f.received_ns, f.lost) for f in out] == [(2, 3)]
    assert "a defect" in caplog.text


def test_a_capacity_of_nothing_is_refused():
    """Every frame would be dropped."""
    with pytest.raises(ValueError, match="capacity_bytes"):
        Ingest(0, VirtualTimeScheduler(), lambda *a: None)
