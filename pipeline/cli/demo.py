"""``tickbraid demo``: the main job on loopback, from three sockets to a callback and Redis."""

import contextlib
import logging
import os
import time
from collections import Counter, deque
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final, Self

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from pipeline.build import build_pipeline
from pipeline.embedded import RedisServer
from pipeline.errors import ServerUnavailable
from pipeline.health.history import History
from pipeline.settings import Settings, load_settings
from pipeline.shown import json_line, shown
from pipeline.status import StatusEvent
from pipeline.ticks import Tick

from .audit import blanks, check_redis, check_sent, failed_ticks, failures, imbalances
from .screen import account_lines, account_values, event_line, summary
from .simulator_process import Sent, SimulatorProcess
from .stop import Stop
from .top_screen import how_it_does

__all__ = ["Demo", "demo"]

CONNECTIONS: Final = 3
TICKERS: Final = tuple(f"SIM{number:03d}" for number in range(300))
EVENT_TYPES: Final = "T,Q,A,AM"
KEY: Final = "demo"
REPEATED_FRAMES: Final = 0.02
MALFORMED_ELEMENTS: Final = 0.001
REFRESH_S: Final = 0.25
LINE_EVERY_S: Final = 5.0
EVENTS_SHOWN: Final = 5
END_S: Final = 5.0
END_LOOK_S: Final = 0.01


def demo(
    *,
    seconds: Annotated[float, typer.Option(min=1, help="How long.")] = 15.0,
    rate: Annotated[float, typer.Option(min=1, help="Ticks a second of the simulated market.")] = 10_000.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print nothing but the account, as JSON.")] = False,
) -> None:
    """Show the whole pipeline at work on a simulated market: no key, no network, no set-up.

    Ticks go to a callback and to Redis: the one of REDIS_URL if that is set, else one of our own.
    """
    console = Console(quiet=as_json, highlight=False)
    with Stop() as stop, _redis_url(console) as redis_url, Demo(rate, redis_url, stop) as show:
        if console.is_terminal:
            _show_table(show, console, stop, seconds)
        else:
            _show_lines(show, stop, seconds, quiet=as_json)
        problems = show.finish()
        if as_json:
            typer.echo(json_line(show.values() | {"problems": problems}))
        else:
            typer.echo("\n".join(show.account()))
    if problems:
        typer.echo("\n".join(f"Error: {shown(problem)}" for problem in problems), err=True)
        raise typer.Exit(1)
    console.print("The account balances: every element is where it should be.")


def _show_table(show: "Demo", console: Console, stop: Stop, seconds: float) -> None:
    with Live(show.picture(seconds, console.width), console=console, auto_refresh=False) as live:
        while show.elapsed_s < seconds and not stop.wait(REFRESH_S):
            live.update(show.picture(seconds, console.width), refresh=True)


def _show_lines(show: "Demo", stop: Stop, seconds: float, *, quiet: bool) -> None:
    while not stop.wait(min(LINE_EVERY_S, seconds - show.elapsed_s)) and show.elapsed_s < seconds:
        if not quiet:
            typer.echo(show.line())


@contextlib.contextmanager
def _redis_url(console: Console) -> Iterator[str | None]:
    """Give the address of a Redis for as long as it lasts, None where there is none to be had."""
    if url := os.environ.get("REDIS_URL"):
        yield url
        return
    with contextlib.ExitStack() as stack:
        try:
            server = stack.enter_context(RedisServer.start())
        except ServerUnavailable as error:
            console.print(f"Without Redis: {error}.", markup=False)
            yield None
        else:
            yield server.url


class Demo:
    """Owns a simulated Massive and the stream that listens to it; a context manager of one thread.

    Args:
        rate: ticks a second of the simulated market, its bars not counted.
        redis_url: where to publish; None for nowhere.
        stop: is told when the stream ends by itself.

    Raises:
        ServerUnavailable: the simulator did not start.
        SettingsError: ``redis_url`` is none.
    """

    def __init__(self, rate: float, redis_url: str | None, stop: Stop) -> None:
        self._owned = contextlib.ExitStack()
        self._kinds: Counter[str] = Counter()
        self._sent: Sent | None = None
        with self._owned:
            self._simulator = self._owned.enter_context(SimulatorProcess(*_simulator_options(rate)))
            settings = _settings(self._simulator.url, redis_url)
            self._names = {connection.id: connection.name for connection in settings.connections}
            self._events = self._owned.enter_context(_Events())
            self._stream = self._owned.enter_context(build_pipeline(settings))
            self._stream.status.subscribe(self._events.take)
            self._stream.subscribe(self._count, on_completed=stop.ring)
            self._history = History(self._stream)
            self._started_s = time.monotonic()
            self._owned = self._owned.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._owned.close()

    @property
    def elapsed_s(self) -> float:
        """How long it has been running, s."""
        return time.monotonic() - self._started_s

    def picture(self, seconds: float, width: int) -> RenderableType:
        """Return this moment, as ``tickbraid top`` shows one, and the newest events.

        Args:
            seconds: how long it will run.
            width: of the screen, columns.
        """
        title = f"tickbraid demo, {self.elapsed_s:.0f} of {seconds:.0f} s"
        return Group(
            Text(title, style="bold"),
            how_it_does(self._history.sample(), self._simulator.url, {}, width),
            Text(),
            *(Text(event, style="dim", no_wrap=True, overflow="ellipsis") for event in self._events.newest()),
        )

    def line(self) -> str:
        """Return this moment in one line."""
        return f"{self.elapsed_s:.0f} s: {summary(self._history.sample())}"

    def finish(self) -> list[str]:
        """End the simulator, let all it sent come through, and say what is wrong with the account."""
        health = self._stream.health()
        problems = [f"the stream ended by itself: {words}" for words in failures(health)]
        try:
            self._sent = self._simulator.end()
            self._read_to_the_end()
        except ServerUnavailable as error:
            problems.append(str(error))
        self._stream.close()
        accounts = self._stream.accounts()
        problems += [*imbalances(accounts), *blanks(accounts, health), *failed_ticks(self._stream.health())]
        if self._sent is not None:
            problems += check_sent(accounts, self._sent)
            had, sent = dict(self._kinds), self._sent.types
            if had != sent and not self._stream.account("callback").dropped:
                problems.append(f"the callback had {had}, but the simulator sent {sent}")
        if redis := self._redis():
            problems += check_redis(self._stream.account("redis"), redis)
        return problems

    def _read_to_the_end(self) -> None:
        """Let each connection find that the simulator is gone: closing leaves unread what it has not read."""
        deadline_s = time.monotonic() + END_S
        while self._stream.health()["totals"]["connected"] and time.monotonic() < deadline_s:
            time.sleep(END_LOOK_S)

    def values(self) -> dict[str, Any]:
        """Return the closing account as plain values."""
        health = self._stream.health()
        return {
            "seconds": round(self.elapsed_s, 3),
            "subscribers": account_values(self._stream.accounts()),
            "sent": self._sent,
            "redis": self._redis(),
            "latency_ms": health["latency_ms"],
        }

    def account(self) -> Iterator[str]:
        """Yield the closing account in lines, for people."""
        yield from account_lines(self._stream.accounts(), self._names)
        if self._sent is not None:
            sent = self._sent
            yield (
                f"The simulator sent {sent.total:,} = {sent.elements:,} good"
                f" + {sent.repeated_elements:,} repeated + {sent.malformed_elements:,} malformed."
            )
        if redis := self._redis():
            taken = ", ".join(f"{count:,} on {channel}" for channel, count in redis["messages"].items())
            yield f"Redis took {taken}."

    def _count(self, tick: Tick) -> None:
        self._kinds[tick.event_type] += 1

    def _redis(self) -> dict[str, Any] | None:
        subscriber = self._stream.health()["subscribers"].get("redis")
        return subscriber and dict(subscriber["sink"])


def _simulator_options(rate: float) -> Iterator[str]:
    yield from ("--tickers", ",".join(TICKERS), "--types", EVENT_TYPES, "--rate", str(rate))
    yield from ("--key", KEY, "--max-connections", str(CONNECTIONS), "--start-after", str(CONNECTIONS))
    yield from ("--repeat", str(REPEATED_FRAMES), "--malformed", str(MALFORMED_ELEMENTS))


def _settings(url: str, redis_url: str | None) -> Settings:
    """Return the demo's settings; what is set in this place for real connections has no say in them."""
    config: dict[str, Any] = {
        "USE_MASSIVE_API": True,
        "MASSIVE_API_KEY": KEY,
        "MASSIVE_WEBSOCKET_URL": url,
        "MASSIVE_EVENT_TYPES": EVENT_TYPES,
        "USE_MULTI_CONNECTION": True,
        "REDIS_URL": redis_url or "",
    }
    for number in range(1, CONNECTIONS + 1):
        config[f"WEBSOCKET_CONNECTION_{number}_ENABLED"] = True
        # The first tickers are the busiest, so they are dealt out in turn.
        config[f"WEBSOCKET_CONNECTION_{number}_SYMBOLS"] = TICKERS[number - 1 :: CONNECTIONS]
    return load_settings(config, environ={}, directory=Path(__file__).parent)  # where no settings are


class _Events(logging.Handler):
    """Keeps the newest status events, and what was logged as an error, as lines; from any thread.

    As a context manager it takes the place of whatever else would print our logs into the table.
    """

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self._lines: deque[str] = deque(maxlen=EVENTS_SHOWN)
        self._logger = logging.getLogger("tickbraid")

    def take(self, event: StatusEvent) -> None:
        self._lines.append(event_line(event))

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(shown(record.getMessage()))

    def newest(self) -> tuple[str, ...]:
        return tuple(self._lines)

    def __enter__(self) -> Self:
        self._logger.addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._logger.removeHandler(self)
