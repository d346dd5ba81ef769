"""docs/operators.md, as it stands."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

GUIDE = (Path(__file__).parents[2] / "docs" / "operators.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(
    r"^## (\w+)\n.*?```python\n(.*?)```\n\n```text\n(.*?)```", GUIDE, re.DOTALL | re.MULTILINE
)
DEADLINE_S = 60


def test_each_operator_is_shown():
    """One that is written otherwise would be left out of the next test."""
    assert [title for title, _, _ in EXAMPLES] == ["merge", "dedupe", "latency_stamp", "share", "buffered"]


@pytest.mark.parametrize(
    ("program", "printed"), [each[1:] for each in EXAMPLES], ids=[e[0] for e in EXAMPLES]
)
def test_an_example_does_what_stands_beside_it(program, printed):
    """Who composes operators on Observables of their own would copy something that fails."""
    done = subprocess.run(  # noqa: S603  # our own interpreter
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=DEADLINE_S, check=False
    )
    assert (done.stdout, done.stderr) == (printed, "")
