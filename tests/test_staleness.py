from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.staleness import judge


@dataclass(frozen=True)
class Line:
    """Is what is judged of a connection."""

    id: str
    silent_for_s: float | None
    limit_s: float | None = 10.0
    confirmed: int = 5


SECONDS = st.floats(0.0, 1e5)
LINES = st.builds(
    lambda lines: [Line(f"connection_{n}", *line) for n, line in enumerate(lines, 1)],
    st.lists(st.tuples(st.none() | SECONDS, st.none() | st.floats(10.0, 1e4), st.integers(0, 3)), max_size=6),
)


@given(LINES)
@settings(max_examples=200)
def test_stale_is_only_what_is_silent_for_too_long(lines):
    """A connection that talks, or of which nobody can tell, would be reconnected."""
    by_id = {line.id: line for line in lines}
    for name in judge(lines, market_open=True):
        assert by_id[name].confirmed
        assert by_id[name].silent_for_s > by_id[name].limit_s


@given(LINES)
@settings(max_examples=50)
def test_nothing_is_stale_while_the_exchange_is_closed(lines):
    """Every night all connections would be reconnected."""
    assert judge(lines, market_open=False) == []


@given(LINES)
@settings(max_examples=200)
def test_the_order_of_the_connections_does_not_matter(lines):
    """The same trouble would be seen on connection_1 and not on connection_2."""
    assert sorted(judge(lines, market_open=True)) == sorted(judge(lines[::-1], market_open=True))


@given(st.lists(st.floats(10.0, 99.0), min_size=2, max_size=6), SECONDS, st.floats(0.0, 0.4))
@settings(max_examples=200)
def test_what_falls_silent_together_is_the_markets_silence(limits_s, silence_s, spread):
    """A quiet market, or a halt, would make all connections reconnect at once."""
    lines = [
        Line(f"connection_{n}", silence_s * (1 - spread * (n % 2)), limit_s)
        for n, limit_s in enumerate(limits_s)
    ]
    assert judge(lines, market_open=True) == []


@given(SECONDS, st.floats(10.0, 1e4))
@settings(max_examples=50)
def test_one_alone_is_judged_by_its_own_rhythm(silence_s, limit_s):
    """Who has one connection would lose the day to a stream that stopped."""
    stale = judge([Line("connection_1", silence_s, limit_s)], market_open=True)
    assert stale == (["connection_1"] if silence_s > limit_s else [])


def test_the_silent_one_of_two_is_stale():
    """A stream that stops silently is what users of other clients complain about."""
    lines = [Line("connection_1", 10.1), Line("connection_2", 0.2)]
    assert judge(lines, market_open=True) == ["connection_1"]


def test_one_that_stopped_is_found_out_when_the_others_speak_again():
    """After a halt one connection may stay dead; the halt must not excuse it for ever."""
    assert judge([Line("connection_1", 900.0), Line("connection_2", 899.9)], market_open=True) == []
    assert judge([Line("connection_1", 901.0), Line("connection_2", 0.1)], market_open=True) == [
        "connection_1"
    ]


def test_a_connection_that_hardly_ever_speaks_is_no_witness():
    """Trading halts come once an hour; beside them a dead stream of trades would look like a quiet market."""
    lines = [Line("trades", 30.0), Line("halts", 3000.0, limit_s=36_000.0)]
    assert judge(lines, market_open=True) == ["trades"]


def test_what_carries_nothing_is_not_stale():
    """A connection whose tickers were moved away would be reconnected for its silence."""
    assert judge([Line("connection_1", 500.0, confirmed=0)], market_open=True) == []
