import gzip
import json
import math
from collections import Counter

from pipeline import Account, status
from pipeline.embedded import RedisServer
from pipeline.market import SyntheticMarket
from pipeline.massive.simulator import Faults, Options, ReplayFeed, Simulator, SyntheticFeed, read_recording
from tests.conftest import wait_until
from tests.integration.harness import KEY, RedisListener, Run, config_for

RECORDED_EVENTS = 12_000
SYNTHETIC_EVENTS = 20_000
MARKET = [f"S{number:03}" for number in range(100)]
RAW, MARKET_TICKS = "tickstock.data.raw", "tickstock:market:ticks"


def record_session(path, ticker="AMZN"):
    """Write a recorded session of one ticker as the simulator reads it; return its elements."""
    market = SyntheticMarket([ticker], seed=7, start_ms=1_340_295_753_000, event_types=("T", "Q"))
    elements = []
    with gzip.open(path, "wt") as lines:
        now_ms = 1_340_295_753_000
        while len(elements) < RECORDED_EVENTS:
            now_ms += 13
            frame = [json.loads(element) for _, element in market.events(1 + len(elements) % 9, now_ms)]
            elements += frame
            lines.write(json.dumps({"at_us": now_ms * 1000, "frame": frame}) + "\n")
    return elements


def figures(element):
    """Return what makes a trade or a quote of the recording: everything that is money or order."""
    names = ("t", "q", "i", "x", "p", "s") if element["ev"] == "T" else ("t", "q", "bp", "bs", "ap", "as")
    return tuple(element.get(name) for name in names)


def figures_of(tick):
    """Return the same of a delivered tick."""
    if tick.event_type == "T":
        return (tick.event_ms, tick.sequence, tick.trade_id, tick.exchange, tick.price, tick.size)
    return (tick.event_ms, tick.sequence, tick.bid, tick.bid_size, tick.ask, tick.ask_size)


def test_the_main_job(tmp_path):
    """Three sockets at full speed with repeats and rubbish: each tick once, in order, accounted for."""
    recorded = record_session(tmp_path / "session.jsonl.gz")
    feeds = [
        ReplayFeed(read_recording(tmp_path / "session.jsonl.gz"), speed=math.inf),
        SyntheticFeed(MARKET, rate=math.inf, event_types=("T", "Q"), count=SYNTHETIC_EVENTS, seed=3),
    ]
    options = Options(keys=frozenset({KEY}), max_connections=3, start_after=3)
    with (
        RedisServer.start() as server,
        Simulator(feeds, options, Faults(repeat=0.05, malformed=0.01)) as simulator,
    ):
        listener = RedisListener(server.url, RAW, MARKET_TICKS)
        config = config_for(
            simulator, ["AMZN"], MARKET[:50], MARKET[50:], REDIS_URL=server.url, REDIS_OVERFLOW="block"
        )
        with Run(config) as run:
            assert simulator.finished.wait(60)
            sent = simulator.report().sent
            wait_until(lambda: run.count >= sent.elements, 15, "the last tick")
            run.stream.close()
            accounts = run.stream.accounts()
            rejected = run.stream.health()["rejected"]
        priced = [tick for ticks in run.ticks.values() for tick in ticks if tick.price]
        wait_until(lambda: min(listener.counts().values()) >= len(priced), 15, "the last message")
        listener.close()

    assert sent.elements == len(recorded) + SYNTHETIC_EVENTS
    assert sent.repeated_elements > 0
    assert run.by_channel() == sent.channels
    for kind in ("T", "Q"):
        expected = [figures(element) for element in recorded if element["ev"] == kind]
        assert [figures_of(tick) for tick in run.ticks[kind, "AMZN"]] == expected
    for ticks in run.ticks.values():
        sequence = [tick.sequence for tick in ticks]
        assert sequence == sorted(sequence)

    assert listener.counts() == {RAW: len(priced), MARKET_TICKS: len(priced)}
    in_redis = Counter(json.loads(body)["ticker"] for body in listener.messages[RAW])
    assert in_redis == Counter(tick.ticker for tick in priced)

    assert set(accounts) == {"callback", "redis"}
    assert sent.malformed.total() == sum(rejected.values())
    for name, delivered in {"callback": sent.elements, "redis": len(priced)}.items():
        for account in accounts[name].values():
            assert account.imbalance == account.queued == account.dropped == 0
        total = sum(accounts[name].values(), start=Account())
        assert (total.delivered, total.deduplicated) == (delivered, sent.repeated_elements)
        assert total.rejected == sent.malformed.total() + sent.elements - delivered
    assert not run.of(status.Loss)
    assert run.threads == {"tickbraid-callback"}
    assert run.completed.is_set()
