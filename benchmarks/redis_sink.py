"""Messages a second into Redis on loopback: the Redis sink against redis-py, in one run.

    python -m benchmarks.redis_sink

Every contender publishes the same ticks to the same two channels of the same server. They take turns, so
that whatever else the machine does hits all; shown is the median of the rounds. The CPU time is that of the
publishing thread alone, kernel included.
"""

import json
import statistics
import time
from collections.abc import Callable, Sequence

import redis

from pipeline.embedded import RedisServer
from pipeline.sinks.redis import RedisSink
from pipeline.ticks import Quote, SecondAggregate, TickBatch, Trade

ROUNDS = 7
BATCH_TICKS = 200
RAW_KEYS = (
    *("ticker", "price", "volume", "timestamp", "event_type", "source", "tick_open", "tick_high"),
    *("tick_low", "tick_close", "tick_volume", "tick_vwap", "bid", "ask"),
)


def main() -> None:
    """Run all and print the table."""
    with RedisServer.start() as server:
        sink = RedisSink(server.url)
        client = redis.Redis.from_url(server.url)

        def pipelined(batches: Sequence[TickBatch]) -> None:
            for batch in batches:
                pipeline = client.pipeline(transaction=False)
                for tick in batch.ticks:
                    raw, market = messages(tick)
                    pipeline.publish("tickstock.data.raw", raw)
                    pipeline.publish("tickstock:market:ticks", market)
                pipeline.execute()

        def one_by_one(batches: Sequence[TickBatch]) -> None:
            for batch in batches:
                for tick in batch.ticks:
                    raw, market = messages(tick)
                    client.publish("tickstock.data.raw", raw)
                    client.publish("tickstock:market:ticks", market)

        contenders: dict[str, tuple[Callable[[Sequence[TickBatch]], object], list[TickBatch]]] = {
            "tickbraid RedisSink": (sink.write, make_batches(200)),
            "redis-py pipeline, json.dumps": (pipelined, make_batches(20)),
            "redis-py one by one, json.dumps": (one_by_one, make_batches(2)),
        }
        rates: dict[str, list[float]] = {name: [] for name in contenders}
        costs: dict[str, list[float]] = {name: [] for name in contenders}
        for _ in range(ROUNDS):
            for name, (publish, batches) in contenders.items():
                count = 2 * sum(len(batch.ticks) for batch in batches)
                start, cpu_start = time.perf_counter(), time.thread_time()
                publish(batches)
                costs[name].append((time.thread_time() - cpu_start) / count)
                rates[name].append(count / (time.perf_counter() - start))
        sink.close()
        client.close()

    best = statistics.median(rates["tickbraid RedisSink"])
    print(f"{'':34}{'messages/s':>12}{'CPU µs/message':>16}{'the sink is':>13}")
    for name in contenders:
        rate, cost = statistics.median(rates[name]), statistics.median(costs[name])
        ratio = "" if rate == best else f"{best / rate:.1f} x"
        print(f"{name:34}{rate:>12,.0f}{cost * 1e6:>16.2f}{ratio:>13}")


def messages(tick: Trade | Quote | SecondAggregate) -> tuple[str, str]:
    """Write the two messages of a tick as TickStock does."""
    raw = {key: getattr(tick, key) for key in RAW_KEYS}
    market = {"type": "market_tick", "symbol": raw["ticker"]}
    market |= {key: raw[key] for key in ("ticker", "price", "volume", "timestamp", "source")}
    return json.dumps(raw), json.dumps(market)


def make_batches(count: int) -> list[TickBatch]:
    """Return batches of six quotes to three trades and one bar, about what a stock feed brings."""
    ticks: list[Trade | Quote | SecondAggregate] = []
    for n in range(BATCH_TICKS):
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
