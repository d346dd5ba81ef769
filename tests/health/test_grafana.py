import json
import re
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families as parse_text

from pipeline.embedded import RedisServer
from pipeline.health.metrics import Exposition
from tests.conftest import wait_until
from tests.integration.harness import Run, config_for

DIRECTORY = Path(__file__).parents[2] / "docs" / "grafana"
METRIC = re.compile(r"\b(?:tickbraid|process)_[a-z_]+\b")
MATCHED = re.compile(r"(tickbraid_[a-z_]+)\{([^}]*)\}")


def rules():
    """Return the alerts, by name."""
    (group,) = yaml.safe_load((DIRECTORY / "alerts.yml").read_text())["groups"]
    return {rule["alert"]: rule for rule in group["rules"]}


def queries():
    """Return every PromQL expression of dashboard and alerts."""
    board = json.loads((DIRECTORY / "tickbraid.json").read_text())
    found = [target["expr"] for panel in board["panels"] for target in panel.get("targets", ())]
    found += [each["expr"] for each in board["annotations"]["list"]]
    found += [each["definition"] for each in board["templating"]["list"] if "definition" in each]
    return found + [rule["expr"] for rule in rules().values()]


@pytest.fixture
def scrape(simulator):
    """Return what a stream with Redis exposes: name to the names of its labels."""
    with RedisServer.start() as redis, Run(config_for(simulator, ["AAPL"], REDIS_URL=redis.url)) as run:
        exposition = Exposition(run.stream)
        wait_until(lambda: run.count and run.stream.health()["subscribers"]["redis"]["sink"]["state"] == "up")
        run.wait_confirmed(2)
        families = list(parse_text(exposition.write("")[0].decode()))
        exposition.close()
    return families


def test_each_metric_that_is_drawn_or_watched_exists(scrape):
    """An alert on a metric that nobody exposes never fires, and its panel stays empty for ever."""
    exposed = {sample.name for family in scrape for sample in family.samples}
    # What has no value before its first event is known by its family.
    exposed |= {f"{family.name}_total" for family in scrape if family.type == "counter"}
    asked = {name for query in queries() for name in METRIC.findall(query)}
    assert len(asked) > 20
    assert asked <= exposed, asked - exposed


def test_each_label_that_is_asked_for_exists(scrape):
    """As above: a matcher on a label that is not there matches nothing."""
    labels = {
        sample.name: sample.labels.keys() for family in scrape for sample in family.samples if sample.labels
    }
    for query in queries():
        for name, matchers in MATCHED.findall(query):
            asked = set(re.findall(r"(\w+)\s*[=!]", matchers)) - {"instance", "job"}
            assert asked <= set(labels.get(name, asked)), query
        by = {word for words in re.findall(r"by \(([^)]*)\)", query) for word in re.split(r",\s*", words)}
        for name in METRIC.findall(query):
            assert by - {"instance"} <= set(labels.get(name, by)), query


@pytest.mark.parametrize("name", list(rules()))
def test_each_alert_says_what_it_means(name):
    """Who is woken at night would have a name and no words."""
    rule = rules()[name]
    assert name.startswith("Tickbraid")
    assert rule["labels"]["severity"] in {"warning", "critical"}
    assert all(rule["annotations"][part].endswith(".") for part in ("summary", "description"))
    assert rule["expr"].count("(") == rule["expr"].count(")")


def test_no_panel_covers_another():
    """A panel that lies under another is never seen."""
    taken = {}
    for panel in json.loads((DIRECTORY / "tickbraid.json").read_text())["panels"]:
        at = panel["gridPos"]
        for x in range(at["x"], at["x"] + at["w"]):
            for y in range(at["y"], at["y"] + at["h"]):
                assert x < 24
                assert taken.setdefault((x, y), panel["title"]) == panel["title"]
