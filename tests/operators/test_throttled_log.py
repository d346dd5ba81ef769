from operators.throttled_log import ThrottledLog
from tests.operators.fakes import in_threads


def test_one_line_an_interval(caplog):
    """Ten thousand exceptions a second are one line in ten seconds, which says how many there were."""
    now_s = [100.0]
    log = ThrottledLog("it raised", interval_s=10, monotonic=lambda: now_s[0])
    for second in (100, 105, 109.9, 110, 130):
        now_s[0] = second
        log(ValueError(second))
    assert [record.message for record in caplog.records] == [
        "it raised",
        "it raised (2 more since the last line)",
        "it raised",
    ]
    assert [record.exc_info[1].args for record in caplog.records] == [(100,), (110,), (130,)]


def test_three_threads_make_one_line(caplog, eager_switching):
    """Threads that fail at once do not each have their line."""
    log = ThrottledLog("it raised", monotonic=lambda: 0.0)
    in_threads(*[lambda: [log(ValueError()) for _ in range(50)]] * 3)
    assert len(caplog.records) == 1
