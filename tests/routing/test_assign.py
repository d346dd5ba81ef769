import subprocess
import sys

import pytest

from pipeline.routing.assign import STRATEGIES, Line, assign

LINES = (Line("connection_1"), Line("connection_2"), Line("connection_3"))


def _dead(lines, *ids):
    return [Line(line.id, line.tickers, line.max_tickers, alive=line.id not in ids) for line in lines]


def _names(count):
    return [f"T{number}" for number in range(count)]


def test_manual_leaves_each_connection_its_own():
    """A user's own partition would be ignored."""
    lines = (Line("connection_1", ("A", "B")), Line("connection_2", ("B", "C")))
    assignment = assign(["C", "B", "A"], lines, "manual")
    assert assignment.tickers == {"connection_1": ("B", "A"), "connection_2": ("C",)}
    assert assignment.warnings == ("named by several connections, carried by the first: B",)


def test_manual_carries_a_redundant_ticker_where_it_is_named():
    """Redundancy would put the second copy on a connection that did not ask for it."""
    lines = (Line("connection_1", ("A", "B")), Line("connection_2", ()), Line("connection_3", ("A",)))
    assignment = assign("AB", lines, "manual", redundant={"A"})
    assert assignment.tickers == {"connection_1": ("A", "B"), "connection_2": (), "connection_3": ("A",)}
    assert assignment.warnings == ()


def test_manual_puts_the_rest_on_the_least_loaded():
    """A ticker added at run time would go to the busiest connection."""
    lines = (Line("connection_1", ("A",)), Line("connection_2", ("B", "C")))
    by_count = assign("ABCXY", lines, "manual")
    assert by_count.tickers == {"connection_1": ("A", "X", "Y"), "connection_2": ("B", "C")}
    by_rate = assign("ABCX", lines, "manual", loads={"A": 90.0, "B": 1.0, "C": 1.0, "X": 5.0})
    assert by_rate.tickers == {"connection_1": ("A",), "connection_2": ("B", "C", "X")}
    heaviest_first = assign("XYZ", LINES[:2], "manual", loads={"X": 10.0, "Y": 10.0, "Z": 20.0})
    assert heaviest_first.tickers == {"connection_1": ("Z",), "connection_2": ("X", "Y")}


def test_manual_returns_what_was_away():
    """After a failover the tickers would stay on the survivors for ever."""
    lines = (Line("connection_1", ("A", "B")), Line("connection_2", ("C",)))
    away = assign("ABC", _dead(lines, "connection_1"), "manual")
    assert away.tickers == {"connection_1": (), "connection_2": ("A", "B", "C")}
    assert assign("ABC", lines, "manual", current=away.tickers).tickers == {
        "connection_1": ("A", "B"),
        "connection_2": ("C",),
    }


def test_manual_second_namer_takes_over():
    """A ticker that two connections name would go to a third when the first is down."""
    lines = (Line("connection_1", ("A",)), Line("connection_2", ("A", "B", "C")), Line("connection_3"))
    assignment = assign("ABC", _dead(lines, "connection_1"), "manual")
    assert assignment.tickers["connection_2"] == ("A", "B", "C")


def test_load_balanced_evens_rates():
    """One connection would carry the few tickers that make all the traffic."""
    loads = {"A": 60.0, "B": 40.0, "C": 30.0, "D": 30.0, "E": 20.0}
    assignment = assign("ABCDE", LINES, "load-balanced", loads)
    carried = sorted(sum(loads[t] for t in on) for on in assignment.tickers.values())
    assert carried == [60.0, 60.0, 60.0]


def test_load_balanced_leaves_small_differences_alone():
    """Tickers would wander from connection to connection as rates do."""
    names = _names(40)
    current = {"connection_1": tuple(names[:20]), "connection_2": tuple(names[20:])}
    loads = dict.fromkeys(names[:20], 1.05) | dict.fromkeys(names[20:], 0.95)
    assert assign(names, LINES[:2], "load-balanced", loads, current).tickers == current
    loads["T0"] = 10.0
    assert assign(names, LINES[:2], "load-balanced", loads, current).tickers != current


def test_silent_tickers_are_spread_too():
    """All quiet tickers would land on one connection, and all wake there at the open."""
    loads = {"T0": 100.0, "T1": 90.0, "T2": 80.0} | dict.fromkeys(_names(303)[3:], 0.0)
    assignment = assign(_names(303), LINES, "load-balanced", loads)
    assert sorted(len(on) for on in assignment.tickers.values())[1] > 50


def test_a_ticker_without_a_rate_counts_as_the_mean():
    """New tickers would all be added to one connection until they are measured."""
    loads = dict.fromkeys(_names(30), 10.0)
    assignment = assign(_names(60), LINES, "load-balanced", loads)
    assert [len(on) for on in assignment.tickers.values()] == [20, 20, 20]


def test_hash_does_not_depend_on_the_process():
    """Each start, or each process, would shuffle all tickers."""
    program = (
        "from pipeline.routing.assign import *;"
        "print(dict(assign([f'T{i}' for i in range(40)], [Line('a'), Line('b'), Line('c')], 'hash').tickers))"
    )
    other = subprocess.run(  # noqa: S603  # our own interpreter
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30
    )
    here = assign(_names(40), [Line("a"), Line("b"), Line("c")], "hash")
    assert other.stdout.strip() == str(dict(here.tickers))


def test_hash_is_about_even():
    """One connection would carry most of the tickers."""
    counts = [len(on) for on in assign(_names(3000), LINES, "hash").tickers.values()]
    assert all(850 < count < 1150 for count in counts)


def test_hash_goes_home_where_a_cap_sent_it_away():
    """A ticker would stay on a second choice though there is room where it belongs."""
    capped = [Line(line.id, max_tickers=5) for line in LINES]
    crowded = assign(_names(15), capped, "hash")
    assert [len(on) for on in crowded.tickers.values()] == [5, 5, 5]
    assert (
        assign(_names(15), LINES, "hash", current=crowded.tickers).tickers
        == assign(_names(15), LINES, "hash").tickers
    )


def test_priority_reserves_the_first_connection():
    """The most important tickers would share their connection with all others."""
    lines = (Line("connection_1", ("A", "B")), Line("connection_2", ("C",)), Line("connection_3"))
    tickers = assign("XYZCBA", lines, "priority").tickers
    assert tickers["connection_1"] == ("B", "A")
    assert sorted(len(on) for on in tickers.values()) == [2, 2, 2]


def test_priority_lets_a_second_copy_in_where_there_is_no_other_line():
    """A redundant ticker would be carried once though two connections are up, or push a lone one aside."""
    lines = (Line("connection_1", ("A",)), Line("connection_2"))
    both = assign("AXY", lines, "priority", redundant="X")
    assert both.tickers == {"connection_1": ("A", "X"), "connection_2": ("X", "Y")}
    tight = (lines[0], Line("connection_2", max_tickers=1))
    assert assign("AXY", tight, "priority", redundant="X").tickers == {
        "connection_1": ("A", "X"),
        "connection_2": ("Y",),
    }


def test_levelling_keeps_the_copies_apart():
    """Both copies of a redundant ticker would end on one connection."""
    current = {"connection_1": "ABZ", "connection_2": "Z"}
    tickers = assign("ABZ", LINES[:2], "round-robin", current=current, redundant="Z").tickers
    assert tickers == {"connection_1": ("A", "Z"), "connection_2": ("B", "Z")}


def test_priority_evens_the_others():
    """A connection that returns would stay empty beside a crowded one."""
    lines = (Line("connection_1", ("A",)), Line("connection_2"), Line("connection_3"))
    current = {"connection_1": "A", "connection_2": "UVWXYZ"}
    tickers = assign("AUVWXYZ", lines, "priority", current=current).tickers
    assert [len(on) for on in tickers.values()] == [1, 3, 3]


def test_priority_without_its_first_connection():
    """The first tier would be lost with the connection that is reserved for it, or never go back."""
    lines = (Line("connection_1", ("A", "B")), Line("connection_2", ("C",)), Line("connection_3"))
    away = assign("ABCX", _dead(lines, "connection_1"), "priority")
    assert sorted("".join(on) for on in away.tickers.values() if on) in (
        ["AC", "BX"],
        ["AX", "BC"],
        ["AB", "CX"],
    )
    assert assign("ABCX", lines, "priority", current=away.tickers).tickers["connection_1"] == ("A", "B")
    alone = assign("ABCX", _dead(lines, "connection_2", "connection_3"), "priority")
    assert alone.tickers["connection_1"] == ("A", "B", "C", "X")


def test_priority_decides_who_is_left_out():
    """With too little room the watchlist would push out the first tier."""
    lines = [
        Line("a", ("A",), max_tickers=1),
        Line("b", ("B", "C"), max_tickers=2),
        Line("c", (), max_tickers=1),
    ]
    assert assign("ZYXCBA", lines, "priority").overflow == ("Y", "X")
    full = assign("XYZ", lines, "priority").tickers
    later = assign("XYZCBA", lines, "priority", current=full)
    assert set(later.overflow) < set("XYZ")
    assert len(later.overflow) == 2
    assert later.tickers["a"] == ("A",)


def test_second_copies_yield_to_tickers_without_a_place():
    """A ticker would be dropped so that another comes twice."""
    lines = [Line("a", max_tickers=2), Line("b", max_tickers=2)]
    for current in (None, {"a": "AB", "b": "AB"}):
        assignment = assign("ABCD", lines, "round-robin", current=current, redundant="AB")
        assert assignment.overflow == ()
        assert [len(on) for on in assignment.tickers.values()] == [2, 2]
        (warning,) = assignment.warnings
        assert warning == "redundant, but carried once since no second connection has room: A, B"
    full = {"a": "AC", "b": "BC"}
    assert assign("ABCD", lines, "round-robin", current=full, redundant="C").overflow == ()


def test_rate_caps_hold_and_overflow_is_told():
    """A plan's limit would be exceeded, or tickers dropped without a word."""
    lines = [Line("a", max_ticks_per_s=100), Line("b", max_ticks_per_s=100)]
    loads = dict.fromkeys(_names(7), 40.0)
    assignment = assign(_names(8), lines, "load-balanced", loads)
    assert len(assignment.overflow) == 3
    assert "T7" not in assignment.overflow
    assert assignment.warnings == (
        f"not carried since no connection has room: {', '.join(assignment.overflow)}",
    )


def test_redundant_on_a_single_connection_is_told():
    """A user would believe in a redundancy that there is not."""
    assignment = assign(_names(9), _dead(LINES, "connection_2", "connection_3"), "hash", redundant=_names(7))
    assert assignment.tickers["connection_1"] == tuple(_names(9))
    assert assignment.warnings == (
        "redundant, but carried once since only one connection is up: T0, T1, T2, T3, T4 and 2 more",
    )


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_nothing_up_and_nothing_wanted(strategy):
    """The pool would fail at the very moment when all sockets are down."""
    down = assign("AB", _dead(LINES, *(line.id for line in LINES)), strategy)
    assert down.tickers == {line.id: () for line in LINES}
    assert down.overflow == ("A", "B")
    assert down.warnings == ("not carried since no connection is up: A, B",)
    assert assign("A", (), strategy).overflow == ("A",)
    assert assign((), LINES, strategy).tickers == {line.id: () for line in LINES}


def test_parameters_are_checked_when_called():
    """A mistake would show as tickers on the wrong connection."""
    with pytest.raises(ValueError, match="strategy must be one of manual, "):
        assign("A", LINES, "robin")
    with pytest.raises(ValueError, match="connections must have different ids"):
        assign("A", (*LINES, LINES[0]), "hash")
    for rate in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=r"loads\['A'\]"):
            assign("A", LINES, "load-balanced", {"A": rate})
