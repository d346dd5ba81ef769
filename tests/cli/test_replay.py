import json
import signal
from unittest.mock import Mock

import pytest

from pipeline.capture import load_ticks
from pipeline.capture.layout import Folder
from pipeline.capture.survey import survey
from pipeline.cli.app import main
from pipeline.cli.replay import _watch
from pipeline.cli.stop import Stop
from pipeline.massive.simulator import Options, Simulator, SyntheticFeed
from tests.capture.worlds import make_capture, of_feed, replay, some_reads
from tests.conftest import wait_until

KEY = "k-3f9a-secret"
COUNT = 400


@pytest.fixture
def recorded(tmp_path):
    """A capture of two connections."""
    make_capture(tmp_path / "recorded", some_reads())
    return tmp_path / "recorded"


def test_what_run_records_is_verified_and_replayed_to_the_same(start, tmp_path):
    """Who records a day with the command could not do anything with it."""
    feed = SyntheticFeed(["AAPL", "MSFT"], rate=5000, count=COUNT, event_types=("T", "Q"))
    with Simulator([feed], Options(keys=frozenset({KEY}))) as simulator:
        running = start(
            *("run", "--record", str(tmp_path / "day")),
            USE_MASSIVE_API="true",
            MASSIVE_API_KEY=KEY,
            MASSIVE_WEBSOCKET_URL=simulator.url,
            MASSIVE_EVENT_TYPES="T,Q",
            WEBSOCKET_CONNECTION_1_SYMBOLS="AAPL,MSFT",
            CAPTURE_ROTATE_S="0.2",
        )
        assert simulator.finished.wait(30)
        wait_until(lambda: _rows(tmp_path / "day") == COUNT, 30)
        running.process.send_signal(signal.SIGTERM)
        code, out, err = running.wait()
    assert code == 0
    assert f"recorded into {tmp_path / 'day'}" in err
    assert [line.split()[1] for line in out.splitlines() if line.startswith("capture")] == [str(COUNT)]
    code, out, _ = start("captures", str(tmp_path / "day")).wait()
    assert code == 0
    assert "every file is as it was written" in out
    code, out, err = start(
        "replay", str(tmp_path / "day"), "--speed", "max", "--record", str(tmp_path / "again")
    ).wait()
    assert code == 0
    assert f"ticks of {tmp_path / 'day'}, replayed" in err
    assert "connection_1: 4 channels confirmed" in err, "what happened then is told again"
    assert of_feed(tmp_path / "again").equals(of_feed(tmp_path / "day"))
    for file in (tmp_path / "day").rglob("*.parquet"):
        assert KEY.encode() not in file.read_bytes()


def test_the_bar_comes_to_the_end_where_the_replay_ends_before_it_is_drawn_again(capfd):
    """A replay that is over would look as if something had been left out."""
    replayed = Mock()
    replayed.progress.return_value = (7, 7)
    with Stop() as stop:
        stop.ring()
        _watch(replayed, stop, shown=True)
    assert "100%" in capfd.readouterr().err


def _rows(path):
    try:
        return load_ticks(path).height
    except Exception:
        return 0


def test_the_callback_has_every_tick_and_the_account_is_told(start, recorded, tmp_path):
    """A strategy could not be tried on a recorded day from the command line."""
    (tmp_path / "mine.py").write_text("def on_tick(tick): print(tick.ticker)\n")
    ticks, accounts, _ = replay(recorded)
    running = start("replay", str(recorded), "--speed", "max", "--callback", "mine:on_tick")
    code, out, err = running.wait()
    assert code == 0, err
    lines = out.splitlines()
    assert lines[: len(ticks)] == [tick.ticker for tick in ticks]
    duplicates = sum(account.deduplicated for account in accounts["callback"].values())
    account = next(line.split() for line in lines if line.startswith("callback"))
    assert account[3::2] == [str(len(ticks)), str(duplicates), "0", "0", "0", "0"]


def test_what_went_wrong_is_json_among_json(start, recorded, tmp_path):
    """A program that reads the lines would break on the one that matters."""
    (tmp_path / "mine.py").write_text("def on_tick(tick): raise ValueError('mine')\n")
    running = start(
        *("replay", str(recorded), "--speed", "max", "--callback", "mine:on_tick", "--log-format", "json")
    )
    code, _, err = running.wait()
    last = json.loads(err.splitlines()[-1])
    assert (code, last["event"]) == (1, "Error")
    assert "ValueError: mine" in last["message"]


def test_ctrl_c_ends_it_with_a_balanced_account(start, tmp_path):
    """A replay at the speed of the day could not be ended, or would be reported as an error."""
    make_capture(tmp_path / "slow", some_reads(30, step_ns=1_000_000_000))
    running = start("replay", str(tmp_path / "slow"), "--log-format", "json")
    running.wait_for('"replay":')
    running.process.send_signal(signal.SIGINT)
    code, out, err = running.wait()
    assert (code, json.loads(err.splitlines()[0])["event"]) == (0, "Started")
    assert json.loads(out)["subscribers"]["batches"]["imbalance"] == 0


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["none"], 2, "a directory that holds a capture"),
        ([".", "--speed", "fast"], 2, "or max"),
        ([".", "--from", "noon"], 2, "REPLAY_FROM"),
        (["."], 2, "there is nothing to replay"),
    ],
)
def test_what_cannot_be_replayed_is_said_in_a_sentence(monkeypatch, capsys, arguments, code, words):
    """A typing mistake would come as a traceback."""
    monkeypatch.setattr("sys.argv", ["tickbraid", "replay", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    err = capsys.readouterr().err
    assert ended.value.code == code
    assert words in err
    assert "Traceback" not in err


def test_the_simulator_serves_what_was_recorded(start, recorded, tmp_path):
    """A client in another language could not be tried on a recorded day."""
    serving = start("simulate", "--port", "0", "--replay", str(recorded), "--speed", "inf", "--json")
    serving.wait_for("Listening on ")
    url = "".join(serving.err).split("Listening on ")[1].strip()
    running = start(
        *("run", "--record", str(tmp_path / "served")),
        USE_MASSIVE_API="true",
        MASSIVE_API_KEY=KEY,
        MASSIVE_WEBSOCKET_URL=url,
        MASSIVE_EVENT_TYPES="T,Q,A,AM",
        WEBSOCKET_CONNECTION_1_SYMBOLS="AAPL,MSFT,BRK.B",
    )
    code, out, _ = serving.wait()
    assert (code, json.loads(out)["feed_errors"]) == (0, [])
    running.process.send_signal(signal.SIGTERM)
    assert running.wait()[0] == 0
    assert load_ticks(tmp_path / "served").height == len(replay(recorded)[0])
    assert not survey(tmp_path / "served").damage


def test_a_capture_of_which_nothing_can_be_read_is_not_called_whole(tmp_path, start):
    """A recording that was killed before its first file would be said to be as it was written."""
    folder = Folder(tmp_path / "day")
    folder.begin("ticks", 0, 1).write_bytes(b"PAR1 and no more")
    folder.close()
    code, out, err = start("captures", str(tmp_path / "day")).wait()
    assert code == 1
    assert "as it was written" not in out
    assert err == f"Error: {tmp_path / 'day'}: there is nothing that can be read\n"
