import asyncio
import contextlib
import fcntl
import os
import pty
import struct
import subprocess
import termios
import threading
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from pipeline import build_pipeline
from pipeline.cli.app import app
from pipeline.cli.instance import Frame, Instance
from pipeline.cli.top_app import TopApp
from pipeline.cli.top_screen import BARS, headline, spark
from pipeline.errors import NoAnswer
from pipeline.health.history import ConnectionPoint, EventLine, Point, SubscriberPoint
from pipeline.health.leaders import BusyTicker, SlowTicker, Tickers
from pipeline.health.server import HttpServer
from tests.cli.conftest import COMMAND, DEADLINE_S
from tests.conftest import our_threads, wait_until

AT_NS = 1_790_000_000_000_000_000
SYNTHETIC = {"USE_SYNTHETIC_DATA": True, "SYMBOL_UNIVERSE_KEY": "AAPL,MSFT"}
WIDE, NARROW = (140, 40), (80, 24)


def connection(number, **more):
    """Return how a connection does."""
    values = {
        "id": f"connection_{number}",
        "name": ("primary", "secondary", "tertiary")[number - 1],
        "phase": "live",
        "ticks_per_s": 1000.0 * number,
        "p50_ms": 1.5,
        "p99_ms": 20.0,
        "bars_p50_ms": None,
        "bars_p99_ms": None,
        "duplicates": 0,
        "rejected": 0,
        "dropped": 0,
        "since_ns": AT_NS,
        "tickers": 100,
        "last_message_age_s": 0.1,
        "reconnects": 0,
        "queued": 0,
        "concern": "",
        "trouble": None,
        "all_symbols": False,
    }
    return ConnectionPoint(**values | more)


def frame(*connections, rate=6000.0, imbalance=0):
    """Return what an instance tells."""
    names = ("received", "delivered", "deduplicated", "dropped", "failed", "rejected", "queued")
    account = dict.fromkeys(names, 12345) | {"imbalance": imbalance}
    callback = SubscriberPoint(
        name="callback",
        state="",
        delivered_per_s=rate,
        queued=7,
        dropped=0,
        failed=0,
        rejected=0,
        p50_ms=1.0,
        p99_ms=2.0,
        messages_per_s=None,
        sink_p50_ms=None,
        sink_p99_ms=None,
        account=account,
    )
    lines = connections or (connection(1), connection(2), connection(3))
    return Frame(
        Point(AT_NS, "running", rate, 1.5, 20.0, None, None, 0, False, 0, 0.4, 0, False, lines, (callback,)),
        {line.id: [1.0, 2.0] for line in lines},
        [EventLine(1, AT_NS, "connection_2", "Evicted", "connection_2: evicted", warning=True)],
        Tickers(
            10.0,
            2,
            [BusyTicker("BUSY", ["connection_1"], 99.5)],
            [SlowTicker("SLOW", "Q", ["connection_2"], 321.0, 0.5)],
        ),
    )


class Told:
    """Is an instance that tells what a test wants, a look at a time."""

    url = "http://127.0.0.1:8420"

    def __init__(self, first):
        self.next = first
        self.looks = 0
        self._again = threading.Semaphore(0)

    def read(self):
        self.looks += 1
        if isinstance(self.next, Exception):
            raise self.next
        return self.next

    def wait(self, over, timeout_s):
        """Wait for the test instead of a second."""
        while not over.is_set() and not self._again.acquire(timeout=0.01):
            pass
        return over.is_set()

    def tell(self, what):
        self.next = what
        self._again.release()


@contextlib.asynccontextmanager
async def shown(first, size=WIDE):
    """Run the app on a screen of this size; give it, its pilot, and what is asked."""
    told = Told(first)
    app = TopApp(told, told.wait)
    async with app.run_test(size=size) as pilot:
        yield app, pilot, told
    assert "tickbraid-top" not in our_threads()


async def until(pilot, condition, what):
    """Wait until the screen is as it should be."""
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            await pilot.pause(0.01)
    assert condition(), what


def screen(app):
    """Return what stands on the screen, line by line."""
    return "\n".join(
        "".join(segment.text for segment in strip) for strip in app.screen._compositor.render_strips()
    )


@pytest.mark.parametrize(("at_most_ms", "told"), [(0.4, True), (None, False)])
def test_a_clock_of_which_nothing_is_known_is_not_told(at_most_ms, told):
    """`clock at most - ms ahead` would be read twice, and push the address off the line."""
    now = replace(frame().now, clock_at_most_ms=at_most_ms)
    assert ("clock at most" in headline(now, Told.url).plain) == told


def test_it_shows_connections_subscribers_tickers_and_events_by_their_names():
    """The operator at a terminal would know less than the one at the page."""

    async def run():
        everything = connection(3, all_symbols=True, tickers=2)
        async with shown(frame(connection(1), connection(2), everything)) as (app, pilot, _):
            await until(pilot, lambda: "BUSY" in screen(app), "the figures")
            for words in (
                "all + 2",
                "6,000 ticks/s",
                "imbalance 0",
                "primary",
                "callback",
                "12,345",
                "▲ secondary: evicted",
            ):
                assert words in screen(app)
            assert "connection_" not in screen(app)

    asyncio.run(run())


def test_each_key_does_what_the_help_says():
    """A key that sorts nothing, or a pause that goes on, is found in the worst minute of the day."""

    def order(app):
        return sorted(("primary", "secondary", "tertiary"), key=screen(app).index)

    async def run():
        lines = connection(1, dropped=5, p99_ms=1.0), connection(2, p99_ms=9.0), connection(3, p99_ms=None)
        async with shown(frame(*lines)) as (app, pilot, told):
            await until(pilot, lambda: "connection ▾" in screen(app), "the figures")
            assert order(app) == ["primary", "secondary", "tertiary"]
            for column, expected in (
                ("ticks/s ▾", ["tertiary", "secondary", "primary"]),
                ("p99 ms ▾", ["secondary", "primary", "tertiary"]),
                ("age s ▾", ["primary", "secondary", "tertiary"]),
                ("dropped ▾", ["primary", "secondary", "tertiary"]),
                ("connection ▾", ["primary", "secondary", "tertiary"]),
            ):
                await pilot.press("s")
                await until(pilot, lambda column=column: column in screen(app), column)
                assert order(app) == expected
            await pilot.press("t")
            await until(pilot, lambda: "SLOW" in screen(app), "the slowest")
            assert "BUSY" not in screen(app)
            await pilot.press("?")
            await until(pilot, lambda: "pause: nothing" in screen(app), "the help")
            await pilot.press("p")
            await until(pilot, lambda: "paused" in screen(app), "the pause")
            told.tell(frame(rate=7777.0))
            told.tell(frame(rate=7777.0))
            await until(pilot, lambda: told.looks >= 3, "two more looks")
            await pilot.pause()
            assert "7,777" not in screen(app)
            await pilot.press("p")
            told.tell(frame(rate=7777.0))
            await until(pilot, lambda: "7,777" in screen(app), "the newest figures")
            await pilot.press("q")

    asyncio.run(run())


def test_a_lost_server_is_said_with_the_time_its_figures_stay_and_it_is_asked_again():
    """Old figures would pass for new, or top have to be started again after each restart of the stream."""

    async def run():
        async with shown(NoAnswer("nobody there")) as (app, pilot, told):
            await until(pilot, lambda: "No data yet: nobody there" in screen(app), "the loss")
            told.tell(frame())
            await until(pilot, lambda: "6,000 ticks/s" in screen(app), "the figures")
            told.tell(NoAnswer("gone"))
            await until(pilot, lambda: "No data since" in screen(app), "the loss")
            assert "primary" in screen(app)
            told.tell(frame(rate=5000.0))
            await until(pilot, lambda: "5,000 ticks/s" in screen(app), "the return")

    asyncio.run(run())


def test_a_narrow_screen_shows_less_instead_of_half_of_everything():
    """On 80 columns all figures would be cut to 'rece…' and '1.…'."""

    async def run():
        async with shown(frame(), NARROW) as (app, pilot, _):
            await until(pilot, lambda: "BUSY" in screen(app), "the figures")
            assert "…" not in screen(app)
            assert "received" not in screen(app)
            await pilot.resize_terminal(*WIDE)
            await until(pilot, lambda: "received" in screen(app), "the rest")

    asyncio.run(run())


@given(st.lists(st.floats(0, 1e6), max_size=400))
def test_five_minutes_are_at_most_twenty_bars_the_highest_full(values):
    """The row would grow over the edge of the screen in the course of five minutes."""
    bars = spark(values)
    assert len(bars) == -(-min(len(values), 300) // 15)
    assert set(bars) <= set(BARS)
    assert not any(values[-15:]) or BARS[-1] in bars


@pytest.fixture
def instance():
    """A stream of synthetic ticks with its HTTP server."""
    with build_pipeline(SYNTHETIC) as stream, HttpServer(stream, port=0) as server:
        stream.subscribe(lambda _: None)
        yield server


def test_an_instance_is_asked_for_what_is_new_and_forgets_when_it_has_no_answer(instance):
    """Each look would fetch five minutes, or a restarted instance's events be mixed with those before."""
    with contextlib.closing(Instance(instance.url)) as asked:
        wait_until(lambda: any(asked.read().ticks_per_s.values()))
        known = wait_until(lambda: len(next(iter(asked.read().ticks_per_s.values()))) >= 2 and asked.read())
        numbers = [event.number for event in known.events]
        assert numbers == sorted(set(numbers))
        assert known.now.state == "running"
        instance.close()
        for _ in range(2):
            with pytest.raises(NoAnswer, match="does not answer"):
                asked.read()
        assert asked._known.after_ns == 0


@pytest.mark.parametrize("url", ["", "ftp://127.0.0.1", "http://"])
def test_what_is_no_address_is_refused_at_once(url):
    """A mistyped address would look like a dead instance, all day."""
    result = CliRunner().invoke(app, ["top", url, "--once"])
    assert result.exit_code == 2
    assert "no address of an instance" in " ".join(result.stderr.replace("│", " ").split())


def test_once_prints_a_frame_or_says_in_a_sentence_why_not(instance, start):
    """A script would hang, or find a traceback where it looks for figures."""
    with contextlib.closing(Instance(instance.url)) as asked:
        wait_until(lambda: asked.read().now)
    code, out, err = start("top", instance.url.removeprefix("http://"), "--once").wait()
    assert (code, err) == (0, "")
    assert "imbalance 0" in out
    assert "received" in out, "all there is, whatever the width"
    instance.close()
    code, out, err = start("top", instance.url, "--once").wait()
    assert (code, out) == (1, "")
    assert err.startswith(f"Error: {instance.url} does not answer")
    assert len(err.splitlines()) == 1


def test_where_the_output_is_no_terminal_there_is_one_picture(instance, start):
    """``tickbraid top > file`` would fill the file with the codes of a screen, for ever."""
    with contextlib.closing(Instance(instance.url)) as asked:
        wait_until(lambda: asked.read().now)
    code, out, err = start("top", instance.url).wait()
    assert (code, err) == (0, "")
    assert out.count("imbalance 0") == 1
    assert "\x1b" not in out


@pytest.mark.parametrize("key", ["q", "ctrl+c"])
def test_a_key_ends_it(key):
    """Ctrl-C would show a hint which other key to press."""

    async def press():
        async with shown(frame(connection(1))) as (app, pilot, _):
            await pilot.press(key)
            await until(pilot, lambda: not app.is_running, "the end")

    asyncio.run(press())


def test_on_a_terminal_it_runs_is_resized_and_quit_and_leaves_it_as_it_was(instance):
    """The shell would be left on another screen, without a cursor."""
    controller, terminal = pty.openpty()

    def size(rows, columns):
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    size(30, 140)
    environment = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES"}}
    process = subprocess.Popen(  # noqa: S603  # our own command
        [COMMAND, "top", instance.url],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env=environment | {"TERM": "xterm-256color"},
        start_new_session=True,
    )
    seen = bytearray()
    os.set_blocking(controller, False)

    def shows(words):
        def look():
            with contextlib.suppress(OSError):
                while chunk := os.read(controller, 65_536):
                    seen.extend(chunk)
            return words in seen

        wait_until(look, DEADLINE_S, f"{words!r} on the terminal")
        seen.clear()

    try:
        shows(b"received")
        size(24, 80)
        os.killpg(process.pid, 28)  # SIGWINCH: the terminal is not the session's own
        shows(b"imbalance")
        os.write(controller, b"?")
        shows(b"pause: nothing")
        os.write(controller, b"q")
        shows(b"\x1b[?25h")
        assert process.wait(DEADLINE_S) == 0
    finally:
        process.kill()
        process.wait(DEADLINE_S)
        os.close(controller)
        os.close(terminal)
