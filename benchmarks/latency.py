"""How late a tick is: in a quiet market, and after an opening burst beyond what the machine sustains.

    python -m benchmarks.latency

Quiet: 1,000 ticks/s over 300 tickers; the time is that from the read of the socket to the callback. Burst:
five seconds at twice the rate that was sustained just before, then quiet; the time is that from the sending,
in whole ms. Memory is the process's peak.
"""

import argparse
import json
import math
import resource
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from benchmarks.clients import config_for
from benchmarks.turns import CLIENT_CORE, SENDER_CORE, UNLIMITED, ask, blaster, open_shared, pin, take_turn
from pipeline import build_pipeline
from pipeline.status import Disconnected
from pipeline.ticks import Trade

__all__ = ["lines", "peak_bytes"]

QUIET_TICKS_PER_S: Final = 1_000
QUIET_TICKERS: Final = tuple(f"SIM{number:03d}" for number in range(300))
WARM_S: Final = 2.0
QUIET_S: Final = 10.0
BURST_S: Final = 5.0
AFTER_S: Final = 6.0
BURST_EVENTS: Final = 10
BURST_CHUNK_BYTES: Final = 4096
CALM_MS: Final = 5.0
"""As late as ticks may be, 99 in 100, once the burst is over."""
SLOT_MS: Final = 100
CALM_SLOTS: Final = 5
SETTLE_S: Final = 60.0


def lines() -> Iterator[str]:
    """Measure and tell, a Markdown line at a time."""
    yield "| quiet market, 1,000 ticks/s over 300 tickers | p50 | p99 | CPU of a core |"
    yield "|---|--:|--:|--:|"
    with simulator() as url:
        yield _quiet_row("three connections, the simulator's frames of 5 ms", ask_quiet(url))
    phases = f"--phases={WARM_S + QUIET_S + 2}:{QUIET_TICKS_PER_S}"
    with blaster("massive", 1, "--chunk-bytes=1", phases) as sender:
        with open_shared(sender.shared) as shared:
            shared[0] = UNLIMITED
        yield _quiet_row("three connections, each tick by itself", ask_quiet(f"ws://127.0.0.1:{sender.port}"))
    yield ""
    with blaster("massive", BURST_EVENTS) as sender:
        take_turn("ours", sender, 0.3, 0.5)  # the sender still makes what it sends
        turn = take_turn("ours", sender, 1.0, 2.0)
    sustained = turn["ticks"] / turn["seconds"]
    phases = f"--phases={BURST_S}:{2 * sustained},{AFTER_S}:{QUIET_TICKS_PER_S}"
    with blaster("massive", BURST_EVENTS, f"--chunk-bytes={BURST_CHUNK_BYTES}", phases) as sender:
        burst = ask("benchmarks.latency", "burst", f"{sender.port}", sender.shared, timeout_s=120)
    yield f"Opening burst, {BURST_S:g} s at twice the {sustained:,.0f} ticks/s just sustained, `conflate`:"
    yield ""
    yield "| | |"
    yield "|---|--:|"
    yield from (f"| {what} | {value} |" for what, value in burst.items())


def _quiet_row(what: str, found: dict[str, float]) -> str:
    return f"| {what} | {found['p50_us']:.0f} µs | {found['p99_us']:.0f} µs | {found['cpu']:.1%} |"


def ask_quiet(url: str) -> dict[str, float]:
    """Measure a quiet market in a process of its own."""
    return ask("benchmarks.latency", "quiet", url, timeout_s=60)


@contextmanager
def simulator() -> Iterator[str]:
    """Run the package's simulator on the sender's core."""
    command = [sys.executable, "-m", "pipeline.massive.simulator", "--port=0", "--types=T,Q"]
    command += [f"--tickers={len(QUIET_TICKERS)}", f"--rate={QUIET_TICKS_PER_S}", "--start-after=3"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        try:
            pin(SENDER_CORE, process.pid)
            greeting = process.stderr.readline() if process.stderr else ""
            yield greeting.split()[-1].removesuffix("/stocks")
        finally:
            process.kill()


# --- in the client's process


def quiet(url: str) -> dict[str, float]:
    """Return percentiles, µs, and the part of a core that it takes."""
    late_ns: list[int] = []
    clock = time.time_ns
    config = config_for(0, 3, MASSIVE_WEBSOCKET_URL=f"{url}/stocks")
    for number in range(3):
        config[f"WEBSOCKET_CONNECTION_{number + 1}_SYMBOLS"] = list(QUIET_TICKERS[number::3])
    with build_pipeline(config) as stream:
        stream.subscribe(lambda tick: late_ns.append(clock() - tick.received_ns))
        stream.wait_connected()
        time.sleep(WARM_S)
        late_ns.clear()
        from_s, from_cpu_s = time.perf_counter(), time.process_time()
        time.sleep(QUIET_S)
        cpu = (time.process_time() - from_cpu_s) / (time.perf_counter() - from_s)
        found = sorted(late_ns)
    return {"p50_us": found[len(found) // 2] / 1e3, "p99_us": found[len(found) * 99 // 100] / 1e3, "cpu": cpu}


def burst(port: str, shared_path: str) -> dict[str, str]:
    """Return what became of a burst, in words."""
    ticks = trades = 0
    slots: defaultdict[int, list[float]] = defaultdict(list)
    with open_shared(shared_path) as shared:
        shared[0] = UNLIMITED
        clock = time.time_ns

        def on_tick(tick: Any) -> None:
            nonlocal ticks, trades
            ticks += 1
            if type(tick) is Trade:
                trades += 1
            if shared[3]:  # the burst is over
                now_ms = clock() // 1_000_000
                slots[now_ms // SLOT_MS].append(now_ms - tick.event_ms)

        config = config_for(int(port), 3, SUBSCRIBER_OVERFLOW="conflate")
        began_ns, ended_ns = clock(), 0
        disconnects: list[object] = []
        with build_pipeline(config) as stream:
            stream.status.subscribe(
                lambda event: disconnects.append(event) if isinstance(event, Disconnected) else None
            )
            before_bytes = peak_bytes()
            stream.subscribe(on_tick)
            stream.wait_connected()
            began_ns = clock()
            while not ended_ns:
                time.sleep(0.01)
                ended_ns = shared[3]
            ended_deadline_s = time.monotonic() + SETTLE_S
            while (shared[3] == ended_ns or stream.account().queued) and time.monotonic() < ended_deadline_s:
                time.sleep(0.1)
            account = stream.account()
            broken, sent, trades_sent = len(disconnects), shared[1], shared[2]
        return {
            "the sender needed, s": f"{(ended_ns - began_ns) / 1e9:.1f} of {BURST_S:g}",
            "disconnects": f"{broken}",
            "peak memory": f"{peak_bytes() / 1e6:,.0f} MB, of it {before_bytes / 1e6:,.0f} before the start",
            "trades delivered": f"{trades:,} of {trades_sent:,} sent",
            "ticks delivered": f"{ticks:,} of {sent:,} sent",
            "account": str(account),
            f"until p99 < {CALM_MS:g} ms": f"{_calm_after_s(slots, ended_ns):.1f} s after the burst",
        }


def _calm_after_s(slots: dict[int, list[float]], ended_ns: int) -> float:
    """Return how long after the burst `CALM_SLOTS` in a row began in which p99 was within `CALM_MS`."""
    calm = {slot for slot, found in slots.items() if sorted(found)[len(found) * 99 // 100] <= CALM_MS}
    firsts = (slot for slot in sorted(calm) if calm.issuperset(range(slot, slot + CALM_SLOTS)))
    return max(0.0, next(firsts, math.inf) * SLOT_MS / 1000 - ended_ns / 1e9)


def peak_bytes() -> int:
    """Return the most memory that this process had, bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    """Print all, or, as a client, what one process measured."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("client", nargs="*", help="for the processes that this starts")
    match parser.parse_args().client:
        case [name, *rest]:
            pin(CLIENT_CORE)
            print(json.dumps(quiet(*rest) if name == "quiet" else burst(*rest)), flush=True)
        case _:
            for line in lines():
                print(line, flush=True)


if __name__ == "__main__":
    main()
