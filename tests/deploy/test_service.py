"""The systemd unit: that it is one, what it lets the service do, and that its command runs as it says."""

import re
import shlex
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import COMMAND, start  # noqa: F401  # a fixture

UNIT = Path(__file__).parents[2] / "deploy" / "tickbraid.service"
TEXT = UNIT.read_text(encoding="utf-8")
EXPOSURE_BELOW = 3.0
analyze = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd here")


def said(name):
    """Return what the unit says of something, in order."""
    return re.findall(rf"^{name}=(.*)$", TEXT, re.MULTILINE)


@analyze
def test_systemd_takes_it(tmp_path):
    """A mistyped line would be passed over with a warning in the journal, and what it protects be open."""
    copy = tmp_path / UNIT.name
    copy.write_text(TEXT.replace("/opt/tickbraid/bin/tickbraid", "/bin/true"))
    done = subprocess.run(["systemd-analyze", "verify", copy], capture_output=True, text=True, check=False)  # noqa: S603, S607  # is on the PATH
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@analyze
def test_it_is_exposed_to_little():
    """A fault in a parser of what comes from outside would have the whole machine."""
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", str(UNIT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  # as above
    (level,) = re.findall(r"Overall exposure level for .*: ([0-9.]+)", done.stdout)
    assert float(level) < EXPOSURE_BELOW


def test_wrong_settings_stop_it():
    """It would be started again every ten seconds, for ever: the exit of an ExecStartPre prevents nothing."""
    assert said("ExecStartPre") == []
    assert "2" in said("RestartPreventExitStatus")[0].split()


@pytest.mark.parametrize(
    ("settings", "key", "words"),
    [
        (
            "USE_MASSIVE_API: true\nMASSIVE_WEBSOCKET_URL: ws://127.0.0.1:1/x\n",
            "k-3f9a-secret\n",
            "Connecting",
        ),
        ("USE_MASSIVE_API: true\nDEDUPE_WINDOW: seven\n", "k-3f9a-secret\n", None),
        ("USE_MASSIVE_API: true\n", "\n", None),
    ],
)
def test_its_command_has_settings_and_key_from_credentials(tmp_path, start, settings, key, words):  # noqa: F811  # the fixture
    """A service with a user of its own could read neither, or anybody could read the key."""
    assert said("DynamicUser") == ["yes"]
    given = {name: Path(source).name for name, source in (line.split(":") for line in said("LoadCredential"))}
    assert given == {"settings.yaml": "settings.yaml", "massive_api_key": "massive_api_key"}
    (tmp_path / "settings.yaml").write_text(settings)
    (tmp_path / "massive_api_key").write_text(key)
    (command,) = said("ExecStart")
    program, *arguments = shlex.split(command.replace("%d", str(tmp_path)))
    assert Path(program).name == Path(COMMAND).name
    (variables,) = said("Environment")
    name, value = shlex.split(variables.replace("%d", str(tmp_path)))[0].split("=", 1)
    running = start(*arguments, **{name: value})
    if words:
        running.wait_for(words)
        running.process.send_signal(signal.SIGTERM)
    code, out, err = running.wait()
    assert code == (0 if words else 2)
    assert "k-3f9a" not in out + err
