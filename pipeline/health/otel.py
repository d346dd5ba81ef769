"""The metrics of a stream for OpenTelemetry; needs the extra ``otel``, and an SDK that sends them."""

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Final

from opentelemetry.metrics import CallbackOptions, Meter, Observation, get_meter
from reactivex import abc
from reactivex.disposable import Disposable

import pipeline
from pipeline.stream import TickStream

from .instruments import EDGES_NS, INSTRUMENTS, Instrument
from .readings import LATENCY_LABELS, Reading, Readings, latencies

__all__ = ["observe"]

PREFIX: Final = "tickbraid."
FRESH_S: Final = 0.5
"""All instruments of one collection are read at once; a collection comes after so long at the soonest."""
_UNITS: Final = {"": "", "bytes": "By", "seconds": "s"}


def observe(
    stream: TickStream, meter: Meter | None = None, *, monotonic: Callable[[], float] = time.monotonic
) -> abc.DisposableBase:
    """Let a meter observe a stream, on the threads of its readers; disposing ends it.

    The instruments are those of `pipeline.health.instruments`, ``tickbraid.messages`` for the first. A meter
    cannot observe a histogram that was counted before, so latencies are counters:
    ``tickbraid.latency.bucket`` with the upper edge in ``le``, as Prometheus has it, and
    ``tickbraid.latency.sum``.

    Args:
        stream: is asked for its figures at each collection.
        meter: default the global provider's.
        monotonic: for the age of a reading, s.
    """
    meter = meter or get_meter("tickbraid", pipeline.__version__)
    source = _Source(Readings(stream), monotonic)
    for instrument in INSTRUMENTS:
        make = (
            meter.create_observable_counter if instrument.kind == "counter" else meter.create_observable_gauge
        )
        callback = source.callback(partial(_observations, instrument))
        make(PREFIX + instrument.name, [callback], _UNITS[instrument.unit], instrument.doc)
    for name, unit, read, doc in (
        ("latency.bucket", "", _buckets, "Latencies by stage and upper edge, s."),
        ("latency.sum", "s", _sums, "Latencies by stage, added up."),
    ):
        meter.create_observable_counter(PREFIX + name, [source.callback(read)], unit, doc)
    return Disposable(source.close)


class _Source:
    """Reads a stream once for all instruments of a collection.

    Args:
        readings: of the stream.
        monotonic: seconds.
    """

    def __init__(self, readings: Readings, monotonic: Callable[[], float]) -> None:
        self._readings = readings
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._latest: tuple[float, Reading] | None = None
        self._closed = False

    def callback(
        self, read: Callable[[Reading], Iterable[Observation]]
    ) -> Callable[[CallbackOptions], Iterable[Observation]]:
        return lambda _options: [] if self._closed else read(self._take())

    def close(self) -> None:
        self._closed = True  # a meter forgets no callback
        self._readings.close()

    def _take(self) -> Reading:
        with self._lock:
            latest = self._latest
        now_s = self._monotonic()
        if latest is None or now_s - latest[0] >= FRESH_S:
            latest = now_s, self._readings.take()
            with self._lock:
                self._latest = latest
        return latest[1]


def _observations(instrument: Instrument, reading: Reading) -> Iterable[Observation]:
    return [
        Observation(value, _attributes(instrument.labels, labels))
        for labels, value in instrument.values(reading)
    ]


def _buckets(reading: Reading) -> Iterable[Observation]:
    for labels, histogram in latencies(reading):
        attributes = _attributes(LATENCY_LABELS, labels)
        for edge_ns, count in zip(EDGES_NS, histogram.below(EDGES_NS), strict=True):
            yield Observation(count, attributes | {"le": (edge_ns - 1) / 1e9})
        yield Observation(histogram.count, attributes | {"le": "+Inf"})


def _sums(reading: Reading) -> Iterable[Observation]:
    for labels, histogram in latencies(reading):
        yield Observation(histogram.total / 1e9, _attributes(LATENCY_LABELS, labels))


def _attributes(names: Sequence[str], values: Sequence[str]) -> dict[str, str | float]:
    return {name: value for name, value in zip(names, values, strict=True) if value}
