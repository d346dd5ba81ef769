"""The whole stream on one page."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from reactivex import Observable

from operators.dedupe import dedupe
from operators.latency_stamp import Latencies, latency_stamp
from operators.merge import merge
from operators.runtime import SYSTEM, Runtime

from .engine import Engine
from .identity import Seen
from .massive.decode import decode
from .settings import Settings, load_settings
from .sinks.configured import configured_sinks
from .sources import MakeSources, make_sources
from .status_stream import StatusStream
from .stream import TickStream
from .tap import Tap
from .ticks import TickBatch

__all__ = ["braid_stream", "build_pipeline"]


def build_pipeline(config: Any = None, *, clock: Callable[[], int] = SYSTEM.clock) -> TickStream:
    """Braid all configured connections into one stream of ticks.

    ::

        connection 1 ─┐
        connection 2 ─┼─► merge ─► ingest ─► decode ─► dedupe ─► latency_stamp ─► activity ─► share ─┬─► you
        connection 3 ─┘        │                                                                     ├─► Redis
                               └─ tap ─► capture of reads                          capture of ticks ◄┘

    You, Redis and the capture each have a buffer and a thread. Nothing is connected before the first
    ``subscribe``; the last to dispose closes everything. With
    REPLAY_PATH a capture is in the place of the connections.

    Args:
        config: a mapping of settings, a dynaconf object, a `Settings`, or nothing; what it does not say comes
            from the environment, ``.env``, ``settings.yaml`` and the defaults, in this order.
        clock: wall clock, ns since the epoch; a replay has its own.

    Raises:
        SettingsError: names every problem of the settings.
        CaptureUnusable: there is nothing to replay in REPLAY_PATH.
    """
    settings = config if isinstance(config, Settings) else load_settings(config)
    if settings.replay_path:
        from .capture.replay import Replay  # noqa: PLC0415  # pyarrow: only who replays pays for it

        return Replay(settings, monotonic=SYSTEM.monotonic).stream
    return braid_stream(settings, replace(SYSTEM, clock=clock))


def braid_stream(
    settings: Settings, runtime: Runtime = SYSTEM, sources: MakeSources = make_sources
) -> TickStream:
    """Braid what ``sources`` makes, in this process.

    Args:
        settings: as loaded.
        runtime: the clocks, threads and sockets of all that is made here.
        sources: makes what the ticks come from.
    """
    status = StatusStream(runtime=runtime)
    latencies = Latencies()
    tap = Tap()
    window = settings.dedupe_window

    def braid(engine: Engine) -> Observable[TickBatch]:
        return merge(*(source.frames for source in engine.sources), runtime=runtime).pipe(
            tap,
            engine.ingest,
            decode(engine.return_statuses, engine.rejects, engine.rejects.count_unreadable),
            dedupe(lambda: Seen(window, engine.tracks) if window else engine.tracks.note),
            latency_stamp(runtime.clock, latencies, engine.bars),
            engine.activity,
        )

    return TickStream(
        settings,
        braid,
        status=status,
        latencies=latencies,
        tap=tap,
        sinks=lambda: list(configured_sinks(settings, tap, status, runtime)),
        sources=sources,
        runtime=runtime,
    )
