import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.allowance import FIRST_TRY_S, LATER_TRIES_S, SWAPS_MAX, Allowance

NAMES = "abcde"


def entered(*names, at_s=0.0):
    """Return an allowance with these in."""
    allowance = Allowance()
    for name in names:
        allowance.comes(name)
        allowance.enters(name, at_s)
    return allowance


def test_the_one_that_just_came_is_named():
    """Who reads the log must see that it was our own doing, and whose."""
    allowance = entered("a", "b")
    allowance.comes("c")
    verdict = allowance.evict("a", 100.0)
    assert (verdict.by, verdict.places, verdict.other_program) == ("c", 2, False)
    allowance.enters("c", 100.1)
    verdict = allowance.evict("b", 104.0)
    assert (verdict.by, verdict.places, verdict.other_program) == ("c", 1, True), "two had been up together"


def test_nobody_of_ours_just_came():
    """A notebook somewhere uses the key: the log must not blame our settings."""
    verdict = entered("a", "b", "c").evict("b", 1000.0)
    assert (verdict.by, verdict.places, verdict.other_program) == (None, 2, True)
    assert verdict.next_try_s == FIRST_TRY_S


def test_the_newest_was_refused():
    """The account has no more places: that is what it allows, and nobody else's doing."""
    allowance = entered("a", "b")
    allowance.comes("c")
    verdict = allowance.evict("c", 0.1)
    assert (verdict.by, verdict.places, verdict.other_program) == (None, 2, False)


def test_the_only_one_was_refused():
    """An account allows at least one, so somebody else has it."""
    allowance = Allowance()
    allowance.comes("a")
    verdict = allowance.evict("a", 0.0)
    assert (verdict.places, verdict.other_program, verdict.next_try_s) == (0, True, FIRST_TRY_S)


def test_a_place_that_is_given_up_is_tried_at_once():
    """One has its key refused for good; the one that waits need not wait for its five minutes."""
    allowance = entered("a", "b")
    allowance.evict("b", 0.1)
    assert allowance.look(1.0) is None
    allowance.gives_up("a", 1.0)
    assert allowance.look(1.0) == "b"


def test_one_that_dials_in_vain_keeps_its_turn():
    """While one tries, however long the network keeps it, no second one may."""
    allowance = entered("a", "b", "c")
    allowance.evict("b", 0.1)
    allowance.evict("c", 0.2)
    assert allowance.look(61.0) == "b"
    for now_s in range(61, 4000, 7):
        allowance.leaves("b", float(now_s))
        assert allowance.next_look_s() is None
    allowance.enters("b", 4000.0)
    assert allowance.look(4059.9) is None
    assert allowance.look(4060.1) == "c"


@settings(max_examples=150)
@given(
    configured=st.integers(2, 5),
    places=st.lists(st.integers(0, 5), min_size=1, max_size=6),
    newest_goes=st.booleans(),
    data=st.data(),
)
def test_whatever_the_server_allows_nobody_fights(configured, places, newest_goes, data):
    """Tries come one at a time and minutes apart; ours take the free places and stop taking each other's."""
    allowance, inside, waiting, tries = Allowance(), [], [], []

    def evict_over(limit, now_s):
        while len(inside) > limit:
            gone = inside.pop(-1 if newest_goes else 0)
            waiting.append(gone)
            allowance.evict(gone, now_s)

    for name in NAMES[:configured]:
        allowance.comes(name)
        allowance.enters(name, 0.0)
        inside.append(name)
        evict_over(places[0], 0.0)
    now_s = 0.0
    for limit in places:
        evict_over(limit, now_s)  # another program came
        end_s = now_s + data.draw(st.integers(1, 3)) * 3600
        costs = 0
        while (due_s := allowance.next_look_s()) is not None and due_s <= end_s:
            now_s = max(now_s, due_s)
            name = allowance.look(now_s)
            if name is None:
                continue
            assert name in waiting
            tries.append(now_s)
            waiting.remove(name)
            allowance.comes(name)
            allowance.enters(name, now_s + 1)
            inside.append(name)
            siblings = set(inside) - {name}
            evict_over(limit, now_s + 1.1)
            costs += len(siblings - set(inside))
            now_s += 1.1
        assert costs <= SWAPS_MAX
        now_s = end_s
        if not inside and limit > 0:
            raise AssertionError("nobody is in, though there is room")
    gaps_s = [later - earlier for earlier, later in itertools.pairwise(tries)]
    assert all(gap_s >= min(FIRST_TRY_S, LATER_TRIES_S) for gap_s in gaps_s)
