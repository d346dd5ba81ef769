"""The metrics of a stream for Prometheus; needs the extra ``web`` (or prometheus-client by itself)."""

from collections.abc import Iterator
from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from operators.histogram import HistogramSnapshot
from pipeline.stream import TickStream

from .instruments import EDGES_NS, INSTRUMENTS, Instrument
from .readings import LATENCY_LABELS, Readings, latencies

__all__ = ["Exposition", "StreamCollector"]

PREFIX: Final = "tickbraid_"
OPEN_METRICS: Final = "application/openmetrics-text"
# A bucket holds what is no more than its label says; ours holds what is less than its edge, in whole ns.
_LE: Final = (*(repr((edge_ns - 1) / 1e9) for edge_ns in EDGES_NS), "+Inf")

_Family = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily


class StreamCollector(Collector):
    """Makes the metrics of a stream whenever it is scraped; from any thread.

    ``REGISTRY.register(StreamCollector(stream))`` adds them to those of a program of your own.

    Args:
        stream: is asked for its figures at each scrape, and listened to for what only events tell.
    """

    def __init__(self, stream: TickStream) -> None:
        self._readings = Readings(stream)

    def describe(self) -> Iterator[_Family]:
        """Yield the metrics without values, so that a registry knows their names without a scrape."""
        yield from (_family(instrument) for instrument in INSTRUMENTS)
        yield _latency_family()

    def collect(self) -> Iterator[_Family]:
        """Yield all metrics as they are now."""
        reading = self._readings.take()
        for instrument in INSTRUMENTS:
            family = _family(instrument)
            for labels, value in instrument.values(reading):
                family.add_metric(labels, value)
            yield family
        held = _latency_family()
        for labels, histogram in latencies(reading):
            held.add_metric(labels, _buckets(histogram), histogram.total / 1e9)
        yield held

    def close(self) -> None:
        """Listen to the stream no more; idempotent."""
        self._readings.close()


class Exposition:
    """Writes the metrics of a stream and of this process, in either text format.

    Args:
        stream: as above.
    """

    def __init__(self, stream: TickStream) -> None:
        self._stream = StreamCollector(stream)
        self._registry = CollectorRegistry()
        self._registry.register(self._stream)
        ProcessCollector(registry=self._registry)

    def write(self, accept: str) -> tuple[bytes, str]:
        """Return the text and its content type; OpenMetrics where ``accept``, the header, names it."""
        if OPEN_METRICS in accept:
            text: bytes = openmetrics.generate_latest(self._registry)  # type: ignore[no-untyped-call]  # it has none
            return text, openmetrics.CONTENT_TYPE_LATEST
        return generate_latest(self._registry), CONTENT_TYPE_PLAIN_0_0_4

    def close(self) -> None:
        """Listen to the stream no more; idempotent."""
        self._stream.close()


def _buckets(histogram: HistogramSnapshot) -> list[tuple[str, int]]:
    """Return what each bucket's label ``le`` says, and how many latencies are no more than that."""
    return list(zip(_LE, (*histogram.below(EDGES_NS), histogram.count), strict=True))


def _family(instrument: Instrument) -> CounterMetricFamily | GaugeMetricFamily:
    make = CounterMetricFamily if instrument.kind == "counter" else GaugeMetricFamily
    return make(PREFIX + instrument.name, instrument.doc, labels=instrument.labels, unit=instrument.unit)


def _latency_family() -> HistogramMetricFamily:
    return HistogramMetricFamily(
        f"{PREFIX}latency",
        "How long ticks took for a stage of their way.",
        labels=LATENCY_LABELS,
        unit="seconds",
    )
