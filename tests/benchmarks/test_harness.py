"""What the benchmarks count must be what was sent: nothing here is timed."""

import itertools

import pytest

from benchmarks.clients import config_for
from benchmarks.templates import CHUNK_BYTES, TICKERS, massive
from benchmarks.turns import UNLIMITED, blaster, open_shared
from pipeline import build_pipeline
from pipeline.massive.decode import decode_message
from pipeline.massive.framing import FrameSplitter
from tests.conftest import wait_until


@pytest.mark.parametrize("connections", [1, 3])
def test_ours_counts_what_was_sent(connections):
    """A client that counts too much or too little would make every published figure wrong."""
    count = 0

    def on_tick(_):
        nonlocal count
        count += 1

    with (
        blaster("massive", 10, "--phases=0.1:30000") as sender,
        open_shared(sender.shared) as shared,
        build_pipeline(config_for(sender.port, connections)) as stream,
    ):
        shared[0] = UNLIMITED
        stream.subscribe(on_tick)
        wait_until(lambda: shared[3], 20, "the end of what is sent")
        assert shared[1] >= 3000
        wait_until(lambda: count == shared[1], 10, f"the delivery of {shared[1]} ticks, not {count}")
        account = stream.account()
    assert (account.delivered, account.deduplicated) == (count, 0)


@pytest.mark.parametrize("events", [1, 10, 100])
def test_no_identity_goes_out_twice(events):
    """Were ticks of the sender duplicates, dedupe would drop them and be measured at another work."""
    seen, ticks = set(), 0
    chunks = massive(TICKERS, events, CHUNK_BYTES)[:3] * 2
    for serial, chunk in zip(itertools.count(100_000), chunks):
        for message in FrameSplitter().feed(bytes(chunk.fill(serial))):
            elements, rejects = decode_message(message)
            assert rejects == []
            ticks += len(elements)
            seen |= {(tick.ticker, tick.sequence) for tick in elements if tick.event_type == "Q"}
            seen |= {(tick.ticker, tick.trade_id) for tick in elements if tick.event_type == "T"}
    assert len(seen) == ticks == sum(chunk.ticks for chunk in chunks)
