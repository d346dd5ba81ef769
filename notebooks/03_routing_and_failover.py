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
# # Routing and failover: what a lost connection costs
#
# Three connections share twelve tickers. One of them is cut and stays dead for three seconds. Which ticks
# are missing then, and what do failover and redundancy save?
#
# Massive does not send again what a dead connection missed, so with a real feed nobody can count it. Here
# one can: a *witness*, a second pipeline, listens to the same market over a line that nobody cuts. What it
# has and the other has not is the loss, tick by tick, and it can be held against what the pipeline says of
# itself.

# %%
# %matplotlib inline
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import polars as pl
from loopback import TICKERS, Relay, lasting, settings_for

from pipeline import build_pipeline, status
from pipeline.capture import capture, load_ticks
from pipeline.cli.simulator_process import SimulatorProcess
from pipeline.report.canvas import blank
from pipeline.report.flows import carriers_plot, gaps_plot

OURS = TICKERS[:12]
REDUNDANT = OURS[4::6]  # two of those that the second connection will have
FAILOVER_AFTER_S = 1.0
CUT_AT_S, DEAD_S, AFTER_S = lasting(4), 3.0, lasting(4)
folder = tempfile.TemporaryDirectory()
seen_path, true_path = Path(folder.name) / "seen", Path(folder.name) / "true"

# %% [markdown]
# ## Routing
#
# The tickers are named for each connection by hand, in turn; other strategies (round-robin, load-balanced,
# hash, priority) are one setting away. Two tickers of the second connection are *redundant*: a second
# connection carries them too, and of each of their ticks the one that comes first passes, the other is
# taken out as a duplicate.

# %%
with ExitStack() as stack:
    market = stack.enter_context(
        SimulatorProcess("--tickers", str(len(OURS)), "--types", "T,Q", "--rate", "600", "--start-after", "4")
    )
    relays = [stack.enter_context(Relay(market.url)) for _ in range(3)]
    witness = stack.enter_context(build_pipeline(settings_for([market.url], OURS)))
    settings = settings_for(
        [relay.url for relay in relays],
        OURS,
        WEBSOCKET_FAILOVER_AFTER=FAILOVER_AFTER_S,
        WEBSOCKET_REDUNDANT_SYMBOLS=list(REDUNDANT),
    )
    stream = stack.enter_context(build_pipeline(settings))
    events = []
    stream.status.subscribe(events.append)
    capture(witness, true_path, kinds=["ticks"])
    capture(stream, seen_path)
    witness.wait_connected()
    stream.wait_connected()
    for connection, tickers in stream.tickers().items():
        print(f"{connection}: {', '.join(tickers)}")
    time.sleep(CUT_AT_S)
    relays[1].cut()
    time.sleep(DEAD_S)
    relays[1].mend()
    time.sleep(AFTER_S)
print(stream.account("capture"))

# %% [markdown]
# ## What the stream says
#
# Trouble on a connection is a value on `stream.status`; the ticks of the others flow on. The events tell
# when it was lost, when its tickers moved, when they came home, and of which spans ticks may be missing.
# (The attempts to connect that were refused meanwhile are left out.)

# %%
cut_ns = next(event.at_ns for event in events if isinstance(event, status.Disconnected))
TOLD = status.Authenticated | status.Moved | status.Loss
print("   0.00 s  the connection is lost")
for event in events:
    if isinstance(event, TOLD) and event.at_ns >= cut_ns:
        print(f"{(event.at_ns - cut_ns) / 1e9:6.2f} s  {event.describe()}")

# %% [markdown]
# ## Who brought which tick
#
# Each mark is a tick, at the time of its event. Where the marks of a row change, its ticker has moved. The
# empty stretch in the rows of the second connection is the gap: from the cut until the others had been
# asked for its tickers and had confirmed them. The redundant ones have none. When the connection is back
# its tickers return; for two seconds both carry them, so that the return costs nothing.

# %%
seen = load_ticks(seen_path)
carriers_plot(seen, "Every tick, by the connection that brought it")

# %% [markdown]
# ## The gaps, as announced
#
# Of each ticker: from the last tick before the cut to the first after. The stream tells them by itself, in
# one `Loss` event, and so a strategy can know that its volume of this second is not to be trusted. The
# length is the time until failover (`WEBSOCKET_FAILOVER_AFTER`, here 1 s) and what it takes to subscribe,
# and not the three seconds of the cut.

# %%
gaps = [gap for event in events if isinstance(event, status.Loss) for gap in event.gaps]
gaps_plot(gaps, "What may be missing, by channel")

# %% [markdown]
# ## The gaps, as they were
#
# Now the witness: what it has and our stream has not. Its first and last moments are left out, in which
# only one of the two was connected.

# %%
IDENTITY = ["ticker", "event_type", "sequence", "event_ns", "price", "size", "bid", "ask"]
true = load_ticks(true_path)
margin_ns = 200_000_000
begin_ns, end_ns = seen["event_ns"].min() + margin_ns, seen["event_ns"].max() - margin_ns
true = true.filter(pl.col("event_ns").is_between(begin_ns, end_ns))
missing = true.join(seen, on=IDENTITY, how="anti", nulls_equal=True)
of_cut = set(OURS[1::3])

groups = {
    "on another connection": [t for t in OURS if t not in of_cut],
    "on the cut one, redundant": [t for t in OURS if t in of_cut and t in REDUNDANT],
    "on the cut one alone": [t for t in OURS if t in of_cut and t not in REDUNDANT],
}
announced = pl.DataFrame(
    {
        "ticker": [gap.ticker for gap in gaps],
        "event_type": [gap.event_type for gap in gaps],
        "from_ns": [gap.from_ns for gap in gaps],
        "to_ns": [gap.to_ns for gap in gaps],
    }
)
told = missing.join(announced, on=["ticker", "event_type"]).filter(
    pl.col("event_ns").is_between("from_ns", "to_ns")
)
for name, tickers in groups.items():
    sent, lost, known = (frame.filter(pl.col("ticker").is_in(tickers)) for frame in (true, missing, told))
    print(f"{name:<27}{len(sent):>7,} ticks, {len(lost):>5,} missing, {len(known):>5,} of them announced")

# %%
figure, (axes,) = blank("Ticks that are missing, by ticker", "Ticks", "", height_in=4.2)
lost = dict(missing["ticker"].value_counts().iter_rows())
axes.barh(OURS, [lost.get(ticker, 0) for ticker in OURS], color="#D55E00")
axes.set_yticks(
    range(len(OURS)),
    [f"{ticker} (redundant)" if ticker in REDUNDANT else ticker for ticker in OURS],
    fontsize=8,
)
axes.invert_yaxis()
axes.xaxis.get_major_locator().set_params(integer=True)
figure

# %% [markdown]
# ## What to conclude
#
# - A lost connection costs its own tickers some time, and the others nothing.
# - Failover makes the gap as short as `WEBSOCKET_FAILOVER_AFTER` and a subscription, however long the
#   connection is away. Shorter is not always better: each move costs subscriptions on both sides, and most
#   drops are over in less.
# - Redundancy leaves no gap, at the price of twice the messages for those tickers. It does not help where
#   all connections share what fails: the same line, the same account, the same key.
# - What is missing lies within what was announced. The announced spans are wider than the loss, since a
#   ticker is silent between its ticks anyway: they bound the loss and do not measure it.
#
# What one cannot conclude is how often this happens, or how long Massive takes to answer a subscription: a
# simulated server on the same machine answers at once.

# %%
assert len(told) == len(missing)
folder.cleanup()
