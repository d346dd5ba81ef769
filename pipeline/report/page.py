"""A report as one HTML page that needs nothing but itself, and the words of its facts."""

import base64
import html
import io
import platform
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, fields
from importlib.metadata import version
from pathlib import Path
from string import Template
from typing import Final

import matplotlib as mpl
from matplotlib.figure import Figure

import pipeline
from operators.account import Account
from pipeline.shown import shown

from .canvas import ms_words
from .findings import Findings
from .plates import Plate

__all__ = ["facts", "front", "write_page"]

LIBRARIES: Final = ("polars", "pyarrow", "matplotlib")
LOSSES_SHOWN: Final = 50
MOMENT: Final = "%Y-%m-%d %H:%M:%S.%f"
HEADS: Final = ("count", "p50", "p90", "p99", "p99.9", "max")


def write_page(findings: Findings, plates: Iterable[Plate], path: Path) -> None:
    """Write the page: facts, account, latencies, figures; images are within, so it can be sent as it is.

    Raises:
        OSError: it cannot be written.
    """
    template = Template(Path(__file__).with_name("page.html").read_text(encoding="utf-8"))
    text = template.substitute(
        title=_html(_title(findings)),
        facts="".join(f"<dt>{_html(name)}</dt><dd>{_html(words)}</dd>\n" for name, words in facts(findings)),
        account=_account(findings),
        latency=_table(("connection", "stage"), HEADS, _latencies(findings)),
        figures="\n".join(map(_figure, plates)),
        losses=_losses(findings),
        versions=_html(_versions()),
    )
    path.write_text(text, encoding="utf-8")


def facts(findings: Findings) -> Iterator[tuple[str, str]]:
    """Yield what the capture is, as names and words."""
    ticks, survey = findings.ticks, findings.survey
    seconds = (findings.last - findings.first).total_seconds()
    yield "received", f"{findings.first:{MOMENT}} to {findings.last:{MOMENT}} UTC ({seconds:,.1f} s)"
    kinds = ticks["event_type"].value_counts().sort("count", "event_type", descending=[True, False])
    yield "ticks", f"{len(ticks):,} ({', '.join(f'{kind} {count:,}' for kind, count in kinds.rows())})"
    yield "tickers", f"{ticks['ticker'].n_unique():,}"
    yield "connections", ", ".join(findings.summary["connection"].unique().sort())
    size_bytes = sum(session.size_bytes for session in survey.sessions)
    numbers = {session.number for session in survey.sessions}
    files = sum(session.files for session in survey.sessions)
    yield (
        "capture",
        f"sessions {len(numbers):,}, files {files:,}, {size_bytes / 1e6:,.1f} MB, checksums right",
    )
    if survey.unfinished:
        yield (
            "unfinished",
            f"{len(survey.unfinished):,} files that a killed process left; they are not in this",
        )


def front(findings: Findings) -> str:
    """Return the same as lines of text of even width, for a PDF's first page."""
    lines = [_title(findings), "", *(f"{name:<12}{words}" for name, words in facts(findings)), ""]
    lines += [f"{name}: {account}" for name, account in (findings.accounts or {}).items()]
    lines += ["", "Latency (ms)", f"{'':<24}" + "".join(f"{head:>11}" for head in HEADS)]
    lines += [
        f"{connection:<15}{stage:<9}" + "".join(f"{value:>11}" for value in values)
        for connection, stage, *values in _latencies(findings)
    ]
    return "\n".join(map(shown, [*lines, "", _versions()]))


def _html(text: str) -> str:
    """Return a text for the page: what a server named is shown, and is neither a tag nor a line end."""
    return html.escape(shown(text))


def _title(findings: Findings) -> str:
    return f"Tickbraid report: {findings.path}"


def _versions() -> str:
    libraries = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    return f"tickbraid {pipeline.__version__}, Python {platform.python_version()}, {libraries}"


def _account(findings: Findings) -> str:
    recorded = len(findings.ticks)
    if findings.accounts is None:
        return (
            f"<p>{recorded:,} ticks were recorded. Frames were not, so nobody knows what came beside them: "
            "duplicates, and elements that are no tick.</p>"
        )
    total = sum(findings.accounts.values(), Account())
    rows = [(name, *_counts(account)) for name, account in (*findings.accounts.items(), ("all", total))]
    heads = [field.name for field in fields(Account)]
    words = "Of a replay of the recorded frames, with the default settings."
    if total.delivered != recorded:
        words += (
            f" It delivers {total.delivered:,} ticks, while {recorded:,} are recorded: not all of one kind "
            "was recorded, or a last file was not finished."
        )
    return f'<p>{words}</p><div class="wide">{_table(("connection",), heads, rows)}</div>'


def _counts(account: Account) -> list[str]:
    return [f"{count:,}" for count in astuple(account)]


def _latencies(findings: Findings) -> Iterator[tuple[str, ...]]:
    for summary in (findings.total_summary, findings.summary):
        for row in summary.iter_rows(named=True):
            percentiles = [ms_words(value) for name, value in row.items() if name.endswith("_ms")]
            yield str(row.get("connection", "all")), row["stage"], f"{row['count']:,}", *percentiles


def _table(names: Sequence[str], heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table whose first columns are names and whose others are figures."""
    width = len(names)

    def cells(tag: str, values: Sequence[str]) -> str:
        return "".join(
            f'<{tag} class="name">{_html(value)}</{tag}>'
            if place < width
            else f"<{tag}>{_html(value)}</{tag}>"
            for place, value in enumerate(values)
        )

    body = "\n".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f"<table><thead><tr>{cells('th', [*names, *heads])}</tr></thead>\n<tbody>{body}</tbody></table>"


def _figure(plate: Plate) -> str:
    title = _html(plate.figure.axes[0].get_title(loc="left"))
    image = f'<img alt="{title}" src="data:image/svg+xml;base64,{_svg(plate.figure)}">'
    return (
        f'<figure id="{plate.name}"><div class="wide">{image}</div>'
        f"<figcaption>{_html(plate.words)}</figcaption></figure>"
    )


def _svg(figure: Figure) -> str:
    # As an image: within the page the ids of two drawings would meet, and its style would reach into them.
    file = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "tickbraid"}):  # the same capture gives the same bytes
        figure.savefig(file, format="svg", metadata={"Date": None})
    return base64.b64encode(file.getvalue()).decode()


def _losses(findings: Findings) -> str:
    losses = findings.survey.losses
    if not losses:
        return ""
    lines = "".join(f"<li>{_html(loss.describe())}</li>" for loss in losses[:LOSSES_SHOWN])
    more = f"<p>and {len(losses) - LOSSES_SHOWN:,} more</p>" if len(losses) > LOSSES_SHOWN else ""
    return f"<h2>Losses that the stream announced</h2><ul>{lines}</ul>{more}"
