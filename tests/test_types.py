"""The types as a user has them: a script of their own against what is installed."""

import subprocess
import sys

import pytest

pytest.importorskip("mypy")

SCRIPT = """
from reactivex import operators as ops

from pipeline import Tick, build_pipeline, status


def symbol(tick: Tick) -> str:
    return tick.ticker


stream = build_pipeline({"USE_MASSIVE_API": False})
stream.subscribe(lambda tick: print(tick.ticker, tick.price))
stream.pipe(ops.filter(lambda t: t.ticker == "AAPL")).subscribe(lambda t: print(t.price))
stream.pipe(ops.filter(lambda t: t.ticker == "AAPL"), ops.map(symbol)).subscribe(print)
stream.pipe(
    ops.group_by(lambda t: t.ticker),
    ops.flat_map(lambda one: one.filter(lambda t: t.price is not None)),
    ops.buffer_with_time(1.0),
    ops.map(lambda ticks: len(ticks)),
).subscribe(print)
stream.filter(lambda t: t.price is not None).map(lambda t: t.price).subscribe(print)
stream.batches.pipe(ops.map(lambda batch: len(batch.ticks))).subscribe(print)
stream.status.pipe(ops.filter(lambda e: isinstance(e, status.Disconnected))).subscribe(print)
stream.status.subscribe(lambda event: print(event.describe()))
"""

SLIPS = {
    'stream.pipe(ops.filter(lambda t: t.tickr == "AAPL"))': '"Tick" has no attribute "tickr"',
    "stream.batches.pipe(ops.map(lambda batch: batch.tick))": '"TickBatch" has no attribute "tick"',
    "stream.subscribe(lambda tick: print(tick.prize))": '"Tick" has no attribute "prize"',
    "build_pipeline(klock=1)": 'Unexpected keyword argument "klock"',
}


@pytest.mark.timeout(180)
def test_a_users_script_is_checked(tmp_path):
    """A type checker would stop at a dependency's YAML reader and check nothing, or blame good lambdas."""
    lines = len(SCRIPT.splitlines())
    (tmp_path / "script.py").write_text(SCRIPT + "\n".join(SLIPS) + "\n")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--no-error-summary", "script.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    told = [line for line in done.stdout.splitlines() if ": note: " not in line]
    assert len(told) == len(SLIPS), done.stdout + done.stderr
    for number, (line, slip) in enumerate(zip(told, SLIPS.values(), strict=True), start=lines + 1):
        assert line.startswith(f"script.py:{number}: error: ")
        assert slip in line
