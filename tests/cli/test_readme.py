import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.setting_keys import KEYS, connection_key, split_connection_key
from tests.cli.conftest import COMMAND, DEADLINE_S, Running
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


def test_its_recipe_with_a_simulator_shows_ticks(tmp_path):
    """The second thing a newcomer copies would show three ticks a second, or none, and a green light."""
    (recipe,) = (it for it in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) if "tickbraid simulate" in it)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    recipe = recipe.replace(".venv/bin/tickbraid", COMMAND).replace(":8765", f":{port}")
    recipe = recipe.replace(" simulate", f" simulate --port {port}").rstrip() + " --callback builtins:print\n"
    assert recipe.count("\n") == 3
    with subprocess.Popen(  # noqa: S603  # what stands in the README
        ["/bin/sh", "-c", recipe],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        start_new_session=True,
    ) as process:
        running = Running(process)
        try:
            wait_until(lambda: len(running.out) > 500, DEADLINE_S, "ticks")
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            running.wait()
    kinds = {line.partition("(")[0] for line in running.out}
    assert {"Trade", "Quote"} <= kinds
    assert "Nobody serves" not in "".join(running.err)
