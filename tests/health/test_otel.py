from collections import Counter

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client.parser import text_string_to_metric_families as parse_text

from operators.histogram import LatencyHistogram
from pipeline import build_pipeline
from pipeline.health import otel
from pipeline.health.instruments import EDGES_NS
from pipeline.health.metrics import Exposition
from tests.conftest import wait_until

UNITS = {"": "", "By": "_bytes", "s": "_seconds"}


@pytest.fixture
def reader():
    """Collect by hand."""
    return InMemoryMetricReader()


@pytest.fixture
def meter(reader):
    """A meter of the real SDK."""
    provider = MeterProvider([reader], shutdown_on_exit=False)
    yield provider.get_meter("test")
    provider.shutdown()


def points(reader):
    """Return what a collection says, by Prometheus's name and labels."""
    data = reader.get_metrics_data()
    metrics = [m for r in data.resource_metrics for s in r.scope_metrics for m in s.metrics] if data else []
    return {
        (metric.name.replace(".", "_") + UNITS[metric.unit], frozenset(point.attributes.items())): point.value
        for metric in metrics
        for point in metric.data.data_points
    }


def test_it_says_what_prometheus_is_told(meter, reader):
    """Two dashboards of one stream would disagree."""
    histogram = LatencyHistogram()
    for value in (1000, 10**6, 10**9):
        histogram.record(value)
    with build_pipeline({}) as stream:
        stream.latencies.feed["synthetic"] = histogram
        exposition = Exposition(stream)
        observing = otel.observe(stream, meter)
        stream.start()
        wait_until(lambda: stream.account().received)  # whose account there is is known with the first tick
        told = points(reader)
        text, _ = exposition.write("")
        expected = {}
        for family in parse_text(text.decode()):
            if family.name.startswith("tickbraid_") and family.type in {"counter", "gauge"}:
                for sample in family.samples:
                    labels = frozenset((k, v) for k, v in sample.labels.items() if v)
                    expected[sample.name.removesuffix("_total"), labels] = sample.value
        latency = {key for key in told if key[0].startswith("tickbraid_latency_") and key not in expected}
        assert told.keys() - latency == expected.keys()
        static = [key for key in expected if "info" in key[0] or "tickers" in key[0] or "up" in key[0]]
        assert {key: told[key] for key in static} == {key: expected[key] for key in static}
        feed = {"connection": "synthetic", "stage": "feed"}.items()
        buckets = {
            dict(labels)["le"]: told[name, labels]
            for name, labels in latency
            if "bucket" in name and feed <= set(labels)
        }
        assert (len(buckets), buckets["+Inf"], min(buckets.values())) == (len(EDGES_NS) + 1, 3, 1)
        assert told["tickbraid_latency_sum_seconds", frozenset(feed)] == pytest.approx(1.001001)
        observing.dispose()
        exposition.close()
        assert points(reader) == {}


def test_a_collection_reads_the_stream_once(meter, reader, monkeypatch):
    """Each of thirty instruments would read the stream anew."""
    asked, now_s = Counter(), [100.0]
    with build_pipeline({}) as stream:
        figures = stream.figures
        monkeypatch.setattr(stream, "figures", lambda: asked.update(["figures"]) or figures())
        observing = otel.observe(stream, meter, monotonic=lambda: now_s[0])
        points(reader)
        assert asked["figures"] == 1
        now_s[0] += 1
        points(reader)
        assert asked["figures"] == 2
        observing.dispose()
