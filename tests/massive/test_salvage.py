import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.massive import decode, salvage
from pipeline.massive.decode import decode_message
from pipeline.massive.salvage import BITE_BYTES, count, count_plain, count_statuses, pieces, take_bite
from tests.massive.odd_messages import MESSAGES, PATTERNS

TRADE = b'{"ev":"T","sym":"A","p":1,"t":1}'


class Meter:
    """Stands before a function or a pattern and adds up the bytes that it is given."""

    def __init__(self, inner):
        self.inner = inner
        self.bytes = self.calls = 0

    def __call__(self, data):
        self.bytes += len(data)
        self.calls += 1
        return self.inner(data)

    def split(self, data):
        return Meter.__call__(self, data)


@settings(max_examples=100)
@given(MESSAGES)
def test_what_is_plain_has_so_many_elements(message):
    """The quick count must be right wherever it is allowed, however broken the elements are."""
    plain = count_plain(message)
    if plain:
        found = pieces(message)
        assert plain == len(found.elements) + found.torn + found.others
        assert count(message) == plain - count_statuses(message)


@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS.keys())
def test_no_pattern_is_looked_at_more_than_a_few_times(pattern, monkeypatch):
    """One message of 1 MiB stopped all connections for 39 s: each byte is given to a few calls.

    Each of these calls has a bite at most, so that even within one nothing can grow with the message.
    """
    meters = []

    def metered(module, name, inner=None):
        meter = Meter(inner or getattr(module, name))
        meters.append(meter)
        monkeypatch.setattr(module, name, meter)
        return meter

    metered(salvage, "_OBJECT", salvage._OBJECT.split)
    metered(salvage, "_decode_raw_array")
    metered(decode, "_decode_array")
    tried = metered(decode, "decode_element")
    looked_at = []
    for size in (150_000, 300_000):
        for meter in meters:
            meter.bytes = meter.calls = 0
        message = b"[" + TRADE + b"," + pattern * (size // len(pattern))
        elements, rejects = decode_message(message)
        assert len(rejects) <= 3
        assert tried.calls <= len(elements) + sum(reject.times for reject in rejects)
        looked_at.append(sum(meter.bytes for meter in meters) / len(message))
    assert looked_at[1] <= 8
    assert looked_at[1] <= 1.2 * looked_at[0]


@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS.keys())
def test_a_bite_ends_soon_and_gets_on(pattern):
    """A bite that is too long keeps the other sockets waiting; one that does not get on, for ever."""
    message = b"[" + TRADE + b"," + pattern * (300_000 // len(pattern)) + b"," + TRADE + b"]"
    position, bites = 0, 0
    while position < len(message):
        bite, end = take_bite(message, position)
        assert len(bite) <= BITE_BYTES + 2
        assert end > position
        position, bites = end, bites + 1
    assert bites <= 3 * len(message) / BITE_BYTES + 3


@pytest.mark.parametrize("pattern", [b"0,", b"{},", b'{"ev"', b'{"ev":0},', b"[", b'{"a":'])
def test_rejects_take_no_memory(pattern):
    """16 MiB of noughts took 1 GiB: what a message takes in bites does not grow with it."""
    peaks = []
    for size in (150_000, 300_000):
        message = b"[" + pattern * (size // len(pattern))
        tracemalloc.start()
        try:
            decode_message(message)
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    assert peaks[1] <= 1.3 * peaks[0] + 100_000
    assert peaks[1] <= 200 * BITE_BYTES


@given(
    st.integers(0, 3), st.sampled_from([b"", b"[", b"[{", b'"', b'{"ev":"T","sym":"A', b"\\", b"17,", b"}:"])
)
def test_neighbours_of_what_is_broken_are_found(before, broken):
    """One bad element never costs its neighbours, wherever its quotation marks and braces are."""
    message = b"[" + (TRADE + b",") * before + broken + TRADE + b"," + TRADE + b"]"
    elements, _ = decode_message(message)
    assert len(elements) == before + 2


def test_a_large_message_has_all_its_ticks():
    """What the other side made of 400 KB of ticks, in either spelling, comes whole and in order."""
    for form in (b'{"ev":"T","sym":"A","p":1,"t":%d}', b'{"sym":"}{", "ev": "T", "p":1,"t":%d}'):
        message = b"[%b]" % b",".join(form % number for number in range(10_000))
        elements, rejects = decode_message(message)
        assert rejects == []
        assert [tick.event_ms for tick in elements] == list(range(10_000))
        assert count(message) == 10_000
