import re
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.setting_keys import KEYS, connection_key, split_connection_key
from tests.cli.conftest import DEADLINE_S, Running
from tests.conftest import wait_until

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def test_the_program_in_it_runs_as_it_stands(tmp_path):
    """The first thing a newcomer copies would not work."""
    (program,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(program.splitlines()) == 8
    with subprocess.Popen(  # noqa: S603  # our own interpreter
        [sys.executable, "-u", "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
    ) as process:
        running = Running(process)
        wait_until(lambda: any(line.startswith("AAPL A ") for line in running.out), DEADLINE_S)
        process.stdin.write("\n")
        process.stdin.flush()
        code, out, err = running.wait()
    assert (code, err) == (0, "")
    assert re.fullmatch(r"received \d+ = delivered \d+ .* \+ queued 0", out.splitlines()[-1])


@pytest.mark.parametrize(
    ("name", "default"), re.findall(r"^\| `([A-Z0-9_]+)` \|(.*?)\|", README, re.MULTILINE)
)
def test_its_settings_are_as_it_says(name, default):
    """Users would set a key that does nothing, or trust a default that is another."""
    number, part = split_connection_key(name) or (0, "")
    key = connection_key(number, part) if number else KEYS[name]
    assert key.kind.read(default.strip(" `")) == key.kind.read(key.default)
