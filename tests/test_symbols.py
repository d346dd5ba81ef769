import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.symbols import WILDCARD, Doubt, doubts_about, near_symbols, read_symbol, read_symbols
from tests.odd_symbols import ODD, SYMBOLS


@given(st.lists(SYMBOLS.map(lambda symbol: (symbol, symbol, True)) | ODD.map(lambda odd: (odd, odd, False))))
def test_a_list_keeps_its_good_symbols_as_they_are_and_tells_the_odd_ones(items):
    """A preferred share would be asked for as something else, or a list be lost for one slip."""
    symbols = read_symbols([item for item, _, _ in items])
    assert symbols.good == tuple(dict.fromkeys(symbol for _, symbol, good in items if good))
    assert len(symbols.odd) == len({str(read_symbols([odd]).odd[0]) for _, odd, good in items if not good})
    assert all(each.symbol is not None and each.reason for each in symbols.odd)


@given(st.lists(SYMBOLS))
def test_to_read_twice_changes_nothing(raw):
    """Universes that are joined are read twice."""
    good = read_symbols(raw).good
    assert read_symbols(good) == (good, ())
    assert read_symbols([f" {symbol}\t" for symbol in raw]).good == good


@pytest.mark.parametrize(
    ("odd", "told"),
    [
        ("^VIX", "I:VIX"),
        ("$SPX", "I:SPX"),
        (".DJI", "I:DJI"),
        ("BF B", "BF.B"),
        ("AAPL,MSFT", "several"),
        ("AAPL;MSFT", "several"),
        ("AA*", "stands alone"),
        ("", "empty"),
        ("A" * 33, "up to 32"),
        ("AAPL\x1b[2J", "letters"),
        ("\u0410APL", "letters"),
        (None, "no text"),
        (7, "no text"),
        (True, '"TRUE"'),
        (b"AAPL", "no text"),
        (["AAPL"], "no text"),
    ],
)
def test_an_odd_symbol_says_why_and_what_to_write(odd, told):
    """A user of another vendor's spelling would have to find out Massive's by himself."""
    (each,) = read_symbols([odd]).odd
    assert told in each.reason
    with pytest.raises(ValueError, match="ticker must be a symbol, not "):
        read_symbol(odd)


def test_the_wildcard_is_no_odd_symbol():
    """Nobody could ask for all symbols."""
    assert read_symbols(f"{WILDCARD} ").good == (WILDCARD,)
    assert read_symbol(" * ") == WILDCARD


CASE, LOWER = "is known in another case", "is in lower case"


@pytest.mark.parametrize(
    ("symbols", "known", "doubts"),
    [
        (["aapl"], ["AAPL"], [("aapl", "AAPL", CASE)]),
        (["zzzz", "x:btc-usd"], [], [("zzzz", "ZZZZ", LOWER), ("x:btc-usd", "X:BTC-USD", LOWER)]),
        (["BACPL"], ["BACpL"], [("BACPL", "BACpL", CASE)]),
        (["BACpL", "BACPL", "bacpl"], [], [("BACPL", "BACpL", CASE), ("bacpl", "BACpL", CASE)]),
        (["BACpL", "BACPL"], ["BACPL", "BACpL"], []),
        (["BACpL", "ABCw", "TWOrw", "BRK.B", "*", "007"], [], []),
        (["aapl", "AAPL"], [], [("aapl", "AAPL", LOWER)]),
    ],
)
def test_what_may_be_meant_otherwise(symbols, known, doubts):
    """Who wrote `aapl` had AAPL until now, and would have silence."""
    assert list(doubts_about(symbols, known)) == [Doubt(*each) for each in doubts]


def test_near_names():
    """Who mistypes what is to be removed would have to look for it among thousands."""
    known = dict.fromkeys(["AAPL", "BACpL", "MSFT", *(f"S{number:05d}" for number in range(10_000))])
    assert near_symbols(["s00001", "APPL", "bacpl"], known) == ("S00001", "AAPL", "BACpL")
    assert near_symbols(["ZZZ", "*"], known) == ()
