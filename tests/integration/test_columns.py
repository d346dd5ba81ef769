"""The columns over real sockets: what the callback gets, to the tick."""

import pytest
from reactivex import operators as ops

from pipeline import build_pipeline
from pipeline.columns import DEFAULT_COLUMNS
from pipeline.massive.simulator import Options, Simulator, SyntheticFeed
from pipeline.massive.simulator.wire import encode_frame
from tests.conftest import our_threads, wait_until
from tests.integration.harness import KEY, Run, config_for

TICKERS = ["AAA", "BBB", "CCC"]
TORN = encode_frame(b'[{"ev":"T","sym":"AAA","p":"garbage","t":1},{"ev":"?"},{"ev":"Q","bp":1}]')
TOO_LARGE = encode_frame(b'[{"ev":"Q","sym":"AAA","bp":1,"t":1718971200123,"q":18446744073709551615}]')


@pytest.fixture
def config():
    """Three connections, and every ticker on two of them, so that every tick comes twice."""
    feed = SyntheticFeed(TICKERS, rate=1000, event_types=("T", "Q", "A"))
    with Simulator([feed], Options(keys=frozenset({KEY}))) as server:
        more = {"MASSIVE_EVENT_TYPES": "T,Q,A", "WEBSOCKET_REDUNDANT_SYMBOLS": TICKERS}
        yield config_for(server, *([ticker] for ticker in TICKERS), **more) | {"server": server}


def rows_of(record_batches):
    """Return all rows."""
    return [row for columns in record_batches for row in columns.to_pylist()]


def test_columns_are_what_the_callback_gets(config):
    """With repeats, malformed and foreign elements: each tick once, in order, all accounted for."""
    server = config.pop("server")
    got = []
    with Run(config) as run:
        run.stream.columns.subscribe(got.append)
        wait_until(lambda: len(rows_of(got)) > 500)
        for number in (1, 2, 3):
            server.send_raw(TORN, only=number)
        wait_until(lambda: run.stream.account("columns").rejected >= 9)
        server.send_raw(TOO_LARGE, only=1)
        wait_until(lambda: run.stream.health()["subscribers"]["columns"]["sink"]["unfit"])
        run.stream.close()
        account, of_callback = run.stream.account("columns"), run.stream.account("callback")
    rows = rows_of(got)
    assert account.imbalance == account.queued == account.dropped == 0
    assert (account.delivered, account.rejected) == (len(rows), of_callback.rejected)
    assert account.deduplicated > 0
    assert list(rows[0]) == list(DEFAULT_COLUMNS)
    quotes = [(row["ticker"], row["sequence"]) for row in rows if row["event_type"] == "Q"]
    assert len(set(quotes)) == len(quotes) > 100
    assert [ticker for ticker, sequence in quotes if sequence is None] == ["AAA"]
    for kind, ticker in run.ticks:
        seen = [
            (tick.price, tick.bid, tick.ask, tick.event_ms * 1_000_000, tick.received_ns)
            for tick in run.ticks[kind, ticker]
        ]
        ours = [
            (row["price"], row["bid"], row["ask"], row["event_ns"], row["received_ns"])
            for row in rows
            if (row["event_type"], row["ticker"]) == (kind, ticker)
        ]
        assert ours == seen[len(seen) - len(ours) :], (kind, ticker)  # the callback was there first


def test_chosen_columns_on_a_thread_of_their_own_and_gone_when_left(config):
    """A notebook's cell subscribes, takes what it needs, and must leave nothing behind."""
    config.pop("server")
    got = []
    with build_pipeline(config) as stream:
        three = stream.columns_of("ticker", "price", "event_ns")
        three.pipe(ops.take(3)).subscribe(got.append)
        wait_until(lambda: len(got) == 3)
        wait_until(lambda: "tickbraid-columns" not in our_threads())
    assert all(columns.schema.names == ["ticker", "price", "event_ns"] for columns in got)


def test_what_a_subscriber_raises_costs_it_one_batch(config):
    """An exception in a notebook's function must not end the stream."""
    config.pop("server")
    calls = []

    def raising(columns):
        calls.append(columns)
        raise RuntimeError("user code")

    with build_pipeline(config) as stream:
        stream.columns.subscribe(raising)
        wait_until(lambda: len(calls) > 3)
    assert stream.account("columns").imbalance == 0


def test_a_wrong_name_fails_before_anything_connects(config):
    """A typing error must not cost one of three connections."""
    server = config.pop("server")
    with build_pipeline(config) as stream, pytest.raises(ValueError, match="prize"):
        stream.columns_of("prize")
    assert server.report().attempts == 0
