"""A server that says hostile things wherever it can, from the socket to every surface."""

import json
from html.parser import HTMLParser

import httpx
import pytest

pytest.importorskip("matplotlib")

from pipeline.capture import load_ticks
from pipeline.embedded import RedisServer
from pipeline.health.server import HttpServer
from pipeline.massive.simulator import Options, Simulator, SyntheticFeed
from pipeline.report import examine, front, plates_of, write_page, write_pdf, write_pngs
from pipeline.status import Disconnected
from tests.conftest import wait_until
from tests.hostile import SAID, UNFIT
from tests.integration.harness import KEY, RedisListener, Run, config_for

TICKERS = [text for text in SAID if 0 < len(text) <= 64]
OURS = {
    *(
        "html",
        "head",
        "meta",
        "title",
        "style",
        "body",
        "h1",
        "h2",
        "h3",
        "dl",
        "dt",
        "dd",
        "p",
        "div",
        "table",
    ),
    *("thead", "tbody", "tr", "th", "td", "figure", "img", "figcaption", "ul", "li", "footer"),
}


class Tags(HTMLParser):
    """Collects the tags and attributes of a page."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.attributes = set(), set()
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}


@pytest.fixture
def simulator():
    """A market of hostile tickers."""
    feed = SyntheticFeed(TICKERS, rate=1000, event_types=("T", "A"))
    with Simulator([feed], Options(keys=frozenset({KEY}))) as server:
        yield server


def test_what_a_hostile_server_says_is_data_everywhere(simulator, tmp_path):
    """It could run a script in the report, break the scrape, or cost the capture and Redis their ticks."""
    reason = TICKERS[0] + TICKERS[2] + TICKERS[4]
    with RedisServer.start() as redis:
        config = config_for(
            simulator,
            ["*"],
            MASSIVE_EVENT_TYPES="T,A",
            REDIS_URL=redis.url,
            REDIS_CHANNEL_RAW="raw",
            CAPTURE_PATH=str(tmp_path / "capture"),
        )
        listener = RedisListener(redis.url, "raw")
        with Run(config) as run, HttpServer(run.stream, port=0) as server:
            wait_until(lambda: {ticker for _, ticker in list(run.ticks)} == set(TICKERS), 20)
            simulator.close_clients(4000, reason)
            wait_until(lambda: run.of(Disconnected), 20)
            ended = run.of(Disconnected)[0]
            assert reason in ended.reason, "as data it is as it came"
            assert ended.describe().isprintable()
            for path in ("/metrics", "/api/events", "/api/tickers", "/api/history"):
                text = httpx.get(server.url + path).text
                assert not UNFIT.difference("\n").intersection(text), path
            told = httpx.get(f"{server.url}/api/tickers").json()
            assert {busy["ticker"] for busy in told["slowest"]} <= set(TICKERS)
        published = {json.loads(message)["ticker"] for message in list(listener.messages["raw"])}
        listener.close()
    assert published == set(TICKERS)
    assert set(load_ticks(tmp_path / "capture")["ticker"]) == set(TICKERS)
    report_of(tmp_path)


def report_of(path):
    """Make every form of the report, and look for what is not ours in it."""
    findings = examine(path / "capture")
    write_page(findings, plates_of(findings), path / "report.html")
    page = (path / "report.html").read_text(encoding="utf-8")
    tags = Tags(page)
    assert tags.tags <= OURS
    assert not {name for name in tags.attributes if name.startswith("on")}
    assert not UNFIT.difference("\n").intersection(page)
    assert not UNFIT.difference("\n").intersection(front(findings))
    write_pdf(plates_of(findings), front(findings), path / "report.pdf")
    assert len(write_pngs(plates_of(findings), path / "pngs")) >= 7
