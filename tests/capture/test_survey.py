import pytest
from typer.testing import CliRunner

from pipeline.capture.layout import FRAMES, TICKS, Folder, parts
from pipeline.capture.survey import survey
from pipeline.cli.app import app
from pipeline.errors import CaptureUnusable
from tests.capture.worlds import make_capture, replay, some_reads


@pytest.fixture
def captured(tmp_path):
    """A capture of both kinds, frames in several files."""
    make_capture(tmp_path / "frames only", some_reads())
    replay(tmp_path / "frames only", CAPTURE_PATH=str(tmp_path / "it"), CAPTURE_ROTATE_ROWS=20)
    return tmp_path / "it"


def command(path):
    """Run `tickbraid captures`."""
    return CliRunner().invoke(app, ["captures", str(path)])


def test_a_whole_one_is_told_in_words_with_its_counts(captured):
    """Whoever keeps captures could not tell what is in them."""
    found = survey(captured)
    frames, ticks = found.sessions
    assert (frames.rows, ticks.rows) == (len(some_reads()), sum(found.ticks.values()))
    assert frames.files > 2
    result = command(captured)
    assert (result.exit_code, result.stderr) == (0, "")
    assert f"session 1 frames: {frames.rows:,} rows in {frames.files} files" in result.stdout
    assert "connection_1: " in result.stdout
    assert "2025-11-23 16:00:00 to " in result.stdout
    assert "every file is as it was written" in result.stdout


def test_a_folder_of_captures_is_gone_through_and_one_damaged_fails_it(captured, tmp_path):
    """Who keeps one a day would have to ask for each, and a damaged one must not hide behind a whole one."""
    whole = command(tmp_path)
    assert (whole.exit_code, whole.stderr) == (0, "")
    assert whole.stdout.index(f"{tmp_path / 'frames only'}:") < whole.stdout.index(f"{captured}:")
    assert whole.stdout.count("every file is as it was written") == 2
    parts(tmp_path / "frames only", FRAMES)[0].path.write_bytes(b"")
    result = command(tmp_path)
    assert result.exit_code == 1
    assert "frames only" in result.stderr
    assert "every file is as it was written" in result.stdout


@pytest.mark.parametrize("kind", [FRAMES, TICKS])
@pytest.mark.parametrize("where", ["begin", "middle", "end"])
def test_a_single_bit_is_noticed_and_the_file_named(captured, kind, where):
    """A disk that goes bad would change prices in silence."""
    path = parts(captured, kind)[0].path
    data = bytearray(path.read_bytes())
    data[{"begin": 4, "middle": len(data) // 2, "end": -1}[where]] ^= 1
    path.write_bytes(data)
    result = command(captured)
    assert result.exit_code == 1
    assert path.name in result.stderr
    assert "damaged" in result.stdout


def test_a_file_that_is_gone_is_missed(captured):
    """Who deletes a file by mistake would compute on a day with a hole in it."""
    parts(captured, FRAMES)[1].path.unlink()
    result = command(captured)
    assert result.exit_code == 1
    assert "file 2 of the frames of session 1 is not there" in result.stderr


def test_a_file_cut_short_is_told_as_damage(captured):
    """A copy that broke off would be read as if it were whole, or as a traceback."""
    path = parts(captured, TICKS)[-1].path
    path.write_bytes(path.read_bytes()[:-10])
    assert command(captured).exit_code == 1


def test_what_was_never_finished_is_told_and_no_damage(captured):
    """After a kill every look at the capture would cry wolf, or hide what was lost."""
    folder = Folder(captured)
    folder.begin(TICKS, 0, 1).write_bytes(b"PAR1")
    folder.close()
    result = command(captured)
    assert result.exit_code == 0
    assert "not readable" in result.stdout


def test_a_directory_without_a_capture_is_said_to_be_one(tmp_path):
    """A typing mistake would be reported as a capture in which all is well."""
    with pytest.raises(CaptureUnusable, match="there is no capture"):
        survey(tmp_path)
