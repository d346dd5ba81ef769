import threading

import pytest

from pipeline.health.server import HttpServer
from pipeline.massive.simulator import Options, Simulator, SyntheticFeed
from tests.conftest import wait_until
from tests.health.browser import Browser, needs_chromium
from tests.hostile import SAID, UNFIT
from tests.integration.harness import KEY, Gate, Run, config_for

pytestmark = needs_chromium

TOKEN = "the-operator-s-token"
HOMES = {f"connection_{n}": tuple(f"S{n}{number:02}" for number in range(20)) for n in (1, 2, 3)}
SIZES = [(390, 844), (768, 1024), (1280, 900), (1920, 1080)]


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    """One browser for all tests here; it takes a second to start."""
    browser = Browser(tmp_path_factory.mktemp("chromium"))
    yield browser
    browser.open("about:blank")
    browser.close()


@pytest.fixture
def simulator():
    """A server with a market of 60 tickers, that ticks once all connections are there."""
    feed = SyntheticFeed([ticker for home in HOMES.values() for ticker in home], rate=600, event_types=("Q",))
    with Simulator([feed], Options(keys=frozenset({KEY}), start_after=3)) as server:
        yield server


@pytest.fixture
def gate(simulator):
    """What the second connection goes through."""
    gate = Gate(simulator.port)
    yield gate
    gate.shut()


@pytest.fixture
def run(simulator, gate):
    """A stream of three connections that ticks."""
    options = {
        "MASSIVE_EVENT_TYPES": "Q",
        "WEBSOCKET_FAILOVER_AFTER": 0.3,
        "WEBSOCKET_CONNECTION_2_URL": gate.url,
        "WEBSOCKET_CONNECTION_2_NAME": "secondary",
        "HTTP_TOKEN": TOKEN,
    }
    with Run(config_for(simulator, *HOMES.values(), **options)) as run:
        run.wait_confirmed(60)
        yield run


@pytest.fixture
def server(run):
    """The HTTP server of that stream."""
    with HttpServer(run.stream, port=0) as server:
        yield server


@pytest.fixture
def page(chromium, server):
    """The page, which has figures; in the end it must not have complained, nor asked anybody else."""
    show(chromium, server)
    yield chromium
    assert chromium.take_complaints() == []
    assert chromium.take_asked() == {server.url.removeprefix("http://")}
    chromium.open("about:blank")


def show(browser, server, **look):
    """Show the page and wait for its figures, down to the chart and the tickers."""
    browser.open(server.url, **look)
    browser.wait_text("#totals", "3 of 3 live")
    wait_until(lambda: browser.run("return document.querySelectorAll('#latency .scatter').length"), 20)
    browser.wait_text("#slowest", "S1")


def tile(connection, part=""):
    """Return the selector of a connection's tile, or of a part of it."""
    return f"[data-connection={connection}] {part}"


def test_a_killed_connection_and_its_failover_are_shown_and_its_return(page, gate, run):
    """The operator would look at a green page while a third of the market is missing."""
    page.wait_text(tile("connection_2"), "● live")
    assert "Disconnected" not in page.text("#events")
    gate.shut()
    page.wait_text(tile("connection_2"), "▲ backing off")
    page.wait_text("#totals", "2 of 3 live")
    page.wait_text("#events", "disconnected")
    page.wait_text("#events", "takes over from secondary (failover)")
    page.wait_text("#way svg", "0 tickers")
    page.wait_text(tile("connection_1", "dl"), "tickers\n30")
    gate.open()
    page.wait_text("#totals", "3 of 3 live")
    page.wait_text("#events", "(return)")
    wait_until(
        lambda: "reconnects\n1" in page.text(tile("connection_2", "dl")), 10, "the count of the return"
    )


def test_the_figures_are_those_of_the_stream(page, run):
    """A page that is nicer than the stream is worse than none."""
    assert {page.text(tile(name, "h2")) for name in HOMES} >= {"secondary"}
    page.wait_text("#account tbody", "0 ✓")
    page.wait_text("#way svg", "callback")
    page.wait_text("#busiest", "secondary")
    its = page.run("return [...document.querySelectorAll('#account tbody td')].map(cell => cell.innerText)")
    received, delivered = (int(figure.replace(",", "")) for figure in its[2:4])
    assert 0 < delivered <= received <= run.stream.account("callback").received
    assert page.text(tile("connection_1", "b")) != "0"
    assert page.run("return document.querySelector('.spark polyline').getAttribute('points')")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_scrolls_sideways_and_all_can_be_read(chromium, server, scheme):
    """On a phone the figures would be off the screen; in the dark the ink would be as dark as the page."""
    show(chromium, server, scheme=scheme)
    parts = "[document.documentElement, ...document.querySelectorAll('section')]"
    for width, height in SIZES:
        chromium.resize(width, height)
        fits = f"return {parts}.every(part => part.scrollWidth <= part.clientWidth + 1)"
        wait_until(lambda fits=fits: chromium.run(fits), 10, f"all within {width} px")
    ground, *inks = chromium.run(
        "const look = (selector) => getComputedStyle(document.querySelector(selector));"
        "return [look('.tile').backgroundColor, ...['.tile', 'dt', '.state'].map((each) => look(each).color)]"
    )
    assert (luminance(ground) < 0.2) == (scheme == "dark")
    for ink in inks:
        assert contrast(ink, ground) >= 4.5, (ink, ground)  # WCAG 2.2, AA
    chromium.open("about:blank")


def luminance(colour):
    """Return the relative luminance of rgb(…), as WCAG defines it."""
    parts = [int(part) / 255 for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one, other):
    """Return the contrast of two colours, 1 to 21."""
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def test_a_lost_server_is_said_with_the_time_and_its_return_is_seen(chromium, run):
    """Yesterday's figures would look like today's."""
    with HttpServer(run.stream, port=0) as first:
        show(chromium, first)
        port = int(first.url.rpartition(":")[2])
    chromium.wait_text("#lost", "No data since ")
    assert "3 of 3 live" in chromium.text("#totals"), "what was known stays readable"
    assert chromium.run("return getComputedStyle(document.querySelector('main')).opacity") < "1"
    with HttpServer(run.stream, port=port):
        wait_until(lambda: chromium.run("return document.getElementById('lost').hidden"), 20, "the return")
        chromium.wait_text("#totals", "3 of 3 live")
        chromium.open("about:blank")


def test_a_reconnect_is_asked_for_with_the_token_which_is_kept_nowhere(chromium, server, run):
    """A click by mistake would cut a connection, or a token lie in the browser for whoever comes next."""
    show(chromium, server)
    chromium.click(tile("connection_1", "button"))
    chromium.wait_text("#ask", "Reconnect primary?")
    chromium.click("#ask button[value='']")
    chromium.click(tile("connection_1", "button"))
    chromium.type("#token", "a guess")
    chromium.click("#go")
    chromium.wait_text("#said", "Not done")
    assert run.stream.health()["totals"]["reconnects"] == 0
    chromium.click(tile("connection_1", "button"))
    chromium.type("#token", TOKEN)
    chromium.click("#go")
    chromium.wait_text("#said", "begins a new session")
    chromium.wait_text(tile("connection_1", "dl"), "reconnects\n1")
    chromium.wait_text("#totals", "3 of 3 live")
    chromium.click("#rebalance")
    chromium.click("#go")
    chromium.wait_text("#said", "move")
    assert chromium.run("return [localStorage.length, sessionStorage.length, document.cookie]") == [0, 0, ""]
    assert TOKEN not in chromium.run("return document.documentElement.outerHTML")
    chromium.open("about:blank")


class Hanging(Run):
    """A stream whose callback waits while it is told to."""

    def __init__(self, config):
        super().__init__(config)
        self.going = threading.Event()
        self.going.set()

    def _take(self, tick):
        self.going.wait(30)
        super()._take(tick)


@pytest.mark.parametrize("width", [390, 1280])
def test_the_way_of_one_subscriber_has_its_own_rate_and_queue(chromium, simulator, width):
    """The last arrow said `undefined`, and how much was received where what is delivered belongs."""
    edges = "return [...document.querySelectorAll('#way svg > text')].map((text) => text.textContent)"

    def last(*wanted):
        return lambda: tuple(each.split()[-1] for each in chromium.run(edges)[-2:]) == wanted

    config = config_for(simulator, *HOMES.values(), MASSIVE_EVENT_TYPES="Q")
    with Hanging(config) as run, HttpServer(run.stream, port=0) as server:
        show(chromium, server, width=width)
        words = chromium.run(edges)
        assert len(words) == 2 * (3 + 1 + 1), (
            "an arrow from each connection, from ingest, and to the subscriber"
        )
        assert not [each for each in words if "undefined" in each]
        assert words[-1].endswith(" queued")
        run.going.clear()
        wait_until(last("0/s", "queued"), 20, "that nothing is delivered")
        assert chromium.run(edges)[-4] != "0/s", "what is received goes on"
        run.going.set()
        chromium.open("about:blank")


@pytest.fixture
def bars():
    """A stream of what is asked for by default: second bars."""
    feed = SyntheticFeed(["AAPL", "MSFT"], rate=200, event_types=("A",))
    with (
        Simulator([feed], Options(keys=frozenset({KEY}))) as server,
        Run(config_for(server, ["*"], MASSIVE_EVENT_TYPES="A")) as run,
    ):
        yield run


def test_where_only_bars_come_their_latency_is_shown_and_called_so(chromium, bars):
    """A first-time user has only bars: the page showed no latency, or one that looked two seconds late."""
    with HttpServer(bars.stream, port=0) as server:
        chromium.open(server.url)
        chromium.wait_text("#totals", "after their end, of which Massive waits 2,000")
        chromium.wait_text(tile("connection_1", "dl"), "bars")
        chromium.wait_text("#way svg", "bars p99")
        chromium.wait_text("#slowest", "AAPL")
        names = (
            "return [...document.querySelectorAll('#latency .legendtext')].map((text) => text.textContent)"
        )
        wait_until(lambda: "primary bars" in chromium.run(names), 20, "the line of the bars")
        assert "feed" not in chromium.text("#totals")
        chromium.open("about:blank")


SAID_SHORT = [text for text in SAID if 0 < len(text) <= 64]


@pytest.fixture
def hostile():
    """A stream whose server names its tickers as it likes."""
    feed = SyntheticFeed(SAID_SHORT, rate=500, event_types=("Q",))
    with (
        Simulator([feed], Options(keys=frozenset({KEY}))) as server,
        Run(config_for(server, ["*"], MASSIVE_EVENT_TYPES="Q")) as run,
    ):
        yield run, server


def test_what_a_hostile_server_says_is_text_on_the_page(chromium, hostile):
    """A ticker could run a script with the operator's token, or a close reason turn words around."""
    run, simulator = hostile
    with HttpServer(run.stream, port=0) as server:
        chromium.open(server.url)
        chromium.wait_text("#slowest", "<script>alert(1)")
        tags = "return [...document.querySelectorAll('body *')].map((each) => each.localName).sort()"
        simulator.close_clients(4000, SAID[6] + SAID[4])
        chromium.wait_text("#events", "<img src=x onerror=alert(1)>")
        assert not {"script", "img", "link", "iframe"} & set(chromium.run(tags))
        words = chromium.run("return document.body.textContent")
        assert not UNFIT.difference("\n").intersection(words)
        assert chromium.take_complaints() == []
        chromium.open("about:blank")
