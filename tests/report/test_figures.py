import polars as pl
import pytest

pytest.importorskip("matplotlib")

from hypothesis import given, settings
from hypothesis import strategies as st

from operators.account import Account
from pipeline.capture import latency_summary
from pipeline.report import figures
from pipeline.report.canvas import ms_words, time_axis
from pipeline.report.flows import account_bars, carriers_plot, gaps_plot
from pipeline.status import Gap
from tests.report.worlds import MS, START_NS, some_bars, some_ticks

LATENCIES = st.lists(st.floats(-50, 5000), min_size=1, max_size=40)


def drawn(figure):
    """Lay the figure out and draw it, which is when wrong data are found; return its axes."""
    figure.canvas.draw()
    return figure.axes


def curve(axes, name):
    """Return the points of a curve."""
    (line,) = [line for line in axes.lines if line.get_label().startswith(f"{name} ")]
    return list(line.get_xdata()), list(line.get_ydata())


@given(LATENCIES)
@settings(max_examples=40)
def test_a_percentile_curve_passes_through_the_values_from_least_to_largest(values):
    """A reader would take a latency from the curve that no tick had, or miss the worst."""
    (axes,) = figures.percentile_plot({"all": pl.Series(values, dtype=pl.Float64)}, "t").axes
    steps, its = curve(axes, "all")
    assert its == sorted(its)
    assert set(its) <= set(values)
    assert its[0] == min(values)
    assert its[-1] == max(values)
    for step, ms in zip(steps, its, strict=True):
        assert sum(value < ms for value in values) / len(values) <= 1 - 1 / step + 1e-9


@given(LATENCIES)
@settings(max_examples=40)
def test_a_distribution_ends_at_all_of_the_ticks(values):
    """The share at a latency would not be the share of the ticks."""
    (axes,) = figures.ecdf_plot({"all": pl.Series(values, dtype=pl.Float64)}, "t").axes
    its, shares = curve(axes, "all")
    assert shares[-1] == 100
    assert its[-1] == max(values)
    for ms, share in zip(its, shares, strict=True):
        assert share <= 100 * sum(value <= ms for value in values) / len(values) + 1e-9


def test_stages_and_groups_are_those_of_the_summary():
    """The figures would contradict the table beside them."""
    ticks = some_ticks()
    summary = latency_summary(ticks)
    for stage in ("feed", "pipeline", "sink", "total"):
        for connection, series in figures.by_group(ticks, "connection", stage).items():
            row = summary.filter(connection=connection, stage=stage).row(0, named=True)
            assert (len(series), series.max()) == (row["count"], row["max_ms"])
            assert series.quantile(0.99, "higher") == row["p99_ms"]
    assert [name.partition(":")[0] for name in figures.by_stage(ticks)] == ["feed", "pipeline", "sink"]


def test_over_time_a_tick_counts_when_it_happened():
    """A stall would look like one late moment, and not like the bad second that it was."""
    stalled = pl.DataFrame(
        {
            "event_ns": [START_NS + ms * MS for ms in range(1000)],
            "received_ns": [START_NS + 1000 * MS] * 1000,
        }
    )
    above, below = drawn(figures.latency_over_time(stalled, "t"))
    (median,) = [line for line in above.lines if line.get_label() == "median"]
    assert list(median.get_ydata()) == sorted(median.get_ydata(), reverse=True)
    assert len(median.get_ydata()) == 10
    assert below.get_ylabel() == "Ticks/s"


def test_over_time_a_silence_breaks_the_curve():
    """A line would be drawn through seconds of which nothing is known."""
    events = [START_NS + at * MS for at in (*range(100), *range(10_000, 10_100))]
    ticks = pl.DataFrame({"event_ns": events, "received_ns": [event + MS for event in events]})
    above, _ = drawn(figures.latency_over_time(ticks, "t"))
    (median,) = [line for line in above.lines if line.get_label() == "median"]
    values = list(median.get_ydata())
    assert values[0] == values[-1] == 1
    assert all(value != value for value in values[1:-1])  # noqa: PLR0124  # not a number


@pytest.mark.parametrize(("apart_s", "seconds"), [(1, 120), (1, 40), (7, 120), (60, 1800), (1, 23_400)])
def test_over_time_bars_are_a_line(apart_s, seconds):
    """What is recorded by default gave an empty figure: bins were finer than the data."""
    above, _ = drawn(figures.latency_over_time(some_bars(seconds, apart_s), "t", stage="bars"))
    (median,) = [line for line in above.lines if line.get_label() == "median"]
    known = [value == value for value in median.get_ydata()]  # noqa: PLR0124  # not a number
    assert all(known[1:-1]), "from one end to the other"
    assert 2 <= len(known) <= 301
    assert set(median.get_ydata()[1:-1]) == {2002.0}, "nothing of the revisions"


def test_what_is_alone_in_its_bin_is_a_dot():
    """A line of one point has no length: a rare tick would not be seen."""
    events = [START_NS + at * MS for at in (*range(1000), 30_000, 50_000)]
    ticks = pl.DataFrame({"event_ns": events, "received_ns": [event + MS for event in events]})
    above, _ = drawn(figures.latency_over_time(ticks, "t"))
    for line in above.lines:
        shown = [at for at, alone in enumerate(line.get_markevery()) if alone]
        assert [int(line.get_xdata()[at]) for at in shown] == [30, 50]


def test_bars_are_a_stage_of_their_own():
    """The table would say that a stream of bars is two seconds late, and a minute where one is revised."""
    summary = latency_summary(some_bars())
    assert summary["stage"].to_list() == ["bars", "pipeline", "sink"]
    (row,) = summary.filter(stage="bars").rows(named=True)
    assert (row["count"], row["max_ms"]) == (119 * 5, 2004.0)
    trades = some_ticks().with_columns(event_type=pl.lit("T"))
    both = pl.concat([some_bars().select(sorted(some_bars().columns)), trades.select(sorted(trades.columns))])
    mixed = latency_summary(both, by=()).filter(stage="feed")
    assert mixed.equals(latency_summary(trades, by=()).filter(stage="feed"))


def test_the_heat_map_has_the_busiest_tickers_on_top():
    """The row that is looked at first would be that of a ticker nobody trades."""
    ticks = some_ticks()
    axes, bar = drawn(figures.heat_map(ticks, "t"))
    rows = [label.get_text() for label in axes.get_yticklabels()]
    assert rows == ticks["ticker"].value_counts().sort("count", descending=True)["ticker"].to_list()
    assert axes.yaxis_inverted()
    assert bar.get_ylabel().endswith("(ms)")


def test_the_summary_s_marks_are_its_numbers():
    """A mark would stand beside the value that it stands for."""
    summary = latency_summary(some_ticks())
    (axes,) = drawn(figures.summary_plot(summary, "t"))
    marks = {each.get_label(): each.get_offsets()[:, 0].tolist() for each in axes.collections[1:]}
    assert marks["p99.9"] == summary["p99_9_ms"].to_list()
    assert marks["max"] == summary["max_ms"].to_list()


@given(st.lists(st.builds(Account, *[st.integers(0, 9)] * 6), min_size=1, max_size=4))
@settings(max_examples=25)
def test_a_bar_is_as_long_as_its_parts_together(accounts):
    """A loss would not be seen, or be seen where there is none."""
    named = {str(place): account for place, account in enumerate(accounts)}
    (axes,) = account_bars(named, "t").axes
    for place, account in enumerate(accounts):
        its = [bar for bar in axes.patches if round(bar.get_y() + bar.get_height() / 2) == place]
        assert sum(bar.get_width() for bar in its) == account.received - account.imbalance
        ends = [bar.get_x() + bar.get_width() for bar in its]
        assert [bar.get_x() for bar in its] == [0, *ends][: len(its)]


def test_gaps_are_drawn_where_they_were_the_longest_first():
    """The ticker that misses most would not be found."""
    gaps = [Gap("A", START_NS, START_NS + 100 * MS), Gap("B", START_NS + 50 * MS, START_NS + 900 * MS)]
    (axes,) = drawn(gaps_plot(gaps, "t"))
    assert [label.get_text() for label in axes.get_yticklabels()] == ["B", "A"]
    first = axes.collections[0].get_paths()[0].get_extents()
    assert (first.x0, first.x1) == pytest.approx((0.05, 0.9))


def test_each_tick_is_marked_by_the_connection_that_brought_it():
    """Nobody could see who carried a ticker when."""
    ticks = some_ticks()
    (axes,) = drawn(carriers_plot(ticks, "t"))
    marks = {each.get_label(): len(each.get_offsets()) for each in axes.collections}
    assert marks == dict(ticks["connection"].value_counts().iter_rows())


@pytest.mark.parametrize("make", [figures.percentile_plot, figures.ecdf_plot])
def test_samples_without_any_are_left_out(make):
    """One connection without ticks would cost the whole report."""
    (axes,) = drawn(make({"none": pl.Series([None], dtype=pl.Float64), "some": pl.Series([1.0, 2.0])}, "t"))
    assert [line.get_label() for line in axes.lines] == ["some (2)"]


@pytest.mark.parametrize(
    ("span_s", "most", "bin_words", "unit"),
    [(0, 1, "0.1 s", "s"), (9, 100, "0.1 s", "s"), (600, 60, "30 s", "min"), (23_400, 60, "10 min", "min")],
)
def test_bins_are_round_and_not_too_many(span_s, most, bin_words, unit):
    """A day would be drawn second by second, or a minute as a single cell."""
    axis = time_axis(START_NS, START_NS + span_s * 1_000_000_000, most)
    assert (axis.bin_words, axis.bins <= most + 1) == (bin_words, True)
    assert axis.label.endswith(f"({unit})") or span_s == 23_400


@pytest.mark.parametrize(
    ("ms", "words"),
    [(0.0421, "0.0421"), (1.25, "1.25"), (17.04, "17"), (4096.4, "4,096"), (None, "-"), (float("nan"), "-")],
)
def test_milliseconds_have_the_digits_that_count(ms, words):
    """A table would be of digits that mean nothing."""
    assert ms_words(ms) == words
