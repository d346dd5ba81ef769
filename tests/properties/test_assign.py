"""What holds for every strategy, whatever is wanted, up, measured, and carried already."""

from collections import Counter

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pipeline.routing.assign import STRATEGIES, Line, assign

TICKERS = [f"T{number}" for number in range(24)]
wanted = st.lists(st.sampled_from(TICKERS), max_size=18)
some = st.lists(st.sampled_from(TICKERS), max_size=10, unique=True).map(tuple)
rates = st.dictionaries(st.sampled_from(TICKERS), st.integers(0, 100).map(float), max_size=40)


@st.composite
def lines(draw, *, caps=True, all_alive=False, at_least=1):
    """Draw up to six connections."""
    return [
        Line(
            f"connection_{number}",
            tickers=draw(some),
            max_tickers=draw(st.integers(0, 12)) if caps else 0,
            max_ticks_per_s=draw(st.sampled_from([0, 50, 200, 500])) if caps else 0,
            alive=all_alive or draw(st.integers(0, 3)) > 0,
        )
        for number in range(1, draw(st.integers(at_least, 6)) + 1)
    ]


@st.composite
def placements(draw, connections):
    """Draw what is carried now: tickers anywhere, perhaps twice, perhaps on connections that are gone."""
    ids = [line.id for line in connections] + ["connection_99"]
    return {id_: draw(some) for id_ in draw(st.lists(st.sampled_from(ids), unique=True))}


@st.composite
def calls(draw, strategy=None, **kwargs):
    """Draw the arguments of a call."""
    connections = draw(lines(**kwargs))
    return {
        "tickers": draw(wanted),
        "connections": connections,
        "strategy": strategy or draw(st.sampled_from(STRATEGIES)),
        "loads": draw(st.none() | rates),
        "current": draw(st.none() | placements(connections)),
        "redundant": draw(some),
    }


def without(connections, *ids):
    """Return the connections with some of them dead."""
    return [
        Line(c.id, c.tickers, c.max_tickers, c.max_ticks_per_s, alive=c.alive and c.id not in ids)
        for c in connections
    ]


def moved(before, after):
    """Return the tickers that are on a connection after, which they were not on before, by connection."""
    return {id_: set(on) - set(before.tickers[id_]) for id_, on in after.tickers.items()}


@settings(max_examples=70, deadline=None)
@given(calls())
def test_every_ticker_has_its_place_or_is_reported(call):
    """A ticker would be lost, carried twice, or put on a socket that is down."""
    assignment = assign(**call)
    alive = {line.id for line in call["connections"] if line.alive}
    holders = Counter(ticker for on in assignment.tickers.values() for ticker in on)
    assert list(assignment.tickers) == [line.id for line in call["connections"]]
    assert all(not on for id_, on in assignment.tickers.items() if id_ not in alive)
    assert all(len(set(on)) == len(on) for on in assignment.tickers.values())
    assert set(holders) | set(assignment.overflow) == set(call["tickers"])
    assert not set(holders) & set(assignment.overflow)
    capped = any(line.max_tickers or line.max_ticks_per_s for line in call["connections"])
    for ticker, copies in holders.items():
        full = 2 if ticker in call["redundant"] and len(alive) > 1 else 1
        assert copies == full or (capped and copies == 1)
    assert capped or not alive or not assignment.overflow


@settings(max_examples=70, deadline=None)
@given(calls())
def test_caps_hold_and_nothing_is_left_out_while_there_is_room(call):
    """A limit of the plan would be exceeded, or a ticker left out that fits."""
    assignment = assign(**call)
    loads = call["loads"] or {}
    reserved = call["strategy"] == "priority"
    for line in call["connections"]:
        on = assignment.tickers[line.id]
        carried = sum(loads.get(ticker, 0) for ticker in on)
        assert not line.max_tickers or len(on) <= line.max_tickers
        assert not line.max_ticks_per_s or carried <= line.max_ticks_per_s
        if line.alive and not reserved and (not line.max_tickers or len(on) < line.max_tickers):
            for ticker in assignment.overflow:
                assert line.max_ticks_per_s < carried + loads.get(ticker, 0)


@settings(max_examples=60, deadline=None)
@given(calls())
def test_same_input_same_output_and_asked_again_nothing_moves(call):
    """Each look at the load would move tickers to and fro."""
    first = assign(**call)
    assert assign(**call) == first
    assert assign(**{**call, "current": first.tickers}).tickers == first.tickers


@settings(max_examples=60, deadline=None)
@given(calls(strategy="round-robin", caps=False))
def test_round_robin_is_even_by_count(call):
    """One connection would carry more tickers than another for no reason."""
    assignment = assign(**call)
    counts = [len(assignment.tickers[line.id]) for line in call["connections"] if line.alive]
    assert not counts or max(counts) - min(counts) <= 1


@settings(max_examples=60, deadline=None)
@given(calls(strategy="round-robin"))
def test_round_robin_is_even_within_caps(call):
    """A connection would be left half empty because another is full."""
    call["loads"] = None
    assignment = assign(**call)
    counts = {line.id: len(assignment.tickers[line.id]) for line in call["connections"]}
    most = max(counts.values())
    for line in call["connections"]:
        if line.alive and not (line.max_tickers and counts[line.id] == line.max_tickers):
            assert counts[line.id] >= most - 1


@settings(max_examples=60, deadline=None)
@given(calls(strategy="load-balanced", caps=False))
def test_load_balanced_is_even_by_rate(call):
    """The busiest connection would be busier than it has to be: more than the mean and one ticker."""
    call["loads"] = {ticker: (call["loads"] or {}).get(ticker, 0.0) + 15 for ticker in TICKERS}
    assignment = assign(**call)
    carried = [
        sum(call["loads"][ticker] for ticker in assignment.tickers[line.id])
        for line in call["connections"]
        if line.alive
    ]
    assume(any(carried))
    mean = sum(carried) / len(carried)
    heaviest_ticker = max(call["loads"][ticker] for ticker in call["tickers"])
    assert max(carried) <= max(1.1 * mean, mean + heaviest_ticker) + 1e-9


@pytest.mark.parametrize("strategy", ["round-robin", "hash", "manual"])
@settings(max_examples=70, deadline=None)
@given(data=st.data())
def test_when_a_connection_leaves_only_its_tickers_move(strategy, data):
    """The loss of one socket would cost the others a gap as well."""
    call = data.draw(calls(strategy=strategy, caps=strategy == "hash", all_alive=True))
    if strategy == "hash":
        call["loads"] = None
    if strategy == "round-robin":
        call["redundant"] = ()  # to stay apart, second copies may push others aside
    before = assign(**{**call, "current": None})
    leaving = data.draw(st.sampled_from(call["connections"])).id
    rest = without(call["connections"], leaving)
    after = assign(**{**call, "connections": rest, "current": before.tickers})
    orphans = set(before.tickers[leaving])
    gained = moved(before, after)
    for id_, tickers in gained.items():
        if id_ != leaving:
            assert tickers <= orphans
    back = assign(**{**call, "current": after.tickers})
    if strategy == "hash" and not any(line.max_tickers for line in call["connections"]):
        assert back.tickers == before.tickers


@pytest.mark.parametrize("strategy", ["round-robin", "hash"])
@settings(max_examples=70, deadline=None)
@given(data=st.data())
def test_when_a_connection_joins_tickers_move_to_it_only(strategy, data):
    """The return of one socket would shuffle the others, and cost each moved ticker a gap."""
    call = data.draw(calls(strategy=strategy, caps=False, all_alive=True, at_least=2))
    call["redundant"] = () if strategy == "round-robin" else call["redundant"]
    joining = data.draw(st.sampled_from(call["connections"])).id
    before = assign(**{**call, "connections": without(call["connections"], joining), "current": None})
    after = assign(**{**call, "current": before.tickers})
    gained = moved(before, after)
    if len(call["connections"]) > 2 or not call["redundant"]:
        assert all(not tickers for id_, tickers in gained.items() if id_ != joining)
    if strategy == "round-robin":
        assert len(gained[joining]) == len(set(call["tickers"])) // len(call["connections"])


@settings(max_examples=60, deadline=None)
@given(calls(strategy="hash", caps=False))
def test_hash_depends_on_nothing_but_ticker_and_connections(call):
    """Two processes with one configuration would disagree on who carries what."""
    plain = assign(call["tickers"], call["connections"], "hash", redundant=call["redundant"])
    assert assign(**call).tickers == plain.tickers


@settings(max_examples=60, deadline=None)
@given(calls(strategy="manual", caps=False))
def test_manual_home_is_home(call):
    """A ticker would be somewhere else than where its user put it."""
    assignment = assign(**call)
    for line in call["connections"]:
        for ticker in assignment.tickers[line.id]:
            homes = [c.id for c in call["connections"] if c.alive and ticker in c.tickers]
            assert not homes or line.id == homes[0] or ticker in call["redundant"]


@settings(max_examples=70, deadline=None)
@given(calls(strategy="priority", all_alive=True, at_least=2))
def test_priority_keeps_the_first_connection_clear(call):
    """The first tier's connection would carry others' ticks, too."""
    first = call["connections"][0]
    call["tickers"] += first.tickers
    assume(first.tickers)
    strangers = set(assign(**call).tickers[first.id]) - set(first.tickers)
    assert strangers <= (set(call["redundant"]) if len(call["connections"]) == 2 else set())


@settings(max_examples=70, deadline=None)
@given(calls(strategy="priority", all_alive=True), st.integers(1, 8))
def test_priority_leaves_out_the_least_important(call, cap):
    """With too little room the first tiers would be left out for the sake of the last."""
    call["loads"] = None
    connections = [Line(line.id, line.tickers, max_tickers=cap) for line in call["connections"]]
    assignment = assign(**{**call, "connections": connections})

    def rank(ticker):
        named = [place for place, line in enumerate(connections) if ticker in line.tickers]
        return named[0] if named else len(connections)

    first_tier = {ticker for ticker in call["tickers"] if rank(ticker) == 0}
    shared = connections[1:] if first_tier and len(connections) > 1 else connections
    carried = [t for line in shared for t in assignment.tickers[line.id]]
    for ticker in assignment.overflow:
        assert all(rank(other) <= rank(ticker) for other in carried)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_hash_within_tight_caps_moves_no_more_than_it_must(data):
    """Where connections are nearly full, one that leaves would shuffle the tickers of all the others."""
    count, cap = data.draw(st.integers(2, 5)), data.draw(st.integers(1, 4))
    connections = [Line(f"connection_{number}", max_tickers=cap) for number in range(count)]
    names = [f"T{number}" for number in range(data.draw(st.integers(1, count * cap)))]
    where = data.draw(st.lists(st.integers(0, count), min_size=len(names), max_size=len(names)))
    current = {
        line.id: [name for name, place in zip(names, where, strict=True) if place == number]
        for number, line in enumerate(connections)
    }
    first = assign(names, connections, "hash", current=current)
    assert first.overflow == ()
    assert assign(names, connections, "hash", current=first.tickers).tickers == first.tickers
    leaving = data.draw(st.sampled_from(connections)).id
    rest = without(connections, leaving)
    after = assign(data.draw(st.permutations(names)), rest, "hash", current=first.tickers)
    for id_, tickers in moved(first, after).items():
        assert tickers <= set(first.tickers[leaving]), id_


@given(calls(), st.data())
def test_what_was_chosen_by_hand_rules_while_its_connection_is_up(call, data):
    """`move_ticker`: an operator who moved a ticker must not find it elsewhere after the next failover."""
    connections = call["connections"]
    ids = st.sampled_from([c.id for c in connections] + ["connection_99"])
    pinned = data.draw(st.dictionaries(st.sampled_from(TICKERS), ids, max_size=6))
    result = assign(**call, pinned=pinned)
    alive = {c.id: c for c in connections if c.alive}
    for ticker, id_ in pinned.items():
        if ticker in call["tickers"] and id_ in alive and ticker not in result.tickers[id_]:
            line = alive[id_]
            load = sum((call["loads"] or {}).get(t, 0) for t in (*result.tickers[id_], ticker))
            full = line.max_tickers and len(result.tickers[id_]) >= line.max_tickers
            assert full or (line.max_ticks_per_s and load > line.max_ticks_per_s)
            assert any(ticker in warning or "more" in warning for warning in result.warnings)
    for ticker in dict.fromkeys(call["tickers"]):
        carriers = [id_ for id_, its in result.tickers.items() if ticker in its]
        assert len(carriers) <= (2 if ticker in call["redundant"] else 1)
        assert carriers or ticker in result.overflow
        assert set(carriers) <= set(alive)
    assert assign(**call | {"current": result.tickers}, pinned=pinned).tickers == result.tickers
