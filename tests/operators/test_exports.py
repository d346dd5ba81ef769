"""What `operators` gives to those who compose by hand."""

import subprocess
import sys

import pytest
from reactivex.subject import Subject

import operators
from operators import NotABatch, TickBatch, buffered, dedupe, latency_stamp
from tests.conftest import wait_until

NAMES = ("buffered", "dedupe", "latency_stamp", "merge", "share")
SUBMODULES_FIRST = (
    "import operators.dedupe, operators.merge, operators.share, operators.latency_stamp, operators.buffered",
    "from operators.dedupe import dedupe; import operators.merge as _",
    "import importlib; importlib.import_module('operators.share')",
    "import pipeline, operators.latency_stamp",
)


@pytest.mark.parametrize("before", SUBMODULES_FIRST)
def test_the_operators_are_functions_whatever_was_imported_before(before):
    """Each has a module of its name, and calling a module fails: in one order of imports, for one user."""
    program = f"{before}\nimport operators\nprint([callable(getattr(operators, n)) for n in {NAMES}])"
    done = subprocess.run(  # noqa: S603  # our own interpreter
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == str([True] * len(NAMES))


@pytest.mark.parametrize(
    ("name", "operator"),
    [
        ("dedupe", dedupe(lambda: lambda ticks: ticks)),
        ("latency_stamp", latency_stamp(lambda: 0, operators.Latencies())),
        ("buffered", buffered(10)),
    ],
)
@pytest.mark.parametrize("item", [{"ticker": "AAPL"}, 7, None])
def test_an_item_that_is_no_batch_is_named(name, operator, item):
    """Who pipes ticks into an operator of batches would read of an attribute in our own lines."""
    source, errors = Subject(), []
    subscription = source.pipe(operator).subscribe(print, errors.append)
    source.on_next(item)
    wait_until(lambda: errors)
    subscription.dispose()
    assert isinstance(errors[0], NotABatch)
    assert f"{name} takes batches" in str(errors[0])
    assert type(item).__name__ in str(errors[0])


def test_a_batch_of_one_s_own_balances():
    """The account of whoever makes batches by hand would not add up from the first."""
    batch = TickBatch.of(["a", "b"], "home", 5)
    assert (batch.received, batch.ticks, batch.connection, batch.received_ns) == (2, ["a", "b"], "home", 5)
