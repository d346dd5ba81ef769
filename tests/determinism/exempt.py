"""What may take from the operating system what it likes, each with its reason: the list only gets shorter.

An entry that nothing needs any more is refused, too.
"""

from typing import Final

__all__ = ["INSIDE", "OUTSIDE", "WAITING"]

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
    "pipeline/health/metrics.py": "of whoever looks at a stream",
    "pipeline/health/otel.py": "of whoever looks at a stream",
    "pipeline/health/readings.py": "of whoever looks at a stream",
    "pipeline/health/server.py": "of the page: a server with a thread of its own",
    "pipeline/massive/simulator/": "another program, on asyncio; what is pure in it the simulation runs, too",
    "pipeline/report/": "it replays captures, which are files",
    "pipeline/synthetic.py": "it stands for Massive where there is none; the simulation has a Massive",
    "pipeline/tick_data.py": "TickStock's class, of which the stream makes none",
    "pipeline/tickstock/": "TickStock's faces, around a stream",
}
"""Not in the simulation: a file or a folder, and why."""

INSIDE: Final[dict[str, dict[str, str]]] = {
    "operators/isolation.py": {
        "threading.current_thread": "only the interpreter's main thread is interrupted, whatever it runs",
        "threading.main_thread": "as above",
    },
    "pipeline/identity.py": {"id": "asked only whether it is among others', in one call"},
}
"""In the simulation: a file, what is used there, and why that keeps a run the same."""

WAITING: Final = frozenset(
    {
        "operators/backpressure.py",
        "operators/buffer.py",
        "operators/gauge.py",
        "operators/merge.py",
        "operators/scheduler.py",
        "operators/share.py",
        "operators/throttled_log.py",
        "pipeline/activity.py",
        "pipeline/build.py",
        "pipeline/engine.py",
        "pipeline/gaps.py",
        "pipeline/health/attribution.py",
        "pipeline/massive/connection.py",
        "pipeline/massive/decode.py",
        "pipeline/massive/deputy.py",
        "pipeline/massive/dial.py",
        "pipeline/massive/dial_attempt.py",
        "pipeline/massive/dial_tcp.py",
        "pipeline/massive/dial_upgrade.py",
        "pipeline/massive/ingest.py",
        "pipeline/massive/loop.py",
        "pipeline/massive/socket.py",
        "pipeline/outlet.py",
        "pipeline/pool.py",
        "pipeline/session_hours.py",
        "pipeline/sinks/configured.py",
        "pipeline/sinks/redis.py",
        "pipeline/sinks/redis_link.py",
        "pipeline/sources.py",
        "pipeline/status_stream.py",
        "pipeline/steered.py",
        "pipeline/stream.py",
    }
)
"""In the stream, and not handed the Runtime yet: a line goes when its file is."""
