import pytest

from pipeline.massive.simulator import Faults, Options


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("repeat", 1.1),
        ("malformed", -0.1),
        ("truncated", 2),
        ("pings", -1),
        ("ack_loss", 7),
        ("fragments", 0),
        ("ack_delay_s", -1),
        ("drop_auth", -1),
        ("lose_auth", -1),
        ("greeting_delay_s", -1),
        ("auth_delay_s", -1),
    ],
)
def test_bad_faults_are_named(name, value):
    """A percentage given as 5 rather than 0.05 would repeat every frame."""
    with pytest.raises(ValueError, match=name):
        Faults(**{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [("max_connections", 0), ("start_after", -1), ("auth_timeout_s", 0), ("slow_consumer_bytes", -5)],
)
def test_bad_options_are_named(name, value):
    """A limit of zero would lock every client out."""
    with pytest.raises(ValueError, match=name):
        Options(**{name: value})


@pytest.mark.parametrize(
    "changes", [{"repeat": 0.1}, {"malformed": 0.1}, {"truncated": 0.1}, {"pings": 0.1}, {"fragments": 2}]
)
def test_faults_of_data_take_the_slow_way(changes):
    """A fault that is asked for would not happen."""
    assert Faults(**changes).touches_data
    assert not Faults().touches_data
