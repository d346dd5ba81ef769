"""The figures of what became of ticks: where they are, what is missing, and who brought them."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Final

import polars as pl
from matplotlib.figure import Figure

from operators.account import Account
from pipeline.status import Gap

from .canvas import COLOURS, RED, blank, legend_below, plain, time_axis

__all__ = ["account_bars", "carriers_plot", "gaps_plot"]

MOST_TICKERS: Final = 30
MOST_POINTS: Final = 60_000
HATCHES: Final = ("", "//", "\\\\", "xx", "..")
MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X")


def account_bars(accounts: Mapping[str, Account], title: str) -> Figure:
    """Draw where every received element is; the parts of a bar come to all that was received.

    Args:
        accounts: by what the row is called.
        title: one line.
    """
    figure, (axes,) = blank(title, "Elements", "", height_in=1.9 + 0.45 * len(accounts))
    parts = [field.name for field in fields(Account) if field.name != "received"]
    begin = [0] * len(accounts)
    for part, colour, hatch in zip(parts, COLOURS, HATCHES, strict=False):
        counts = [getattr(account, part) for account in accounts.values()]
        if any(counts):
            axes.barh(
                range(len(accounts)),
                counts,
                left=begin,
                color=colour,
                hatch=hatch,
                edgecolor="white",
                label=part,
                height=0.6,
            )
        begin = [sum(pair) for pair in zip(begin, counts, strict=True)]
    axes.set_yticks(range(len(accounts)), [*map(plain, accounts)], fontsize=8.5)
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    legend_below(figure, axes, 3)
    return figure


def gaps_plot(gaps: Sequence[Gap], title: str) -> Figure:
    """Draw for each channel when its ticks may be missing; of channels, those that miss the most time.

    Args:
        gaps: as the `Loss` events tell them; at least one.
        title: one line.
    """
    missed: dict[str, int] = {}
    for gap in gaps:
        name = gap.channel or gap.ticker
        missed[name] = missed.get(name, 0) + gap.to_ns - gap.from_ns
    names = sorted(missed, key=lambda name: (-missed[name], name))[:MOST_TICKERS]
    axis = time_axis(min(gap.from_ns for gap in gaps), max(gap.to_ns for gap in gaps))
    figure, (axes,) = blank(title, axis.label, "Channel", height_in=1.5 + 0.2 * len(names))
    for place, name in enumerate(names):
        spans = [
            (
                (gap.from_ns - axis.origin_ns) / 1e9 / axis.unit_s,
                (gap.to_ns - gap.from_ns) / 1e9 / axis.unit_s,
            )
            for gap in gaps
            if (gap.channel or gap.ticker) == name
        ]
        axes.broken_barh(spans, (place - 0.35, 0.7), facecolors=RED)
        begin, length = spans[-1]
        axes.annotate(
            f"{missed[name] / 1e9:.2f} s",
            (begin + length, place),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=7.5,
        )
    axes.set_yticks(range(len(names)), [*map(plain, names)], fontsize=7.5)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    return figure


def carriers_plot(ticks: pl.DataFrame, title: str) -> Figure:
    """Draw every tick where it happened, marked by the connection that brought it; of tickers, the busiest.

    Of very many ticks every so many-th is drawn.
    """
    busiest = ticks["ticker"].value_counts().sort("count", "ticker", descending=[True, False])
    tickers = sorted(busiest["ticker"].head(MOST_TICKERS).to_list())
    shown = ticks.filter(pl.col("ticker").is_in(tickers)).select("connection", "ticker", "event_ns")
    shown = shown.gather_every(len(shown) // MOST_POINTS + 1)
    first, last = shown.select(pl.col("event_ns").min().alias("a"), pl.col("event_ns").max().alias("b")).row(
        0
    )
    axis = time_axis(first, last)
    figure, (axes,) = blank(title, axis.label, "Ticker", height_in=1.6 + 0.2 * len(tickers))
    places = {ticker: place for place, ticker in enumerate(tickers)}
    connections = shown["connection"].unique().sort().to_list()
    for order, connection in enumerate(connections):
        its = shown.filter(pl.col("connection") == connection)
        axes.scatter(
            (its["event_ns"] - axis.origin_ns) / 1e9 / axis.unit_s,
            [places[ticker] - 0.2 + 0.4 * order / len(connections) for ticker in its["ticker"]],
            s=6,
            linewidths=0,
            color=COLOURS[order % len(COLOURS)],
            marker=MARKERS[order % len(MARKERS)],
            label=plain(connection),
            rasterized=True,
        )
    axes.set_yticks(range(len(tickers)), [*map(plain, tickers)], fontsize=7.5)
    axes.invert_yaxis()
    axes.grid(visible=False, axis="x")
    legend_below(figure, axes, 4, scale=3)
    return figure
