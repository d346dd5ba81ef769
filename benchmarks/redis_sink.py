"""Messages a second into Redis on loopback: the Redis sink against redis-py, in one run.

    python -m benchmarks.redis_sink

Every contender publishes the same ticks to the same two channels of the same server, a message a tick on
each; the last one publishes them to the batched channel, a message a batch. They take turns, so that whatever
else the machine does hits all; shown is the median of the rounds. The CPU time is that of the publishing
thread alone, kernel included. The server has answered every message before the time is taken.
"""

import json
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial

import redis

from pipeline.embedded import RedisServer
from pipeline.sinks.redis import RedisSink
from pipeline.sinks.redis_messages import Channels
from pipeline.ticks import Quote, SecondAggregate, TickBatch, Trade

ROUNDS = 7
BATCH_TICKS = 200
LARGE_BATCH_TICKS = 1000
OURS = "tickbraid RedisSink"
BATCHED = "tickbraid RedisSink, batched channel"
RAW_KEYS = (
    *("ticker", "price", "volume", "timestamp", "event_type", "source", "tick_open", "tick_high"),
    *("tick_low", "tick_close", "tick_volume", "tick_vwap", "bid", "ask"),
)


def main() -> None:
    """Run all and print the table."""
    with RedisServer.start() as server, redis.Redis.from_url(server.url) as client:
        channels = Channels(raw="", market="", raw_batch="tickstock.data.raw.batch")
        sinks = {OURS: RedisSink(server.url), BATCHED: RedisSink(server.url, channels=channels)}
        contenders: dict[str, tuple[Callable[[Sequence[TickBatch]], object], list[TickBatch]]] = {
            OURS: (sinks[OURS].write, make_batches(200)),
            "redis-py pipeline, json.dumps": (partial(pipelined, client), make_batches(20)),
            "redis-py one by one, json.dumps": (partial(one_by_one, client), make_batches(2)),
            BATCHED: (sinks[BATCHED].write, make_batches(100, LARGE_BATCH_TICKS)),
        }
        rates: dict[str, list[float]] = {name: [] for name in contenders}
        costs: dict[str, list[float]] = {name: [] for name in contenders}
        for _ in range(ROUNDS):
            for name, (publish, batches) in contenders.items():
                count = sum(len(batch.ticks) for batch in batches)
                start, cpu_start = time.perf_counter(), time.thread_time()
                publish(batches)
                costs[name].append((time.thread_time() - cpu_start) / count)
                rates[name].append(count / (time.perf_counter() - start))
        for name, sink in sinks.items():
            expected = ROUNDS * sum(messages_of(name, len(batch.ticks)) for batch in contenders[name][1])
            if (snapshot := sink.snapshot())["acknowledged"] != expected:
                raise AssertionError(f"not every message was answered: {snapshot}")
            sink.close()

    print(f"{'':40}{'ticks/s':>12}{'messages/s':>12}{'CPU µs/tick':>13}{'the sink is':>13}")
    for name in contenders:
        rate, cost = statistics.median(rates[name]), statistics.median(costs[name])
        messages_per_s = rate * messages_of(name, LARGE_BATCH_TICKS) / LARGE_BATCH_TICKS
        # Compared is what came one after the other: the machine may be slower in the next round.
        ratio = statistics.median(ours / its for ours, its in zip(rates[OURS], rates[name], strict=True))
        print(f"{name:40}{rate:>12,.0f}{messages_per_s:>12,.0f}{cost * 1e6:>13.2f}{ratio:>11.1f} x")


def messages_of(name: str, ticks: int) -> int:
    """Return how many messages a contender makes of a batch."""
    return 1 if name == BATCHED else 2 * ticks


def pipelined(client: redis.Redis, batches: Sequence[TickBatch]) -> None:
    """Publish as one does who cares: a round trip a batch."""
    for batch in batches:
        pipeline = client.pipeline(transaction=False)
        for tick in batch.ticks:
            raw, market = messages(tick)
            pipeline.publish("tickstock.data.raw", raw)
            pipeline.publish("tickstock:market:ticks", market)
        pipeline.execute()


def one_by_one(client: redis.Redis, batches: Sequence[TickBatch]) -> None:
    """Publish as TickStock does."""
    for batch in batches:
        for tick in batch.ticks:
            raw, market = messages(tick)
            client.publish("tickstock.data.raw", raw)
            client.publish("tickstock:market:ticks", market)


def messages(tick: Trade | Quote | SecondAggregate) -> tuple[str, str]:
    """Write the two messages of a tick as TickStock does."""
    raw = {key: getattr(tick, key) for key in RAW_KEYS}
    market = {"type": "market_tick", "symbol": raw["ticker"]}
    market |= {key: raw[key] for key in ("ticker", "price", "volume", "timestamp", "source")}
    return json.dumps(raw), json.dumps(market)


def make_batches(count: int, size: int = BATCH_TICKS) -> list[TickBatch]:
    """Return batches of six quotes to three trades and one bar, about what a stock feed brings."""
    ticks: list[Trade | Quote | SecondAggregate] = []
    for n in range(size):
        ticker, price, at_ms = f"TICK{n % 50}", 187.2 + n / 100, 1_718_971_200_123 + n
        if n % 10 < 6:
            ticks.append(Quote(ticker=ticker, event_ms=at_ms, bid=price, ask=price + 0.02))
        elif n % 10 < 9:
            ticks.append(Trade(ticker=ticker, price=price, event_ms=at_ms, size=100))
        else:
            ticks.append(
                SecondAggregate(
                    ticker=ticker,
                    event_ms=at_ms,
                    tick_open=price,
                    tick_high=price + 0.1,
                    tick_low=price - 0.1,
                    tick_close=price,
                    tick_volume=1200,
                    tick_vwap=price,
                )
            )
    return [TickBatch(connection="1", received_ns=1, ticks=ticks) for _ in range(count)]


if __name__ == "__main__":
    main()
