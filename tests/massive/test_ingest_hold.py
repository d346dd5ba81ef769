import pytest

from pipeline.massive.frames import Frames
from pipeline.massive.ingest import HOLD_BYTES
from tests.massive.ingest_bench import Bench


def test_reads_are_held_back_while_much_waits():
    """Reading what has to be given up costs the time in which other ticks could be decoded."""
    bench = Bench(capacity_bytes=10 * HOLD_BYTES)
    bench.offer("a", 1, size_bytes=HOLD_BYTES)
    assert bench.held == []
    bench.ready = False
    bench.offer("a", 1, size_bytes=1)
    bench.run()
    assert bench.held == [True]
    bench.ready = True
    bench.ingest.resume()
    bench.run()
    assert bench.held == [True, False]
    assert len(bench.out) == 2


def test_no_reads_are_held_back_for_one_large_message():
    """While 16 MiB of rubbish are salvaged for seconds all other sockets would wait unread."""
    bench = Bench(capacity_bytes=10**9)
    message = b"[%b" % (b'{"ev"' * 500_000)
    bench.source.on_next(Frames("a", 1, [message], len(message)))
    bench.run()
    assert bench.held == []


def offer_late(bench, late_ms, wrong_ms=0):
    """Offer a read of two MiB whose ticks have waited for so long, by a wall clock that is so wrong."""
    bench.at_s += 0.1
    now_ms = 1_772_000_000_000 + round(bench.at_s * 1e3)
    message = b'[{"ev":"Q","t":%d}]' % (now_ms - late_ms)
    bench.source.on_next(Frames("a", (now_ms + wrong_ms) * 1_000_000, [message], 2 * HOLD_BYTES))


def test_what_the_server_will_not_keep_is_read_though_it_may_be_given_up():
    """It would cut us off, and then everything is lost instead of some quotes."""
    bench = Bench(capacity_bytes=6 * HOLD_BYTES, patience_bytes=4 * HOLD_BYTES)
    bench.ready = False
    offer_late(bench, 0)
    bench.run()
    assert bench.held == [True]
    for _ in range(4):
        offer_late(bench, 1000)
        bench.run()
    bench.ingest.resume()
    bench.run()
    assert bench.held == [True, False]
    assert sum(count for _, _, count, *_ in bench.drops) == 3, "those that came once patience was known spent"


@pytest.mark.parametrize("wrong_s", [-3600, -5, 5, 3600])
def test_a_clock_that_is_set_spends_no_patience(wrong_s):
    """All would look late for days: reads go on, and quotes are given up that the server would have kept."""
    bench = Bench(capacity_bytes=60 * HOLD_BYTES, patience_bytes=4 * HOLD_BYTES)
    bench.ready = False
    for wrong_ms in (0, 0, wrong_s * 1000, wrong_s * 1000, 0, 0):
        offer_late(bench, 0, wrong_ms)
        bench.ingest.resume()
        bench.run()
    assert bench.held == [True]


@pytest.mark.parametrize("wrong_s", [-3600, 0, 3600])
def test_a_clock_that_is_set_hides_no_backlog(wrong_s):
    """Nobody would see that the server's patience ends: it cuts us off, and then everything is lost."""
    bench = Bench(capacity_bytes=60 * HOLD_BYTES, patience_bytes=4 * HOLD_BYTES)
    bench.ready = False
    offer_late(bench, 0)
    bench.run()
    for _ in range(4):
        offer_late(bench, 1000, wrong_s * 1000)
        bench.ingest.resume()
        bench.run()
    assert bench.held == [True, False]


def test_where_a_subscriber_blocks_nothing_is_given_up_whatever_the_server_says():
    """`block` is a promise that nothing is dropped; who is cut off for it chose that."""
    bench = Bench(capacity_bytes=2 * HOLD_BYTES, blocks=True, patience_bytes=1)
    bench.ready = False
    for _ in range(8):
        offer_late(bench, 1000)
    bench.run()
    assert (bench.held, bench.drops) == ([True], [])


@pytest.mark.parametrize("step_ns", [-1000, 0, 1000])
def test_what_is_too_old_for_everybody_is_not_decoded(step_ns):
    """With a full buffer all would be decoded and be too old then: nothing would ever be delivered."""
    bench = Bench(capacity_bytes=100 * HOLD_BYTES, max_age_ns=50)
    bench.ready = False
    for at_ns in (10, 40, 60, 70):
        bench.at_s = at_ns / 1e9
        bench.offer("a", 2, at_ns + (step_ns if at_ns > 20 else 0), size_bytes=HOLD_BYTES)
    bench.run()
    assert bench.held == [], "what waits at the server gets old, too"
    bench.at_s, bench.now_ns, bench.ready = 100 / 1e9, 100 + step_ns, True
    bench.ingest.resume()
    bench.run()
    assert [(round(frames.offered_s * 1e9), frames.lost) for frames in bench.out] == [(60, 4), (70, 0)]
    assert [(name, reason, count) for name, reason, count, *_ in bench.drops] == [("a", "aged", 4)]
    assert not +bench.ingest.waiting()


def test_new_quotes_are_given_up_at_once_where_the_server_will_not_wait():
    """Quotes would push trades out of the buffer, and take twice the time once they are out of the cache."""
    bench = Bench(capacity_bytes=64 * HOLD_BYTES, patience_bytes=1)
    bench.ready = False
    message = b'[{"ev":"Q","t":%d},{"ev":"T","t":%d}]'
    for read in range(40):
        bench.at_s = 0.1 * read
        at_ms = 1_772_000_000_000 + 100 * read
        text = message % ((at_ms, at_ms) if read < 20 else (at_ms - 5000, at_ms - 5000))
        bench.source.on_next(Frames("a", at_ms * 1_000_000, [text], HOLD_BYTES // 2))
    bench.ready = True
    bench.ingest.resume()
    bench.run()
    came = b"".join(message for frames in bench.out for message in frames.messages)
    given_up = sum(count for _, _, count, *_ in bench.drops)
    assert came.count(b'"T"') == 40
    assert came.count(b'"Q"') + given_up == 40
    assert given_up > 15
    assert sum(frames.lost for frames in bench.out) == given_up


def test_what_is_left_of_reads_that_came_together_is_one_batch():
    """What a batch costs would be most of what the few trades of each read cost."""
    first, second, later, other = (
        Frames(name, 5, [b'[{"ev":"T"}]'], 12, thinned=True, counted=1, offered_s=offered_s)
        for name, offered_s in (("a", 0.005), ("a", 0.0058), ("a", 0.0062), ("b", 0.005))
    )
    assert first.extend(second)
    assert (len(first.messages), first.size_bytes, first.count_elements(), first.received_ns) == (2, 24, 2, 5)
    assert not first.extend(later)
    assert not first.extend(other)
    assert not Frames("a", 5, [b'[{"ev":"T"}]'], 12).extend(second)


def test_trades_that_came_thinned_outlast_the_quotes_behind_them():
    """A full buffer would give up trades at its head while quotes that came later still wait."""
    bench = Bench(capacity_bytes=100)
    bench.ready = False
    trade, quote = b'[{"ev":"T","n":1}]', b'[{"ev":"Q","n":1},{"ev":"Q","n":2},{"ev":"Q","n":3}]'
    bench.source.on_next(Frames("a", 1, [trade], len(trade), thinned=True, counted=1))
    for at_ns in (2, 3):
        bench.source.on_next(Frames("a", at_ns, [quote], len(quote)))
    bench.ready = True
    bench.ingest.resume()
    bench.run()
    assert [frames.received_ns for frames in bench.out if frames.messages] == [1, 3]
    assert bench.drops == [("a", "ingest_overflow", 3, 2, 2)]
