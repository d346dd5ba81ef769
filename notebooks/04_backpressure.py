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

# %% [markdown]
# # Backpressure: a subscriber that is too slow
#
# A market's opening brings ten times the ticks of a calm hour. A subscriber that cannot follow needs a
# buffer, a buffer needs a limit, and a full buffer needs a decision. Tickbraid has five policies:
#
# | policy | what happens to a tick that does not fit |
# |---|---|
# | `block` | the stream waits, and behind it the network |
# | `drop_oldest` | it comes in, and the oldest that waits goes |
# | `drop_newest` | it goes |
# | `conflate` | a newer quote replaces the older one of its ticker; trades stay while a quote can go |
# | `error` | the subscription ends with an error |
#
# Four of them get the same burst here, each with an equally slow subscriber and an equally small buffer.
# Every subscriber of a stream has a buffer and a policy of its own, so three of them share one stream.
# `block` gets one of its own, since it makes *all* subscribers of its stream wait. `error` needs no
# picture: it is right where a wrong number is worse than none.

# %%
# %matplotlib inline
import time

import polars as pl
from loopback import TICKERS, lasting, settings_for

from pipeline import Tick, build_pipeline, status
from pipeline.cli.simulator_process import SimulatorProcess
from pipeline.report import figures
from pipeline.report.canvas import COLOURS, STYLES, blank, legend, ms_axis
from pipeline.report.flows import account_bars
from pipeline.sinks.callback import CallbackSink

CAPACITY = 2000  # ticks that may wait
PACE_S = 0.01  # what the subscriber takes for each
PACE_TICKS = 20
SESSION_S = lasting(14)
POLICIES = ("drop_oldest", "drop_newest", "conflate")
SCHEMA = ["ticker", "event_type", "event_ns", "delivered_ns"]


class Slow:
    """Is a subscriber that needs 10 ms for 20 ticks, so 2,000 ticks/s at most; notes when it had which."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, str, int, int]] = []

    def __call__(self, tick: Tick) -> None:
        """Take a tick, and the time that it takes."""
        if len(self.rows) % PACE_TICKS == 0:
            time.sleep(PACE_S)
        self.rows.append((tick.ticker, tick.event_type, int(tick.timestamp * 1e9), time.time_ns()))

    def ticks(self) -> pl.DataFrame:
        """Return what it had so far."""
        return pl.DataFrame(self.rows, schema=SCHEMA, orient="row")


slow = {policy: Slow() for policy in (*POLICIES, "block")}
losses = []

with SimulatorProcess(
    "--tickers", str(len(TICKERS)), "--types", "T,Q", "--rate", "600", "--bursts", "--start-after", "2"
) as market:
    shared, waiting = (build_pipeline(settings_for([market.url])) for _ in range(2))
    with shared, waiting:
        shared.status.subscribe(
            lambda event: losses.append(event) if isinstance(event, status.Loss) else None
        )
        for stream, policies in ((shared, POLICIES), (waiting, ["block"])):
            for policy in policies:
                sink = CallbackSink(slow[policy], policy)
                stream.attach(sink, capacity=CAPACITY, overflow=policy)
        shared.wait_connected()
        waiting.wait_connected()
        time.sleep(SESSION_S)
    accounts = {policy: shared.account(policy) for policy in POLICIES} | {"block": waiting.account("block")}

# %% [markdown]
# ## What is kept
#
# Each bar is all that was received for the subscriber; delivered and dropped come to it exactly. The two
# that drop lose about as much as each other: the pace and the burst decide how much, the policy only
# decides *which*. `conflate` loses as many, but they are quotes that a newer one had made worthless; trades
# go only if there is no quote left to go, as the numbers of `T` below show. `block` drops nothing. Its bar
# is shorter, since what it had not read when the session ended was still on its way: the simulated server
# and the network kept it. Massive would not do so for long; it ends connections that do not read.

# %%
account_bars(accounts, "What became of what was received, by policy")

# %%
kinds = {policy: its.ticks()["event_type"].value_counts(sort=True) for policy, its in slow.items()}
print({policy: dict(its.iter_rows()) for policy, its in kinds.items()})
for policy, account in accounts.items():
    assert account.imbalance == 0
    print(f"{policy}: {account}")

# %% [markdown]
# ## How late
#
# From the event's time until the subscriber had the tick. `drop_newest` and `block` deliver old news: what
# is at the front of the buffer was there before the trouble. `drop_oldest` and `conflate` are never later
# than a full buffer takes, here 2,000 ticks at 2,000 a second, and `conflate` is the better of the two
# where its ticks stand for several. `block` grows as late as it takes, since nothing is ever given up.

# %%
total = {policy: figures.latency_ms(its.ticks(), "total") for policy, its in slow.items()}
figures.percentile_plot(total, "Event until delivered, by policy")

# %% [markdown]
# The same over time: how late is what the subscriber is given, when? The burst begins at 0 and fades. Who
# has a buffer pays for it for as long as it takes to work it off, which is longer than the burst.

# %%
figure, (axes,) = blank(
    "How late the subscriber is", "Time of delivery since the first event (s)", "Median of each 0.2 s (ms)"
)
origin_ns = min(its.ticks()["event_ns"].min() for its in slow.values())
medians = {}
for (policy, its), colour, style in zip(slow.items(), COLOURS, STYLES, strict=False):
    binned = (
        its.ticks()
        .select(
            ((pl.col("delivered_ns") - origin_ns) // 200_000_000 * 0.2).alias("second"),
            figures.latency_ms(its.ticks(), "total"),
        )
        .group_by("second")
        .median()
        .sort("second")
    )
    medians[policy] = binned["ms"]
    axes.plot(binned["second"], binned["ms"], color=colour, linestyle=style, label=policy)
ms_axis(axes, "y", medians.values())
legend(axes)
figure

# %% [markdown]
# ## Nothing is lost in silence
#
# What a buffer drops is announced on `stream.status`, at most once a moment, with its count and time span.
# The announced counts come to those of the account.

# %%
for policy in POLICIES:
    its = [loss for loss in losses if loss.where == policy]
    print(f"{policy}: {sum(loss.count for loss in its):,} ticks in {len(its)} events, as {its[0].describe()}")
    assert sum(loss.count for loss in its) == accounts[policy].dropped

# %% [markdown]
# ## Which one
#
# - A screen, a pricer, anything that wants the present: `conflate`.
# - A window of the latest ticks of all kinds: `drop_oldest`.
# - A recording whose beginning counts: `drop_newest`.
# - A batch that must have all and may be late: `block`, by itself on its stream, or a larger buffer.
# - A computation that a missing tick makes wrong: `error`.
#
# What this does not show is how slow *your* subscriber is: `stream.health()` tells how many ticks wait for
# each one, and the histogram `delivered` how late they get there.
