from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.massive.simulator import Tally

COUNTS = st.dictionaries(st.sampled_from(["T.AAPL", "T.BRK.B", "AM.AAPL", "A.AAPL"]), st.integers(1, 9))
TALLIES = st.builds(
    Tally,
    channels=COUNTS.map(Counter),
    frames=st.integers(0, 9),
    repeated_elements=st.integers(0, 9),
    malformed=st.dictionaries(st.sampled_from(["null", "number"]), st.integers(1, 9)).map(Counter),
    pings=st.integers(0, 9),
    largest_request=st.integers(0, 9),
    evictions=st.integers(0, 9),
)


@given(st.lists(TALLIES, max_size=5))
@settings(max_examples=40)
def test_sum_of_the_clients_is_the_total(tallies):
    """The report of the server would contradict those of its clients."""
    total = Tally()
    for tally in tallies:
        total.add(tally)
    assert total.elements == total.types.total() == sum(tally.elements for tally in tallies)
    for name in ("frames", "repeated_elements", "pings", "evictions"):
        assert getattr(total, name) == sum(getattr(tally, name) for tally in tallies)
    assert total.malformed.total() == sum(tally.malformed.total() for tally in tallies)
    assert total.largest_request == max((tally.largest_request for tally in tallies), default=0)


def test_types_are_split_at_the_first_dot():
    """`AM.AAPL` would count as `A`, or `T.BRK.B` as a type of its own."""
    tally = Tally(channels=Counter({"AM.AAPL": 2, "A.AAPL": 3, "T.BRK.B": 4}))
    assert tally.types == {"AM": 2, "A": 3, "T": 4}


def test_copy_is_a_snapshot():
    """A report would change while it is being read."""
    tally = Tally(channels=Counter({"T.A": 1}))
    copied = tally.copy()
    tally.channels["T.A"] += 1
    assert copied == Tally(channels=Counter({"T.A": 1}))
