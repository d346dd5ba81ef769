"""The figures: pure functions from a data frame to a figure, on whatever thread calls.

Samples are latencies in ms, null where there is none, by what they are of. Curves are drawn through
percentiles and not through ticks, so that ten million cost hardly more than ten thousand.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import polars as pl
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from pipeline.capture.queries import stage_ms

from .canvas import (
    BLUE,
    COLOURS,
    GREY,
    RED,
    STYLES,
    TimeAxis,
    blank,
    legend,
    legend_below,
    ms_axis,
    ms_words,
    number,
    plain,
    time_axis,
)

__all__ = [
    "STAGE_WORDS",
    "Samples",
    "by_group",
    "by_stage",
    "ecdf_plot",
    "heat_map",
    "latency_ms",
    "latency_over_time",
    "percentile_plot",
    "summary_plot",
]

Samples = Mapping[str, pl.Series]
"""Latencies in ms, by what they are of."""

STAGE_WORDS: Final = {
    "feed": "event until received",
    "bars": "end of a bar until first received",
    "pipeline": "received until decoded",
    "sink": "decoded until delivered",
    "total": "event until delivered",
}
CURVE_POINTS: Final = 240
NINES: Final = {1.0: "0 %", 10.0: "90 %", 100.0: "99 %", 1e3: "99.9 %", 1e4: "99.99 %", 1e5: "99.999 %"}
CURVE_BINS: Final = 300
HEAT_BINS: Final = 60
HEAT_TICKERS: Final = 30
USUALLY_APART: Final = 0.9
"""So many of the moments at which anything happened are no further from the one before than a bin is wide."""
MARKS: Final = {"p50_ms": "o", "p90_ms": "^", "p99_ms": "s", "p99_9_ms": "D", "max_ms": "|"}
"""How `summary_plot` marks the columns of `latency_summary`."""


def latency_ms(ticks: pl.DataFrame, stage: str) -> pl.Series:
    """Return how long each tick took, in ms.

    Args:
        ticks: as `load_ticks` returns them.
        stage: one of `STAGES`.
    """
    return ticks.select(stage_ms(ticks, stage).alias("ms")).to_series()


def by_group(ticks: pl.DataFrame, column: str, stage: str) -> dict[str, pl.Series]:
    """Return the latencies of a stage for each value of a column, sorted by it."""
    groups = _timed(ticks, stage).select(column, "ms").sort(column, maintain_order=True)
    return {str(name): its["ms"] for (name,), its in groups.group_by(column, maintain_order=True)}


def by_stage(ticks: pl.DataFrame) -> dict[str, pl.Series]:
    """Return the latencies of the stages that follow one another: feed, or of bars bars; pipeline, sink."""
    stages = {s: latency_ms(ticks, s) for s in ("feed", "bars", "pipeline", "sink")}
    return {f"{s}: {STAGE_WORDS[s]}": its for s, its in stages.items() if its.count()}


def percentile_plot(samples: Samples, title: str) -> Figure:
    """Draw latency over percentile, on the axis 1/(1 - p): each step to the right is the last tenth of one.

    A mean hides the tail and an even axis squeezes it into a pixel; here it has most of the room. A curve
    ends with its largest value, so that of more ticks reaches further.
    """
    figure, (axes,) = blank(title, "Percentile, spaced by 1/(1 - p)", "Latency (ms)")
    furthest = 10.0
    for order, (name, values) in enumerate(_sorted(samples).items()):
        count = len(values)
        furthest = max(furthest, count)
        steps = [count ** (i / CURVE_POINTS) for i in range(CURVE_POINTS + 1)]
        ranks = [min(count - 1, int(count - count / step)) for step in steps]
        axes.plot(steps, values.gather(ranks), label=_label(name, values), **_line(order))
    axes.set_xscale("log")
    axes.set_xlim(1, furthest * 1.2)
    axes.xaxis.set_major_locator(FixedLocator([step for step in NINES if step <= furthest * 1.2]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda step, _: NINES.get(step, "")))
    ms_axis(axes, "y", samples.values())
    legend(axes)
    return figure


def ecdf_plot(samples: Samples, title: str) -> Figure:
    """Draw which share of the ticks was at most so late: the empirical distribution."""
    figure, (axes,) = blank(title, "Latency (ms)", "Share of the ticks (%)")
    for order, (name, values) in enumerate(_sorted(samples).items()):
        ranks = [round(i * (len(values) - 1) / CURVE_POINTS) for i in range(CURVE_POINTS + 1)]
        shares = [100 * (rank + 1) / len(values) for rank in ranks]
        axes.step(values.gather(ranks), shares, where="post", label=_label(name, values), **_line(order))
    axes.set_ylim(0, 101)
    ms_axis(axes, "x", samples.values())
    legend(axes)
    return figure


def latency_over_time(ticks: pl.DataFrame, title: str, *, stage: str = "feed") -> Figure:
    """Draw median and tail over time, and below how many ticks there were: a burst is seen in both.

    A tick counts where it *happened*, not where it arrived: else a stall of a second would be one bad moment
    in which many ticks came, and not the bad second that it was.
    """
    ticks = _timed(ticks, stage)
    axis = _axis_of(ticks, CURVE_BINS)
    binned = (
        pl.DataFrame({"bin": range(axis.bins)})  # all of them: where nothing came the curves break
        .join(
            ticks.select(_bin(axis), "ms")
            .group_by("bin")
            .agg(
                pl.len().alias("count"),
                pl.col("ms").quantile(0.5, "higher").alias("median"),
                pl.col("ms").quantile(0.99, "higher").alias("p99"),
                pl.col("ms").max().alias("max"),
            ),
            on="bin",
            how="left",
        )
        .sort("bin")
        .with_columns(pl.col("bin") * axis.bin_s / axis.unit_s, pl.col("count").fill_null(0) / axis.bin_s)
    )
    figure, (above, below) = blank(title, axis.label, "Latency (ms)", height_in=5.0, ratios=(3, 1))
    alone = binned["median"].is_not_null() & _silent_beside(binned["median"])
    for name, colour, style in (("max", GREY, ":"), ("p99", RED, "--"), ("median", BLUE, "-")):
        above.plot(
            binned["bin"],
            binned[name].cast(pl.Float64).fill_null(float("nan")),
            style,
            color=colour,
            label=name,
            marker="o",  # a line has no length where there is nothing before and after
            markersize=2.5,
            markevery=alone.to_list(),
        )
    ms_axis(above, "y", [binned["median"]])
    legend(above, f"of each {axis.bin_words}")
    below.fill_between(binned["bin"], binned["count"], step="post", color=BLUE, alpha=0.4, linewidth=0)
    below.set_ylabel("Ticks/s")
    below.set_ylim(bottom=0)
    below.yaxis.set_major_formatter("{x:,.0f}")
    return figure


def heat_map(ticks: pl.DataFrame, title: str, *, stage: str = "feed") -> Figure:
    """Draw the 99th percentile by ticker and time: a column is trouble of all, a row trouble of one.

    Of tickers it has the busiest, the busiest on top; white is where a ticker had no tick.
    """
    ticks = _timed(ticks, stage)
    axis = _axis_of(ticks, HEAT_BINS)
    busiest = ticks["ticker"].value_counts().sort("count", "ticker", descending=[True, False])
    tickers = busiest["ticker"].head(HEAT_TICKERS).to_list()
    cells = (
        ticks.filter(pl.col("ticker").is_in(tickers))
        .select("ticker", _bin(axis), "ms")
        .group_by("ticker", "bin")
        .agg(pl.col("ms").quantile(0.99, "higher"))
        # A log scale has no place for what clocks that disagree made negative.
        .with_columns(pl.col("ms").clip(lower_bound=0.001))
    )
    rows = {ticker: [float("nan")] * axis.bins for ticker in tickers}
    for ticker, place, ms in cells.iter_rows():
        rows[ticker][place] = ms
    figure, (axes,) = blank(title, axis.label, "Ticker", height_in=max(2.4, 1.6 + 0.17 * len(tickers)))
    axes.grid(visible=False)
    edges = [place * axis.bin_s / axis.unit_s for place in range(axis.bins + 1)]
    least, most = number(cells["ms"].min()) or 0.001, number(cells["ms"].max()) or 1.0
    mesh = axes.pcolormesh(
        edges,
        range(len(tickers) + 1),
        [rows[ticker] for ticker in tickers],
        cmap="cividis",  # of even lightness, for the colour-blind too
        norm=LogNorm(least, max(most, least * 1.01)),
        rasterized=True,
    )
    axes.set_yticks([place + 0.5 for place in range(len(tickers))], [*map(plain, tickers)], fontsize=7.5)
    axes.invert_yaxis()
    bar = figure.colorbar(mesh, ax=axes, pad=0.01)
    bar.set_label(f"99th percentile of each {axis.bin_words} (ms)")
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: ms_words(value)))
    bar.ax.yaxis.set_minor_formatter(FuncFormatter(lambda value, _: ms_words(value)))
    bar.ax.tick_params(which="both", labelsize=7.5)
    return figure


def summary_plot(
    summary: pl.DataFrame, title: str, *, label: Iterable[str] = ("connection", "stage")
) -> Figure:
    """Draw the rows of `latency_summary` below one another, each percentile as a mark.

    Args:
        summary: as that returns it, or several of them, one below the other.
        title: one line.
        label: the columns that name a row.
    """
    rows = summary.select(pl.concat_str(list(label), separator=", ")).to_series().to_list()
    figure, (axes,) = blank(title, "Latency (ms)", "", height_in=1.5 + 0.28 * len(rows))
    places = range(len(rows))
    axes.hlines(places, summary["p50_ms"], summary["max_ms"], color="#bbbbbb", zorder=1)
    for (column, mark), colour in zip(MARKS.items(), COLOURS, strict=False):
        name = column.removesuffix("_ms").replace("p99_9", "p99.9")
        axes.scatter(summary[column], places, marker=mark, color=colour, label=name, s=32, zorder=2)
    axes.set_yticks(places, [*map(plain, rows)], fontsize=8.5)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    ms_axis(axes, "x", [summary[column] for column in MARKS])
    legend_below(figure, axes, len(MARKS))
    return figure


def _timed(ticks: pl.DataFrame, stage: str) -> pl.DataFrame:
    """Return the ticks that a stage is of, with how long it took as ``ms``."""
    return ticks.with_columns(stage_ms(ticks, stage).alias("ms")).drop_nulls("ms")


def _silent_beside(values: pl.Series) -> pl.Series:
    """Tell of each bin whether nothing is in the one before it and the one after."""
    return values.shift(1).is_null() & values.shift(-1).is_null()


def _axis_of(ticks: pl.DataFrame, most_bins: int) -> TimeAxis:
    """Choose bins that are no finer than the data: of second bars each other half second would be empty."""
    moments = ticks["event_ns"].unique().sort()
    apart_ns = number(moments.diff().quantile(USUALLY_APART, "lower")) or 0.0
    return time_axis(moments[0], moments[-1], most_bins, least_bin_s=apart_ns / 1e9)


def _bin(axis: TimeAxis) -> pl.Expr:
    return ((pl.col("event_ns") - axis.origin_ns) // round(axis.bin_s * 1e9)).alias("bin")


def _sorted(samples: Samples) -> dict[str, pl.Series]:
    """Return those that have any, from the least to the largest."""
    clean = {name: series.drop_nulls().sort() for name, series in samples.items()}
    return {name: series for name, series in clean.items() if len(series)}


def _label(name: str, values: pl.Series) -> str:
    return f"{plain(name)} ({len(values):,})"


def _line(order: int) -> dict[str, Any]:
    return {"color": COLOURS[order % len(COLOURS)], "linestyle": STYLES[order % len(STYLES)]}
