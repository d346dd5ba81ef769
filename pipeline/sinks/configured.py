"""The sinks that the settings ask for, each with the buffer in front of it."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from operators._buffer.buffer import Overflow
from operators.runtime import Runtime
from pipeline.settings import Settings
from pipeline.status_stream import StatusStream
from pipeline.tap import Tap

from .redis import RedisSink
from .redis_messages import Channels
from .sink import Configured

if TYPE_CHECKING:
    from pipeline.capture.record import CaptureSink

__all__ = ["configured_sinks"]


def configured_sinks(
    settings: Settings, tap: Tap, status: StatusStream, runtime: Runtime
) -> Iterator[Configured]:
    """Make them, before the stream runs.

    Args:
        settings: as loaded.
        tap: shows undecoded reads.
        status: where the sinks tell what happens to them.
        runtime: what they run on.

    Raises:
        CaptureUnusable: CAPTURE_PATH cannot be recorded into.
        ImportError: it is set and the extra ``capture`` is not installed.
    """
    if settings.capture_path:
        # A replay waits, so that what is recorded of it is the same each time; nothing else ever does.
        overflow: Overflow = "block" if settings.replay_path else "drop_oldest"
        yield Configured(_capture(settings, tap, status, runtime), settings.capture_buffer_ticks, overflow)
    if settings.redis_enabled:
        channels = Channels(
            raw=settings.redis_channel_raw,
            market=settings.redis_channel_market,
            per_ticker=settings.redis_channel_ticker_prefix,
            all_ticks=settings.redis_channel_all,
            raw_batch=settings.redis_channel_raw_batch,
        )
        url = settings.redis_url.reveal()
        sink = RedisSink(
            url,
            channels=channels,
            on_status=status.emit,
            runtime=runtime,
        )
        yield Configured(
            sink, settings.redis_buffer_ticks, settings.redis_overflow, settings.redis_max_age_ms
        )


def _capture(settings: Settings, tap: Tap, status: StatusStream, runtime: Runtime) -> "CaptureSink":
    from pipeline.capture.record import CaptureSink  # noqa: PLC0415  # pyarrow: only who records pays for it

    return CaptureSink(
        settings.capture_path,
        tap,
        status,
        kinds=settings.capture_kinds,
        rotate_s=settings.capture_rotate_s,
        rotate_rows=settings.capture_rotate_rows,
        waits=bool(settings.replay_path),
        clock=runtime.clock,
    )
