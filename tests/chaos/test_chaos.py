"""The whole stream over real sockets that are cut, held back and left half-open, against a server's log."""

import pytest

from tests.chaos.run import Run
from tests.chaos.schedule import Event
from tests.chaos.verdict import Verdict

SHORT = (
    *("lose_acks", "rst", "half", "hang_redis", "fin"),
    *("crowd", "move_then_cut", "late_acks", "close", "rst"),
)
"""What is done in the shortest run, one after the other."""


def check(run):
    """Play a run; fail with its seed and what is wrong with it."""
    verdict = run.play()
    figures = map(str, verdict.figures().items())
    lines = [run.describe(), *figures, *verdict.clusters(), *verdict.plot(), *verdict.problems]
    print("\n".join(lines))  # noqa: T201  # the seed, and the figures, for whoever runs it again
    assert not verdict.problems, "\n".join(lines)
    return verdict


def test_no_id_is_missing_untold():
    """Whoever fills gaps from a history must be told of each; a short run, with all that may happen."""
    run = Run(2, 13.0)
    run.faults = [
        Event(2.5 + place * 0.4, kind, tuple((place * prime % 10) / 10 for prime in (3, 7, 1, 9)))
        for place, kind in enumerate(SHORT)
    ]
    check(run)
    middle = len(run.got) // 2
    whole = tuple(run.got)
    run.got[middle] = run.got[middle - 1]
    words = "; ".join(Verdict(run).problems)
    assert "1 ids untold" in words, "what is missing is not seen"
    assert "1 ids delivered twice" in words, "what comes twice is not seen"
    run.got[:] = whole
    run.slow_got.pop()
    assert "the slow one missed" in "; ".join(Verdict(run).problems), "what is not counted is not seen"


@pytest.mark.heavy
@pytest.mark.timeout(120)
@pytest.mark.parametrize("seed", [2, 3])
def test_no_id_is_missing_untold_in_a_longer_run(seed):
    """Only in a longer run outages meet: a socket dies while what another lost is still being told."""
    check(Run(seed, 40.0))


def _events(kind, *times_s):
    return [Event(at_s, kind, (at_s % 1, at_s * 3 % 1, at_s * 7 % 1, at_s * 5 % 1)) for at_s in times_s]


OUTAGES = {
    "one lost acknowledgement": (
        "answered",
        [Event(4.0, "lose_acks", (0.0, 0.0)), *_events("rst", 4.1, 6.4, 8.8, 10.5, 11.9)],
    ),
    "LULD without an answer": ("never", _events("rst", 4.1, 6.4, 8.8, 10.5, 11.9)),
    "both ends of an overlap": ("answered", _events("move_then_cut", 4.1, 5.5, 7.4, 9.3, 10.8)),
    "moved off a half-open socket": ("answered", _events("half_then_move", 4.1, 8.4, 10.6)),
}
"""What becomes of subscriptions to LULD, and what is done."""


@pytest.mark.heavy
@pytest.mark.parametrize("name", OUTAGES)
def test_a_kind_of_outage_is_told(name):
    """Each of these went untold: a gap was a ticker's, and none opened until all channels were confirmed."""
    run = Run(7, 24.0)
    run.band, run.faults = OUTAGES[name]
    run.steps = []
    assert check(run).missing, "an outage in which nothing was missing shows nothing"
