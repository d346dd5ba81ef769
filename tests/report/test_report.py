import re
import shutil
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest

pytest.importorskip("matplotlib")

from typer.testing import CliRunner

from operators.account import Account
from pipeline.capture import latency_summary, load_ticks
from pipeline.cli.app import app
from pipeline.errors import CaptureUnusable
from pipeline.report import examine, plates_of, write_page
from pipeline.report.canvas import ms_words
from pipeline.report.page import facts
from tests.report.worlds import GAPS, record_frames, record_session, some_bars, ticks_file

FIGURES = ["account", "percentiles", "ecdf", "over-time", "heat-map", "stages", "summary", "gaps"]


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    """A capture, and the account of the stream that wrote it."""
    path = tmp_path_factory.mktemp("report") / "session"
    return path, record_session(path)


@pytest.fixture(scope="module")
def findings(session):
    """What is found in it."""
    return examine(session[0])


@pytest.fixture(scope="module")
def page(findings, tmp_path_factory):
    """The text of its page."""
    path = tmp_path_factory.mktemp("page") / "report.html"
    write_page(findings, plates_of(findings), path)
    return path.read_text(encoding="utf-8")


def rows_of(table):
    """Return the cells of a table, row by row, without its heads."""
    return [
        [unescape(cell) for cell in re.findall(r"<td[^>]*>(.*?)</td>", row)]
        for row in re.findall(r"<tr>(.*?)</tr>", table)[1:]
    ]


def test_the_account_is_that_of_the_stream_that_was_recorded(session, findings):
    """The report would tell of another session than the one that was."""
    assert findings.accounts == session[1]
    assert sum(findings.accounts.values(), Account()).deduplicated > 0


def test_a_replay_for_the_account_publishes_nothing(session, monkeypatch):
    """Who looks at yesterday's capture would publish its ticks to today's Redis, or record them."""
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1")
    monkeypatch.setenv("CAPTURE_PATH", "elsewhere")
    assert examine(session[0]).accounts == session[1]
    assert not Path("elsewhere").exists()


def test_the_page_asks_nothing_of_anybody(page):
    """It could not be sent to a colleague, or would tell others that it is read."""
    text = re.sub(r'"data:image/svg\+xml;base64,[A-Za-z0-9+/=]+"', '""', page)
    assert "//" not in text
    assert not re.search(r"<(script|link|iframe|object|embed)\b|@import|url\(", text)
    assert re.findall(r'src="([^"]*)"', text) == [""] * len(FIGURES)
    assert "content=\"default-src 'none'; img-src data:" in text
    assert '<meta name="viewport"' in text


def test_the_page_has_every_figure_with_words(page):
    """A reader would look for a figure in vain, or not know what it shows."""
    assert re.findall(r'<figure id="([^"]*)">', page) == FIGURES
    assert all(re.findall(r'<img alt="([^"]*)"', page))
    assert all(len(words) > 20 for words in re.findall(r"<figcaption>(.*?)</figcaption>", page))


def test_its_numbers_are_those_of_the_capture(session, page):
    """Who checks the page with a query would find other numbers."""
    path, accounts = session
    account, latencies = map(rows_of, re.findall(r"<table>.*?</table>", page, re.DOTALL))
    total = sum(accounts.values(), Account())
    for name, *counts in account:
        its = total if name == "all" else accounts[name]
        words = [its.received, its.delivered, its.deduplicated, its.dropped]
        words += [its.failed, its.rejected, its.queued]
        assert counts == [f"{count:,}" for count in words]
    ticks = load_ticks(path)
    expected = [
        [row.get("connection", "all"), row["stage"], f"{row['count']:,}"]
        + [ms_words(row[name]) for name in ("p50_ms", "p90_ms", "p99_ms", "p99_9_ms", "max_ms")]
        for summary in (latency_summary(ticks, by=()), latency_summary(ticks))
        for row in summary.iter_rows(named=True)
    ]
    assert latencies == expected
    assert f"<dd>{len(ticks):,} (" in page


def test_its_facts_are_those_of_the_capture(findings):
    """The time span, on which every rate depends, would be wrong."""
    told = dict(facts(findings))
    assert told["received"].endswith(f"({(findings.last - findings.first).total_seconds():,.1f} s)")
    assert told["connections"] == "connection_1, connection_2"
    assert "unfinished" not in told
    assert findings.gaps == GAPS


def test_the_same_capture_gives_the_same_page(session, page, tmp_path):
    """Nobody could tell from two reports whether anything changed."""
    again = examine(session[0])
    write_page(again, plates_of(again), tmp_path / "again.html")
    assert (tmp_path / "again.html").read_text(encoding="utf-8") == page


def test_a_name_cannot_become_markup(session, tmp_path):
    """A directory called like a tag would break the page."""
    path = tmp_path / "a <b> & c"
    shutil.copytree(session[0], path)
    its = examine(path)
    write_page(its, (), tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "a &lt;b&gt; &amp; c" in text
    assert "<b>" not in text


def test_the_command_writes_page_pdf_and_pngs(session, tmp_path):
    """One of the three would be missing, or be somewhere else than the command says."""
    arguments = ["report", str(session[0]), "-o", "out.html", "--pdf", "out.pdf", "--png", "figures"]
    result = CliRunner().invoke(app, arguments)
    assert (result.exit_code, result.stderr) == (0, "")
    names = [f"figures/{number:02}-{name}.png" for number, name in enumerate(FIGURES, start=1)]
    assert result.stdout.split() == ["out.html", "out.pdf", *names]
    pdf = (tmp_path / "out.pdf").read_bytes()
    assert pdf.startswith(b"%PDF-")
    assert len(re.findall(rb"/Type /Page\b", pdf)) == 1 + len(FIGURES)
    assert all((tmp_path / name).read_bytes().startswith(b"\x89PNG") for name in names)


def test_a_page_that_cannot_be_written_is_said_in_a_sentence(session):
    """The user would get a traceback."""
    result = CliRunner().invoke(app, ["report", str(session[0]), "-o", "no/such/place.html"])
    assert result.exit_code == 1
    assert result.stderr == "Error: cannot write no/such/place.html: No such file or directory\n"


def test_without_frames_the_account_is_not_made_up(session, tmp_path):
    """Duplicates and rejects that nobody recorded would be told as none."""
    shutil.copytree(session[0] / "ticks", tmp_path / "only" / "ticks")
    its = examine(tmp_path / "only")
    assert its.accounts is None
    write_page(its, (), tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "Frames were not" in text
    assert [plate.name for plate in plates_of(its)] == [
        name for name in FIGURES if name not in {"account", "gaps"}
    ]


def test_ticks_that_are_missing_beside_their_frames_are_told(session, tmp_path):
    """A report would pass over ticks that were lost on the way to the disk."""
    shutil.copytree(session[0] / "frames", tmp_path / "part" / "frames")
    half = load_ticks(session[0]).head(7)
    file = ticks_file(session[0])
    rewrite(half, tmp_path / "part" / file.relative_to(session[0]).parent)
    its = examine(tmp_path / "part")
    write_page(its, (), tmp_path / "page.html")
    assert "while 7 are recorded" in (tmp_path / "page.html").read_text(encoding="utf-8")


def rewrite(ticks, directory):
    """Write ticks as the one file of a capture, under the name that its checksum asks for."""
    import zlib

    directory.mkdir(parents=True)
    ticks.write_parquet(directory / "made")
    crc = zlib.crc32((directory / "made").read_bytes())
    (directory / "made").rename(directory / f"0001-000001-{crc:08x}.parquet")


def test_only_frames_are_no_ticks_and_the_way_there_is_told(tmp_path):
    """The user would not know that one command makes the ticks."""
    record_frames(tmp_path / "frames-only")
    with pytest.raises(CaptureUnusable, match=r"tickbraid replay .* --speed max --record"):
        examine(tmp_path / "frames-only")


def test_an_empty_directory_is_said_to_be_empty(tmp_path):
    """Somebody who named the wrong directory would get a traceback."""
    with pytest.raises(CaptureUnusable, match="there is no capture in"):
        examine(tmp_path)
    with pytest.raises(CaptureUnusable, match="no directory"):
        examine(tmp_path / "nowhere")


def test_a_capture_without_a_finished_file_is_said_to_be_so(tmp_path):
    """A program that was killed at once leaves one; the reason would be a library's."""
    place = tmp_path / "ticks" / "date=2025-11-23" / "hour=16"
    place.mkdir(parents=True)
    (place / ".0001-000001.writing").write_bytes(b"half")
    with pytest.raises(CaptureUnusable, match="no file was finished"):
        examine(tmp_path)


def test_a_damaged_capture_is_refused_and_the_file_named(session, tmp_path):
    """A report of half the truth would be taken for the whole."""
    shutil.copytree(session[0], tmp_path / "damaged")
    file = ticks_file(tmp_path / "damaged")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(CaptureUnusable, match=rf"is damaged.*{file.name}"):
        examine(tmp_path / "damaged")


def test_a_capture_of_the_default_types_has_its_figures(findings):
    """Who records what comes by default had an empty figure, and percentiles two seconds late."""
    plates = {plate.name: plate for plate in plates_of(replace(findings, ticks=some_bars()))}
    assert list(plates) == [
        *("account", "bars-percentiles", "bars-over-time", "bars-heat-map", "stages", "summary", "gaps")
    ]
    for name in ("bars-percentiles", "bars-over-time"):
        assert any(len(line.get_xdata()) > 2 for line in plates[name].figure.axes[0].lines), name
    assert "2 s after its second on purpose" in plates["bars-percentiles"].words
