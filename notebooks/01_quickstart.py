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
# # Quickstart: a stream of ticks
#
# This notebook builds a pipeline, subscribes to it, and draws ticks while they come. It needs neither a key
# nor a network: a simulated Massive server runs on this machine, in a process of its own, and speaks the
# same protocol. With a key of yours, leave out the server and set `MASSIVE_API_KEY`; nothing else changes.

# %%
# %matplotlib inline
import threading
import time
from collections import Counter, defaultdict, deque

import polars as pl
from IPython.display import display
from loopback import TICKERS, lasting, settings_for
from matplotlib.figure import Figure
from reactivex import operators as ops

from pipeline import Tick, build_pipeline
from pipeline.cli.simulator_process import SimulatorProcess
from pipeline.report.canvas import COLOURS, STYLES, blank, legend

market = SimulatorProcess(
    "--tickers", str(len(TICKERS)), "--types", "T,Q", "--rate", "800", "--start-after", "3"
)

# %% [markdown]
# ## Build and subscribe
#
# Three connections share the tickers. `build_pipeline` only reads the settings; the first subscriber
# connects. Each subscriber has its own bounded buffer and its own thread, so the function below may take
# its time without making anybody else late. What happens to the connections is a stream of its own,
# `stream.status`.

# %%
stream = build_pipeline(settings_for([market.url] * 3))
events = []
stream.status.subscribe(events.append)

counts = Counter()
prices = defaultdict(lambda: deque(maxlen=2000))


def on_tick(tick: Tick) -> None:
    """Keep what the plot below shows; runs on the subscriber's thread."""
    counts[tick.event_type] += 1
    if tick.event_type == "T":
        prices[tick.ticker].append((tick.timestamp, tick.price))


subscription = stream.subscribe(on_tick)
stream.wait_connected()

# %% [markdown]
# ## Watch it
#
# The plot is drawn anew twice a second for a few seconds; what you see in a notebook that nobody runs is
# its last state. It shows how far the five busiest tickers have moved since their first trade. The prices
# are made up: a random walk with jumps, so there is nothing to read from their course.


# %%
def picture() -> Figure:
    """Draw the prices so far."""
    figure, (axes,) = blank("Trades as they come", "Time (s)", "Since the first trade (basis points)")
    kept = {ticker: list(its) for ticker, its in list(prices.items())}
    busiest = sorted(kept, key=lambda ticker: -len(kept[ticker]))[:5]
    for ticker, colour, style in zip(sorted(busiest), COLOURS, [*STYLES, "-"], strict=False):
        times, its = zip(*kept[ticker], strict=True)
        moves = [10_000 * (price / its[0] - 1) for price in its]
        axes.plot([at - started for at in times], moves, color=colour, linestyle=style, label=ticker)
    if busiest:
        legend(axes)
    return figure


started = time.time()
shown = display(picture(), display_id=True)
while time.time() - started < lasting(8):
    time.sleep(0.5)
    shown.update(picture())

# %% [markdown]
# ## What came, and how late
#
# In milliseconds. `feed` is from the event's time until the bytes were received, by connection, `decode`
# from there until the tick was decoded, `delivered` from receipt until the subscriber had it. Both clocks
# are the same here, which is not so with a real feed. The feed stamps events in whole milliseconds, so up
# to one of them is rounding. And the plot was drawn by the same interpreter that reads the sockets, which
# the tail (`p99`, `max`) shows: where latency counts, draw in another process.

# %%
print(dict(counts))
latencies = stream.health()["latency_ms"]
rows = [
    {"what": f"{kind} {name}", **values} for kind, its in latencies.items() for name, values in its.items()
]
with pl.Config(tbl_hide_dataframe_shape=True, float_precision=2):
    display(pl.DataFrame(rows))

# %% [markdown]
# ## It is a reactivex Observable
#
# So everything of `reactivex.operators` works on it; here, ten trades of one ticker.

# %%
done = threading.Event()
stream.pipe(
    ops.filter(lambda tick: tick.ticker == TICKERS[0] and tick.event_type == "T"),
    ops.map(lambda tick: f"{tick.ticker} {tick.price:.2f} x {tick.volume}"),
    ops.take(10),
).subscribe(print, on_completed=done.set)
assert done.wait(10)

# %% [markdown]
# ## Close, and look at the account
#
# `close` lets subscribers have what is queued. Then every element that came is somewhere: `received =
# delivered + deduplicated + dropped + failed + rejected + queued`. That holds at any moment, and for each connection
# and subscriber by itself.

# %%
stream.close()
market.close()
print(stream.account("callback"))
assert stream.account("callback").imbalance == 0
for event in events[:12]:
    print(event.describe())
