import re
import sys
from collections import Counter

import flask
import httpx
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_open_metrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from operators.histogram import LatencyHistogram
from operators.latency_stamp import Latencies
from pipeline import build_pipeline
from pipeline.health.blueprint import make_blueprint
from pipeline.health.instruments import EDGES_NS, INSTRUMENTS
from pipeline.health.metrics import Exposition, StreamCollector
from pipeline.health.server import HttpServer
from tests.conftest import wait_until
from tests.integration.harness import Run, config_for

OPEN_METRICS = "application/openmetrics-text; version=1.0.0"
LABELS = {"connection", "event", "le", "phase", "python", "reason", "sink", "stage", "state", "version"}


def samples(exposition):
    """Return what a scrape says: (name, labels) to value."""
    text, _ = exposition.write("")
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in parse_text(text.decode())
        for sample in family.samples
    }


@pytest.fixture
def run(simulator):
    """Run a stream over two connections whose ticks have come."""
    with Run(config_for(simulator, ["AAPL", "MSFT"], ["NVDA", "TSLA"])) as running:
        running.wait_confirmed(8)
        wait_until(lambda: running.count > 10)
        wait_until(
            lambda: len(running.stream.latencies.snapshot().decode) == 2, 10, "ticks of both connections"
        )
        yield running


def test_both_formats_are_what_their_parsers_read(run):
    """Prometheus would drop the whole scrape for a single line that it cannot read."""
    exposition = Exposition(run.stream)
    plain, kind = exposition.write("text/plain")
    families = {family.name for family in parse_text(plain.decode())}
    assert kind.startswith("text/plain; version=0.0.4")
    opened, kind = exposition.write(OPEN_METRICS)
    assert kind.startswith(OPEN_METRICS)
    strict = {family.name for family in parse_open_metrics(opened.decode())}
    ours = {name for name in strict if name.startswith("tickbraid_")}
    assert len(ours) > len(INSTRUMENTS)
    assert ours == {name for name in families if name.startswith("tickbraid_")}
    exposition.close()


def test_without_prometheus_client_the_route_says_what_to_install(monkeypatch):
    """Who embeds the stream in a Flask app would have none of its routes, and for a reason a module."""
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    monkeypatch.delitem(sys.modules, "pipeline.health.metrics")
    app = flask.Flask(__name__)
    with build_pipeline({"HTTP_PORT": 0}) as stream, HttpServer(stream) as server:
        app.register_blueprint(make_blueprint(stream))
        theirs, ours = app.test_client().get("/metrics"), httpx.get(f"{server.url}/metrics")
        assert httpx.get(f"{server.url}/livez").status_code == 200
    assert (theirs.status_code, theirs.content_type) == (501, "application/problem+json")
    assert (ours.status_code, ours.headers["content-type"]) == (501, "application/problem+json")
    assert theirs.get_json(force=True) == ours.json()
    assert "pip install 'tickbraid[web]'" in ours.json()["detail"]


def test_a_strange_name_is_written_so_that_it_can_be_read():
    """A subscriber with a quote in its name would take the whole scrape with it."""
    name = 'a "quoted\\ name\nof two lines'
    latencies = Latencies()
    latencies.delivered[name].record(1)
    with build_pipeline({}) as stream:
        stream.latencies = latencies
        found = samples(exposition := Exposition(stream))
        exposition.close()
    where = (("connection", ""), ("sink", name), ("stage", "pipeline"))
    assert found["tickbraid_latency_seconds_count", where] == 1


def test_names_and_labels_are_as_prometheus_wants_them(run):
    """A dashboard would guess units, and a label with tickers in it would drown the server."""
    collector = StreamCollector(run.stream)
    described = {family.name: family for family in collector.describe()}
    collected = {family.name: family for family in collector.collect()}
    assert described.keys() == collected.keys()
    for name, family in collected.items():
        assert re.fullmatch(r"tickbraid_[a-z]+(_[a-z]+)*", name), name
        assert not name.endswith(("_total", "_ms", "_ns", "_kb", "_count", "_sum", "_bucket")), name
        assert family.documentation.endswith("."), name
        assert name.endswith(family.unit), name
        for sample in family.samples:
            assert LABELS.issuperset(sample.labels), sample
            assert not {"AAPL", "MSFT", "NVDA", "TSLA"} & set(sample.labels.values()), sample
            assert sample.name.endswith("_total") == (family.type == "counter"), sample
    collector.close()


def test_a_scrape_says_what_the_stream_says(run):
    """An alert would go by figures that are nobody's."""
    exposition = Exposition(run.stream)
    before, found, after = run.stream.figures(), samples(exposition), run.stream.figures()
    for name in ("connection_1", "connection_2"):
        label = (("connection", name),)
        low, high = before.connections[name], after.connections[name]
        assert low.ticks <= found["tickbraid_ticks_total", label] <= high.ticks
        got = found["tickbraid_received_bytes_total", label]
        assert low.snapshot.received_bytes <= got <= high.snapshot.received_bytes
        assert found["tickbraid_connection_up", label] == 1
        phases = {
            labels: v for (metric, labels), v in found.items() if metric == "tickbraid_connection_phase"
        }
        assert phases[*label, ("phase", "live")] == 1
        assert sum(v for labels, v in phases.items() if label[0] in labels) == 1
        stage = (("connection", name), ("sink", ""), ("stage", "feed"))
        counted = found["tickbraid_latency_seconds_count", stage]
        assert before.latencies.feed[name].count <= counted <= after.latencies.feed[name].count
    where = (("connection", "connection_1"), ("sink", "callback"))
    parts = ("delivered", "deduplicated", "dropped", "failed", "rejected")
    whole = sum(found[f"tickbraid_account_{part}_total", where] for part in parts)
    assert (
        found["tickbraid_account_received_total", where] == whole + found["tickbraid_account_queued", where]
    )
    assert found["tickbraid_account_imbalance", where] == 0
    exposition.close()


def test_no_counter_goes_down_over_a_reconnect(run):
    """A rate over a lost connection would show a peak that never was, or hide the loss."""
    exposition = Exposition(run.stream)
    seen = samples(exposition)
    for round_ in (1, 2):
        run.stream.reconnect("connection_1")

        def back(wanted=round_):
            (its,) = [c for c in run.stream.health()["connections"] if c["id"] == "connection_1"]
            return its["reconnects"] >= wanted and its["phase"] == "live"

        wait_until(back)
        now = samples(exposition)
        counters = [key for key in seen if key[0].endswith(("_total", "_bucket", "_count"))]
        assert [key for key in counters if now[key] < seen[key] and key[0].startswith("tickbraid_")] == []
        seen = now
    assert seen["tickbraid_reconnects_total", (("connection", "connection_1"),)] == 2
    assert seen["tickbraid_reconnects_total", (("connection", "connection_2"),)] == 0
    exposition.close()


def test_a_scrape_asks_once_and_nothing_runs_between(run, monkeypatch):
    """The metrics would cost something while ticks flow, or each of them read the stream anew."""
    stream, asked = run.stream, Counter()
    figures = stream.figures
    monkeypatch.setattr(stream, "figures", lambda: asked.update(["figures"]) or figures())
    outlets, observers = len(stream._outlets.known), len(stream.status._observers)
    exposition = Exposition(stream)
    assert (len(stream._outlets.known), len(stream.status._observers)) == (outlets, observers + 1)
    more = run.count + 50
    wait_until(lambda: run.count > more)
    assert not asked
    exposition.write("")
    assert asked == {"figures": 1}
    exposition.close()
    assert len(stream.status._observers) == observers


def test_a_latency_is_counted_in_every_bucket_that_it_fits():
    """A percentile in a dashboard would be of another distribution than what `health` tells."""
    histogram = LatencyHistogram()
    values = [0, *(edge + step for edge in EDGES_NS for step in (-1, 0, 1)), 3600 * 10**9]
    for value in values:
        histogram.record(value)
    histogram.record(-5, 7)
    latencies = Latencies()
    latencies.feed["a"] = histogram
    with build_pipeline({}) as stream:
        stream.latencies = latencies
        found = samples(exposition := Exposition(stream))
        exposition.close()
    where = (("connection", "a"), ("sink", ""), ("stage", "feed"))
    buckets = {
        float(dict(labels)["le"]): count
        for (name, labels), count in found.items()
        if name == "tickbraid_latency_seconds_bucket"
    }
    assert len(buckets) == len(EDGES_NS) + 1
    for le, count in buckets.items():
        assert count == sum(value / 1e9 <= le for value in values), le
    assert found["tickbraid_latency_seconds_count", where] == len(values)
    assert found["tickbraid_latency_seconds_sum", where] == pytest.approx(sum(values) / 1e9)
    assert found["tickbraid_latency_negative_total", where] == 7


def test_it_joins_the_metrics_of_a_program_of_one_s_own():
    """Who embeds the stream would need a second port for its metrics."""
    registry = CollectorRegistry()
    with build_pipeline({}) as stream:
        collector = StreamCollector(stream)
        registry.register(collector)
        with pytest.raises(ValueError, match="Duplicated timeseries"):
            registry.register(collector)
        assert b"tickbraid_build_info" in generate_latest(registry)
        collector.close()
