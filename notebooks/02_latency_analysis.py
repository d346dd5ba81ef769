# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # How late are ticks, and why
#
# A session is recorded and looked at: which share of the ticks is how late, when, of which ticker, and on
# which part of the way. Then the same on one connection instead of three, and a mistake that makes almost
# every latency figure too good.
#
# The feed is a simulated one on this machine. It opens with a burst, ten times the calm rate, that fades
# over some seconds. Between it and each connection lies a relay that stands for the network: it adds a
# delay of its own and some jitter, and once it stalls for a second, as a line does that has lost packets.
# So the *causes* below are known, and what to look at is how each figure shows them. The numbers themselves
# say nothing of your line, nor of Massive's.
#
# A tick's time goes into three parts:
#
# | stage | from | until |
# |---|---|---|
# | feed | the event's time, by the feed's clock | the bytes were received, by ours |
# | pipeline | received | decoded, without its duplicates, and stamped |
# | sink | decoded | given to the subscriber, here the recording |

# %%
# %matplotlib inline
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import polars as pl
from loopback import TICKERS, Relay, lasting, settings_for

from pipeline import build_pipeline
from pipeline.capture import capture, latency_summary, load_ticks
from pipeline.cli.simulator_process import SimulatorProcess
from pipeline.report import figures

folder = tempfile.TemporaryDirectory()
WAYS = [(0.0005, 0.0005), (0.003, 0.001), (0.012, 0.004)]  # delay and mean jitter of each relay, s
STALL_AT_S, STALL_S, SESSION_S = lasting(7), 1.0, lasting(12)


def record(name: str, ways: list[tuple[float, float]]) -> Path:
    """Record a session over these ways, the first of which stalls; return where."""
    path = Path(folder.name) / name
    arguments = ["--tickers", str(len(TICKERS)), "--types", "T,Q", "--rate", "600", "--bursts"]
    with ExitStack() as stack:
        market = stack.enter_context(SimulatorProcess(*arguments, "--start-after", str(len(ways))))
        relays = [
            stack.enter_context(Relay(market.url, delay_s=delay_s, jitter_s=jitter_s, seed=seed))
            for seed, (delay_s, jitter_s) in enumerate(ways)
        ]
        stream = stack.enter_context(build_pipeline(settings_for([relay.url for relay in relays])))
        capture(stream, path)
        stream.wait_connected()
        time.sleep(STALL_AT_S)
        relays[0].hold()
        time.sleep(STALL_S)
        relays[0].release()
        time.sleep(SESSION_S - STALL_AT_S)
    print(f"{name}: {stream.account('capture')}")
    return path


three = load_ticks(record("three connections", WAYS))
three.select("connection", "ticker", "event_type", "price", "event_ns", "received_ns", "decoded_ns").head()

# %% [markdown]
# ## Percentiles
#
# The axis is 1/(1 - p): from 90 % to 99 % is as far as from 99 % to 99.9 %, so the tail has room. Read the
# left end for the usual delay of a line, and the right end for what happens to one tick in a thousand. The
# relays' delays (0.5, 3 and 12 ms) tell the curves apart at the left. The stall lifts the right end of the
# first alone: the quickest line has the worst tail, which neither a mean nor a median would have shown.

# %%
figures.percentile_plot(figures.by_group(three, "connection", "feed"), "Feed latency by percentile")

# %% [markdown]
# ## Distribution
#
# The same as the share of ticks that were at most so late. Where one curve is left of another throughout,
# its line is the better one; where they cross there is no such order, and it depends on what you need. What
# one cannot read here is the tail: the last per cent is a hair below the top.

# %%
figures.ecdf_plot(figures.by_group(three, "connection", "feed"), "Feed latency by connection")

# %% [markdown]
# ## Over time
#
# The rate below shows the opening burst. Where latency rises with the rate, something has a queue: if the
# burst hardly shows above, there was room for it. Where latency rises by itself, as in the stall, the line
# is to blame. The slope of the stall is no slow recovery: what happened at its beginning waited for all of
# the second, what happened at its end hardly at all. The median jumps meanwhile, since about half of the
# ticks are of the stalled line.
#
# Ticks are put where they *happened*. By their arrival, the stall would be a second without any tick, then
# one bad moment.

# %%
figures.latency_over_time(three, "Feed latency over time, all connections")

# %% [markdown]
# ## Which tickers
#
# A bright column is trouble that all had; a bright row is a ticker that is always late. The stall is in
# every third row, since the tickers were dealt out over three connections: those of the first had it, the
# others did not. The rows' even differences are the relays' delays.

# %%
figures.heat_map(three, "Feed latency by ticker and time")

# %% [markdown]
# ## Which part of the way
#
# The feed's part is what the relays added, and on this machine the scheduling of the processes. The
# pipeline's and the sink's are ours. Percentiles of parts do not add up to the percentile of the whole: the
# ticks that are late in one are others than those that are late in the next. With a real feed the first is
# of two clocks: a constant difference between them moves its curve as a whole, so compare its shape, and
# the other two as they are.

# %%
figures.percentile_plot(figures.by_stage(three), "Feed, pipeline and sink")

# %%
with pl.Config(
    float_precision=3, tbl_rows=20, tbl_hide_dataframe_shape=True, tbl_hide_column_data_types=True
):
    print(latency_summary(three))

# %% [markdown]
# ## One connection or three
#
# The same market over one connection, the quickest line, with the same stall. On three connections the
# stall reached the tickers of one; here it reaches all. So three connections do not make a tick quicker:
# the median is better on the one good line. They make trouble smaller. All channels of one socket are one
# ordered stream, and whatever delays it delays everything behind it.

# %%
one = load_ticks(record("one connection", WAYS[:1]))
figures.percentile_plot(
    {
        "one connection": figures.latency_ms(one, "feed"),
        "three connections": figures.latency_ms(three, "feed"),
    },
    "The same stall, on one connection and on one of three",
)

# %%
both = pl.concat(
    [
        latency_summary(one, by=(), stages=["feed"]).with_columns(what=pl.lit("one connection: all")),
        latency_summary(three, by=(), stages=["feed"]).with_columns(what=pl.lit("three: all")),
        latency_summary(three, stages=["feed"])
        .with_columns(what=pl.lit("three: ") + pl.col("connection"))
        .drop("connection"),
    ]
)
figures.summary_plot(both, "Feed latency: who had the stall", label=["what"])

# %%
late_ms = 100
for name, ticks in (("one connection", one), ("three connections", three)):
    late = (figures.latency_ms(ticks, "feed") > late_ms).mean()
    print(f"{name}: {late:.1%} of the ticks came more than {late_ms} ms late")

# %% [markdown]
# ## Coordinated omission
#
# The usual way to measure is to ask, wait for the answer, note how long it took, and ask again. While the
# line stalls such a probe waits, and does not ask. The stall, in which hundreds of questions were due,
# costs it *one* bad sample: the prober and the trouble have agreed, without meaning to, to leave out the
# bad ones. Gil Tene named it coordinated omission.
#
# A market does not wait for us, and each tick carries the time at which it happened. So to take **every
# tick, from its event's time** avoids the mistake by itself; that is what `latency_summary` and all the
# figures above do. To see what it would have cost, the ticks of the first connection are looked at as such
# a probe would: one at a time, the next only when the last has come, every 10 ms at most.


# %%
def one_at_a_time(ticks: pl.DataFrame, every_ms: float) -> pl.Series:
    """Return what a probe finds that asks again only after it has been answered, ms."""
    found, free_ns = [], 0
    for event_ns, received_ns in ticks.sort("event_ns").select("event_ns", "received_ns").iter_rows():
        if event_ns >= free_ns:
            found.append((received_ns - event_ns) / 1e6)
            free_ns = max(received_ns, event_ns + every_ms * 1e6)
    return pl.Series(found)


def corrected(samples: pl.Series, every_ms: float) -> pl.Series:
    """Add what the probe left out: while it waited so long, it should have asked every so often."""
    missed = [
        waited - every_ms * step for waited in samples for step in range(1, int(waited // every_ms) + 1)
    ]
    return pl.concat([samples, pl.Series(missed, dtype=pl.Float64)])


first = three.filter(pl.col("connection") == "connection_1")
probed = one_at_a_time(first, 10)
figures.percentile_plot(
    {
        "every tick, from its event's time": figures.latency_ms(first, "feed"),
        "one at a time": probed,
        "one at a time, corrected": corrected(probed, 10),
    },
    "The same second of stall, left out and not",
)

# %% [markdown]
# The probe's 99th percentile knows nothing of a line that stood still for a second of so few. The
# correction, as HdrHistogram does it, puts in the questions that were due, and comes close to the truth;
# but it has to guess what it did not see, so where each tick can be had, take each tick.
#
# The same mistake in other clothes: one latency for each *read* instead of for each tick (after a stall one
# read has hundreds of ticks), percentiles averaged over seconds (the bad second counts as one), and
# stamping a tick when it is taken from a queue instead of when its event happened.

# %%
for name, values in (("every tick", figures.latency_ms(first, "feed")), ("one at a time", probed)):
    print(f"{name}: p99 {values.quantile(0.99, 'higher'):,.1f} ms of {len(values):,} samples")
folder.cleanup()
