"""What the tests of the operators share."""

import sys

import pytest


@pytest.fixture
def eager_switching():
    """Let threads take turns every 10 µs instead of every 5 ms, so that races have a chance to show."""
    before_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before_s)
