"""What may take from the operating system what it likes, each with its reason: the list only gets shorter.

An entry that nothing needs any more is refused, too.
"""

from typing import Final

__all__ = ["INSIDE", "OUTSIDE"]

OUTSIDE: Final = {
    "operators/runtime.py": "it is what hands all of this out",
    "pipeline/capture/": "files: what is written and read of them is not in the simulation",
    "pipeline/cli/": "it has a terminal, signals and processes of its own around a stream",
    "pipeline/embedded.py": "it starts a server's process",
    "pipeline/health/access.py": "of the page: it asks this machine for its name",
    "pipeline/health/api.py": "of the page",
    "pipeline/health/history.py": "of the page: it looks at a stream from a thread of its own",
    "pipeline/health/leaders.py": "of the page",
    "pipeline/health/meter.py": "of whoever looks at a stream",
    "pipeline/health/otel.py": "of whoever looks at a stream",
    "pipeline/health/readings.py": "of whoever looks at a stream",
    "pipeline/health/server.py": "of the page: a server with a thread of its own",
    "pipeline/leash.py": "it starts a process, and ends it",
    "pipeline/massive/simulator/client.py": "the server's shell, on asyncio: the simulation has its own",
    "pipeline/massive/simulator/command.py": "the command line's",
    "pipeline/massive/simulator/server.py": "the server's shell, on asyncio: the simulation has its own",
    "pipeline/report/": "it replays captures, which are files",
    "pipeline/tick_data.py": "TickStock's class, of which the stream makes none",
    "pipeline/tickstock/": "TickStock's faces, around a stream",
}
"""Not in the simulation: a file or a folder, and why."""

INSIDE: Final[dict[str, dict[str, str]]] = {
    "pipeline/massive/dial_tcp.py": {
        "threading.Lock": "of look-ups, for the sake of forks: whoever holds it waits for nothing",
    },
    "pipeline/massive/simulator/feeds.py": {
        "time.time_ns": "of feeds for the server's shell: the simulation has a market of its own",
    },
    "pipeline/identity.py": {"id": "asked only whether it is among others', in one call"},
    "pipeline/bars.py": {
        "end_ms > bar.received_ns / 1000000 + AHEAD_MS": "an hour ahead: no time at all, by any clock"
    },
    "pipeline/feed_time.py": {
        "tick.event_ns > batch.received_ns + DAY_NS": "a day ahead: no time at all, by any clock"
    },
    "pipeline/health/attribution.py": {
        "tick.received_ns > fresh_ns": "which ticks are looked at; each that is judged is a new one"
    },
    "pipeline/health/late_tickers.py": {
        "sighting.received_ns == self.seen_ns": "whether it is the same tick, not which came first"
    },
    "pipeline/session_hours.py": {
        "edges[0] <= now_ns < edges[-1]": "hours of an exchange: what the wall clock is for"
    },
}
"""In the simulation: a file, what is used there, and why that keeps a run the same."""
