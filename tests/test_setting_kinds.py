from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.massive.decode import Element
from pipeline.secret import Secret
from pipeline.setting_kinds import (
    CHANNEL,
    EVENT_TYPES,
    FLAG,
    HOST,
    REDIS_ADDRESS,
    SECRET,
    SYMBOLS,
    SYMBOLS_OR_UNIVERSES,
    TEXT,
    UNIVERSE,
    WEBSOCKET_ADDRESS,
    Misfit,
    OddSymbols,
    is_universe_key,
    real,
    whole,
    word,
)
from pipeline.ticks import Tick

KINDS = [
    CHANNEL, EVENT_TYPES, FLAG, HOST, REDIS_ADDRESS, SECRET, SYMBOLS, SYMBOLS_OR_UNIVERSES, TEXT, UNIVERSE,
    WEBSOCKET_ADDRESS, real(0, 1e9, "seconds"), whole(0, 9), word("block", "drop_oldest"),
]  # fmt: skip
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.dates(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def _misfit(kind, value):
    """Return what the misfit says, None if the value is of the kind."""
    try:
        kind.read(value)
    except Misfit as misfit:
        return misfit.got + (misfit.expected or "")
    return None


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(KINDS), ANYTHING)
def test_any_value_is_read_or_a_misfit(kind, value):
    """An odd value would end in a traceback instead of a problem beside the others."""
    assert _misfit(kind, value) != ""


@pytest.mark.parametrize("kind", [WEBSOCKET_ADDRESS, REDIS_ADDRESS, HOST])
@pytest.mark.parametrize(
    "shape",
    [
        "x://u:{}@h", "x://{}@h", "//u:{}@h:0", "u:{}@h", "{}@h/", "wss://u:{}@h/x", "wss://{}@h/x",
        "wss://h/x?key={}", "wss://h/x#{}", "redis://u:{}@h:0", "redis://[u:{}@h",
    ],
)  # fmt: skip
def test_what_looks_like_a_password_is_in_no_misfit(kind, shape):
    """A mistyped address would put the password into a log."""
    assert "hunter2pass" not in str(_misfit(kind, shape.format("hunter2pass")))


@given(
    st.sampled_from(["true", "Yes", "ON", " 1 ", True, 1]),
    st.sampled_from(["false", "No", "oFF", "0", False, 0]),
)
def test_flags(yes, no):
    """A flag from the environment would be true whatever it says."""
    assert FLAG.read(yes) is True
    assert FLAG.read(no) is False


@pytest.mark.parametrize("value", ["ja", "", 2, 1.0, None, [], "truee"])
def test_no_flags(value):
    """A mistyped flag would silently mean false."""
    with pytest.raises(Misfit):
        FLAG.read(value)


@pytest.mark.parametrize(("value", "number"), [(3, 3), ("3", 3), (3.0, 3), (" +3 ", 3), ("3.0", 3)])
def test_whole_numbers(value, number):
    """A number that comes as a text, as from the environment, would be refused."""
    read = whole(1, 9).read(value)
    assert read == number
    assert type(read) is int


@pytest.mark.parametrize(
    "value", [0, 10, "10", 1.5, "1.5", "three", "", True, None, "nan", "inf", 10**400, [3]]
)
def test_no_whole_numbers(value):
    """A number out of range would reach a socket, a thread or a buffer."""
    with pytest.raises(Misfit):
        whole(1, 9).read(value)


@pytest.mark.parametrize(("value", "number"), [(1, 1), (0.5, 0.5), ("0.5", 0.5), ("1e0", 1.0), (".5", 0.5)])
def test_numbers(value, number):
    """A time in seconds could not be a fraction."""
    assert real(0, 1, "seconds").read(value) == number


@pytest.mark.parametrize("value", [-0.1, 1.1, "x", "nan", float("nan"), float("inf"), False])
def test_no_numbers(value):
    """A time-out that is no time would never end, or end at once."""
    with pytest.raises(Misfit):
        real(0, 1, "seconds").read(value)


def test_words_in_any_case_with_nearest():
    """A mistyped policy would be taken for another, or leave the user guessing which there are."""
    kind = word("round-robin", "drop_oldest")
    assert [kind.read("Round_Robin"), kind.read("DROP-OLDEST ")] == ["round-robin", "drop_oldest"]
    with pytest.raises(Misfit) as caught:
        kind.read("robin")
    assert "did you mean round-robin?" in caught.value.expected


@pytest.mark.parametrize(
    ("value", "symbols"),
    [
        ("AAPL, BACpL ,,AAPL, BRK.B,", ("AAPL", "BACpL", "BRK.B")),
        (["AAPL", " aapl", "AAPL"], ("AAPL", "aapl")),
        ("", ()),
        (
            "X:BTC-USD,O:SPY251219C00650000,C:EUR/USD,*",
            ("X:BTC-USD", "O:SPY251219C00650000", "C:EUR/USD", "*"),
        ),
        (["TRUE", "ON", "NO", "1E5", "007"], ("TRUE", "ON", "NO", "1E5", "007")),
    ],
)
def test_symbols(value, symbols):
    """A list as people write it would subscribe to something else, or twice."""
    assert SYMBOLS.read(value) == symbols


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ([True], 'in quotes: "TRUE"'),
        (True, 'in quotes: "TRUE"'),
        ([False], 'in quotes: "FALSE"'),
        (["A", 100000.0], "'100000.0' (it is no text; write it in quotes)"),
        (7, "'7' (it is no text"),
        ([None], "'nothing' (it is no text"),
        ("AAPL MSFT", "'AAPL MSFT'"),
        (["AAPL,MSFT"], "'AAPL,MSFT'"),
        ("A" * 40, "up to 32"),
        ([["AAPL"]], "['AAPL']"),
    ],
)
def test_no_symbols(value, told):
    """What a file format took for something else would be subscribed to, or dropped without a word."""
    with pytest.raises(Misfit) as caught:
        SYMBOLS.read(value)
    assert told in caught.value.got


def test_what_is_left_of_a_list_is_known():
    """One odd symbol would cost the whole list."""
    with pytest.raises(OddSymbols) as caught:
        SYMBOLS_OR_UNIVERSES.read(["SPY", "B A", "etf:broad", 5, "BACpL"])
    assert caught.value.rest == ("SPY", "etf:broad", "BACpL")
    assert [each.symbol for each in caught.value.odd] == ["B A", "5"]


def test_redundant_entries_may_be_universes():
    """A universe of redundant symbols would be subscribed to as a ticker."""
    read = SYMBOLS_OR_UNIVERSES.read("SPY, etf:sector_spdrs, aa:b + cc:d, X:BTC-USD")
    assert read == ("SPY", "etf:sector_spdrs", "aa:b + cc:d", "X:BTC-USD")
    assert is_universe_key("etf:sector_spdrs")
    assert not is_universe_key("X:BTC-USD")


@pytest.mark.parametrize("value", ["a:x +", "+", "a:x + + b:y", 3])
def test_no_universe(value):
    """A join with an empty side would quietly lose that side."""
    with pytest.raises(Misfit):
        UNIVERSE.read(value)


def test_event_types():
    """A subscription would ask for a type that the feed never answers."""
    assert EVENT_TYPES.read("t, q,T,am,") == ("T", "Q", "AM")
    assert EVENT_TYPES.read(["LULD"]) == ("LULD",)
    kinds = [kind for kind in get_args(Element) if issubclass(kind, Tick)]
    decoded = {kind.event_type for kind in kinds} - {"XL2"}  # which Massive has ended
    assert len(decoded) == 16
    assert set(EVENT_TYPES.read(list(decoded))) == decoded
    for value in ("T,X", ["T", True], ",", [], 5):
        with pytest.raises(Misfit):
            EVENT_TYPES.read(value)


@pytest.mark.parametrize("url", ["wss://socket.massive.com/stocks", "ws://127.0.0.1:8080", "wss://[::1]:9/x"])
def test_websocket_addresses(url):
    """A good address would be refused."""
    assert WEBSOCKET_ADDRESS.read(f" {url} ") == url


@pytest.mark.parametrize(
    "url", ["https://x.com", "x.com", "wss://", "wss://h:70000", "wss://h:x/", "wss://u:p@h", 5]
)
def test_no_websocket_addresses(url):
    """The connection would fail at run time, again and again, or show a password in its status."""
    with pytest.raises(Misfit):
        WEBSOCKET_ADDRESS.read(url)


def test_secret_of_a_secret():
    """Settings made from settings would be refused."""
    assert SECRET.read(Secret("k")) == SECRET.read(" k ") == Secret("k")


@pytest.mark.parametrize("host", ["redis", "10.0.0.1", "::1", "fe80::1", "a-b_c.example", ""])
def test_hosts(host):
    """A good host would be refused."""
    assert HOST.read(host) == host


@pytest.mark.parametrize("host", ["redis:6379", "redis://h", "a b", "u:p@h"])
def test_no_hosts(host):
    """An address in the place of a host would be assembled into a wrong one."""
    with pytest.raises(Misfit):
        HOST.read(host)
