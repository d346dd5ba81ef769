"""What the account of a whole stream says, held against what the subscriber itself has noted."""

import asyncio
import random
import subprocess
import sys
import threading

import pytest
from reactivex import operators

from pipeline import build_pipeline, status
from pipeline.errors import UnknownSubscriber
from pipeline.massive.simulator import Options, Simulator, SyntheticFeed
from pipeline.sinks.sink import Outcome
from tests.conftest import our_threads, wait_until
from tests.integration.harness import KEY, config_for

TICKERS = ["AAPL", "MSFT", "TSLA"]
COUNT = 3000
RAISED = (
    *(ValueError, StopIteration, asyncio.CancelledError, SystemExit, KeyboardInterrupt, GeneratorExit),
    type("TimeOutOfOurOwn", (BaseException,), {}),
)
SYNTHETIC = {"SYNTHETIC_UPDATE_INTERVAL": 0.01, "MASSIVE_EVENT_TYPES": "T"}


class Witness:
    """Raises now and then, and keeps its own record of each tick whose call it finished."""

    def __init__(self, seed):
        self._random = random.Random(seed)
        self.finished, self.raised = [], []

    def on_tick(self, tick):
        self._take([tick])

    def on_batch(self, batch):
        self._take(batch.ticks)

    def on_columns(self, columns):
        self._take(columns.column("sequence").to_pylist())

    def _take(self, ticks):
        if self._random.random() < 0.2:
            self.raised += ticks
            raise self._random.choice(RAISED)("now and then")
        self.finished += ticks


class Witnessed:
    """A sink that does the same, and also says of some ticks that they failed."""

    name = "witnessed"

    def __init__(self, seed):
        self.witness = Witness(seed)
        self.refused = 0

    def write(self, batches):
        ticks = [tick for batch in batches for tick in batch.ticks]
        self.witness._take(ticks)
        if len(ticks) % 3:
            return None
        connection = batches[-1].connection
        self.refused += 1
        self.witness.finished.pop()
        return Outcome(failed={connection: 1}, error=PermissionError("no"))

    def stop(self):
        raise RAISED[-1]("stop")

    def close(self):
        raise asyncio.CancelledError

    def snapshot(self):
        raise RAISED[-1]("snapshot")


@pytest.mark.parametrize("overflow", ["block", "conflate", "drop_oldest"])
def test_the_account_of_every_kind_of_subscriber_is_what_it_noted_itself(overflow):
    """Balanced is not true: a subscriber that raised on everything had delivered everything."""
    feed = SyntheticFeed(TICKERS, rate=20_000, event_types=("T",), count=COUNT)
    options = Options(keys=frozenset({KEY}), start_after=3)
    with Simulator([feed], options) as simulator:
        config = config_for(simulator, *([ticker] for ticker in TICKERS), MASSIVE_EVENT_TYPES="T")
        stream = build_pipeline(config | {"SUBSCRIBER_OVERFLOW": overflow})
        events, witnesses = [], {name: Witness(name) for name in ("callback", "batches", "columns")}
        sink = Witnessed("witnessed")
        witnesses["witnessed"] = sink.witness
        with stream:
            stream.status.subscribe(events.append)
            stream.status.subscribe(Witness("status").on_tick)
            stream.attach(sink)
            stream.subscribe(witnesses["callback"].on_tick)
            stream.batches.subscribe(witnesses["batches"].on_batch)
            stream.columns.subscribe(witnesses["columns"].on_columns)
            wait_until(lambda: stream.account("callback").received == COUNT, 20, "all being received")
            wait_until(lambda: stream.account().queued == 0, 20, "all being taken")
            health = stream.health()
        for name, witness in witnesses.items():
            account = stream.account(name)
            assert (account.received, account.imbalance, account.rejected) == (COUNT, 0, 0)
            assert account.delivered == len(witness.finished) > 0, name
            failed = len(witness.raised) + (sink.refused if name == "witnessed" else 0)
            assert account.failed == failed > 0, name
            wait_until(lambda name=name, failed=failed: _told(events, name) == failed, 5, f"news of {name}")
            assert health["subscribers"][name]["last_error"]
            assert not health["subscribers"][name]["ended"]
        assert health["subscribers"]["witnessed"]["sink"] == {"snapshot_error": "TimeOutOfOurOwn: snapshot"}


def _told(events, name):
    failures = [event for event in events if isinstance(event, status.SubscriberFailed)]
    return sum(event.count for event in failures if event.subscriber == name)


def test_an_operator_that_raises_is_told_though_it_ends_the_whole_stream():
    """The only subscriber of a script was gone with its first tick, and no event said so."""
    events = []
    with build_pipeline(SYNTHETIC) as stream:
        stream.status.subscribe(events.append)
        stream.pipe(operators.map(lambda tick: tick.no_such_attribute)).subscribe()
        wait_until(lambda: stream.health()["state"] == "idle", what="its end")
        wait_until(lambda: _told(events, "callback") == 1, what="the event")
        assert stream.account("callback").failed == 1


@pytest.mark.parametrize("kind", RAISED)
@pytest.mark.parametrize("which", ["ticks", "batches", "columns", "status", "sink"])
def test_whatever_one_raises_the_others_go_on_and_so_does_it(which, kind):
    """With the policy block one ``sys.exit()`` stopped everybody, and health said that all lived."""
    calls, others = [], []

    def raising(item):
        calls.append(item)
        if len(calls) % 2:
            raise kind("user code")

    with build_pipeline(
        SYNTHETIC | {"SUBSCRIBER_OVERFLOW": "block", "SUBSCRIBER_BUFFER_TICKS": 50}
    ) as stream:
        if which == "sink":
            sink = Witnessed(0)
            sink.write = raising
            stream.attach(sink)
        else:
            (stream if which == "ticks" else getattr(stream, which)).subscribe(raising)
        stream.subscribe(others.append)
        for number in range(9):
            stream.status.emit(status.Closed(at_ns=number))
        wait_until(lambda: len(calls) > 8, what="being called again")
        count = len(others)
        wait_until(lambda: len(others) > count + 200, what="the others' ticks")
        health = stream.health()
        assert not any(each["ended"] for each in health["subscribers"].values())
        if which != "status":
            (name, *_) = health["subscribers"]
            assert health["subscribers"][name]["account"]["failed"] > 0
            assert f"tickbraid-{name}" in our_threads()


@pytest.mark.parametrize("kind", RAISED)
@pytest.mark.parametrize("end", ["on_error", "on_completed"])
def test_whatever_is_raised_at_the_end_the_others_are_told_of_it(end, kind):
    """A program that waits for its end would hang since somebody else's handler failed."""
    told = []

    def raising(*_):
        raise kind("at the end")

    stream = build_pipeline(SYNTHETIC)
    completed, all_told = threading.Event(), threading.Event()
    with stream:
        stream.status.subscribe(on_completed=raising)
        stream.status.subscribe(on_completed=all_told.set)
        stream.subscribe(told.append, **{end: raising})
        stream.subscribe(told.append, on_completed=completed.set)
        wait_until(lambda: told)
    assert completed.wait(5)
    assert all_told.wait(5)


def test_a_subscriber_that_there_is_not_has_no_account():
    """A typo was answered with zeros."""
    with build_pipeline(SYNTHETIC) as stream:
        with pytest.raises(KeyError, match="there are: none"):
            stream.account("nope")
        stream.subscribe(lambda _: None)
        stream.batches.subscribe(lambda _: None)
        with pytest.raises(UnknownSubscriber) as raised:
            stream.account("nope")
    assert str(raised.value) == "there is no subscriber 'nope'; there are: callback, batches"


SCRIPT = """
import time
from pipeline import build_pipeline
{logging}
def on_item(item):
    item.to_pandas()
with build_pipeline({config}) as stream:
    stream.{source}.subscribe(on_item)
    while stream.account().failed < 20:
        time.sleep(0.01)
"""


@pytest.mark.parametrize("source", ["columns", "batches", "pipe()"])
@pytest.mark.parametrize(
    ("logging", "lines"),
    [
        ("", 1),
        ("import logging; logging.basicConfig()", 1),
        ("import logging; logging.getLogger('tickbraid').propagate = False", 1),
        ("import logging; logging.getLogger('tickbraid').addHandler(logging.FileHandler('log'))", 0),
        ("import logging; logging.getLogger('tickbraid').setLevel(logging.CRITICAL)", 0),
    ],
)
def test_a_script_without_logging_sees_the_first_traceback(source, logging, lines):
    """The README's own ``batch.to_pandas()`` failed on every batch without pandas, and nobody was told."""
    config = {"SYNTHETIC_UPDATE_INTERVAL": 0.002, "MASSIVE_EVENT_TYPES": "T"}
    script = "import sys; sys.modules['pandas'] = None\n" + SCRIPT.format(
        logging=logging, config=config, source=source
    )
    done = subprocess.run(  # noqa: S603  # ours
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=50
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("Traceback (most recent call last)") == lines
    assert done.stderr.count(", in on_item") == lines
    if lines:
        word = "pandas" if source == "columns" else "AttributeError"
        assert word in done.stderr


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_who_ends_the_program_while_it_closes_ends_it_with_everything_closed(kind):
    """A second Ctrl-C must get through, and leave no thread of the others behind."""

    class Exiting(Witnessed):
        def stop(self):
            raise kind

    completed = threading.Event()
    stream = build_pipeline(SYNTHETIC)
    stream.status.subscribe(on_completed=completed.set)
    stream.attach(Exiting(0))
    stream.subscribe(lambda _: None)
    with pytest.raises(kind):
        stream.close()
    assert completed.wait(5)
    assert {each["ended"] for each in stream.health()["subscribers"].values()} == {True}
    wait_until(lambda: not our_threads(), 3, "the end of all threads")
