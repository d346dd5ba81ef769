import re
import subprocess
import sys
from pathlib import Path

from tests.cli.conftest import DEADLINE_S

GUIDE = (Path(__file__).parents[2] / "docs/capture.md").read_text(encoding="utf-8")


def test_its_program_runs_as_it_stands(tmp_path):
    """Who copies it from the guide would get an error, or no ticks."""
    (program,) = re.findall(r"^```python\n(.*?)```", GUIDE, re.DOTALL | re.MULTILINE)
    done = subprocess.run(  # noqa: S603  # our own interpreter
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
        cwd=tmp_path,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "received_ns" in done.stdout
    assert "p99_9_ms" in done.stdout
