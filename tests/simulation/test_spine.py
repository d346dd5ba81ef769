"""The whole stream in virtual time, on one thread."""

import pytest

from tests.simulation.thin import ThinWorld


@pytest.mark.parametrize("seed", range(3))
def test_the_stream_runs_on_one_thread_and_the_same_each_time(seed):
    """A seed that fails once must fail again, or nobody can mend what it shows."""
    traces = []
    for _ in range(2):
        world = ThinWorld(seed, connections=3)
        world.start()
        world.kernel.run(60)
        world.stop()
        assert len(world.ticks) == world.made > 100
        assert world.kernel.left() == []
        traces.append(world.kernel.trace())
    assert traces[0] == traces[1]
