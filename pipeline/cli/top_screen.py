"""How ``tickbraid top`` looks. Pure: values to text."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from pipeline.health.history import ConnectionPoint, EventLine, Point, SubscriberPoint
from pipeline.health.leaders import BusyTicker, SlowTicker
from pipeline.shown import shown

from .instance import Frame
from .screen import NOTHING, event_or_bar, figure, latency_words, state_words

__all__ = [
    "SORTS",
    "connections",
    "events",
    "headline",
    "how_it_does",
    "lost",
    "picture",
    "subscribers",
    "tickers",
]

SORTS: Final[Mapping[str, Callable[[ConnectionPoint], Any]]] = {
    "connection": lambda line: line.name,
    "ticks/s": lambda line: -line.ticks_per_s,
    "p99 ms": lambda line: -(line.p99_ms or line.bars_p99_ms or 0.0),
    "age s": lambda line: -(line.last_message_age_s or 0.0),
    "dropped": lambda line: -line.dropped,
}
"""By which columns the connections can be sorted, by name or the greatest first."""
BARS: Final = "▁▂▃▄▅▆▇█"
SPARK_WIDTH: Final = 20
MOST_OF_A_CELL: Final = 64
"""Characters."""
ROOMY, WIDE, WIDEST = 96, 122, 140
"""Columns of a screen from which on more is shown, so that no figure is ever cut."""

_L = TypeVar("_L")


@dataclass(frozen=True, slots=True)
class _Column(Generic[_L]):
    """Is a column of a table.

    Args:
        cell: what a line has there.
        words: it is no number.
        from_width: a screen of less goes without.
    """

    heading: str
    cell: Callable[[_L], RenderableType]
    words: bool = False
    from_width: int = 0


def picture(frame: Frame, url: str, width: int) -> RenderableType:
    """Return everything at once, for a script."""
    if frame.now is None:
        return Text(shown(f"{url}: no figures yet"))
    return Group(
        how_it_does(frame.now, url, frame.ticks_per_s, width),
        Text(),
        tickers(frame, slowest=False),
        Text(),
        tickers(frame, slowest=True),
        Text(),
        events(frame),
    )


def how_it_does(now: Point, url: str, rates: Mapping[str, Sequence[float]], width: int) -> RenderableType:
    """Return how a stream does, its connections and its subscribers; the arguments are those of the parts."""
    return Group(
        headline(now, url),
        Text(),
        connections(now.connections, rates, "connection", width),
        Text(),
        subscribers(now.subscribers, width),
    )


def headline(now: Point, url: str, note: str = "") -> Text:
    """Return the first line.

    Args:
        now: the newest point.
        url: of the instance.
        note: what else there is to say: ``paused``.
    """
    live = sum(line.phase == "live" for line in now.connections)
    imbalance = sum(abs(line.account["imbalance"]) for line in now.subscribers)
    ahead = (
        f"clock at most {figure(now.clock_at_most_ms)} ms ahead{' (by bars)' if now.clock_by_bars else ''}"
    )
    words = [
        f"{clock(now.at_ns)} {now.state}",
        f"{live} of {len(now.connections)} live",
        f"{now.ticks_per_s:,.0f} ticks/s",
        f"imbalance {imbalance:,}",
        *latency_words(now),
        *([] if now.clock_at_most_ms is None else [ahead]),
        url,
    ]
    line = Text(shown(" · ".join(words)), no_wrap=True, overflow="ellipsis")
    line.highlight_words([f"imbalance {imbalance:,}"], "bold red" if imbalance else "green")
    return Text(f"{note} ", style="reverse", end="").append_text(line) if note else line


def lost(since_ns: int | None, why: str) -> Text:
    """Return what is said in the place of the first line while nobody answers."""
    since = f"No data since {clock(since_ns)}" if since_ns else "No data yet"
    return Text(shown(f"{since}: {why}; trying again"), style="bold red", no_wrap=True, overflow="ellipsis")


def connections(
    lines: Iterable[ConnectionPoint], rates: Mapping[str, Sequence[float]], sort: str, width: int
) -> Table:
    """Return the connections, a line each.

    Args:
        lines: of the newest point.
        rates: ticks/s of the last minutes, by id.
        sort: a key of `SORTS`.
        width: of the screen, columns; a narrow one shows less.
    """
    columns: list[_Column[ConnectionPoint]] = [
        _Column("connection", lambda line: line.name, words=True),
        _Column("state", _state, words=True),
        _Column("tickers", _carried),
        _Column("ticks/s", lambda line: f"{line.ticks_per_s:,.0f}"),
        _Column("5 min", lambda line: spark(rates.get(line.id, ())), words=True, from_width=WIDE),
        _Column("p50 ms", lambda line: event_or_bar(line.p50_ms, line.bars_p50_ms)),
        _Column("p99 ms", lambda line: event_or_bar(line.p99_ms, line.bars_p99_ms)),
        _Column("age s", lambda line: _age(line.last_message_age_s)),
        _Column("dropped", lambda line: f"{line.dropped:,}"),
        _Column("reconnects", lambda line: f"{line.reconnects:,}", from_width=ROOMY),
    ]
    return _table(columns, sorted(lines, key=SORTS[sort]), width, marked=sort)


def _carried(line: ConnectionPoint) -> str:
    if not line.all_symbols:
        return f"{line.tickers:,}"
    return f"all + {line.tickers:,}" if line.tickers else "all"


def subscribers(lines: Iterable[SubscriberPoint], width: int) -> Table:
    """Return the subscribers and the account of each; on a narrow screen less of it."""

    def count(name: str, heading: str = "", *, from_width: int = 0) -> _Column[SubscriberPoint]:
        return _Column(heading or name, lambda line: f"{line.account[name]:,}", from_width=from_width)

    columns: list[_Column[SubscriberPoint]] = [
        _Column("subscriber", lambda line: line.name, words=True),
        _Column("state", lambda line: state_words(line.state) if line.state else NOTHING, words=True),
        count("received", from_width=WIDEST),
        count("delivered", from_width=WIDEST),
        count("deduplicated", "duplicates", from_width=WIDEST),
        count("dropped"),
        count("failed", from_width=ROOMY),
        count("rejected", from_width=ROOMY),
        count("queued"),
        count("imbalance"),
        _Column("ticks/s", lambda line: f"{line.delivered_per_s:,.0f}"),
        _Column("p50 ms", lambda line: figure(line.p50_ms)),
        _Column("p99 ms", lambda line: figure(line.p99_ms)),
        _Column("ack p99", lambda line: figure(line.sink_p99_ms), from_width=ROOMY),
    ]
    return _table(columns, lines, width)


def tickers(frame: Frame, *, slowest: bool) -> Table:
    """Return the slowest tickers, or the busiest."""
    names = _names(frame)

    def where(leader: BusyTicker | SlowTicker) -> str:
        return ", ".join(names.get(connection, connection) for connection in leader.connections)

    if slowest:
        late: list[_Column[SlowTicker]] = [
            _Column("slowest", lambda leader: leader.ticker, words=True),
            _Column("type", lambda leader: leader.event_type, words=True),
            _Column("connection", where, words=True),
            _Column("ms", lambda leader: figure(leader.latency_ms)),
            _Column("age s", lambda leader: _age(leader.age_s)),
        ]
        return _table(late, frame.tickers.slowest, WIDEST)
    busy: list[_Column[BusyTicker]] = [
        _Column("busiest", lambda leader: leader.ticker, words=True),
        _Column("connection", where, words=True),
        _Column("ticks/s", lambda leader: f"{leader.ticks_per_s:,.1f}"),
    ]
    return _table(busy, frame.tickers.busiest, WIDEST)


def events(frame: Frame) -> Text:
    """Return the status events, the newest first."""
    names = _names(frame)

    def told(event: EventLine) -> Text:
        words = event.words
        for connection, name in names.items():
            words = words.replace(connection, name)
        sign, style = ("▲", "bold") if event.warning else (" ", "")
        return Text(f"{clock(event.at_ns)} {sign} {shown(words)}", style)

    return Text("\n").join(map(told, reversed(frame.events)))


def spark(values: Sequence[float]) -> str:
    """Return five minutes as 20 bars, each the mean of its 15 s; the highest is full."""
    each = 300 // SPARK_WIDTH
    recent = list(values)[-each * SPARK_WIDTH :]
    means = [
        sum(part) / len(part)
        for end in range(len(recent), 0, -each)
        if (part := recent[max(0, end - each) : end])
    ][::-1]
    top = max(means, default=0.0)
    return "".join(BARS[round(mean / top * (len(BARS) - 1))] if top > 0 else BARS[0] for mean in means)


def clock(at_ns: int) -> str:
    """Return the time of day."""
    return time.strftime("%H:%M:%S", time.localtime(at_ns / 1e9))


def _names(frame: Frame) -> dict[str, str]:
    """Return connection id to its name."""
    return {line.id: line.name for line in frame.now.connections} if frame.now else {}


def _state(line: ConnectionPoint) -> Text:
    return Text(shown(line.concern), "yellow") if line.concern else state_words(line.phase)


def _age(seconds: float | None) -> str:
    return NOTHING if seconds is None else f"{seconds:.1f}"


def _table(columns: Iterable[_Column[_L]], lines: Iterable[_L], width: int, marked: str = "") -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    fitting = [column for column in columns if width >= column.from_width]
    for column in fitting:
        heading = column.heading
        if marked and heading in SORTS:  # room for the mark, so that nothing moves with it
            heading += " ▾" if heading == marked else "  "
        table.add_column(heading, justify="left" if column.words else "right", no_wrap=True)
    for line in lines:
        table.add_row(*(_plain(column.cell(line)) for column in fitting))
    return table


def _plain(cell: RenderableType) -> RenderableType:
    """Return a text as one without markup: a ticker called ``[red]`` is no colour."""
    return Text(shown(cell, MOST_OF_A_CELL)) if isinstance(cell, str) else cell
