"""Under the monkey-patches of gevent and eventlet a stream works, and their time-outs cost a tick each."""

import subprocess
import sys

import pytest

SCRIPT = """
import {module}
{patch}
from {module} import Timeout
import time
from pipeline import build_pipeline, status

got, failed = [], []

def on_tick(tick):
    if len(got) == 5:
        got.append("timed out")
        with Timeout(0.01):
            time.sleep(5)
    if len(got) == 9:
        got.append("left behind")
        Timeout(0.05)  # never cancelled: it may strike wherever this thread is by then
    got.append(tick)

def wait_for(condition):
    for _ in range(1000):
        if condition():
            return
        time.sleep(0.01)
    raise SystemExit("it did not come true")

config = {{"SYNTHETIC_UPDATE_INTERVAL": 0.01, "MASSIVE_EVENT_TYPES": "T"}}
with build_pipeline(config) as stream:
    stream.status.subscribe(failed.append)
    stream.subscribe(on_tick)
    wait_for(lambda: len(got) > 60)
    wait_for(lambda: any(isinstance(event, status.SubscriberFailed) for event in failed))
    count = len(got)
    wait_for(lambda: len(got) > count + 60)
account = stream.account("callback")
assert account.imbalance == 0 and account.queued == 0, account
assert 1 <= account.failed <= 2, account
assert account.delivered >= len(got) - 4, account
print("well")
"""


@pytest.mark.parametrize(
    ("module", "patch"),
    [
        ("gevent", "from gevent import monkey; monkey.patch_all()"),
        ("eventlet", "eventlet.monkey_patch()"),
    ],
)
def test_it_works_and_a_time_out_is_a_failure_like_any_other(module, patch):
    """Their time-outs are no Exception: one ended the subscriber's thread, and health said that it lives."""
    pytest.importorskip(module)
    done = subprocess.run(  # noqa: S603  # ours
        [sys.executable, "-W", "ignore", "-c", SCRIPT.format(module=module, patch=patch)],
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )
    assert done.stdout == "well\n", done.stderr
