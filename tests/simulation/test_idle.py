import pytest

from tests.simulation.model import judge_wakeups
from tests.simulation.schedule import Schedule, World
from tests.simulation.world import Run


@pytest.mark.parametrize("connections", [1, 3])
def test_a_quiet_minute_wakes_threads_for_what_is_due_alone(connections):
    """A stream runs for months: a poll that looks fifty times a second is what drains a laptop."""
    world = World(connections=connections, redis=True, quick=False)
    run = Run(Schedule(1, world, ()))
    run.begin()
    run.kernel.run(30.0)
    # Of whoever leads the loop: a look at lateness each second, three pings and three answers of each
    # connection, two looks at the pool. Nobody else has anything to do.
    budget = {"tickbraid-": 60 + 6 * connections + 2}
    counts = run.wakeups(60.0)
    assert sum(counts.values()) >= 60
    assert list(judge_wakeups(counts, budget, 1.0, run.true_ns)) == []
    assert sum(counts.values()) <= budget["tickbraid-"]
