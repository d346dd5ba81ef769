from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.routing.assign import STRATEGIES, Line, assign
from pipeline.routing.loads import loads_of
from pipeline.symbols import WILDCARD

TICKERS = [f"T{number}" for number in range(9)]
NAMED = st.lists(st.sampled_from([*TICKERS, WILDCARD, WILDCARD]), max_size=6, unique=True).map(tuple)


@st.composite
def calls(draw):
    """Draw up to five lines of up to three kinds, some dead, and what is wanted, measured and carried."""
    lines = [
        Line(
            f"connection_{number}",
            tickers=draw(NAMED),
            max_tickers=draw(st.sampled_from([0, 0, 1, 4])),
            alive=draw(st.integers(0, 3)) > 0,
            feed=draw(st.sampled_from("AAB")),
        )
        for number in range(1, draw(st.integers(1, 5)) + 1)
    ]
    rates = st.dictionaries(st.sampled_from([*TICKERS, WILDCARD]), st.integers(0, 100).map(float))
    return {
        "tickers": [WILDCARD, *draw(st.lists(st.sampled_from(TICKERS)))],
        "connections": lines,
        "strategy": draw(st.sampled_from(STRATEGIES)),
        "loads": draw(rates),
        "current": {line.id: draw(NAMED) for line in lines},
        "redundant": draw(NAMED),
    }


def holders(assignment):
    """Return the ids of the lines that carry the wildcard."""
    return [id_ for id_, on in assignment.tickers.items() if WILDCARD in on]


@settings(max_examples=200)
@given(calls())
def test_of_each_kind_that_names_it_one_carries_it(call):
    """Trades of all symbols on one socket and quotes of all on another are two things, both wanted."""
    lines = {line.id: line for line in call["connections"]}
    assignment = assign(**call)
    naming = {line.feed for line in lines.values() if WILDCARD in line.tickers}
    holding = {line.feed for line in lines.values() if WILDCARD in call["current"][line.id]}
    kinds = Counter(lines[id_].feed for id_ in holders(assignment))
    if naming or holding:
        assert kinds.keys() == (naming or holding)
    else:
        assert len(kinds) == any(line.alive for line in lines.values())
    for kind, count in kinds.items():
        alive = [line for line in lines.values() if line.feed == kind and line.alive]
        assert count == (min(2, len(alive)) or 1 if WILDCARD in call["redundant"] else 1)
        if alive:
            assert all(lines[id_].alive for id_ in holders(assignment) if lines[id_].feed == kind)
        elif naming:
            assert not kinds.keys() - naming, "what is nowhere else to be had stays where it is"
    assert (WILDCARD in assignment.overflow) == (not kinds)


@settings(max_examples=100)
@given(calls(), st.dictionaries(st.sampled_from([*TICKERS, WILDCARD]), st.integers(0, 10_000).map(float)))
def test_no_load_moves_it(call, other_loads):
    """Each look at the load would move all symbols to and fro, each time twice as much over two sockets."""
    first = assign(**call)
    again = assign(**{**call, "current": first.tickers, "loads": other_loads})
    assert holders(again) == holders(first)


@settings(max_examples=100)
@given(calls())
def test_it_counts_as_one_towards_a_cap(call):
    """A limit of the plan would be exceeded by the tickers beside it."""
    assignment = assign(**call)
    for line in call["connections"]:
        assert not line.max_tickers or len(assignment.tickers[line.id]) <= line.max_tickers


def test_tickers_go_around_it():
    """The connection with the whole market would get its third of the busy tickers on top."""
    lines = [Line("c1", tickers=(WILDCARD,)), Line("c2"), Line("c3")]
    loads = dict.fromkeys(TICKERS, 10.0) | {WILDCARD: 5000.0}
    for strategy in ("load-balanced", "manual"):
        assignment = assign([WILDCARD, *TICKERS], lines, strategy, loads)
        assert assignment.tickers["c1"] == (WILDCARD,)
    assert WILDCARD in assign([WILDCARD], [Line("c1", max_ticks_per_s=10)], "hash", {WILDCARD: 11.0}).overflow


def test_named_twice_of_one_kind_is_warned_of():
    """A second firehose would double the load for nothing; who wants that writes it as redundant."""
    lines = [
        Line("c1", (WILDCARD,), feed="A"),
        Line("c2", (WILDCARD,), feed="A"),
        Line("c3", (WILDCARD,), feed="B"),
    ]
    assignment = assign([WILDCARD], lines, "manual")
    assert holders(assignment) == ["c1", "c3"]
    assert assignment.warnings == ("named by several connections, carried by the first: *",)
    assert assign([WILDCARD], lines[1:], "manual").warnings == ()


@given(
    st.dictionaries(st.sampled_from([*TICKERS, "EUR/USD", "BTC-USD"]), st.floats(0, 1e6)),
    st.sets(st.sampled_from([*TICKERS, WILDCARD, "C:EUR-USD", "X:BTC-USD"])),
)
def test_the_load_of_the_wildcard_is_what_nobody_names(rates, wanted):
    """The busiest connection would seem idle, or a pair that is spelt otherwise to bring nothing."""
    loads = loads_of(rates, wanted)
    named = {"EUR/USD": "C:EUR-USD", "BTC-USD": "X:BTC-USD"}
    for symbol, rate in rates.items():
        name = named.get(symbol, symbol)
        assert loads[name if name in wanted else symbol] == rate
    of_nobody = [rate for symbol, rate in rates.items() if named.get(symbol, symbol) not in wanted]
    if WILDCARD in wanted and rates:
        assert loads[WILDCARD] == pytest.approx(sum(of_nobody))
    else:
        assert WILDCARD not in loads
