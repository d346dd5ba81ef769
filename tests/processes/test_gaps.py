from pipeline import status
from pipeline.processes.gaps import ProcessGaps
from pipeline.processes.messages import CloseGaps, ForgetGaps, OpenGaps

NOW_NS = 1000


class World:
    """Gaps of two processes, what they are told and what is told of them."""

    def __init__(self):
        self.orders = {"c1": [], "c2": []}
        self.losses = []
        self.gaps = ProcessGaps(self.losses.append, lambda: NOW_NS)
        for name, orders in self.orders.items():
            self.gaps.born(name, orders.append)

    def told(self):
        return [
            (loss.connection, gap.ticker, gap.from_ns, gap.to_ns) for loss in self.losses for gap in loss.gaps
        ]


def test_a_living_process_measures_its_own():
    """Only it knows each ticker's last tick; told by both, a gap would count twice."""
    world = World()
    world.gaps.open("c1", ["A", "B"], 10)
    world.gaps.close("c1", ["A"], 20)
    assert world.orders["c1"] == [OpenGaps(("A", "B"), 10), CloseGaps(("A",), 20)]
    assert world.orders["c2"] == [CloseGaps(("A",), 20)], "it may have lost it too"
    world.gaps.forget(["B"])
    assert world.orders["c1"][-1] == world.orders["c2"][-1] == ForgetGaps(("B",))
    world.gaps.flush()
    told = status.Loss(
        connection="c1",
        at_ns=1,
        where="feed",
        reason="r",
        count=None,
        from_ns=1,
        to_ns=2,
        gaps=(status.Gap("A", 1, 2),),
    )
    assert world.told() == [("c1", "A", 10, 20)], "it never said so, and is gone"
    world = World()
    world.gaps.open("c1", ["A"], 10)
    world.gaps.close("c1", ["A"], 20)
    world.gaps.told(told)
    world.gaps.flush()
    assert not world.losses


def test_what_died_with_a_process_is_told_here():
    """A gap that its process took into the grave would never be told."""
    world = World()
    world.gaps.open("c1", ["A", "B", "C"], 10)
    world.gaps.close("c1", ["B"], 20)
    world.gaps.died("c1", 8)
    assert world.told() == [("c1", "B", 8, 20)], "all that is known is when all was well"
    world.gaps.close("c1", ["A"], 30)
    assert world.told()[1:] == [("c1", "A", 8, 30)]
    assert (world.losses[1].from_ns, world.losses[1].to_ns, world.losses[1].count) == (8, 30, None)
    world.gaps.flush()
    assert world.told()[2:] == [("c1", "C", 8, NOW_NS)]


def test_a_process_that_is_lost_loses_what_it_carried():
    """Its successor knows nothing of it and could not tell."""
    world = World()
    world.gaps.died("c1", 8)
    world.gaps.open("c1", ["A", "B"], 10)
    world.gaps.born("c1", world.orders["c1"].append)
    world.gaps.close("c1", ["A", "B"], 30)
    assert world.told() == [("c1", "A", 10, 30), ("c1", "B", 10, 30)]
    assert len(world.losses) == 1
    world.gaps.died("c1", 40)
    world.gaps.flush()
    assert len(world.losses) == 1


def test_what_nobody_wants_any_more_is_forgotten():
    """A removed ticker would be reported as missing until the end of the day."""
    world = World()
    world.gaps.died("c1", 8)
    world.gaps.open("c1", ["A"], 10)
    world.gaps.forget(["A"])
    world.gaps.close("c1", ["A"], 30)
    world.gaps.flush()
    assert not world.losses


def test_a_gap_never_ends_before_it_begins():
    """Two clocks that disagree by a little would make a gap of less than nothing."""
    world = World()
    world.gaps.died("c1", 8)
    world.gaps.open("c1", ["A"], 10)
    world.gaps.close("c1", ["A"], 5)
    assert world.told() == [("c1", "A", 10, 10)]
