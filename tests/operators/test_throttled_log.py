from collections import Counter
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from operators.runtime import SYSTEM
from operators.throttled_log import KINDS_KEPT, Throttle, ThrottledLog
from tests.operators.fakes import in_threads


@given(
    steps=st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 6)), max_size=60), burst=st.integers(1, 3)
)
@settings(max_examples=100)
def test_each_is_let_through_or_told_as_held_back(steps, burst):
    """Lines would vanish from the log without a word, or be told twice."""
    now_s = 0.0
    throttle = Throttle(burst=burst, interval_s=10, runtime=replace(SYSTEM, monotonic=lambda: now_s))
    came, passed, told = Counter(), Counter(), Counter()
    for kind, wait_s in steps:
        now_s += wait_s
        came[kind] += 1
        held = throttle.admit(kind)
        if held is not None:
            passed[kind] += 1
            told[kind] += held
        if wait_s == 6:
            told.update(throttle.take_held())
    told.update(throttle.take_held(early=True))
    assert passed + told == came
    assert not throttle.take_held(early=True)


def test_a_kind_has_its_burst_in_each_interval():
    """The first lines of some trouble are the useful ones; another kind must not use them up."""
    now_s = 0.0
    throttle = Throttle(burst=2, interval_s=10, runtime=replace(SYSTEM, monotonic=lambda: now_s))
    assert [throttle.admit("a") for _ in range(4)] == [0, 0, None, None]
    assert throttle.admit("b") == 0
    now_s = 9.9
    assert throttle.admit("a") is None
    assert throttle.take_held() == {}
    now_s = 10.0
    assert throttle.take_held() == {"a": 3}
    assert throttle.admit("a") == 0


def test_kinds_without_end_take_no_memory_without_end():
    """Messages with the time in them would each be a kind for ever; what was held back is still told."""
    throttle = Throttle(runtime=replace(SYSTEM, monotonic=lambda: 0.0))
    throttle.admit("held")
    throttle.admit("held")
    for number in range(3 * KINDS_KEPT):
        throttle.admit(number)
    assert len(throttle._kinds) == KINDS_KEPT
    assert throttle.take_held(early=True) == {"held": 1}


def test_one_line_an_interval(caplog):
    """Ten thousand exceptions a second are one line in ten seconds, which says how many there were."""
    now_s = [100.0]
    log = ThrottledLog("it raised", interval_s=10, runtime=replace(SYSTEM, monotonic=lambda: now_s[0]))
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
    log = ThrottledLog("it raised", runtime=replace(SYSTEM, monotonic=lambda: 0.0))
    in_threads(*[lambda: [log(ValueError()) for _ in range(50)]] * 3)
    assert len(caplog.records) == 1
