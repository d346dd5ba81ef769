"""Run every benchmark and write RESULTS.md and its plot: what `make bench` does, in a quarter of an hour.

python -m benchmarks.report
"""

import argparse
import contextlib
import importlib.metadata
import io
import os
import platform
import re
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Final

from benchmarks import columns, latency, memory, overload, redis_sink, stages, throughput, watched
from benchmarks.clients import CLIENTS
from benchmarks.throughput import SIZES, THOROUGH, Rates

FOLDER: Final = Path(__file__).parent
RESULTS: Final = FOLDER / "RESULTS.md"
PLOT: Final = FOLDER / "throughput.svg"
OURS: Final = ("ours", "ours-1", "batches")

HEAD: Final = """\
# Results

{date:%Y-%m-%d}, {machine}, {system}, Python {python}, {commit}. Written by `make bench`. Absolute
figures drift with the machine; what stands in one table was measured in turn.

Versions: {versions}.

## Throughput

From the socket to a Python callback that is called tick by tick, each client in a process of its own on
another core than the sender's. Median of {plan.rounds} rounds of {plan.time_s:g} s, after {plan.warm_s:g} s
to warm up; in parentheses how far the slowest and the fastest round lie from it. A ratio is the median of the
rounds' ratios; in parentheses what is aimed at. Tickbraid has everything on: merge, decode, dedupe, stamp,
histograms, one bounded subscriber, and nothing is dropped. Peers of other feeds get ticks like ours in the
words of their feed.
"""

BAR_HEIGHT: Final = 15
BAR_GAP: Final = 3
GROUP_GAP: Final = 34
LABEL_WIDTH: Final = 250
PLOT_WIDTH: Final = 860
VALUE_WIDTH: Final = 80


def main() -> None:
    """Run all and write."""
    argparse.ArgumentParser(description=__doc__.partition("\n")[0]).parse_args()
    measured = commit()  # before the plot is written, which is part of it
    rates, failed = throughput.run(tuple(CLIENTS), THOROUGH)
    PLOT.write_text(plot(rates))
    sections: dict[str, Callable[[], Iterable[str]]] = {
        "Latency": latency.lines,
        "Overload": overload.lines,
        "Being watched": watched.lines,
        "Columns": columns.lines,
        "Stages": stages.lines,
        "Memory": memory.lines,
        "Redis": lambda: ["```", printed(redis_sink.main), "```"],
    }
    text = [
        *HEAD.format(
            date=datetime.now(UTC),
            machine=machine(),
            system=f"{platform.system()} {platform.release()}",
            python=platform.python_version(),
            commit=measured,
            versions=", ".join(versions()),
            plan=THOROUGH,
        ).splitlines(),
        "",
        *throughput.tables(rates),
        "",
        *(f"Left out: {name}: {why}" for name, why in failed.items()),
        f"![ticks/s]({PLOT.name})",
    ]
    for title, lines in sections.items():
        print(title, file=sys.stderr, flush=True)
        text += ["", f"## {title}", "", *lines()]
    RESULTS.write_text("\n".join(text) + "\n")
    print(RESULTS.read_text())


def plot(rates: Rates) -> str:
    """Return bars of all medians as SVG, a group for each number of events a frame."""
    groups = [
        [(name, statistics.median(rates[name, events])) for name in CLIENTS if (name, events) in rates]
        for events in SIZES
    ]
    groups = [[bar for bar in group if bar[0] != "raw"] for group in groups]
    most = max(rate for group in groups for _, rate in group)
    parts: list[str] = []
    top = 0
    for events, group in zip(SIZES, groups, strict=True):
        top += GROUP_GAP
        parts.append(f'<text x="0" y="{top - 10}" font-weight="bold">ticks/s, {events} a frame</text>')
        for name, rate in sorted(group, key=lambda bar: bar[1]):
            width = rate / most * (PLOT_WIDTH - LABEL_WIDTH - VALUE_WIDTH)
            fill = "#1a7f5a" if name in OURS else "#b0b7c3"
            baseline = top + BAR_HEIGHT - 3
            title = escape(re.sub(r"[*`]", "", CLIENTS[name].title).partition(":")[0])
            parts.append(
                f'<text x="{LABEL_WIDTH - 6}" y="{baseline}" text-anchor="end">{title}</text>'
                f'<rect x="{LABEL_WIDTH}" y="{top}" width="{width:.0f}" height="{BAR_HEIGHT}" fill="{fill}"/>'
                f'<text x="{LABEL_WIDTH + width + 5:.0f}" y="{baseline}">{rate:,.0f}</text>'
            )
            top += BAR_HEIGHT + BAR_GAP
    size = f'width="{PLOT_WIDTH}" height="{top + 8}" viewBox="0 0 {PLOT_WIDTH} {top + 8}"'
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12">\n'
        f'<rect width="100%" height="100%" fill="white"/>\n{body}\n</svg>\n'
    )


def printed(run: Callable[[], None]) -> str:
    """Return what a benchmark prints."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        run()
    return out.getvalue().rstrip()


def machine() -> str:
    """Return what it runs on."""
    found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    return f"{found[1] if found else platform.machine()}, {os.cpu_count()} cores"


def commit() -> str:
    """Return the commit that was measured."""
    command = ["git", "-C", str(FOLDER), "describe", "--always", "--dirty"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return f"commit {done.stdout.strip()}" if done.returncode == 0 else "no commit"


def versions() -> Iterable[str]:
    """Return what is measured against, and what Tickbraid is made of, each with its version."""
    peers = (FOLDER / "peers.txt").read_text().splitlines()
    names = [line.partition("==")[0] for line in peers if "==" in line]
    for name in sorted({*names, "reactivex", "redis", "tickbraid"}):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            yield f"{name} {importlib.metadata.version(name)}"


if __name__ == "__main__":
    main()
