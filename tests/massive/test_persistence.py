import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.massive.persistence import Backoff, Persistence


@pytest.mark.parametrize("attempt", [1, 3, 6])
def test_a_herd_spreads_out(attempt):
    """A hundred programs lose the server in the same second: they must not come back in the same one."""
    delays = []
    for seed in range(100):
        backoff = Backoff(Persistence(), random.Random(seed).random)
        for _ in range(attempt):
            backoff.begin()
        delays.append(backoff.delay_s())
    bound_s = min(30.0, 2.0 ** (attempt - 1))
    tenths = Counter(int(10 * delay_s / bound_s) for delay_s in delays)
    assert set(tenths) == set(range(10))
    assert max(tenths.values()) <= 25


@given(st.integers(0, 10_000), st.floats(0, 0.999), st.floats(0.01, 10), st.floats(10, 100))
def test_a_delay_is_never_above_its_bound(attempts, draw, base_s, max_s):
    """After a night of failing attempts the doubling must neither overflow nor exceed the maximum."""
    backoff = Backoff(Persistence(base_delay_s=base_s, max_delay_s=max_s), lambda: draw)
    backoff.attempt = attempts
    assert 0 <= backoff.delay_s() <= max_s


def test_a_pause_that_the_server_asks_for_does_not_bring_the_herd_back_at_once():
    """It says "in 30 s" to a hundred programs: the random delay must come on top."""
    backoff = Backoff(Persistence(), random.Random(1).random)
    backoff.attempt = 5
    delays = [backoff.delay_s(30.0) for _ in range(100)]
    assert min(delays) >= 30.0
    assert len({int(delay_s) for delay_s in delays}) > 8


def test_retries_are_counted_from_the_last_steady_session():
    """A limit of three must not be used up over a month of short troubles."""
    backoff = Backoff(Persistence(max_retries=3), lambda: 0.5)
    for _ in range(3):
        backoff.begin()
    assert not backoff.exhausted
    backoff.begin()
    assert backoff.exhausted
    backoff.session_lasted(59.9)
    assert backoff.exhausted
    backoff.session_lasted(60.0)
    assert not backoff.exhausted
