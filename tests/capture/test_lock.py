import subprocess
import sys

WINDOWS = """
import subprocess, sys, types  # of which the first asks for msvcrt to know where it is
import fcntl as real

def locking(descriptor, mode, count):  # what msvcrt's does, by what there is here
    real.lockf(descriptor, real.LOCK_EX | real.LOCK_NB, count, 0)

sys.modules["fcntl"] = None
sys.modules["msvcrt"] = types.SimpleNamespace(locking=locking, LK_NBLCK=2)
"""
EVERYTHING = """
from pathlib import Path
from pipeline import build_pipeline
from pipeline.capture import capture, load_ticks, latency_summary
from pipeline.capture.layout import Folder
from pipeline.capture.survey import survey
from pipeline.errors import CaptureUnusable
from pipeline.report import examine
from tests.conftest import wait_until

with build_pipeline({"SYNTHETIC_UPDATE_INTERVAL": 0.01}) as stream:
    capture(stream, "recorded", rotate_s=0.2)
    wait_until(lambda: stream.account("capture").delivered > 50, 20)
    if HOLD:
        other = subprocess.run([sys.executable, "-c", HOLD], capture_output=True, text=True)
        assert "records into recorded already" in other.stderr, other
assert survey("recorded").damage == ()
assert len(load_ticks("recorded")) > 50
assert latency_summary(load_ticks("recorded")).height
assert examine("recorded")
replayed = []
with build_pipeline({"REPLAY_PATH": "recorded", "REPLAY_SPEED": "max"}) as stream:
    stream.subscribe(replayed.append)
    wait_until(lambda: len(replayed) > 50, 20)
print("all of it")
"""
HOLD = WINDOWS + "from pipeline.capture.layout import Folder; Folder('recorded')"


def test_capture_replay_report_and_queries_work_without_fcntl(tmp_path, pytestconfig):
    """On Windows nothing of a capture could even be imported, not what only reads."""
    script = f"{WINDOWS}\nHOLD = {HOLD!r}\n{EVERYTHING}"
    done = subprocess.run(  # noqa: S603  # our own interpreter
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={
            "PYTHONPATH": str(pytestconfig.rootpath),
            "PATH": "/usr/bin:/bin",
            "MPLCONFIGDIR": str(tmp_path),
        },
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "all of it\n"), done.stderr
