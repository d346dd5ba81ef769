"""Measure the simulator: ticks a second over loopback to readers in processes of their own.

Run ``python benchmarks/simulator.py``. Packets of 100 events are made beforehand; the readers only ``recv``.
"""

import json
import math
import multiprocessing
import time
from itertools import chain, repeat

import websocket

from pipeline.market import SyntheticMarket
from pipeline.massive.simulator import Options, Packet, ReplayFeed, Simulator, SyntheticFeed

PACKETS = 500
ELEMENTS = 100
TICKERS = [f"TICK{number}" for number in range(100)]


def make_packets() -> list[Packet]:
    """Return packets of trades and quotes, with the frame of each ready."""
    market = SyntheticMarket(TICKERS, start_ms=0, event_types=("T", "Q"))
    packets = [Packet(market.events(ELEMENTS, 0)) for _ in range(PACKETS)]
    for packet in packets:
        _ = packet.frame, packet.counts
    return packets


def read(url: str, channels: str, ready: "multiprocessing.Queue[int]") -> None:
    """Subscribe, then take bytes off the socket until the server leaves; tell how many came."""
    connection = websocket.create_connection(url)
    connection.recv()
    connection.send(json.dumps({"action": "auth", "params": "key"}))
    connection.recv()
    connection.send(json.dumps({"action": "subscribe", "params": channels}))
    buffer = bytearray(1 << 17)
    size = 0
    while count := connection.sock.recv_into(buffer):
        size += count
    ready.put(size)


def measure(name: str, simulator: Simulator, requests: list[str]) -> None:
    """Print what a simulator sends to a reader for each of the requests."""
    context = multiprocessing.get_context("spawn")
    ready: multiprocessing.Queue[int] = context.Queue()
    with simulator:
        readers = [context.Process(target=read, args=(simulator.url, one, ready)) for one in requests]
        for reader in readers:
            reader.start()
        simulator.wait_for(lambda report: sum(bool(c.channels) for c in report.clients) == len(requests), 30)
        begun, cpu = time.perf_counter(), time.process_time()
        simulator.start_feeds()
        simulator.finished.wait(120)
        took, used = time.perf_counter() - begun, time.process_time() - cpu
        ticks = simulator.report().sent.elements
        simulator.stop()
        size = sum(ready.get(timeout=10) for _ in readers)
        for reader in readers:
            reader.join()
    rate = ticks / took
    volume = f"{rate / 1e6:5.2f} M ticks/s  {size / took / 1e6:6.0f} MB/s"
    print(f"{name:<44} {volume}  server CPU {used / took:4.0%}")


def main() -> None:
    """Run all measurements."""
    packets = make_packets()
    told = Options(start_after=None)
    everything = "T.*,Q.*"
    thirds = [
        ",".join(f"{kind}.{ticker}" for ticker in TICKERS[start::3] for kind in "TQ") for start in range(3)
    ]

    def replay(times: int) -> ReplayFeed:
        return ReplayFeed(chain.from_iterable(repeat(packets, times)), speed=math.inf)

    measure("prebuilt, one reader of all", Simulator([replay(100)], told), [everything])
    measure("prebuilt, three readers of a third each", Simulator([replay(20)], told), thirds)
    generated = SyntheticFeed(TICKERS, rate=math.inf, event_types=("T", "Q"), count=300_000)
    measure("generated on the way, one reader of all", Simulator([generated], told), [everything])


if __name__ == "__main__":
    main()
