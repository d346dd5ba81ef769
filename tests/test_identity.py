import json
from collections import Counter

import msgspec
import pytest

from pipeline.identity import Seen, conflation_key
from pipeline.massive.decode import decode_message
from pipeline.ticks import TICK_KINDS, MinuteAggregate, Quote, SecondAggregate, Tick, Trade
from pipeline.tracks import Track, Tracks
from tests.feed_examples import EXAMPLES, MS

OF_EACH = [pytest.param(example.wire, id=example.name) for example in EXAMPLES]
"""Every event of every market, as it stands on the wire."""
NO_PART = {
    "T with i": {"z", "p", "s", "ds", "c", "t", "pt", "q", "trft"},  # on the same day
    "T without i": {"c"},
    "Q with q": {"bx", "bp", "bs", "ax", "ap", "as", "c", "i", "t", "pt", "z"},
}
"""Fields that make no other event of it."""

TRADE = {"ticker": "A", "price": 1, "event_ms": 1, "exchange": 4, "trade_id": "9", "trf_id": 2}


def seen():
    """Make a memory that forgets nothing here."""
    return Seen(1000, Tracks())


def read(*elements):
    """Decode elements as if each had come alone."""
    ticks = []
    for element in elements:
        decoded, rejects = decode_message(json.dumps([element]).encode())
        assert not rejects, element
        ticks += decoded
    return ticks


def other(value):
    """Return something else that the same field might hold."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, list):
        return [*value, *(value[:1] or [1])]
    return value + "1" if isinstance(value, str) else value + 1


def no_part_of(element):
    """Return the fields that are no part of what tells this event."""
    mark = {"T": "i", "Q": "q"}.get(element["ev"], "ev")
    return NO_PART.get(f"{element['ev']} with{'' if mark in element else 'out'} {mark}", set())


def test_every_event_type_is_among_the_examples():
    """A type that nobody thought of passes twice under redundancy, and in every move."""
    assert {example.wire["ev"] for example in EXAMPLES} == {kind.event_type for kind in TICK_KINDS}


@pytest.mark.parametrize("element", OF_EACH)
def test_a_copy_over_another_connection_is_taken_out(element):
    """Every market has redundancy and moves; a trade that comes twice is volume that never was."""
    first, copy = read(element, element)
    assert seen()([first, copy]) == [first]
    memory = seen()
    assert memory([first]) == [first]
    assert memory([msgspec.structs.replace(copy, received_ns=5, source="synthetic")]) == []


@pytest.mark.parametrize("element", OF_EACH)
def test_a_copy_beside_a_broken_neighbour_is_a_copy(element):
    """It is decoded another way, and an int that came out as a float would make another event of it."""
    for its in (element, {name: _as_float(value) for name, value in element.items()}):
        message = b"[%b,%b]" % (json.dumps(its).encode(), b'{"ev":"T"}')
        ticks, rejects = decode_message(message)
        assert (len(ticks), len(rejects)) == (1, 1)
        assert seen()(read(its) + ticks) == read(its)


def _as_float(value):
    return float(value) if type(value) is int and value < 2**53 else value


@pytest.mark.parametrize("element", OF_EACH)
def test_an_event_that_differs_passes(element):
    """What differs in a field of its identity is news; dropping it as a copy is a silent loss."""
    for field in element.keys() - {"ev"} - no_part_of(element):
        both = read(element, element | {field: other(element[field])})
        assert seen()(both) == both, field


@pytest.mark.parametrize("element", OF_EACH)
def test_what_is_no_part_of_an_identity_makes_no_other_event(element):
    """A trade sent again with another sequence number, as was seen, is the same trade."""
    for field in element.keys() & no_part_of(element):
        first, again = read(element, element | {field: other(element[field])})
        assert seen()([first, again]) == [first], field


@pytest.mark.parametrize(
    "element",
    [
        {"ev": "T", "sym": "A", "x": 4, "i": "", "p": 1.5, "s": 5, "t": MS, "q": 7},
        {"ev": "T", "sym": "A", "x": 4, "i": None, "p": 1.5, "s": 5, "t": MS, "q": 7},
        {"ev": "T", "sym": "A", "x": 4, "p": 1.5, "s": 5, "t": MS, "q": 7},
        {"ev": "T", "sym": "A", "p": 1.5, "s": 5, "t": MS},
        {"ev": "T", "sym": "O:A1", "x": 65, "p": 1.5, "s": 5, "t": MS},
        {"ev": "T", "sym": "O:A1", "x": 65, "p": 1.5, "s": 5, "t": MS, "q": 0},
    ],
    ids=["empty id", "id null", "no id", "nothing at all", "option without sequence", "sequence 0"],
)
def test_what_has_no_identity_is_never_dropped(element):
    """Two real trades may look alike; nobody can know, so both pass."""
    both = read(element, element)
    assert seen()(both) == both


def test_sequence_0_is_none():
    """A feed that does not number its quotes may send 0: all but the first would be lost."""
    quotes = read(*({"ev": "Q", "sym": "A", "bp": price, "t": MS, "q": 0} for price in (1, 2, 1)))
    assert seen()(quotes) == quotes[:2]


def test_a_number_beyond_64_bits_is_a_number():
    """JSON has them; an error here would end the stream."""
    quotes = read(*[{"ev": "Q", "sym": "A", "bp": 10**30, "t": 10**25}] * 2)
    assert seen()(quotes) == quotes[:1]


@pytest.mark.parametrize("name", ["ticker", "exchange", "trade_id", "trf_id"])
def test_trades_that_differ_in_their_identity_are_two(name):
    """Two venues number their trades alike; dropping one as a duplicate is a silent loss."""
    other_one = Trade(**TRADE | {name: "B" if name == "ticker" else 99})
    again = Trade(**TRADE | {"price": 2, "sequence": 5})
    one = Trade(**TRADE)
    assert seen()([one, other_one, again, msgspec.structs.replace(other_one)]) == [one, other_one]


def test_a_revised_bar_is_not_a_duplicate():
    """The same window with other numbers is a correction and must pass."""
    bar = SecondAggregate(ticker="A", event_ms=2000, start_ms=1000, tick_close=5, tick_volume=10)
    revised = msgspec.structs.replace(bar, tick_volume=11)
    stamped = msgspec.structs.replace(bar, received_ns=5)
    minute = MinuteAggregate(**{name: getattr(bar, name) for name in bar.__struct_fields__})
    assert seen()([bar, revised, stamped, minute]) == [bar, revised, minute]


def test_a_late_quote_passes_once():
    """The second line brings what the first left out: it is news, though newer quotes came before it."""
    quotes = [Quote(ticker="A", event_ms=1, sequence=q) for q in (1, 2, 5, 3, 3, 5, 4, 6)]
    assert [quote.sequence for quote in seen()(quotes)] == [1, 2, 5, 3, 4, 6]


def test_tickers_forget_a_few_at_a_time(monkeypatch):
    """All in one batch would stop the stream for 10 ms, three times a second at the open."""
    turns = Counter()
    turn = Track.turn
    monkeypatch.setattr(Track, "turn", lambda track: (turns.update([track]), turn(track)))
    memory, most = Seen(1000, Tracks()), 0
    for number in range(6000):
        before = turns.total()
        memory([Quote(ticker=f"S{number % 500}", event_ms=1, sequence=number)])
        most = max(most, turns.total() - before)
    assert most <= 3
    assert len(turns) == 500
    assert {4, 5} >= set(turns.values())


def test_the_window_is_checked():
    """A window of nothing would dedupe nothing, in silence."""
    with pytest.raises(ValueError, match="window"):
        Seen(0, Tracks())


@pytest.mark.parametrize("element", OF_EACH)
def test_only_what_a_newer_one_makes_worthless_is_conflated(element):
    """A newer quote makes an older one worthless; a trade happened, of whatever market."""
    symbol = "p" if element["ev"] == "C" else next(name for name in ("sym", "pair", "T") if name in element)
    time = "t" if "t" in element else "s"
    tick, newer, of_another = read(element, element | {time: element[time] + 5000}, element | {symbol: "ZZZ"})
    if element["ev"] in {"T", "XT"}:
        assert conflation_key(tick) is None
    else:
        assert conflation_key(tick) == conflation_key(newer) != conflation_key(of_another)


@pytest.mark.parametrize("element", OF_EACH)
def test_another_exchange_or_auction_is_another_state(element):
    """The imbalance on one exchange says nothing of the other's; the quote of one none of another's."""
    for field in {"C": "x", "XQ": "x", "XL2": "x", "NOI": ("x", "a", "at")}.get(element["ev"], ()):
        first, second = read(element, element | {field: other(element[field])})
        assert conflation_key(first) != conflation_key(second)


def test_what_nobody_knows_is_not_conflated():
    """A type that is added and not thought of here must not lose anything."""

    class News(Tick, tag="N"):
        event_type = "N"

    assert conflation_key(News(ticker="A")) is None


def test_kinds_are_not_conflated_with_each_other():
    """A quote does not say what a bar said."""
    ticks = read(*(example.wire for example in EXAMPLES))
    keys = {(type(tick), tick.ticker): conflation_key(tick) for tick in ticks if conflation_key(tick)}
    assert len(set(keys.values())) == len(keys)


def on(day, **fields):
    """Make an element of AAPL on a day of March 2026."""
    return {"sym": "AAPL", "t": 1_772_550_000_000 + (day - 3) * 86_400_000} | fields


def test_two_days_of_trades_with_the_same_ids_are_all_new():
    """The second day of a stream that runs overnight was taken for a copy of the first, trade by trade."""
    trades = read(
        *(on(3, ev="T", x=4, i=str(number), p=10, s=number) for number in range(1, 51)),
        *(on(4, ev="T", x=4, i=str(number), p=11, s=2 * number) for number in range(1, 51)),
    )
    assert seen()(list(trades)) == trades


def test_two_days_of_quotes_with_the_same_numbers_are_all_new():
    """As with the trades; a print of the first day that comes on the second is still of the first."""
    quotes = read(*(on(day, ev="Q", bp=day, q=number) for day in (3, 4) for number in range(5001, 5301)))
    memory = seen()
    assert memory(list(quotes)) == quotes
    assert memory(read(on(3, ev="Q", bp=3, q=5300), on(4, ev="Q", bp=4, q=5001))) == []
    late = read(on(3, ev="Q", bp=3, q=5301))
    assert memory(late) == late
