from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.massive.protocol import ServerStatus
from tests.massive.odd_messages import (
    MESSAGES,
    decoded,
    frames_of,
    hold_against_the_decoder,
    hold_bites_against_the_whole,
    small_bites,
)

TRADE = b'{"ev":"T","sym":"A","p":1,"t":1}'
QUOTE = b'{"ev":"Q","sym":"A","t":1}'


@settings(max_examples=150)
@given(st.lists(MESSAGES, max_size=3))
@example([b'[{"ev": "T","sym":"A","p":1,"t":1},{"ev": "Q","sym":"A","t":1}]'])
@example([b'[{"sym":"A","ev":"T","p":1,"t":1}]'])
@example([b'[{"ev":"T","sym":"}","p":1,"t":1}]'])
@example([b'[{"ev":"T","sym":"A","p":1,"t":1,"x":{"ev":"Q"}}]'])
@example([b'[{"ev":"\\u0051","sym":"A","t":1}]'])
@example([b'[{"ev":"Q","sym":"A","p":1,"t":1,"ev":"T"},{"ev":"T","sym":"A","p":1,"t":1,"\\u0065v":"Q"}]'])
@example(
    [
        b'[{"ev":"C","p":"EUR/USD","a":1,"t":1},{"ev":"XQ","pair":"A","t":1},{"ev":"XT","pair":"A","p":1,"t":1}]'
    ]
)
@example([b'[{"ev": "C","p":"EUR/USD","a":1,"t":1},{"ev": "XQ","pair":"A","t":1},{"ev":"CA","pair":"A"}]'])
@example([b"[%b" % TRADE[:20], b"[%b,%b]" % (TRADE, QUOTE)])
@example([b"[%b" % TRADE, b"[%b]" % TRADE])
@example([b"[%b" % QUOTE[:8], b"[%b]" % TRADE])
def test_counting_and_thinning_see_what_the_decoder_sees(messages):
    """In a burst a trade in another spelling was lost untold, or cut off at a brace in a text."""
    hold_against_the_decoder(messages)


@settings(max_examples=100)
@given(st.lists(MESSAGES, max_size=3))
def test_in_bites_too(messages):
    """The same for a large message: what waits and what comes of it must be the same number."""
    with small_bites():
        hold_against_the_decoder(messages)


@settings(max_examples=100)
@given(st.lists(MESSAGES, min_size=1, max_size=3), st.booleans())
def test_bites_are_the_whole(messages, count_first):
    """A large message in bites must neither lose nor make up an element, and what is left counts right."""
    with small_bites():
        hold_bites_against_the_whole(messages, count_first=count_first)


@given(st.lists(st.sampled_from([TRADE, QUOTE]), min_size=1, max_size=4))
def test_the_feeds_own_spelling_takes_no_decoding(elements):
    """Counting and giving up are what is done when there is the least time."""
    frames = frames_of([b"[%b]" % b",".join(elements)])
    kept, count = frames.without_quotes()
    assert count == elements.count(TRADE)
    assert kept.messages == ([b"[%b]" % b",".join([TRADE] * count)] if count else [])
    assert not any(isinstance(each, ServerStatus) for each in decoded(frames)[0])
