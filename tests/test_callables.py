"""Functions that only look right are refused wherever one can be given, with what to write."""

import functools
import gc
import warnings

import pytest
import reactivex
from reactivex import operators

from pipeline import build_pipeline
from pipeline.callables import check_callable, refuse_unrun
from pipeline.callback import load_callback
from pipeline.sinks.sink import check_sink
from pipeline.tickstock import (
    MarketDataService,
    MassiveWebSocketClient,
    MultiConnectionManager,
    RealTimeDataAdapter,
    SyntheticDataAdapter,
)
from tests.conftest import wait_until

WORDS = "run_coroutine_threadsafe"
MASSIVE = {"USE_MASSIVE_API": True, "MASSIVE_API_KEY": "k"}


async def asynchronous(*_):
    """Never run."""


async def asynchronous_generator(*_):
    """Never run."""
    yield 1


def generator(*_):
    """Never run."""
    yield 1


class Handler:
    """An object that can be called, and its method; neither runs when it is."""

    async def __call__(self, *_):
        """Never run."""

    async def on_tick(self, *_):
        """Never run."""

    @staticmethod
    async def static(*_):
        """Never run."""


UNRUN = {
    "function": asynchronous,
    "generator": generator,
    "asynchronous generator": asynchronous_generator,
    "partial": functools.partial(asynchronous, 1),
    "partial of partial": functools.partial(functools.partial(generator, 1), 2),
    "method": Handler().on_tick,
    "static": Handler.static,
    "object": Handler(),
    "partial of object": functools.partial(Handler()),
}
every = pytest.mark.parametrize("function", UNRUN.values(), ids=UNRUN)


def plain(*_):
    """Take a tick, and do nothing."""


PLACES = {
    "on_next": lambda stream, function: stream.subscribe(function),
    "on_error": lambda stream, function: stream.subscribe(plain, function),
    "on_completed": lambda stream, function: stream.subscribe(plain, on_completed=function),
    "batches": lambda stream, function: stream.batches.subscribe(function),
    "columns": lambda stream, function: stream.columns.subscribe(function),
    "status": lambda stream, function: stream.status.subscribe(function),
    "sink's on_error": lambda stream, function: stream.attach(sink_with(), on_error=function),
    "sink": lambda stream, function: stream.attach(sink_with(write=function)),
    "client": lambda _, function: MassiveWebSocketClient("k", function),
    "client's status": lambda _, function: MassiveWebSocketClient("k", plain, function),
    "manager": lambda _, function: MultiConnectionManager(MASSIVE, function, plain),
    "adapter": lambda _, function: RealTimeDataAdapter({}, function, plain),
    "adapter's status": lambda _, function: RealTimeDataAdapter({}, plain, function),
    "synthetic": lambda _, function: SyntheticDataAdapter({}, function, plain),
    "synthetic's status": lambda _, function: SyntheticDataAdapter({}, plain, function),
    "service": lambda _, function: MarketDataService({}, type("SocketIO", (), {"emit": function})()),
}


class PlainSink:
    """A sink with nothing in it."""

    name = "mine"

    def __init__(self, **methods):
        self.write = self.stop = self.close = plain
        self.snapshot = dict
        self.__dict__.update(methods)


def sink_with(**methods):
    """Return a sink with these methods."""
    return PlainSink(**methods)


@every
def test_each_kind_is_refused_with_what_to_write(function):
    """Fifty ticks made fifty coroutines, all of them delivered, and none of them ran."""
    with pytest.raises(TypeError, match=WORDS) as raised:
        check_callable(function, "on_tick")
    assert str(raised.value).startswith("on_tick is a")


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
@pytest.mark.parametrize("function", [asynchronous, generator])
def test_it_is_refused_wherever_a_function_can_be_given(place, function):
    """The place that was forgotten is the one in which somebody's ticks vanish."""
    errors = []
    with build_pipeline({}) as stream:
        with pytest.raises(TypeError, match=WORDS):
            place(stream, function)
        assert stream.health()["state"] == "idle"
    assert errors == []


@pytest.mark.parametrize(
    "function",
    [plain, functools.partial(plain), print, [].append, type("C", (), {"__call__": plain})(), None],
)
def test_what_runs_when_it_is_called_passes(function):
    """A check that is too eager refuses programs that work."""
    check_callable(function, "on_next")


def test_an_observer_whose_methods_are_asynchronous_is_refused():
    """An object with ``on_next`` is as good as a function, and as bad."""

    class Observer:
        on_error = on_completed = staticmethod(plain)

        async def on_next(self, _):
            """Never run."""

    with build_pipeline({}) as stream, pytest.raises(TypeError, match="on_next is an async function"):
        stream.subscribe(Observer())


@pytest.mark.parametrize("what", ["on_next", "on_error", "on_completed"])
def test_an_observer_of_reactivex_that_was_given_an_asynchronous_function_is_refused(what):
    """Its own methods are plain and drop what the function returns: all was delivered, and none run."""
    observer = reactivex.Observer(**{what: asynchronous})
    with build_pipeline({}) as stream, pytest.raises(TypeError, match=f"{what} is an async function"):
        stream.subscribe(observer)


def test_behind_operators_it_is_refused_too():
    """``pipe(filter(…)).subscribe(handle)`` is how half of all users subscribe: delivered, and none run."""
    with build_pipeline({}) as stream:
        for source in (stream, stream.batches, stream.columns, stream.status):
            piped = source.pipe(operators.filter(plain)).pipe(operators.map(plain))
            for subscribe in (piped.subscribe, source.filter(plain).subscribe):
                with pytest.raises(TypeError, match=WORDS):
                    subscribe(asynchronous)
        assert stream.health()["state"] == "idle"


def test_what_operators_make_that_is_more_than_an_observable_stays_what_it_is():
    """A stream that was published could not be connected any more."""
    with build_pipeline({}) as stream:
        assert isinstance(stream.pipe(operators.publish()), reactivex.ConnectableObservable)


def test_a_configured_callback_is_refused_before_anything_is_opened(tmp_path):
    """``tickbraid run --callback mine:on_tick`` is where most of them come from."""
    (tmp_path / "mine_asynchronous.py").write_text("async def on_tick(tick): ...")
    with pytest.raises(ValueError, match=WORDS):
        load_callback("mine_asynchronous:on_tick")


@pytest.mark.parametrize("subscribe", ["ticks", "batches", "columns"])
def test_a_plain_function_that_returns_a_coroutine_has_failed(subscribe):
    """A lambda or a decorator around an async function cannot be told until it has been called."""
    config = {"SYNTHETIC_UPDATE_INTERVAL": 0.01, "MASSIVE_EVENT_TYPES": "T"}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with build_pipeline(config) as stream:
            source = stream if subscribe == "ticks" else getattr(stream, subscribe)
            source.subscribe(lambda item: asynchronous(item))  # noqa: PLW0108  # what is to be tried
            wait_until(lambda: stream.account().failed > 5)
            (subscriber,) = stream.health()["subscribers"].values()
            assert stream.account().delivered == 0
        gc.collect()
    assert WORDS in subscriber["last_error"]


def test_a_status_subscriber_that_returns_a_coroutine_is_told(caplog):
    """An alert that never goes out is worse than none."""
    with build_pipeline({"SYNTHETIC_UPDATE_INTERVAL": 0.01}) as stream, warnings.catch_warnings():
        warnings.simplefilter("error")
        stream.status.subscribe(lambda event: asynchronous(event))  # noqa: PLW0108  # as above
        stream.status.emit(_event())
        wait_until(lambda: WORDS in caplog.text)
        gc.collect()


def _event():
    from pipeline import status

    return status.Closed(at_ns=1)


@pytest.mark.parametrize("value", [1, "text", [1], {}, object, print])
def test_what_was_returned_and_needs_nothing_passes(value):
    """Whatever a function returns is its own business, as long as it has run."""
    refuse_unrun(value, "it")


BROKEN = {
    "nothing": (object(), "name, a text, write(), stop(), close(), snapshot()"),
    "a class": (PlainSink, "must be an object, not the class PlainSink itself"),
    "no write": (sink_with(write=None), "must have write(), which PlainSink has not"),
    "a write that is a value": (sink_with(write=7), "must have write()"),
    "no close": (sink_with(close=None), "must have close()"),
    "no name": (sink_with(name=""), "must have name, a text"),
    "a function": (plain, "name, a text, write(), stop(), close(), snapshot()"),
    "asynchronous": (sink_with(stop=asynchronous), WORDS),
}


@pytest.mark.parametrize(("sink", "words"), BROKEN.values(), ids=BROKEN)
def test_what_is_no_sink_is_refused_before_anything_starts(sink, words):
    """It failed when the stream was closed, or with its first tick, on a thread of its own."""
    with build_pipeline({}) as stream:
        with pytest.raises(TypeError) as raised:
            stream.attach(sink)
        assert stream.health()["state"] == "idle"
    assert words in str(raised.value)
    check_sink(sink_with())
