from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.massive.decode import decode_message
from pipeline.massive.frames import Frames

TRADE, QUOTE, BAR = (
    b'{"ev":"T","sym":"A","p":1,"t":1}',
    b'{"ev":"Q","sym":"A","t":1}',
    b'{"ev":"A","sym":"A","c":1,"e":1}',
)
ELEMENTS = st.lists(st.sampled_from([TRADE, QUOTE, BAR]), max_size=4)
CUTS = st.none() | st.integers(1, 60)


def messages_of(parts):
    """Make messages, some of which break off: of each the bytes, and the elements that are whole in it."""
    for elements, cut in parts:
        message = (b"[%b]" % b",".join(elements))[:cut]
        whole, rest = [], message.removeprefix(b"[")
        for element in elements:
            if not rest.startswith(element):
                break
            whole.append(element)
            rest = rest[len(element) :].removeprefix(b",")
        yield message, whole


@given(st.lists(st.tuples(ELEMENTS, CUTS), max_size=6))
@example([([TRADE], 20), ([TRADE, QUOTE], None)])
@example([([TRADE], len(TRADE)), ([TRADE], None)])
@example([([QUOTE], 8), ([TRADE], None)])
def test_only_quotes_are_given_up_whatever_breaks_off(parts):
    """In a burst a trade would be lost because the message before it was torn, and nobody would be told."""
    made = [*messages_of(parts)]
    frames = Frames("a", 5, [message for message, _ in made], sum(len(message) for message, _ in made))
    kept, count = frames.without_quotes()
    ticks = [tick for message in kept.messages for tick in decode_message(message)[0]]
    expected = [element for _, whole in made for element in whole if element != QUOTE]
    assert [tick.event_type for tick in ticks] == [element[7:8].decode() for element in expected]
    assert len(ticks) <= count == kept.count_elements() <= frames.count_elements()
    assert (kept.received_ns, kept.thinned, kept.size_bytes) == (5, True, sum(map(len, kept.messages)))
