from reactivex import Subject

from pipeline.massive.frames import Frames
from pipeline.tap import Tap


def read(number):
    """Return a read that can be told from others."""
    return Frames("connection_1", number, [b"[]"], 2)


def test_who_looks_before_sees_every_read_and_nobody_else_is_disturbed():
    """A recording would lack the first reads, or the ticks of one would go astray."""
    tap, source, seen, passed = Tap(), Subject(), [], []
    leave = tap.look(seen.append)
    subscription = source.pipe(tap).subscribe(passed.append)
    assert tap.flowing
    source.on_next(one := read(1))
    leave.dispose()
    source.on_next(two := read(2))
    assert (seen, passed) == ([one], [one, two])
    subscription.dispose()
    assert not tap.flowing


def test_where_nobody_looks_there_is_nothing_in_the_way():
    """Who records nothing would pay for recording with every read."""
    tap, source, passed = Tap(), Subject(), []
    source.pipe(tap).subscribe(passed.append, on_completed=lambda: passed.append("end"))
    late = []
    tap.look(late.append)
    source.on_next(1)
    source.on_completed()
    assert (passed, late) == ([1, "end"], [])
